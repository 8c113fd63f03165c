//! What the records say of an item: pure, and shared by the `SQLite` journal and the one in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::{Outcome, PartLabel, Refusal};

use super::record::{
    AnswerKind, AttemptId, Item, ItemId, LastAttempt, OpenItem, Record, RowOutcome, Sent, Settlement, SlotNo,
};

/// Whether a settlement with this outcome ends the work on a slot. An unknown one is asked for again by a resume.
pub(super) const fn is_final(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Unknown | Outcome::Planned)
}

/// What is on record for some items: of one chunk, or of the whole run.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) items: BTreeMap<ItemId, Item>,
    /// In the order in which they became durable.
    pub(super) settlements: HashMap<ItemId, Vec<Settlement>>,
    pub(super) jobs: HashMap<ItemId, BTreeMap<String, Option<Refusal>>>,
    pub(super) seen: HashMap<ItemId, BTreeSet<SlotNo>>,
    pub(super) rechecks: BTreeSet<ItemId>,
    sent: BTreeMap<AttemptId, Sent>,
    /// Which attempts carried an item, and at which place of their list.
    carried: HashMap<ItemId, BTreeSet<(AttemptId, usize)>>,
}

impl History {
    pub(super) fn new(items: impl IntoIterator<Item = Item>) -> Self {
        Self { items: items.into_iter().map(|item| (item.id, item)).collect(), ..Self::default() }
    }

    pub(super) fn add_sent(&mut self, sent: Sent) {
        for (place, (item, _)) in sent.attempt.carries.iter().enumerate() {
            self.carried.entry(*item).or_default().insert((sent.attempt.id, place));
        }
        self.sent.insert(sent.attempt.id, sent);
    }

    pub(super) fn sent(&self) -> impl Iterator<Item = &Sent> {
        self.sent.values()
    }

    pub(super) fn next_attempt(&self) -> AttemptId {
        self.sent.last_key_value().map_or(1, |(id, _)| id + 1)
    }

    /// Takes in one record that concerns items; others are passed over.
    ///
    /// # Errors
    /// What the record refers to is not in the plan, or not on record.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Intent(attempt) => {
                for (item, slots) in &attempt.carries {
                    self.check(*item, slots)?;
                }
                if self.sent.contains_key(&attempt.id) {
                    return Err(format!("attempt {} has two intents", attempt.id));
                }
                self.add_sent(Sent { attempt: attempt.clone(), answer: None });
            }
            Record::Answer(answer) => {
                let sent = self.sent.get_mut(&answer.attempt);
                sent.ok_or_else(|| no_intent(answer.attempt))?.answer = Some(answer.clone());
            }
            Record::Job { item, job_id, refusal } => {
                self.check(*item, &[])?;
                self.jobs.entry(*item).or_default().insert(job_id.clone(), refusal.clone());
            }
            Record::Seen { item, slots } => {
                self.check(*item, slots)?;
                self.seen.entry(*item).or_default().extend(slots);
            }
            Record::Settled(settlement) => {
                self.check(settlement.item, &settlement.slots)?;
                let all = self.settlements.entry(settlement.item).or_default();
                all.push(settlement.clone());
                if settlement.result.recheck {
                    self.rechecks.insert(settlement.item);
                } else if !wants_recheck(all) {
                    self.rechecks.remove(&settlement.item);
                }
            }
            Record::Rechecked { item } => {
                self.check(*item, &[])?;
                self.rechecks.remove(item);
            }
            Record::Started { .. }
            | Record::Canary { .. }
            | Record::Undone { .. }
            | Record::Requests { .. }
            | Record::StillAccess { .. }
            | Record::Stopped { .. } => {}
        }
        Ok(())
    }

    fn check(&self, item: ItemId, slots: &[SlotNo]) -> Result<(), String> {
        let found = self.items.get(&item).ok_or_else(|| no_item(item))?;
        check_slots(found, slots)
    }

    fn settlements_of(&self, item: ItemId) -> &[Settlement] {
        self.settlements.get(&item).map_or(&[], Vec::as_slice)
    }

    /// The attempts that carried an item, in the order of their intents, with the slots that each carried.
    fn carried(&self, item: ItemId) -> impl DoubleEndedIterator<Item = (&Sent, &[SlotNo])> {
        self.carried.get(&item).into_iter().flatten().filter_map(|(id, place)| {
            let sent = self.sent.get(id)?;
            Some((sent, sent.attempt.carries.get(*place)?.1.as_slice()))
        })
    }

    /// Whether each slot of an item has its final word.
    pub(super) fn finals(&self, item: &Item) -> Vec<bool> {
        let mut finals = vec![false; item.slots.len()];
        for settlement in self.settlements_of(item.id) {
            for slot in &settlement.slots {
                if let Some(is) = finals.get_mut(usize::from(*slot)) {
                    *is = is_final(settlement.result.outcome);
                }
            }
        }
        finals
    }

    /// What a resume needs to know of an item; `None` once all its slots have their final word.
    pub(super) fn open_item(&self, id: ItemId) -> Option<OpenItem> {
        self.opened(self.items.get(&id)?.clone())
    }

    /// [`History::open_item`] of all, without a copy of them.
    pub(super) fn into_open(mut self) -> Vec<OpenItem> {
        let items = std::mem::take(&mut self.items);
        items.into_values().filter_map(|item| self.opened(item)).collect()
    }

    fn opened(&self, item: Item) -> Option<OpenItem> {
        let id = item.id;
        let finals = self.finals(&item);
        if finals.iter().all(|is| *is) {
            return None;
        }
        let numbered = || (0..).zip(&item.slots);
        let open = |slot: &SlotNo| finals.get(usize::from(*slot)).is_some_and(|is| !is);
        let settled = numbered().map(|(slot, _)| slot).filter(|slot| !open(slot)).collect();
        let carrying: Vec<_> = self.carried(id).filter(|(_, slots)| slots.iter().any(open)).collect();
        let count = carrying.iter().filter(|(sent, _)| sent.counts()).count();
        let executed = carrying.iter().filter(|(sent, _)| !sent.is_not_executed()).count();
        let last = carrying.iter().rev().find(|(sent, _)| !sent.is_not_executed());
        let more = self.seen.get(&id);
        Some(OpenItem {
            settled,
            attempts: u32::try_from(count).unwrap_or(u32::MAX),
            executed: u32::try_from(executed).unwrap_or(u32::MAX),
            last: last.map(|(sent, slots)| self.last_attempt(id, sent, slots)),
            ever_doubt: carrying.iter().any(|(sent, _)| matches!(sent.kind(), None | Some(AnswerKind::Doubt))),
            ever_answered: carrying.iter().any(|(sent, _)| sent.was_answered()),
            seen_bound: numbered()
                .filter(|(number, slot)| slot.seen || more.is_some_and(|more| more.contains(number)))
                .map(|(number, _)| number)
                .collect(),
            item,
        })
    }

    fn last_attempt(&self, item: ItemId, sent: &Sent, slots: &[SlotNo]) -> LastAttempt {
        let answer = sent.answer.as_ref();
        let job_id = answer.map_or("", |answer| answer.job_id.as_str());
        let job = self.jobs.get(&item).filter(|_| !job_id.is_empty()).and_then(|jobs| jobs.get(job_id));
        LastAttempt {
            id: sent.attempt.id,
            part: sent.attempt.part,
            slots: slots.to_vec(),
            kind: sent.kind(),
            at: sent.attempt.at.clone(),
            request_id: answer.map_or_else(String::new, |answer| answer.request_id.clone()),
            job_id: job_id.to_owned(),
            job_done: job.is_some(),
            refusal: listed(sent, item).or_else(|| job.and_then(Option::as_ref)).cloned(),
        }
    }

    /// Every open item that was sent, or may have been.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = OpenItem> {
        self.items.keys().filter_map(|id| self.open_item(*id)).filter(|open| open.last.is_some())
    }

    /// The settlements of an item that want a last read, each with the slots that it is the latest word on.
    pub(super) fn to_recheck(&self, item: ItemId) -> Vec<Settlement> {
        current(self.settlements_of(item)).filter(|settlement| settlement.result.recheck).collect()
    }

    /// What the results say of one slot. `None` where the plan does not hold it.
    pub(super) fn outcome(&self, item: ItemId, slot: SlotNo) -> Option<RowOutcome> {
        let found = self.items.get(&item)?;
        found.slots.get(usize::from(slot))?;
        let settled = latest(self.settlements_of(item), slot);
        Some(settled.map_or_else(|| self.open_outcome(found.chunk, item, slot), |settled| settled.result.clone()))
    }

    /// What the results say of a slot on which no settlement speaks.
    pub(super) fn open_outcome(&self, chunk: u32, item: ItemId, slot: SlotNo) -> RowOutcome {
        let carrying = || self.carried(item).filter(|(_, slots)| slots.contains(&slot)).map(|(sent, _)| sent);
        let unknown = carrying().any(|sent| !sent.is_not_executed());
        // A refused repeat of a write in doubt: the doubt is what the row hangs on.
        let last = carrying().rfind(|sent| !unknown || !sent.is_not_executed());
        let answer = last.and_then(|sent| sent.answer.as_ref());
        let refusal = last.and_then(|sent| listed(sent, item));
        let text = |text: fn(&super::record::AnswerRecord) -> &String| answer.map(text).cloned().unwrap_or_default();
        RowOutcome {
            outcome: if unknown { Outcome::Unknown } else { Outcome::NotSent },
            code: refusal.map_or_else(|| text(|answer| &answer.code), |refusal| refusal.code.clone()),
            message: match (refusal, last, answer) {
                (Some(refusal), ..) => refusal.message.clone(),
                (None, Some(_), None) => "may have been sent, and no answer is on record".to_owned(),
                _ => text(|answer| &answer.message),
            },
            job_id: text(|answer| &answer.job_id),
            attempts: u32::try_from(carrying().filter(|sent| sent.counts()).count()).unwrap_or(u32::MAX),
            request_id: text(|answer| &answer.request_id),
            part: last.map_or(PartLabel { chunk, part: 0 }, |sent| sent.attempt.part).to_string(),
            finished_at: String::new(),
            evidence: String::new(),
            recheck: false,
        }
    }

    /// Rows of an item without a final word that may have been executed.
    pub(super) fn unknown_rows(&self, item: &Item) -> u64 {
        let settlements = self.settlements_of(item.id);
        let slots = (0..).zip(&item.slots);
        slots
            .filter(|(slot, _)| self.is_unknown(settlements, item.id, *slot))
            .map(|(_, slot)| u64::from(slot.rows))
            .sum()
    }

    fn is_unknown(&self, settlements: &[Settlement], item: ItemId, slot: SlotNo) -> bool {
        match latest(settlements, slot) {
            Some(settlement) => settlement.result.outcome == Outcome::Unknown,
            None => self.carried(item).any(|(sent, slots)| slots.contains(&slot) && !sent.is_not_executed()),
        }
    }
}

/// The refusal of this very desktop in a 200.
fn listed(sent: &Sent, item: ItemId) -> Option<&Refusal> {
    let refused = &sent.answer.as_ref()?.refused;
    refused.iter().find(|(id, _)| *id == item).map(|(_, refusal)| refusal)
}

pub(super) fn no_item(item: ItemId) -> String {
    format!("item {item} is not in the plan")
}

pub(super) fn no_intent(attempt: AttemptId) -> String {
    format!("attempt {attempt} has an answer and no intent")
}

pub(super) fn check_slots(item: &Item, slots: &[SlotNo]) -> Result<(), String> {
    match slots.iter().find(|slot| usize::from(**slot) >= item.slots.len()) {
        Some(slot) => Err(format!("item {} has no slot {slot}", item.id)),
        None => Ok(()),
    }
}

/// The latest settlement that speaks of a slot.
pub(super) fn latest(settlements: &[Settlement], slot: SlotNo) -> Option<&Settlement> {
    settlements.iter().rev().find(|settlement| settlement.slots.contains(&slot))
}

/// Each settlement with the slots of which it is the latest word; those without any are left out.
fn current(settlements: &[Settlement]) -> impl Iterator<Item = Settlement> {
    settlements.iter().enumerate().filter_map(|(n, settlement)| {
        let later = settlements.get(n + 1..).unwrap_or_default();
        let slots: Vec<_> = settlement.slots.iter().copied().filter(|slot| latest(later, *slot).is_none()).collect();
        (!slots.is_empty()).then(|| Settlement { slots, ..settlement.clone() })
    })
}

/// Whether a word that stands asks for a last read.
pub(super) fn wants_recheck(settlements: &[Settlement]) -> bool {
    current(settlements).any(|settlement| settlement.result.recheck)
}
