//! The pace below a ceiling that follows what the server allows. Pure: time is an
//! argument.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::Ceiling;

/// What a 429 says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ThrottleHint {
    /// See [`super::parse_retry_after`].
    pub retry_after: Option<Duration>,
    /// So many requests in so long; see [`super::parse_limit_text`].
    pub limit: Option<(u32, Duration)>,
}

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// After a 429 without a hint the class stays closed so long at first, doubling up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = MINUTE;
/// No wait or window that the server names counts for more: nothing that is added to a time may overflow.
const LONGEST_TOLD: Duration = Duration::from_secs(86_400);
/// What the cap grows by, step after step without a cut; the last one goes on.
const GROWTH: [f64; 6] = [1.05, 1.1, 1.2, 1.4, 1.8, 2.0];
/// A cap that is as close as this to one that was refused is close enough,
const CLOSE: f64 = 1.1;
/// and stays for so many steps before a higher one is tried, but at least for so many times the wait that it may cost.
const HOLD_STEPS: u32 = 3;
const HOLD_WAITS: u32 = 4;

/// The pace of one class.
///
/// `rate` ≤ `cap` ≤ `ceiling`, all per second. The cap is the best guess of what the server allows for long; the rate
/// dips below it after a cut, so that a window that is used up can pass, and is soon back.
#[derive(Debug, Clone)]
pub(super) struct Adaptive {
    ceiling: f64,
    cap: f64,
    rate: f64,
    /// Rises with each cut: what was sent before the last cut says nothing about the rate after it.
    generation: u64,
    /// Cuts by a 429 since the last success.
    refused_in_row: i32,
    rate_since: Instant,
    cap_since: Instant,
    /// How long without a cut the cap stays before it grows: a minute, or the window that the server named.
    step: Duration,
    /// The same for a cap that is close to a refused one.
    hold: Duration,
    /// Steps of [`GROWTH`] made since the last cut.
    steps: usize,
    /// The last cap that stayed a whole step without a cut, since the last cut.
    good: Option<f64>,
    /// A cap that was too high.
    refused: Option<f64>,
    successes: Successes,
}

impl Adaptive {
    pub(super) fn new(ceiling: f64, now: Instant) -> Self {
        Self {
            ceiling,
            cap: ceiling,
            rate: ceiling,
            generation: 0,
            refused_in_row: 0,
            rate_since: now,
            cap_since: now,
            step: MINUTE,
            hold: MINUTE * HOLD_STEPS,
            steps: 0,
            good: None,
            refused: None,
            successes: Successes::default(),
        }
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// From one start to the next; never less than the ceiling's.
    pub(super) fn period(&self, ceiling: Ceiling) -> Duration {
        Duration::try_from_secs_f64(1.0 / self.rate).unwrap_or(LONGEST_TOLD).max(ceiling.period)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// A request starts; the rate grows by what its time has earned. `waited`: it had to wait for its turn, so all the
    /// time since the last growth was used, otherwise at most a second of it. Returns whether the rate is another one.
    pub(super) fn started(&mut self, now: Instant, waited: bool) -> bool {
        self.successes.first_request(now);
        let before = self.rate;
        while let Some((after, cap)) = self.next_cap().filter(|(after, _)| self.cap_since + *after <= now) {
            self.good = Some(self.cap);
            self.refused = self.refused.filter(|_| after == self.step);
            self.cap = cap;
            self.cap_since += after;
            self.steps += 1;
        }
        let seconds = now.saturating_duration_since(self.rate_since).as_secs();
        if seconds > 0 {
            let used = if waited { u32::try_from(seconds).unwrap_or(u32::MAX) } else { 1 };
            self.rate = (self.rate + self.cap / 20.0 * f64::from(used)).min(self.cap);
            self.rate_since = now;
        }
        // Equal bits, not equal enough: a rate at its cap must not make a new limiter at each start.
        self.rate.to_bits() != before.to_bits()
    }

    /// How long after its last change the cap grows, and to what; `None` at the ceiling.
    fn next_cap(&self) -> Option<(Duration, f64)> {
        let grown = (self.cap * GROWTH[self.steps.min(GROWTH.len() - 1)]).min(self.ceiling);
        let next = match self.refused {
            Some(refused) if refused <= self.cap * CLOSE => (self.hold, grown),
            Some(refused) if refused <= grown => (self.step, f64::midpoint(self.cap, refused)),
            _ => (self.step, grown),
        };
        (self.cap < self.ceiling).then_some(next)
    }

    pub(super) fn succeeded(&mut self, now: Instant, generation: u64) {
        self.successes.add(now);
        if generation == self.generation {
            self.refused_in_row = 0;
        }
    }

    /// A 429. Returns how long to stay closed (jitter apart), or `None` where that is settled already: the request was
    /// sent before the last cut, and the server named no time.
    pub(super) fn throttled(&mut self, now: Instant, generation: u64, hint: ThrottleHint) -> Option<Duration> {
        let retry_after = hint.retry_after.map(|wait| wait.min(LONGEST_TOLD));
        if generation != self.generation {
            return retry_after;
        }
        let limit = hint.limit.filter(|(n, window)| *n > 0 && !window.is_zero() && *window <= LONGEST_TOLD);
        self.lower_cap(now, limit);
        self.cut(now);
        let by_streak = |streak: i32| FIRST_WAIT.mul_f64(2_f64.powi(streak.clamp(0, 8))).min(LONGEST_WAIT);
        let told = retry_after.or(limit.map(|(_, window)| window / 6));
        // A time that was told and turned out too short is not believed again.
        let wait = match (told, self.refused_in_row) {
            (Some(told), 0) => told,
            (Some(told), streak) => told.max(by_streak(streak - 1)),
            (None, streak) => by_streak(streak),
        };
        self.refused_in_row = self.refused_in_row.saturating_add(1);
        self.hold = (self.step * HOLD_STEPS).max(wait * HOLD_WAITS);
        // While the class is closed nothing shows that the cap is good.
        self.cap_since = now + wait;
        self.rate_since = now + wait;
        Some(wait)
    }

    /// No answer in time, or none for now (503): slower, but the limit is what it was. Returns whether it was a cut.
    pub(super) fn slowed(&mut self, now: Instant, generation: u64) -> bool {
        let fresh = generation == self.generation;
        if fresh {
            self.cut(now);
        }
        fresh
    }

    /// The server's own word is best. Else the cap that was good before it grew, once; else what there was.
    fn lower_cap(&mut self, now: Instant, limit: Option<(u32, Duration)>) {
        let measured = match self.successes.per_s(now) {
            some if some > 0.0 => self.cap.min(0.95 * some),
            _ => self.cap / 2.0,
        };
        let cap = match (limit, self.good.take()) {
            (Some((n, window)), _) => {
                let limit = f64::from(n) / window.as_secs_f64();
                self.refused = Some(limit);
                self.step = window.max(MINUTE);
                0.9 * limit
            }
            (None, Some(good)) => {
                self.refused = Some(self.cap);
                good
            }
            (None, None) => {
                // Within one spell of refusals the same cap is still the one that was refused.
                self.refused = self.refused.filter(|_| self.refused_in_row > 0);
                measured
            }
        };
        self.cap = self.within(cap);
        self.steps = 0;
    }

    fn cut(&mut self, now: Instant) {
        self.rate = self.within((0.7 * self.rate).min(self.cap));
        self.rate_since = now;
        self.generation += 1;
    }

    fn within(&self, rate: f64) -> f64 {
        rate.clamp(self.ceiling / 200.0, self.ceiling)
    }
}

/// Successes of the last minute, by the second.
#[derive(Debug, Clone, Default)]
struct Successes {
    first_request: Option<Instant>,
    /// Whole seconds since the first request, and how many there were in each.
    seconds: VecDeque<(u64, u32)>,
}

impl Successes {
    fn first_request(&mut self, now: Instant) {
        self.first_request.get_or_insert(now);
    }

    fn add(&mut self, now: Instant) {
        let second = now.saturating_duration_since(*self.first_request.get_or_insert(now)).as_secs();
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count = count.saturating_add(1),
            _ => self.seconds.push_back((second, 1)),
        }
        while self.seconds.front().is_some_and(|(first, _)| first + MINUTE.as_secs() <= second) {
            self.seconds.pop_front();
        }
    }

    /// Over the last minute, or since the first request where that is less; at least over a second.
    fn per_s(&self, now: Instant) -> f64 {
        let Some(first) = self.first_request else { return 0.0 };
        let age = now.saturating_duration_since(first);
        let count: u32 = self
            .seconds
            .iter()
            .filter(|(second, _)| second + MINUTE.as_secs() > age.as_secs())
            .fold(0, |sum, (_, count)| sum.saturating_add(*count));
        f64::from(count) / age.clamp(SECOND, MINUTE).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Starts a request each second, all of them served, for so long; returns when that is over.
    fn served(pace: &mut Adaptive, from: Instant, seconds: u64) -> Instant {
        for second in 0..seconds {
            pace.started(from + s(second), true);
            pace.succeeded(from + s(second), pace.generation());
        }
        from + s(seconds)
    }

    fn near(rate: f64, expected: f64) -> bool {
        (rate - expected).abs() < 1e-9
    }

    #[test]
    fn a_cut_falls_back_to_what_was_good_before_the_cap_grew() {
        let (mut pace, mut now) = (Adaptive::new(10.0, Instant::now()), Instant::now());
        now = served(&mut pace, now, 60);
        let wait = pace.throttled(now, 0, ThrottleHint::default());
        assert_eq!(wait, Some(s(5)));
        let cap = pace.cap;
        assert!((0.93..=0.95).contains(&cap), "0.95 of a success a second: {cap}");
        now = served(&mut pace, now + s(5), 125); // two steps: 5 and 10 %
        assert!(near(pace.cap, cap * 1.05 * 1.1), "{}", pace.cap);
        pace.throttled(now, 1, ThrottleHint::default());
        assert!(near(pace.cap, cap * 1.05), "{}", pace.cap);
        now = served(&mut pace, now + s(5), 179);
        assert!(near(pace.cap, cap * 1.05), "stays below the refused cap for three minutes: {}", pace.cap);
        served(&mut pace, now, 2);
        assert!(near(pace.cap, cap * 1.05 * 1.05), "then tries again: {}", pace.cap);
    }

    #[test]
    fn without_any_success_the_cap_halves_down_to_a_floor() {
        let (mut pace, now) = (Adaptive::new(10.0, Instant::now()), Instant::now());
        pace.throttled(now, 0, ThrottleHint::default());
        assert!(near(pace.cap, 5.0) && near(pace.rate(), 5.0));
        for generation in 1..50 {
            pace.throttled(now, generation, ThrottleHint::default());
        }
        assert!(near(pace.cap, 0.05) && near(pace.rate(), 0.05));
    }

    #[test]
    fn p09_absurd_hints_are_bounded_or_ignored() {
        for limit in [Some((0, s(1))), Some((1, Duration::ZERO)), Some((u32::MAX, Duration::MAX)), None] {
            let (mut pace, now) = (Adaptive::new(10.0, Instant::now()), Instant::now());
            pace.throttled(now, 0, ThrottleHint { retry_after: Some(Duration::MAX), limit });
            assert!(near(pace.rate(), 5.0), "{limit:?}: {}", pace.rate());
        }
    }

    #[test]
    fn a_time_that_was_too_short_once_is_not_believed_again() {
        let (mut pace, now) = (Adaptive::new(10.0, Instant::now()), Instant::now());
        let hint = ThrottleHint { retry_after: Some(s(1)), limit: None };
        let waits: Vec<_> = (0..4).filter_map(|generation| pace.throttled(now, generation, hint)).collect();
        assert_eq!(waits, [s(1), s(5), s(10), s(20)]);
    }

    #[test]
    fn a_pace_that_is_not_used_grows_slowly() {
        let (mut pace, now) = (Adaptive::new(10.0, Instant::now()), Instant::now());
        pace.slowed(now, 0);
        pace.started(now + s(30), false);
        assert!(near(pace.rate(), 7.5), "{}", pace.rate());
        pace.started(now + s(32), true);
        assert!(near(pace.rate(), 8.5), "{}", pace.rate());
    }
}
