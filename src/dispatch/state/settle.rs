//! The final word on a row, the brakes that hear of it, and the last read of what was ever in doubt.

use super::{
    AnswerKind, Canary, Class, Event, Instant, Item, ItemId, Kind, Live, Outcome, Output, Phase, Proof, ReadSpan,
    Recheck, Record, Refusal, RowOutcome, STOP_AT_FROM, Settlement, Sight, SlotNo, State, StopReason, Verdict, Watch,
    timestamp_now,
};

impl State {
    pub(super) fn settle(
        &mut self,
        id: ItemId,
        slots: &[SlotNo],
        outcome: Outcome,
        refusal: Option<&Refusal>,
        evidence: &str,
        out: &mut Output,
    ) {
        if slots.is_empty() {
            return;
        }
        let Some(live) = self.items.get_mut(&id) else { return };
        live.open.retain(|slot| !slots.contains(slot));
        let rows: u64 = slots.iter().map(|slot| rows_of(&live.item, *slot)).sum();
        let refusal = refusal.filter(|_| outcome == Outcome::Failed);
        let result = RowOutcome {
            outcome,
            code: refusal.map(|refusal| refusal.code.clone()).unwrap_or_default(),
            message: refusal.map(|refusal| refusal.message.clone()).unwrap_or_default(),
            job_id: live.job_id.clone(),
            attempts: live.carried,
            request_id: live.request_id.clone(),
            part: live.label.to_string(),
            finished_at: self.settled_at.get_or_insert_with(timestamp_now).clone(),
            evidence: evidence.to_owned(),
            recheck: live.ever_doubt,
        };
        out.records.push(Record::Settled(Settlement { item: id, slots: slots.to_vec(), result }));
        out.events.push(Event::Settled { outcome, rows });
        self.settled_rows += rows;
        self.failed_rows += if outcome == Outcome::Failed { rows } else { 0 };
        if !outcome.is_success()
            && let Canary::Pending { bad } = &mut self.canary
        {
            *bad = true;
        }
        if live.open.is_empty() {
            self.close(id);
        }
        self.judge_brake(out);
    }

    /// Every slot has its word: the desktop is free for the next part that waits for it.
    pub(super) fn close(&mut self, id: ItemId) {
        let Some(live) = self.items.remove(&id) else { return };
        if matches!(live.phase, Phase::Parked) {
            self.parked -= 1;
        }
        if let Some(at) = live.due {
            self.due.remove(&(at, id));
        }
        if self.holders.get(&live.item.desktop) == Some(&id) {
            self.holders.remove(&live.item.desktop);
            for part in self.aside.remove(&live.item.desktop).unwrap_or_default() {
                self.aside_items -= part.items.len();
                self.ready.push_back(part);
            }
        }
    }

    pub(super) fn judge_brake(&mut self, out: &mut Output) {
        let Some(limit) = self.rules.stop_at else { return };
        if self.settled_rows >= STOP_AT_FROM && limit.is_exceeded_by(self.failed_rows, self.settled_rows) {
            let why = format!(
                "the brake --stop-at {limit} stopped the run: {} of the {} rows settled since this start failed",
                self.failed_rows, self.settled_rows
            );
            self.stop(StopReason::Brake(why), out);
        }
    }

    pub(super) fn judge_canary(&mut self, out: &mut Output) {
        let Canary::Pending { bad } = self.canary else { return };
        let all_loaded = !self.canary_has_more() && !self.loading;
        let at_rest = self.writes_out == 0 && self.ready.is_empty() && self.waiting.is_empty();
        if self.stop.is_some() || !all_loaded || !at_rest || self.items.len() > self.parked + self.aside_items {
            return;
        }
        out.records.push(Record::Canary { passed: !bad });
        if bad {
            let why = "the canary failed: not every row of its desktops was verified; nothing else was sent".to_owned();
            self.stop(StopReason::Canary(why), out);
        } else {
            self.canary = Canary::Passed;
        }
    }

    pub(super) fn begin_rechecks(&mut self, list: Vec<(Item, Vec<Settlement>)>, now: Instant, out: &mut Output) {
        self.rechecks_loaded = Some(true);
        if !list.is_empty() {
            out.events.push(Event::Rechecking { open: list.len() as u64 });
        }
        let deadline = now + self.rules.read_back_deadline;
        for (item, settled) in list {
            let id = item.id;
            self.rechecks.insert(id, Recheck { item, settled, watch: None, deadline, due: None });
            self.read_at(id, now);
        }
    }

    /// The last read of what was ever in doubt: where it differs from the outcome, two more decide.
    pub(super) fn recheck(&mut self, id: ItemId, sight: Sight<'_>, span: ReadSpan, now: Instant, out: &mut Output) {
        let want_bound = self.rules.class == Class::BatchAttach;
        let (apart, poll) = (self.rules.settle_time, self.rules.poll_interval);
        let success = self.success();
        let Some(recheck) = self.rechecks.get_mut(&id) else { return };
        let slots: Vec<SlotNo> = recheck.settled.iter().flat_map(|one| one.slots.iter().copied()).collect();
        let Some(watch) = &mut recheck.watch else {
            // Seen once: does any slot look otherwise than its outcome says?
            let differs = match sight {
                Sight::Nowhere => false,
                Sight::Shown(desktop) => match desktop.good() {
                    None => return self.again_or_park(id, now + poll, now, out),
                    Some(bound) => recheck.settled.iter().any(|one| {
                        one.slots.iter().any(|slot| {
                            let is_bound = recheck
                                .item
                                .slots
                                .get(usize::from(*slot))
                                .is_some_and(|slot| crate::reconcile::judge::holds(slot, bound));
                            (is_bound == want_bound) != one.result.outcome.is_success()
                        })
                    }),
                },
            };
            if differs {
                recheck.watch = Some(Watch::new(&slots, now, apart, want_bound));
                return self.read_at(id, now + apart);
            }
            self.rechecks.remove(&id);
            return out.records.push(Record::Rechecked { item: id });
        };
        let proofs = watch.see(&recheck.item, sight, span);
        if proofs.iter().any(|(_, proof)| *proof == Proof::Open) {
            let at = if watch.is_half_proved() { span.ended + apart } else { now + poll };
            return self.again_or_park(id, at, now, out);
        }
        let Some(Recheck { item, settled, .. }) = self.rechecks.remove(&id) else { return };
        for one in settled {
            for slot in &one.slots {
                let Some((_, proof)) = proofs.iter().find(|(number, _)| number == slot) else { continue };
                let as_wanted = match proof {
                    Proof::Bound => want_bound,
                    Proof::Absent | Proof::Gone | Proof::Open => !want_bound,
                };
                if as_wanted == one.result.outcome.is_success() {
                    continue;
                }
                let rows = rows_of(&item, *slot);
                let (outcome, code, message) = if as_wanted {
                    (success, String::new(), String::new())
                } else {
                    let message = if want_bound {
                        "it was bound, and is gone again at the end of the run"
                    } else {
                        "it was gone, and is bound again at the end of the run"
                    };
                    let message = message.to_owned();
                    (Outcome::Failed, if want_bound { "NOT_BOUND" } else { "STILL_BOUND" }.to_owned(), message)
                };
                out.events.push(Event::Amended { from: one.result.outcome, to: outcome, rows });
                let result = RowOutcome {
                    outcome,
                    code,
                    message,
                    finished_at: timestamp_now(),
                    evidence: "the last read of the run, and two more".to_owned(),
                    recheck: false,
                    ..one.result.clone()
                };
                out.records.push(Record::Settled(Settlement { item: id, slots: vec![*slot], result }));
            }
        }
        out.records.push(Record::Rechecked { item: id });
    }
}

/// Slots that were bound when the run came to them, and slots that never were seen so.
pub(super) fn split_seen(
    live: &Live,
    slots: &[SlotNo],
    preflight: bool,
    want_bound: bool,
) -> (Vec<SlotNo>, Vec<SlotNo>) {
    slots.iter().partition(|slot| {
        want_bound
            || !preflight
            || live.seen_bound.contains(slot)
            || live.item.slots.get(usize::from(**slot)).is_some_and(|one| one.seen || one.kind == Kind::All)
    })
}

pub(super) fn rows_of(item: &Item, slot: SlotNo) -> u64 {
    item.slots.get(usize::from(slot)).map_or(0, |slot| u64::from(slot.rows))
}

/// How the journal files a verdict, and the code that goes with it.
pub fn kind_of(verdict: &Verdict) -> (AnswerKind, String) {
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
