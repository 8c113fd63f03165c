//! Runs and undos that stopped with something open.

use std::time::Duration;

use batch_detach::testing::sim::{Effect, Fault, Op};

use super::rig::{Rig, counts, id, sheet, single, told};

const JOURNAL: &str = "leavers.results.csv.journal";
const UNDO_JOURNAL: &str = "leavers.undo.csv.journal";

/// 12 desktops in three requests, of which the first was executed though its answer was lost, the second was lost on the
/// way, and the third may still have been held back; the run stopped before it could read that back.
fn stopped() -> Rig {
    let rig = Rig::new(single(12), "");
    rig.write("leavers.csv", &sheet(12));
    rig.app.add_fault(Fault::new(Op::BatchDetach, Effect::ExecuteThenDrop).naming([id("d-0")]));
    rig.app.add_fault(Fault::new(Op::BatchDetach, Effect::DropBefore).naming([id("d-4")]));
    let words = ["run", "leavers.csv", "--yes", "--max-desktops-per-request", "4", "--max-runtime", "1500ms"];
    let output = rig.command(&words).env("BATCH_DETACH_DOUBT_WAIT", "1m").output().unwrap();
    let told = told(&output);
    assert_eq!(told.code, 5, "{}\n{}", told.out, told.err);
    assert_eq!(rig.outcomes("leavers.results.csv"), counts([("detached", 4), ("unknown", 8)]));
    rig.app.clear_faults();
    rig
}

#[test]
fn a_stopped_run_is_undone_at_once_and_what_it_may_have_done_is_read_back_first() {
    let rig = stopped();
    let before = rig.bindings();
    assert_eq!(before.values().flatten().count(), 4);
    let told = rig.ends(0, &["undo", JOURNAL, "--yes"]);
    assert!(told.err.contains("reading back 8 bindings"), "{}", told.err);
    assert_eq!(rig.outcomes("leavers.undo.csv"), counts([("attached", 8), ("already_attached", 4)]));
    assert_eq!(rig.bindings().values().flatten().count(), 12);
    let changes = rig.app.world().changes().iter().filter(|change| change.attached).count();
    assert_eq!(changes, 8, "nobody who was still bound was attached");
}

#[test]
fn a_stopped_run_that_was_undone_is_not_resumed_and_says_why() {
    let rig = stopped();
    // Nothing is barred by an undo that was not confirmed.
    rig.ends(3, &["undo", JOURNAL]);
    rig.ends(0, &["undo", JOURNAL, "--yes"]);
    let writes = rig.writes();
    let size = ["--max-desktops-per-request", "4"];
    for run in [&["run", "leavers.csv", "--yes"][..], &["run", JOURNAL, "--yes"]] {
        let told = rig.ends(2, &[run, &size[..]].concat());
        assert!(told.err.contains(UNDO_JOURNAL) && told.err.contains("--fresh"), "{}", told.err);
    }
    let told = rig.ends(0, &["status", JOURNAL]);
    assert!(told.out.contains(UNDO_JOURNAL) && !told.out.contains("batch-detach run"), "{}", told.out);
    assert_eq!(rig.writes(), writes);
    rig.ends(0, &["run", "leavers.csv", "--yes", "--fresh"]);
    assert_eq!(rig.bindings().values().flatten().count(), 0);
}

#[test]
fn a_late_request_of_the_run_is_waited_for() {
    let rig = Rig::new(single(1), "");
    rig.write("leavers.csv", &sheet(1));
    let late = Effect::Late { by: Duration::from_secs(3), answer: None };
    rig.app.add_fault(Fault::new(Op::BatchDetach, late));
    let mut run = rig.command(&["run", "leavers.csv", "--yes", "--max-runtime", "1s"]);
    let ended = told(&run.env("BATCH_DETACH_DOUBT_WAIT", "1m").output().unwrap());
    assert_eq!(ended.code, 5, "{}", ended.err);
    assert_eq!(rig.names("d-0"), ["u-0"]);
    let mut undo = rig.command(&["undo", JOURNAL, "--yes"]);
    let ended = told(&undo.env("BATCH_DETACH_DOUBT_WAIT", "4s").output().unwrap());
    assert_eq!(ended.code, 0, "{}\n{}", ended.out, ended.err);
    assert_eq!(rig.outcomes("leavers.undo.csv"), counts([("attached", 1)]));
    assert_eq!(rig.names("d-0"), ["u-0"]);
}

#[test]
fn p03_an_undo_that_stopped_is_resumed_and_attaches_nobody_twice() {
    let rig = Rig::new(single(8), "");
    rig.write("leavers.csv", &sheet(8));
    let before = rig.bindings();
    rig.ends(0, &["run", "leavers.csv", "--yes"]);
    rig.app.add_fault(Fault::new(Op::BatchAttach, Effect::ExecuteThenDrop).naming([id("d-0")]));
    rig.app.add_fault(Fault::new(Op::BatchAttach, Effect::DropBefore).naming([id("d-4")]));
    let words = ["undo", JOURNAL, "--yes", "--max-desktops-per-request", "4", "--max-runtime", "1500ms"];
    let ended = told(&rig.command(&words).env("BATCH_DETACH_DOUBT_WAIT", "1m").output().unwrap());
    assert_eq!(ended.code, 5, "{}\n{}", ended.out, ended.err);
    assert_eq!(rig.outcomes("leavers.undo.csv"), counts([("unknown", 8)]));
    assert!(ended.err.contains("batch-detach run leavers.undo.csv.journal"), "{}", ended.err);
    rig.app.clear_faults();
    let writes = rig.writes();
    let told = rig.ends(0, &["run", UNDO_JOURNAL, "--yes"]);
    assert!(told.err.contains("resuming undo"), "{}", told.err);
    assert_eq!(rig.outcomes("leavers.undo.csv"), counts([("attached", 8)]));
    assert_eq!(rig.bindings(), before);
    assert_eq!(rig.writes() - writes, 1, "what was done already is not sent again");
    // The same command again finds it done.
    let told = rig.ends(0, &["undo", JOURNAL, "--yes", "--max-desktops-per-request", "4"]);
    assert!(told.err.contains("nothing to do: undo"), "{}", told.err);
}

#[test]
fn a_stopped_undo_is_undone_too() {
    let rig = Rig::new(single(8), "");
    rig.write("leavers.csv", &sheet(8));
    rig.ends(0, &["run", "leavers.csv", "--yes"]);
    rig.app.add_fault(Fault::new(Op::BatchAttach, Effect::ExecuteThenDrop).naming([id("d-0")]));
    rig.app.add_fault(Fault::new(Op::BatchAttach, Effect::DropBefore).naming([id("d-4")]));
    let words = ["undo", JOURNAL, "--yes", "--max-desktops-per-request", "4", "--max-runtime", "1500ms"];
    let ended = told(&rig.command(&words).env("BATCH_DETACH_DOUBT_WAIT", "1m").output().unwrap());
    assert_eq!(ended.code, 5, "{}\n{}", ended.out, ended.err);
    rig.app.clear_faults();
    rig.ends(0, &["undo", UNDO_JOURNAL, "--yes"]);
    assert_eq!(rig.outcomes("leavers.undo.undo.csv"), counts([("detached", 4), ("already_detached", 4)]));
    assert_eq!(rig.bindings().values().flatten().count(), 0);
    rig.ends(2, &["run", UNDO_JOURNAL, "--yes"]);
}
