//! Sends the plan and follows every row to its one outcome.
//!
//! [`state`] decides and holds no I/O; [`engine`] does what it says: waits at the gates, makes intents durable,
//! sends, reads, journals. What an answer means is [`verdict`]'s word.

pub(crate) mod engine;
pub(crate) mod rules;
pub(crate) mod state;
pub(crate) mod verdict;

pub use engine::{Drive, Ended, drive};
pub use rules::{Rules, StopReason};
