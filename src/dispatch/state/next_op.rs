//! What the engine asks of it: what to do next, when to wake, whether it is over.

use super::{
    Access, Attempt, DesktopId, Event, Instant, Item, ItemId, LOOK_LASTS, Op, Output, Part, Phase, Record, SlotNo,
    State, StopReason,
};

impl State {
    pub(crate) fn stop_reason(&self) -> Option<&StopReason> {
        self.stop.as_ref()
    }

    /// Whether the reason to stop is that nothing ever got through, and nothing was written: judged at the end, because
    /// other writes were on their way when the reason was found.
    pub(crate) fn is_no_access(&self) -> bool {
        self.link.is_no_access() && self.writes_out == 0
    }

    /// Items whose last read at the end could not be had.
    pub(crate) fn unchecked(&self) -> u64 {
        self.last_look.unchecked
    }

    /// Starts nothing new from now on.
    pub(crate) fn stop(&mut self, reason: StopReason, out: &mut Output) {
        if self.stop.is_none() {
            let why = reason.in_words();
            if reason.is_of_the_service() {
                let mut left: Vec<_> = self.items.values().filter_map(|live| live.unknown(&why)).collect();
                left.sort_unstable_by_key(|record| match record {
                    Record::Settled(settlement) => settlement.item,
                    _ => 0,
                });
                out.records.extend(left);
            }
            out.events.push(Event::Stopping { why });
            self.stop = Some(reason);
        }
    }

    pub(crate) fn is_finished(&self) -> bool {
        if self.writes_out > 0 {
            return false;
        }
        self.stop.is_some() || (self.is_quiet() && self.last_look.is_done())
    }

    /// Whether nothing is left to send, to follow or to read, the last reads apart.
    pub(super) fn is_quiet(&self) -> bool {
        self.writes_out == 0
            && self.parts.is_idle(u32::MAX)
            && self.items.len() == self.parked + self.parts.items_aside()
    }

    /// Whether anything is left that costs the service a request.
    pub(crate) fn has_work(&self) -> bool {
        !self.is_quiet() || self.last_look.has_reads()
    }

    /// When something becomes due without anything happening; `None` where only what is under way can bring more.
    ///
    /// * `now`: the instant at which [`State::next_op`] said `None`; at a later one something due is lost from sight.
    pub(crate) fn wake_at(&self, now: Instant) -> Option<Instant> {
        if self.stop.is_some() || self.link.is_renewing() {
            return None;
        }
        // What is due already waits for a place, and something under way will free one.
        let due = [self.reads.wakes_at(), self.parts.wakes_at(), self.jobs.wakes_at()];
        due.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Which credentials are in use, counted by renewals.
    pub(crate) fn generation(&self) -> u32 {
        self.link.generation()
    }

    /// Rises whenever what waits at the gates must not go out any more: it is withdrawn, and comes again.
    pub(crate) fn epoch(&self) -> u32 {
        self.link.epoch
    }

    /// The next thing to do, if any; asked until it says `None`.
    pub(crate) fn next_op(&mut self, now: Instant) -> Option<Op> {
        if self.stop.is_some() {
            return None;
        }
        if self.link.is_renewing() {
            return self.link.ask_renewal(self.reads.out + self.writes_out).then_some(Op::Renew);
        }
        if self.may_read()
            && let Some(op) = self.next_read(now)
        {
            return Some(op);
        }
        if let Some(op) = self.next_load() {
            return Some(op);
        }
        let free = match self.link.access {
            Access::Proved => self.writes_out < self.rules.concurrency,
            Access::Unproved => self.reads.out + self.writes_out == 0,
        };
        if free {
            if let Some(op) = self.next_write(now) {
                return Some(op);
            }
            // Parts that had to wait aside made room for the next chunk, and nothing else would wake us for it,
            if let Some(op) = self.next_load() {
                return Some(op);
            }
            // nor for what had to be looked at before it is sent, and is due to be read now.
            if self.may_read()
                && let Some(op) = self.next_read(now)
            {
                return Some(op);
            }
        }
        let is_over = self.is_quiet() && self.brakes.last_chunk() == u32::MAX;
        (is_over && self.last_look.ask()).then_some(Op::LoadRechecks)
    }

    /// Whether one more read may be under way.
    fn may_read(&self) -> bool {
        match self.link.access {
            Access::Proved => self.reads.out < self.rules.concurrency,
            Access::Unproved => self.reads.out + self.writes_out == 0,
        }
    }

    /// Loads the next chunks, as many as there is room for: while the canary is out, of its own alone.
    fn next_load(&mut self) -> Option<Op> {
        self.parts.load(self.rules.concurrency, self.brakes.last_chunk()).map(Op::Load)
    }

    pub(super) fn next_read(&mut self, now: Instant) -> Option<Op> {
        while let Some(id) = self.reads.next_single() {
            if let Some(desktop) = self.desktop_of(id) {
                self.reads.out += 1;
                return Some(Op::Show { item: id, desktop, generation: self.link.generation() });
            }
        }
        if self.reads.ask_turn(now) {
            self.reads.out += 1;
            return Some(Op::ReadTurn);
        }
        let job_id = self.jobs.ask(now)?;
        self.reads.out += 1;
        Some(Op::Job { job_id, generation: self.link.generation() })
    }

    pub(super) fn desktop_of(&self, id: ItemId) -> Option<DesktopId> {
        let item = self.last_look.item(id).or_else(|| self.items.get(&id).map(|live| &live.item));
        item.map(|item| item.desktop.clone())
    }

    /// The turn of a read has come: what is due now; empty where nothing is any more.
    pub(crate) fn read_turn(&mut self, now: Instant) -> (Vec<(ItemId, DesktopId)>, u32) {
        self.reads.end_turn();
        let paused = self.stop.is_some() || self.link.is_renewing();
        let due = if paused { Vec::new() } else { self.reads.take_due(now) };
        let batch: Vec<_> = due.into_iter().filter_map(|id| Some((id, self.desktop_of(id)?))).collect();
        if batch.is_empty() {
            self.reads.out -= 1;
        }
        (batch, self.link.generation())
    }

    pub(super) fn next_write(&mut self, now: Instant) -> Option<Op> {
        loop {
            let items = &self.items;
            let queued = |id| {
                let live = items.get(&id).filter(|live| matches!(live.phase, Phase::Queued))?;
                Some(&live.item.desktop)
            };
            let given_up = |id| items.get(&id).is_some_and(|live| matches!(live.phase, Phase::Parked));
            let mut part = self.parts.next(now, queued, given_up)?;
            if part.look || part.is_stale(now, LOOK_LASTS) {
                self.look(part.items, now);
                continue;
            }
            if part.repeat {
                if let Err(wait) = self.budget.take(now) {
                    self.parts.put_off(part, now + wait);
                    continue;
                }
                // Paid for: a 429 or a failed connection must not cost it again.
                part.repeat = false;
            }
            return Some(self.write(part));
        }
    }

    pub(super) fn write(&mut self, part: Part) -> Op {
        let mut carries = Vec::with_capacity(part.items.len());
        let mut desktops = Vec::with_capacity(part.items.len());
        let mut users = 0;
        for id in &part.items {
            if let Some(live) = self.items.get_mut(id) {
                live.phase = Phase::Sending;
                live.label = part.label;
                self.parts.hold(&live.item.desktop, *id);
                users += live.open.len();
                carries.push((*id, live.open.clone()));
                desktops.push((*id, live.item.desktop.clone()));
            }
        }
        self.writes_out += 1;
        let attempt = Attempt {
            id: self.next_attempt,
            part: part.label,
            carries,
            body_sha256: String::new(),
            body_bytes: 0,
            at: String::new(),
        };
        self.next_attempt += 1;
        Op::Write { part, attempt, desktops, users, generation: self.link.generation() }
    }

    /// The items of a write, for its body.
    pub(crate) fn items_of(&self, attempt: &Attempt) -> Vec<(&Item, Vec<SlotNo>)> {
        let one = |(id, slots): &(ItemId, Vec<SlotNo>)| Some((&self.items.get(id)?.item, slots.clone()));
        attempt.carries.iter().filter_map(one).collect()
    }

    pub(super) fn requeue(&mut self, part: Part) {
        for id in &part.items {
            if let Some(live) = self.items.get_mut(id) {
                live.phase = Phase::Queued;
            }
        }
        self.parts.push_first(part);
    }
}
