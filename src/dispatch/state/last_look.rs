//! The last read of what was ever in doubt: where it differs from the outcome, two more decide.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::super::rules::Rules;
use super::{Ruling, rows_of};
use crate::journal::{Item, ItemId, RowOutcome, Settlement, SlotNo};
use crate::model::{Class, Outcome, Refusal};
use crate::reconcile::evidence::{Proof, ReadSpan, Sight, holds};
use crate::reconcile::judge::Watch;
use crate::text::timestamp_now;

/// See the module.
#[derive(Debug)]
pub(super) struct LastLook {
    stage: Stage,
    open: HashMap<ItemId, Recheck>,
    /// Items that could not be read once more.
    pub(super) unchecked: u64,
    want_bound: bool,
    apart: Duration,
    poll: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Before,
    /// The journal is asked for what is to be read.
    Asked,
    Begun,
}

#[derive(Debug)]
struct Recheck {
    item: Item,
    settled: Vec<Settlement>,
    /// Set once a read differed from the outcome: two more decide.
    watch: Option<Watch>,
    deadline: Instant,
    /// It was read once more past the deadline.
    overtime: bool,
}

/// What one read leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// To be read again at that time.
    Again(Instant),
    /// All is said of the item; the outcomes that were corrected, each with the one before and the rows of its slot.
    Checked(Vec<(Settlement, Outcome, u64)>),
}

impl LastLook {
    pub(super) fn new(rules: &Rules) -> Self {
        Self {
            stage: Stage::Before,
            open: HashMap::new(),
            unchecked: 0,
            want_bound: rules.class == Class::BatchAttach,
            apart: rules.waits.settle_time,
            poll: rules.waits.poll_interval,
        }
    }

    /// Whether the journal is to be asked now for what is to be read: once.
    pub(super) fn ask(&mut self) -> bool {
        let asks = self.stage == Stage::Before;
        if asks {
            self.stage = Stage::Asked;
        }
        asks
    }

    pub(super) fn begin(&mut self, list: Vec<(Item, Vec<Settlement>)>, deadline: Instant) {
        self.stage = Stage::Begun;
        let open =
            |(item, settled): (Item, _)| (item.id, Recheck { item, settled, watch: None, deadline, overtime: false });
        self.open = list.into_iter().map(open).collect();
    }

    pub(super) fn item(&self, id: ItemId) -> Option<&Item> {
        self.open.get(&id).map(|recheck| &recheck.item)
    }

    /// Whether something is to be read, as far as the journal was asked.
    pub(super) fn has_reads(&self) -> bool {
        !self.open.is_empty()
    }

    pub(super) fn is_done(&self) -> bool {
        self.stage == Stage::Begun && self.open.is_empty()
    }

    /// Gives up on an item whose deadline is over, and which one more read did not show either. Whether it did.
    pub(super) fn give_up(&mut self, id: ItemId, now: Instant) -> bool {
        let is_late = |recheck: &mut Recheck| now >= recheck.deadline && std::mem::replace(&mut recheck.overtime, true);
        let is_over = self.open.get_mut(&id).is_some_and(is_late);
        if is_over {
            self.open.remove(&id);
            self.unchecked += 1;
        }
        is_over
    }

    /// Takes in one read of an item; `None` where it is not to be read.
    pub(super) fn see(&mut self, id: ItemId, sight: Sight<'_>, span: ReadSpan, now: Instant) -> Option<Seen> {
        let recheck = self.open.get_mut(&id)?;
        let Some(watch) = &mut recheck.watch else {
            let differs = match sight {
                Sight::Nowhere => false,
                Sight::Shown(desktop) => match desktop.good() {
                    None => return Some(Seen::Again(now + self.poll)),
                    Some(bound) => recheck.settled.iter().any(|one| {
                        one.slots.iter().any(|slot| {
                            let slot = recheck.item.slots.get(usize::from(*slot));
                            let is_bound = slot.is_some_and(|slot| holds(slot, bound));
                            (is_bound == self.want_bound) != one.result.outcome.is_success()
                        })
                    }),
                },
            };
            if differs {
                let slots: Vec<SlotNo> = recheck.settled.iter().flat_map(|one| one.slots.iter().copied()).collect();
                recheck.watch = Some(Watch::new(&slots, now, self.apart, self.want_bound));
                return Some(Seen::Again(now + self.apart));
            }
            self.open.remove(&id);
            return Some(Seen::Checked(Vec::new()));
        };
        let proofs = watch.see(&recheck.item, sight, span);
        if proofs.len() < watch.len() {
            let at = if watch.is_half_proved() { span.ended + self.apart } else { now + self.poll };
            return Some(Seen::Again(at));
        }
        let Recheck { item, settled, .. } = self.open.remove(&id)?;
        Some(Seen::Checked(self.corrections(&item, &settled, &proofs)))
    }

    fn corrections(&self, item: &Item, settled: &[Settlement], proofs: &[Proof]) -> Vec<(Settlement, Outcome, u64)> {
        let mut corrected = Vec::new();
        for one in settled {
            for slot in &one.slots {
                let Some(proof) = proofs.iter().find(|proof| proof.slot() == *slot) else { continue };
                let ruling = self.ruling(*proof);
                if ruling.outcome().is_success() == one.result.outcome.is_success() {
                    continue;
                }
                let rest = RowOutcome { finished_at: timestamp_now(), recheck: false, ..one.result.clone() };
                let settlement = ruling.settlement(item, rest);
                corrected.push((settlement, one.result.outcome, rows_of(item, *slot)));
            }
        }
        corrected
    }

    /// What is proved at the end of the run, as the final word.
    fn ruling(&self, proof: Proof) -> Ruling {
        let evidence = "the last read of the run, and two more";
        let failed = |code: &str, message: &str| {
            let refusal = Refusal { code: code.to_owned(), message: message.to_owned() };
            Ruling::failed(vec![proof.slot()], refusal, evidence)
        };
        match (proof, self.want_bound) {
            (Proof::Bound(presence), true) => Ruling::attached(&[presence], evidence),
            (Proof::Absent(absence) | Proof::Gone(absence), false) => Ruling::detached(&[absence], evidence),
            (Proof::Absent(_) | Proof::Gone(_), true) => {
                failed("NOT_BOUND", "it was bound, and is gone again at the end of the run")
            }
            (Proof::Bound(_), false) => failed("STILL_BOUND", "it was gone, and is bound again at the end of the run"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::fixture;

    /// Anna's binding, of two rows.
    fn item() -> Item {
        let mut item = fixture::item(&["anna"]);
        item.slots[0].rows = 2;
        item
    }

    #[tokio::test(start_paused = true)]
    async fn p02_an_outcome_is_corrected_by_three_reads_and_never_by_one() {
        use Outcome::{Attached, Detached, Failed};
        let (detach, attach) = (Class::BatchDetach, Class::BatchAttach);
        // What was said, whether each read shows her bound, and what is said then.
        for (class, before, reads, after) in [
            (detach, Detached, &[false][..], None),
            (detach, Detached, &[true, true, true], Some((Failed, "STILL_BOUND"))),
            (detach, Detached, &[true, false, false], None),
            (detach, Failed, &[true], None),
            (detach, Failed, &[false, false, false], Some((Detached, ""))),
            (attach, Attached, &[true], None),
            (attach, Attached, &[false, false, false], Some((Failed, "NOT_BOUND"))),
            (attach, Failed, &[true, true, true], Some((Attached, ""))),
        ] {
            let rules = Rules { class, ..Rules::default() };
            let mut now = Instant::now();
            let mut look = LastLook::new(&rules);
            assert!(look.ask() && !look.ask());
            let result = RowOutcome::new(before, "WKS.1".to_owned(), "no".to_owned());
            let settled = vec![Settlement { item: 1, slots: vec![0], result }];
            look.begin(vec![(item(), settled)], now + rules.waits.read_back_deadline);
            let mut seen = None;
            for holds_anna in reads {
                assert!(!look.is_done());
                let span = ReadSpan { began: now, ended: now };
                let bound: &[&str] = if *holds_anna { &["anna"] } else { &[] };
                seen = look.see(1, Sight::Shown(&fixture::desktop(bound, "")), span, now);
                now += rules.waits.settle_time;
            }
            let Some(Seen::Checked(corrected)) = seen else { panic!("{before} {reads:?}: {seen:?}") };
            let corrected = corrected.iter().map(|(to, from, rows)| {
                assert_eq!((*from, *rows), (before, 2));
                (to.result.outcome, to.result.code.as_str())
            });
            assert_eq!(corrected.collect::<Vec<_>>(), after.into_iter().collect::<Vec<_>>(), "{before} {reads:?}");
            assert!(look.is_done());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_read_in_time_stays_as_it_is() {
        let (now, rules) = (Instant::now(), Rules::default());
        let mut look = LastLook::new(&rules);
        look.begin(vec![(item(), Vec::new())], now + rules.waits.read_back_deadline);
        assert!(!look.give_up(1, now));
        assert!(!look.give_up(1, now + rules.waits.read_back_deadline), "one more read");
        assert!(look.give_up(1, now + rules.waits.read_back_deadline));
        assert_eq!((look.is_done(), look.unchecked), (true, 1));
    }
}
