//! What a run leaves for people and scripts: the results file, the summary, the metrics.
//!
//! All of it is made from [`ResultRow`]s, which the journal exports in input order; nothing here asks the API.

pub(crate) mod advice;
pub(crate) mod counts;
pub(crate) mod metrics;
pub(crate) mod next;
pub(crate) mod results;
pub(crate) mod summary;

pub use counts::Counts;
pub(crate) use counts::exit_of;
pub use metrics::Metrics;
pub(crate) use results::ResultRow;
pub use results::ResultsWriter;
pub(crate) use summary::{JsonRun, Summary, SummaryFacts};
