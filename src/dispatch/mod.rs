//! Sends the plan and follows every row to its one outcome.
//!
//! [`state`] decides and holds no I/O; [`engine`] does what it says: it starts the tasks that read, and those that
//! [`write`], each of which waits at the gates and makes its intent durable. What an answer means is [`verdict`]'s word.

mod context;
pub(crate) mod engine;
pub(crate) mod rules;
pub(crate) mod state;
pub(crate) mod verdict;
mod write;

pub use engine::{Drive, Ended, drive};
pub use rules::{Rules, StopReason};
