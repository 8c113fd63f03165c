//! P8 to P11: when requests started, and how often.

use super::*;

impl Checker<'_> {
    /// P8: no two starts of a class closer than its ceiling allows, whoever sends.
    pub(super) fn ceilings(&mut self) {
        let mut last: HashMap<Op, Instant> = HashMap::new();
        for Request { entry, .. } in &self.history.requests {
            let Some(class) = class_of(entry.op) else { continue };
            let promised = &self.history.promised;
            let period = if class.is_write() { promised.write_period } else { promised.read_period };
            if let Some(before) = last.insert(entry.op, entry.at)
                && entry.at - before + Duration::from_micros(1) < period
            {
                let (number, gap) = (entry.number, entry.at - before);
                self.broken("P8", format!("request {number} ({}) comes {gap:?} after the last one", entry.op.as_str()));
            }
        }
    }

    /// P9: after a 429 no request of its class starts before the time that it named.
    pub(super) fn throttling(&mut self) {
        let mut closed: HashMap<(Op, usize), (Instant, Instant, usize)> = HashMap::new();
        let mut events: Vec<(Instant, bool, &Request)> = Vec::new();
        for request in &self.history.requests {
            events.push((request.entry.at, false, request));
            if let Some(reply) = request.reply.filter(|reply| reply.status == 429) {
                events.push((reply.at, true, request));
            }
        }
        events.sort_by_key(|(at, is_reply, request)| (*at, *is_reply, request.entry.number));
        let mut faults = Vec::new();
        for (at, is_reply, request) in events {
            let key = (request.entry.op, self.life_of(request));
            if class_of(request.entry.op).is_none() {
                continue;
            }
            if is_reply {
                let wait = request.reply.and_then(|reply| reply.retry_after).unwrap_or_default();
                let until = at + wait;
                let gate = closed.entry(key).or_insert((at, until, request.entry.number));
                if until > gate.1 {
                    *gate = (at, until, request.entry.number);
                }
            } else if let Some((since, until, by)) = closed.get(&key)
                && at > *since
                && at + TICK < *until
            {
                let early = *until - at;
                faults.push(format!(
                    "request {} starts {early:?} before the gate of request {by} opens",
                    request.entry.number
                ));
            }
        }
        for what in faults {
            self.broken("P9", what);
        }
    }

    /// P10: attempts of a row, and repeats of a process. Where nobody ever answered, each resume may try once more.
    pub(super) fn budget(&mut self) {
        let promised = &self.history.promised;
        let mut tries: BTreeMap<(ItemId, SlotNo), usize> = BTreeMap::new();
        let mut answered: BTreeSet<(ItemId, SlotNo)> = BTreeSet::new();
        let mut repeats: BTreeMap<usize, u64> = BTreeMap::new();
        let mut faults = Vec::new();
        for sent in self.sent.iter().filter(|sent| sent.may_be_executed()) {
            let mut is_repeat = false;
            for (item, slots) in &sent.attempt.carries {
                for slot in slots {
                    let tries = tries.entry((*item, *slot)).or_default();
                    is_repeat |= *tries > 0;
                    *tries += 1;
                    let resumes = if answered.contains(&(*item, *slot)) { 0 } else { sent.life };
                    if *tries > promised.max_tries + resumes {
                        faults.push(format!("{} was sent {tries} times", self.name(*item, *slot)));
                    }
                    if sent.answer.is_some_and(|(_, answer)| answer.kind.counts() && answer.status.is_some()) {
                        answered.insert((*item, *slot));
                    }
                }
            }
            if is_repeat {
                let count = repeats.entry(sent.life).or_default();
                *count += 1;
                let began = self.history.lives.get(sent.life).map_or(sent.at(), |life| life.began);
                let allowed =
                    (sent.at().saturating_duration_since(began)).as_nanos() / promised.write_period.as_nanos();
                if u128::from(*count) > 20 + allowed / 10 {
                    faults.push(format!("request {} is repeat number {count}", sent.request.entry.number));
                }
            }
        }
        for what in faults {
            self.broken("P10", what);
        }
    }

    /// P11: after a refused authentication at most one more in a row, requests in flight apart.
    pub(super) fn authentication(&mut self) {
        let mut first: Option<(Instant, usize)> = None;
        let mut again = 0;
        let mut faults = Vec::new();
        let mut told: Vec<(Instant, &Request)> = Vec::new();
        for request in &self.history.requests {
            if let Some(reply) = request.reply {
                told.push((reply.at, request));
            }
        }
        told.sort_by_key(|(at, request)| (*at, request.entry.number));
        for (at, request) in told {
            let life = self.life_of(request);
            if request.entry.op == Op::IssueToken {
                continue;
            }
            if request.reply.is_none_or(|reply| reply.status != 401) {
                (first, again) = (None, 0);
                continue;
            }
            match first {
                Some((since, of)) if of == life => {
                    // Whatever had left before anybody heard of the last one was in flight.
                    if request.entry.at > since + self.history.promised.heard_after + TICK {
                        (first, again) = (Some((at, life)), again + 1);
                    }
                    if again == 2 {
                        faults.push(format!("request {} is the third refused authentication", request.entry.number));
                    }
                }
                _ => (first, again) = (Some((at, life)), 0),
            }
        }
        for what in faults {
            self.broken("P11", what);
        }
    }
}

/// The class that a request is paced by; `None` for what has none.
fn class_of(op: Op) -> Option<Class> {
    Class::ALL.into_iter().find(|class| class.as_str() == op.as_str())
}
