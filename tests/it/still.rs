//! Who still gets in after a run: told in every place, journaled, and never the end of a run.

use std::time::Duration;

use batch_detach::testing::model::{Bound, Kind};
use batch_detach::testing::sim::{Effect, Fault, Op, Refused, Scenario, Seat, World};
use serde_json::Value;

use super::service::{id, seat};
use super::stage::Stage;

const RUN: [&str; 3] = ["run", "leavers.csv", "--yes"];

fn who(kind: Kind, name: &str) -> Bound {
    Bound { kind, user_name: name.to_owned(), user_id: None, user_group: None, domain: None }
}

/// Of six people one is on the list with one of his two desktops, one is in a group that is bound, one authorised for a
/// pool, one in a group that is, one has both desktops on the list, and one has nothing else.
fn world() -> World {
    let own = [("d-1", "two"), ("d-2", "two"), ("d-3", "bound"), ("d-4", "pooled"), ("d-5", "both"), ("d-6", "listed")];
    let mut world = World::from_seats(own.iter().map(|(desktop, user)| seat(desktop, user)), 1);
    for (desktop, user) in [("d-7", "listed"), ("d-8", "nothing"), ("d-9", "someone")] {
        world.bind(seat(desktop, user));
    }
    let group = who(Kind::Group, "Staff; all");
    world.bind(Seat { desktop: id("d-9"), name: String::new(), bound: group.clone() });
    world.enrol(group, who(Kind::User, "bound"));
    world.authorise("dev", who(Kind::User, "pooled"));
    let testers = who(Kind::Group, "Testers");
    world.enrol(testers.clone(), who(Kind::User, "both"));
    world.authorise("test", testers);
    // A group that lets nobody in.
    world.enrol(who(Kind::Group, "Idle"), who(Kind::User, "nothing"));
    world
}

fn stage_of(scenario: Scenario) -> Stage {
    let stage = Stage::with(world(), scenario);
    let rows =
        [("d-1", "two"), ("d-3", "Bound"), ("d-4", "pooled"), ("d-5", "both"), ("d-6", "listed"), ("d-7", "listed")];
    stage.leavers(rows.into_iter().chain([("d-8", "nothing")]));
    stage
}

fn ways(stage: &Stage) -> Vec<String> {
    stage.results().into_iter().map(|row| row["still_via"].clone()).collect()
}

const WAYS: [&str; 7] = ["desktop:PC-d-2", "group:Staff, all", "pool:DEV", "group:Testers", "", "", ""];

#[test]
fn somebody_who_is_on_the_list_with_one_of_two_desktops_is_told_everywhere() {
    let stage = stage_of(Scenario::default()).set("METRICS", "metrics.prom");
    let ended = stage.run(&[&RUN[..], &["--format", "json"]].concat()).expect(0);
    assert_eq!(ways(&stage), WAYS);
    let header = stage.read("leavers.results.csv").lines().next().unwrap().to_owned();
    assert!(header.ends_with("finished_at,still_via"), "{header}");
    assert!(stage.results().iter().all(|row| row["outcome"] == "detached"), "never changes an outcome");
    let summary: Value = serde_json::from_str(&ended.stdout).unwrap();
    let counts = ["people", "rows", "unknown"].map(|key| summary["still_access"][key].as_u64().unwrap());
    assert_eq!((counts, &summary["exit_code"]), ([4, 4, 0], &0.into()));
    assert!(ended.last_line().contains("(4 people still get in by something else)"), "{}", ended.last_line());
    let metrics = stage.read("metrics.prom");
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with("batch_detach_still_access{") && line.ends_with("what=\"people\"} 4")),
        "{metrics}"
    );

    let status = stage.run(&["status", "leavers.results.csv.journal"]).expect(0);
    assert!(status.stdout.contains("line 2: two by desktop:PC-d-2"), "{}", status.stdout);
    stage.run(&["report", "leavers.results.csv.journal"]).expect(0);
    let report = stage.read("leavers.report.html");
    for told in
        ["Who still gets in", "4 people still get in by something else", "still gets in by desktop:PC-d-2", "pool:DEV"]
    {
        assert!(report.contains(told), "{told}");
    }

    // A finished run, asked again: the same words, no request. The results are an input, and the column is made anew.
    let before = stage.service.received();
    let again = stage.run(&[&RUN[..], &["--still-access", "fail"]].concat()).expect(1);
    assert_eq!(stage.service.received(), before);
    assert!(
        again.stdout.contains("- line 2: two by desktop:PC-d-2") && again.stdout.contains("unbind these desktops"),
        "{}",
        again.stdout
    );
    let retry = stage.run(&["run", "leavers.results.csv", "--only", "detached", "--yes"]).expect(0);
    drop(retry);
    let retried = stage.read("leavers.retry.results.csv");
    assert_eq!(retried.lines().next().unwrap().matches("still_via").count(), 1);
}

#[test]
fn a_plan_and_its_page_forecast_it() {
    let stage = stage_of(Scenario::default());
    let words = ["plan", "leavers.csv", "--html", "plan.html", "--results", "preview.csv"];
    let plan = stage.run(&words).expect(0);
    assert!(
        plan.stdout
            .contains("After this, 4 people still get in by something else\n  - line 2: two by desktop:PC-d-2\n"),
        "{}",
        plan.stdout
    );
    let page = stage.read("plan.html");
    assert!(
        page.contains("After this: 4 people still get in by something else.") && page.contains("group:Testers"),
        "{page}"
    );
    let preview: Vec<_> = stage.records("preview.csv").into_iter().map(|row| row["still_via"].clone()).collect();
    assert_eq!(preview, WAYS);
    // The list names users alone: the look of the plan has all desktops, and they are not read twice.
    stage.write("leavers.csv", "user_name\ntwo\n");
    let before = stage.service.received();
    let json = stage.run(&["plan", "leavers.csv", "--format", "json"]).expect(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["still_access"]["people"], 0, "both of his desktops go");
    let listed = stage.service.app.log()[before..].iter().filter(|entry| entry.op == Op::ListDesktops).count();
    assert_eq!(listed, 3, "how many there are, and two pages");
    // Off, and without a look, nothing is said.
    for words in [["--still-access", "off"], ["--preflight", "off"]] {
        let plan = stage.run(&[&["plan", "leavers.csv", "--on-invalid", "skip"][..], &words].concat());
        assert!(!plan.stdout.contains("After this"), "{}", plan.stdout);
    }
}

#[test]
fn fail_makes_it_exit_1_and_off_does_not_look() {
    let stage = stage_of(Scenario::default());
    let ended = stage.run(&[&RUN[..], &["--still-access", "fail"]].concat()).expect(1);
    assert!(
        ended.last_line().contains("exit code 1: done, but not all is as requested (4 people"),
        "{}",
        ended.last_line()
    );
    assert!(ended.stdout.contains("take the people out of these groups"), "{}", ended.stdout);

    let stage = stage_of(Scenario::default());
    let ended = stage.run(&[&RUN[..], &["--still-access", "off", "--format", "json"]].concat()).expect(0);
    let looked = |entry: &batch_detach::testing::sim::LogEntry| matches!(entry.op, Op::ListPools | Op::ListGroupUsers);
    assert!(!stage.service.app.log().iter().any(looked));
    let summary: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ways(&stage), &summary["still_access"]), (vec![String::new(); 7], &Value::Null));
    stage.run(&RUN).expect(0);
    assert!(!stage.service.app.log().iter().any(looked), "it was not to be looked for, and is finished");
}

#[test]
fn without_a_permission_a_mark_stands_and_the_run_ends_as_before() {
    for (op, action, expected) in [
        (
            Op::ListGroupUsers,
            "workspace:userGroups:getUsers",
            ["desktop:PC-d-2;?", "?", "pool:DEV;?", "?", "?", "?", "?"],
        ),
        (
            Op::ListPools,
            "workspace:desktopPools:list",
            ["desktop:PC-d-2;?", "group:Staff, all;?", "?", "?", "?", "?", "?"],
        ),
    ] {
        let refused = Refused::new(403, "WKS.00000403", "Forbidden.");
        let stage = stage_of(Scenario { faults: vec![Fault::new(op, Effect::Refuse(refused))], ..Scenario::default() });
        let ended = stage.run(&RUN).expect(0);
        assert_eq!(ways(&stage), expected);
        assert!(stage.results().iter().all(|row| row["outcome"] == "detached"));
        assert_eq!(ended.stdout.matches(action).count(), 1, "{}", ended.stdout);
        stage.run(&[&RUN[..], &["--still-access", "fail"]].concat()).expect(1);
    }
}

#[test]
fn p03_a_run_that_ends_before_the_look_looks_when_it_is_run_again() {
    let slow = || Scenario {
        faults: vec![Fault::new(Op::ListPools, Effect::Delay(Duration::from_secs(60)))],
        ..Scenario::default()
    };
    let begun = |log: &[batch_detach::testing::sim::LogEntry]| log.iter().any(|entry| entry.op == Op::ListPools);
    for kill in [false, true] {
        let stage = stage_of(slow()).set("READ_BACK_DEADLINE", "60s");
        let running = stage.start(&RUN);
        stage.service.wait_for("the look has begun", begun);
        if kill {
            running.kill();
        } else {
            running.signal("INT");
            let ended = running.wait().expect(5);
            assert!(
                ended.took < Duration::from_secs(40) && ended.last_line().contains("; next: "),
                "{}",
                ended.last_line()
            );
            assert!(stage.results().iter().all(|row| row["outcome"] == "detached" && row["still_via"] == "?"));
        }
        let status = stage.run(&["status", "leavers.results.csv.journal"]).expect(0);
        assert!(status.stdout.contains("it is not checked yet who still gets in"), "{}", status.stdout);
        stage.service.app.clear_faults();
        let writes = stage.service.writes().len();
        // Without --yes: reads alone need no word of anybody.
        stage.run(&["run", "leavers.csv"]).expect(0);
        assert_eq!((ways(&stage), stage.service.writes().len()), (WAYS.map(str::to_owned).to_vec(), writes));
    }
    // Switched off by then, it is as if it had never been asked for: no mark, and nothing is left to do.
    let stage = stage_of(slow()).set("READ_BACK_DEADLINE", "60s");
    let running = stage.start(&RUN);
    stage.service.wait_for("the look has begun", begun);
    running.signal("INT");
    running.wait().expect(5);
    let before = stage.service.received();
    stage.run(&["run", "leavers.csv", "--still-access", "off"]).expect(0);
    assert_eq!(ways(&stage), vec![String::new(); 7]);
    let read: Vec<Op> = stage.service.app.log()[before..].iter().map(|entry| entry.op).collect();
    assert!(!read.contains(&Op::ListPools), "{read:?}");
    let status = stage.run(&["status", "leavers.results.csv.journal"]).expect(0);
    assert!(!status.stdout.contains("still gets in"), "{}", status.stdout);
    // It holds to --max-runtime, too.
    let stage = stage_of(slow());
    let ended = stage.run(&[&RUN[..], &["--max-runtime", "3s"]].concat()).expect(5);
    assert!(ended.last_line().contains("--max-runtime"), "{}", ended.last_line());
    // Another list finds no obstacle in it: all of this one is done.
    stage.leavers([("d-9", "someone")]);
    stage.service.app.clear_faults();
    stage.run(&RUN).expect(0);
}

#[test]
fn the_results_wait_no_longer_than_a_read_back_may_take() {
    let faults = vec![Fault::new(Op::ListPools, Effect::Delay(Duration::from_secs(60)))];
    let stage = stage_of(Scenario { faults, ..Scenario::default() }).set("READ_BACK_DEADLINE", "2s");
    let ended = stage.run(&RUN).expect(0);
    assert!(ended.took < Duration::from_secs(20), "{:?}", ended.took);
    assert_eq!(ways(&stage), ["desktop:PC-d-2;?", "?", "?", "?", "?", "?", "?"]);
    assert!(ended.stdout.contains("read-back-deadline"), "{}", ended.stdout);
}
