//! What the reads of a desktop prove about each of its bindings, as plain values.
//!
//! Time comes in as an argument; nothing here waits or sends.

use std::time::Duration;

use tokio::time::Instant;

use crate::journal::{Item, Slot, SlotNo};
use crate::model::{Bound, Kind, LiveDesktop, Person};

/// Whether `bound` holds the binding that `slot` means: somebody who is the same person; anybody for an `ALL`.
pub(crate) fn holds(slot: &Slot, bound: &[Bound]) -> bool {
    if slot.kind == Kind::All {
        return !bound.is_empty();
    }
    bound.iter().any(|one| slot.person().is(&Person::from(one)))
}

/// Who is bound now and was not when the plan was made: an `ALL` would detach somebody nobody asked about (P7).
pub(crate) fn newcomers<'b>(item: &Item, bound: &'b [Bound]) -> Vec<&'b Bound> {
    let known =
        |one: &Bound| item.slots.iter().any(|slot| slot.kind != Kind::All && holds(slot, std::slice::from_ref(one)));
    bound.iter().filter(|one| !known(one)).collect()
}

/// What one read said of one desktop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sight<'a> {
    /// The desktop was shown; whether the read is evidence is [`LiveDesktop::good`].
    Shown(&'a LiveDesktop),
    /// Asked for by itself, the service says that there is no such desktop.
    Nowhere,
}

/// When a read was under way: evidence must not be dated earlier than the answer, nor later than the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadSpan {
    pub began: Instant,
    pub ended: Instant,
}

/// What the reads so far prove of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing yet.
    Open,
    /// Absent in two good reads far enough apart.
    Absent,
    /// Bound in two good reads far enough apart.
    Bound,
    /// The desktop is gone, and its bindings with it.
    Gone,
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
    slots: Vec<(SlotNo, Run)>,
    /// Reads seen so far.
    reads: u32,
    /// Since when the desktop itself is nowhere.
    nowhere_since: Option<Instant>,
}

/// A run of good reads that all said the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    bound: bool,
    /// End of the first read of the run; `None` before any.
    since: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(slots: &[SlotNo], unwanted_counts_from: Instant, apart: Duration, want_bound: bool) -> Self {
        let fresh = Run { bound: false, since: None };
        let slots = slots.iter().map(|slot| (*slot, fresh)).collect();
        Self { unwanted_counts_from, want_bound, apart, slots, reads: 0, nowhere_since: None }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.slots.is_empty()
    }

    /// No longer watches a slot.
    pub(crate) fn close(&mut self, done: &[SlotNo]) {
        self.slots.retain(|(slot, _)| !done.contains(slot));
    }

    /// Takes in one read and tells what is proved now, for every slot that is still watched, in their order.
    pub(crate) fn see(&mut self, item: &Item, sight: Sight<'_>, span: ReadSpan) -> Vec<(SlotNo, Proof)> {
        self.reads = self.reads.saturating_add(1);
        let bound = match sight {
            Sight::Nowhere => {
                let since = *self.nowhere_since.get_or_insert(span.ended);
                let gone = span.began.saturating_duration_since(since) >= self.apart && span.began > since;
                for (_, run) in &mut self.slots {
                    run.since = None;
                }
                let proof = if gone { Proof::Gone } else { Proof::Open };
                return self.slots.iter().map(|(slot, _)| (*slot, proof)).collect();
            }
            Sight::Shown(desktop) => {
                self.nowhere_since = None;
                desktop.good()
            }
        };
        let Some(bound) = bound else {
            // Not a good read: it neither proves nor refutes, but "two good reads in a row" starts again.
            for (_, run) in &mut self.slots {
                run.since = None;
            }
            return self.slots.iter().map(|(slot, _)| (*slot, Proof::Open)).collect();
        };
        let mut proofs = Vec::with_capacity(self.slots.len());
        for (slot, run) in &mut self.slots {
            let is_bound = item.slots.get(usize::from(*slot)).is_some_and(|one| holds(one, bound));
            let unwanted = is_bound != self.want_bound;
            if unwanted && span.began < self.unwanted_counts_from {
                run.since = None;
                proofs.push((*slot, Proof::Open));
                continue;
            }
            let proved = match run.since {
                Some(since) if run.bound == is_bound => span.began.saturating_duration_since(since) >= self.apart,
                _ => {
                    *run = Run { bound: is_bound, since: Some(span.ended) };
                    false
                }
            };
            let proof = match (proved, is_bound) {
                (false, _) => Proof::Open,
                (true, true) => Proof::Bound,
                (true, false) => Proof::Absent,
            };
            proofs.push((*slot, proof));
        }
        proofs
    }

    /// Whether a first read of a pair is on record for any slot, so that the next one is due `apart` later.
    pub(crate) fn is_half_proved(&self) -> bool {
        self.nowhere_since.is_some() || self.slots.iter().any(|(_, run)| run.since.is_some())
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
    use crate::model::DesktopId;

    const APART: Duration = Duration::from_secs(5);

    fn slot(name: &str) -> Slot {
        Slot {
            kind: Kind::User,
            user_name: name.to_owned(),
            user_id: None,
            user_group: None,
            sent_group: None,
            domain: None,
            rows: 1,
            seen: true,
        }
    }

    fn item(names: &[&str]) -> Item {
        Item {
            id: 1,
            chunk: 1,
            desktop: DesktopId::parse("d").unwrap(),
            desktop_name: String::new(),
            pooled: false,
            all: false,
            slots: names.iter().map(|name| slot(name)).collect(),
            seen: true,
            shared: false,
        }
    }

    fn bound(name: &str) -> Bound {
        Bound { kind: Kind::User, user_name: name.to_owned(), user_id: None, user_group: None, domain: None }
    }

    fn desktop(names: &[&str], task: &str) -> LiveDesktop {
        LiveDesktop {
            id: DesktopId::parse("d").unwrap(),
            name: String::new(),
            status: "ACTIVE".to_owned(),
            task_status: task.to_owned(),
            attach_state: String::new(),
            desktop_type: "SHARED".to_owned(),
            pool_id: None,
            login_status: String::new(),
            frozen: false,
            in_maintenance: false,
            bound: Some(names.iter().map(|name| bound(name)).collect()),
        }
    }

    fn at(start: Instant, second: u64) -> ReadSpan {
        let t = start + Duration::from_secs(second);
        ReadSpan { began: t, ended: t }
    }

    #[tokio::test(start_paused = true)]
    async fn p02_one_read_proves_nothing_and_two_too_close_prove_nothing() {
        let (start, item) = (Instant::now(), item(&["a"]));
        let mut watch = Watch::new(&[0], start, APART, false);
        let gone = desktop(&[], "");
        assert_eq!(watch.see(&item, Sight::Shown(&gone), at(start, 0)), [(0, Proof::Open)]);
        assert_eq!(watch.see(&item, Sight::Shown(&gone), at(start, 4)), [(0, Proof::Open)]);
        assert_eq!(watch.see(&item, Sight::Shown(&gone), at(start, 5)), [(0, Proof::Absent)]);
    }

    #[tokio::test(start_paused = true)]
    async fn p02_a_busy_desktop_or_a_missing_list_breaks_the_run_of_good_reads() {
        let (start, item) = (Instant::now(), item(&["a"]));
        let mut watch = Watch::new(&[0], start, APART, false);
        watch.see(&item, Sight::Shown(&desktop(&[], "")), at(start, 0));
        watch.see(&item, Sight::Shown(&desktop(&[], "rebooting")), at(start, 3));
        assert_eq!(watch.see(&item, Sight::Shown(&desktop(&[], "")), at(start, 6)), [(0, Proof::Open)]);
        let mut unlisted = desktop(&[], "");
        unlisted.bound = None;
        assert_eq!(watch.see(&item, Sight::Shown(&unlisted), at(start, 30)), [(0, Proof::Open)]);
    }

    #[tokio::test(start_paused = true)]
    async fn p02_bound_counts_only_after_the_doubt_wait() {
        let (start, item) = (Instant::now(), item(&["a"]));
        let mut watch = Watch::new(&[0], start + Duration::from_secs(30), APART, false);
        let still = desktop(&["A"], "");
        for second in [0, 10, 20, 29, 31] {
            assert_eq!(watch.see(&item, Sight::Shown(&still), at(start, second)), [(0, Proof::Open)]);
        }
        assert_eq!(watch.see(&item, Sight::Shown(&still), at(start, 36)), [(0, Proof::Bound)]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_user_of_a_desktop_is_judged_for_himself() {
        let (start, item) = (Instant::now(), item(&["a", "b"]));
        let mut watch = Watch::new(&[0, 1], start, APART, false);
        let half = desktop(&["b", "stranger"], "");
        watch.see(&item, Sight::Shown(&half), at(start, 0));
        assert_eq!(watch.see(&item, Sight::Shown(&half), at(start, 5)), [(0, Proof::Absent), (1, Proof::Bound)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_desktop_is_gone_after_two_answers_that_say_so() {
        let (start, item) = (Instant::now(), item(&["a"]));
        let mut watch = Watch::new(&[0], start, APART, false);
        assert_eq!(watch.see(&item, Sight::Nowhere, at(start, 0)), [(0, Proof::Open)]);
        assert_eq!(watch.see(&item, Sight::Shown(&desktop(&["a"], "")), at(start, 3)), [(0, Proof::Open)]);
        assert_eq!(watch.see(&item, Sight::Nowhere, at(start, 6)), [(0, Proof::Open)]);
        assert_eq!(watch.see(&item, Sight::Nowhere, at(start, 12)), [(0, Proof::Gone)]);
    }

    #[test]
    fn a_binding_is_held_by_id_or_by_name_without_case_within_its_type_and_domain() {
        let mut one = slot("Alice");
        assert!(holds(&one, &[bound("ALICE")]));
        let group = Bound { kind: Kind::Group, ..bound("Alice") };
        assert!(!holds(&one, std::slice::from_ref(&group)));
        one.user_id = Some("7".to_owned());
        assert!(holds(&one, &[Bound { user_id: Some("7".to_owned()), ..bound("renamed") }]));
        one.domain = Some("east".to_owned());
        assert!(!holds(&one, &[Bound { domain: Some("west".to_owned()), ..bound("alice") }]));
        assert!(holds(&one, &[bound("alice")]), "a binding without a domain counts for any");
    }

    #[test]
    fn p07_newcomers_are_those_the_plan_did_not_know() {
        let item = item(&["", "a", "b"]);
        let now = [bound("a"), bound("new")];
        assert_eq!(newcomers(&item, &now), [&now[1]]);
    }
}
