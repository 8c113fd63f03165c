//! An undo: what a run changed, judged against the live bindings, as a plan that takes it back.
//!
//! ```text
//! the run's journal ─→ Changed ─→ (doubts read back, preflight) ─→ UndoPlan ─→ journal of the undo
//! ```
//!
//! All of it is pure; the reads are the caller's.

mod changed;
mod doubts;
mod plan;
mod show;
#[cfg(test)]
mod tests;

pub use changed::{Changed, Only, Row};
pub use doubts::Doubts;
pub use plan::{Stats, UndoPlan};
pub use show::{Facts, compare, human, json};
