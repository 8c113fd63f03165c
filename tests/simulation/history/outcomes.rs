//! P1, P2 and P3: what the results say, row by row.

use super::*;

impl Checker<'_> {
    /// P1: every row of the input, in order, with one record or more, and what the plan settled as the plan said.
    pub(super) fn conservation(&mut self) {
        let history = self.history;
        let mut lines: Vec<u64> = history.entries.iter().map(|entry| entry.line).collect();
        lines.dedup();
        if lines != history.lines {
            self.broken("P1", format!("the plan has the lines {lines:?}, the input {:?}", history.lines));
        }
        for (n, stop) in history.stops.iter().enumerate() {
            let told: Vec<u64> = stop.rows.iter().map(|row| row.line).collect();
            let planned: Vec<u64> = history.entries.iter().map(|entry| entry.line).collect();
            if told != planned {
                self.broken("P1", format!("results {n} have the lines {told:?}, the plan {planned:?}"));
                continue;
            }
            let mut words: HashMap<(ItemId, SlotNo), Outcome> = HashMap::new();
            for (row, entry) in stop.rows.iter().zip(&history.entries) {
                if row.desktop != entry.cells[0] || row.user != entry.cells[2] {
                    self.broken("P1", format!("results {n} line {} speak of {}/{}", row.line, row.desktop, row.user));
                }
                match &entry.fate {
                    Fate::Fixed { outcome, .. } if *outcome != row.outcome => {
                        self.broken(
                            "P1",
                            format!("line {} was {outcome} in the plan, and is {}", row.line, row.outcome),
                        );
                    }
                    Fate::Send { item, slot } => {
                        let first = *words.entry((*item, *slot)).or_insert(row.outcome);
                        if first != row.outcome {
                            self.broken(
                                "P1",
                                format!("line {}: one binding, and both {first} and {}", row.line, row.outcome),
                            );
                        }
                        if row.outcome == Outcome::Planned {
                            self.broken("P1", format!("line {} has no outcome", row.line));
                        }
                    }
                    Fate::Fixed { .. } => {}
                }
            }
        }
    }

    /// P2: what the plan says is gone was not there at one moment, at least, of the time in which it was looked for.
    pub(super) fn planned(&mut self) {
        let history = self.history;
        let Some((from, end)) = history.look() else { return };
        for entry in &history.entries {
            let is_gone = matches!(&entry.fate, Fate::Fixed { outcome: Outcome::AlreadyDetached, .. });
            if !is_gone || self.may_be_absent(entry, from, end) {
                continue;
            }
            let [desktop, _, user, ..] = &entry.cells;
            let what = format!("line {}: the plan says that {desktop}/{user:?} is gone, and it never was", entry.line);
            self.broken("P2", what);
        }
    }

    /// Whether nobody whom the row can mean was bound at some moment of that time.
    fn may_be_absent(&self, entry: &Entry, from: Instant, to: Instant) -> bool {
        let [desktop, name, user, user_id, _, kind, domain] = &entry.cells;
        let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
        // An id in the row decides; without one nobody knows which of two namesakes is meant, and both must be gone.
        let is_ours = |one: &Bound| match &one.user_id {
            Some(theirs) if !user_id.is_empty() => theirs == user_id,
            _ => same(&one.user_name, user),
        };
        let is_meant = |one: &Bound| {
            is_ours(one)
                && same(if kind.is_empty() { "USER" } else { kind }, &one.kind.to_string())
                && (domain.is_empty() || one.domain.as_deref().is_none_or(|theirs| same(theirs, domain)))
        };
        if user.is_empty() || desktop.is_empty() && !name.is_empty() {
            return true; // no user, or found by a name that the history does not keep
        }
        let absent = |id: &DesktopId| self.states_within(id, from, to).any(|state| !state.iter().any(is_meant));
        match self.looked_for(desktop) {
            Some(id) => absent(&id),
            None => self.states.keys().all(absent),
        }
    }

    /// P2: the last word on every slot, against the server's truth and the reads that it rests on.
    pub(super) fn truth(&mut self) {
        let mut last: BTreeMap<(ItemId, SlotNo), (usize, &Settlement, Instant)> = BTreeMap::new();
        for (n, settlement, at) in &self.settled {
            for slot in &settlement.slots {
                last.insert((settlement.item, *slot), (*n, settlement, *at));
            }
        }
        for ((item, slot), (n, settlement, at)) in last {
            if settlement.result.outcome == Outcome::Failed && settlement.result.code == "APIGW.0308" {
                self.broken("P9", format!("{} failed because of a 429", self.name(item, slot)));
            }
            if let Some(what) = self.untrue(item, slot, n, settlement, at) {
                let name = self.name(item, slot);
                let (outcome, code) = (settlement.result.outcome, &settlement.result.code);
                self.broken("P2", format!("{name} is {outcome} {code}: {what} ({})", settlement.result.evidence));
            }
        }
    }

    /// Why a word is not true, or not proved.
    fn untrue(&self, id: ItemId, number: SlotNo, n: usize, word: &Settlement, at: Instant) -> Option<String> {
        let promised = &self.history.promised;
        let (item, slot) = self.slot(id, number)?;
        let desktop = &item.desktop;
        let carried: Vec<&Sent<'_>> =
            self.sent.iter().filter(|sent| sent.slots(id).contains(&number) && sent.request.entry.at <= at).collect();
        let last = carried.iter().rev().find(|sent| sent.may_be_executed());
        // An intent of which nobody knows whether it left is a doubt, too.
        let intended = self.is_intended(id, number, n, |attempt| !self.is_known_not_executed(attempt, n));
        let origin = self.history.records.first().map_or(at, |stamped| stamped.at);
        let from = last.map_or(origin, |sent| sent.at());
        let seen_then = |bound| {
            let window = promised.read_lag + promised.settle_time + TICK;
            self.was(desktop, slot, bound, at.checked_sub(window).unwrap_or(at), at)
        };
        let want = self.history.wants_bound();
        let is_gone = word.result.evidence.starts_with("the desktop is gone")
            || word.result.evidence.starts_with("the service does not know");
        if is_gone && self.was_called_gone(desktop, from, at) {
            return None;
        }
        match word.result.outcome {
            Outcome::Detached | Outcome::Attached => {
                // One that was refused whole counts: the binding was there, or nobody had looked, and is not any more.
                if !self.is_intended(id, number, n, |_| true) {
                    return Some("it was never sent".to_owned());
                }
                if !promised.verify {
                    // Without reads the answer and the job are taken at their word. Of a detach this service's are true, but
                    // where it never does what it says, or lost its list of what failed. A newcomer is nobody whom `ALL`
                    // meant; and an attach says the same where the desktop is gone, or somebody else of that name is there.
                    let is_mistaken = |sent: &Sent<'_>| {
                        promised.never_done.iter().any(|id| self.is_same(id, desktop))
                            || (sent.request.entry.executed == Executed::PerDesktop && sent.refused_nobody())
                    };
                    let takes_its_word = want || !item.pooled || item.all;
                    let ended_well =
                        |job: &str| takes_its_word || job.is_empty() || self.was(desktop, slot, want, from, at);
                    let clean = |sent: &&Sent<'_>| {
                        sent.answer.is_some_and(|(_, answer)| {
                            answer.kind == AnswerKind::Answered && (ended_well(&answer.job_id) || is_mistaken(sent))
                        }) && sent.refused(id).is_none()
                            && !(want && self.has_failed_job(id, n))
                    };
                    if last.is_some_and(clean) {
                        return self.hidden(id, number, word, at);
                    }
                }
                if !self.is_proved(desktop, slot, want, from, at) {
                    return Some("no two reads after it was sent can have shown it so".to_owned());
                }
                self.hidden(id, number, word, at)
            }
            Outcome::AlreadyDetached | Outcome::AlreadyAttached => {
                let by_us = |n: usize| carried.iter().any(|sent| sent.request.entry.number == n);
                let applied = self.history.changes.iter().any(|change| {
                    change.request.is_some_and(by_us)
                        && change.attached == want
                        && self.is_same(&change.desktop, desktop)
                        && change.at <= at
                        && is_meant(slot, &change.bound)
                });
                if slot.seen && (applied || intended) {
                    return Some("it was bound at preflight, and sent".to_owned());
                }
                let reads = self.reads_within(desktop, from, at);
                let shown = |read: &Instant| self.showed(desktop, slot, want, *read);
                (!reads.iter().any(shown)).then(|| "no read can have shown it so".to_owned())
            }
            Outcome::Failed => self.unfounded(id, number, word, (from, at), seen_then(!want)),
            Outcome::Unknown if !intended => Some("it was never sent".to_owned()),
            Outcome::NotSent if intended => Some("it may have been sent".to_owned()),
            _ => None,
        }
    }

    /// Why a `failed` is not true, or not proved.
    fn unfounded(
        &self,
        id: ItemId,
        number: SlotNo,
        word: &Settlement,
        (from, at): (Instant, Instant),
        unchanged: bool,
    ) -> Option<String> {
        let promised = &self.history.promised;
        let want = self.history.wants_bound();
        let (item, slot) = self.slot(id, number)?;
        if word.result.code.is_empty() {
            return Some("it names no code".to_owned());
        }
        let refusal = Refusal { code: word.result.code.clone(), message: word.result.message.clone() };
        // Never seen and not there: a typo is no success.
        let nobody = |state: &[Bound]| state.is_empty();
        let exists = item.seen || !self.states_within(&item.desktop, at, at).any(nobody);
        let is_ours = matches!(word.result.code.as_str(), "STILL_BOUND" | "NOT_BOUND");
        if !promised.verify && !is_ours {
            return None; // the service's own word was taken
        }
        // Busy up to the deadline, or new people on an `ALL`: no two good reads are to be had, or needed.
        let needs_no_proof = is_passing(&refusal) || word.result.code == "BUSY" || !exists || item.all;
        if needs_no_proof && exists && !unchanged {
            return Some("it was not so any more then".to_owned());
        }
        let counts = if is_ours && !word.result.recheck && word.result.evidence.starts_with("unchanged") {
            from + promised.doubt_wait
        } else {
            from
        };
        (!needs_no_proof && !self.is_proved(&item.desktop, slot, !want, counts, at))
            .then(|| "no two reads can have shown it unchanged".to_owned())
    }

    /// Why it is hidden that a namesake went with him, though he was there as the plan was made, and nobody of that name
    /// is there any more.
    fn hidden(&self, id: ItemId, number: SlotNo, word: &Settlement, at: Instant) -> Option<String> {
        let (item, slot) = self.slot(id, number)?;
        let (from, planned) = self.history.look()?;
        let is_named =
            |one: &Bound| one.kind == slot.kind && one.user_name.to_lowercase() == slot.user_name.to_lowercase();
        let was_there = |one: &Bound| self.states_within(&item.desktop, from, planned).all(|state| state.contains(one));
        // The last read was on its way for a while, and what it shows may be older still.
        let window = self.history.promised.read_lag + self.history.promised.settle_time;
        let before = at.checked_sub(window).unwrap_or(at);
        let is_another_there = self.states_within(&item.desktop, before, at).any(|state| state.iter().any(is_named));
        let code = if self.history.promised.verify { "DOUBT_NAMESAKE_GONE" } else { "DOUBT_NAMESAKE" };
        let is_told = word.result.code.starts_with(code) || !slot.seen || is_another_there;
        let carried = self.sent.iter().filter(|sent| !sent.slots(id).is_empty() && sent.at() <= at);
        // Who is to go himself is no bystander.
        let of_desktop = || self.items.values().filter(|other| self.is_same(&other.desktop, &item.desktop));
        let is_planned = |one: &Bound| of_desktop().flat_map(|item| &item.slots).any(|slot| is_meant(slot, one));
        let is_lost = |one: &Bound| is_named(one) && was_there(one) && !is_planned(one);
        let mut lost = carried
            .flat_map(|sent| sent.request.bystanders())
            .filter(|(desktop, one)| self.is_same(desktop, &item.desktop) && is_lost(one));
        let (_, one) = lost.next().filter(|_| !is_told)?;
        Some(format!("{:?} of this name went with him, and nobody is told", one.user_id))
    }

    /// P2 and P3 at every stop: what has no final word is `unknown` where it may have been executed, else `not_sent`.
    pub(super) fn stops(&mut self) {
        let history = self.history;
        for (n, stop) in history.stops.iter().enumerate() {
            for (row, entry) in stop.rows.iter().zip(&history.entries) {
                let Fate::Send { item, slot } = &entry.fate else { continue };
                let carried = self
                    .sent
                    .iter()
                    .filter(|sent| sent.request.entry.number < stop.requests && sent.slots(*item).contains(slot));
                let applied = carried.flat_map(|sent| &sent.request.entry.applied).any(|(desktop, bound)| {
                    self.slot(*item, *slot)
                        .is_some_and(|(item, slot)| self.is_same(&item.desktop, desktop) && is_meant(slot, bound))
                });
                let maybe = |attempt| !self.is_known_not_executed(attempt, stop.records);
                let intended = self.is_intended(*item, *slot, stop.records, maybe);
                let mut words = self.settled.iter().rev().filter(|(n, settlement, _)| {
                    *n < stop.records && settlement.item == *item && settlement.slots.contains(slot)
                });
                let word = words.next().map(|(_, settlement, _)| settlement.result.outcome);
                let expected = match word {
                    Some(word) => word,
                    None if intended => Outcome::Unknown,
                    None => Outcome::NotSent,
                };
                if row.outcome != expected {
                    let what =
                        format!("results {n}: line {} is {}, the journal says {expected}", row.line, row.outcome);
                    self.broken("P3", what);
                } else if row.outcome == Outcome::NotSent && applied {
                    self.broken("P2", format!("results {n}: line {} is not_sent, and was executed", row.line));
                }
            }
        }
    }
}
