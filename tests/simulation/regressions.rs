//! Bugs that the simulation found, each by the shortest script that shows it.

use std::time::Duration;

use batch_detach::sim::{Blame, Effect, Fate, FateOf, Fault, Op};

use crate::run::{Report, run};
use crate::script::{Death, Script, id};

/// Runs a script in which all promises must be kept.
fn kept(script: &Script) -> Report {
    let report = run(script);
    assert_eq!(report.broken, Vec::<String>::new(), "{:#?}", report.trace);
    report
}

fn fate(desktop: usize, fate: Fate) -> FateOf {
    FateOf { desktops: vec![id(desktop)], fate }
}

fn throttled_for(seconds: u32) -> Effect {
    Effect::Throttle { limit: 100, window: Duration::from_secs(60), retry_after: Some(seconds.to_string()) }
}

#[test]
fn a_part_that_waited_aside_and_must_be_looked_at_does_not_hang_the_resume() {
    let mut script = Script::calm(&["d-00 u0", "d-00 u1"], "d-00,,u0,,\nd-00,,u1,,\n");
    script.policy.bounds.max_users_per_desktop = 1;
    script.deaths = vec![Death { after: Some(Duration::from_millis(800)), ..Death::NEVER }];
    assert_eq!(kept(&script).outcomes, [("detached", 2)].into());
}

#[test]
fn p07_a_look_that_grows_old_at_the_gate_is_taken_again_before_all_are_detached() {
    let mut script = Script::calm(&["d-00 u0", "d-00 u1"], "d-00,,,ALL,\n");
    script.policy.allow_detach_all = true;
    script.scenario.faults = vec![Fault::new(Op::BatchDetach, throttled_for(60)).count(2)];
    assert_eq!(kept(&script).outcomes, [("detached", 1)].into());
}

#[test]
fn p10_a_desktop_that_is_refused_as_busy_and_looks_idle_is_tried_five_times_at_most() {
    let mut script = Script::calm(&["d-00 u0"], "d-00,,u0,,\n");
    script.scenario.fates = vec![fate(0, Fate::Frozen)];
    assert_eq!(kept(&script).outcomes, [("failed", 1)].into());
}

#[test]
fn p02_a_doubt_on_a_desktop_that_then_stays_refused_is_settled_by_reads_and_not_left_unknown_for_ever() {
    let mut script = Script::calm(&["d-00 u0"], "d-00,,u0,,\n");
    script.scenario.world.hibernated = Blame::Request;
    script.scenario.fates = vec![fate(0, Fate::Frozen)];
    script.scenario.faults = vec![Fault::new(Op::BatchDetach, Effect::DropBefore).count(1)];
    let report = kept(&script);
    assert_eq!((report.lives, report.outcomes), (1, [("failed", 1)].into()));
}
