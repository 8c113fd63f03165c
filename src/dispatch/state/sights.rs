//! What follows from a read of a desktop, or of a job.

use super::{
    Absence, Bound, Class, DesktopId, Duration, Event, HashMap, Instant, Item, ItemId, JobEnd, JobWord, LiveDesktop,
    Look, MAX_GATE, Output, Person, Phase, Presence, Proof, ReadFault, ReadSpan, Record, Refusal, Ruling, Seen, Sight,
    Sighting, SlotNo, State, StopReason, Try, Watch, backoff, holds, is_passing, newcomers, rows_of,
};

impl State {
    pub(super) fn read_list(
        &mut self,
        asked: Vec<ItemId>,
        result: Result<Vec<LiveDesktop>, ReadFault>,
        span: ReadSpan,
        generation: u32,
        now: Instant,
        out: &mut Output,
    ) {
        let list = match result {
            Ok(list) => list,
            Err(fault) => return self.list_failed(asked, &fault, generation, now, out),
        };
        self.hear_read(Class::ListDesktops, generation, now, out);
        self.reads.listed(&asked);
        let exactly: HashMap<&DesktopId, &LiveDesktop> = list.iter().map(|desktop| (&desktop.id, desktop)).collect();
        let spelled: HashMap<String, &LiveDesktop> =
            list.iter().map(|desktop| (desktop.id.folded(), desktop)).collect();
        for id in &asked {
            let Some(desktop) = self.desktop_of(*id) else { continue };
            match exactly.get(&desktop).or_else(|| spelled.get(&desktop.folded())) {
                Some(desktop) => self.sight(*id, Sight::Shown(desktop), span, now, out),
                // A list that lacks it proves nothing: filters are fuzzy, ignored, or cut short.
                None => self.reads.single(*id),
            }
        }
        self.learn_first_look(&asked);
    }

    /// A read of the list told nothing; it may be for one desktop alone.
    fn list_failed(&mut self, asked: Vec<ItemId>, fault: &ReadFault, generation: u32, now: Instant, out: &mut Output) {
        let is_broken = matches!(fault, ReadFault::Broken { .. });
        let tries = if is_broken { self.reads.broke(&asked) } else { 0 };
        if !fault.may_be_of_one(tries) {
            return self.read_failed(Class::ListDesktops, &asked, fault, generation, now, out);
        }
        self.read_failed(Class::ListDesktops, &[], fault, generation, now, out);
        let wait = if is_broken { self.rules.waits.retry_base } else { Duration::ZERO };
        self.reads.divide(asked, now + wait);
    }

    /// * `class`: of the read.
    /// * `ids`: the items that it was to tell of.
    pub(super) fn read_failed(
        &mut self,
        class: Class,
        ids: &[ItemId],
        fault: &ReadFault,
        generation: u32,
        now: Instant,
        out: &mut Output,
    ) {
        let wait = match fault {
            ReadFault::NotSent { .. }
            | ReadFault::Lost { .. }
            | ReadFault::Trouble { .. }
            | ReadFault::Broken { .. } => {
                self.tried(class, Try::Silence, &fault.in_words(), now, out);
                backoff(self.link.silent.min(6), self.rules.waits.retry_base, self.random.f64())
                    .max(self.rules.waits.retry_base / 2)
            }
            ReadFault::Throttled { hint, .. } => {
                self.tried(class, Try::PutOff, &fault.in_words(), now, out);
                let asked = hint.retry_after.or(hint.limit.map(|(_, window)| window / 6));
                if let Some(wait) = asked.filter(|wait| *wait > MAX_GATE) {
                    self.stay_away(wait, out);
                }
                Duration::ZERO
            }
            ReadFault::Unauthorized { cause } => {
                self.tried(class, Try::Success, "", now, out);
                self.unauthorized(generation, cause, out);
                Duration::ZERO
            }
            ReadFault::Halt { why, .. } => {
                self.link.shut();
                self.stop(StopReason::Endpoint(why.clone()), out);
                self.rules.waits.poll_interval
            }
            ReadFault::Forbidden { .. } | ReadFault::Refused { .. } => {
                self.tried(class, Try::Success, "", now, out);
                self.rules.waits.poll_interval
            }
        };
        let hopeless = matches!(fault, ReadFault::Forbidden { .. } | ReadFault::Refused { .. });
        for id in ids {
            if let Some(live) = self.items.get_mut(id) {
                live.unread = Some(fault.in_words());
            }
            if let Some(Phase::Triage(number)) = self.items.get(id).map(|live| &live.phase)
                && hopeless
            {
                let number = *number;
                self.triaged(*id, number, Look::Idle, now, out); // none to see
                continue;
            }
            self.again_or_park(*id, now + wait, now, out);
        }
    }

    /// Reads an item again, or gives up on it once its deadline is over and one more read has not told either: the machine
    /// may have been asleep, or the service silent, until then.
    pub(super) fn again_or_park(&mut self, id: ItemId, at: Instant, now: Instant, out: &mut Output) {
        if self.last_look.item(id).is_some() {
            return self.rechecked(id, Seen::Again(at), now, out);
        }
        let Some(live) = self.items.get_mut(&id) else { return };
        if now < live.deadline || live.overtime == 0 {
            live.overtime = u8::from(now >= live.deadline);
            return self.reads.schedule(id, at);
        }
        match live.phase {
            // Not to be read just now: whatever held it, reads have to tell how it ended.
            Phase::Busy => {
                let refusal = live.refusal.clone().unwrap_or_else(stayed_busy);
                self.mark_stuck(id);
                self.answered(id, Some(refusal), now, now, out);
            }
            Phase::Triage(number) => self.triaged(id, number, Look::Idle, now, out),
            _ => self.park(id, out),
        }
    }

    /// A desktop that was busy up to the deadline: what it shows bound has failed, the rest nobody can tell.
    fn busy_too_long(&mut self, id: ItemId, sight: Sight<'_>, now: Instant, out: &mut Output) {
        let Some(live) = self.items.get(&id) else { return };
        let refusal = live.refusal.clone().unwrap_or_else(stayed_busy);
        if live.ever_doubt {
            // The refusal may be the echo of our own success: good reads decide, and without any it stays open.
            self.mark_stuck(id);
            return self.answered(id, Some(refusal), now, now, out);
        }
        let bound = match sight {
            Sight::Shown(desktop) => desktop.bound.as_deref().unwrap_or_default(),
            Sight::Nowhere => &[],
        };
        let want_bound = self.rules.class == Class::BatchAttach;
        let is_bound = |slot: &SlotNo| live.item.slots.get(usize::from(*slot)).is_some_and(|one| holds(one, bound));
        let unchanged: Vec<_> = live.open.iter().copied().filter(|slot| is_bound(slot) != want_bound).collect();
        self.settle(id, Ruling::failed(unchanged, refusal, "busy until the deadline"), out);
        self.park(id, out);
    }

    pub(super) fn park(&mut self, id: ItemId, out: &mut Output) {
        if let Some(live) = self.items.get_mut(&id)
            && !matches!(live.phase, Phase::Parked)
        {
            live.phase = Phase::Parked;
            let desktop = live.item.desktop.clone();
            self.parked += 1;
            self.brakes.left_open();
            let rows: u64 = live.open.iter().map(|slot| rows_of(&live.item, *slot)).sum();
            let wait = self.rules.waits.read_back_deadline;
            let unread = live.unread.as_deref().unwrap_or("no good read of the desktop came in time");
            out.records.extend(live.unknown(unread));
            let why = format!("{rows} row(s) of desktop {} could not be read in time", live.item.desktop);
            out.events.push(Event::Waiting { why, wait });
            if self.parts.has_aside(&desktop) {
                // What is on another desktop that nobody can tell of stays aside, too: it would only come back to there,
                // with nobody to judge a canary after that.
                let parked = self.items.values().filter(|live| matches!(live.phase, Phase::Parked));
                let parked: std::collections::HashSet<&DesktopId> = parked.map(|live| &live.item.desktop).collect();
                let items = &self.items;
                let is_stuck = |id| items.get(&id).is_some_and(|live| parked.contains(&live.item.desktop));
                self.parts.give_up(&desktop, is_stuck);
            }
        }
    }

    /// One desktop was seen by a read.
    pub(super) fn sight(&mut self, id: ItemId, sight: Sight<'_>, span: ReadSpan, now: Instant, out: &mut Output) {
        if let Some(seen) = self.last_look.see(id, sight, span, now) {
            return self.rechecked(id, seen, now, out);
        }
        let Some(live) = self.items.get_mut(&id) else { return };
        match &mut live.phase {
            Phase::Watching(watch) => {
                let proofs = watch.see(&live.item, sight, span);
                // Somebody else came first: the desktop can't be had, however often one asks.
                live.stuck |= self.rules.class == Class::BatchAttach && is_taken(&live.item, sight);
                self.proofs(id, &proofs, span, now, out);
            }
            Phase::Looking(watch) => {
                let proofs = watch.see(&live.item, sight, span);
                match sight {
                    Sight::Shown(desktop) => self.looked(id, desktop, span, now, out),
                    Sight::Nowhere => self.found_nowhere(id, &proofs, now, out),
                }
            }
            Phase::Triage(number) => {
                let number = *number;
                self.triaged(id, number, Look::at(sight), now, out);
            }
            Phase::Busy => {
                let refusal = live.refusal.clone();
                let too_long = now >= live.deadline;
                match Look::at(sight) {
                    Look::Stuck => {
                        self.mark_stuck(id);
                        self.answered(id, refusal, now, now, out);
                    }
                    // Idle all the same, and refused each time: whatever holds it, no read shows it (P10).
                    Look::Idle if too_long || live.tries >= self.rules.max_tries => {
                        self.mark_stuck(id);
                        self.answered(id, refusal, now, now, out);
                    }
                    Look::Idle => self.send_again(id, now),
                    Look::Busy if too_long => self.busy_too_long(id, sight, now, out),
                    Look::Busy => self.wait_busy(id, now),
                }
            }
            Phase::Queued | Phase::Sending | Phase::InJob | Phase::Parked => {}
        }
    }

    /// A look before the first send does not find the desktop. A replica that lags looks just so: it takes a second
    /// "not found", some time later.
    fn found_nowhere(&mut self, id: ItemId, proofs: &[Proof], now: Instant, out: &mut Output) {
        let Some(live) = self.items.get(&id) else { return };
        let again = now + self.rules.waits.settle_time;
        if live.tries > 0 {
            // It was sent before, and is gone perhaps only after that.
            return self.watch(id, now, now + self.rules.waits.read_back_deadline, again);
        }
        let gone = Proved::of(proofs).gone;
        if gone.is_empty() {
            return self.again_or_park(id, again, now, out);
        }
        let evidence = "the service does not know the desktop";
        let ruling = if self.rules.class == Class::BatchAttach || !live.item.seen {
            let refusal = not_found("the desktop is gone since the plan was made");
            Ruling::failed(live.open.clone(), refusal, evidence)
        } else {
            Ruling::already_detached(&gone, evidence)
        };
        self.settle(id, ruling, out);
    }

    /// A look before the first send: what is gone is settled, the rest may go (nothing is added to it).
    fn looked(&mut self, id: ItemId, desktop: &LiveDesktop, span: ReadSpan, now: Instant, out: &mut Output) {
        let poll = self.rules.waits.poll_interval;
        let want_bound = self.rules.class == Class::BatchAttach;
        let Some(live) = self.items.get_mut(&id) else { return };
        let Some(bound) = desktop.bound.as_deref() else {
            return self.again_or_park(id, now + poll, now, out);
        };
        if live.item.all && !desktop.is_idle() {
            return self.again_or_park(id, now + poll, now, out);
        }
        let is_there = |slot: &SlotNo| live.item.slots.get(usize::from(*slot)).is_some_and(|one| holds(one, bound));
        let (done, mut left): (Vec<_>, Vec<_>) = live.open.iter().partition(|slot| is_there(slot) == want_bound);
        if !done.is_empty() && !desktop.is_idle() {
            return self.again_or_park(id, now + poll, now, out);
        }
        let seen = |slot: &SlotNo| Sighting::of(&live.item, *slot, Sight::Shown(desktop), span);
        let done: Vec<Sighting> = done.iter().filter_map(seen).collect();
        let new = if live.item.all { newcomers(&live.item, bound) } else { Vec::new() };
        let was_sent = live.tries > 0;
        if !new.is_empty() {
            let names: Vec<_> = new.iter().take(5).map(|one| one.user_name.as_str()).collect();
            let refusal = Refusal {
                code: "STILL_BOUND".to_owned(),
                message: crate::text::escape_untrusted(
                    &format!(
                        "not sent{}: {} bound to this desktop since the plan was made ({}); plan again to include them",
                        if was_sent { " again" } else { "" },
                        if new.len() == 1 { "1 was".to_owned() } else { format!("{} were", new.len()) },
                        names.join(", ")
                    ),
                    crate::api::fault::MAX_TEXT,
                ),
            };
            // Of the desktop's other rows each is judged for itself.
            let held = std::mem::take(&mut left);
            self.settle(id, Ruling::failed(held, refusal, "a look right before sending"), out);
        }
        if !done.is_empty() && was_sent {
            // It was sent before: what is gone now may be gone by that, and one read does not prove it.
            return self.watch(id, now, now + self.rules.waits.read_back_deadline, now + self.rules.waits.settle_time);
        }
        if !done.is_empty() {
            self.settle(id, Ruling::found_so(&done, want_bound), out);
        }
        if left.is_empty() {
            return;
        }
        let Some(live) = self.items.get_mut(&id) else { return };
        live.phase = Phase::Queued;
        let (label, looked_at) = (live.label, live.item.all.then_some(now));
        // What was sent before draws on the budget of repeats, looked at or not (P10).
        self.parts.join(label, id, was_sent, looked_at);
    }

    /// What the reads of a watched item prove.
    fn proofs(&mut self, id: ItemId, proofs: &[Proof], span: ReadSpan, now: Instant, out: &mut Output) {
        let want_bound = self.rules.class == Class::BatchAttach;
        let Proved { bound, absent, gone } = Proved::of(proofs);
        let Some(live) = self.items.get_mut(&id) else { return };
        if let Phase::Watching(watch) = &mut live.phase {
            watch.close(proofs);
        }
        let refusal = live.refusal.clone();
        let (gone_seen, gone_never): (Vec<_>, Vec<_>) =
            gone.into_iter().partition(|one| !want_bound && (live.item.seen || live.seen_bound.contains(&one.slot())));
        let after = "two good reads after it was sent";
        let unwanted: Vec<SlotNo> = if want_bound {
            self.settle(id, Ruling::attached(&bound, after), out);
            absent.into_iter().map(Absence::slot).collect()
        } else {
            let preflight = self.rules.preflight;
            let (was, was_not): (Vec<_>, Vec<_>) =
                absent.into_iter().partition(|one| live.was_bound(one.slot(), preflight));
            let (with_namesake, alone): (Vec<_>, Vec<_>) = was.into_iter().partition(|one| one.lacks_namesake());
            self.settle(id, Ruling::detached(&alone, after), out);
            self.settle(id, Ruling::detached(&with_namesake, after), out);
            let never = "never seen bound, and absent in two good reads";
            self.settle(id, Ruling::already_detached(&was_not, never), out);
            bound.into_iter().map(Presence::slot).collect()
        };
        self.settle(id, Ruling::detached(&gone_seen, "the desktop is gone, and its bindings with it"), out);
        let gone_never: Vec<_> = gone_never.into_iter().map(Absence::slot).collect();
        let why = refusal.clone().unwrap_or_else(|| not_found("the service does not know this desktop"));
        self.settle(id, Ruling::failed(gone_never, why, "the service does not know the desktop"), out);
        if !unwanted.is_empty() {
            self.still_there(id, unwanted, refusal, now, out);
        }
        let Some(live) = self.items.get(&id) else { return };
        let Phase::Watching(watch) = &live.phase else { return };
        if watch.is_done() {
            return;
        }
        let half = watch.is_half_proved();
        let next = if half { span.ended + self.rules.waits.settle_time } else { now + self.rules.waits.poll_interval };
        // The first read may come past the deadline: the proof that it begins gets its second one.
        let is_second = half && now >= live.deadline && live.overtime < 2;
        if is_second && let Some(live) = self.items.get_mut(&id) {
            live.overtime = 2;
            self.reads.schedule(id, next);
        } else {
            self.again_or_park(id, next, now, out);
        }
        self.reads.gather(id, next);
    }

    /// Slots that are proved to be as they were: refused, or a new attempt.
    fn still_there(
        &mut self,
        id: ItemId,
        slots: Vec<SlotNo>,
        refusal: Option<Refusal>,
        now: Instant,
        out: &mut Output,
    ) {
        let max = self.rules.max_tries;
        let attaches = self.rules.class == Class::BatchAttach;
        let Some(live) = self.items.get_mut(&id) else { return };
        let mut newly = Vec::new();
        // What an attach has not brought about was not seen bound.
        for slot in slots.iter().filter(|_| !attaches) {
            if !live.seen_bound.contains(slot) && !live.item.slots.get(usize::from(*slot)).is_some_and(|one| one.seen) {
                live.seen_bound.push(*slot);
                newly.push(*slot);
            }
        }
        if !newly.is_empty() {
            out.records.push(Record::Seen { item: id, slots: newly });
        }
        match refusal {
            // The refusals of an attach come from its job: each of them was an attempt.
            Some(refusal)
                if is_passing(&refusal) && !live.stuck && now < live.deadline && !(attaches && live.tries >= max) =>
            {
                self.wait_busy(id, now);
            }
            Some(refusal) => {
                let evidence = "refused, and unchanged in two good reads";
                self.settle(id, Ruling::failed(slots, refusal, evidence), out);
            }
            // Nobody ever refused it, nor took it: what does not get through to the service has not failed.
            None if live.tries >= max && !live.answered => self.park(id, out),
            None if live.tries < max && !live.stuck => {
                // The other slots of the item stay watched until they are proved, too; then all go together.
                let others_open = matches!(&live.phase, Phase::Watching(watch) if !watch.is_done());
                if others_open && let Phase::Watching(watch) = &mut live.phase {
                    let counts_from = watch.unwanted_counts_from();
                    let (apart, want) = (self.rules.waits.settle_time, self.rules.class == Class::BatchAttach);
                    *watch = Watch::new(&live.open, counts_from, apart, want);
                } else {
                    self.send_again(id, now);
                }
            }
            None => {
                let (code, words) = if attaches { ("NOT_BOUND", "not bound") } else { ("STILL_BOUND", "still bound") };
                let times = if live.tries == 1 { "once".to_owned() } else { format!("{} times", live.tries) };
                let taken = if attaches && live.stuck {
                    ": somebody else holds the desktop now, perhaps one of the same name"
                } else {
                    ""
                };
                let said = live.said.as_ref().map(|said| format!("; lastly: {}: {}", said.code, said.message));
                let message = format!("sent {times} and {words} afterwards{taken}{}", said.unwrap_or_default());
                let refusal = Refusal { code: code.to_owned(), message };
                self.settle(id, Ruling::failed(slots, refusal, "unchanged in two good reads"), out);
            }
        }
    }

    pub(super) fn job_told(
        &mut self,
        job_id: &str,
        result: Result<Option<JobWord>, ReadFault>,
        generation: u32,
        now: Instant,
        out: &mut Output,
    ) {
        let word = match result {
            Ok(word) => {
                self.hear_read(Class::ShowJob, generation, now, out);
                word
            }
            Err(fault) => {
                self.read_failed(Class::ShowJob, &[], &fault, generation, now, out);
                Some(JobWord::Pending(None))
            }
        };
        let (poll, deadline) = (self.rules.waits.poll_interval, self.rules.waits.read_back_deadline);
        let Some(JobEnd { items, since, word }) = self.jobs.told(job_id, word, now, poll, deadline) else { return };
        let never_found =
            || Refusal { code: "JOB_NOT_FOUND".to_owned(), message: "the job was never found".to_owned() };
        let (mut failed, mut well) = (Vec::new(), Vec::new());
        let (mut whole, mut unclear) = (None, None);
        match word {
            Some(JobWord::Ended { failed: named }) => failed = named,
            Some(JobWord::FailedWhole { refusal }) => whole = Some(refusal),
            Some(JobWord::Unclear { failed: named, well: done, said }) => {
                (failed, well, unclear) = (named, done, Some(said));
            }
            Some(JobWord::Pending(Some(said))) => unclear = Some(said),
            None => unclear = Some(never_found()),
            Some(JobWord::Pending(None)) => {
                for id in items {
                    self.park(id, out);
                }
                return;
            }
        }
        for id in items {
            let Some(desktop) = self.desktop_of(id) else { continue };
            let named = failed.iter().find(|(name, _)| desktop.is_spelled(name)).map(|(_, refusal)| refusal.clone());
            let refusal = named.or_else(|| whole.clone());
            let is_silent = refusal.is_none() && unclear.is_some() && !well.iter().any(|name| desktop.is_spelled(name));
            // What did not speak is on no record: the next process would take silence for consent. It asks again.
            if !is_silent {
                out.records.push(Record::Job { item: id, job_id: job_id.to_owned(), refusal: refusal.clone() });
            }
            if let Some(live) = self.items.get_mut(&id) {
                live.unspoken = is_silent;
                live.said = unclear.clone().filter(|_| is_silent).or(live.said.take());
            }
            self.answered(id, refusal, since, now, out);
        }
    }
}

/// Proofs, by what they prove.
#[derive(Default)]
struct Proved {
    bound: Vec<Presence>,
    absent: Vec<Absence>,
    gone: Vec<Absence>,
}

impl Proved {
    fn of(proofs: &[Proof]) -> Self {
        let mut proved = Self::default();
        for proof in proofs {
            match *proof {
                Proof::Bound(presence) => proved.bound.push(presence),
                Proof::Absent(absence) => proved.absent.push(absence),
                Proof::Gone(absence) => proved.gone.push(absence),
            }
        }
        proved
    }
}

fn not_found(message: &str) -> Refusal {
    Refusal { code: "DESKTOP_NOT_FOUND".to_owned(), message: message.to_owned() }
}

fn stayed_busy() -> Refusal {
    Refusal { code: "BUSY".to_owned(), message: "the desktop stayed busy".to_owned() }
}

/// Whether somebody else has a desktop that one person alone can have, or was bound in place of one of the same name.
fn is_taken(item: &Item, sight: Sight<'_>) -> bool {
    let Sight::Shown(desktop) = sight else { return false };
    let single = !item.shared && (desktop.is_pooled() || desktop.desktop_type == "DEDICATED");
    let is_namesake = |one: &&Bound| {
        item.slots.iter().any(|slot| !slot.has_namesake && slot.person().is_named_as(&Person::from(*one)))
    };
    let others = desktop.good().map(|bound| newcomers(item, bound)).unwrap_or_default();
    others.iter().any(|one| single || is_namesake(one))
}
