//! The numbers that a run goes by, and the reasons for which it stops before its end.

use std::time::Duration;

use crate::config::Percent;
use crate::model::Class;
use crate::pace::Waits;

/// How a run behaves: the settings of the same names say what each means.
#[derive(Debug, Clone)]
pub struct Rules {
    /// [`Class::BatchDetach`], or [`Class::BatchAttach`] for an undo.
    pub class: Class,
    /// Whether outcomes are proved by reads; otherwise the API's word is taken (a lost answer is read all the same).
    pub verify: bool,
    /// Whether the live bindings were read before the plan: then "nobody there" means `already_detached`.
    pub preflight: bool,
    /// Requests in flight at most.
    pub concurrency: usize,
    pub waits: Waits,
    /// First wait for a busy desktop; doubles to [`MAX_BUSY_WAIT`].
    pub busy_wait: Duration,
    /// No answer at all for so long: stop, to be resumed.
    pub outage_limit: Duration,
    /// After a stop, open writes have so long to answer.
    pub drain_time: Duration,
    /// Attempts per row at most, doubts and accepted ones.
    pub max_tries: u32,
    /// Stop when more than this share of the rows settled since this start failed.
    pub stop_at: Option<Percent>,
    /// Chunks from the first that must be verified before any other is sent.
    pub canary_chunks: u32,
    /// Start nothing new after so long.
    pub max_runtime: Option<Duration>,
}

/// Longest wait between two looks at a busy desktop.
pub(crate) const MAX_BUSY_WAIT: Duration = Duration::from_secs(120);
/// From how many settled rows on `--stop-at` judges.
pub(crate) const STOP_AT_FROM: u64 = 20;
/// So many single desktops refused alike, and no success yet: the request itself is wrong.
pub(crate) const ALIKE_LIMIT: u32 = 20;
/// So many 403 in a row without a success: the caller lacks the right.
pub(crate) const FORBIDDEN_LIMIT: u32 = 3;

impl Default for Rules {
    fn default() -> Self {
        Self {
            class: Class::BatchDetach,
            verify: true,
            preflight: true,
            concurrency: 8,
            waits: Waits::default(),
            busy_wait: Duration::from_secs(15),
            outage_limit: Duration::from_secs(1_800),
            drain_time: Duration::from_secs(30),
            max_tries: 5,
            stop_at: None,
            canary_chunks: 0,
            max_runtime: None,
        }
    }
}

/// Why a run stopped before its end. It can be resumed (exit 5); after a failed canary only `--fresh` goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// SIGINT, SIGTERM or SIGHUP.
    Signal,
    /// `--max-runtime`.
    Deadline,
    /// `--stop-at`; the sentence names the numbers.
    Brake(String),
    /// The canary was not verified.
    Canary(String),
    /// No answer for the outage limit.
    Outage(String),
    /// The credentials were refused, also after a renewal.
    Credentials(String),
    /// The endpoint, the region or the request itself cannot be right.
    Endpoint(String),
    /// A 429 that asks for more than a quarter of an hour.
    Throttled(String),
}

impl StopReason {
    /// Whether the service, or the way to it, is the reason: then it is why nobody knows what became of open rows.
    pub(crate) const fn is_of_the_service(&self) -> bool {
        matches!(self, Self::Outage(_) | Self::Credentials(_) | Self::Endpoint(_) | Self::Throttled(_))
    }

    /// In words, for the journal, the summary and the last line.
    pub fn in_words(&self) -> String {
        match self {
            Self::Signal => "stopped by a signal".to_owned(),
            Self::Deadline => "the time given by --max-runtime is over".to_owned(),
            Self::Brake(why)
            | Self::Canary(why)
            | Self::Outage(why)
            | Self::Credentials(why)
            | Self::Endpoint(why)
            | Self::Throttled(why) => why.clone(),
        }
    }
}
