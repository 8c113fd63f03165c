//! The run's durable state: one `SQLite` file beside the results.
//!
//! A journal is made whole or not at all (built aside, then renamed), and holds from then on everything that a
//! resume, the results, `status`, `undo` and `report` need: the input and older results may be gone.
//! What is *in* it is [`record`]; [`Builder`] makes it, [`Store`] drives it, [`View`] reads it.

mod apply;
mod archive;
mod build;
mod codec;
mod item_sizes;
mod load;
mod lock;
mod memory;
mod open;
mod outcomes;
mod peek;
pub(crate) mod record;
mod replay;
#[cfg(test)]
pub(crate) mod sample;
mod schema;
mod seam;
mod store;
mod view;
mod whole;
mod writer;

pub(crate) use archive::{move_aside, move_remains_aside};
pub use build::Builder;
pub use lock::RunLock;
pub use memory::MemoryJournal;
pub(crate) use peek::Label;
pub use record::{
    AnswerKind, AnswerRecord, Attempt, AttemptId, Entry, Fate, Identity, Item, ItemId, OpenItem, Progress, Recheck,
    Record, Resume, RowOutcome, Settlement, Slot, SlotNo,
};
pub(crate) use record::{EntryRef, LastAttempt, Process, ResultRow, SIMULATOR, Sent};
pub(crate) use schema::beside;
pub(crate) use seam::Past;
pub use seam::{Journal, JournalError};
pub(crate) use store::Handle;
pub use store::Store;
pub use view::View;
pub(crate) use whole::{PARTS, is_of_a_journal, refuse_remains, remains};
