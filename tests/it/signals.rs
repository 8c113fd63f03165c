//! SIGINT, SIGTERM and SIGHUP, whatever the run is doing.

use std::time::{Duration, Instant};

use batch_detach::testing::sim::{Effect, Fault, LogEntry, Op, Physics, Scenario};

use super::service::{seat, wait_until};
use super::stage::Stage;

const ROWS: usize = 12;
const RUN: [&str; 6] = ["run", "leavers.csv", "--yes", "--max-desktops-per-request", "1", "--concurrency=2"];

fn stage(scenario: Scenario) -> Stage {
    let desktop = |n: usize| format!("d-{n:02}");
    let seats = (0..ROWS).flat_map(|n| ["leaver", "stays"].map(|user| seat(&desktop(n), &format!("{user}-{n}"))));
    let stage = Stage::new(seats, scenario);
    stage.leavers((0..ROWS).map(|n| (desktop(n), format!("leaver-{n}"))));
    stage
}

fn slow(op: Op, by: Duration) -> Scenario {
    Scenario { faults: vec![Fault::new(op, Effect::Delay(by))], ..Scenario::default() }
}

fn writes(log: &[LogEntry]) -> usize {
    log.iter().filter(|entry| entry.op.is_write()).count()
}

/// Ends the run by the same command and compares its results with the world.
#[track_caller]
fn check_resume(stage: &Stage, before: &std::collections::BTreeSet<super::service::Binding>) {
    stage.service.app.clear_faults();
    stage.run(&RUN).expect(0);
    stage.check(before);
    assert!(stage.results().iter().all(|row| row["outcome"] == "detached"));
    assert_eq!(stage.service.bindings().len(), ROWS);
}

#[test]
fn p12_a_signal_while_planning_ends_the_run_with_nothing_sent_and_nothing_left() {
    for signal in ["INT", "TERM", "HUP"] {
        let stage = stage(slow(Op::ListDesktops, Duration::from_secs(20)));
        let before = stage.service.bindings();
        let running = stage.start(&RUN);
        stage.service.wait_for("the preflight reads", |log| !log.is_empty());
        running.signal(signal);
        let ended = running.wait().expect(5);
        assert!(ended.took < Duration::from_secs(10), "{signal}: {:?}", ended.took);
        assert_eq!((stage.service.writes().len(), stage.files()), (0, vec!["leavers.csv".to_owned()]));
        check_resume(&stage, &before);
    }
}

#[test]
fn p12_after_a_signal_while_sending_no_write_starts_and_open_ones_answer() {
    for signal in ["INT", "TERM", "HUP"] {
        let stage = stage(slow(Op::BatchDetach, Duration::from_millis(600)));
        let before = stage.service.bindings();
        let running = stage.start(&RUN);
        stage.service.wait_for("three writes came", |log| writes(log) >= 3);
        running.signal(signal);
        let seen = stage.service.writes().len();
        let ended = running.wait().expect(5);
        assert!(ended.next().starts_with(&["run".to_owned(), "leavers.results.csv.journal".to_owned()]));
        assert!(ended.stdout.contains("stopped by a signal"), "{}", ended.stdout);
        let sent = stage.service.writes();
        // The signal may have come as the next two were on their way.
        assert!(sent.len() <= seen + 2 && sent.len() < ROWS, "{seen} were sent, then {}", sent.len());
        assert!(sent.iter().all(|write| write.status == Some(200)), "open writes may answer");
        let outcomes: Vec<_> = stage.results().into_iter().map(|row| row["outcome"].clone()).collect();
        assert_eq!(outcomes.iter().filter(|outcome| *outcome == "not_sent").count(), ROWS - sent.len());
        assert!(outcomes.iter().all(|outcome| ["detached", "unknown", "not_sent"].contains(&outcome.as_str())));
        check_resume(&stage, &before);
    }
}

#[test]
fn p12_a_signal_while_verifying_leaves_rows_unknown_that_a_resume_settles() {
    // The second read of a proof is far away.
    let stage = stage(Scenario::default()).set("SETTLE_TIME", "20s").set("READ_BACK_DEADLINE", "60s");
    let before = stage.service.bindings();
    let running = stage.start(&RUN);
    let all_answered = |log: &[LogEntry]| {
        log.iter().filter(|entry| entry.op.is_write() && entry.status == Some(200)).count() == ROWS
            && log.last().is_some_and(|entry| !entry.op.is_write())
    };
    stage.service.wait_for("all is sent and read", all_answered);
    running.signal("INT");
    let ended = running.wait().expect(5);
    assert!(ended.took < Duration::from_secs(15), "{:?}", ended.took);
    assert!(stage.results().iter().all(|row| row["outcome"] == "unknown"), "{:?}", stage.outcomes());
    let stage = stage.set("SETTLE_TIME", "50ms");
    check_resume(&stage, &before);
    assert_eq!(stage.service.writes().len(), ROWS, "nothing is sent twice");
}

#[test]
fn p12_writes_that_never_answer_are_left_after_the_drain_time() {
    let stage = stage(slow(Op::BatchDetach, Duration::from_secs(60))).set("DRAIN_TIME", "300ms");
    let before = stage.service.bindings();
    let running = stage.start(&RUN);
    stage.service.wait_for("two writes are open", |log| writes(log) == 2);
    running.signal("INT");
    let since = Instant::now();
    running.wait().expect(5);
    assert!(since.elapsed() < Duration::from_millis(5_300), "{:?}", since.elapsed());
    let unknown = stage.results().iter().filter(|row| row["outcome"] == "unknown").count();
    assert_eq!((unknown, stage.service.writes().len()), (2, 2));
    check_resume(&stage, &before);
}

#[test]
fn p12_a_second_signal_ends_the_run_within_a_second_and_without_results() {
    let stage = stage(slow(Op::BatchDetach, Duration::from_secs(60)));
    let before = stage.service.bindings();
    let running = stage.start(&[&RUN[..], &["-v"]].concat());
    stage.service.wait_for("two writes are open", |log| writes(log) == 2);
    running.signal("INT");
    wait_until("the first signal is heard", || running.stderr().contains("no new request starts"));
    running.signal("INT");
    let since = Instant::now();
    let ended = running.wait().expect(5);
    assert!(since.elapsed() < Duration::from_millis(1_100), "{:?}", since.elapsed());
    assert!(!stage.has("leavers.results.csv") && stage.has("leavers.results.csv.journal"));
    assert!(ended.next().starts_with(&["run".to_owned(), "leavers.results.csv.journal".to_owned()]));
    check_resume(&stage, &before);
}

#[test]
fn p12_a_deadline_stops_as_a_signal_does() {
    let stage = stage(slow(Op::BatchDetach, Duration::from_millis(250)));
    let before = stage.service.bindings();
    let ended = stage.run(&[&RUN[..], &["--max-runtime", "600ms"]].concat()).expect(5);
    assert!(ended.stdout.contains("--max-runtime"), "{}", ended.stdout);
    assert!(stage.service.writes().len() < ROWS);
    check_resume(&stage, &before);
}

#[test]
fn p12_a_signal_while_results_are_written_keeps_the_file_whole() {
    // The window is short: each round signals at another moment after the last read.
    for round in 0..6 {
        let stage = stage(Scenario { world: Physics::default(), ..Scenario::default() });
        let before = stage.service.bindings();
        let mut running = stage.start(&RUN);
        let gone = || stage.service.bindings().len() == ROWS;
        wait_until("everybody is gone", gone);
        std::thread::sleep(Duration::from_millis(40 + 15 * round));
        if !running.is_over() {
            running.signal("TERM");
        }
        let ended = running.wait();
        assert!([Some(0), Some(5)].contains(&ended.code), "{ended:?}");
        assert_eq!(stage.results().len(), ROWS, "P14: whole");
        check_resume(&stage, &before);
    }
}
