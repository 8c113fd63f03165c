//! What a run would do: the chunks and every row's fate, before anything is sent. Pure: no I/O, no clock, no chance.
//!
//! ```text
//! rows ─→ questions ─→ (preflight) ─→ snapshot ─┐
//!   └──→ group ───────────────────────────────→ judge ─→ split ─→ Plan ─→ bodies, fingerprint, show
//! ```
//!
//! Rows are borrowed, never copied; what is kept of them are 32-bit places.

mod address;
mod approve;
mod bodies;
mod context;
mod count;
mod detach;
mod directory;
pub(crate) mod document;
mod draft;
mod drafted;
mod entries;
mod fast;
mod fate;
mod fingerprint;
#[cfg(test)]
mod fixture;
mod hints;
mod judge;
mod matching;
mod policy;
mod questions;
pub(crate) mod show;
mod snapshot;
mod split;
mod stats;
#[cfg(test)]
mod tests;
mod undo_chunks;
mod unknown;
mod unread;

pub use address::names_by_address;
pub(crate) use approve::{PlannedRow, compare_facts, compare_rows};
pub(crate) use bodies::{attach_body, detach_body};
pub use detach::{Plan, PlanEntry, plan};
pub use directory::{Account, Directory};
pub(crate) use draft::{Draft, Touched, guard};
pub(crate) use fate::{LEFT_IN_USE, NEEDS_PREFLIGHT, NOT_PROVED, ROW_TOO_LARGE, USER_UNKNOWN};
pub use fingerprint::HashFacts;
pub(crate) use fingerprint::{Fields, bound_digest, first_eight};
pub use hints::Hint;
pub use policy::{Bounds, Policy};
pub use questions::{Questions, questions};
pub use snapshot::{Snapshot, UserKey};
pub use split::Chunk;
pub use stats::PlanStats;
pub(crate) use undo_chunks::attachments;
pub use unknown::Unlisted;
pub use unread::unread_desktops;
