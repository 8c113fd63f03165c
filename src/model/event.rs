//! The words between the engine and its observers: progress bars, plain lines, logs, metrics, tests.

use std::time::Duration;

use super::{Class, Outcome, PartLabel};

/// Something that happened, told only after it is durable.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The run (or a resume of it) begins to send.
    Begun { rows: u64, settled: u64, chunks: u64, chunks_open: u64, ceiling_per_s: f64, resumed: bool },
    /// A write's turn has come; it leaves now.
    Sent { part: PartLabel, desktops: usize, users: usize },
    /// A write has its answer, or none.
    Answered { part: PartLabel, kind: &'static str, status: Option<u16>, code: String, took: Duration },
    /// Rows have their final word.
    Settled { outcome: Outcome, rows: u64 },
    /// A settled outcome was corrected by the last read.
    Amended { from: Outcome, to: Outcome, rows: u64 },
    /// A 429: the class stays closed for so long.
    Throttled { class: Class, wait: Duration },
    /// The pace of a class has changed; requests per second.
    Paced { class: Class, per_s: f64 },
    /// Sending pauses for another reason (no connection, renewal of credentials, a busy desktop).
    Waiting { why: String, wait: Duration },
    /// No new request starts from now on.
    Stopping { why: String },
    /// All is written; what is left is waiting for the reads (`open` desktops).
    Verifying { open: u64 },
    /// Nothing is left but the last look at what was ever in doubt (`open` desktops); it may correct outcomes.
    Rechecking { open: u64 },
}

/// Is told of every event.
pub trait Observer: Send {
    /// Must not block: it runs on the engine's own task.
    fn on_event(&mut self, event: &Event);
}

/// Nobody looks.
impl Observer for () {
    fn on_event(&mut self, _: &Event) {}
}

/// A test keeps what it was told, in words.
impl Observer for Vec<String> {
    fn on_event(&mut self, event: &Event) {
        self.push(format!("{event:?}"));
    }
}
