//! One cell at a time: governor on the runtime's clock, and a wait that is finer than the runtime's timer.

use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// The highest rate at which requests of a class may start (P8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ceiling {
    /// From one start to the next at least: 1/R, rounded up to whole nanoseconds. More than zero.
    pub period: Duration,
}

impl Ceiling {
    /// Starts per second.
    pub fn per_s(self) -> f64 {
        1.0 / self.period.max(Duration::from_nanos(1)).as_secs_f64()
    }
}

/// The runtime's clock, which tests can pause; governor's own can't be.
#[derive(Debug, Clone, Copy)]
struct RuntimeClock;

impl Clock for RuntimeClock {
    type Instant = std::time::Instant;

    fn now(&self) -> Self::Instant {
        Instant::now().into_std()
    }
}

/// Grants one cell per period, and never a second one to make up for a late or an unused one.
#[derive(Debug)]
pub(super) struct Limiter {
    cells: RateLimiter<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<std::time::Instant>>,
}

impl Limiter {
    /// The first cell is free at once.
    pub(super) fn new(period: Duration) -> Self {
        let period = period.max(Duration::from_nanos(1));
        // With a period there is a burst of one. `per_second(n)` would let 2n−1 through in the first second.
        let quota = Quota::with_period(period).unwrap_or(Quota::per_hour(std::num::NonZeroU32::MIN));
        Self { cells: RateLimiter::direct_with_clock(quota, RuntimeClock) }
    }

    /// The first cell comes free after one period: for a limiter that takes the place of another one.
    pub(super) fn spent(period: Duration) -> Self {
        let limiter = Self::new(period);
        _ = limiter.take();
        limiter
    }

    /// Takes a cell, or says how long from now there is none.
    pub(super) fn take(&self) -> Result<(), Duration> {
        self.cells.check().map_err(|not_yet| not_yet.wait_time_from(RuntimeClock.now()))
    }
}

/// At shorter periods the lateness of the runtime's timer (up to 2 ms) costs more than 1 % of the rate.
const FINE_BELOW: Duration = Duration::from_millis(200);
/// How late the runtime's timer may fire.
const TIMER_SLACK: Duration = Duration::from_micros(2_500);

/// How late a thread wakes, and how long it takes until its word has come back here.
const THREAD_SLACK: Duration = Duration::from_micros(200);

/// Sleeps for `wait`; to a small fraction of a millisecond where cells come free every `period` and that is short.
///
/// The runtime's timer rounds up to whole milliseconds. Starts that are late can't be made up for (P8), so at 50/s it
/// alone would cost 5 % of the rate. Dropping the future ends the wait.
pub(super) async fn sleep_finely(wait: Duration, period: Duration) {
    if period >= FINE_BELOW || is_paused() {
        return tokio::time::sleep(wait).await;
    }
    let until = Instant::now() + wait;
    if let Some(coarse) = wait.checked_sub(TIMER_SLACK) {
        tokio::time::sleep(coarse).await;
    }
    let rest = until.saturating_duration_since(Instant::now());
    if let Some(rest) = rest.checked_sub(THREAD_SLACK) {
        // A thread's own sleep is much more precise. The thread is gone from the pool for 3 ms at most.
        _ = tokio::task::spawn_blocking(move || std::thread::sleep(rest)).await;
    }
    // Shorter than handing over to another task and back. Bounded by the machine's clock: the runtime's may be paused.
    let spun = std::time::Instant::now();
    while Instant::now() < until && spun.elapsed() < THREAD_SLACK {
        std::hint::spin_loop();
    }
}

/// Whether the runtime's clock stands still (a test has paused it): then only its own timer moves it.
fn is_paused() -> bool {
    let (seen, start) = (Instant::now(), std::time::Instant::now());
    while start.elapsed() < Duration::from_micros(2) {
        std::hint::spin_loop();
    }
    Instant::now() == seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_cell_a_period_and_none_is_saved_up() {
        let limiter = Limiter::new(Duration::from_millis(600));
        assert_eq!(limiter.take(), Ok(()));
        assert_eq!(limiter.take(), Err(Duration::from_millis(600)));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(limiter.take(), Ok(()));
        assert_eq!(limiter.take(), Err(Duration::from_millis(600)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_spent_limiter_waits_one_period() {
        assert_eq!(Limiter::spent(Duration::from_secs(2)).take(), Err(Duration::from_secs(2)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_is_seen_to_stand_still() {
        assert!(is_paused());
        tokio::time::resume();
        assert!(!is_paused());
    }

    #[tokio::test(start_paused = true)]
    async fn a_fine_sleep_follows_a_paused_clock() {
        let start = Instant::now();
        sleep_finely(Duration::from_millis(20), Duration::from_millis(20)).await;
        assert_eq!(start.elapsed(), Duration::from_millis(20));
    }
}
