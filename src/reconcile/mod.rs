//! The reads that make an outcome true: before the writes, between them, and after.

mod accounts;
pub(crate) mod evidence;
#[cfg(test)]
mod first_read;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod judge;
mod lists;
#[cfg(test)]
mod odd_service;
pub(crate) mod preflight;
pub mod reads;
pub(crate) mod still;
pub(crate) mod undo;
