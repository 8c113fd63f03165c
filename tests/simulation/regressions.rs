//! Bugs that the simulation found, each by the shortest script that shows it.

use std::time::Duration;

use batch_detach::testing::model::{DesktopId, Outcome};
use batch_detach::testing::sim::{Auth, Blame, Effect, Fate, FateOf, Fault, Login, Matching, Op, Refused};

use crate::history::{History, ResultLine};
use crate::oddity::Oddity;
use crate::run::{Report, judge, record, run};
use crate::script::{Death, Deed, Script, TakeBack, id};

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
fn p10_a_request_that_was_divided_stays_divided_when_its_desktops_are_looked_at_again() {
    // A service that is busy for ever, and looks that have grown old when the turn to send comes.
    for seed in [15_440, 18_225] {
        kept(&Script::odd(seed, &Oddity::ALL.map(|(odd, _)| odd)));
    }
}

#[test]
fn a_canary_whose_desktops_cannot_be_read_is_judged_though_others_of_its_rows_wait_for_them() {
    kept(&Script::odd(67_608, &Oddity::ALL.map(|(odd, _)| odd)));
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

#[test]
fn a_desktop_that_stays_refused_is_settled_though_the_read_at_its_deadline_fails() {
    let mut script = Script::calm(&["d-00 u0"], "d-00,,u0,,\n");
    script.scenario.world.hibernated = Blame::Request;
    script.scenario.fates = vec![fate(0, Fate::Frozen)];
    let (from, until) = (Duration::from_secs(560), Duration::from_secs(900));
    script.scenario.faults = vec![Fault::new(Op::ListDesktops, Effect::DropBefore).between(from, until)];
    let report = kept(&script);
    assert_eq!((report.lives, report.outcomes), (1, [("failed", 1)].into()));
}

#[test]
fn p11_a_token_that_ends_as_the_preflight_asks_for_names_is_renewed_before_anything_else_is_sent() {
    let mut script = Script::calm(&["d-00 u0", "d-01 u0", "d-02 u1"], "d-02,,u1,,\n,,u0,,\n");
    let login = Login { user: "ops".to_owned(), password: "secret".to_owned(), domain: "acme".to_owned() };
    script.scenario.auth = Auth::Token { valid: vec!["first".to_owned()], login: Some(login) };
    script.scenario.world.latency = Duration::from_secs(2);
    script.scenario.revoke_at = vec![Duration::from_millis(7_500)];
    script.policy.bounds.max_desktops = 1;
    script.write_period = Duration::from_millis(10);
    assert_eq!(kept(&script).outcomes, [("detached", 3)].into());
}

#[test]
fn p02_a_row_beside_an_all_that_meets_somebody_new_is_judged_for_itself() {
    let mut script = Script::calm(&["d-00 u0", "d-00 u1"], "d-00,,,ALL,\nd-00,,u0,,\n");
    script.policy.allow_detach_all = true;
    let at = Duration::from_millis(400);
    let new = Script::calm(&["d-00 new"], "").seats.remove(0);
    script.deeds = vec![(at, Deed::Unbind(id(0))), (at, Deed::Bind(new))];
    assert_eq!(kept(&script).outcomes, [("already_detached", 1), ("failed", 1)].into());
}

#[test]
fn p02_a_desktop_that_goes_before_its_all_is_sent_again_is_not_told_to_have_been_free_before() {
    for tenths in 300..380 {
        let mut script = Script::calm(&["d-00 u0"], "d-00,,,ALL,\n");
        script.policy.allow_detach_all = true;
        script.scenario.faults = vec![Fault::new(Op::BatchDetach, Effect::DropBefore).count(1)];
        script.deeds = vec![(Duration::from_millis(tenths * 100), Deed::Delete(id(0)))];
        assert_eq!(kept(&script).outcomes, [("detached", 1)].into(), "gone after {tenths} tenths of a second");
    }
}

#[test]
fn p07_an_all_that_waits_for_a_slow_turn_is_looked_at_when_the_turn_has_come() {
    let mut script = Script::calm(&["d-00 u0", "d-01 u1", "d-02 u2"], "d-00,,,ALL,\nd-01,,,ALL,\nd-02,,,ALL,\n");
    script.policy.allow_detach_all = true;
    script.policy.bounds.max_desktops = 1;
    script.write_period = Duration::from_secs(60);
    assert_eq!(kept(&script).outcomes, [("detached", 3)].into());
}

#[test]
fn a_read_that_is_asked_to_stay_away_for_a_day_stops_the_run_instead_of_waiting() {
    let mut script = Script::calm(&["d-00 u0"], "d-00,,u0,,\n");
    let day = Effect::Throttle { limit: 1, window: Duration::from_secs(60), retry_after: Some("86400".to_owned()) };
    script.scenario.faults = vec![Fault::new(Op::ListDesktops, day).after(2).count(1)];
    let report = kept(&script);
    assert_eq!((report.lives, report.outcomes), (2, [("detached", 1)].into()));
}

#[test]
fn a_canary_that_was_over_as_the_process_died_is_judged_by_the_next_one() {
    let mut script = Script::calm(&["d-00 u0", "d-01 u1"], "d-00,,u0,,\nd-01,,u1,,\n");
    script.policy.canary = Some(1);
    script.verify = false;
    // The first process dies with the answer on record, the second with the word that follows from it.
    for event in 1..12 {
        script.deaths = [9, event].map(|at| Death { at_event: Some(at), kept: 2, ..Death::NEVER }).to_vec();
        assert_eq!(kept(&script).outcomes, [("detached", 2)].into(), "the second one died at event {event}");
    }
}

#[test]
fn p11_a_look_right_before_an_all_that_is_refused_stops_everybody() {
    let seats: Vec<_> = (0..6).map(|n| format!("d-{n:02} u{n}")).collect();
    let rows: String = (0..6).map(|n| format!("d-{n:02},,,ALL,\n")).collect::<Vec<_>>().concat();
    let mut script = Script::calm(&seats.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
    let login = Login { user: "ops".to_owned(), password: "secret".to_owned(), domain: "acme".to_owned() };
    script.scenario.auth = Auth::Token { valid: vec!["first".to_owned()], login: Some(login) };
    script.policy.allow_detach_all = true;
    script.policy.bounds.max_desktops = 1;
    script.scenario.faults = vec![Fault::new(Op::BatchDetach, throttled_for(20)).count(2)];
    for second in 1..30 {
        script.scenario.revoke_at = vec![Duration::from_secs(second)];
        assert_eq!(kept(&script).outcomes, [("detached", 6)].into(), "ended at {second} s");
    }
}

#[test]
fn p10_an_all_that_is_sent_again_draws_on_the_budget_of_repeats() {
    let seats: Vec<_> = (0..30).map(|n| format!("d-{n:02} u{n}")).collect();
    let rows: String = (0..30).map(|n| format!("d-{n:02},,,ALL,\n")).collect::<Vec<_>>().concat();
    let mut script = Script::calm(&seats.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
    script.policy.allow_detach_all = true;
    script.policy.bounds.max_desktops = 1;
    let broken = Effect::Refuse(Refused::new(500, "", ""));
    script.scenario.faults = vec![Fault::new(Op::BatchDetach, broken).count(100)];
    kept(&script);
}

#[test]
fn chunks_are_loaded_when_those_before_them_all_wait_aside_for_desktops_that_cannot_be_read() {
    let seats = ["d-00 u0", "d-00 u1", "d-01 u2", "d-01 u3", "d-02 u4", "d-02 u5", "d-02 u6"];
    let rows: String = seats.map(|seat| format!("{},,\n", seat.replace(' ', ",,"))).concat();
    let mut script = Script::calm(&seats, &rows);
    script.policy.bounds.max_desktops = 1;
    script.policy.bounds.max_users_per_desktop = 1;
    (script.concurrency, script.verify) = (1, false);
    let unread = [id(0), id(1)];
    let broken = Effect::Refuse(Refused::new(500, "", ""));
    let (from, until) = (Duration::from_secs(3), Duration::from_secs(760));
    script.scenario.faults = vec![
        Fault::new(Op::BatchDetach, Effect::DropBefore).naming(unread.clone()).count(2),
        Fault::new(Op::BatchDetach, throttled_for(800)).naming([id(2)]).count(1),
        Fault::new(Op::ListDesktops, broken).naming(unread).between(from, until),
    ];
    assert_eq!(kept(&script).outcomes, [("detached", 7)].into());
}

/// The end of a run in which all promises must be kept, and of its undo: a row each.
fn ends(script: &Script) -> (ResultLine, Option<ResultLine>) {
    let (history, mut report) = record(script);
    let history = history.expect("a plan was made");
    judge(&history, &mut report);
    assert_eq!(report.broken, Vec::<String>::new(), "{:#?}", report.trace);
    let end = |history: &History| history.stops.last().expect("it ended").rows[0].clone();
    (end(&history), report.undo.as_deref().map(end))
}

/// Two of one name on a desktop for several; the row names the first of them by his id.
fn namesakes(matching: Matching) -> Script {
    let mut script = Script::calm(&["d-00 sam", "d-00 sam"], "");
    for (seat, id) in script.seats.iter_mut().zip(["u-1", "u-2"]) {
        seat.bound.user_id = Some(id.to_owned());
    }
    "desktop_id,user_name,user_id\nd-00,sam,u-1\n".clone_into(&mut script.csv);
    script.scenario.world.matching = matching;
    script
}

#[test]
fn p02_a_namesake_who_goes_with_the_leaver_is_told_and_one_who_stays_is_no_doubt() {
    let (by_id, _) = ends(&namesakes(Matching::Id));
    assert_eq!((by_id.outcome, by_id.code.as_str()), (Outcome::Detached, ""));
    let (by_name, _) = ends(&namesakes(Matching::Name));
    assert_eq!((by_name.outcome, by_name.code.as_str()), (Outcome::Detached, "DOUBT_NAMESAKE_GONE"));
}

#[test]
fn p02_without_verification_a_row_beside_a_namesake_says_that_nobody_looked() {
    for (matching, row) in
        [(Matching::Id, "d-00,sam,u-1"), (Matching::Name, "d-00,sam,u-1"), (Matching::Id, "d-01,bob,")]
    {
        let mut script = namesakes(matching);
        script.seats.extend(Script::calm(&["d-01 bob"], "").seats);
        script.csv = format!("desktop_id,user_name,user_id\n{row}\n");
        script.verify = false;
        let code = if row.contains("sam") { "DOUBT_NAMESAKE_UNREAD" } else { "" };
        assert_eq!(ends(&script).0.code, code, "{row}");
    }
}

#[test]
fn a_namesake_who_was_there_before_the_run_is_no_obstacle_to_its_undo() {
    let mut script = namesakes(Matching::Id);
    script.undo = Some(TakeBack::default());
    let (_, undone) = ends(&script);
    assert_eq!(undone.map(|row| row.outcome), Some(Outcome::Attached));
    // One who came since is: the desktop looks as if he were meant.
    let mut script = Script::calm(&["d-00 sam", "d-00 bob"], "d-00,,sam,,\n");
    script.undo = Some(TakeBack { pause: Duration::from_secs(1), ..TakeBack::default() });
    let mut other = script.seats[0].clone();
    other.bound.user_id = Some("u-9".to_owned());
    script.undo_deeds = vec![(Duration::ZERO, Deed::Bind(other))];
    let (_, undone) = ends(&script);
    let undone = undone.expect("it is taken back");
    assert_eq!((undone.outcome, undone.code.as_str()), (Outcome::Invalid, "INVALID_ID_MISMATCH"));
}

#[test]
fn p02_a_namesake_who_is_bound_by_the_time_of_a_resume_is_not_the_leaver() {
    let mut script = Script::calm(&["d-00 sam"], "d-00,,sam,,\n");
    script.seats[0].bound.user_id = Some("u-1".to_owned());
    let mut other = script.seats[0].clone();
    other.bound.user_id = Some("u-2".to_owned());
    let meanwhile = Duration::from_secs(600);
    script.deeds = vec![(meanwhile, Deed::Unbind(id(0))), (meanwhile, Deed::Bind(other))];
    script.deaths = vec![Death { after: Some(Duration::ZERO), ..Death::NEVER }];
    let report = kept(&script);
    assert_eq!((report.lives, report.outcomes), (2, [("already_detached", 1)].into()));
}

#[test]
fn a_namesake_whom_the_run_took_too_is_no_obstacle_to_the_undo_of_the_other() {
    let mut script = namesakes(Matching::Id);
    "desktop_id,user_name,user_id\nd-00,sam,u-1\nd-00,sam,u-2\n".clone_into(&mut script.csv);
    script.undo = Some(TakeBack { pause: Duration::from_secs(1), ..TakeBack::default() });
    script.undo_deeds = vec![(Duration::ZERO, Deed::Bind(script.seats[1].clone()))];
    let (_, undone) = ends(&script);
    assert_eq!(undone.map(|row| row.outcome), Some(Outcome::Attached));
}

#[test]
fn a_desktop_of_which_nobody_can_tell_keeps_no_other_one_from_being_sent() {
    let seats = ["d-00 u0", "d-00 u1", "d-00 u2", "d-01 u3", "d-02 u4", "d-03 u5"];
    let rows: String = seats.iter().map(|seat| seat.replace(' ', ",,") + ",,\n").collect();
    let mut script = Script::calm(&seats, &rows);
    script.policy.bounds.max_users_per_desktop = 1;
    script.policy.bounds.max_desktops = 2;
    script.preflight = false;
    script.scenario.fates = vec![fate(0, Fate::Busy { lasts: Duration::from_secs(1_000 * 86_400) })];
    script.scenario.faults = vec![Fault::new(Op::BatchDetach, Effect::DropBefore).naming([id(0)]).count(1)];
    let outcomes = kept(&script).outcomes;
    assert_eq!(outcomes.get("detached"), Some(&3), "{outcomes:?}");
}

#[test]
fn a_namesake_who_is_attached_in_place_of_the_leaver_is_no_success_and_not_asked_for_again() {
    let mut script = Script::calm(&["d-00 sam", "d-00 bob", "d-01 eve"], "d-00,,sam,,\n");
    script.scenario.world.matching = Matching::Name;
    script.undo = Some(TakeBack { pause: Duration::from_secs(1), ..TakeBack::default() });
    let mut other = script.seats[0].clone();
    (other.desktop, other.bound.user_id) = (id(1), Some("u-9".to_owned()));
    script.undo_deeds = vec![(Duration::ZERO, Deed::Bind(other))];
    let (_, undone) = ends(&script);
    let undone = undone.expect("it is taken back");
    assert_eq!((undone.outcome, undone.code.as_str(), undone.attempts), (Outcome::Failed, "NOT_BOUND", 1));
}

#[test]
fn p06_without_a_look_one_desktop_in_two_spellings_is_one_to_the_engine() {
    let mut script = Script::calm(&["d-00 u0", "d-00 u1"], "d-00,,u0,,\nD-00,,u1,,\n");
    script.scenario.world.matching = Matching::AnyCase;
    script.scenario.world.detach_lag = Duration::from_secs(3);
    script.policy.bounds.max_users_per_desktop = 1;
    script.preflight = false;
    assert_eq!(kept(&script).outcomes, [("detached", 2)].into());
}

#[test]
fn p02_a_job_that_was_never_found_is_no_consent_for_the_next_process_either() {
    let mut script = Script::calm(&["d-00 u0"], "d-00,,u0,,\n");
    script.verify = false;
    let fails = Fate::JobFails { code: "WKS.1403".to_owned(), message: "no agent".to_owned() };
    script.scenario.fates = vec![fate(0, fails)];
    let lost = Effect::Refuse(Refused::new(404, "WKS.0203", "The job does not exist."));
    script.scenario.faults = [Op::ShowJob, Op::ListSubJobs].map(|op| Fault::new(op, lost.clone())).into();
    let report = kept(&script);
    assert_eq!(report.outcomes, [("failed", 1)].into());
}

#[test]
fn p02_two_desktops_whose_ids_differ_by_case_alone_are_not_taken_for_each_other() {
    for stays in ["d-00", "D-00"] {
        let mut script = Script::calm(&["d-00 u0", "D-00 u1"], "d-00,,u0,,\nD-00,,u1,,\n");
        let desktops = vec![DesktopId::parse(stays).unwrap()];
        script.scenario.fates = vec![FateOf { desktops, fate: Fate::NeverUnbinds }];
        assert_eq!(kept(&script).outcomes, [("detached", 1), ("failed", 1)].into(), "{stays}");
    }
}
