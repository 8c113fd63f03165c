//! The gateway's limit on calls, which a client can only feel.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use super::op::{Op, Refused};
use super::span::span;

/// Which requests count against a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Window {
    /// Those since the last full window; all is free again at once.
    #[default]
    Fixed,
    /// Those of the last window, counted back from now.
    Sliding,
}

/// A limit on the calls of an operation. What exceeds it is answered with 429 and not executed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limit {
    /// Every operation has this limit for itself, if not given.
    #[serde(default)]
    pub op: Option<Op>,
    /// Calls in a window.
    pub limit: u32,
    #[serde(deserialize_with = "span")]
    pub window: Duration,
    #[serde(default)]
    pub kind: Window,
    /// `Retry-After` as it stands; `window` is replaced by the seconds until a call is free again.
    #[serde(default)]
    pub retry_after: Option<String>,
    /// Leaves the numbers out of the message.
    #[serde(default)]
    pub hidden: bool,
    /// Refused calls count, too.
    #[serde(default)]
    pub counts_refused: bool,
    /// Other limits from a time on, in order of time.
    #[serde(default)]
    pub changes: Vec<LimitChange>,
}

/// From `from` (since the start) on the limit is another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LimitChange {
    #[serde(deserialize_with = "span")]
    pub from: Duration,
    pub limit: u32,
}

impl Limit {
    /// `limit` calls of `op` a minute, in fixed windows, with the gateway's text.
    pub fn per_minute(op: Op, limit: u32) -> Self {
        Self {
            op: Some(op),
            limit,
            window: Duration::from_secs(60),
            kind: Window::Fixed,
            retry_after: None,
            hidden: false,
            counts_refused: false,
            changes: Vec::new(),
        }
    }

    fn at(&self, elapsed: Duration) -> u32 {
        self.changes.iter().rev().find(|change| change.from <= elapsed).map_or(self.limit, |change| change.limit)
    }
}

/// The gateway's words for a 429: `limit` calls in `window`.
pub(super) fn throttled(limit: u32, window: Duration) -> Refused {
    let seconds = window.as_secs().max(1);
    let window = match seconds {
        s if s % 3600 == 0 => format!("{} hour", s / 3600),
        s if s % 60 == 0 => format!("{} minute", s / 60),
        s => format!("{s} second"),
    };
    Refused::new(
        429,
        "APIGW.0308",
        format!("The throttling threshold has been reached: policy user over ratelimit,limit:{limit},time:{window}"),
    )
}

/// Counts calls against all limits.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    /// Per limit and operation: when the calls came that still count.
    counted: BTreeMap<(usize, Op), VecDeque<Instant>>,
}

impl Limiter {
    /// The refusal, if this call exceeds one of `limits`.
    pub(super) fn check(&mut self, limits: &[Limit], op: Op, epoch: Instant, now: Instant) -> Option<Refused> {
        let elapsed = now.saturating_duration_since(epoch);
        let mut refusal = None;
        let ours = || limits.iter().enumerate().filter(|(_, limit)| limit.op.is_none_or(|its| its == op));
        for (n, limit) in ours() {
            let counted = self.counted.entry((n, op)).or_default();
            while counted.front().is_some_and(|&at| Self::is_over(limit, at, epoch, now)) {
                counted.pop_front();
            }
            let allowed = limit.at(elapsed);
            if counted.len() < usize::try_from(allowed).unwrap_or(usize::MAX) {
                continue;
            }
            let mut refused = throttled(allowed, limit.window);
            if limit.hidden {
                "The throttling threshold has been reached".clone_into(&mut refused.message);
            }
            refused.retry_after = limit.retry_after.as_ref().map(|text| match text.as_str() {
                "window" => {
                    let free = counted.front().map_or(limit.window, |&at| Self::free_in(limit, at, epoch, now));
                    (free.as_secs() + u64::from(free.subsec_nanos() > 0)).to_string()
                }
                text => text.to_owned(),
            });
            refusal = Some(refused);
        }
        for (n, limit) in ours() {
            if refusal.is_none() || limit.counts_refused {
                self.counted.entry((n, op)).or_default().push_back(now);
            }
        }
        refusal
    }

    /// How long a call of `at` still counts.
    fn free_in(limit: &Limit, at: Instant, epoch: Instant, now: Instant) -> Duration {
        let window = limit.window.as_nanos().max(1);
        let end = match limit.kind {
            Window::Sliding => at + limit.window,
            Window::Fixed => {
                let number = at.saturating_duration_since(epoch).as_nanos() / window;
                let end = u64::try_from((number + 1) * window).unwrap_or(u64::MAX);
                epoch + Duration::from_nanos(end)
            }
        };
        end.saturating_duration_since(now)
    }

    fn is_over(limit: &Limit, at: Instant, epoch: Instant, now: Instant) -> bool {
        Self::free_in(limit, at, epoch, now).is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(limit: &Limit, at_ms: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let (mut limiter, epoch) = (Limiter::default(), Instant::now());
        at_ms
            .into_iter()
            .filter(|&ms| {
                let now = epoch + Duration::from_millis(ms);
                limiter.check(std::slice::from_ref(limit), Op::ShowJob, epoch, now).is_none()
            })
            .collect()
    }

    #[test]
    fn a_fixed_window_is_free_again_at_once_and_a_sliding_one_bit_by_bit() {
        let fixed = Limit { window: Duration::from_secs(1), ..Limit::per_minute(Op::ShowJob, 2) };
        assert_eq!(calls(&fixed, [0, 900, 950, 1000, 1001, 1002]), [0, 900, 1000, 1001]);
        let sliding = Limit { kind: Window::Sliding, ..fixed };
        assert_eq!(calls(&sliding, [0, 900, 950, 1000, 1001, 1002]), [0, 900, 1000]);
    }

    #[test]
    fn refused_calls_count_where_the_limit_says_so() {
        let strict = Limit {
            window: Duration::from_secs(1),
            kind: Window::Sliding,
            counts_refused: true,
            ..Limit::per_minute(Op::ShowJob, 1)
        };
        assert_eq!(calls(&strict, [0, 500, 1100, 1600, 2700]), [0, 2700]);
    }

    #[test]
    fn a_limit_can_change_and_says_what_it_is_now() {
        let limit = Limit {
            changes: vec![LimitChange { from: Duration::from_secs(60), limit: 1 }],
            retry_after: Some("window".to_owned()),
            ..Limit::per_minute(Op::ShowJob, 2)
        };
        let (mut limiter, epoch) = (Limiter::default(), Instant::now());
        let mut at =
            |s| limiter.check(std::slice::from_ref(&limit), Op::ShowJob, epoch, epoch + Duration::from_secs(s));
        assert!(at(0).is_none() && at(1).is_none());
        let refused = at(2).unwrap();
        assert!(refused.message.ends_with("policy user over ratelimit,limit:2,time:1 minute"), "{}", refused.message);
        assert_eq!(refused.retry_after.as_deref(), Some("58"));
        assert!(at(60).is_none());
        assert!(at(61).unwrap().message.contains("limit:1,"));
    }

    proptest::proptest! {
        #[test]
        fn no_window_ever_lets_more_through_than_its_limit(gaps in proptest::collection::vec(0..400_u64, 1..200), limit in 1..5_u32) {
            let sliding =
                Limit { window: Duration::from_secs(1), kind: Window::Sliding, ..Limit::per_minute(Op::ShowJob, limit) };
            let at_ms = gaps.iter().scan(0, |at, gap| {
                *at += gap;
                Some(*at)
            });
            let passed = calls(&sliding, at_ms);
            for from in &passed {
                let within = passed.iter().filter(|at| (*from..*from + 1000).contains(*at)).count();
                proptest::prop_assert!(within <= usize::try_from(limit).unwrap());
            }
        }
    }
}
