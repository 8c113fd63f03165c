//! The final word on a row, the brakes that hear of it, and the last read of what was ever in doubt.

use super::{
    AnswerKind, Event, Instant, Item, ItemId, Kind, Live, Outcome, Output, Phase, Record, RowOutcome, Ruling, Seen,
    Settlement, SlotNo, State, StopReason, Verdict, timestamp_now,
};

impl State {
    pub(super) fn settle(&mut self, id: ItemId, ruling: Ruling, out: &mut Output) {
        if ruling.slots().is_empty() {
            return;
        }
        let Some(live) = self.items.get_mut(&id) else { return };
        live.open.retain(|slot| !ruling.slots().contains(slot));
        let outcome = ruling.outcome();
        let rows: u64 = ruling.slots().iter().map(|slot| rows_of(&live.item, *slot)).sum();
        let rest = RowOutcome {
            job_id: live.job_id.clone(),
            attempts: live.carried,
            request_id: live.request_id.clone(),
            part: live.label.to_string(),
            finished_at: self.settled_at.get_or_insert_with(timestamp_now).clone(),
            recheck: live.ever_doubt,
            ..RowOutcome::new(outcome, String::new(), String::new())
        };
        out.records.push(Record::Settled(ruling.settlement(&live.item, rest)));
        out.events.push(Event::Settled { outcome, rows });
        let is_closed = live.open.is_empty();
        if is_closed {
            self.close(id);
        }
        if let Some(reason) = self.brakes.settled(outcome, rows) {
            self.stop(reason, out);
        }
    }

    /// Every slot has its word: the desktop is free for the next part that waits for it.
    pub(super) fn close(&mut self, id: ItemId) {
        let Some(live) = self.items.remove(&id) else { return };
        if matches!(live.phase, Phase::Parked) {
            self.parked -= 1;
        }
        self.reads.cancel(id);
        self.parts.release(&live.item.desktop, id);
    }

    /// The canary is judged once all of it has come to its end.
    pub(super) fn judge_canary(&mut self, out: &mut Output) {
        let at_rest = self.writes_out == 0 && self.parts.is_idle(self.rules.canary_chunks);
        if self.stop.is_some() || !at_rest || self.items.len() > self.parked + self.parts.items_aside() {
            return;
        }
        let Some(passed) = self.brakes.judge_canary() else { return };
        out.records.push(Record::Canary { passed });
        if !passed {
            let why = "the canary failed: not every row of its desktops was verified; nothing else was sent".to_owned();
            self.stop(StopReason::Canary(why), out);
        }
    }

    pub(super) fn begin_rechecks(&mut self, list: Vec<(Item, Vec<Settlement>)>, now: Instant, out: &mut Output) {
        if !list.is_empty() {
            out.events.push(Event::Rechecking { open: list.len() as u64 });
        }
        for (item, _) in &list {
            self.reads.schedule(item.id, now);
        }
        self.last_look.begin(list, now + self.rules.waits.read_back_deadline);
    }

    /// What one of the last reads leads to.
    pub(super) fn rechecked(&mut self, id: ItemId, seen: Seen, now: Instant, out: &mut Output) {
        match seen {
            Seen::Again(at) if self.last_look.give_up(id, now) => _ = at,
            Seen::Again(at) => self.reads.schedule(id, at),
            Seen::Checked(corrected) => {
                for (settlement, from, rows) in corrected {
                    out.events.push(Event::Amended { from, to: settlement.result.outcome, rows });
                    out.records.push(Record::Settled(settlement));
                }
                out.records.push(Record::Rechecked { item: id });
            }
        }
    }
}

impl Live {
    /// Whether a slot was bound when the run came to it, or may have been: without a preflight nobody looked.
    pub(super) fn was_bound(&self, slot: SlotNo, preflight: bool) -> bool {
        !preflight
            || self.seen_bound.contains(&slot)
            || self.item.slots.get(usize::from(slot)).is_some_and(|one| one.seen || one.kind == Kind::All)
    }

    /// Why nobody knows what became of its open rows, where a write of them may have been done: no final word, but one that
    /// the results show until there is.
    pub(super) fn unknown(&self, why: &str) -> Option<Record> {
        let (code, said) = match &self.said {
            Some(said) => (said.code.clone(), format!("{}; ", said.message)),
            None => ("NOT_READ".to_owned(), String::new()),
        };
        let message = format!("{said}what became of it could not be read: {why}");
        let result = RowOutcome {
            outcome: Outcome::Unknown,
            code,
            message: crate::text::escape_untrusted(&message, crate::api::fault::MAX_TEXT),
            job_id: self.job_id.clone(),
            attempts: self.carried,
            request_id: self.request_id.clone(),
            part: self.label.to_string(),
            finished_at: String::new(),
            evidence: String::new(),
            recheck: false,
        };
        let is_sent = self.tries > 0 && !self.open.is_empty();
        is_sent.then(|| Record::Settled(Settlement { item: self.item.id, slots: self.open.clone(), result }))
    }
}

pub(super) fn rows_of(item: &Item, slot: SlotNo) -> u64 {
    item.slots.get(usize::from(slot)).map_or(0, |slot| u64::from(slot.rows))
}

/// How the journal files a verdict, and the code that goes with it.
pub(crate) fn kind_of(verdict: &Verdict) -> (AnswerKind, String) {
    match verdict {
        Verdict::Taken { .. } => (AnswerKind::Answered, String::new()),
        Verdict::Doubt { cause } => (AnswerKind::Doubt, cause.code.clone()),
        Verdict::NotSent { .. } => (AnswerKind::NotSent, "NO_CONNECTION".to_owned()),
        Verdict::Throttled { cause, .. } => (AnswerKind::Throttled, cause.code.clone()),
        Verdict::Later { cause }
        | Verdict::Unauthorized { cause }
        | Verdict::Busy { cause }
        | Verdict::Divide { cause }
        | Verdict::Forbidden { cause }
        | Verdict::Halt { cause, .. } => (AnswerKind::Refused, cause.code.clone()),
    }
}
