//! The gates against simulated servers with a fixed limit, under paused time: P8 and P9 as a whole.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use proptest::prelude::*;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Ceiling, Gates, Heard, ThrottleHint};
use crate::api::Class;

const CLASS: Class = Class::BatchDetach;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn per_s(rate: u32) -> impl Fn(Class) -> Ceiling {
    move |_| Ceiling { period: Duration::from_nanos(1_000_000_000_u64.div_ceil(u64::from(rate))) }
}

/// What the server's 429 says.
#[derive(Debug, Clone, Copy)]
enum Says {
    Nothing,
    /// `Retry-After` is what is left of the window.
    Rest,
    /// `Retry-After` is that, true or not.
    After(Duration),
    Limit,
}

/// Allows so many requests in each window; the windows begin at the start and follow each other.
struct Server {
    window: Duration,
    says: Says,
    start: Instant,
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
            Says::Rest => ThrottleHint { retry_after: Some(s((self.window - into).as_secs() + 1)), limit: None },
            Says::After(wait) => ThrottleHint { retry_after: Some(wait), limit: None },
            Says::Limit => ThrottleHint { retry_after: None, limit: Some((limit, self.window)) },
        })
    }
}

/// When requests started, and whether they were served.
type Log = Vec<(Duration, bool)>;

/// Eight callers send as fast as the gates let them, for `length`; the limit may change with time.
async fn drive(ceiling: u32, window: Duration, says: Says, length: Duration, limit: impl Fn(Duration) -> u32) -> Log {
    let gates = Gates::new(per_s(ceiling), 8, 7, false);
    let (start, stop) = (Instant::now(), CancellationToken::new());
    let server = Mutex::new(Server { window, says, start, current: (0, 0) });
    let log = Mutex::new(Log::new());
    let caller = |n: u64| {
        let (gates, stop, server, log, limit) = (&gates, &stop, &server, &log, &limit);
        async move {
            let mut chance = fastrand::Rng::with_seed(n);
            while let Some(mut pass) = gates.pass(CLASS, stop).await {
                let started = pass.started() - start;
                assert!(gates.closed_for(CLASS).is_none(), "p09: nothing starts while the gate is closed");
                sleep(Duration::from_millis(chance.u64(20..120))).await;
                let served = server.lock().unwrap().ask(limit(start.elapsed()));
                sleep(Duration::from_millis(chance.u64(20..400))).await;
                log.lock().unwrap().push((started, served.is_ok()));
                match served {
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
    let mut log = log.into_inner().unwrap();
    log.sort_unstable();
    log
}

fn share(part: usize, whole: usize) -> f64 {
    f64::from(u32::try_from(part).unwrap()) / f64::from(u32::try_from(whole.max(1)).unwrap())
}

/// Share of 429s after `from`, and what was served then as a share of `per_s`.
fn judge(log: &Log, from: Duration, to: Duration, per_s: f64) -> (f64, f64) {
    let late: Vec<_> = log.iter().filter(|(at, _)| (from..to).contains(at)).collect();
    let served = late.iter().filter(|(_, ok)| *ok).count();
    let goodput = f64::from(u32::try_from(served).unwrap()) / (to - from).as_secs_f64();
    (1.0 - share(served, late.len()), goodput / per_s)
}

const HALF_HOUR: Duration = s(1_800);

#[tokio::test(start_paused = true)]
async fn p09_probe_all() {
    for says in [Says::Nothing, Says::Rest, Says::After(s(1)), Says::After(Duration::ZERO), Says::After(s(60)), Says::Limit] {
        for (ceiling, limit, window) in [(10, 100, 60), (10, 10, 60), (10, 60, 60), (2, 100, 60), (50, 100, 60), (10, 5, 1), (50, 5, 1), (3, 2, 1), (10,3,1), (10, 10, 10), (10,200,60), (2,1000,3600)] {
            let log = drive(ceiling, s(window), says, HALF_HOUR, |_| limit).await;
            let lim = (f64::from(limit) / f64::from(u32::try_from(window).unwrap())).min(f64::from(ceiling));
            let (refused, _) = judge(&log, s(2 * window), HALF_HOUR.max(s(2*window+1)), lim);
            let (_, good) = judge(&log, s(0), HALF_HOUR, lim);
            println!("{says:?} ceiling {ceiling} limit {limit}/{window}s: 429 {:.2} % goodput {:.1} %", refused * 100.0, good * 100.0);
        }
        let lim = |t: Duration| if (s(600)..s(1200)).contains(&t) { 10 } else { 100 };
        let log = drive(10, s(60), says, s(2400), lim).await;
        println!("  {says:?} drop: low {:?} back@10min {:?} after {:?}", judge(&log, s(600), s(1200), 10./60.), judge(&log, s(1780),s(1860),100./60.), judge(&log, s(1200),s(2400),100./60.));
        let lim = |t: Duration| if (s(600)..s(1200)).contains(&t) { 1 } else { 10 };
        let log = drive(20, s(1), says, s(2400), lim).await;
        println!("  {says:?} drop/s: low {:?} back@10min {:?} after {:?}", judge(&log, s(600), s(1200), 1.), judge(&log, s(1780),s(1860),10.), judge(&log, s(1200),s(2400),10.));
    }
}
