//! How often a request may be repeated (P10), and how long a repeat waits.

use std::time::Duration;

use tokio::time::Instant;

use super::Ceiling;

/// Repeats that are allowed from the start on.
const FREE: u64 = 20;
/// One repeat for so many requests that the ceiling has allowed.
const PER: u32 = 10;

/// Counts repeats against what P10 allows: 20, and a tenth of what the ceiling has allowed since the start.
///
/// 429s, failures to connect and the parts of a divided chunk are not repeats: they never ask here.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    start: Instant,
    /// One more repeat is allowed each time so long.
    earns: Duration,
    spent: u64,
}

impl Budget {
    pub(crate) fn new(ceiling: Ceiling, start: Instant) -> Self {
        let earns = ceiling.period.saturating_mul(PER).max(Duration::from_nanos(1));
        Self { start, earns, spent: 0 }
    }

    /// Takes one repeat, or says how long from now the next one comes free. First attempts go on meanwhile.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let elapsed = now.saturating_duration_since(self.start);
        let earned = u64::try_from(elapsed.as_nanos() / self.earns.as_nanos()).unwrap_or(u64::MAX);
        if self.spent < FREE.saturating_add(earned) {
            self.spent += 1;
            return Ok(());
        }
        let into = elapsed.as_nanos() % self.earns.as_nanos();
        Err(self.earns.saturating_sub(Duration::from_nanos(u64::try_from(into).unwrap_or(0))))
    }
}

/// A repeat after a failure never waits longer than this.
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// How long to wait before the next try after `n` failures before this one (0: the first failure): full jitter,
/// uniform in 0 … min(60 s, base × 2ⁿ).
///
/// `unit_random`: from 0 to 1.
pub(crate) fn backoff(n: u32, base: Duration, unit_random: f64) -> Duration {
    let most = base.saturating_mul(2_u32.saturating_pow(n)).min(MAX_BACKOFF);
    // Not `clamp`: it keeps what is not a number, and that makes `mul_f64` panic.
    let part = if unit_random > 0.0 { unit_random.min(1.0) } else { 0.0 };
    most.mul_f64(part).min(most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn p10_twenty_repeats_are_free_and_each_ten_requests_earn_one() {
        let start = Instant::now();
        let mut budget = Budget::new(Ceiling { period: Duration::from_millis(600) }, start);
        assert!((0..20).all(|_| budget.take(start).is_ok()));
        assert_eq!(budget.take(start + Duration::from_secs(2)), Err(Duration::from_secs(4)));
        assert_eq!(budget.take(start + Duration::from_secs(6)), Ok(()));
        assert_eq!(budget.take(start + Duration::from_secs(6)), Err(Duration::from_secs(6)));
        assert_eq!(budget.spent, 21);
    }

    proptest! {
        #[test]
        fn p10_repeats_stay_within_twenty_and_a_tenth_of_the_ceiling(
            period_ms in 1_u64..5_000, gaps_ms in proptest::collection::vec(0_u64..3_000, 1..300),
        ) {
            let start = Instant::now();
            let mut budget = Budget::new(Ceiling { period: Duration::from_millis(period_ms) }, start);
            let (mut at_ms, mut taken) = (0, 0_u64);
            for gap_ms in gaps_ms {
                at_ms += gap_ms;
                let now = start + Duration::from_millis(at_ms);
                match budget.take(now) {
                    Ok(()) => taken += 1,
                    Err(wait) => prop_assert_eq!(budget.clone().take(now + wait), Ok(()), "the wait is long enough"),
                }
                prop_assert!(taken <= 20 + at_ms / period_ms / 10);
            }
        }

        #[test]
        fn a_backoff_is_within_its_bounds(n: u32, base_ms in 0_u64..100_000, chance in -1.0..2.0_f64) {
            let most = Duration::from_millis(base_ms).saturating_mul(2_u32.saturating_pow(n)).min(MAX_BACKOFF);
            prop_assert!(backoff(n, Duration::from_millis(base_ms), chance) <= most);
        }
    }

    #[test]
    fn a_backoff_doubles_up_to_a_minute() {
        let waits = [0, 1, 5, 6, 40].map(|n| backoff(n, Duration::from_secs(1), 1.0).as_secs());
        assert_eq!(waits, [1, 2, 32, 60, 60]);
        assert_eq!(backoff(3, Duration::from_secs(1), 0.0), Duration::ZERO);
        assert_eq!(backoff(3, Duration::from_secs(1), f64::NAN), Duration::ZERO);
    }
}
