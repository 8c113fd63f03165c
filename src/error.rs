//! Why a run could not start or go on, and the exit code that follows from it.

use std::path::PathBuf;

/// The exit codes, a public interface: one per thing that the operator would do next; never renumbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Every row is as requested.
    Done = 0,
    /// The run ended, and some row is not as requested.
    SomeRows = 1,
    /// Usage, config or input is wrong; nothing was sent.
    Rejected = 2,
    /// Refused by a guard, an approval, a missing confirmation or a "no"; nothing was sent.
    Refused = 3,
    /// Credentials, permission or the endpoint failed before any write.
    NoAccess = 4,
    /// Stopped before its end; run again to resume.
    Stopped = 5,
    /// Another process holds this journal.
    Held = 6,
    /// A fault of the program itself.
    Fault = 70,
}

impl Exit {
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Why a run could not start or go on. A refused row or a failed chunk is *not* an error: it is data
/// ([`crate::model::Outcome`]), written to the results and counted in the summary.
///
/// Messages are lower-case fragments that do not repeat their source; `main` prints the chain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that cannot be.
    #[error("{problem}")]
    Usage { problem: String },
    /// A setting, wherever it was written.
    #[error("setting `{name}` ({origin}): {problem}")]
    Setting { name: String, origin: String, problem: String },
    /// The input as a whole cannot be read.
    #[error("{path}: {problem}")]
    Input { path: String, problem: String },
    /// Rows of the input are wrong; `report` holds every fault of the whole file, a line each.
    #[error("{path}: {count} invalid row(s)\n{report}")]
    Rows { path: String, count: usize, report: String },
    /// A file that could not be read or written before anything was sent.
    #[error("cannot {verb} {path:?}")]
    File { verb: &'static str, path: PathBuf, source: std::io::Error },
    /// The journal is not one, belongs to another run, or another format.
    #[error("{path}: {problem}")]
    NotOurJournal { path: String, problem: String },
    /// Another process drives this journal.
    #[error("another process is working on this run (it holds {0:?})")]
    Locked(PathBuf),
    /// A guard, an approval or the person said no.
    #[error("{0}")]
    Refused(String),
    /// A question that nobody can be asked.
    #[error("this would write, and there is no terminal to ask on: add --yes, or --approved PLAN")]
    Unconfirmed,
    /// Credentials, permission or endpoint, before any write.
    #[error("{0}")]
    NoAccess(String),
    /// The journal or the results could not be written once the run had started.
    #[error("cannot {verb} {path:?}")]
    Disk { verb: &'static str, path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// The journal was damaged by somebody else while the run used it.
    #[error("{path:?}: {problem}; what was sent can only be seen in the live bindings: plan anew with --fresh")]
    Damaged { path: PathBuf, problem: String },
    /// Stopped before its end for a reason that running again may heal.
    #[error("{0}")]
    Stopped(String),
    /// A fault of the program itself.
    #[error("internal fault: {0}")]
    Internal(String),
}

impl Error {
    /// One code per thing the operator would do next; a public interface, never renumbered.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage { .. }
            | Self::Setting { .. }
            | Self::Input { .. }
            | Self::Rows { .. }
            | Self::File { .. }
            | Self::NotOurJournal { .. } => Exit::Rejected,
            Self::Locked(_) => Exit::Held,
            Self::Refused(_) | Self::Unconfirmed => Exit::Refused,
            Self::NoAccess(_) => Exit::NoAccess,
            Self::Disk { .. } | Self::Damaged { .. } | Self::Stopped(_) => Exit::Stopped,
            Self::Internal(_) => Exit::Fault,
        }
    }
}
