//! `--approved`: exactly that plan, once.

use batch_detach::testing::sim::Scenario;
use serde_json::Value;

use super::service::seat;
use super::stage::Stage;

/// Four rows and a plan of them, approved.
fn approved() -> (Stage, String) {
    let seats = (0..4).map(|n| seat(&format!("d-{n}"), &format!("leaver-{n}")));
    let stage = Stage::new(seats, Scenario::default());
    stage.leavers((0..4).map(|n| (format!("d-{n}"), format!("leaver-{n}"))));
    let plan = stage.run(&["plan", "leavers.csv", "--format=json"]).expect(0).stdout;
    stage.write("plan.json", &plan);
    let plan: Value = serde_json::from_str(&plan).unwrap();
    (stage, plan["hash"].as_str().unwrap().to_owned())
}

#[test]
fn an_approved_plan_is_done_unasked_and_only_once() {
    for by_hash in [false, true] {
        let (stage, hash) = approved();
        let plan = if by_hash { hash.as_str() } else { "plan.json" };
        stage.run(&["run", "leavers.csv", "--approved", plan]).expect(0);
        assert!(stage.service.bindings().is_empty());

        // All are bound again, so the plan made now is the same one.
        for n in 0..4 {
            stage.service.app.world().bind(seat(&format!("d-{n}"), &format!("leaver-{n}")));
        }
        let writes = stage.service.writes().len();
        for options in [&["--fresh"][..], &["--results", "other.csv"]] {
            let words = [&["run", "leavers.csv", "--approved", plan][..], options].concat();
            let again = stage.run(&words).expect(3);
            assert!(again.stderr.contains("once"), "{}", again.stderr);
        }
        assert_eq!(stage.service.writes().len(), writes);
    }
}

#[test]
fn an_approved_plan_that_somebody_changed_by_one_more_binding_is_refused_with_its_row() {
    let (stage, hash) = approved();
    stage.service.app.world().bind(seat("d-2", "newcomer"));
    let ended = stage.run(&["run", "leavers.csv", "--approved", "plan.json"]).expect(3);
    assert!(ended.stderr.contains("line 4"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("line 3") && !ended.stderr.contains("line 5"), "{}", ended.stderr);
    let ended = stage.run(&["run", "leavers.csv", "--approved", &hash]).expect(3);
    assert!(ended.stderr.contains("hash"), "{}", ended.stderr);
    assert_eq!((stage.service.writes().len(), stage.files()), (0, vec!["leavers.csv".into(), "plan.json".to_owned()]));
}

#[test]
fn an_approval_of_another_versions_plan_is_refused_with_just_that_reason() {
    let (stage, hash) = approved();
    let mut plan: Value = serde_json::from_str(&stage.read("plan.json")).unwrap();
    // The first version's plan of the same rows: another hash, as it covered other things.
    plan["format"] = 1.into();
    plan["hash"] = "0".repeat(hash.len()).into();
    stage.write("plan.json", &plan.to_string());
    let ended = stage.run(&["run", "leavers.csv", "--approved", "plan.json"]).expect(3);
    assert!(ended.stderr.contains("make it again with `plan --format json` of this version"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("divided otherwise") && !ended.stderr.contains("line "), "{}", ended.stderr);
    let ended = stage.run(&["run", "leavers.csv", "--approved", &"0".repeat(hash.len())]).expect(3);
    assert!(ended.stderr.contains("another version of this program"), "{}", ended.stderr);
    assert_eq!(stage.service.writes().len(), 0);
}

#[test]
fn an_approved_plan_is_refused_for_another_input_or_other_settings() {
    let (stage, _) = approved();
    let ended = stage.run(&["run", "leavers.csv", "--approved", "plan.json", "--protect", "ceo"]).expect(3);
    assert!(ended.stderr.contains("--protect"), "{}", ended.stderr);
    stage.leavers((0..3).map(|n| (format!("d-{n}"), format!("leaver-{n}"))));
    let ended = stage.run(&["run", "leavers.csv", "--approved", "plan.json"]).expect(3);
    assert!(ended.stderr.contains("line 5"), "{}", ended.stderr);
    stage.run(&["run", "leavers.csv", "--approved", "leavers.csv"]).expect(2);
    stage.run(&["run", "leavers.csv", "--approved", "not-there.json"]).expect(2);
    assert_eq!(stage.service.writes().len(), 0);
}

#[test]
fn an_approved_run_that_was_stopped_is_resumed_under_the_same_approval() {
    let (stage, _) = approved();
    let words = ["run", "leavers.csv", "--approved", "plan.json", "--max-desktops-per-request=100"];
    let slow = batch_detach::testing::sim::Effect::Delay(std::time::Duration::from_secs(60));
    stage
        .service
        .app
        .add_fault(batch_detach::testing::sim::Fault::new(batch_detach::testing::sim::Op::BatchDetach, slow));
    let running = stage.start(&words);
    stage.service.wait_for("the write is open", |log| log.iter().any(|entry| entry.op.is_write()));
    running.kill();
    stage.service.app.clear_faults();
    let ended = stage.run(&words).expect(0);
    assert!(ended.stderr.contains("resuming run "), "{}", ended.stderr);
}

#[test]
fn a_row_taken_out_of_the_approved_file_is_refused_whatever_hash_the_file_carries() {
    let (stage, _) = approved();
    let mut plan: Value = serde_json::from_str(&stage.read("plan.json")).unwrap();
    plan["rows"].as_array_mut().unwrap().remove(2);
    stage.write("plan.json", &plan.to_string());
    let ended = stage.run(&["run", "leavers.csv", "--approved", "plan.json"]).expect(3);
    assert!(ended.stderr.contains("line 4") && ended.stderr.contains("was changed"), "{}", ended.stderr);
    plan.as_object_mut().unwrap().remove("rows");
    stage.write("plan.json", &plan.to_string());
    stage.run(&["run", "leavers.csv", "--approved", "plan.json"]).expect(3);
    assert_eq!(stage.service.writes().len(), 0);
}
