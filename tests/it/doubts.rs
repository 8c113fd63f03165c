//! An outcome can be true and the question wrong: what the plan doubts goes wherever an outcome goes.

use batch_detach::testing::sim::{Scenario, World};

use super::service::seat;
use super::stage::Stage;

/// `ana.k` has a desktop of her own; the list names her on the one of `anna.k`.
fn stage() -> Stage {
    let stage = Stage::with(World::from_seats([seat("d-01", "anna.k"), seat("d-02", "ana.k")], 1), Scenario::default());
    stage.leavers([("d-01", "ana.k")]);
    stage
}

#[test]
fn a_near_name_is_told_in_results_summary_log_metrics_and_report() {
    let stage = stage();
    let words = ["run", "leavers.csv", "--yes", "--format=json", "--log-format=json", "--metrics=m.prom"];
    let ended = stage.run(&words).expect(0);
    let row = &stage.results()[0];
    assert_eq!((row["outcome"].as_str(), row["error_code"].as_str()), ("already_detached", "DOUBT_NEAR_NAME"));
    assert!(row["error_msg"].contains("the nearest name is `anna.k`"), "{}", row["error_msg"]);
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&summary["doubts"][0]["kind"], &summary["doubts"][0]["rows"]), (&"near_name".into(), &1.into()));
    let record = ended.stderr.lines().find(|line| line.contains("DOUBT_NEAR_NAME")).expect("a record of the log");
    assert!(record.contains("\"rows\":1") && !record.contains("ana.k"), "{record}");
    let metrics = stage.read("m.prom");
    assert!(metrics.lines().any(|line| line.contains("kind=\"near_name\"") && line.ends_with(" 1")), "{metrics}");
    assert!(!metrics.contains("last_success"), "a row in doubt is no success that ends an alert");
    stage.run(&["report", "leavers.results.csv.journal"]).expect(0);
    let page = stage.read("leavers.report.html");
    assert!(page.contains("Rows in doubt") && page.contains("anna.k"));
}

#[test]
fn a_rehearsal_in_the_world_of_another_list_tells_who_is_misspelt() {
    let stage = stage();
    stage.write("world.csv", "desktop_id,user_name\nd-01,anna.koch\nd-02,li.si\n");
    stage.write("leavers.csv", "desktop_id,user_name\nd-01,ana.koch\nd-02,li.si\n");
    let refused = stage.run(&["plan", "leavers.csv", "--simulate=world.csv"]).expect(2);
    assert!(refused.stderr.contains("the nearest name is `anna.koch`"), "{}", refused.stderr);
    let words = ["plan", "leavers.csv", "--simulate=world.csv", "--unknown-users=gone"];
    let next = stage.run(&words).expect(0).next().join(" ");
    assert!(next.contains("--simulate=world.csv"), "{next}");
    // By itself it is the world, and nobody is misspelt in it.
    stage.run(&["plan", "leavers.csv", "--simulate"]).expect(0);
    assert_eq!(stage.service.received(), 0);
}

#[test]
fn a_redacted_page_names_no_near_name() {
    let stage = stage();
    stage.run(&["run", "leavers.csv", "--yes"]).expect(0);
    stage.run(&["report", "leavers.results.csv.journal", "--redact"]).expect(0);
    let page = stage.read("leavers.report.html");
    assert!(page.contains("DOUBT_NEAR_NAME") && !page.contains("anna.k") && !page.contains("ana.k"));
}

#[test]
fn a_trimmed_cell_and_an_unusual_name_by_which_nobody_is_found_are_doubts() {
    let mut world = World::from_seats([seat("d-01", "anna.k")], 1);
    for name in ["cara", "do ra", "eve"] {
        world.introduce(name, "");
    }
    let stage = Stage::with(world, Scenario::default());
    stage.leavers([("d-01", " anna.k"), ("d-01", "cara\u{a0}"), ("d-01", "do ra"), ("d-01", "eve")]);
    stage.run(&["run", "leavers.csv", "--yes", "--metrics=m.prom"]).expect(0);
    let codes: Vec<_> = stage.results().iter().map(|row| row["error_code"].clone()).collect();
    assert_eq!(codes, ["", "DOUBT_TRIMMED_CELL", "DOUBT_UNUSUAL_NAME", ""], "who was bound is proved to be meant");
    let metrics = stage.read("m.prom");
    for kind in ["trimmed_cell", "unusual_name"] {
        let is_one = |line: &str| line.contains(&format!("kind=\"{kind}\"")) && line.ends_with(" 1");
        assert!(metrics.lines().any(is_one), "{metrics}");
    }
    assert!(!metrics.contains("last_success"));
}
