//! Whether there is a server at all. Pure: time is an argument.

use std::time::Duration;

use tokio::time::Instant;

/// So many requests in a row without an answer stop all sending.
const TRIPS_AT: u32 = 5;
/// How long sending stops at first; it doubles each time the probe has no answer either.
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Whether a request may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Go,
    /// It goes alone, to find out whether the server answers again.
    Probe,
    /// Not before that long.
    WaitFor(Duration),
    /// Not before the probe has told.
    Wait,
}

/// Stops all sending while nobody answers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Breaker {
    /// Requests in a row without an answer.
    silent: u32,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    until: Instant,
    wait: Duration,
    probing: bool,
}

impl Breaker {
    /// Whether a request may start now; [`Verdict::Probe`] must be claimed by [`Breaker::probe`] as it starts.
    ///
    /// `may_probe`: it is a read. A write is never the one to find out: without an answer it would be a doubt.
    pub(crate) fn verdict(&self, now: Instant, may_probe: bool) -> Verdict {
        match self.open {
            None => Verdict::Go,
            Some(open) if now < open.until => Verdict::WaitFor(open.until - now),
            Some(open) if may_probe && !open.probing => Verdict::Probe,
            Some(_) => Verdict::Wait,
        }
    }

    /// The probe starts: nothing else does until it has ended.
    pub(crate) fn probe(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = true;
        }
    }

    /// The probe was given up before its end: another one may go.
    pub(crate) fn probe_dropped(&mut self) {
        if let Some(open) = &mut self.open {
            open.probing = false;
        }
    }

    /// A request ended without an answer. What was under way as the breaker opened does not prolong the wait.
    pub(crate) fn unanswered(&mut self, now: Instant, was_probe: bool) {
        self.silent = self.silent.saturating_add(1);
        match &mut self.open {
            None if self.silent >= TRIPS_AT => {
                self.open = Some(Open { until: now + FIRST_WAIT, wait: FIRST_WAIT, probing: false });
            }
            Some(open) if was_probe => {
                let wait = (open.wait * 2).min(LONGEST_WAIT);
                *open = Open { until: now + wait, wait, probing: false };
            }
            _ => {}
        }
    }

    /// There was an answer, whatever it said. Returns whether sending goes on because of it.
    pub(crate) fn answered(&mut self) -> bool {
        self.silent = 0;
        self.open.take().is_some()
    }

    /// How long until a probe may go, zero where one may (or is under way); `None` where sending is not stopped.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        self.open.map(|open| open.until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn five_in_a_row_stop_sending_and_an_answer_in_between_prevents_it() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..4 {
            breaker.unanswered(now, false);
        }
        assert_eq!(breaker.verdict(now, false), Verdict::Go);
        assert!(!breaker.answered());
        for _ in 0..5 {
            assert_eq!(breaker.verdict(now, false), Verdict::Go);
            breaker.unanswered(now, false);
        }
        assert_eq!(breaker.verdict(now, true), Verdict::WaitFor(s(30)));
    }

    #[test]
    fn one_read_probes_and_each_silent_probe_doubles_the_wait_up_to_five_minutes() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..8 {
            breaker.unanswered(now, false); // those in flight don't prolong it
        }
        let mut waits = Vec::new();
        for _ in 0..6 {
            let wait = breaker.wait(now).unwrap();
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(breaker.verdict(now, false), Verdict::Wait, "a write does not probe");
            assert_eq!(breaker.verdict(now, true), Verdict::Probe);
            breaker.probe();
            assert_eq!(breaker.verdict(now, true), Verdict::Wait, "one probe at a time");
            breaker.unanswered(now, true);
        }
        assert_eq!(waits, [30, 60, 120, 240, 300, 300]);
        assert!(breaker.answered());
        assert_eq!(breaker.verdict(now, false), Verdict::Go);
        assert_eq!(breaker.wait(now), None);
    }

    #[test]
    fn a_probe_that_was_given_up_leaves_room_for_another() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..5 {
            breaker.unanswered(now, false);
        }
        breaker.probe();
        breaker.probe_dropped();
        assert_eq!(breaker.verdict(now + s(30), true), Verdict::Probe);
    }
}
