//! What the engine asks of it: what to do next, when to wake, whether it is over.

use super::{
    Access, Attempt, Canary, DesktopId, Event, Instant, Item, ItemId, LOOK_LASTS, Later, MAX_ASIDE, MAX_IDS_PER_READ,
    MAX_LOADED_AT_ONCE, MAX_READY, Op, Output, Part, Phase, Reverse, SlotNo, State, StopReason,
};

impl State {
    pub fn stop_reason(&self) -> Option<&StopReason> {
        self.stop.as_ref()
    }

    /// Whether the reason to stop is that nothing ever got through, and nothing was written: judged at the end, because
    /// other writes were on their way when the reason was found.
    pub fn is_no_access(&self) -> bool {
        self.no_access && !self.wrote_any() && !self.doubted && self.writes_out == 0
    }

    /// Items whose last read at the end could not be had.
    pub fn unchecked(&self) -> u64 {
        self.unchecked
    }

    /// Starts nothing new from now on.
    pub fn stop(&mut self, reason: StopReason, out: &mut Output) {
        if self.stop.is_none() {
            out.events.push(Event::Stopping { why: reason.in_words() });
            self.stop = Some(reason);
        }
    }

    pub fn is_finished(&self) -> bool {
        if self.writes_out > 0 {
            return false;
        }
        self.stop.is_some() || (self.is_quiet() && self.rechecks_loaded == Some(true) && self.rechecks.is_empty())
    }

    /// Whether nothing is left to send, to follow or to read, the last reads apart.
    pub(super) fn is_quiet(&self) -> bool {
        self.todo.is_empty()
            && !self.loading
            && self.writes_out == 0
            && self.ready.is_empty()
            && self.waiting.is_empty()
            && self.items.len() == self.parked + self.aside_items
    }

    /// When something becomes due without anything happening; `None` where only what is under way can bring more.
    ///
    /// * `now`: the instant at which [`State::next_op`] said `None`; at a later one something due is lost from sight.
    pub fn wake_at(&self, now: Instant) -> Option<Instant> {
        if self.stop.is_some() || self.access == Access::Renewing {
            return None;
        }
        let reads = self.due.first().map(|(at, _)| *at).filter(|_| !self.turn_asked);
        let later = self.later.peek().map(|Later(Reverse((at, _)), _)| *at);
        let jobs = self.jobs.values().filter(|job| !job.asked).map(|job| job.due).min();
        // What is due already waits for a place, and something under way will free one.
        [reads, later, jobs].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Which credentials are in use, counted by renewals.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Rises whenever what waits at the gates must not go out any more: it is withdrawn, and comes again.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The next thing to do, if any; asked until it says `None`.
    pub fn next_op(&mut self, now: Instant) -> Option<Op> {
        if self.stop.is_some() {
            return None;
        }
        if self.access == Access::Renewing {
            let first = !self.renew_asked && self.reads_out + self.writes_out == 0;
            self.renew_asked |= first;
            return first.then_some(Op::Renew);
        }
        if self.may_read()
            && let Some(op) = self.next_read(now)
        {
            return Some(op);
        }
        if let Some(op) = self.next_load() {
            return Some(op);
        }
        let free = match self.access {
            Access::Proved => self.writes_out < self.rules.concurrency,
            _ => self.reads_out + self.writes_out == 0,
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
        if self.rechecks_loaded.is_none() && self.is_quiet() && self.canary_is_clear() {
            self.rechecks_loaded = Some(false);
            return Some(Op::LoadRechecks);
        }
        None
    }

    /// Whether one more read may be under way.
    fn may_read(&self) -> bool {
        match self.access {
            Access::Proved => self.reads_out < self.rules.concurrency,
            _ => self.reads_out + self.writes_out == 0,
        }
    }

    pub(super) fn canary_is_clear(&self) -> bool {
        !matches!(self.canary, Canary::Pending { .. })
    }

    /// Loads the next chunks, as many as there is room for.
    fn next_load(&mut self) -> Option<Op> {
        let wanted = (2 * self.rules.concurrency).min(MAX_READY);
        let room = wanted.saturating_sub(self.ready.len()).min(MAX_LOADED_AT_ONCE);
        if self.loading || self.aside.len() >= MAX_ASIDE {
            return None;
        }
        let chunks: Vec<u32> = std::iter::from_fn(|| self.next_chunk()).take(room).collect();
        if chunks.is_empty() {
            return None;
        }
        self.loading = true;
        Some(Op::Load(chunks))
    }

    /// The next chunk to load: while the canary is out, of its own alone.
    fn next_chunk(&mut self) -> Option<u32> {
        let may = self.canary_is_clear() || self.canary_has_more();
        if may { self.todo.pop_front() } else { None }
    }

    pub(super) fn canary_has_more(&self) -> bool {
        self.todo.front().is_some_and(|chunk| *chunk <= self.rules.canary_chunks)
    }

    pub(super) fn next_read(&mut self, now: Instant) -> Option<Op> {
        while let Some(id) = self.shows.pop_front() {
            if let Some(desktop) = self.desktop_of(id) {
                self.reads_out += 1;
                return Some(Op::Show { item: id, desktop, generation: self.generation });
            }
        }
        if !self.turn_asked && self.due.first().is_some_and(|(at, _)| *at <= now) {
            self.turn_asked = true;
            self.reads_out += 1;
            return Some(Op::ReadTurn);
        }
        let job_id = self.jobs.iter().find(|(_, job)| !job.asked && job.due <= now).map(|(id, _)| id.clone())?;
        if let Some(job) = self.jobs.get_mut(&job_id) {
            job.asked = true;
        }
        self.reads_out += 1;
        Some(Op::Job { job_id, generation: self.generation })
    }

    pub(super) fn desktop_of(&self, id: ItemId) -> Option<DesktopId> {
        let recheck = self.rechecks.get(&id).map(|recheck| &recheck.item);
        recheck.or_else(|| self.items.get(&id).map(|live| &live.item)).map(|item| item.desktop.clone())
    }

    /// The turn of a read has come: what is due now, at most [`MAX_IDS_PER_READ`]; empty where nothing is any more.
    pub fn read_turn(&mut self, now: Instant) -> (Vec<(ItemId, DesktopId)>, u32) {
        self.turn_asked = false;
        let mut batch = Vec::new();
        let paused = self.stop.is_some() || self.access == Access::Renewing;
        while let Some((at, id)) = self.due.first().copied() {
            if paused || at > now || batch.len() == MAX_IDS_PER_READ {
                break;
            }
            self.due.pop_first();
            if let Some(recheck) = self.rechecks.get_mut(&id) {
                recheck.due = None;
            } else if let Some(live) = self.items.get_mut(&id) {
                live.due = None;
            }
            if let Some(desktop) = self.desktop_of(id) {
                batch.push((id, desktop));
            }
        }
        if batch.is_empty() {
            self.reads_out -= 1;
        }
        (batch, self.generation)
    }

    pub(super) fn next_write(&mut self, now: Instant) -> Option<Op> {
        while let Some(Later(Reverse((at, _)), number)) = self.later.peek() {
            if *at > now {
                break;
            }
            let number = *number;
            self.later.pop();
            if let Some(part) = self.waiting.remove(&number) {
                self.ready.push_front(part);
            }
        }
        while let Some(mut part) = self.ready.pop_front() {
            part.items.retain(|id| self.items.get(id).is_some_and(|live| matches!(live.phase, Phase::Queued)));
            if part.items.is_empty() {
                continue;
            }
            if let Some(desktop) = self.blocked(&part) {
                self.aside_items += part.items.len();
                self.aside.entry(desktop).or_default().push(part);
                continue;
            }
            if part.look || part.is_stale(now, LOOK_LASTS) {
                self.look(part.items, now);
                continue;
            }
            if part.repeat {
                if let Err(wait) = self.budget.take(now) {
                    self.put_off(part, now + wait);
                    continue;
                }
                // Paid for: a 429 or a failed connection must not cost it again.
                part.repeat = false;
            }
            return Some(self.write(part));
        }
        None
    }

    pub(super) fn blocked(&self, part: &Part) -> Option<DesktopId> {
        part.items.iter().find_map(|id| {
            let desktop = &self.items.get(id)?.item.desktop;
            self.holders.get(desktop).filter(|holder| *holder != id).map(|_| desktop.clone())
        })
    }

    pub(super) fn write(&mut self, part: Part) -> Op {
        let mut carries = Vec::with_capacity(part.items.len());
        let mut desktops = Vec::with_capacity(part.items.len());
        let mut users = 0;
        for id in &part.items {
            if let Some(live) = self.items.get_mut(id) {
                live.phase = Phase::Sending;
                live.label = part.label;
                self.holders.insert(live.item.desktop.clone(), *id);
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
        Op::Write { part, attempt, desktops, users, generation: self.generation }
    }

    /// The items of a write, for its body.
    pub fn items_of(&self, attempt: &Attempt) -> Vec<(&Item, Vec<SlotNo>)> {
        let one = |(id, slots): &(ItemId, Vec<SlotNo>)| Some((&self.items.get(id)?.item, slots.clone()));
        attempt.carries.iter().filter_map(one).collect()
    }

    pub(super) fn put_off(&mut self, part: Part, until: Instant) {
        self.serial += 1;
        self.later.push(Later(Reverse((until, self.serial)), self.serial));
        self.waiting.insert(self.serial, part);
    }

    pub(super) fn requeue(&mut self, part: Part) {
        for id in &part.items {
            if let Some(live) = self.items.get_mut(id) {
                live.phase = Phase::Queued;
            }
        }
        self.ready.push_front(part);
    }
}
