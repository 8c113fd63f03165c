//! What goes wrong, as a plain value: written in code, or read from TOML (keys in kebab-case).
//!
//! ```toml
//! seed = 7
//! world = { detach-lag = "800ms", job-time = "3s", read-lag = "2s" }
//! limits = [{ op = "batch-detach", limit = 60, window = "1m", kind = "sliding" }]
//! outages = [{ from = "60s", until = "10m", kind = "lost" }]
//! faults = [
//!     { op = "batch-detach", after = 3, count = 1, effect = "execute-then-drop" },
//!     { op = "show-job", probability = 0.1, effect = { refuse = { status = 502 } } },
//! ]
//! fates = [{ desktops = ["d-1"], fate = "hibernated" }, { desktops = ["d-2"], fate = { busy = { for = "20s" } } }]
//! ```

use std::time::Duration;

use serde::Deserialize;

use super::auth::Auth;
use super::limiter::Limit;
use super::op::{Op, Refused};
use super::span::{maybe_span, span, spans};
use crate::model::{Bound, DesktopId};

/// The pool of the desktops that are in one.
pub(super) const POOL: &str = "pool-0001";

/// Whom the service blames for a desktop that can't be detached now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// The desktop is listed in `failed_operation_list` of a 200; the others go on.
    #[default]
    Desktop,
    /// The whole request is refused, and nothing of it is done.
    Request,
}

/// How the service finds whom and what a request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matching {
    /// People by id where both sides have one, else by name without case; desktops by id.
    #[default]
    Id,
    /// The same, but ids are compared without case. Answers have the service's own spelling.
    AnyCase,
    /// People by name alone: a detach takes everybody of the name away, an attach brings whoever had the name last.
    Name,
}

/// How the world behaves when nothing goes wrong.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Physics {
    /// From an accepted detach (or attach) of an ordinary desktop until its bindings change.
    #[serde(deserialize_with = "span")]
    pub detach_lag: Duration,
    /// Reads show the state as it was so long ago.
    #[serde(deserialize_with = "span")]
    pub read_lag: Duration,
    /// How long the job of pool desktops runs.
    #[serde(deserialize_with = "span")]
    pub job_time: Duration,
    /// How long a new job is not found yet.
    #[serde(deserialize_with = "span")]
    pub job_hidden: Duration,
    /// Desktops on one page of a list at most, whatever is asked for; 0: as many as the API allows.
    pub page: usize,
    /// From the work being done until the answer goes out, for every request.
    #[serde(deserialize_with = "span")]
    pub latency: Duration,
    /// A desktop with a task running: [`Blame::Request`] is a 409 for all of the request.
    pub busy: Blame,
    pub hibernated: Blame,
    pub unknown: Blame,
    pub matching: Matching,
}

impl Default for Physics {
    fn default() -> Self {
        Self {
            detach_lag: Duration::ZERO,
            read_lag: Duration::ZERO,
            job_time: Duration::from_secs(3),
            job_hidden: Duration::ZERO,
            page: 0,
            latency: Duration::ZERO,
            busy: Blame::Request,
            hibernated: Blame::Desktop,
            unknown: Blame::Desktop,
            matching: Matching::Id,
        }
    }
}

/// What goes wrong. The default is nothing at all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scenario {
    /// Decides every chance: the same seed and the same requests give the same answers.
    pub seed: u64,
    pub world: Physics,
    pub limits: Vec<Limit>,
    pub outages: Vec<Outage>,
    /// The first that hits a request decides. All that match count it, even where an outage, the credentials or a
    /// limit refuse it before any rule takes effect.
    pub faults: Vec<Fault>,
    pub fates: Vec<FateOf>,
    /// Requests for another project are refused; `None` takes any.
    pub project_id: Option<String>,
    /// Who may send; anybody by default.
    #[serde(skip)]
    pub auth: Auth,
    /// How long a token is good, or a temporary key, whatever was asked for.
    #[serde(deserialize_with = "maybe_span")]
    pub token_life: Option<Duration>,
    /// At each of these times (since the start) every token and temporary key issued before it ends.
    #[serde(deserialize_with = "spans")]
    pub revoke_at: Vec<Duration>,
    /// The same as each of these requests arrives, counted from 1, IAM's own apart.
    pub revoke_after: Vec<u64>,
    /// Seconds by which the service's clock (`Date`) is ahead; negative: behind. Ten years count at most.
    pub clock_ahead_s: i64,
}

/// What a [`Fault`] does to a request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Effect {
    /// Answers this, and does nothing.
    Refuse(Refused),
    /// 429 with the gateway's text, and does nothing. `limit` and `window` are what the text names.
    Throttle {
        limit: u32,
        #[serde(deserialize_with = "span")]
        window: Duration,
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// No connection comes about. Over a socket it is [`Effect::DropBefore`]: a server can't undo its accept.
    NotSent,
    /// The connection is cut; nothing was done.
    DropBefore,
    /// Does all of it, then cuts the connection.
    ExecuteThenDrop,
    /// Does all of it, then answers this instead (a 500, say).
    ExecuteThen(Refused),
    /// Does the first half of the desktops (rounded up), then answers this instead.
    HalfThen(Refused),
    /// Does all of it at once, and answers so much later.
    Delay(#[serde(deserialize_with = "span")] Duration),
    /// Answers `answer` (without one: cuts the connection) and does all of it so much later.
    Late {
        #[serde(deserialize_with = "span")]
        by: Duration,
        #[serde(default)]
        answer: Option<Refused>,
    },
    /// Does all of it, answers as usual, and unless that was a refusal does it once more so much later.
    Twice {
        #[serde(deserialize_with = "span")]
        again: Duration,
    },
    /// Does all of it; the answer's body is cut in the middle, its length as announced.
    CutJson,
    /// Answers an HTML page, which does the work only if its status is a success.
    Html { status: u16 },
    /// Does all of it; the answer speaks of a desktop that nobody asked for.
    ForeignId,
    /// Does all of it; the list in the answer is `null`.
    NullList,
    /// A read whose desktops come without `attach_user_infos`.
    NoBindings,
    /// A read that gives only the first half of the page.
    ShortPage,
    /// A read that gives everything, whatever was asked for.
    IgnoreFilter,
    /// A page that begins one entry late, with a total one lower: something before it went meanwhile. The first page
    /// stays as it is.
    ShiftedPage,
    /// The last entry of the page stands there as the first one once more; one is never shown.
    RepeatedEntry,
    /// The entries of the page in the opposite order.
    ReversedPage,
    /// `total_count` is wrong by so much.
    ClaimedTotal(i64),
    /// A read whose desktops show nobody, and are said to be attached all the same.
    UntoldBindings,
    /// The status of a job that is over, and of its sub jobs, is this word instead.
    JobWord(String),
}

/// One rule: which requests, and what happens to them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Fault {
    /// Requests of this operation; any, if not given.
    #[serde(default)]
    pub op: Option<Op>,
    /// Requests that name one of these desktops (in body, path or filter); any, if empty.
    #[serde(default)]
    pub desktops: Vec<DesktopId>,
    /// Requests whose query is longer than so many bytes; any, if not given.
    #[serde(default)]
    pub query_over: Option<usize>,
    /// Of those requests the first `after` are spared.
    #[serde(default)]
    pub after: u64,
    /// Of those requests the rule looks at so many; at all of them, if not given.
    #[serde(default)]
    pub count: Option<u64>,
    /// Chance, from 0 to 1, that a request looked at is hit.
    #[serde(default = "certain")]
    pub probability: f64,
    /// Time since the start from which on the rule holds.
    #[serde(default, deserialize_with = "span")]
    pub from: Duration,
    /// Time since the start at which it ends.
    #[serde(default, deserialize_with = "maybe_span")]
    pub until: Option<Duration>,
    pub effect: Effect,
}

impl Fault {
    /// Hits every request of `op`; the other methods narrow it.
    pub fn new(op: Op, effect: Effect) -> Self {
        Self {
            op: Some(op),
            desktops: Vec::new(),
            query_over: None,
            after: 0,
            count: None,
            probability: 1.0,
            from: Duration::ZERO,
            until: None,
            effect,
        }
    }

    #[must_use]
    pub fn after(self, after: u64) -> Self {
        Self { after, ..self }
    }

    #[must_use]
    pub fn count(self, count: u64) -> Self {
        Self { count: Some(count), ..self }
    }

    #[must_use]
    pub fn probability(self, probability: f64) -> Self {
        Self { probability, ..self }
    }

    #[must_use]
    pub fn naming(self, desktops: impl IntoIterator<Item = DesktopId>) -> Self {
        Self { desktops: desktops.into_iter().collect(), ..self }
    }

    #[must_use]
    pub fn query_over(self, bytes: usize) -> Self {
        Self { query_over: Some(bytes), ..self }
    }

    #[must_use]
    pub fn between(self, from: Duration, until: Duration) -> Self {
        Self { from, until: Some(until), ..self }
    }
}

/// A time in which nothing works.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Outage {
    /// Since the start.
    #[serde(deserialize_with = "span")]
    pub from: Duration,
    #[serde(deserialize_with = "span")]
    pub until: Duration,
    #[serde(default)]
    pub kind: OutageKind,
}

/// How an outage looks from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutageKind {
    /// No connection.
    #[default]
    NotSent,
    /// Connections are cut; nothing is done.
    Lost,
    /// 503 without a code.
    Unavailable,
}

/// What becomes of one desktop. Several may hold for one desktop, as far as they make sense together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Fate {
    Hibernated,
    Frozen,
    /// Somebody works on it.
    Connected,
    /// In a pool: a detach of it comes with a job.
    Pooled,
    /// In a pool; its sub job fails under a parent that completes, and it stays bound.
    JobFails {
        code: String,
        message: String,
    },
    /// A task runs on it for so long.
    Busy {
        #[serde(rename = "for", deserialize_with = "span")]
        lasts: Duration,
    },
    /// Listed as failed; stays bound. `times`: works after so many refusals; always refused, if not given.
    FailsWith {
        code: String,
        message: String,
        #[serde(default)]
        times: Option<u32>,
    },
    /// Accepted; then `DEATTACH_FAIL_CAN_DEATTACH_AGAIN`, still bound, and works after so many times.
    FailsFirst {
        times: u32,
    },
    /// Accepted; stays bound without a word.
    NeverUnbinds,
    /// Listed as failed, yet detached.
    ListedThoughGone {
        code: String,
        message: String,
    },
    /// Not there any more: in no list, unknown to every call.
    Gone,
    /// Deleted so long after the start.
    GoneAfter(#[serde(deserialize_with = "span")] Duration),
    /// So long after its detach somebody else, or the same one (`by` not given), is bound to it.
    Rebound {
        #[serde(deserialize_with = "span")]
        after: Duration,
        #[serde(default)]
        by: Option<Bound>,
    },
    /// A write that names it is refused as a whole.
    Poison(Refused),
    /// Its detach takes so long, instead of [`Physics::detach_lag`].
    Slow(#[serde(deserialize_with = "span")] Duration),
}

/// Desktops and what becomes of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FateOf {
    pub desktops: Vec<DesktopId>,
    pub fate: Fate,
}

const fn certain() -> f64 {
    1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::Window;

    #[test]
    fn a_scenario_is_read_from_toml() {
        let scenario: Scenario = toml::from_str(
            r#"
            seed = 7
            world = { detach-lag = "0.8s", job-time = "3s", busy = "desktop" }
            limits = [{ op = "batch-detach", limit = 60, window = "1m", kind = "sliding", changes = [{ from = "10s", limit = 6 }] }]
            outages = [{ from = "60s", until = "10m", kind = "lost" }]
            revoke-at = ["1h"]
            faults = [
                { op = "batch-detach", after = 3, count = 1, effect = "execute-then-drop" },
                { probability = 0.1, effect = { refuse = { status = 502 } } },
                { effect = { throttle = { limit = 60, window = "1m", retry-after = "2" } } },
                { effect = { late = { by = "20s" } } },
                { effect = { delay = "3s" } },
            ]
            fates = [
                { desktops = ["d-1"], fate = "hibernated" },
                { desktops = ["d-2", "d-3"], fate = { busy = { for = "20s" } } },
            ]
            "#,
        )
        .unwrap();
        assert_eq!(scenario.world.detach_lag, Duration::from_millis(800));
        assert_eq!(scenario.world.busy, Blame::Desktop);
        assert_eq!(scenario.limits[0].kind, Window::Sliding);
        assert_eq!(scenario.outages[0].kind, OutageKind::Lost);
        assert_eq!(scenario.faults[0].effect, Effect::ExecuteThenDrop);
        assert_eq!(scenario.faults[4].effect, Effect::Delay(Duration::from_secs(3)));
        assert_eq!(scenario.fates[1].fate, Fate::Busy { lasts: Duration::from_secs(20) });
        assert_eq!(scenario.revoke_at, [Duration::from_secs(3600)]);
    }

    #[test]
    fn a_key_that_nobody_knows_is_an_error() {
        assert!(toml::from_str::<Scenario>("sed = 7").is_err());
        for span in ["soon", "-1s", "1e300h", "NaNs", "3"] {
            assert!(toml::from_str::<Scenario>(&format!("world = {{ read-lag = \"{span}\" }}")).is_err(), "{span}");
        }
    }
}
