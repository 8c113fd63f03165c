//! Sends the plan and follows every row to its one outcome.
//!
//! [`state`] decides and holds no I/O; [`engine`] does what it says: waits at the gates, makes intents durable,
//! sends, reads, journals. What an answer means is [`verdict`]'s word.

pub mod engine;
pub mod rules;
pub mod state;
pub mod verdict;

pub use engine::{Drive, Ended, drive};
pub use rules::{Rules, StopReason};
