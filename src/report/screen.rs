//! The one screen that bars and logs share.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

/// Standard error, with bars on it or without. Clones are handles to the same screen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Screen(Option<MultiProgress>);

impl Screen {
    /// A screen that bars will be drawn on.
    pub(crate) fn with_bars() -> Self {
        Self(Some(MultiProgress::new()))
    }

    /// A screen without bars.
    pub(crate) const fn plain() -> Self {
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

    /// Columns of the terminal that standard error is; 80 elsewhere.
    pub(crate) fn columns() -> usize {
        let size = terminal_size::terminal_size_of(io::stderr());
        size.map_or(80, |(terminal_size::Width(columns), _)| usize::from(columns))
    }

    /// A line that says what is being done, for as long as it is kept; nothing on a screen without bars.
    pub(crate) fn busy(&self, words: &str) -> Busy {
        let line = self.0.as_ref().map(|bars| {
            let style = ProgressStyle::with_template("{wide_msg}");
            let line = bars.add(ProgressBar::new_spinner());
            // The template is a constant; without it the line would have a spinner, and no harm done.
            let line = style.map_or_else(|_| line.clone(), |style| line.clone().with_style(style));
            line.enable_steady_tick(TICK);
            line
        });
        let busy = Busy(line);
        busy.say(words);
        busy
    }

    /// Does something that may take a while, and says so.
    pub(crate) fn while_busy<R>(&self, words: &str, act: impl FnOnce() -> R) -> R {
        let busy = self.busy(words);
        let result = act();
        drop(busy);
        result
    }

    /// Takes the bars off, does what writes to standard error, and puts them back.
    pub(crate) fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        match &self.0 {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

/// How often a line's clock moves.
const TICK: Duration = Duration::from_millis(250);

/// See [`Screen::busy`].
#[derive(Debug)]
pub(crate) struct Busy(Option<ProgressBar>);

impl Busy {
    /// Says something else from now on.
    pub(crate) fn say(&self, words: &str) {
        if let Some(line) = &self.0 {
            line.set_message(words.to_owned());
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(line) = &self.0 {
            line.finish_and_clear();
        }
    }
}

/// Where log records go on a screen: between the bars, never through them.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogWriter(Screen);

impl LogWriter {
    pub(crate) const fn new(screen: Screen) -> Self {
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
