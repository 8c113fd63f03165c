//! What a command works with, and where its files are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::args::{RunOptions, journal_of};
use super::planning;
use super::session::Session;
use super::signals::Signals;
use crate::error::Error;
use crate::journal::RunLock;
use crate::plan::Policy;

/// What a command works with.
pub(super) struct Task<'a> {
    pub(super) options: &'a RunOptions,
    pub(super) session: &'a Session,
    /// The settings that shape the plan.
    pub(super) shaping: &'a BTreeMap<String, String>,
    pub(super) signals: Signals,
    /// When the command began.
    pub(super) began: Instant,
}

impl Task<'_> {
    pub(super) fn policy(&self) -> Policy {
        planning::policy(self.options, &self.session.settings)
    }
}

/// Where a run's files are.
pub(super) struct Files {
    pub(super) results: PathBuf,
    pub(super) journal: PathBuf,
    /// Of the journal; held to the end.
    pub(super) lock: RunLock,
}

impl Files {
    /// Locks the journal that goes with these results.
    ///
    /// # Errors
    /// [`Error::Locked`] where somebody else works on it.
    pub(super) fn hold(results: PathBuf) -> Result<Self, Error> {
        let journal = journal_of(&results);
        let lock = lock(&journal)?;
        Ok(Self { results, journal, lock })
    }
}

/// The lock, or that another process has it. Another one may just be trying the same, and fail: so it is tried again.
///
/// # Errors
/// [`Error::Locked`] where somebody else works on it.
pub(super) fn lock(journal: &Path) -> Result<RunLock, Error> {
    for _ in 0..LOOKS {
        match RunLock::acquire(journal) {
            Err(Error::Locked(_)) => std::thread::sleep(LOOK),
            other => return other,
        }
    }
    RunLock::acquire(journal)
}

/// How often, and how far apart, a lock that is held is tried again.
const LOOKS: u32 = 4;
const LOOK: Duration = Duration::from_millis(50);
