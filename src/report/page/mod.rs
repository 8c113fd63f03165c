//! The HTML page of a run: one file that needs nothing else, to read, to print, to attach to a ticket.
//!
//! Made from the journal alone, while a run goes on or after. It loads nothing and asks nobody (its own policy forbids
//! it), reads without JavaScript, and holds text from outside only as text. The rows are in it as a table; where there
//! are more than [`rows::ALL_IN_HTML`], the rest is data that a small script shows page by page.

mod chart;
mod facts;
mod redact;
mod rows;
mod sections;
mod timeline;
mod write;

pub(crate) use write::{About, write};
