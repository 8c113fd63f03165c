//! Promises one by one, each by the shortest script in which breaking it shows, and faults
//! that want more than chance.

use std::time::Duration;

use batch_detach::testing::journal::Record;
use batch_detach::testing::sim::{Auth, Blame, Effect, Fate, FateOf, Fault, Login, Op, Outage, OutageKind, Refused};

use crate::history::{self, History};
use crate::run::{Report, record, run};
use crate::script::{Death, Deed, Script, id};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many desktops with a user each, and all of them to be detached.
fn desktops(count: usize) -> Script {
    let seats: Vec<_> = (0..count).map(|n| format!("d-{n:02} u{n}")).collect();
    let rows = (0..count).map(|n| format!("d-{n:02},,u{n},,\n")).collect::<Vec<_>>().concat();
    Script::calm(&seats.iter().map(String::as_str).collect::<Vec<_>>(), &rows)
}

/// One desktop whose users go one after another, each in a part of its own.
fn parts() -> Script {
    let mut script = Script::calm(&["d-00 u0", "d-00 u1", "d-00 u2"], "d-00,,u0,,\nd-00,,u1,,\nd-00,,u2,,\n");
    script.policy.bounds.max_users_per_desktop = 1;
    script
}

/// Runs a script in which all promises must be kept.
#[track_caller]
fn kept(script: &Script) -> Report {
    let report = run(script);
    assert_eq!(report.broken, Vec::<String>::new(), "{:#?}", report.trace);
    report
}

/// The same, and everything that is known of it.
#[track_caller]
fn told(script: &Script) -> History {
    let (history, report) = record(script);
    assert_eq!(report.broken, Vec::<String>::new(), "{:#?}", report.trace);
    let history = history.unwrap();
    assert_eq!(history::check(&history), []);
    history
}

fn writes(history: &History) -> usize {
    history.requests.iter().filter(|request| request.entry.op.is_write()).count()
}

#[test]
fn p03_a_row_that_is_settled_is_not_sent_again_though_another_of_its_desktop_is() {
    let mut script = Script::calm(&["d-00 u0", "d-00 u1"], "d-00,,u0,,\nd-00,,u1,,\n");
    // The write is lost; meanwhile somebody detaches one of the two by hand, and once that is settled binds him again.
    script.scenario.faults = vec![Fault::new(Op::BatchDetach, Effect::DropBefore).count(1)];
    let again = script.seats[0].clone();
    script.deeds = vec![(s(10), Deed::Unbind(id(0))), (s(60), Deed::Bind(again))];
    let mut died_between = false;
    for event in 1..60 {
        script.deaths = vec![Death { at_event: Some(event), kept: 2, ..Death::NEVER }];
        let history = told(&script);
        let first_stop = &history.stops[0];
        let settled = history.records[..first_stop.records].iter().any(|one| matches!(one.record, Record::Settled(_)));
        died_between |= settled && first_stop.rows.iter().any(|row| !row.outcome.is_success());
    }
    assert!(died_between, "no process died between the two words");
}

#[test]
fn p04_no_byte_of_a_write_leaves_before_its_intent_is_durable_however_slow_the_disk() {
    let mut script = desktops(6);
    script.policy.bounds.max_desktops = 1;
    script.write_period = Duration::from_millis(10);
    script.scenario.faults = vec![
        Fault::new(Op::BatchDetach, Effect::DropBefore).count(1),
        Fault::new(Op::BatchDetach, Effect::Refuse(Refused::new(503, "APIGW.0613", ""))).after(3).count(1),
    ];
    for takes in [0, 1, 40, 3_000] {
        script.commit_takes = Duration::from_millis(takes);
        let history = told(&script);
        assert_eq!(writes(&history), 8, "{takes} ms: six, and the two that failed");
    }
}

#[test]
fn p06_a_desktop_in_doubt_holds_back_its_next_part() {
    for effect in [Effect::DropBefore, Effect::ExecuteThenDrop, Effect::Late { by: s(20), answer: None }] {
        let mut script = parts();
        script.scenario.faults = vec![Fault::new(Op::BatchDetach, effect).count(1)];
        assert_eq!(kept(&script).outcomes, [("detached", 3)].into());
    }
}

#[test]
fn p06_a_desktop_whose_job_runs_holds_back_its_next_part() {
    let mut script = parts();
    script.scenario.world.job_time = s(40);
    script.scenario.fates = vec![FateOf { desktops: vec![id(0)], fate: Fate::Pooled }];
    assert_eq!(kept(&script).outcomes, [("detached", 3)].into());
}

#[test]
fn p09_however_many_429s_come_no_row_fails_and_no_attempt_is_spent() {
    for retry_after in [None, Some("0"), Some("-1"), Some("1"), Some("soon"), Some("Tue, 15 Nov 1994 08:12:31 GMT")] {
        for limit in [1, 100] {
            let effect = Effect::Throttle { limit, window: s(60), retry_after: retry_after.map(ToOwned::to_owned) };
            let mut script = desktops(6);
            script.policy.bounds.max_desktops = 1;
            script.scenario.faults = vec![
                Fault::new(Op::BatchDetach, effect.clone()).count(12),
                Fault::new(Op::ListDesktops, effect).after(1).count(3),
            ];
            let history = told(&script);
            for row in &history.stops.last().unwrap().rows {
                assert_eq!((row.outcome.as_str(), row.attempts), ("detached", 1), "{retry_after:?}: {row:?}");
            }
            assert_eq!((history.lives.len(), writes(&history)), (1, 18), "{retry_after:?}");
        }
    }
}

#[test]
fn p10_an_outage_of_ten_minutes_is_waited_out() {
    for kind in [OutageKind::NotSent, OutageKind::Lost, OutageKind::Unavailable] {
        let mut script = desktops(8);
        script.policy.bounds.max_desktops = 1;
        script.scenario.outages = vec![Outage { from: s(3), until: s(603), kind }];
        let report = kept(&script);
        // Of 503s the last reads before a deadline may be the last of all; where nobody answers, one read a probe is made.
        let lives = if kind == OutageKind::Unavailable { 2 } else { 1 };
        assert_eq!(report.outcomes, [("detached", 8)].into(), "{kind:?}");
        assert!(report.lives <= lives, "{kind:?}: {} processes", report.lives);
    }
}

#[test]
fn p10_while_connections_are_cut_hardly_anything_but_a_probe_is_sent() {
    let mut script = desktops(60);
    script.policy.bounds.max_desktops = 1;
    script.scenario.outages = vec![Outage { from: s(3), until: s(603), kind: OutageKind::Lost }];
    let history = told(&script);
    // Each write that is cut is a doubt: the probe, a read, is cut as well, and must not open the way for more of them.
    let cut = history.requests.iter().filter(|request| request.entry.op.is_write() && request.reply.is_none()).count();
    assert!(cut <= 8, "{cut} writes went into a dead connection");
}

#[test]
fn p10_an_outage_of_two_hours_stops_the_run_and_a_resume_ends_it_with_no_row_failed() {
    for kind in [OutageKind::NotSent, OutageKind::Lost, OutageKind::Unavailable] {
        let mut script = desktops(8);
        script.policy.bounds.max_desktops = 1;
        script.scenario.outages = vec![Outage { from: s(3), until: s(7_203), kind }];
        let history = told(&script);
        assert!(history.lives.len() > 1, "{kind:?}: nobody stopped");
        let failed = |row: &&history::ResultLine| row.outcome.as_str() == "failed";
        let failed: Vec<_> = history.stops.iter().flat_map(|stop| &stop.rows).filter(failed).collect();
        assert!(failed.is_empty(), "{kind:?}: {failed:?}");
        let end = &history.stops.last().unwrap().rows;
        assert!(end.iter().all(|row| row.outcome.as_str() == "detached"), "{kind:?}: {end:?}");
    }
}

#[test]
fn p02_one_busy_desktop_of_a_hundred_keeps_none_of_the_others_waiting() {
    for blame in [Blame::Request, Blame::Desktop] {
        let mut script = desktops(100);
        script.scenario.world.busy = blame;
        script.scenario.fates = vec![FateOf { desktops: vec![id(57)], fate: Fate::Busy { lasts: s(300) } }];
        let history = told(&script);
        let began = history.lives[0].began;
        let settled = history.records.iter().filter(|one| matches!(one.record, Record::Settled(_)));
        let times: Vec<_> = settled.map(|one| one.at - began).collect();
        let early = times.iter().filter(|at| **at < s(30)).count();
        assert_eq!((early, times.len()), (99, 100), "{blame:?}: settled at {times:?}");
        assert!(history.stops.last().unwrap().rows.iter().all(|row| row.outcome.as_str() == "detached"));
    }
}

#[test]
fn p02_one_desktop_of_a_hundred_that_a_request_is_refused_for_fails_alone_for_15_more_requests_at_most() {
    for (status, code) in [(400, "WKS.0003"), (404, "WKS.0202")] {
        for guilty in [0, 57, 99] {
            let mut script = desktops(100);
            let refused = Refused::new(status, code, "no");
            script.scenario.fates = vec![FateOf { desktops: vec![id(guilty)], fate: Fate::Poison(refused) }];
            let history = told(&script);
            for row in &history.stops.last().unwrap().rows {
                let expected = if row.desktop == id(guilty).as_str() { "failed" } else { "detached" };
                assert_eq!(row.outcome.as_str(), expected, "{row:?}");
            }
            assert!(writes(&history) <= 1 + 15, "{status}: {} writes", writes(&history));
        }
    }
}

#[test]
fn p02_an_hour_of_sleep_in_the_middle_changes_no_outcome_and_no_pace() {
    for tenths in (0..60).chain((60..600).step_by(20)) {
        let mut script = parts();
        script.scenario.faults = vec![Fault::new(Op::BatchDetach, Effect::ExecuteThenDrop).after(1).count(1)];
        script.deeds = vec![(Duration::from_millis(100 * tenths), Deed::Sleep(s(3_600)))];
        assert_eq!(kept(&script).outcomes, [("detached", 3)].into(), "after {tenths} tenths of a second");
    }
}

#[test]
fn p11_a_second_refusal_after_one_renewal_is_the_end_and_one_request_alone_finds_it_out() {
    let mut script = desktops(20);
    script.policy.bounds.max_desktops = 1;
    script.write_period = Duration::from_millis(10);
    // All eight are out as the first of them is refused.
    script.scenario.world.latency = s(2);
    let login = Login { user: "ops".to_owned(), password: "secret".to_owned(), domain: "acme".to_owned() };
    script.scenario.auth = Auth::Token { valid: vec!["first".to_owned()], login: Some(login) };
    let refused = Effect::Refuse(Refused::new(401, "APIGW.0301", "no"));
    script.scenario.faults = [Op::BatchDetach, Op::ListDesktops, Op::ShowDesktop]
        .map(|op| Fault::new(op, refused.clone()).between(s(3), s(1_000)))
        .to_vec();
    let history = told(&script);
    let first = &history.requests[..history.stops[0].requests];
    let refused: Vec<_> = first.iter().filter(|one| one.reply.is_some_and(|reply| reply.status == 401)).collect();
    let renewals = first.iter().filter(|one| one.entry.op == Op::IssueToken).count();
    assert_eq!((refused.len(), renewals), (8 + 1, 1), "those in flight, and one with the new credentials");
    assert!(history.stops[0].rows.iter().all(|row| row.outcome.as_str() == "not_sent"));
    assert!(history.stops.last().unwrap().rows.iter().all(|row| row.outcome.as_str() == "detached"));
}

#[test]
fn p12_after_a_signal_no_write_starts_at_whatever_instant_it_comes() {
    for ms in (0..60).map(|n| n * 97) {
        let mut script = desktops(12);
        script.policy.bounds.max_desktops = 1;
        script.commit_takes = Duration::from_millis(40);
        script.scenario.world.latency = s(1);
        let after = Duration::from_millis(ms);
        script.deaths = vec![Death { signal: Some((after, None)), ..Death::NEVER }];
        let history = told(&script);
        let signal = history.lives[0].began + after;
        let late = history.requests[..history.stops[0].requests]
            .iter()
            .filter(|one| one.entry.op.is_write() && one.entry.at > signal + Duration::from_millis(1));
        assert_eq!(late.count(), 0, "a write left after the signal at {ms} ms");
    }
}

#[test]
fn p13_after_the_first_failed_commit_no_write_leaves_though_its_own_intent_is_durable() {
    let mut failed = 0;
    for nth in 1..40 {
        for takes in [0, 1, 40] {
            let mut script = desktops(12);
            script.policy.bounds.max_desktops = 1;
            script.write_period = Duration::from_millis(10);
            script.commit_takes = Duration::from_millis(takes);
            script.deaths = vec![Death { disk_fails_at: Some(nth), ..Death::NEVER }];
            failed += kept(&script).lives - 1;
        }
    }
    assert!(failed >= 60, "the disk failed {failed} times alone");
}

#[test]
fn p18_a_steady_list_costs_one_more_entry_a_page_and_one_page_more() {
    let rows: Vec<String> = (0..50_000).map(|n| format!("d-{n:05} u{n}")).collect();
    let script = Script::calm(&rows.iter().map(String::as_str).collect::<Vec<_>>(), ",,u7,,\n");
    let (history, report) = record(&script);
    assert_eq!(report.broken, Vec::<String>::new());
    let history = history.expect("a plan was made");
    let is_page =
        |request: &&history::Request| request.entry.op == Op::ListDesktops && request.entry.query.contains("offset=");
    let pages = history.requests.iter().filter(is_page).count();
    // 500 entries on the first page, on each other the last one of the page before and 499 more; then the page that
    // brings nothing but the entry that it begins with.
    assert_eq!(pages, 1 + (50_000_usize - 500).div_ceil(499) + 1);
}
