//! The one screen that bars and logs share.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing_subscriber::fmt::MakeWriter;

/// Standard error, with bars on it or without. Clones are handles to the same screen.
#[derive(Debug, Clone, Default)]
pub struct Screen(Option<MultiProgress>);

impl Screen {
    /// A screen that bars will be drawn on.
    pub fn with_bars() -> Self {
        Self(Some(MultiProgress::new()))
    }

    /// A screen without bars.
    pub const fn plain() -> Self {
        Self(None)
    }

    /// A screen on this many bars; tests draw into memory.
    #[cfg(test)]
    pub(super) const fn on(bars: MultiProgress) -> Self {
        Self(Some(bars))
    }

    pub(super) const fn bars(&self) -> Option<&MultiProgress> {
        self.0.as_ref()
    }

    /// Takes the bars off, does what writes to standard error, and puts them back.
    pub fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        match &self.0 {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// Where log records go on a screen: between the bars, never through them.
#[derive(Debug, Clone, Default)]
pub struct LogWriter(Screen);

impl LogWriter {
    pub const fn new(screen: Screen) -> Self {
        Self(screen)
    }
}

impl Write for LogWriter {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().lock().write(record))
    }

    /// A record comes in one call; all of it in one suspension.
    fn write_all(&mut self, record: &[u8]) -> io::Result<()> {
        self.0.suspend(|| io::stderr().lock().write_all(record))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
