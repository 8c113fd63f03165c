//! The HTML pages of a run and of a plan: one file that needs nothing else, to read, to print, to attach to a ticket.
//!
//! A page loads nothing and asks nobody (its own policy forbids it), reads without JavaScript, and holds text from
//! outside only as text. That of a run is made from the journal alone, while the run goes on or after. The rows are in it
//! as a table; where there are more than [`rows::ALL_IN_HTML`], the rest is data. Those of a plan stand in groups; of a
//! long group all but the first are folded. One small script searches and filters both, and shows them page by page.

mod chart;
mod facts;
mod frame;
mod groups;
mod people;
pub(crate) mod plan;
mod redact;
mod rows;
mod sections;
mod still;
mod timeline;
mod write;

pub(crate) use write::{About, write};
