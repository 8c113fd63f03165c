//! Rows and whole undos that are refused, at the plan or by the service.

use std::time::{Duration, Instant};

use batch_detach::testing::journal::RunLock;
use batch_detach::testing::sim::{Fate, Op};

use super::rig::{Rig, counts, id, seat, sheet, single, told, user};

const RUN: &[&str] = &["run", "leavers.csv", "--yes"];
const UNDO: &[&str] = &["undo", "leavers.results.csv.journal", "--yes"];

#[test]
fn a_desktop_that_somebody_else_holds_now_is_refused_and_the_holder_is_named_from_v_on_alone() {
    let rig = Rig::new(single(5), "");
    rig.write("leavers.csv", &sheet(5));
    rig.ends(0, RUN);
    rig.app.world().bind(seat("d-1", user("newcomer")));
    rig.app.world().bind(seat("d-2", user("u-2")));
    let writes = rig.writes();
    let told = rig.ends(2, UNDO);
    assert!(told.err.contains("line 3") && told.err.contains("INVALID_TAKEN"), "{}", told.err);
    assert!(!told.err.contains("newcomer") && !told.err.contains("u-1"), "{}", told.err);
    let told = rig.ends(2, &[UNDO, &["-v"]].concat());
    assert!(told.err.contains("newcomer"), "{}", told.err);
    assert_eq!(rig.writes(), writes);

    rig.ends(1, &[UNDO, &["--on-invalid", "skip"]].concat());
    assert_eq!(rig.names("d-1"), ["newcomer"]);
    let expected = counts([("attached", 3), ("already_attached", 1), ("invalid", 1)]);
    assert_eq!(rig.outcomes("leavers.undo.csv"), expected);
    assert_eq!(rig.results("leavers.undo.csv")[1]["error_code"], "INVALID_TAKEN");
}

#[test]
fn a_desktop_that_is_taken_between_plan_and_send_fails_with_the_service_s_code_and_is_left_alone() {
    let rig = Rig::new(single(3), "");
    rig.write("leavers.csv", &sheet(3));
    rig.ends(0, RUN);
    let mut undo = rig.command(&[UNDO, &["--canary", "1"]].concat());
    let undo = undo.env("BATCH_DETACH_SETTLE_TIME", "1s");
    let undo = undo.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while rig.requests(Op::BatchAttach).is_empty() {
        assert!(began.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(10));
    }
    rig.app.world().bind(seat("d-2", user("newcomer")));
    let told = told(&undo.wait_with_output().unwrap());
    assert_eq!(told.code, 1, "{}\n{}", told.out, told.err);
    assert_eq!(rig.names("d-2"), ["newcomer"]);
    let rows = rig.results("leavers.undo.csv");
    let last = [&rows[2]["outcome"], &rows[2]["error_code"], &rows[2]["attempts"]];
    assert_eq!(last, ["failed", "WKS.00010032", "1"]);
    assert_eq!(rig.outcomes("leavers.undo.csv"), counts([("attached", 2), ("failed", 1)]));
    assert!(told.err.contains("undo leavers.results.csv.journal --fresh"), "{}", told.err);
}

#[test]
fn a_busy_desktop_is_waited_for_and_one_that_stays_forbidden_fails() {
    let rig = Rig::new(single(4), "");
    rig.write("leavers.csv", &sheet(4));
    rig.ends(0, RUN);
    rig.app.world().doom(&id("d-1"), Fate::Busy { lasts: Duration::from_secs(2) });
    rig.app.world().doom(&id("d-2"), Fate::Hibernated);
    let told = rig.ends(1, UNDO);
    assert!(told.out.contains("1 is hibernated") && told.out.contains("1 is busy"), "{}", told.out);
    let rows = rig.results("leavers.undo.csv");
    let outcomes: Vec<_> = rows.iter().map(|row| row["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["attached", "attached", "failed", "attached"]);
    assert_eq!(rows[2]["error_code"], "WKS.00010032");
    let attempts: u32 = rows[2]["attempts"].parse().unwrap();
    assert!(attempts <= 5, "{attempts}");
}

#[test]
fn without_verification_the_job_s_word_is_taken_desktop_by_desktop() {
    let rig = Rig::new(single(3), "");
    rig.write("leavers.csv", &sheet(3));
    rig.ends(0, RUN);
    rig.app.world().doom(&id("d-1"), Fate::Frozen);
    let reads = rig.requests(Op::ListDesktops).len();
    rig.ends(1, &[UNDO, &["--verify", "off"]].concat());
    assert_eq!(rig.outcomes("leavers.undo.csv"), counts([("attached", 2), ("failed", 1)]));
    assert_eq!(rig.names("d-0"), ["u-0"]);
    assert_eq!(rig.requests(Op::ListDesktops).len() - reads, 2, "the preflight alone");
}

#[test]
fn a_run_that_did_not_look_gives_its_undo_nothing_to_go_by() {
    let rig = Rig::new(single(2), "");
    rig.write("leavers.csv", "desktop_id,user_name,user_group\nd-0,u-0,users\nd-1,never-there,users\n");
    rig.ends(0, &[RUN, &["--preflight", "off"]].concat());
    let writes = rig.writes();
    let told = rig.ends(2, UNDO);
    assert!(told.err.contains("INVALID_NOTHING_KNOWN") && told.err.contains("nothing to go by"), "{}", told.err);
    let told = rig.ends(2, &[UNDO, &["--preflight", "off"]].concat());
    assert!(told.err.contains("has to look"), "{}", told.err);
    assert_eq!(rig.writes(), writes);
}

#[test]
fn guards_and_protection_hold_for_an_undo_as_for_a_run() {
    let rig = Rig::new(single(4), "");
    rig.write("leavers.csv", &sheet(4));
    rig.ends(0, RUN);
    let writes = rig.writes();
    let told = rig.ends(3, &[UNDO, &["--max-desktops", "3"]].concat());
    assert!(told.err.contains("--max-desktops allows 3"), "{}", told.err);
    // The run took all of the estate, and its undo gives all of it back.
    let told = rig.ends(3, &[UNDO, &["--max-percent", "99"]].concat());
    assert!(told.err.contains("4 of 4 assigned desktops"), "{}", told.err);
    let told = rig.ends(2, &[UNDO, &["--protect", "U-1"]].concat());
    assert!(told.err.contains("INVALID_PROTECTED") && !told.err.contains("u-1"), "{}", told.err);
    assert_eq!(rig.writes(), writes);
}

#[test]
fn the_undo_s_files_are_never_those_of_the_run() {
    let rig = Rig::new(single(1), "");
    rig.write("leavers.csv", &sheet(1));
    rig.ends(0, RUN);
    for results in ["leavers.results.csv", "leavers.results.csv.journal"] {
        let told = rig.ends(2, &[UNDO, &["--results", results]].concat());
        assert!(told.err.contains("--results"), "{}", told.err);
    }
    rig.ends(2, &["undo", "nowhere.journal", "--yes"]);
    rig.ends(2, &["undo", "leavers.csv", "--yes"]);
}

#[test]
fn p15_a_run_that_goes_on_cant_be_taken_back() {
    let rig = Rig::new(single(2), "");
    rig.write("leavers.csv", &sheet(2));
    rig.ends(0, RUN);
    let lock = RunLock::acquire(&rig.path("leavers.results.csv.journal")).unwrap();
    rig.ends(6, UNDO);
    drop(lock);
    rig.ends(0, UNDO);
}
