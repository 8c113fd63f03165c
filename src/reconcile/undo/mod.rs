//! An undo: what a run changed, judged against the live bindings, as a plan that takes it back.
//!
//! ```text
//! the run's journal ─→ Changed ─→ (doubts read back, preflight) ─→ UndoPlan ─→ journal of the undo
//! ```
//!
//! All of it is pure; the reads are the caller's.

mod changed;
mod doubts;
mod draft;
mod plan;
mod show;
#[cfg(test)]
mod tests;

pub(crate) use changed::{Changed, Only};
pub(crate) use doubts::read_back;
pub(crate) use plan::UndoPlan;
pub(crate) use show::schema;
