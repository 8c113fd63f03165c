//! Two processes: on one journal, and on one desktop.

use std::time::{Duration, Instant};

use batch_detach::testing::sim::{Effect, Fault, Op, Physics, Scenario};

use super::service::seat;
use super::stage::Stage;

/// A run of two requests, the first of which is answered only after a long time.
fn stuck() -> Stage {
    let stuck = Fault::new(Op::BatchDetach, Effect::Delay(Duration::from_secs(30))).count(1);
    let stage =
        Stage::new([seat("d-1", "ann"), seat("d-2", "bob")], Scenario { faults: vec![stuck], ..Scenario::default() });
    stage.leavers([("d-1", "ann"), ("d-2", "bob")]);
    stage
}

const RUN: [&str; 3] = ["run", "leavers.csv", "--yes"];

#[test]
fn p15_a_second_process_is_refused_and_after_a_kill_the_third_starts_at_once() {
    let stage = stuck();
    let before = stage.service.bindings();
    let holder = stage.start(&RUN);
    stage.service.wait_for("the first write is open", |log| log.iter().any(|entry| entry.op.is_write()));

    for words in
        [&RUN[..], &["run", "leavers.csv", "--yes", "--fresh"], &["run", "leavers.results.csv.journal", "--yes"]]
    {
        let received = stage.service.received();
        let second = stage.run(words).expect(6);
        assert!(second.last_line().starts_with("exit code 6: another process"), "{}", second.stderr);
        assert_eq!(stage.service.received(), received, "it asks the service nothing");
    }
    let status = stage.run(&["status", "leavers.results.csv.journal"]).expect(0);
    assert!(status.stdout.contains("running"), "{}", status.stdout);

    holder.kill();
    let began = Instant::now();
    let third = stage.run(&RUN).expect(0);
    assert!(third.stderr.contains("resuming run "), "{}", third.stderr);
    assert!(began.elapsed() < Duration::from_secs(15), "the dead holder was waited for");
    stage.check(&before);
    assert!(!stage.has("leavers.results.csv.journal.lock"));
}

#[test]
fn p15_a_lock_file_that_was_left_over_means_nothing() {
    let stage = Stage::new([seat("d-1", "ann")], Scenario::default());
    stage.leavers([("d-1", "ann")]);
    stage.write("leavers.results.csv.journal.lock", "");
    stage.run(&RUN).expect(0);
}

#[test]
fn p02_two_inputs_that_name_one_desktop_at_the_same_time_both_end_in_the_truth() {
    let world =
        Physics { detach_lag: Duration::from_millis(60), latency: Duration::from_millis(20), ..Physics::default() };
    let seats =
        (0..30).flat_map(|n| ["ann", "bob", "stays"].map(|user| seat(&format!("d-{n}"), &format!("{user}-{n}"))));
    let stage = Stage::new(seats, Scenario { world, ..Scenario::default() });
    let rows = |user: &str| {
        let rows = (0..30).map(|n| format!("d-{n},{user}-{n}\n")).chain((0..30).map(|n| format!("d-{n},ann-{n}\n")));
        "desktop_id,user_name\n".to_owned() + &rows.collect::<String>()
    };
    stage.write("one.csv", &rows("ann"));
    stage.write("two.csv", &rows("bob"));
    let running = ["one.csv", "two.csv"]
        .map(|input| stage.start(&["run", input, "--yes", "--max-desktops-per-request", "5", "--concurrency=2"]));
    for run in running {
        run.wait().expect(0);
    }
    assert_eq!(stage.service.bindings().len(), 30, "only those who stay are left");
    for results in ["one.results.csv", "two.results.csv"] {
        let rows = stage.records(results);
        assert_eq!(rows.len(), 60);
        assert!(rows.iter().all(|row| ["detached", "already_detached"].contains(&row["outcome"].as_str())));
    }
}
