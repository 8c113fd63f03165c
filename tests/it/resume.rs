//! The same run or no run (P16), and a resume without the input.

use std::time::Duration;

use batch_detach::testing::sim::{Effect, Fate, FateOf, Fault, Op, Scenario};

use super::service::{Service, id, seat};
use super::stage::Stage;

const RUN: [&str; 3] = ["run", "leavers.csv", "--yes"];
const ROWS: usize = 6;

/// A run of three requests that was killed while the second was open.
fn stopped() -> Stage {
    let seats = || (0..ROWS).map(|n| seat(&format!("d-{n}"), &format!("leaver-{n}")));
    let stuck = Fault::new(Op::BatchDetach, Effect::Delay(Duration::from_secs(60))).after(1);
    let stage = Stage::new(seats(), Scenario { faults: vec![stuck], ..Scenario::default() })
        .set("MAX_DESKTOPS_PER_REQUEST", "2");
    stage.leavers((0..ROWS).map(|n| (format!("d-{n}"), format!("leaver-{n}"))));
    let running = stage.start(&[&RUN[..], &["--concurrency=1"]].concat());
    stage
        .service
        .wait_for("the second write is open", |log| log.iter().filter(|entry| entry.op.is_write()).count() == 2);
    running.kill();
    stage.service.app.clear_faults();
    stage
}

#[track_caller]
fn check_refused(stage: &Stage, words: &[&str], named: &[&str]) {
    // A lock file that the kill left behind means nothing, and goes.
    let files =
        || stage.files().into_iter().filter(|name| *name != "leavers.results.csv.journal.lock").collect::<Vec<_>>();
    let (received, before) = (stage.service.received(), files());
    let ended = stage.run(words).expect(2);
    for word in named {
        assert!(ended.stderr.contains(word), "`{word}` is not named:\n{}", ended.stderr);
    }
    assert_eq!((stage.service.received(), files()), (received, before), "nothing is sent, nothing is moved");
}

#[test]
fn p16_a_journal_that_is_gone_while_a_part_of_it_is_left_is_no_new_run() {
    for part in ["-wal", "-shm", ".lock"] {
        let stage = stopped();
        let journal = "leavers.results.csv.journal";
        std::fs::remove_file(stage.path(journal)).unwrap();
        for other in ["-wal", "-shm", ".lock"].into_iter().filter(|other| *other != part) {
            std::fs::remove_file(stage.path(&format!("{journal}{other}"))).unwrap();
        }
        let left = format!("{journal}{part}");
        for words in [&RUN[..], &["run", journal, "--yes"], &["undo", journal], &["status", journal]] {
            let received = stage.service.received();
            let ended = stage.run(words).expect(2);
            assert!(ended.stderr.contains(&left) && ended.stderr.contains("--fresh"), "{}", ended.stderr);
            assert_eq!(stage.service.received(), received);
        }
        assert!(stage.has(&left), "it is left as it is");
        stage.run(&[&RUN[..], &["--fresh"]].concat()).expect(0);
        assert!(stage.service.bindings().is_empty());
        assert_eq!(stage.outcomes().len(), ROWS);
    }
}

#[test]
fn p16_another_input_under_the_same_name_is_refused() {
    let stage = stopped();
    let input = stage.read("leavers.csv");
    stage.leavers([("d-1", "leaver-1")]);
    check_refused(&stage, &RUN, &["leavers.csv", "contents", "--fresh", "run leavers.results.csv.journal"]);
    stage.write("leavers.csv", &input);
    stage.run(&RUN).expect(0);
    assert!(stage.service.bindings().is_empty());
}

#[test]
fn p08_a_resume_waits_one_period_before_its_first_request_of_each_class() {
    let stage = stopped().set("READ_RATE", "1/s").set("WRITE_RATE", "1/s");
    let (received, began) = (stage.service.received(), tokio::time::Instant::now());
    stage.run(&RUN).expect(0);
    let log = stage.service.app.log();
    for write in [false, true] {
        let first = log[received..].iter().find(|entry| entry.op.is_write() == write).unwrap();
        // The process before may have sent right before it was killed. It can't be sooner, however slow the machine.
        assert!(
            first.at >= began + Duration::from_secs(1),
            "{} came {:?} after the start",
            first.op.as_str(),
            first.at - began
        );
    }
}

#[test]
fn p16_other_plan_shaping_settings_are_refused_by_name() {
    let stage = stopped();
    let cases: [(&[&str], &[&str]); 6] = [
        (&["--max-desktops-per-request", "3"], &["max-desktops-per-request", "was 2", "is 3"]),
        (&["--max-users-per-request", "17"], &["max-users-per-request", "17"]),
        (&["--protect", "ceo*"], &["protect", "ceo*"]),
        (&["--on-invalid", "skip"], &["on-invalid", "was abort", "is skip"]),
        (&["--allow-detach-all"], &["allow-detach-all"]),
        (&["--preflight", "off"], &["preflight"]),
    ];
    for (options, named) in cases {
        check_refused(&stage, &[&RUN[..], options].concat(), named);
    }
    // Pace and waits shape no plan.
    stage.run(&[&RUN[..], &["--write-rate", "100/s", "--concurrency", "3"]].concat()).expect(0);
}

#[test]
fn p16_another_project_or_endpoint_is_refused() {
    let stage = stopped();
    let other = Service::start(batch_detach::testing::sim::World::new(1), Scenario::default());
    check_refused(&stage, &[&RUN[..], &["--project-id", "ffff0000"]].concat(), &["project-id", "ffff0000"]);
    check_refused(&stage, &[&RUN[..], &["--endpoint", &other.url()]].concat(), &["endpoint", &other.url()]);
    check_refused(&stage, &[&RUN[..], &["--simulate"]].concat(), &["endpoint", "simulator"]);
    check_refused(
        &stage,
        &["run", "leavers.results.csv.journal", "--yes", "--project-id", "ffff0000"],
        &["project-id", "ffff0000"],
    );
    assert_eq!(other.received(), 0);
    stage.run(&RUN).expect(0);
}

#[test]
fn a_journal_is_resumed_without_its_input_by_the_settings_it_was_planned_with() {
    let stage = stopped().without("BATCH_DETACH_MAX_DESKTOPS_PER_REQUEST");
    std::fs::remove_file(stage.path("leavers.csv")).unwrap();
    let ended = stage.run(&["run", "leavers.results.csv.journal", "--yes"]).expect(0);
    assert!(ended.stderr.contains("resuming run "), "{}", ended.stderr);
    assert!(stage.service.bindings().is_empty());
    let rows = stage.results();
    assert!(rows.len() == ROWS && rows.iter().all(|row| row["outcome"] == "detached"));
    assert_eq!(stage.service.writes().len(), 3, "what was open is read back, not sent again");
    assert_eq!(rows[2]["attempts"], "1");
}

#[test]
fn after_a_failed_canary_only_a_fresh_start_goes_on_and_the_last_line_says_so() {
    let fates = vec![FateOf { desktops: vec![id("d-0")], fate: Fate::Hibernated }];
    let seats = (0..ROWS).map(|n| seat(&format!("d-{n}"), &format!("leaver-{n}")));
    let stage = Stage::new(seats, Scenario { fates, ..Scenario::default() });
    stage.leavers((0..ROWS).map(|n| (format!("d-{n}"), format!("leaver-{n}"))));
    let words = ["run", "leavers.csv", "--yes", "--canary", "2"];
    let first = stage.run(&words).expect(5);
    assert_eq!(first.next(), ["run", "leavers.csv", "--fresh", "--canary", "2"]);
    let sent = stage.service.writes().len();
    let again = stage.run(&words).expect(5);
    assert_eq!(again.next(), ["run", "leavers.csv", "--fresh", "--canary", "2"]);
    assert_eq!(stage.service.writes().len(), sent);
    let not_sent = stage.results().iter().filter(|row| row["outcome"] == "not_sent").count();
    assert_eq!(not_sent, ROWS - 2);

    stage.service.app.world().desktop_mut(&id("d-0")).unwrap().live.status = "ACTIVE".into();
    stage.run(&["run", "leavers.csv", "--fresh", "--canary", "2", "--yes"]).expect(0);
    assert!(stage.service.bindings().is_empty());
}

#[test]
fn a_resume_asks_as_any_run_does() {
    let stage = stopped();
    let writes = stage.service.writes().len();
    let ended = stage.run(&["run", "leavers.csv"]).expect(3);
    assert!(ended.stderr.contains("--yes"), "{}", ended.stderr);
    assert_eq!(stage.service.writes().len(), writes);
}

#[test]
fn a_rehearsal_is_never_taken_for_the_run() {
    let stage = stopped();
    let simulated = ["run", "leavers.csv", "--yes", "--simulate", "--results", "rehearsal.csv"];
    let received = stage.service.received();
    let ended = stage.run(&simulated);
    assert!([Some(0), Some(1)].contains(&ended.code), "{ended:?}");
    assert_eq!(stage.service.received(), received, "a rehearsal asks no real service");
    check_refused(&stage, &[&RUN[..], &["--simulate"]].concat(), &["simulator"]);
    stage.run(&RUN).expect(0);
}
