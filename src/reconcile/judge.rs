//! What the reads of a desktop prove about each of its bindings, as plain values.
//!
//! Time comes in as an argument; nothing here waits or sends.

use std::time::Duration;

use tokio::time::Instant;

use super::evidence::{Proof, ReadSpan, Sight, Sighting, holds};
use crate::journal::{Item, SlotNo};
use crate::model::{Bound, Kind};

/// Who is bound now and was not when the plan was made: an `ALL` would detach somebody nobody asked about (P7).
pub(crate) fn newcomers<'b>(item: &Item, bound: &'b [Bound]) -> Vec<&'b Bound> {
    let known =
        |one: &Bound| item.slots.iter().any(|slot| slot.kind != Kind::All && holds(slot, std::slice::from_ref(one)));
    bound.iter().filter(|one| !known(one)).collect()
}

/// Watches the slots of one item until the reads prove something of each.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    /// Reads that show the *unwanted* state count only from here on: a queue and a lag look just so.
    unwanted_counts_from: Instant,
    /// `false` for a detach (wanted: absent), `true` for an attach (wanted: bound).
    want_bound: bool,
    /// How far apart the two reads must be.
    apart: Duration,
    /// Each with the first of the sightings in a row that all said the same.
    slots: Vec<(SlotNo, Option<Sighting>)>,
    /// Reads seen so far.
    reads: u32,
}

impl Watch {
    pub(crate) fn new(slots: &[SlotNo], unwanted_counts_from: Instant, apart: Duration, want_bound: bool) -> Self {
        let slots = slots.iter().map(|slot| (*slot, None)).collect();
        Self { unwanted_counts_from, want_bound, apart, slots, reads: 0 }
    }

    /// How many slots are watched.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn is_done(&self) -> bool {
        self.slots.is_empty()
    }

    /// No longer watches what is proved.
    pub(crate) fn close(&mut self, proofs: &[Proof]) {
        self.slots.retain(|(slot, _)| proofs.iter().all(|proof| proof.slot() != *slot));
    }

    /// Takes in one read. What is proved now of the slots that are still watched, in their order.
    pub(crate) fn see(&mut self, item: &Item, sight: Sight<'_>, span: ReadSpan) -> Vec<Proof> {
        self.reads = self.reads.saturating_add(1);
        let mut proofs = Vec::with_capacity(self.slots.len());
        for (slot, first) in &mut self.slots {
            let counts =
                |seen: &Sighting| !seen.shows(!self.want_bound) || !seen.began_before(self.unwanted_counts_from);
            let seen = Sighting::of(item, *slot, sight, span).filter(counts);
            match (&*first, &seen) {
                (Some(first), Some(last)) if first.agrees_with(last) => {
                    proofs.extend(Proof::of(first, last, self.apart));
                }
                // What does not tell neither proves nor refutes, but "two good reads in a row" starts again.
                _ => *first = seen,
            }
        }
        proofs
    }

    /// Whether a first read of a pair is on record for any slot, so that the next one is due `apart` later.
    pub(crate) fn is_half_proved(&self) -> bool {
        self.slots.iter().any(|(_, first)| first.is_some())
    }

    /// Whether only one read was seen so far.
    pub(crate) fn is_first_look(&self) -> bool {
        self.reads == 1
    }

    /// From when on reads of the unwanted state count.
    pub(crate) fn unwanted_counts_from(&self) -> Instant {
        self.unwanted_counts_from
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::fixture::{bound, desktop, item};

    const APART: Duration = Duration::from_secs(5);

    fn at(start: Instant, second: u64) -> ReadSpan {
        let t = start + Duration::from_secs(second);
        ReadSpan { began: t, ended: t }
    }

    /// What one more read proves, in words.
    fn see(watch: &mut Watch, item: &Item, sight: Sight<'_>, span: ReadSpan) -> Vec<(SlotNo, &'static str)> {
        let word = |proof: &Proof| match proof {
            Proof::Bound(_) => "bound",
            Proof::Absent(_) => "absent",
            Proof::Gone(_) => "gone",
        };
        watch.see(item, sight, span).iter().map(|proof| (proof.slot(), word(proof))).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn p02_one_read_proves_nothing_and_two_too_close_prove_nothing() {
        let (start, item) = (Instant::now(), item(&["a"]));
        let mut watch = Watch::new(&[0], start, APART, false);
        let gone = desktop(&[], "");
        assert_eq!(see(&mut watch, &item, Sight::Shown(&gone), at(start, 0)), []);
        assert_eq!(see(&mut watch, &item, Sight::Shown(&gone), at(start, 4)), []);
        assert_eq!(see(&mut watch, &item, Sight::Shown(&gone), at(start, 5)), [(0, "absent")]);
    }

    #[tokio::test(start_paused = true)]
    async fn p02_a_busy_desktop_or_a_missing_list_breaks_the_run_of_good_reads() {
        let (start, item) = (Instant::now(), item(&["a"]));
        let mut watch = Watch::new(&[0], start, APART, false);
        watch.see(&item, Sight::Shown(&desktop(&[], "")), at(start, 0));
        watch.see(&item, Sight::Shown(&desktop(&[], "rebooting")), at(start, 3));
        assert_eq!(see(&mut watch, &item, Sight::Shown(&desktop(&[], "")), at(start, 6)), []);
        let mut unlisted = desktop(&[], "");
        unlisted.bound = None;
        assert_eq!(see(&mut watch, &item, Sight::Shown(&unlisted), at(start, 30)), []);
    }

    #[tokio::test(start_paused = true)]
    async fn p02_bound_counts_only_after_the_doubt_wait() {
        let (start, item) = (Instant::now(), item(&["a"]));
        let mut watch = Watch::new(&[0], start + Duration::from_secs(30), APART, false);
        let still = desktop(&["A"], "");
        for second in [0, 10, 20, 29, 31] {
            assert_eq!(see(&mut watch, &item, Sight::Shown(&still), at(start, second)), []);
        }
        assert_eq!(see(&mut watch, &item, Sight::Shown(&still), at(start, 36)), [(0, "bound")]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_user_of_a_desktop_is_judged_for_himself() {
        let (start, item) = (Instant::now(), item(&["a", "b"]));
        let mut watch = Watch::new(&[0, 1], start, APART, false);
        let half = desktop(&["b", "stranger"], "");
        watch.see(&item, Sight::Shown(&half), at(start, 0));
        assert_eq!(see(&mut watch, &item, Sight::Shown(&half), at(start, 5)), [(0, "absent"), (1, "bound")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_desktop_is_gone_after_two_answers_that_say_so() {
        let (start, item) = (Instant::now(), item(&["a"]));
        let mut watch = Watch::new(&[0], start, APART, false);
        assert_eq!(see(&mut watch, &item, Sight::Nowhere, at(start, 0)), []);
        assert_eq!(see(&mut watch, &item, Sight::Shown(&desktop(&["a"], "")), at(start, 3)), []);
        assert_eq!(see(&mut watch, &item, Sight::Nowhere, at(start, 6)), []);
        assert_eq!(see(&mut watch, &item, Sight::Nowhere, at(start, 12)), [(0, "gone")]);
    }

    #[test]
    fn p07_newcomers_are_those_the_plan_did_not_know() {
        let item = item(&["", "a", "b"]);
        let now = [bound("a"), bound("new")];
        assert_eq!(newcomers(&item, &now), [&now[1]]);
    }
}
