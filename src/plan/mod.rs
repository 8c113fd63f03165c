//! What a run would do: the chunks and every row's fate, before anything is sent. Pure: no I/O, no clock, no chance.
//!
//! ```text
//! rows ─→ questions ─→ (preflight) ─→ snapshot ─┐
//!   └──→ group ───────────────────────────────→ judge ─→ split ─→ Plan ─→ bodies, fingerprint, show
//! ```
//!
//! Rows are borrowed, never copied; what is kept of them are 32-bit places.

mod approve;
mod attach;
mod bodies;
mod fingerprint;
#[cfg(test)]
mod fixture;
mod ground;
mod group;
mod hints;
mod judge;
mod matching;
mod policy;
mod questions;
mod reason;
mod shares;

pub mod show;
mod snapshot;
mod split;
mod stats;
#[cfg(test)]
mod tests;
mod value;

pub use approve::compare;
pub use attach::{Attachments, attachments};
pub use bodies::{attach_body, detach_body};
pub use fingerprint::HashFacts;
pub(crate) use fingerprint::{Fields, bound_digest, first_eight};
pub use hints::Hint;
pub use policy::{Bounds, Policy};
pub use questions::{Questions, questions};
pub use reason::Fixed;
pub use snapshot::{Snapshot, UserKey, fold, same_name};
pub use split::Chunk;
pub use stats::PlanStats;
pub use value::{EntryFate, Plan, PlanEntry, guard, plan};
