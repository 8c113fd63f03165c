//! The figures that every way of watching shows, kept from the events. Time comes in from outside.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::Event;
use crate::model::Outcome;
use crate::outcome::Counts;
use crate::text::escape_untrusted;
use crate::text::{counted, grouped, spell_duration, spell_rate, spell_rate_beside};

/// The pace is judged by this much of the past.
const WINDOW: Duration = Duration::from_secs(60);
/// No forecast from less than this: the first answers come in a burst.
const SETTLING_IN: Duration = Duration::from_secs(10);
/// Characters of a reason that are shown.
const SHOWN_REASON: usize = 50;

/// What is going on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    Sending,
    /// All is written, and what became of it is read.
    Verifying,
    /// So many desktops were in doubt, and are looked at once more.
    Rechecking {
        open: u64,
    },
    Stopping {
        why: String,
    },
}

/// A run in figures, since this process began to send.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    begun: Instant,
    pub rows: u64,
    /// Rows with their final word, those from before this process included.
    pub settled: u64,
    pub chunks_open: u64,
    /// Requests in a second at most.
    pub ceiling_per_s: f64,
    /// The pace that the gate allows now, where it is below the ceiling.
    pub allowed_per_s: Option<f64>,
    pub sent: u64,
    pub answered: u64,
    pub throttled: u64,
    /// Writes that were answered with a 429.
    put_off: u64,
    /// Rows settled since this process began.
    pub counts: Counts,
    pub phase: Phase,
    /// Why nothing new is sent, and until when.
    waiting: Option<(String, Instant)>,
    /// Rows not settled at the beginning.
    open_at_start: u64,
    /// When, with `sent` and `settled` at that time; one a second at most, the oldest just outside the window.
    past: VecDeque<(Instant, u64, u64)>,
}

impl Tally {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            begun: now,
            rows: 0,
            settled: 0,
            chunks_open: 0,
            ceiling_per_s: 0.0,
            allowed_per_s: None,
            sent: 0,
            answered: 0,
            throttled: 0,
            put_off: 0,
            counts: Counts::default(),
            phase: Phase::Sending,
            waiting: None,
            open_at_start: 0,
            past: VecDeque::new(),
        }
    }

    pub(crate) fn absorb(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Begun { rows, settled, chunks_open, ceiling_per_s, .. } => {
                *self = Self {
                    rows: *rows,
                    settled: *settled,
                    chunks_open: *chunks_open,
                    ceiling_per_s: *ceiling_per_s,
                    open_at_start: rows.saturating_sub(*settled),
                    ..Self::new(now)
                };
            }
            Event::Sent { .. } => self.sent += 1,
            Event::Answered { .. } => self.answered += 1,
            Event::Settled { outcome, rows } => {
                self.settled += rows;
                self.counts.add(*outcome, *rows);
            }
            Event::Amended { from, to, rows } => self.counts.amend(*from, *to, *rows),
            Event::Throttled { class, wait } => {
                self.throttled += 1;
                self.put_off += u64::from(class.is_write());
                // A slow read holds nothing up until reads are all that is left.
                if class.is_write() || self.is_all_sent() {
                    self.wait("the service asked to slow down (429)", now + *wait);
                }
            }
            Event::Paced { class, per_s } => {
                if class.is_write() {
                    self.allowed_per_s = Some(*per_s).filter(|per_s| *per_s < self.ceiling_per_s);
                }
            }
            Event::Waiting { why, wait } => self.wait(why, now + *wait),
            Event::Stopping { why } => self.phase = Phase::Stopping { why: escape_untrusted(why, SHOWN_REASON) },
            Event::Verifying { .. } => {
                if !matches!(self.phase, Phase::Stopping { .. }) {
                    self.phase = Phase::Verifying;
                }
            }
            Event::Rechecking { open } => {
                if !matches!(self.phase, Phase::Stopping { .. }) {
                    self.phase = Phase::Rechecking { open: *open };
                }
            }
        }
        self.remember(now);
    }

    fn is_all_sent(&self) -> bool {
        matches!(self.phase, Phase::Verifying | Phase::Rechecking { .. })
    }

    fn wait(&mut self, why: &str, until: Instant) {
        // The longest wait is the one that holds the run up.
        if self.waiting.as_ref().is_none_or(|(_, other)| *other < until) {
            self.waiting = Some((escape_untrusted(why, SHOWN_REASON), until));
        }
    }

    fn remember(&mut self, now: Instant) {
        if self.past.back().is_none_or(|(at, ..)| now.duration_since(*at) >= Duration::from_secs(1)) {
            self.past.push_back((now, self.sent, self.settled));
        }
        while self.past.get(1).is_some_and(|(at, ..)| now.duration_since(*at) >= WINDOW) {
            self.past.pop_front();
        }
    }

    /// Rows that did not end as requested, or not yet.
    pub(crate) fn failed(&self) -> u64 {
        self.counts.get(Outcome::Failed) + self.counts.get(Outcome::Unknown)
    }

    pub(crate) fn left(&self) -> u64 {
        self.rows.saturating_sub(self.settled)
    }

    /// Whole per cent of the rows that are settled; 100 only when all are.
    pub(crate) fn percent(&self) -> u64 {
        (self.settled.min(self.rows) * 100).checked_div(self.rows).unwrap_or(100)
    }

    /// Requests and settled rows per second over the last minute.
    fn paces(&self, now: Instant) -> (f64, f64) {
        let Some((at, sent, settled)) = self.past.front() else { return (0.0, 0.0) };
        // Less than a second would show one request as a storm.
        let span = now.duration_since(*at).as_secs_f64().max(1.0);
        (float(self.sent - sent) / span, float(self.settled.saturating_sub(*settled)) / span)
    }

    /// How long the rest takes: by what the ceiling allows, and not less than the observed pace says. `None` where
    /// nothing is left or nothing is known yet.
    pub(crate) fn time_left(&self, now: Instant) -> Option<Duration> {
        let left = float(self.left());
        if self.left() == 0 || self.open_at_start == 0 {
            return None;
        }
        let per_s = self.allowed_per_s.unwrap_or(self.ceiling_per_s);
        // Rows come to their end some time after their request, and a request may need another one.
        let by_rows = float(self.chunks_open) * left / float(self.open_at_start);
        let done = self.answered.saturating_sub(self.put_off);
        // Divisions and repeats are answered, too: with as many answers as chunks the count of them says nothing more.
        let by_answers = self.chunks_open.checked_sub(done).filter(|left| *left > 0);
        let requests_left = by_answers.map_or(by_rows, |left| by_rows.min(float(left)));
        let sending = matches!(self.phase, Phase::Sending);
        let by_ceiling = (sending && per_s > 0.0).then(|| requests_left / per_s);
        let pace = self.paces(now).1;
        let settled_in = now.duration_since(self.begun) >= SETTLING_IN;
        let by_pace = (settled_in && pace > 0.0).then(|| left / pace);
        let seconds = by_ceiling.into_iter().chain(by_pace).reduce(f64::max)?;
        let left = Duration::try_from_secs_f64(seconds).ok()?;
        // The checks after the last request alone take longer than that.
        (settled_in || left >= SETTLING_IN).then_some(left)
    }

    /// `1,234 of 2,000 rows (61%)`
    pub(crate) fn rows_words(&self) -> String {
        format!("{} of {} rows ({}%)", grouped(self.settled), grouped(self.rows), self.percent())
    }

    /// `40 requests sent, 38 answered; 12 rows failed; 96/min of 100/min`
    pub(crate) fn figures(&self, now: Instant) -> String {
        let mut figures = format!(
            "{} sent, {} answered; {} failed",
            counted(self.sent, "request", "requests"),
            grouped(self.answered),
            counted(self.failed(), "row", "rows"),
        );
        // When all is sent, how fast it went is the past.
        if !self.is_all_sent() {
            // A window's first request costs no time, so that a full pace would read as more than the ceiling.
            let pace = self.paces(now).0.min(self.ceiling_per_s);
            let ceiling = self.ceiling_per_s;
            _ = write!(figures, "; {} of {}", spell_rate_beside(pace, ceiling), spell_rate(ceiling));
        }
        figures
    }

    /// What holds the run up, or what it does.
    pub(crate) fn state(&self, now: Instant) -> String {
        match (&self.phase, &self.waiting) {
            (Phase::Stopping { why }, _) => format!("stopping: {why}"),
            (_, Some((why, until))) if *until > now => {
                format!("waiting {}: {why}", spell_duration(whole_seconds(until.duration_since(now))))
            }
            (Phase::Verifying, _) => match self.left() {
                // Those that were in doubt may be looked at once more, and corrected.
                0 => "all rows have their outcome".to_owned(),
                left => format!("all is sent; {} still being checked", counted(left, "row is", "rows are")),
            },
            (Phase::Rechecking { open }, _) => {
                format!("all is sent; a last look at {} once in doubt", counted(*open, "desktop", "desktops"))
            }
            (Phase::Sending, _) => match self.allowed_per_s {
                Some(allowed) => format!("sending, slowed down to {}", spell_rate(allowed)),
                None => "sending".to_owned(),
            },
        }
    }

    /// `about 3 min 20 s left`, or nothing.
    pub(crate) fn left_words(&self, now: Instant) -> Option<String> {
        self.time_left(now).map(|left| format!("about {} left", spell_duration(whole_seconds(left))))
    }

    /// All of it in one line.
    pub(crate) fn line(&self, now: Instant) -> String {
        let mut line = format!("{} settled; {}; {}", self.rows_words(), self.figures(now), self.state(now));
        if let Some(left) = self.left_words(now) {
            _ = write!(line, "; {left}");
        }
        line
    }
}

/// Whole seconds, upwards, from 10: nobody reads a countdown's tenths.
fn whole_seconds(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs() + u64::from(span.subsec_nanos() > 0))
}

/// For rates and forecasts alone: above 2^53 rows the last digits would not matter.
#[expect(clippy::cast_precision_loss, reason = "figures for the eye")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Class;
    use crate::model::PartLabel;

    const BEGUN: Event = Event::Begun {
        rows: 2000,
        settled: 0,
        chunks: 20,
        chunks_open: 20,
        ceiling_per_s: 100.0 / 60.0,
        resumed: false,
    };
    const PART: PartLabel = PartLabel { chunk: 1, part: 0 };
    const SENT: Event = Event::Sent { part: PART, desktops: 100, users: 100 };
    const ANSWERED: Event = Event::Answered {
        part: PART,
        kind: "answered",
        status: Some(200),
        code: String::new(),
        took: Duration::from_millis(300),
    };

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_new_run_is_forecast_by_its_ceiling() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        tally.absorb(&BEGUN, start);
        assert_eq!(tally.time_left(start).map(|left| left.as_secs()), Some(12));
        assert_eq!(
            tally.line(start),
            "0 of 2,000 rows (0%) settled; 0 requests sent, 0 answered; 0 rows failed; 0/min of 100/min; sending; about 12 s left"
        );
    }

    #[test]
    fn a_forecast_goes_down_with_every_answer_and_not_with_a_429() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        let begun =
            Event::Begun { rows: 2000, settled: 0, chunks: 40, chunks_open: 40, ceiling_per_s: 1.0, resumed: false };
        tally.absorb(&begun, start);
        for _ in 0..6 {
            tally.absorb(&ANSWERED, start);
        }
        tally.absorb(&Event::Throttled { class: Class::BatchDetach, wait: Duration::from_secs(1) }, start);
        assert_eq!(tally.time_left(start).map(|left| left.as_secs()), Some(35));
    }

    #[test]
    fn a_run_whose_requests_are_divided_and_repeated_is_not_forecast_to_end_at_once() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        tally.absorb(&BEGUN, start);
        for second in 1..=25 {
            tally.absorb(&SENT, after(start, second));
            tally.absorb(&ANSWERED, after(start, second));
        }
        assert_eq!(tally.time_left(after(start, 25)).map(|left| left.as_secs()), Some(12));
        tally.absorb(&Event::Settled { outcome: Outcome::Detached, rows: 500 }, after(start, 26));
        // Two minutes later nothing more is settled, so that no pace is known.
        tally.absorb(&ANSWERED, after(start, 120));
        tally.absorb(&ANSWERED, after(start, 200));
        assert_eq!(tally.paces(after(start, 200)).1.to_bits(), 0.0_f64.to_bits());
        assert_eq!(tally.time_left(after(start, 200)).map(|left| left.as_secs()), Some(9));
    }

    #[test]
    fn a_short_run_is_not_promised_to_end_before_its_checks_can() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        tally.absorb(&BEGUN, start);
        tally.absorb(&Event::Settled { outcome: Outcome::Detached, rows: 1_000 }, start);
        assert_eq!(tally.time_left(start), None);
        assert_eq!(tally.time_left(after(start, 10)).map(|left| left.as_secs()), Some(10));
    }

    #[test]
    fn a_slow_run_is_forecast_by_its_pace() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        tally.absorb(&BEGUN, start);
        for second in 1..=20 {
            tally.absorb(&SENT, after(start, second));
            tally.absorb(&ANSWERED, after(start, second));
            tally.absorb(&Event::Settled { outcome: Outcome::Detached, rows: 10 }, after(start, second));
        }
        assert_eq!(tally.time_left(after(start, 20)).map(|left| left.as_secs()), Some(180));
        assert_eq!(tally.figures(after(start, 20)), "20 requests sent, 20 answered; 0 rows failed; 60/min of 100/min");
    }

    #[test]
    fn a_wait_is_told_until_it_is_over() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        tally.absorb(&BEGUN, start);
        tally.absorb(&Event::Throttled { class: Class::BatchDetach, wait: Duration::from_millis(11_500) }, start);
        tally.absorb(&Event::Waiting { why: "a desktop is busy".to_owned(), wait: Duration::from_secs(2) }, start);
        assert_eq!(tally.state(start), "waiting 12 s: the service asked to slow down (429)");
        assert_eq!(tally.state(after(start, 12)), "sending");
    }

    #[test]
    fn a_lowered_pace_shows_and_goes_when_it_is_back_at_the_ceiling() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        tally.absorb(&BEGUN, start);
        tally.absorb(&Event::Paced { class: Class::BatchDetach, per_s: 0.5 }, start);
        assert_eq!(tally.state(start), "sending, slowed down to 30/min");
        tally.absorb(&Event::Paced { class: Class::BatchDetach, per_s: 100.0 / 60.0 }, start);
        assert_eq!(tally.state(start), "sending");
    }

    #[test]
    fn two_rates_stand_in_one_unit_and_the_pace_goes_when_all_is_sent() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        let begun = Event::Begun {
            rows: 9_000,
            settled: 0,
            chunks: 20,
            chunks_open: 20,
            ceiling_per_s: 5_000.0,
            resumed: false,
        };
        tally.absorb(&begun, start);
        tally.absorb(&SENT, start);
        assert_eq!(tally.figures(start), "1 request sent, 0 answered; 0 rows failed; 1/s of 5,000/s");
        tally.absorb(&Event::Verifying { open: 3 }, start);
        tally.absorb(&Event::Settled { outcome: Outcome::Failed, rows: 1 }, start);
        assert_eq!(tally.figures(start), "1 request sent, 0 answered; 1 row failed");
        assert_eq!(tally.state(start), "all is sent; 8,999 rows are still being checked");
        tally.absorb(&Event::Settled { outcome: Outcome::Detached, rows: 8_999 }, start);
        assert_eq!(tally.state(start), "all rows have their outcome");
    }

    #[test]
    fn no_end_is_announced_while_doubts_are_looked_at_a_last_time() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        tally.absorb(&BEGUN, start);
        tally.absorb(&Event::Verifying { open: 20 }, start);
        tally.absorb(&Event::Settled { outcome: Outcome::Detached, rows: 2_000 }, start);
        tally.absorb(&Event::Rechecking { open: 3 }, start);
        assert_eq!(
            tally.line(start),
            "2,000 of 2,000 rows (100%) settled; 0 requests sent, 0 answered; 0 rows failed; \
             all is sent; a last look at 3 desktops once in doubt"
        );
        // A 429 holds up what is left, the reads.
        tally.absorb(&Event::Throttled { class: Class::ListDesktops, wait: Duration::from_secs(20) }, start);
        assert_eq!(tally.state(start), "waiting 20 s: the service asked to slow down (429)");
        tally.absorb(&Event::Stopping { why: "interrupted".to_owned() }, start);
        tally.absorb(&Event::Rechecking { open: 3 }, start);
        assert_eq!(tally.state(start), "stopping: interrupted");
    }

    #[test]
    fn amended_rows_move_between_the_counts() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        tally.absorb(&BEGUN, start);
        tally.absorb(&Event::Settled { outcome: Outcome::Detached, rows: 10 }, start);
        tally.absorb(&Event::Amended { from: Outcome::Detached, to: Outcome::Failed, rows: 2 }, start);
        assert_eq!((tally.settled, tally.failed()), (10, 2));
    }

    #[test]
    fn a_stop_is_not_hidden_by_the_checks_after_it() {
        let start = Instant::now();
        let mut tally = Tally::new(start);
        tally.absorb(&Event::Stopping { why: "interrupted".to_owned() }, start);
        tally.absorb(&Event::Verifying { open: 3 }, start);
        assert_eq!(tally.state(start), "stopping: interrupted");
    }

    proptest! {
        #[test]
        fn p18_memory_stays_bounded_and_figures_sane(steps in proptest::collection::vec((0_u64..5_000, 0_u64..500), 0..400)) {
            let start = Instant::now();
            let mut tally = Tally::new(start);
            tally.absorb(&BEGUN, start);
            let mut now = start;
            for (millis, rows) in steps {
                now += Duration::from_millis(millis);
                tally.absorb(&SENT, now);
                tally.absorb(&Event::Settled { outcome: Outcome::Detached, rows }, now);
                prop_assert!(tally.past.len() <= 62);
                prop_assert!(tally.percent() <= 100);
                tally.line(now);
            }
        }
    }
}
