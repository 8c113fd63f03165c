//! The gates against simulated servers with a fixed limit, under paused time: P8 and P9 as a whole.

use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use proptest::prelude::*;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Ceiling, Gates, Heard, ThrottleHint};
use crate::model::Class;

const CLASS: Class = Class::BatchDetach;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What the server's 429 says.
#[derive(Debug, Clone, Copy)]
enum Says {
    Nothing,
    /// `Retry-After` is what is left of the window.
    Rest,
    /// `Retry-After` is that, true or not.
    After(Duration),
    /// The text names the limit.
    Limit,
}

/// Every 429 that the tests below know.
const SAYINGS: [Says; 5] = [Says::Nothing, Says::Rest, Says::After(Duration::ZERO), Says::After(s(1)), Says::Limit];

/// Allows so many requests in each window; the windows begin at the start and follow each other.
struct Server {
    window: Duration,
    says: Says,
    start: Instant,
    /// The window's number, and what was allowed in it.
    current: (u128, u32),
}

impl Server {
    fn ask(&mut self, limit: u32) -> Result<(), ThrottleHint> {
        let elapsed = self.start.elapsed();
        let number = elapsed.as_nanos() / self.window.as_nanos();
        if self.current.0 != number {
            self.current = (number, 0);
        }
        if self.current.1 < limit {
            self.current.1 += 1;
            return Ok(());
        }
        let into = Duration::from_nanos(u64::try_from(elapsed.as_nanos() % self.window.as_nanos()).unwrap());
        Err(match self.says {
            Says::Nothing => ThrottleHint::default(),
            Says::Rest => {
                ThrottleHint { retry_after: Some(s(self.window.saturating_sub(into).as_secs() + 1)), limit: None }
            }
            Says::After(wait) => ThrottleHint { retry_after: Some(wait), limit: None },
            Says::Limit => ThrottleHint { retry_after: None, limit: Some((limit, self.window)) },
        })
    }
}

/// When requests started, and whether they were served.
struct Log(Vec<(Duration, bool)>);

impl Log {
    fn between(&self, from: Duration, to: Duration) -> (f64, f64) {
        let starts = self.0.iter().filter(|(at, _)| (from..to).contains(at));
        starts.fold((0.0, 0.0), |(all, served), (_, ok)| (all + 1.0, served + f64::from(u8::from(*ok))))
    }

    /// Which part of the requests got a 429.
    fn refused(&self, from: Duration, to: Duration) -> f64 {
        let (all, served) = self.between(from, to);
        1.0 - served / all
    }

    /// Requests served per second.
    fn goodput(&self, from: Duration, to: Duration) -> f64 {
        self.between(from, to).1 / to.saturating_sub(from).as_secs_f64()
    }
}

/// Eight callers send for `length` as fast as the gates let them; the limit may change with time.
async fn drive(ceiling: u32, window: Duration, says: Says, length: Duration, limit: impl Fn(Duration) -> u32) -> Log {
    let period = Duration::from_nanos(1_000_000_000_u64.div_ceil(u64::from(ceiling)));
    let gates = Gates::new(|_| Ceiling { period }, 8, 7, false);
    let (start, stop) = (Instant::now(), CancellationToken::new());
    let server = Mutex::new(Server { window, says, start, current: (0, 0) });
    let log = Mutex::new(Vec::new());
    let caller = |n: u64| {
        let (gates, stop, server, log, limit) = (&gates, &stop, &server, &log, &limit);
        async move {
            let mut chance = fastrand::Rng::with_seed(n);
            while let Some(mut pass) = gates.pass(CLASS, stop).await {
                assert!(gates.closed_for(CLASS).is_none(), "nothing starts while the gate is closed");
                sleep(Duration::from_millis(chance.u64(20..120))).await;
                let reply = server.lock().unwrap().ask(limit(start.elapsed()));
                sleep(Duration::from_millis(chance.u64(20..400))).await;
                log.lock().unwrap().push((pass.started() - start, reply.is_ok()));
                match reply {
                    Ok(()) => gates.heard(&mut pass, Heard::Success),
                    Err(hint) => _ = gates.throttled(&mut pass, hint),
                }
            }
        }
    };
    let end = async {
        sleep(length).await;
        stop.cancel();
    };
    tokio::join!(join_all((0..8).map(caller)), end);
    Log(log.into_inner().unwrap())
}

const HALF_HOUR: Duration = s(1_800);

#[tokio::test(start_paused = true)]
async fn p09_a_limit_of_100_a_minute_under_a_ceiling_of_10_a_second_is_found_and_used() {
    for says in SAYINGS {
        let log = drive(10, s(60), says, HALF_HOUR, |_| 100).await;
        let (refused, used) = (log.refused(s(120), HALF_HOUR), log.goodput(s(0), HALF_HOUR) * 0.6);
        assert!(
            refused <= 0.05 && used >= 0.9,
            "{says:?}: {refused} of the requests refused, {used} of the limit used"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p09_small_limits_by_the_minute_keep_429s_rare() {
    for says in SAYINGS {
        let log = drive(2, s(60), says, HALF_HOUR, |_| 10).await;
        let (refused, used) = (log.refused(s(120), HALF_HOUR), log.goodput(s(0), HALF_HOUR) * 6.0);
        assert!(
            refused <= 0.05 && used >= 0.9,
            "{says:?}: {refused} of the requests refused, {used} of the limit used"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p09_limits_by_the_second_are_found_and_used() {
    for says in SAYINGS {
        for (ceiling, limit) in [(10, 5), (50, 5), (3, 2)] {
            let log = drive(ceiling, s(1), says, HALF_HOUR, |_| limit).await;
            let (refused, used) = (log.refused(s(2), HALF_HOUR), log.goodput(s(0), HALF_HOUR) / f64::from(limit));
            assert!(refused <= 0.05 && used >= 0.8, "{says:?}, {limit} of {ceiling}: {refused} refused, {used} used");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn p09_a_ceiling_below_the_limit_is_used_in_full() {
    let log = drive(2, s(60), Says::Nothing, HALF_HOUR, |_| 200).await;
    assert_eq!(log.between(s(0), HALF_HOUR), (3_600.0, 3_600.0));
}

#[tokio::test(start_paused = true)]
async fn p09_a_limit_that_drops_to_a_tenth_is_followed_down_and_back_up_within_ten_minutes() {
    let low = s(600);
    // When the limit comes back must not matter, nor that each try for more costs half a minute.
    let dear = [Says::After(s(20)), Says::After(s(30))];
    for (says, minutes) in SAYINGS.into_iter().chain(dear).flat_map(|says| [10, 20].map(|low| (says, low))) {
        let back = low + s(60 * minutes);
        let limit = move |at: Duration| if (low..back).contains(&at) { 10 } else { 100 };
        let log = drive(2, s(60), says, back + s(600), limit).await;
        let (refused, used) = (log.refused(low + s(120), back), log.goodput(low + s(120), back) * 6.0);
        let best = (0..10).map(|n| log.goodput(back + s(60 * n), back + s(60 * (n + 1)))).fold(0.0, f64::max) * 0.6;
        assert!(refused <= 0.05 && used >= 0.8, "{says:?}, {minutes} min low: {refused} refused, {used} used");
        assert!(best >= 0.7, "{says:?}, {minutes} min low: {best} of the limit used again");
    }
}

#[tokio::test(start_paused = true)]
async fn p09_a_server_that_always_asks_for_a_minute_gets_it() {
    let log = drive(10, s(60), Says::After(s(60)), HALF_HOUR, |_| 100).await;
    let (refused, used) = (log.refused(s(120), HALF_HOUR), log.goodput(s(0), HALF_HOUR) * 0.6);
    assert!(refused <= 0.05 && used >= 0.7, "{refused} refused, {used} used");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn p08_no_window_of_any_length_has_more_than_1_plus_tr_starts(
        periods_ms in proptest::array::uniform11(1_u64..2_000),
        // For each request: its class, when it is asked for, how long it takes, and what becomes of it.
        requests in proptest::collection::vec((0..Class::ALL.len(), 0_u64..20_000, 0_u64..3_000, 0_u8..12), 1..150),
        slots in 1..12_usize,
        resumed: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let mut starts = runtime.block_on(async {
            let (start, stop) = (Instant::now(), CancellationToken::new());
            let period = |class: Class| Duration::from_millis(periods_ms[class as usize]);
            let gates = Gates::new(|class| Ceiling { period: period(class) }, slots, 1, resumed);
            let starts = Mutex::new(Vec::new());
            let request = |(class, at, takes, end): (usize, u64, u64, u8)| {
                let (gates, stop, starts) = (&gates, &stop, &starts);
                async move {
                    sleep(Duration::from_millis(at)).await;
                    let Some(mut pass) = gates.pass(Class::ALL[class], stop).await else { return };
                    starts.lock().unwrap().push((class, start.elapsed()));
                    sleep(Duration::from_millis(takes)).await;
                    match end {
                        0 => _ = gates.throttled(&mut pass, ThrottleHint::default()),
                        1 => _ = gates.throttled(&mut pass, ThrottleHint { retry_after: Some(s(1)), limit: None }),
                        2 => _ = gates.throttled(&mut pass, ThrottleHint { retry_after: None, limit: Some((9, s(10))) }),
                        3 => gates.heard(&mut pass, Heard::TimedOut),
                        4 => gates.heard(&mut pass, Heard::NoConnection),
                        5 => gates.heard(&mut pass, Heard::Unavailable),
                        _ => gates.heard(&mut pass, Heard::Success),
                    }
                }
            };
            let end = async {
                sleep(s(900)).await;
                stop.cancel();
            };
            tokio::join!(join_all(requests.into_iter().map(request)), end);
            starts.into_inner().unwrap()
        });
        starts.sort_unstable();
        for of_class in starts.chunk_by(|one, next| one.0 == next.0) {
            let period = Duration::from_millis(periods_ms[of_class[0].0]);
            prop_assert!(!resumed || of_class[0].1 >= period, "a resume waits 1/R first");
            // No two starts are closer than 1/R, so a window of T holds 1 + T × R of them at most.
            for pair in of_class.windows(2) {
                prop_assert!(pair[1].1 >= pair[0].1 + period, "{:?} after {:?}", pair[1].1, pair[0].1);
            }
        }
    }
}
