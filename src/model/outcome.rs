//! The one final word on a row, and what a refusal says.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The one final word on a row. The names are a public interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Was bound, is not any more.
    Detached,
    /// Was not bound when the run came to it.
    AlreadyDetached,
    /// In an undo: was not bound, is now.
    Attached,
    /// In an undo: was already bound before this run.
    AlreadyAttached,
    /// Its day is still to come.
    NotDue,
    /// Refused; the code says why.
    Failed,
    /// Sent, and what became of it could not be learnt.
    Unknown,
    /// Can't be sent; the code names the rule.
    Invalid,
    /// The run stopped first, or was told to leave it.
    NotSent,
    /// In a plan alone.
    Planned,
}

impl Outcome {
    /// Every outcome, in the order in which a summary lists them.
    pub const ALL: [Self; 10] = [
        Self::Detached,
        Self::AlreadyDetached,
        Self::Attached,
        Self::AlreadyAttached,
        Self::NotDue,
        Self::Failed,
        Self::Unknown,
        Self::Invalid,
        Self::NotSent,
        Self::Planned,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detached => "detached",
            Self::AlreadyDetached => "already_detached",
            Self::Attached => "attached",
            Self::AlreadyAttached => "already_attached",
            Self::NotDue => "not_due",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
            Self::NotSent => "not_sent",
            Self::Planned => "planned",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// Whether a row of this outcome is as the operator wanted it.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Detached | Self::AlreadyDetached | Self::Attached | Self::AlreadyAttached | Self::NotDue)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal that the API (or one of its jobs) gave: what `error_code` and `error_msg` of a row come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The code as the service spelled it, or `HTTP_404` where it gave none.
    pub code: String,
    /// At most 1,000 characters, control characters escaped.
    pub message: String,
}
