//! Progress on a terminal: a bar of rows, the figures, and what is going on.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use tokio::time::Instant;

use super::screen::Screen;
use super::tally::Tally;
use crate::model::{Event, Observer};
use crate::text::one_line;

/// How often the clock moves on the screen where nothing else happens.
const TICK: Duration = Duration::from_millis(250);
/// Within 80 columns for runs of up to ten million rows, within 60 for usual ones.
const TEMPLATE: &str = "[{bar:12.green}] {rows}\n  {figures}\n  {state}";
/// Columns of the first line before the rows, and of the others before their words.
const BAR: usize = 15;
const INDENT: usize = 2;

/// Draws a run on the screen until it is dropped; then the screen is as before.
pub(crate) struct Bars {
    bar: ProgressBar,
    tally: Arc<Mutex<Tally>>,
}

impl Bars {
    /// `None` where the screen is one without bars.
    pub(crate) fn new(screen: &Screen) -> Option<Self> {
        let tally = Arc::new(Mutex::new(Tally::new(Instant::now())));
        let bar = screen.bars()?.add(ProgressBar::new(0));
        bar.set_style(style(&tally));
        Some(Self { bar, tally })
    }
}

fn style(tally: &Arc<Mutex<Tally>>) -> ProgressStyle {
    let key = |before: usize, words: fn(&Tally) -> String| {
        let tally = Arc::clone(tally);
        // Drawing never holds the lock while something else is locked: see `on_event`.
        move |_: &ProgressState, out: &mut dyn fmt::Write| {
            let words = words(&tally.lock().unwrap_or_else(PoisonError::into_inner));
            // A line that the terminal breaks would be drawn anew below itself, again and again.
            _ = out.write_str(&one_line(&words, Screen::columns().saturating_sub(before)));
        }
    };
    ProgressStyle::with_template(TEMPLATE)
        .expect("the template is a constant, and a test draws it")
        .with_key(
            "rows",
            key(BAR, |tally| {
                let left = tally.left_words(Instant::now()).map_or_else(String::new, |left| format!(", {left}"));
                tally.rows_words() + &left
            }),
        )
        .with_key("figures", key(INDENT, |tally| tally.figures(Instant::now())))
        .with_key("state", key(INDENT, |tally| tally.state(Instant::now())))
        .progress_chars("=> ")
}

impl Observer for Bars {
    fn on_event(&mut self, event: &Event) {
        let (rows, settled) = {
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.absorb(event, Instant::now());
            (tally.rows, tally.settled)
        };
        // The lock is free again: what follows may draw, and drawing takes it.
        match event {
            Event::Begun { .. } => {
                self.bar.set_length(rows);
                self.bar.set_position(settled);
                self.bar.enable_steady_tick(TICK);
            }
            Event::Settled { .. } => self.bar.set_position(settled),
            Event::Stopping { .. } => self.bar.tick(),
            Event::Sent { .. }
            | Event::Answered { .. }
            | Event::Amended { .. }
            | Event::Throttled { .. }
            | Event::Paced { .. }
            | Event::Waiting { .. }
            | Event::Verifying { .. }
            | Event::Rechecking { .. } => {} // the next tick shows it
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use indicatif::{MultiProgress, ProgressDrawTarget, TermLike};

    use super::*;
    use crate::model::Outcome;

    /// A terminal of 80 columns, as far as drawing needs one: lines of text, and the line of the cursor.
    #[derive(Debug, Clone, Default)]
    struct Terminal(Arc<Mutex<(Vec<String>, usize)>>);

    impl Terminal {
        fn contents(&self) -> String {
            let lines = &self.0.lock().unwrap().0;
            lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n").trim_end().to_owned()
        }
    }

    impl TermLike for Terminal {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, n: usize) -> io::Result<()> {
            let at = &mut self.0.lock().unwrap().1;
            *at = at.saturating_sub(n);
            Ok(())
        }
        fn move_cursor_down(&self, n: usize) -> io::Result<()> {
            self.0.lock().unwrap().1 += n;
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)?;
            self.move_cursor_down(1)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            let (lines, at) = &mut *self.0.lock().unwrap();
            for c in anstream::adapter::strip_str(text).to_string().chars() {
                // A full line goes on in the next one, as terminals do.
                *at += usize::from(lines.get(*at).is_some_and(|line| line.chars().count() == 80));
                lines.resize(lines.len().max(*at + 1), String::new());
                lines[*at].push(c);
            }
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            let (lines, at) = &mut *self.0.lock().unwrap();
            lines.get_mut(*at).into_iter().for_each(String::clear);
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn terminal() -> (Terminal, Screen) {
        let term = Terminal::default();
        let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
        (term, Screen::on(MultiProgress::with_draw_target(target)))
    }

    fn begin(bars: &mut Bars) {
        bars.on_event(&Event::Begun {
            rows: 2000,
            settled: 500,
            chunks: 20,
            chunks_open: 15,
            ceiling_per_s: 100.0 / 60.0,
            resumed: true,
        });
    }

    #[test]
    fn the_screen_shows_rows_figures_and_state_within_80_columns() {
        let (term, screen) = terminal();
        let mut bars = Bars::new(&screen).unwrap();
        begin(&mut bars);
        bars.on_event(&Event::Settled { outcome: Outcome::Failed, rows: 100 });
        bars.bar.disable_steady_tick();
        bars.bar.force_draw();
        insta::assert_snapshot!(term.contents(), @r"
        [===>        ] 600 of 2,000 rows (30%)
          0 requests sent, 0 answered; 100 rows failed; 0/min of 100/min
          sending
        ");
        bars.on_event(&Event::Stopping { why: "interrupted".to_owned() });
        bars.bar.force_draw();
        assert!(term.contents().ends_with("\n  stopping: interrupted"));
    }

    #[test]
    fn ten_million_rows_and_a_long_wait_fit_80_columns() {
        let (term, screen) = terminal();
        let mut bars = Bars::new(&screen).unwrap();
        bars.on_event(&Event::Begun {
            rows: 10_000_000,
            settled: 1_000_000,
            chunks: 100_000,
            chunks_open: 99_999,
            ceiling_per_s: 100.0 / 60.0,
            resumed: true,
        });
        bars.on_event(&Event::Settled { outcome: Outcome::Failed, rows: 8_999_999 });
        bars.on_event(&Event::Waiting { why: "because ".repeat(20), wait: Duration::from_secs(719) });
        bars.bar.disable_steady_tick();
        bars.bar.force_draw();
        assert_eq!(term.contents().lines().count(), 3, "{}", term.contents());
    }

    #[test]
    fn the_screen_is_clean_after_the_end() {
        let (term, screen) = terminal();
        let mut bars = Bars::new(&screen).unwrap();
        begin(&mut bars);
        bars.bar.force_draw();
        drop(bars);
        assert_eq!(term.contents(), "");
    }

    #[test]
    fn a_log_record_stands_between_the_bars() {
        let (term, screen) = terminal();
        let mut bars = Bars::new(&screen).unwrap();
        begin(&mut bars);
        bars.bar.force_draw();
        screen.suspend(|| assert_eq!(term.contents(), "", "nothing is drawn while a record is written"));
        assert!(term.contents().contains("500 of 2,000 rows"), "{}", term.contents());
    }

    #[test]
    fn a_plain_screen_has_no_bars() {
        assert!(Bars::new(&Screen::plain()).is_none());
    }
}
