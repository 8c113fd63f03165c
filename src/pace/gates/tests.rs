use futures::FutureExt as _;
use futures::future::join_all;
use tokio::time::{sleep, timeout};

use super::*;

const WRITE: Class = Class::BatchDetach;
const READ: Class = Class::ListDesktops;
/// One start each 600 ms, as `100/min`.
const PERIOD: Duration = Duration::from_millis(600);

fn gates(period: Duration, slots: usize) -> (Arc<Gates>, CancellationToken) {
    (Gates::new(|_| Ceiling { period }, slots, 1, false), CancellationToken::new())
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_at_ten_a_second_take_99_9_virtual_seconds() {
    let (gates, stop) = gates(Duration::from_millis(100), 4);
    let start = Instant::now();
    join_all((0..1_000).map(|_| gates.pass(WRITE, &stop).map(drop))).await;
    assert_eq!(start.elapsed(), Duration::from_millis(99_900));
    assert_eq!(gates.counts(), [(WRITE, "started", 1_000)]);
    assert_eq!(gates.counts(), [], "what was told once is not told again");
}

#[tokio::test(start_paused = true)]
async fn turns_come_in_the_order_asked_and_classes_do_not_wait_for_each_other() {
    let (gates, stop) = gates(PERIOD, 8);
    let order = Mutex::new(Vec::new());
    join_all((0..6_u8).map(|n| {
        let (gates, stop, order) = (&gates, &stop, &order);
        async move {
            let class = if n < 3 { WRITE } else { READ };
            let pass = gates.pass(class, stop).await.unwrap();
            order.lock().unwrap().push((pass.started(), n));
        }
    }))
    .await;
    let mut order = order.into_inner().unwrap();
    order.sort_by_key(|(at, n)| (*at, *n));
    assert_eq!(order.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [0, 3, 1, 4, 2, 5]);
}

#[tokio::test(start_paused = true)]
async fn p12_a_stop_ends_the_wait_at_once_and_uses_up_no_turn() {
    let (gates, stop) = gates(s(10), 8);
    let start = Instant::now();
    assert!(gates.pass(WRITE, &stop).await.is_some());
    let late = async {
        sleep(s(4)).await;
        stop.cancel();
    };
    let (stopped, ()) = tokio::join!(gates.pass(WRITE, &stop), late);
    assert!(stopped.is_none());
    assert_eq!(start.elapsed(), s(4));
    assert!(gates.pass(WRITE, &stop).await.is_none(), "nor does anything start later");
    assert!(gates.approach(WRITE, &stop).await.is_none());
    assert!(gates.pass(WRITE, &CancellationToken::new()).await.is_some());
    assert_eq!(start.elapsed(), s(10), "the next turn is where it was");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_takes_no_turn_and_no_slot() {
    let (gates, stop) = gates(s(10), 1);
    let start = Instant::now();
    drop(gates.pass(WRITE, &stop).await);
    assert!(timeout(s(3), gates.pass(WRITE, &stop)).await.is_err());
    drop(gates.pass(READ, &stop).await);
    assert_eq!(start.elapsed(), s(3), "the only slot is free");
    assert!(gates.pass(WRITE, &stop).await.is_some());
    assert_eq!(start.elapsed(), s(10));
}

#[tokio::test(start_paused = true)]
async fn slots_bound_what_is_in_flight_over_all_classes() {
    let (gates, stop) = gates(Duration::from_millis(1), 2);
    let (first, _second) = (gates.pass(WRITE, &stop).await, gates.pass(READ, &stop).await);
    let third = gates.pass(Class::ShowJob, &stop);
    tokio::pin!(third);
    assert!(timeout(s(5), &mut third).await.is_err());
    drop(first);
    assert!(third.await.is_some());
}

#[tokio::test(start_paused = true)]
async fn p08_a_resume_waits_one_period_first() {
    let gates = Gates::new(|_| Ceiling { period: s(7) }, 8, 1, true);
    let start = Instant::now();
    gates.pass(WRITE, &CancellationToken::new()).await;
    assert_eq!(start.elapsed(), s(7));
}

#[tokio::test(start_paused = true)]
async fn p09_a_429_closes_its_class_even_for_those_who_wait_already() {
    let (gates, stop) = gates(PERIOD, 8);
    let mut pass = gates.pass(WRITE, &stop).await.unwrap();
    let waiter = gates.pass(WRITE, &stop);
    tokio::pin!(waiter);
    assert!(waiter.as_mut().now_or_never().is_none());
    let hint = ThrottleHint { retry_after: Some(s(20)), limit: None };
    let (start, closed) = (Instant::now(), gates.throttled(&mut pass, hint));
    assert!(s(20) <= closed && closed <= s(22), "jitter only adds: {closed:?}");
    assert!(gates.pass(READ, &stop).await.is_some(), "other classes go on");
    waiter.await.unwrap();
    assert!(start.elapsed() >= closed && start.elapsed() < closed + s(1));
}

#[tokio::test(start_paused = true)]
async fn p09_requests_sent_before_a_cut_do_not_cut_again() {
    let (gates, stop) = gates(Duration::from_millis(10), 8);
    let mut passes = Vec::new();
    for _ in 0..8 {
        passes.push(gates.pass(WRITE, &stop).await.unwrap());
    }
    gates.throttled(&mut passes[0], ThrottleHint::default());
    let (pace, closed) = (gates.pace(WRITE), gates.closed_for(WRITE));
    for pass in &mut passes[1..4] {
        gates.throttled(pass, ThrottleHint::default());
    }
    for pass in &mut passes[4..] {
        gates.heard(pass, Heard::TimedOut);
    }
    assert_eq!((gates.pace(WRITE).to_bits(), gates.closed_for(WRITE)), (pace.to_bits(), closed));
    assert_eq!(gates.counts(), [(WRITE, "started", 8), (WRITE, "timed_out", 4), (WRITE, "throttled", 4)]);
}

#[tokio::test(start_paused = true)]
async fn p09_without_a_hint_the_gate_closes_for_5_s_doubling_to_60_s_until_a_success() {
    let (gates, stop) = gates(PERIOD, 8);
    let mut closed = Vec::new();
    for n in 0..7 {
        let mut pass = gates.pass(WRITE, &stop).await.unwrap();
        if n == 5 {
            gates.heard(&mut pass, Heard::Success);
        } else {
            closed.push(gates.throttled(&mut pass, ThrottleHint::default()).as_secs_f64());
        }
    }
    for (closed, least) in closed.iter().zip([5.0, 10.0, 20.0, 40.0, 60.0, 5.0]) {
        assert!((least..=least * 1.1).contains(closed), "{closed} for {least}");
    }
}

#[tokio::test(start_paused = true)]
async fn p09_an_absurd_wait_is_told_so_that_the_run_can_stop() {
    let (gates, stop) = gates(PERIOD, 8);
    let mut pass = gates.pass(WRITE, &stop).await.unwrap();
    let retry_after = crate::pace::parse_retry_after("1000000000", None);
    assert!(gates.throttled(&mut pass, ThrottleHint { retry_after, limit: None }) > MAX_GATE);
}

#[tokio::test(start_paused = true)]
async fn a_named_limit_sets_the_pace_just_below_it() {
    let (gates, stop) = gates(Duration::from_millis(100), 8);
    let mut pass = gates.pass(WRITE, &stop).await.unwrap();
    let closed = gates.throttled(&mut pass, ThrottleHint { retry_after: None, limit: Some((60, s(60))) });
    assert!((10.0..=11.0).contains(&closed.as_secs_f64()), "a sixth of the window: {closed:?}");
    assert!((gates.pace(WRITE) - 0.9).abs() < 1e-9);
    assert!((gates.pace(READ) - 10.0).abs() < 1e-9, "each class for itself");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_slows_down_and_the_pace_is_soon_back() {
    let (gates, stop) = gates(Duration::from_millis(100), 8);
    let mut pass = gates.pass(WRITE, &stop).await.unwrap();
    gates.heard(&mut pass, Heard::TimedOut);
    assert!((gates.pace(WRITE) - 7.0).abs() < 1e-9);
    let start = Instant::now();
    while start.elapsed() < s(8) {
        gates.pass(WRITE, &stop).await;
    }
    assert!((gates.pace(WRITE) - 10.0).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn silence_stops_all_classes_until_one_read_has_an_answer() {
    let (gates, stop) = gates(Duration::from_millis(100), 8);
    for _ in 0..5 {
        let mut pass = gates.pass(WRITE, &stop).await.unwrap();
        gates.heard(&mut pass, Heard::NoConnection);
    }
    assert_eq!(gates.breaker_wait(), Some(s(30)));
    let start = Instant::now();
    let write = gates.pass(WRITE, &stop);
    tokio::pin!(write);
    assert!(timeout(s(60), &mut write).await.is_err(), "a write does not probe");
    let mut probe = gates.pass(READ, &stop).await.unwrap();
    assert!(timeout(s(1), gates.pass(READ, &stop)).await.is_err(), "one probe at a time");
    gates.heard(&mut probe, Heard::Lost);
    drop(probe);
    assert_eq!(gates.breaker_wait(), Some(s(60)));
    let probe = gates.pass(READ, &stop).await.unwrap();
    drop(probe); // given up unheard: the next one may
    let mut probe = gates.pass(READ, &stop).await.unwrap();
    assert_eq!(start.elapsed(), s(121) + Duration::from_millis(100));
    gates.heard(&mut probe, Heard::Success);
    assert!(write.await.is_some());
    assert_eq!(gates.breaker_wait(), None);
}

#[tokio::test(start_paused = true)]
async fn few_callers_come_near_and_none_while_the_class_is_closed() {
    let near = |period| async move {
        let (gates, stop) = gates(period, 64);
        let places: Vec<_> = (0..64).filter_map(|_| gates.approach(WRITE, &stop).now_or_never().flatten()).collect();
        places.len()
    };
    assert_eq!(near(PERIOD).await, 2);
    assert_eq!(near(Duration::from_millis(20)).await, 5);

    let (gates, stop) = gates(PERIOD, 8);
    let place = gates.approach(WRITE, &stop).await.unwrap();
    let Turn::Now(mut pass) = gates.pass_from(place, &stop, None).await else { panic!("no turn") };
    let (start, closed) = (Instant::now(), gates.throttled(&mut pass, ThrottleHint::default()));
    assert!(gates.approach(WRITE, &stop).await.is_some());
    assert!(start.elapsed() >= closed);
}

#[tokio::test(start_paused = true)]
async fn p07_a_turn_that_comes_too_late_is_left_to_whoever_comes_next() {
    let (gates, stop) = gates(s(60), 8);
    drop(gates.pass(WRITE, &stop).await);
    let place = gates.approach(WRITE, &stop).await.unwrap();
    let (start, until) = (Instant::now(), Instant::now() + s(10));
    assert!(matches!(gates.pass_from(place, &stop, Some(until)).await, Turn::TooLate));
    assert_eq!(start.elapsed(), s(60), "it is known only when the turn has come");
    let place = gates.approach(WRITE, &stop).await.unwrap();
    let turn = gates.pass_from(place, &stop, Some(Instant::now() + s(10))).await;
    assert!(matches!(turn, Turn::Now(_)));
    assert_eq!(start.elapsed(), s(60), "and is still there a moment later");
}

#[tokio::test(start_paused = true)]
async fn p08_a_request_that_begins_late_in_its_turn_moves_the_next_one() {
    let (gates, stop) = gates(PERIOD, 8);
    let turn = gates.hold(READ, &stop).await.unwrap();
    let mut next = Box::pin(gates.pass(READ, &stop));
    assert!(timeout(s(5), &mut next).await.is_err(), "nobody starts before it has begun");
    let begun = turn.begin(&gates).unwrap().started();
    assert_eq!(next.await.unwrap().started() - begun, PERIOD);
}

#[tokio::test(start_paused = true)]
async fn p09_a_turn_that_is_begun_after_its_class_was_closed_is_lost() {
    let (gates, stop) = gates(PERIOD, 8);
    let mut pass = gates.pass(READ, &stop).await.unwrap();
    let turn = gates.hold(READ, &stop).await.unwrap();
    gates.throttled(&mut pass, ThrottleHint::default());
    assert!(turn.begin(&gates).is_none());
}
