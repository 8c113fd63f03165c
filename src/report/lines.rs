//! Progress where there is no terminal: one plain line every 30 seconds, and one for each turn of events.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::tally::Tally;
use crate::model::{Event, Observer};
use crate::text::counted;
use crate::text::spell_rate;

/// Between two lines.
const EVERY: Duration = Duration::from_secs(30);

/// Where lines go.
pub(crate) trait Sink: Send + 'static {
    /// `words` say it for people; `tally` has the figures for programs.
    fn tell(&mut self, words: &str, tally: &Tally, now: Instant);
}

/// Plain text. That nobody reads it any more (a closed pipe) is no reason to stop a run.
#[derive(Debug)]
pub(crate) struct Plain<W>(pub W);

impl<W: Write + Send + 'static> Sink for Plain<W> {
    fn tell(&mut self, words: &str, _: &Tally, _: Instant) {
        // One call, so that lines of several programs on one pipe do not mix.
        _ = self.0.write_all(format!("batch-detach: {words}\n").as_bytes());
    }
}

/// Records of the log, for `--log-format json`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Logged;

impl Sink for Logged {
    fn tell(&mut self, words: &str, tally: &Tally, now: Instant) {
        tracing::info!(
            event = "progress",
            rows = tally.rows,
            settled = tally.settled,
            failed = tally.failed(),
            sent = tally.sent,
            answered = tally.answered,
            throttled = tally.throttled,
            left_s = tally.time_left(now).map(|left| left.as_secs()),
            "{words}"
        );
    }
}

/// Tells of a run in lines, from a task of its own: a slow reader never holds the engine up.
pub(crate) struct Lines {
    tally: Arc<Mutex<Tally>>,
    /// Closing it ends the task, after the lines that are queued.
    tell: mpsc::UnboundedSender<String>,
}

impl Lines {
    /// Starts the task.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn start(mut sink: impl Sink) -> Self {
        let start = Instant::now();
        let tally = Arc::new(Mutex::new(Tally::new(start)));
        let (tell, mut told) = mpsc::unbounded_channel::<String>();
        let shared = Arc::clone(&tally);
        tokio::spawn(async move {
            let mut ticks = interval_at(start + EVERY, EVERY);
            // After a suspended laptop one line is enough.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let words = tokio::select! {
                    biased;
                    words = told.recv() => match words {
                        Some(words) => Some(words),
                        None => break,
                    },
                    _ = ticks.tick() => None,
                };
                let tally = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let now = Instant::now();
                match words {
                    Some(words) => sink.tell(&words, &tally, now),
                    None if tally.rows > 0 => sink.tell(&tally.line(now), &tally, now),
                    None => {} // nothing has begun yet
                }
            }
        });
        Self { tally, tell }
    }

    fn say(&self, words: String) {
        // The task is gone only when the runtime is, and then nobody listens.
        _ = self.tell.send(words);
    }
}

impl Observer for Lines {
    fn on_event(&mut self, event: &Event) {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner).absorb(event, Instant::now());
        match event {
            Event::Begun { rows, settled, chunks_open, ceiling_per_s, resumed, .. } => self.say(format!(
                "{} {}{}; {} to send, at most {}",
                if *resumed { "resuming:" } else { "starting:" },
                counted(*rows, "row", "rows"),
                match (settled, resumed) {
                    (0, _) => String::new(),
                    (_, true) => format!(", {} their outcome already", counted(*settled, "has", "have")),
                    (_, false) => format!(", {}", counted(*settled, "needs nothing", "need nothing")),
                },
                counted(*chunks_open, "request", "requests"),
                spell_rate(*ceiling_per_s),
            )),
            Event::Stopping { .. } => {
                let state = self.tally.lock().unwrap_or_else(PoisonError::into_inner).state(Instant::now());
                self.say(state);
            }
            Event::Sent { .. }
            | Event::Answered { .. }
            | Event::Settled { .. }
            | Event::Amended { .. }
            | Event::Throttled { .. }
            | Event::Paced { .. }
            | Event::Waiting { .. }
            | Event::Verifying { .. }
            | Event::Rechecking { .. } => {} // the next line has it
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use crate::model::Outcome;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    const BEGUN: Event = Event::Begun {
        rows: 2000,
        settled: 0,
        chunks: 20,
        chunks_open: 20,
        ceiling_per_s: 100.0 / 60.0,
        resumed: false,
    };

    #[tokio::test(start_paused = true)]
    async fn a_line_comes_every_thirty_seconds_and_at_turns_of_events() {
        let kept = Kept::default();
        let mut lines = Lines::start(Plain(kept.clone()));
        lines.on_event(&BEGUN);
        sleep(Duration::from_secs(29)).await;
        lines.on_event(&Event::Settled { outcome: Outcome::Detached, rows: 1000 });
        sleep(Duration::from_secs(32)).await;
        lines.on_event(&Event::Stopping { why: "interrupted".to_owned() });
        drop(lines);
        sleep(Duration::from_secs(100)).await;
        insta::assert_snapshot!(kept.text(), @r"
        batch-detach: starting: 2,000 rows; 20 requests to send, at most 100/min
        batch-detach: 1,000 of 2,000 rows (50%) settled; 0 requests sent, 0 answered; 0 rows failed; 0/min of 100/min; sending; about 30 s left
        batch-detach: 1,000 of 2,000 rows (50%) settled; 0 requests sent, 0 answered; 0 rows failed; 0/min of 100/min; sending; about 1 min left
        batch-detach: stopping: interrupted
        ");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_said_before_the_run_begins() {
        let kept = Kept::default();
        let lines = Lines::start(Plain(kept.clone()));
        sleep(Duration::from_secs(100)).await;
        drop(lines);
        assert_eq!(kept.text(), "");
    }

    #[tokio::test(start_paused = true)]
    async fn a_closed_pipe_stops_nothing() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut lines = Lines::start(Plain(Closed));
        lines.on_event(&BEGUN);
        sleep(Duration::from_secs(100)).await;
        lines.on_event(&Event::Settled { outcome: Outcome::Detached, rows: 1 });
    }
}
