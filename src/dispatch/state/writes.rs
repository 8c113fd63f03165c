//! What follows from the answer to a write: accepted, refused, divided, busy, in doubt.

use std::time::Duration;

use super::{
    Class, Event, FORBIDDEN_LIMIT, Instant, ItemId, Live, Look, MAX_BUSY_WAIT, Output, Part, Phase, Refusal, Ruling,
    SlotNo, State, StopReason, Triage, Verdict, Watch, backoff, is_passing,
};

impl State {
    pub(super) fn wrote_part(
        &mut self,
        mut part: Part,
        verdict: Verdict,
        (began, ended): (Instant, Instant),
        generation: u32,
        now: Instant,
        out: &mut Output,
    ) {
        if verdict.is_answer() && !matches!(verdict, Verdict::Unauthorized { .. }) {
            self.link.prove(generation);
        }
        if !matches!(verdict, Verdict::NotSent { .. }) {
            part.failures = 0;
        }
        match verdict {
            Verdict::Taken { refused, job_id, success_jobs } => {
                self.link.taken = true;
                self.brakes.taken();
                self.taken(&part, &refused, &job_id, &success_jobs, ended, out);
            }
            Verdict::Doubt { cause } => {
                self.link.doubted();
                for id in part.items {
                    if let Some(live) = self.items.get_mut(&id) {
                        live.tries += 1;
                        live.ever_doubt = true;
                        live.refusal = None;
                        live.said = Some(cause.clone());
                        tracing::debug!(desktop = %live.item.desktop, code = %cause.code, "the write is in doubt");
                    }
                    self.doubt(id, began);
                }
            }
            Verdict::NotSent { cause } => {
                let wait = backoff(part.failures, self.rules.waits.retry_base, self.random.f64());
                part.failures += 1;
                out.events.push(Event::Waiting { why: format!("no connection: {cause}"), wait });
                self.back_later(part, now + wait);
            }
            Verdict::Throttled { .. } => self.requeue(part), // its gate is closed by now
            Verdict::Later { .. } => {
                let wait = backoff(part.failures, self.rules.waits.retry_base, self.random.f64());
                part.failures += 1;
                self.back_later(part, now + wait);
            }
            Verdict::Unauthorized { cause } => {
                self.requeue(part);
                self.unauthorized(generation, &cause, out);
            }
            Verdict::Busy { cause } => self.triage(part, cause, now),
            Verdict::Divide { cause } => self.divide(part, cause, now, out),
            Verdict::Forbidden { cause } => {
                if self.brakes.forbidden() {
                    self.link.shut();
                    let why = format!(
                        "the service forbids it, {FORBIDDEN_LIMIT} times in a row ({}: {}); the action needed is {}",
                        cause.code,
                        cause.message,
                        crate::api::explain::action(self.rules.class)
                    );
                    self.requeue(part);
                    return self.stop(StopReason::Credentials(why), out);
                }
                self.divide(part, cause, now, out);
            }
            Verdict::Halt { why, .. } => {
                self.link.shut();
                self.requeue(part);
                self.stop(StopReason::Endpoint(why), out);
            }
        }
    }

    pub(super) fn back_later(&mut self, part: Part, at: Instant) {
        for id in &part.items {
            if let Some(live) = self.items.get_mut(id) {
                live.phase = Phase::Queued;
            }
        }
        self.parts.put_off(part, at);
    }

    pub(super) fn taken(
        &mut self,
        part: &Part,
        refused: &[(String, Refusal)],
        job_id: &str,
        success_jobs: &[String],
        ended: Instant,
        out: &mut Output,
    ) {
        let is_refused = |live: &Live| refused.iter().find(|(id, _)| live.item.desktop.is_spelled(id));
        let mut accepted: Vec<ItemId> = Vec::new();
        for id in &part.items {
            let Some(live) = self.items.get_mut(id) else { continue };
            live.tries += 1;
            live.said = None;
            live.job_id.clear();
            if let Some((_, refusal)) = is_refused(live) {
                let refusal = refusal.clone();
                live.refusal = Some(refusal.clone());
                if is_passing(&refusal) {
                    // Busy, or in a state that forbids it: a look tells which.
                    self.triage(Part::new(part.label, vec![*id]), refusal, ended);
                } else {
                    self.answered(*id, Some(refusal), ended, ended, out);
                }
            } else {
                live.refusal = None;
                accepted.push(*id);
            }
        }
        if job_id.is_empty() {
            let only = if let ([one], [job]) = (accepted.as_slice(), success_jobs) { Some((*one, job)) } else { None };
            if let Some((one, job)) = only
                && let Some(live) = self.items.get_mut(&one)
            {
                live.job_id.clone_from(job);
            }
            for id in accepted {
                self.answered(id, None, ended, ended, out);
            }
            return;
        }
        // A job covers pool desktops alone; where no preflight told which those are, it may cover any.
        let pooled = |state: &Self, id: &ItemId| state.items.get(id).is_some_and(|live| live.item.pooled);
        let any_pooled = accepted.iter().any(|id| pooled(self, id));
        let (in_job, plain): (Vec<_>, Vec<_>) = accepted.into_iter().partition(|id| !any_pooled || pooled(self, id));
        for id in &in_job {
            if let Some(live) = self.items.get_mut(id) {
                job_id.clone_into(&mut live.job_id);
            }
        }
        self.follow(job_id.to_owned(), in_job, ended);
        for id in plain {
            self.answered(id, None, ended, ended, out);
        }
    }

    pub(super) fn follow(&mut self, job_id: String, items: Vec<ItemId>, now: Instant) {
        for id in &items {
            if let Some(live) = self.items.get_mut(id) {
                live.phase = Phase::InJob;
                live.deadline = now + self.rules.waits.read_back_deadline;
            }
        }
        let due = now + self.reads.first_look().min(self.rules.waits.poll_interval);
        self.jobs.follow(job_id, items, due, now);
    }

    /// The answer (and the job) spoke: `refusal` is its word against the desktop, if any. Now the reads decide, or
    /// with verification off the word itself.
    pub(super) fn answered(
        &mut self,
        id: ItemId,
        refusal: Option<Refusal>,
        answered: Instant,
        now: Instant,
        out: &mut Output,
    ) {
        let verify = self.rules.verify;
        let Some(live) = self.items.get_mut(&id) else { return };
        live.refusal.clone_from(&refusal);
        // The answer to an attach lists no failures: without its job's word it says nothing of any desktop.
        let attaches = self.rules.class == Class::BatchAttach;
        let unspoken = refusal.is_none() && (std::mem::take(&mut live.unspoken) || attaches && live.job_id.is_empty());
        let reads_judge = verify || live.ever_doubt || unspoken && attaches;
        if !reads_judge {
            let slots = live.open.clone();
            return match refusal {
                Some(refusal) => self.settle(id, Ruling::failed(slots, refusal, "the answer refused it"), out),
                // Nobody's word can be taken, and nobody is to look.
                None if unspoken => self.park(id, out),
                None => {
                    let has_namesake = |slot: &SlotNo| {
                        !attaches && live.item.slots.get(usize::from(*slot)).is_some_and(|one| one.has_namesake)
                    };
                    let (beside, alone): (Vec<_>, Vec<_>) = slots.into_iter().partition(has_namesake);
                    self.settle(id, Ruling::at_its_word(alone, attaches, false), out);
                    self.settle(id, Ruling::at_its_word(beside, attaches, true), out);
                }
            };
        }
        let counts_from = if refusal.is_some() { answered } else { answered + self.rules.waits.doubt_wait };
        // A refusal changes nothing, and a job's end is its work's end: there is nothing to wait for.
        let is_over = refusal.is_some() || matches!(live.phase, Phase::InJob);
        live.waited = if is_over { Duration::ZERO } else { self.reads.first_look() };
        let first = if is_over { now } else { now + self.reads.first_look() };
        self.watch(id, counts_from, answered + self.rules.waits.read_back_deadline, first);
        if !is_over {
            self.reads.gather(id, first);
        }
    }

    pub(super) fn doubt(&mut self, id: ItemId, sent: Instant) {
        let ready = sent + self.rules.waits.doubt_wait;
        self.watch(id, ready, sent + self.rules.waits.read_back_deadline, ready);
        if let Some(live) = self.items.get_mut(&id) {
            live.ever_doubt = true;
        }
    }

    pub(super) fn watch(&mut self, id: ItemId, counts_from: Instant, deadline: Instant, first: Instant) {
        let (apart, want_bound) = (self.rules.waits.settle_time, self.rules.class == Class::BatchAttach);
        if let Some(live) = self.items.get_mut(&id) {
            live.phase = Phase::Watching(Watch::new(&live.open, counts_from, apart, want_bound));
            live.deadline = deadline;
            live.overtime = 0;
            self.reads.schedule(id, first);
        }
    }

    pub(super) fn divide(&mut self, part: Part, cause: Refusal, now: Instant, out: &mut Output) {
        if let [only] = part.items.as_slice() {
            if !self.link.taken
                && let Some(reason) = self.brakes.refused_alone(&cause)
            {
                self.requeue(part);
                return self.stop(reason, out);
            }
            return self.answered(*only, Some(cause), now, now, out);
        }
        let chunk = part.label.chunk;
        let mut items = part.items;
        let second = items.split_off(items.len().div_ceil(2));
        let halves = [items, second].map(|items| self.part_of_its_own(chunk, items, part.looked_at));
        for half in halves.into_iter().rev() {
            self.requeue(half);
        }
    }

    /// A part of a chunk that was divided. Its items know its label, by which they go together from now on: by the old one
    /// a look before the next attempt would bring together what was divided, without end.
    fn part_of_its_own(&mut self, chunk: u32, items: Vec<ItemId>, looked_at: Option<Instant>) -> Part {
        let label = self.parts.next_label(chunk);
        for id in &items {
            if let Some(live) = self.items.get_mut(id) {
                live.label = label;
            }
        }
        Part { looked_at, ..Part::new(label, items) }
    }

    pub(super) fn triage(&mut self, part: Part, cause: Refusal, now: Instant) {
        self.last_triage += 1;
        let number = self.last_triage;
        for id in &part.items {
            if let Some(live) = self.items.get_mut(id) {
                live.phase = Phase::Triage(number);
                live.deadline = now + self.rules.waits.read_back_deadline;
            }
            self.reads.schedule(*id, now);
        }
        let waiting = part.items.len();
        self.triages.insert(number, Triage { part, cause, waiting, seen: Vec::new() });
    }

    /// One desktop of a refused part was seen (or could not be); the last one decides.
    pub(super) fn triaged(&mut self, id: ItemId, number: u64, look: Look, now: Instant, out: &mut Output) {
        let Some(triage) = self.triages.get_mut(&number) else { return };
        triage.waiting -= 1;
        triage.seen.push((id, look));
        if let Some(live) = self.items.get_mut(&id) {
            live.phase = Phase::Queued;
        }
        if triage.waiting > 0 {
            return;
        }
        let Some(Triage { part, cause, seen, .. }) = self.triages.remove(&number) else { return };
        let of = |wanted: Look| seen.iter().filter(move |(_, look)| *look == wanted).map(|(id, _)| *id);
        let (busy, stuck, rest) = (
            of(Look::Busy).collect::<Vec<_>>(),
            of(Look::Stuck).collect::<Vec<_>>(),
            of(Look::Idle).collect::<Vec<_>>(),
        );
        if busy.is_empty() && stuck.is_empty() {
            return if let [only] = rest.as_slice() {
                // Busy a moment ago.
                if let Some(live) = self.items.get_mut(only) {
                    live.refusal = Some(cause);
                }
                self.wait_busy(*only, now);
            } else {
                self.divide(Part { items: rest, ..part }, cause, now, out);
            };
        }
        let chunk = part.label.chunk;
        if !rest.is_empty() {
            let rest = self.part_of_its_own(chunk, rest, part.looked_at);
            self.requeue(rest);
        }
        if !busy.is_empty() {
            for id in self.part_of_its_own(chunk, busy, None).items {
                if let Some(live) = self.items.get_mut(&id) {
                    live.refusal = Some(cause.clone());
                }
                self.wait_busy(id, now);
            }
        }
        for id in stuck {
            self.mark_stuck(id);
            self.answered(id, Some(cause.clone()), now, now, out);
        }
    }

    pub(super) fn mark_stuck(&mut self, id: ItemId) {
        if let Some(live) = self.items.get_mut(&id) {
            live.stuck = true;
        }
    }

    pub(super) fn wait_busy(&mut self, id: ItemId, now: Instant) {
        let (base, limit) = (self.rules.busy_wait, self.rules.waits.read_back_deadline);
        if let Some(live) = self.items.get_mut(&id) {
            let since = *live.busy_since.get_or_insert(now);
            live.deadline = since + limit;
            live.phase = Phase::Busy;
            let wait = (base * 2_u32.saturating_pow(live.busy_rounds)).min(MAX_BUSY_WAIT.max(base));
            live.busy_rounds += 1;
            self.reads.schedule(id, now + wait);
        }
    }

    pub(super) fn send_again(&mut self, id: ItemId, now: Instant) {
        let Some(live) = self.items.get_mut(&id) else { return };
        live.phase = Phase::Queued;
        if live.item.all {
            return self.look(vec![id], now);
        }
        // Rows of one chunk that become due together go together.
        self.parts.join(live.label, id, true, None);
    }
}
