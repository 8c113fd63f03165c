//! What is known of the way to the service: whether anybody answers, whether the credentials are good, and whether
//! anything can have been changed.

use tokio::time::Instant;

use super::super::rules::{Rules, StopReason};
use crate::pace::FIRST_TRIES;

/// Whether requests may go out together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Proved,
    /// Not yet answered with these credentials: one request out at a time.
    Unproved,
    Renewing,
}

/// See the module.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and none excludes another")]
pub(super) struct Link {
    pub(super) access: Access,
    /// Which credentials are in use, counted by renewals.
    pub(super) generation: u32,
    /// Rises whenever what waits at the gates must not go out any more.
    pub(super) epoch: u32,
    renewed_since_success: bool,
    renew_asked: bool,
    /// What the latest 401 said.
    pub(super) refusal: String,
    /// Anybody answered this process.
    answered: bool,
    /// Tries without an answer, in a row.
    pub(super) silent: u32,
    last_answer: Instant,
    /// A write of this process left.
    sent: bool,
    /// A write of this process was taken.
    pub(super) taken: bool,
    /// A write of this process was in doubt: it may have been done.
    doubted: bool,
    /// An earlier process drove the run, and may have changed something.
    resumed: bool,
    /// The reason to stop is one of access.
    shut: bool,
}

/// What a 401 leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It was asked with credentials that are being replaced, or have been.
    Outdated,
    Renew,
    /// They were renewed, and nothing succeeded since.
    Again,
}

impl Link {
    pub(super) fn new(proved: bool, resumed: bool, now: Instant) -> Self {
        Self {
            access: if proved { Access::Proved } else { Access::Unproved },
            generation: 0,
            epoch: 0,
            renewed_since_success: false,
            renew_asked: false,
            refusal: String::new(),
            answered: proved,
            silent: 0,
            last_answer: now,
            sent: false,
            taken: false,
            doubted: false,
            resumed,
            shut: false,
        }
    }

    /// Somebody answered.
    pub(super) fn answer(&mut self, now: Instant) {
        self.answered = true;
        self.silent = 0;
        self.last_answer = now;
    }

    /// Nobody answered. The reason to stop, if that has lasted too long: before anything was sent, a few tries are enough.
    pub(super) fn silence(&mut self, now: Instant, rules: &Rules) -> Option<StopReason> {
        self.silent += 1;
        let quiet = now.saturating_duration_since(self.last_answer);
        if !self.answered && self.silent >= FIRST_TRIES && !self.sent {
            self.shut = true;
            return Some(StopReason::Endpoint(format!("no answer from the endpoint in {} tries", self.silent)));
        }
        let why = || StopReason::Outage(format!("no answer from the endpoint for {} minutes", quiet.as_secs() / 60));
        (quiet >= rules.outage_limit).then(why)
    }

    /// An answer came that the credentials were good for.
    pub(super) fn prove(&mut self) {
        if self.access == Access::Unproved {
            self.access = Access::Proved;
        }
        self.renewed_since_success = false;
    }

    /// A write left.
    pub(super) fn sent(&mut self) {
        self.sent = true;
    }

    pub(super) fn doubted(&mut self) {
        self.doubted = true;
    }

    /// The reason to stop is that nothing gets through.
    pub(super) fn shut(&mut self) {
        self.shut = true;
    }

    /// Whether the run stops for want of access, and nothing can have been changed by it.
    pub(super) fn is_no_access(&self) -> bool {
        self.shut && !self.taken && !self.resumed && !self.doubted
    }

    /// A 401. Sending pauses at the first one, and the credentials are renewed once for everybody.
    pub(super) fn unauthorized(&mut self, generation: u32) -> Refused {
        if generation != self.generation || self.access == Access::Renewing {
            return Refused::Outdated;
        }
        if self.renewed_since_success {
            return Refused::Again;
        }
        self.access = Access::Renewing;
        self.renew_asked = false;
        self.epoch += 1;
        Refused::Renew
    }

    /// Whether to renew now: once, and when nothing is under way any more.
    pub(super) fn ask_renewal(&mut self, under_way: usize) -> bool {
        let asks = !self.renew_asked && under_way == 0;
        self.renew_asked |= asks;
        asks
    }

    pub(super) fn renewed(&mut self) {
        self.generation += 1;
        self.renewed_since_success = true;
        self.access = Access::Unproved;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn p11_a_second_401_after_a_renewal_ends_it_and_a_success_between_does_not() {
        let now = Instant::now();
        for (proved_between, expected) in [(false, Refused::Again), (true, Refused::Renew)] {
            let mut link = Link::new(true, false, now);
            assert_eq!(link.unauthorized(0), Refused::Renew);
            assert_eq!(link.unauthorized(0), Refused::Outdated, "one renewal for everybody");
            assert!(!link.ask_renewal(1), "while a request is under way");
            assert!(link.ask_renewal(0) && !link.ask_renewal(0));
            link.renewed();
            assert_eq!((link.access, link.generation), (Access::Unproved, 1));
            assert_eq!(link.unauthorized(0), Refused::Outdated, "it was asked with the old ones");
            if proved_between {
                link.prove();
            }
            assert_eq!(link.unauthorized(1), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_run_at_once_before_its_first_write_and_after_the_limit_then() {
        let (now, rules) = (Instant::now(), Rules::default());
        let late = now + rules.outage_limit;
        // Answered before, a write sent, when the third try fails: which reason?
        for (proved, sent, at, expected) in [
            (false, false, now, Some("no answer from the endpoint in 3 tries")),
            (false, true, now, None),
            (true, false, now, None),
            (true, true, late - Duration::from_secs(1), None),
            (true, true, late, Some("no answer from the endpoint for 30 minutes")),
        ] {
            let mut link = Link::new(proved, false, now);
            if sent {
                link.sent();
            }
            assert_eq!((link.silence(now, &rules), link.silence(now, &rules)), (None, None));
            let why = link.silence(at, &rules).map(|reason| reason.in_words());
            assert_eq!(why.as_deref(), expected, "{proved} {sent}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_access_is_said_only_where_nothing_can_have_been_changed() {
        let now = Instant::now();
        for (resumed, doubted, taken, expected) in [
            (false, false, false, true),
            (true, false, false, false),
            (false, true, false, false),
            (false, false, true, false),
        ] {
            let mut link = Link::new(true, resumed, now);
            if doubted {
                link.doubted();
            }
            link.taken = taken;
            assert!(!link.is_no_access(), "there is no reason to stop");
            link.shut();
            assert_eq!(link.is_no_access(), expected, "{resumed} {doubted} {taken}");
        }
    }
}
