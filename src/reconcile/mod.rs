//! The reads that make an outcome true: before the writes, between them, and after.

pub mod judge;
pub mod preflight;
pub mod reads;
pub mod undo;
