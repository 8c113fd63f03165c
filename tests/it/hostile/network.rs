//! N: a network that is slow, loses answers, cuts connections.

use std::time::Duration;

use super::play::{DOUBT_WAIT, REQUEST_TIMEOUT, play, side_by_side};
use super::proxy::{Prey, Step};

/// Name, what is done, writes that arrive in all: 3 where nothing has to be sent again.
type Case = (&'static str, Vec<Step>, usize);

fn cases() -> Vec<Case> {
    let ms = Duration::from_millis;
    let long = REQUEST_TIMEOUT + ms(400);
    let mut cases: Vec<Case> = vec![
        ("nothing but latency", vec![Step::Wait(ms(300)), Step::Execute, Step::Answer], 3),
        ("latency after the work", vec![Step::Execute, Step::Wait(ms(600)), Step::Answer], 3),
        ("bytes one by one", vec![Step::Execute, Step::AnswerInPieces(1, ms(1))], 3),
        ("pieces of 7 bytes", vec![Step::Execute, Step::AnswerInPieces(7, ms(2))], 3),
        ("a bandwidth of nothing", vec![Step::Execute, Step::AnswerInPieces(1, ms(40))], 3),
        ("a stall after the work", vec![Step::Execute, Step::Wait(long), Step::Answer], 3),
        ("a stall instead of the work", vec![Step::Wait(long), Step::Close], 4),
        ("a stall within the head", vec![Step::Execute, Step::AnswerUpTo(9), Step::Wait(long)], 3),
        ("a stall within the body", vec![Step::Execute, Step::AnswerUpTo(140), Step::Wait(long)], 3),
        ("a reset after the work", vec![Step::Execute, Step::Reset], 3),
        ("a reset instead of the work", vec![Step::Reset], 4),
        ("a reset within the answer", vec![Step::Execute, Step::AnswerUpTo(60), Step::Wait(ms(20)), Step::Reset], 3),
        ("a cut after the work", vec![Step::Execute, Step::Close], 3),
        ("a cut instead of the work", vec![Step::Close], 4),
        ("a cut after a while", vec![Step::Wait(ms(500)), Step::Close], 4),
        ("work and then a long silence", vec![Step::Execute, Step::Wait(long), Step::Close], 3),
        ("a late gateway: work after the cut", vec![Step::ExecuteAfter(ms(200)), Step::Close], 3),
        (
            "a late gateway: work after a 504",
            vec![Step::ExecuteAfter(ms(200)), Step::Bytes(b"HTTP/1.1 504 X\r\nContent-Length: 0\r\n\r\n".to_vec())],
            3,
        ),
        ("done twice", vec![Step::Execute, Step::ExecuteAfter(ms(300)), Step::Answer], 3),
        ("done twice, and the answer lost", vec![Step::Execute, Step::ExecuteAfter(ms(200)), Step::Close], 3),
        (
            "a refusal to try later",
            vec![Step::Bytes(b"HTTP/1.1 503 X\r\nContent-Length: 26\r\n\r\n{\"error_code\":\"APIGW.0613\"}".to_vec())],
            4,
        ),
        (
            "429",
            vec![Step::Bytes(
                b"HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 26\r\n\r\n{\"error_code\":\"APIGW.0308\"}"
                    .to_vec(),
            )],
            4,
        ),
    ];
    // Cut after so many bytes of the answer: in the status line, in the headers, between head and body, in the body.
    for (name, bytes) in [
        ("a cut after 1 byte", 1),
        ("a cut after 12 bytes", 12),
        ("a cut after 40 bytes", 40),
        ("a cut after 100 bytes", 100),
        ("a cut after 130 bytes", 130),
        ("a cut after 150 bytes", 150),
    ] {
        cases.push((name, vec![Step::Execute, Step::AnswerUpTo(bytes), Step::Close], 3));
    }
    cases
}

#[test]
fn p02_p07_whatever_the_network_does_to_one_write_every_row_is_detached_and_none_is_sent_blindly() {
    let cases = cases();
    assert!(cases.len() >= 28 && DOUBT_WAIT > Duration::from_millis(200));
    side_by_side(&cases, |(name, steps, writes)| {
        let played = play(Prey::Write(2), steps.clone());
        played.check(name);
        assert!(played.code == 0 && played.all("detached"), "{name}: {:?}\n{}", played.outcomes, played.stderr);
        // Work that comes later than its doubt is waited for is sent again, after a look.
        let late = steps.iter().any(|step| matches!(step, Step::ExecuteAfter(_)));
        let again = usize::from(late && played.writes() > *writes);
        assert_eq!((played.proxy.hits(), played.writes()), (1, *writes + again), "{name}: {}", played.stderr);
    });
}

#[test]
fn p02_the_same_to_a_read_changes_nothing() {
    side_by_side(&cases(), |(name, steps, _)| {
        let steps: Vec<Step> = steps.iter().filter(|step| !matches!(step, Step::ExecuteAfter(_))).cloned().collect();
        let played = play(Prey::Read(2), steps);
        played.check(name);
        assert!(played.code == 0 && played.all("detached"), "{name}: {:?}\n{}", played.outcomes, played.stderr);
        assert_eq!((played.proxy.hits(), played.writes()), (1, 3), "{name}: {}", played.stderr);
    });
}

#[test]
fn p02_the_same_to_the_first_request_of_all_is_waited_out() {
    side_by_side(&cases(), |(name, steps, _)| {
        let steps: Vec<Step> = steps.iter().filter(|step| !matches!(step, Step::ExecuteAfter(_))).cloned().collect();
        let played = play(Prey::First, steps);
        played.check(name);
        assert!(played.code == 0 && played.all("detached"), "{name}: {:?}\n{}", played.outcomes, played.stderr);
    });
}

#[test]
fn p07_an_idle_connection_that_closes_as_it_is_reused_is_never_a_write_done_twice_unseen() {
    // The write is the third request of its connection at least: preflight and reads came before it.
    let cases =
        [("before it was done", vec![Step::Close], 4), ("after it was done", vec![Step::Execute, Step::Close], 3)];
    side_by_side(&cases, |(name, steps, writes)| {
        let played = play(Prey::Write(1), steps.clone());
        played.check(name);
        let seen = played.proxy.seen();
        assert!(!seen[0].is_write() && !seen[1].is_write(), "{name}: the connection was not idle before");
        assert!(played.proxy.connections() < seen.len(), "{name}: no connection is ever reused");
        assert!(played.code == 0 && played.all("detached"), "{name}: {:?}\n{}", played.outcomes, played.stderr);
        assert_eq!(played.writes(), *writes, "{name}: {}", played.stderr);
        let (first, again) = {
            let mut writes = seen.iter().filter(|seen| seen.is_write());
            (writes.next().unwrap().clone(), writes.next_back().unwrap().clone())
        };
        if *writes == 4 {
            assert_eq!(first.desktops(), again.desktops(), "{name}");
            assert!(again.at - first.at >= DOUBT_WAIT, "{name}: repeated after {:?}", again.at - first.at);
        }
    });
}
