//! What a run leaves for people and scripts: the results file, the summary, the metrics.
//!
//! All of it is made from [`ResultRow`]s, which the journal exports in input order; nothing here asks the API.

pub mod advice;
pub mod counts;
pub mod metrics;
pub mod next;
pub mod results;
pub mod summary;

pub use counts::{Counts, exit_of};
pub use metrics::Metrics;
pub use next::Next;
pub use results::{ResultRow, ResultsWriter};
pub use summary::{Summary, SummaryFacts};
