//! Where an item begins: loaded from the journal, taken up from an earlier process, looked at first.

use std::time::Duration;

use super::{
    AnswerKind, Class, Instant, ItemId, LastAttempt, Live, OpenItem, Output, Part, PartLabel, Phase, SlotNo, State,
    Watch,
};

impl State {
    pub(super) fn live(&self, open: OpenItem, now: Instant) -> Live {
        let chunk = open.item.chunk;
        let (label, request_id, job_id, refusal) = open.last.as_ref().map_or_else(
            || (PartLabel { chunk, part: 0 }, String::new(), String::new(), None),
            |last| (last.part, last.request_id.clone(), last.job_id.clone(), last.refusal.clone()),
        );
        let slots = 0..SlotNo::try_from(open.item.slots.len()).unwrap_or(SlotNo::MAX);
        Live {
            open: slots.filter(|slot| !open.settled.contains(slot)).collect(),
            label,
            carried: open.attempts,
            // Where nobody ever answered a resume tries once more, for all that an earlier process tried.
            tries: if open.ever_answered { open.executed } else { open.executed.min(self.rules.max_tries - 1) },
            ever_doubt: open.ever_doubt,
            seen_bound: open.seen_bound,
            refusal,
            stuck: false,
            unspoken: false,
            answered: open.ever_answered,
            said: None,
            unread: None,
            request_id,
            job_id,
            phase: Phase::Queued,
            busy_rounds: 0,
            busy_since: None,
            deadline: now + self.rules.waits.read_back_deadline,
            overtime: 0,
            waited: Duration::ZERO,
            item: open.item,
        }
    }

    /// Takes up an item that an earlier process had sent, or may have sent.
    pub(super) fn take_up(&mut self, open: OpenItem, now: Instant, out: &mut Output) {
        let id = open.item.id;
        let Some(last) = open.last.clone() else { return };
        let live = self.live(open, now);
        self.parts.take_label(last.part);
        self.parts.hold(&live.item.desktop, id);
        self.items.insert(id, live);
        let LastAttempt { kind, job_id, job_done, refusal, .. } = last;
        if kind == Some(AnswerKind::Answered) {
            let in_job = !job_id.is_empty() && !job_done && refusal.is_none();
            if in_job { self.follow(job_id, vec![id], now) } else { self.answered(id, refusal, now, now, out) }
        } else {
            // Sent, or possibly sent. How long ago is the wall clock's word, which may have jumped: wait in full.
            self.doubt(id, now);
        }
    }

    pub(super) fn loaded(&mut self, chunk: u32, opened: Vec<OpenItem>, now: Instant) {
        let (mut plain, mut look) = (Vec::new(), Vec::new());
        // All of a chunk waits for the look at its `ALL` desktops, so that it goes out as it was planned.
        let has_all = opened.iter().any(|open| open.item.all);
        for open in opened {
            let id = open.item.id;
            if self.items.contains_key(&id) {
                continue; // in flight since the start
            }
            let live = self.live(open, now);
            // What an earlier process planned is read again, and an `ALL` is always looked at right before.
            if has_all || (self.resumed && self.rules.preflight) {
                look.push(id);
            } else {
                plain.push(id);
            }
            self.items.insert(id, live);
        }
        let label = PartLabel { chunk, part: 0 };
        if !plain.is_empty() {
            self.parts.push(Part::new(label, plain));
        }
        self.look(look, now);
    }

    pub(super) fn look(&mut self, ids: Vec<ItemId>, now: Instant) {
        let want_bound = self.rules.class == Class::BatchAttach;
        for id in ids {
            let Some(live) = self.items.get_mut(&id) else { continue };
            // Another item of this desktop may be open; looking now would see its state, not ours.
            if self.parts.holder(&live.item.desktop).is_some_and(|holder| holder != id) {
                live.phase = Phase::Queued;
                let part = Part { look: true, ..Part::new(live.label, vec![id]) };
                self.parts.set_aside(live.item.desktop.clone(), part);
                continue;
            }
            live.phase = Phase::Looking(Watch::new(&live.open, now, self.rules.waits.settle_time, want_bound));
            live.deadline = now + self.rules.waits.read_back_deadline;
            live.overtime = 0;
            self.parts.hold(&live.item.desktop, id);
            self.reads.schedule(id, now);
        }
    }

    /// The first looks that a read gave: where most came too early, the service takes longer, and later ones wait longer.
    pub(super) fn learn_first_look(&mut self, asked: &[ItemId]) {
        let (mut looks, mut early) = (0_usize, 0_usize);
        for live in asked.iter().filter_map(|id| self.items.get(id)) {
            // Others are looked at once they are due anyhow, or waited less than is waited by now.
            let counts = live.refusal.is_none() && !live.ever_doubt && live.waited >= self.reads.first_look();
            if let Phase::Watching(watch) = &live.phase
                && counts
                && watch.is_first_look()
            {
                looks += 1;
                early += usize::from(!watch.is_half_proved());
            }
        }
        self.reads.learn(looks, early);
    }
}
