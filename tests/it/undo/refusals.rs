//! Rows and whole undos that are refused, at the plan or by the service.

use std::time::Duration;

use batch_detach::testing::build::seat;
use batch_detach::testing::journal::RunLock;
use batch_detach::testing::sim::{Fate, Op};

use super::stage;
use crate::service::id;
use crate::stage::counts;

const RUN: &[&str] = &["run", "leavers.csv", "--yes"];
const UNDO: &[&str] = &["undo", "leavers.results.csv.journal", "--yes"];

#[test]
fn a_desktop_that_somebody_else_holds_now_is_refused_and_the_holder_is_named_from_v_on_alone() {
    let stage = stage(5);
    stage.run(RUN).expect(0);
    stage.service.app.world().bind(seat("d-1", "newcomer"));
    stage.service.app.world().bind(seat("d-2", "u-2"));
    let writes = stage.service.writes().len();
    let told = stage.run(UNDO).expect(2);
    assert!(told.stderr.contains("line 3") && told.stderr.contains("INVALID_TAKEN"), "{}", told.stderr);
    assert!(!told.stderr.contains("newcomer") && !told.stderr.contains("u-1"), "{}", told.stderr);
    let told = stage.run(&[UNDO, &["-v"]].concat()).expect(2);
    assert!(told.stderr.contains("newcomer"), "{}", told.stderr);
    assert_eq!(stage.service.writes().len(), writes);

    stage.run(&[UNDO, &["--on-invalid", "skip"]].concat()).expect(1);
    assert_eq!(stage.service.names("d-1"), ["newcomer"]);
    let expected = counts([("attached", 3), ("already_attached", 1), ("invalid", 1)]);
    assert_eq!(stage.tally("leavers.undo.csv"), expected);
    assert_eq!(stage.records("leavers.undo.csv")[1]["error_code"], "INVALID_TAKEN");
}

#[test]
fn a_desktop_that_is_taken_between_plan_and_send_fails_with_the_service_s_code_and_is_left_alone() {
    let stage = stage(3);
    stage.run(RUN).expect(0);
    let undo = stage.start_under(("SETTLE_TIME", "1s"), &[UNDO, &["--canary", "1"]].concat());
    stage.service.wait_for("the first attach", |log| log.iter().any(|entry| entry.op == Op::BatchAttach));
    stage.service.app.world().bind(seat("d-2", "newcomer"));
    let told = undo.wait().expect(1);
    assert_eq!(stage.service.names("d-2"), ["newcomer"]);
    let rows = stage.records("leavers.undo.csv");
    let last = [&rows[2]["outcome"], &rows[2]["error_code"], &rows[2]["attempts"]];
    assert_eq!(last, ["failed", "WKS.00010032", "1"]);
    assert_eq!(stage.tally("leavers.undo.csv"), counts([("attached", 2), ("failed", 1)]));
    assert!(told.stderr.contains("undo leavers.results.csv.journal --fresh"), "{}", told.stderr);
}

#[test]
fn a_busy_desktop_is_waited_for_and_one_that_stays_forbidden_fails() {
    let stage = stage(4);
    stage.run(RUN).expect(0);
    stage.service.app.world().doom(&id("d-1"), Fate::Busy { lasts: Duration::from_secs(2) });
    stage.service.app.world().doom(&id("d-2"), Fate::Hibernated);
    let told = stage.run(UNDO).expect(1);
    assert!(told.stdout.contains("1 is hibernated") && told.stdout.contains("1 is busy"), "{}", told.stdout);
    let rows = stage.records("leavers.undo.csv");
    let outcomes: Vec<_> = rows.iter().map(|row| row["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["attached", "attached", "failed", "attached"]);
    assert_eq!(rows[2]["error_code"], "WKS.00010032");
    let attempts: u32 = rows[2]["attempts"].parse().unwrap();
    assert!(attempts <= 5, "{attempts}");
}

#[test]
fn without_verification_the_job_s_word_is_taken_desktop_by_desktop() {
    let stage = stage(3);
    stage.run(RUN).expect(0);
    stage.service.app.world().doom(&id("d-1"), Fate::Frozen);
    let reads = stage.service.requests(Op::ListDesktops).len();
    stage.run(&[UNDO, &["--verify", "off"]].concat()).expect(1);
    assert_eq!(stage.tally("leavers.undo.csv"), counts([("attached", 2), ("failed", 1)]));
    assert_eq!(stage.service.names("d-0"), ["u-0"]);
    assert_eq!(stage.service.requests(Op::ListDesktops).len() - reads, 2, "the preflight alone");
}

#[test]
fn a_run_that_did_not_look_gives_its_undo_nothing_to_go_by() {
    let stage = stage(2);
    stage.write("leavers.csv", "desktop_id,user_name,user_group\nd-0,u-0,users\nd-1,never-there,users\n");
    stage.run(&[RUN, &["--preflight", "off"]].concat()).expect(0);
    let writes = stage.service.writes().len();
    let told = stage.run(UNDO).expect(2);
    assert!(
        told.stderr.contains("INVALID_NOTHING_KNOWN") && told.stderr.contains("can't tell what to attach"),
        "{}",
        told.stderr
    );
    let told = stage.run(&[UNDO, &["--preflight", "off"]].concat()).expect(2);
    assert!(told.stderr.contains("has to look"), "{}", told.stderr);
    assert_eq!(stage.service.writes().len(), writes);
}

#[test]
fn guards_and_protection_hold_for_an_undo_as_for_a_run() {
    let stage = stage(4);
    stage.run(RUN).expect(0);
    let writes = stage.service.writes().len();
    let told = stage.run(&[UNDO, &["--max-desktops", "3"]].concat()).expect(3);
    assert!(told.stderr.contains("--max-desktops allows 3"), "{}", told.stderr);
    // The run took all of the estate, and its undo gives all of it back.
    let told = stage.run(&[UNDO, &["--max-percent", "99"]].concat()).expect(3);
    assert!(told.stderr.contains("4 of 4 assigned desktops"), "{}", told.stderr);
    let told = stage.run(&[UNDO, &["--protect", "U-1"]].concat()).expect(2);
    assert!(told.stderr.contains("INVALID_PROTECTED") && !told.stderr.contains("u-1"), "{}", told.stderr);
    assert_eq!(stage.service.writes().len(), writes);
}

#[test]
fn the_undo_s_files_are_never_those_of_the_run() {
    let stage = stage(1);
    stage.run(RUN).expect(0);
    for results in ["leavers.results.csv", "leavers.results.csv.journal"] {
        let told = stage.run(&[UNDO, &["--results", results]].concat()).expect(2);
        assert!(told.stderr.contains("--results"), "{}", told.stderr);
    }
    stage.run(&["undo", "nowhere.journal", "--yes"]).expect(2);
    stage.run(&["undo", "leavers.csv", "--yes"]).expect(2);
}

#[test]
fn p15_a_run_that_goes_on_cant_be_taken_back() {
    let stage = stage(2);
    stage.run(RUN).expect(0);
    let lock = RunLock::acquire(&stage.path("leavers.results.csv.journal")).unwrap();
    stage.run(UNDO).expect(6);
    drop(lock);
    stage.run(UNDO).expect(0);
}
