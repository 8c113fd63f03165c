//! How a run is watched: bars, plain lines and records, all of them told by the engine's events; the logs; and the
//! page that tells of it afterwards.
//!
//! Everything here goes to standard error or a log file; standard output carries only what was asked for.

pub mod json;
pub mod lines;
pub mod logs;
pub mod observers;
pub mod page;
pub mod progress;
pub mod screen;
pub mod tally;
pub mod waits;

pub use json::Records;
pub use lines::Lines;
pub use logs::{LogFormat, start_logging};
pub use observers::{Look, ProgressKind, Shape, Tee, observer};
pub use progress::Bars;
pub use screen::{Busy, LogWriter, Screen};
pub use tally::Tally;
pub use waits::Waits;
