//! What is known of the way to the service: whether anybody answers, whether the credentials are good, and whether
//! anything can have been changed.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::super::rules::{Rules, StopReason};
use crate::api::auth::renewals::{Refused, Renewals};
use crate::model::Class;
use crate::pace::FIRST_TRIES;

/// Whether requests may go out together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Proved,
    /// Not yet answered with these credentials: one request out at a time.
    Unproved,
}

/// See the module.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and none excludes another")]
pub(super) struct Link {
    pub(super) access: Access,
    renewals: Renewals,
    /// Rises whenever what waits at the gates must not go out any more.
    pub(super) epoch: u32,
    renew_asked: bool,
    /// What the latest 401 said.
    pub(super) refusal: String,
    /// Anybody answered this process.
    answered: bool,
    /// Tries without an answer, in a row.
    pub(super) silent: u32,
    /// The tries of each class since its last success.
    failing: BTreeMap<Class, Failing>,
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

/// What a try came to, for the clock of an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Try {
    /// A complete answer that is neither a 429 nor a 5xx.
    Success,
    /// An answer, and a wish to come again later.
    PutOff,
    /// No answer, or that something is broken.
    Silence,
}

/// Tries without a success.
#[derive(Debug, Clone, Copy)]
struct Failing {
    first: Instant,
    last: Instant,
}

/// No class that has something to send waits longer between two tries. Where it was longer it had nothing to send, or the
/// machine was asleep, and an outage is counted anew.
const LONGEST_PAUSE: Duration = Duration::from_secs(20 * 60);

impl Link {
    pub(super) fn new(proved: bool, resumed: bool) -> Self {
        Self {
            access: if proved { Access::Proved } else { Access::Unproved },
            renewals: Renewals::default(),
            epoch: 0,
            renew_asked: false,
            refusal: String::new(),
            answered: proved,
            silent: 0,
            failing: BTreeMap::new(),
            sent: false,
            taken: false,
            doubted: false,
            resumed,
            shut: false,
        }
    }

    /// Takes in what one try came to. The reason to stop, if nothing gets through: before anything was sent a few tries
    /// are enough, later a class may have no success for so long, whatever other classes hear.
    ///
    /// * `said`: in whose words it failed.
    pub(super) fn tried(
        &mut self,
        class: Class,
        came: Try,
        said: &str,
        now: Instant,
        rules: &Rules,
    ) -> Option<StopReason> {
        self.answered |= came != Try::Silence;
        self.silent = if came == Try::Silence { self.silent + 1 } else { 0 };
        if came == Try::Success {
            self.failing.remove(&class);
            return None;
        }
        if !self.answered && self.silent >= FIRST_TRIES && !self.sent {
            self.shut = true;
            let why = format!("no answer from the endpoint in {} tries, lastly: {said}", self.silent);
            return Some(StopReason::Endpoint(why));
        }
        let fresh = Failing { first: now, last: now };
        let failing = self.failing.entry(class).or_insert(fresh);
        if now.saturating_duration_since(failing.last) > LONGEST_PAUSE {
            *failing = fresh;
        }
        failing.last = now;
        let quiet = now.saturating_duration_since(failing.first);
        (quiet >= rules.outage_limit).then(|| {
            let quiet = crate::text::spell_duration(quiet);
            StopReason::Outage(format!("no success with {} for {quiet}, lastly: {said}", class.as_str()))
        })
    }

    /// Which credentials a request that begins now goes out with.
    pub(super) fn generation(&self) -> u32 {
        self.renewals.generation()
    }

    /// An answer came that the credentials of this generation were good for.
    pub(super) fn prove(&mut self, generation: u32) {
        if self.access == Access::Unproved {
            self.access = Access::Proved;
        }
        self.renewals.proved(generation);
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
        let refused = self.renewals.refused(generation);
        if refused == Refused::Renew {
            self.renew_asked = false;
            self.epoch += 1;
        }
        refused
    }

    /// Whether the credentials are being replaced: nothing new goes out with the old ones.
    pub(super) fn is_renewing(&self) -> bool {
        self.renewals.is_under_way()
    }

    /// Whether to renew now: once, and when nothing is under way any more.
    pub(super) fn ask_renewal(&mut self, under_way: usize) -> bool {
        let asks = !self.renew_asked && under_way == 0;
        self.renew_asked |= asks;
        asks
    }

    pub(super) fn renewed(&mut self) {
        self.renewals.renewed();
        self.access = Access::Unproved;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn p11_a_renewal_waits_for_what_is_under_way_and_is_asked_for_once() {
        let mut link = Link::new(true, false);
        assert_eq!(link.unauthorized(0), Refused::Renew);
        assert!(!link.ask_renewal(1), "while a request is under way");
        assert!(link.ask_renewal(0) && !link.ask_renewal(0));
        link.renewed();
        assert_eq!((link.access, link.generation()), (Access::Unproved, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_run_at_once_before_its_first_write_and_after_the_limit_then() {
        let (now, rules) = (Instant::now(), Rules::default());
        let late = now + rules.outage_limit;
        // Answered before, a write sent, when the last of many tries fails: which reason?
        for (proved, sent, at, expected) in [
            (false, false, now, Some("no answer from the endpoint in 3 tries, lastly: reset")),
            (false, true, now, None),
            (true, false, now, None),
            (true, true, late - Duration::from_secs(1), None),
            (true, true, late, Some("no success with list-desktops for 30 min, lastly: reset")),
        ] {
            let mut link = Link::new(proved, false);
            if sent {
                link.sent();
            }
            let mut fails = |at| link.tried(Class::ListDesktops, Try::Silence, "reset", at, &rules);
            assert_eq!((fails(now), fails(now + (at - now) / 2)), (None, None));
            let why = fails(at).map(|reason| reason.in_words());
            assert_eq!(why.as_deref(), expected, "{proved} {sent}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p10_only_a_success_of_its_own_class_stops_the_clock_of_an_outage() {
        let (now, rules) = (Instant::now(), Rules::default());
        let (write, read) = (Class::BatchDetach, Class::ListDesktops);
        // What comes between, halfway, and whether the write that is put off to the end then ends the run.
        for (between, ends) in [
            (Some((write, Try::PutOff)), true),
            (Some((read, Try::Success)), true),
            (Some((write, Try::Success)), false),
            (None, false), // asleep, or without anything to send: longer than any pause
        ] {
            let mut link = Link::new(true, false);
            assert_eq!(link.tried(write, Try::PutOff, "IAM is busy", now, &rules), None);
            for quarter in 1..=3 {
                let at = now + rules.outage_limit / 4 * quarter;
                if let Some((class, came)) = between {
                    assert_eq!(link.tried(class, came, "", at, &rules), None);
                    let next = if came == Try::Success && class == write { Try::Success } else { Try::PutOff };
                    assert_eq!(link.tried(write, next, "IAM is busy", at, &rules), None);
                }
            }
            let reason = link.tried(write, Try::PutOff, "IAM is busy", now + rules.outage_limit, &rules);
            assert_eq!(reason.is_some(), ends, "{between:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_access_is_said_only_where_nothing_can_have_been_changed() {
        for (resumed, doubted, taken, expected) in [
            (false, false, false, true),
            (true, false, false, false),
            (false, true, false, false),
            (false, false, true, false),
        ] {
            let mut link = Link::new(true, resumed);
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
