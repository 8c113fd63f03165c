//! Runs and undos that stopped with something open.

use std::time::Duration;

use batch_detach::testing::sim::{Effect, Fault, Op};
use serde_json::Value;

use super::stage;
use crate::service::{id, wait_until};
use crate::stage::{Ended, Stage, counts};

const JOURNAL: &str = "leavers.results.csv.journal";
const UNDO_JOURNAL: &str = "leavers.undo.csv.journal";
/// Longer than the runs that must end in doubt.
const LONG: (&str, &str) = ("DOUBT_WAIT", "9s");

/// 12 desktops in three requests: the first was executed though its answer was lost, the second was lost on the way, the
/// third is proved. The run stopped before it could read the others back.
fn stopped() -> Stage {
    let stage = stage(12);
    stage.service.app.add_fault(Fault::new(Op::BatchDetach, Effect::ExecuteThenDrop).naming([id("d-0")]));
    stage.service.app.add_fault(Fault::new(Op::BatchDetach, Effect::DropBefore).naming([id("d-4")]));
    let words = ["run", "leavers.csv", "--yes", "--max-desktops-per-request", "4"];
    let run = stage.start_under(LONG, &words);
    // The third request is proved; the other two are not looked at before the doubt's end.
    wait_until("the third request is proved", || settled(&stage, JOURNAL) == 4);
    run.signal("INT");
    run.wait().expect(5);
    assert_eq!(stage.tally("leavers.results.csv"), counts([("detached", 4), ("unknown", 8)]));
    stage.service.app.clear_faults();
    stage
}

/// How many rows a run has settled.
fn settled(stage: &Stage, journal: &str) -> u64 {
    if !stage.has(journal) {
        return 0;
    }
    let told = stage.run(&["status", journal, "--format", "json"]);
    let told: Value = serde_json::from_str(&told.stdout).unwrap_or_default();
    told["rows"].as_u64().unwrap_or_default() - told["open"].as_u64().unwrap_or_default()
}

/// An undo of eight rows whose two requests both got no answer, stopped before it could read them back.
fn stopped_undo(stage: &Stage) -> Ended {
    let undo = stage.start_under(LONG, &["undo", JOURNAL, "--yes", "--max-desktops-per-request", "4"]);
    stage.service.wait_for("both requests", |log| log.iter().filter(|entry| entry.op == Op::BatchAttach).count() == 2);
    undo.signal("INT");
    undo.wait().expect(5)
}

#[test]
fn a_stopped_run_is_undone_at_once_and_what_it_may_have_done_is_read_back_first() {
    let stage = stopped();
    let before = stage.service.holders();
    assert_eq!(before.values().flatten().count(), 4);
    let told = stage.run(&["undo", JOURNAL, "--yes"]).expect(0);
    assert!(told.stderr.contains("reading back 8 bindings"), "{}", told.stderr);
    assert_eq!(stage.tally("leavers.undo.csv"), counts([("attached", 8), ("already_attached", 4)]));
    assert_eq!(stage.service.holders().values().flatten().count(), 12);
    let changes = stage.service.app.world().changes().iter().filter(|change| change.attached).count();
    assert_eq!(changes, 8, "nobody who was still bound was attached");
}

#[test]
fn a_stopped_run_that_was_undone_is_not_resumed_and_says_why() {
    let stage = stopped();
    // Nothing is barred by an undo that was not confirmed.
    stage.run(&["undo", JOURNAL]).expect(3);
    stage.run(&["undo", JOURNAL, "--yes"]).expect(0);
    let writes = stage.service.writes().len();
    let size = ["--max-desktops-per-request", "4"];
    for run in [&["run", "leavers.csv", "--yes"][..], &["run", JOURNAL, "--yes"]] {
        let told = stage.run(&[run, &size[..]].concat()).expect(2);
        assert!(told.stderr.contains(UNDO_JOURNAL) && told.stderr.contains("--fresh"), "{}", told.stderr);
    }
    let told = stage.run(&["status", JOURNAL]).expect(0);
    assert!(told.stdout.contains(UNDO_JOURNAL) && !told.stdout.contains("batch-detach run"), "{}", told.stdout);
    assert_eq!(stage.service.writes().len(), writes);
    stage.run(&["run", "leavers.csv", "--yes", "--fresh"]).expect(0);
    assert_eq!(stage.service.holders().values().flatten().count(), 0);
}

#[test]
fn a_late_request_of_the_run_is_waited_for() {
    let stage = stage(1);
    let late = Effect::Late { by: Duration::from_secs(3), answer: None };
    stage.service.app.add_fault(Fault::new(Op::BatchDetach, late));
    let run = stage.start_under(LONG, &["run", "leavers.csv", "--yes"]);
    stage.service.wait_for("the write", |log| log.iter().any(|entry| entry.op == Op::BatchDetach));
    run.signal("INT");
    run.wait().expect(5);
    assert_eq!(stage.service.names("d-0"), ["u-0"]);
    stage.start_under(("DOUBT_WAIT", "4s"), &["undo", JOURNAL, "--yes"]).wait().expect(0);
    assert_eq!(stage.tally("leavers.undo.csv"), counts([("attached", 1)]));
    assert_eq!(stage.service.names("d-0"), ["u-0"]);
}

#[test]
fn p03_an_undo_that_stopped_is_resumed_and_attaches_nobody_twice() {
    let stage = stage(8);
    let before = stage.service.holders();
    stage.run(&["run", "leavers.csv", "--yes"]).expect(0);
    stage.service.app.add_fault(Fault::new(Op::BatchAttach, Effect::ExecuteThenDrop).naming([id("d-0")]));
    stage.service.app.add_fault(Fault::new(Op::BatchAttach, Effect::DropBefore).naming([id("d-4")]));
    let ended = stopped_undo(&stage);
    assert_eq!(stage.tally("leavers.undo.csv"), counts([("unknown", 8)]));
    assert!(ended.stderr.contains("batch-detach run leavers.undo.csv.journal"), "{}", ended.stderr);
    stage.service.app.clear_faults();
    let writes = stage.service.writes().len();
    let told = stage.run(&["run", UNDO_JOURNAL, "--yes"]).expect(0);
    assert!(told.stderr.contains("resuming undo"), "{}", told.stderr);
    assert_eq!(stage.tally("leavers.undo.csv"), counts([("attached", 8)]));
    assert_eq!(stage.service.holders(), before);
    assert_eq!(stage.service.writes().len() - writes, 1, "what was done already is not sent again");
    // The same command again finds it done.
    let told = stage.run(&["undo", JOURNAL, "--yes", "--max-desktops-per-request", "4"]).expect(0);
    assert!(told.stderr.contains("nothing to do: undo"), "{}", told.stderr);
}

#[test]
fn a_stopped_undo_is_undone_too() {
    let stage = stage(8);
    stage.run(&["run", "leavers.csv", "--yes"]).expect(0);
    stage.service.app.add_fault(Fault::new(Op::BatchAttach, Effect::ExecuteThenDrop).naming([id("d-0")]));
    stage.service.app.add_fault(Fault::new(Op::BatchAttach, Effect::DropBefore).naming([id("d-4")]));
    stopped_undo(&stage);
    stage.service.app.clear_faults();
    stage.run(&["undo", UNDO_JOURNAL, "--yes"]).expect(0);
    assert_eq!(stage.tally("leavers.undo.undo.csv"), counts([("detached", 4), ("already_detached", 4)]));
    assert_eq!(stage.service.holders().values().flatten().count(), 0);
    stage.run(&["run", UNDO_JOURNAL, "--yes"]).expect(2);
}
