//! The seam between the engine and what keeps its records.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::error::Error;

use super::record::{Identity, Item, ItemId, OpenItem, Recheck, Record, Resume, SlotNo};
use crate::model::Outcome;

/// Why the journal did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Something could not be made durable. From then on every commit fails (P13).
    #[error("the journal can't be written: {cause}")]
    Failed { path: PathBuf, cause: Arc<str> },
    /// Nobody writes this journal any more.
    #[error("the journal is closed")]
    Closed { path: PathBuf },
    /// A read failed; what was committed stands.
    #[error("the journal can't be read: {cause}")]
    Unreadable { path: PathBuf, cause: Arc<str> },
}

impl From<JournalError> for Error {
    fn from(error: JournalError) -> Self {
        let (JournalError::Failed { path, .. } | JournalError::Closed { path } | JournalError::Unreadable { path, .. }) =
            &error;
        Self::Disk { verb: "use the journal", path: path.clone(), source: error.into() }
    }
}

/// Keeps records durably, and tells what is on record.
///
/// Each call stands for itself: a future that is dropped may or may not have taken effect.
pub trait Journal: Send + Sync {
    /// Resolves when all of `records` are durable, together and in their order. Commits of many callers that wait at
    /// the same time become one transaction.
    ///
    /// # Errors
    /// [`JournalError::Failed`] after the first failure, whoever met it: then no further write may be sent (P13).
    fn commit(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), JournalError>>;

    /// Whether a commit has failed, so that every later one does.
    fn has_failed(&self) -> bool;

    /// Where the run stands, and all that a process needs to go on with it.
    fn resume(&self) -> BoxFuture<'_, Result<Resume, JournalError>>;

    /// The items of a chunk that are not settled; none where there is no such chunk.
    fn chunk(&self, number: u32) -> BoxFuture<'_, Result<Vec<OpenItem>, JournalError>>;

    /// The items that are to be read once more at the end of the run, each with the words that rest on a doubt.
    fn rechecks(&self) -> BoxFuture<'_, Result<Vec<Recheck>, JournalError>>;
}

/// What an undo asks the journal of the run for that it takes back.
pub(crate) trait Past {
    fn identity(&self) -> &Identity;

    /// How many records the results have.
    ///
    /// # Errors
    /// The journal can't be read.
    fn rows(&self) -> Result<u64, Error>;

    /// Hands every item with the outcome of each of its slots to `f`, in the order of the plan. Open slots are
    /// `unknown` or `not_sent`, as in the results.
    ///
    /// # Errors
    /// The journal can't be read, and those of `f`.
    fn for_each_item(&self, f: impl FnMut(&Item, &[Outcome]) -> Result<(), Error>) -> Result<(), Error>;

    /// Hands every record that the plan sends to `f`, in input order: line, cells, the other columns' cells, and the
    /// binding that it is sent as.
    ///
    /// # Errors
    /// The journal can't be read, and those of `f`.
    fn for_each_sent(
        &self,
        f: impl FnMut(u64, [&str; 7], &[&str], (ItemId, SlotNo)) -> Result<(), Error>,
    ) -> Result<(), Error>;
}
