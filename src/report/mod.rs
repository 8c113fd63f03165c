//! How a run is watched: bars, plain lines and records, all of them told by the engine's events; the logs; and the
//! page that tells of it afterwards.
//!
//! Everything here goes to standard error or a log file; standard output carries only what was asked for.

pub(crate) mod json;
pub(crate) mod lines;
pub(crate) mod logs;
pub(crate) mod observers;
pub(crate) mod page;
pub(crate) mod progress;
pub(crate) mod screen;
pub(crate) mod tally;
pub(crate) mod waited;

pub(crate) use logs::{records_on_stderr, start_logging, stderr_has_records};
pub(crate) use observers::{Look, Shape, Tee, observer};
pub(crate) use screen::Screen;
pub(crate) use waited::Waited;
