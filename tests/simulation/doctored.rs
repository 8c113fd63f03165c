//! The checker is checked: an honest history passes, and one that breaks a promise is found out by that promise's name.

use std::time::Duration;

use batch_detach::testing::journal::{AnswerKind, Attempt, Record};
use batch_detach::testing::model::Outcome;
use batch_detach::testing::sim::{Effect, Fate, FateOf, Fault, Op};
use bytes::Bytes;

use crate::history::{History, Request, Stamped, Violation, check};
use crate::run::record;
use crate::script::{Death, Script, id};

/// A run in which a bit of everything happens: two parts of one desktop, the same binding twice, an `ALL`, a 429, a doubt
/// that has to be sent again, a refusal, a death.
fn honest() -> History {
    let seats = ["d-00 u0", "d-00 u1", "d-01 u2", "d-02 u3", "d-02 u4", "d-03 u5"];
    let rows = "d-00,,u0,,\nd-00,,U0,,\nd-00,,u1,,\nd-01,,u2,,\nd-02,,,ALL,\nd-03,,u5,,\nd-00,,,,\n";
    let mut script = Script::calm(&seats, rows);
    script.policy.allow_detach_all = true;
    script.policy.bounds.max_desktops = 1;
    script.policy.bounds.max_users_per_desktop = 1;
    script.concurrency = 2;
    script.scenario.world.latency = Duration::from_millis(50);
    script.scenario.fates = vec![FateOf { desktops: vec![id(3)], fate: Fate::Hibernated }];
    let throttle = Effect::Throttle { limit: 100, window: Duration::from_secs(60), retry_after: Some("20".to_owned()) };
    script.scenario.faults = vec![
        Fault::new(Op::BatchDetach, Effect::DropBefore).naming([id(1)]).count(1),
        Fault::new(Op::BatchDetach, throttle).after(3).count(1),
    ];
    script.deaths = vec![Death { after: Some(Duration::from_secs(90)), ..Death::NEVER }];
    let (history, report) = record(&script);
    assert!(report.broken.is_empty(), "{:?}", report.broken);
    history.expect("a plan was made")
}

/// Doctors the honest history and tells which promises are found broken.
fn found(doctor: impl FnOnce(&mut History)) -> Vec<&'static str> {
    let mut history = honest();
    assert_eq!(check(&history), Vec::<Violation>::new());
    doctor(&mut history);
    let mut promises: Vec<_> = check(&history).iter().map(|violation| violation.promise).collect();
    promises.dedup();
    promises
}

fn writes(history: &History) -> Vec<usize> {
    let all = history.requests.iter().enumerate();
    all.filter(|(_, request)| request.entry.op.is_write()).map(|(n, _)| n).collect()
}

/// The intent behind a write.
fn intent(history: &mut History, write: usize) -> &mut Attempt {
    let (hash, durable) = (history.requests[write].entry.body_sha256.clone(), history.requests[write].durable);
    let before = &mut history.records[..durable.expect("it is known")];
    let intents = before.iter_mut().rev().filter_map(|stamped| match &mut stamped.record {
        Record::Intent(attempt) if attempt.body_sha256 == hash => Some(attempt),
        _ => None,
    });
    intents.into_iter().next().expect("each has one")
}

/// Sends a write once more at the end, with an intent of its own.
fn again(history: &mut History, write: usize) {
    let mut attempt = intent(history, write).clone();
    attempt.id = 1_000 + history.records.len() as u64;
    let end = history.requests.last().expect("some").entry.at + Duration::from_secs(1);
    history.records.push(Stamped { at: end, record: Record::Intent(attempt) });
    let mut request = history.requests[write].clone();
    request.entry.number = history.requests.len();
    request.entry.at = end;
    request.durable = Some(history.records.len());
    history.requests.push(request);
}

/// The write that was in doubt, and the one that sent the same again.
fn repeated(history: &History) -> (usize, usize) {
    let writes = writes(history);
    let body = |n: usize| &history.requests[n].entry.body_sha256;
    let lost = writes.iter().find(|n| history.requests[**n].reply.is_none()).expect("one is lost");
    let next = writes.iter().find(|n| *n > lost && body(**n) == body(*lost)).expect("it is sent again");
    (*lost, *next)
}

/// Nothing came back from the reads in between.
fn blind(history: &mut History, between: std::ops::Range<usize>) {
    for request in &mut history.requests[between] {
        if !request.entry.op.is_write() {
            request.reply = None;
        }
    }
}

/// Takes a record out and puts it at the end, as if it had become durable last.
fn delay(history: &mut History, which: impl Fn(&Record) -> bool) {
    let at = history.records.iter().position(|stamped| which(&stamped.record)).expect("there is one");
    let record = history.records.remove(at);
    history.records.push(record);
    for Request { durable, .. } in &mut history.requests {
        *durable = durable.map(|durable| if durable > at { durable - 1 } else { durable });
    }
}

fn rewrite(history: &mut History, write: usize, from: &str, to: &str) {
    let body = String::from_utf8(history.requests[write].entry.body.to_vec()).expect("text");
    assert!(body.contains(from), "{body}");
    let attempt = intent(history, write);
    "doctored".clone_into(&mut attempt.body_sha256);
    let entry = &mut history.requests[write].entry;
    entry.body = Bytes::from(body.replacen(from, to, 1));
    "doctored".clone_into(&mut entry.body_sha256);
}

fn settled(outcome: Outcome) -> impl Fn(&Record) -> bool {
    move |record| matches!(record, Record::Settled(settlement) if settlement.result.outcome == outcome)
}

#[test]
fn p01_rows_that_are_lost_moved_or_told_twice_are_found() {
    let end = |history: &mut History| history.stops.last_mut().expect("one").rows.clone();
    let with = |doctor: fn(&mut Vec<_>)| {
        found(|history| {
            let mut rows = end(history);
            doctor(&mut rows);
            history.stops.last_mut().expect("one").rows = rows;
        })
    };
    assert!(with(|rows| drop(rows.pop())).contains(&"P1"));
    assert!(with(|rows| rows.swap(0, 3)).contains(&"P1"));
    assert!(with(|rows| rows.push(rows[0].clone())).contains(&"P1"));
    assert!(with(|rows| rows[1].outcome = Outcome::Failed).contains(&"P1"), "one binding, two outcomes");
    assert!(with(|rows| rows[6].outcome = Outcome::Detached).contains(&"P1"), "an invalid row");
    let shorter = |history: &mut History| drop(history.entries.pop());
    assert!(found(shorter).contains(&"P1"));
}

#[test]
fn p02_outcomes_that_are_not_true_or_not_proved_are_found() {
    let still_bound = |history: &mut History| drop(history.changes.remove(0));
    assert!(found(still_bound).contains(&"P2"));
    let never_read = |history: &mut History| blind(history, 0..history.requests.len());
    assert!(found(never_read).contains(&"P2"));
    let turned = |from: Outcome, to: Outcome| {
        found(|history| {
            for stamped in &mut history.records {
                if let Record::Settled(settlement) = &mut stamped.record
                    && settlement.result.outcome == from
                {
                    settlement.result.outcome = to;
                }
            }
        })
    };
    assert!(turned(Outcome::Failed, Outcome::Detached).contains(&"P2"));
    assert!(turned(Outcome::Detached, Outcome::Failed).contains(&"P2"));
    assert!(turned(Outcome::Detached, Outcome::AlreadyDetached).contains(&"P2"));
    assert!(turned(Outcome::Detached, Outcome::NotSent).contains(&"P2"));
}

#[test]
fn p03_a_settled_row_that_is_sent_again_is_found_and_results_that_differ_from_the_journal() {
    assert!(found(|history| again(history, writes(history)[0])).contains(&"P3"));
    let forgotten = |history: &mut History| {
        let end = history.stops.last_mut().expect("one");
        end.rows[3].outcome = Outcome::Unknown;
    };
    assert!(found(forgotten).contains(&"P3"));
}

#[test]
fn p04_a_write_that_leaves_before_its_intent_or_with_another_body_is_found() {
    let too_early = |history: &mut History| {
        let first = writes(history)[0];
        history.requests[first].durable = Some(0);
    };
    assert!(found(too_early).contains(&"P4"));
    let other_body = |history: &mut History| {
        let first = writes(history)[0];
        "other".clone_into(&mut history.requests[first].entry.body_sha256);
    };
    assert!(found(other_body).contains(&"P4"));
    let twice = |history: &mut History| {
        let (request, number) = (history.requests[writes(history)[0]].clone(), history.requests.len());
        history.requests.push(request);
        history.requests[number].entry.number = number;
    };
    assert!(found(twice).contains(&"P4"));
}

#[test]
fn p05_what_nobody_planned_is_found_in_a_body() {
    let with = |from: &'static str, to: &'static str| {
        found(|history| {
            let first = writes(history)[0];
            rewrite(history, first, from, to);
        })
    };
    assert!(with("\"u0\"", "\"boss\"").contains(&"P5"));
    assert!(with("d-00", "d-01").contains(&"P5"));
    assert!(with("\"is_detach_all_users\":false", "\"is_detach_all_users\":true").contains(&"P5"));
    assert!(with("\"is_detach_all_users\":false,", "").contains(&"P5"));
    let forbidden = |history: &mut History| history.promised.may_detach_all = false;
    assert!(found(forbidden).contains(&"P5"));
}

#[test]
fn p06_two_open_writes_for_one_desktop_are_found() {
    // The first part of d-00 gets its word only after the second was sent.
    let unsettled = |history: &mut History| delay(history, settled(Outcome::Detached));
    assert!(found(unsettled).contains(&"P6"));
    let together = |history: &mut History| {
        let answered =
            |record: &Record| matches!(record, Record::Answer(answer) if answer.kind == AnswerKind::Answered);
        delay(history, answered);
    };
    assert!(found(together).contains(&"P6"));
}

#[test]
fn p07_a_doubt_that_is_repeated_blindly_and_an_all_without_a_look_are_found() {
    let blindly = |history: &mut History| {
        let (lost, next) = repeated(history);
        blind(history, lost..next);
    };
    assert!(found(blindly).contains(&"P7"));
    let unlooked = |history: &mut History| {
        let all = writes(history).into_iter().find(|n| {
            String::from_utf8_lossy(&history.requests[*n].entry.body).contains("\"is_detach_all_users\":true")
        });
        blind(history, 0..all.expect("one is for all"));
    };
    assert!(found(unlooked).contains(&"P7"));
    let somebody_new = |history: &mut History| {
        let everybody = history.first.get_mut(&id(2)).expect("it has users");
        let mut new = everybody[0].clone();
        (new.user_name, new.user_id) = ("new".to_owned(), Some("new".to_owned()));
        everybody.push(new);
    };
    assert!(found(somebody_new).contains(&"P7"));
}

#[test]
fn p08_starts_closer_than_the_ceiling_are_found() {
    let hurried = |history: &mut History| {
        let writes = writes(history);
        history.requests[writes[1]].entry.at = history.requests[writes[0]].entry.at + Duration::from_millis(599);
    };
    assert!(found(hurried).contains(&"P8"));
}

#[test]
fn p09_a_start_before_the_gate_opens_is_found() {
    let longer = |history: &mut History| {
        let replies = history.requests.iter_mut().filter_map(|request| request.reply.as_mut());
        for reply in replies.filter(|reply| reply.status == 429) {
            reply.retry_after = Some(Duration::from_secs(30));
        }
    };
    assert!(found(longer).contains(&"P9"));
}

#[test]
fn p10_too_many_attempts_and_too_many_repeats_are_found() {
    let many = |history: &mut History| {
        let (_, next) = repeated(history);
        (0..30).for_each(|_| again(history, next));
    };
    assert!(found(many).contains(&"P10"));
    assert!(found(|history| history.promised.max_tries = 1).contains(&"P10"));
}

#[test]
fn p11_a_third_refused_authentication_in_a_row_is_found() {
    let refused = |history: &mut History| {
        let replies = history.requests.iter_mut().filter_map(|request| request.reply.as_mut());
        for reply in replies.take(6) {
            reply.status = 401;
        }
    };
    assert!(found(refused).contains(&"P11"));
}
