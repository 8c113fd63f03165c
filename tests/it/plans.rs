//! What `plan` shows is what `run` sends (P17).

use batch_detach::testing::sim::{Fate, FateOf, Scenario, World};

use super::service::{Service, id, seat};
use super::stage::Stage;

fn service() -> (World, Scenario) {
    let fates = vec![FateOf { desktops: vec![id("d-03"), id("d-04")], fate: Fate::Pooled }];
    let seats = (0..40).flat_map(|n| ["a", "b", "c"].map(|user| seat(&format!("d-{n:02}"), &format!("{user}{n}"))));
    (World::from_seats(seats, 1), Scenario { fates, ..Scenario::default() })
}

fn stage() -> Stage {
    let (world, scenario) = service();
    let stage = Stage::with(world, scenario).set("MAX_DESKTOPS_PER_REQUEST", "7");
    stage.leavers(
        ["b", "a"].into_iter().flat_map(|user| (0..40).rev().map(move |n| (format!("d-{n:02}"), format!("{user}{n}")))),
    );
    stage
}

#[test]
fn p17_the_requests_of_a_plan_are_byte_for_byte_what_the_service_receives() {
    let stage = stage();
    stage.run(&["plan", "leavers.csv", "--requests", "bodies.jsonl"]).expect(0);
    stage.run(&["run", "leavers.csv", "--yes", "--concurrency=1"]).expect(0);
    let planned = stage.read("bodies.jsonl");
    let sent: Vec<_> = stage.service.writes().into_iter().map(|write| write.body).collect();
    assert_eq!(sent.len(), 7, "desktops of pools go by themselves");
    let planned: Vec<_> = planned.lines().map(str::as_bytes).collect();
    assert_eq!(planned, sent.iter().map(|body| &body[..]).collect::<Vec<_>>());
    // The chunks of the results are the plan's.
    let chunks = stage.results().iter().map(|row| row["chunk"].parse::<u32>().unwrap()).max();
    assert_eq!(chunks, Some(7));
}

#[test]
fn p17_requests_on_standard_output_leave_the_plan_to_standard_error() {
    let stage = stage();
    stage.run(&["plan", "leavers.csv", "--requests", "bodies.jsonl"]).expect(0);
    let ended = stage.run(&["plan", "leavers.csv", "--requests", "-"]).expect(0);
    assert_eq!(ended.stdout, stage.read("bodies.jsonl"));
    assert!(ended.stderr.contains("80 to detach"), "{}", ended.stderr);
}

#[test]
fn p17_the_same_input_gives_the_same_plan_at_any_concurrency_and_any_time() {
    let stage = stage();
    let plan = |concurrency: &str| {
        let words = ["plan", "leavers.csv", "--format=json", "--requests=b", "--concurrency", concurrency];
        let ended = stage.run(&words).expect(0);
        (ended.stdout, stage.read("b"))
    };
    let first = plan("1");
    for concurrency in ["8", "3", "64"] {
        assert!(plan(concurrency) == first, "concurrency {concurrency}");
    }
    // Another service of the same world: another port, and everything else the same.
    let bodies = first.1;
    let (world, scenario) = service();
    let other = Service::start(world, scenario);
    let stage = stage.set("ENDPOINT", &other.url());
    stage.run(&["plan", "leavers.csv", "--requests=b"]).expect(0);
    assert_eq!(stage.read("b"), bodies);
}

#[test]
fn a_plan_in_json_has_a_hash_and_every_row() {
    let stage = stage();
    let ended = stage.run(&["plan", "leavers.csv", "--format=json"]).expect(0);
    let plan: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(plan["format"], 2);
    assert!(plan["hash"].as_str().is_some_and(|hash| hash.len() == 64));
    assert_eq!(plan["rows"].as_array().unwrap().len(), 80);
    assert_eq!(plan["counts"]["requests"], 7);
    let human = stage.run(&["plan", "leavers.csv"]).expect(0);
    assert!(human.stdout.contains(plan["hash"].as_str().unwrap()));
}

#[test]
fn a_plan_writes_results_only_where_they_are_asked_for() {
    let stage = stage();
    stage.run(&["plan", "leavers.csv", "--results", "planned.csv"]).expect(0);
    assert_eq!(stage.files(), ["leavers.csv", "planned.csv"]);
    let rows = stage.records("planned.csv");
    assert!(rows.len() == 80 && rows.iter().all(|row| row["outcome"] == "planned"));
}

#[test]
fn without_a_preflight_a_plan_needs_no_credentials_and_no_network() {
    let stage = stage().without("HW_AUTH_TOKEN");
    stage.run(&["plan", "leavers.csv", "--preflight", "off"]).expect(0);
    assert_eq!(stage.service.received(), 0);
}
