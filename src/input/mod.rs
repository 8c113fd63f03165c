//! From bytes to rows: every cell and every line number, with all faults found in one go.
//!
//! ```text
//! source ─→ encoding ─→ delimited ─┐
//!    └───→ sheet ──────────────────┴─→ row (header, rules) ─→ batches ─→ table
//! ```
//!
//! Of delimited text one thread does what stands up to the encoding, one what stands up to the rules, one the rest.
//!
//! Everything is bounded: the file is read in blocks, a record goes through a buffer of fixed size, and the table
//! keeps all cells in one text. What is wrong with the file as a whole is an [`Error`](crate::error::Error); what
//! is wrong with a row is a [`RowFault`], and the row stays in the table.

mod cell;
mod due;
mod encoding;
mod fast;
mod fault;
mod field;
pub(crate) mod guard;
mod header;
mod kind;
mod options;
mod record;
mod row;
mod rules;
mod sheet;
mod shown;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod twice;

pub(crate) use cell::can_be_read_back;
pub use due::Due;
pub use fault::RowFault;
pub(crate) use fault::report;
pub use field::Field;
pub(crate) use header::{RESULT_COLUMNS, unread_desktops};
pub use options::{Hidden, ReadOptions};
pub use source::{Input, Source, read};
pub use table::{RowRef, Table};
