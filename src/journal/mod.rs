//! The run's durable state: one SQLite file beside the results.
//!
//! A journal is made whole or not at all (built aside, then renamed), and holds from then on everything that a
//! resume, the results, `status`, `undo` and `report` need: the input and older results may be gone.
//! What is *in* it is [`record`]; how it is kept is [`store`].

pub mod lock;
pub mod record;
pub mod replay;
pub mod schema;
pub mod store;

pub use record::{
    AnswerKind, Attempt, AttemptId, Entry, Fate, Identity, Item, ItemId, OpenItem, Record, Settlement, Slot, SlotNo,
};
