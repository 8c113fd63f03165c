//! Ends before the end: canary, brake, time, and what a setting leaves out. Each leaves a journal that goes on.

use std::fmt::Write as _;
use std::time::Duration;

use batch_detach::testing::build::{id, world};
use batch_detach::testing::sim::{Effect, Fate, Fault, Op, Scenario, World};

use super::{at_once, seat};
use crate::stage::{Stage, assert_tally};

/// `d-00` … each with a user, and the sheet that names all of them.
fn some(desktops: usize, doomed: impl Fn(usize) -> Option<Fate>) -> Stage {
    let seats = (0..desktops).map(|n| seat(&format!("d-{n:02}"), &format!("PC-{n:02}"), &format!("u-{n}")));
    let mut world = World::from_seats(seats, 1);
    for n in 0..desktops {
        if let Some(fate) = doomed(n) {
            world.doom(&id(&format!("d-{n:02}")), fate);
        }
    }
    let stage = Stage::with(world, at_once());
    let csv = (0..desktops).fold("desktop_id,user_name\n".to_owned(), |mut csv, n| {
        _ = writeln!(csv, "d-{n:02},u-{n}");
        csv
    });
    stage.sheet(&csv);
    stage
}

fn refuses(times: Option<u32>) -> Fate {
    Fate::FailsWith { code: "WKS.00010042".into(), message: "no".into(), times }
}

#[test]
fn a_canary_goes_first_and_the_rest_only_when_all_of_it_is_verified() {
    let stage = some(30, |_| None);
    stage.run_leavers(&["--canary", "3"]).expect(0);
    assert_tally(stage.column("outcome"), &[("detached", 30)]);
    let log = stage.service.app.log();
    let writes: Vec<_> = log.iter().filter(|entry| entry.op == Op::BatchDetach).collect();
    let sizes: Vec<usize> = stage.detaches().iter().map(|body| body["desktops"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [3, 27]);
    let between = &log[writes[0].number + 1..writes[1].number];
    assert!(between.iter().filter(|entry| entry.op == Op::ListDesktops).count() >= 2, "two reads prove it");
}

#[test]
fn a_failed_canary_stops_the_run_and_only_a_fresh_one_goes_on() {
    let stage = some(30, |n| (n == 1).then(|| refuses(Some(1))));
    stage.run_leavers(&["--canary", "3"]).expect(5).says("the canary failed").says("--fresh");
    assert_tally(stage.column("outcome"), &[("detached", 2), ("failed", 1), ("not_sent", 27)]);
    stage.run_leavers(&["--canary", "3"]).expect(5).says("the canary of run").says("--fresh");
    assert_eq!(stage.detaches().len(), 1, "nothing else was sent");
    stage.run_leavers(&["--canary", "3", "--fresh"]).expect(0);
    assert_tally(stage.column("outcome"), &[("already_detached", 2), ("detached", 28)]);
}

#[test]
fn the_brake_stops_a_run_in_which_too_many_fail_and_it_can_go_on() {
    let stage = some(80, |n| (n % 2 == 0 && n < 40).then(|| refuses(None)));
    let slowly = ["--stop-at", "10%", "--max-desktops-per-request", "10", "--concurrency", "1", "--write-rate", "2/s"];
    stage.run_leavers(&slowly).expect(5).says("--stop-at 10%");
    let outcomes = crate::stage::tally(stage.column("outcome"));
    assert!(outcomes["failed"] >= 3 && outcomes["not_sent"] >= 20, "{outcomes:?}");
    stage.every_outcome_is_true();
    let words = [&slowly[..2], &["--max-desktops-per-request", "10"], &["--stop-at", "100%"]].concat();
    let words = &words[2..];
    stage.run_leavers(words).expect(1).says("resuming run");
    assert_tally(stage.column("outcome"), &[("detached", 60), ("failed", 20)]);
    stage.every_outcome_is_true();
}

#[test]
fn a_run_whose_time_is_over_stops_and_goes_on_where_it_was() {
    let stage = some(30, |_| None);
    let slowly = ["--max-desktops-per-request", "1", "--max-runtime", "2s", "--write-rate", "5/s"];
    stage.run_leavers(&slowly).expect(5).says("--max-runtime");
    let outcomes = crate::stage::tally(stage.column("outcome"));
    assert!(outcomes["not_sent"] >= 15, "{outcomes:?}");
    let sent = stage.detaches().len();
    assert!((1..=12).contains(&sent), "{sent} requests in 2 s at 5 a second");
    stage.run_leavers(&["--max-desktops-per-request", "1"]).expect(0).says("resuming run");
    assert_tally(stage.column("outcome"), &[("detached", 30)]);
    assert_eq!(stage.detaches().len(), 30, "nothing was sent twice");
}

#[test]
fn the_time_of_a_run_begins_with_its_process_and_the_reads_before_the_plan_are_part_of_it() {
    let late = Effect::Delay(Duration::from_millis(1_500));
    let scenario = Scenario { faults: vec![Fault::new(Op::ListDesktops, late).count(1)], ..at_once() };
    let stage = Stage::with(world(&[("d1", &["ann"])]), scenario);
    stage.sheet("desktop_id,user_name\nd1,ann\n");
    stage.run_leavers(&["--max-runtime", "1s"]).expect(5).says("--max-runtime");
    assert_eq!((stage.detaches().len(), stage.column("outcome")), (0, vec!["not_sent".to_owned()]));
    stage.run_leavers(&[]).expect(0).says("resuming run");
    assert_tally(stage.column("outcome"), &[("detached", 1)]);
}

#[test]
fn a_time_that_is_over_does_not_stop_a_run_with_nothing_left_to_do() {
    let late = Effect::Delay(Duration::from_millis(1_500));
    let scenario = Scenario { faults: vec![Fault::new(Op::ListDesktops, late).count(1)], ..at_once() };
    let stage = Stage::with(world(&[("d1", &["bob"])]), scenario);
    stage.sheet("desktop_id,user_name\nd1,ann\n");
    stage.run_leavers(&["--max-runtime", "1s", "--unknown-users", "gone", "--still-access", "off"]).expect(0);
    assert_tally(stage.column("outcome"), &[("already_detached", 1)]);
}

#[test]
fn desktops_in_use_are_left_when_told_so_and_named_in_any_case() {
    let people: Vec<(&str, &[&str])> = vec![("d1", &["ann", "bob"]), ("d2", &["cara"]), ("d3", &["dan"])];
    let mut world = world(&people);
    world.doom(&id("d1"), Fate::Connected);
    let stage = Stage::with(world, at_once());
    stage.sheet("desktop_id,user_name\nd1,ann\nd1,bob\nd1,nobody\nd2,cara\n");
    stage
        .plan_leavers(&["--in-use", "skip"])
        .expect(1)
        .says("2 left out")
        .says("1 desktop is in use now and left out: D1");
    stage.run_leavers(&["--in-use", "skip"]).expect(1);
    assert_eq!(stage.column("outcome"), ["not_sent", "not_sent", "already_detached", "detached"]);
    assert_eq!(stage.column("error_code"), ["IN_USE", "IN_USE", "", ""]);
    assert_eq!(stage.service.names("d1").len(), 2);
    stage.run_leavers(&["--fresh"]).expect(0).says("is in use now: D1");
    assert!(stage.service.names("d1").is_empty());
}
