//! P3 to P7: every write that the server received.

use super::*;

impl<'h> Checker<'h> {
    /// P3 to P7: every write that the server received.
    pub(super) fn writes(&mut self) {
        let history = self.history;
        let answers: HashMap<u64, (usize, &AnswerRecord)> = history
            .records
            .iter()
            .enumerate()
            .filter_map(|(n, stamped)| match &stamped.record {
                Record::Answer(answer) => Some((answer.attempt, (n, answer))),
                _ => None,
            })
            .collect();
        let mut used = BTreeSet::new();
        for request in history.requests.iter().filter(|request| request.entry.op.is_write()) {
            let durable = request.durable.unwrap_or(usize::MAX);
            let intents = history.records.iter().enumerate().rev().filter_map(|(n, stamped)| match &stamped.record {
                Record::Intent(attempt) if attempt.body_sha256 == request.entry.body_sha256 => Some((n, attempt)),
                _ => None,
            });
            let mut fitting = intents.filter(|(n, attempt)| {
                let is_answered = answers.get(&attempt.id).is_some_and(|(at, _)| *at < durable);
                *n < durable && !used.contains(&attempt.id) && (!is_answered || request.durable.is_none())
            });
            let Some((_, attempt)) = fitting.next() else {
                let what = format!("request {} has no durable intent of its own", request.entry.number);
                self.broken("P4", what);
                continue;
            };
            used.insert(attempt.id);
            let sent =
                Sent { request, attempt, answer: answers.get(&attempt.id).copied(), life: self.life_of(request) };
            self.body(&sent);
            self.not_settled(&sent);
            self.one_at_a_time(&sent);
            self.looked_at(&sent);
            self.sent.push(sent);
        }
    }

    /// P5: nothing that the plan does not hold, and exactly what the intent says.
    fn body(&mut self, sent: &Sent<'h>) {
        let number = sent.request.entry.number;
        let Ok(body) = serde_json::from_slice::<Value>(&sent.request.entry.body) else {
            return self.broken("P5", format!("request {number} is not JSON"));
        };
        let desktops = body["desktops"].as_array().cloned().unwrap_or_default();
        let mut carried: BTreeMap<&str, (&Item, &[SlotNo])> = BTreeMap::new();
        for (item, slots) in &sent.attempt.carries {
            let Some(item) = self.items.get(item) else {
                return self.broken("P5", format!("request {number} carries item {item}, which is not planned"));
            };
            carried.insert(item.desktop.as_str(), (item, slots));
        }
        for desktop in &desktops {
            let id = desktop["desktop_id"].as_str().unwrap_or_default();
            let Some((item, slots)) = carried.remove(id) else {
                self.broken("P5", format!("request {number} names desktop {id:?}, and its intent does not"));
                continue;
            };
            let planned = |slot: &SlotNo| item.slots.get(usize::from(*slot));
            if self.history.wants_bound() {
                self.attach_body(sent, desktop, slots.iter().filter_map(planned));
                continue;
            }
            let infos = desktop["detach_user_infos"].as_array().cloned().unwrap_or_default();
            match desktop["is_detach_all_users"].as_bool() {
                Some(true) => {
                    let meant = item.all && slots.iter().filter_map(planned).any(|slot| slot.kind == Kind::All);
                    if !meant || !self.history.promised.may_detach_all || !infos.is_empty() {
                        self.broken("P5", format!("request {number} detaches everybody from {id}"));
                    }
                }
                Some(false) if !infos.is_empty() => {
                    let named: Vec<_> = infos.iter().map(named).collect();
                    let wanted: Vec<_> = slots.iter().filter_map(planned).map(wanted).collect();
                    if named != wanted {
                        self.broken("P5", format!("request {number} sends {named:?} for {id}, planned {wanted:?}"));
                    }
                }
                _ => self.broken("P5", format!("request {number} does not say plainly whom to detach from {id}")),
            }
        }
        if let Some(id) = carried.keys().next() {
            self.broken("P5", format!("request {number} lacks {id}, which its intent carries"));
        }
    }

    /// P5 of an undo: whom the plan holds, each with the privilege group that he had, and no data is wiped.
    fn attach_body<'s>(&mut self, sent: &Sent<'h>, desktop: &Value, slots: impl Iterator<Item = &'s Slot>) {
        let group = |info: &Value| info["user_group"].as_str().map(str::to_owned);
        let infos = desktop["attach_user_infos"].as_array().cloned().unwrap_or_default();
        let named: Vec<_> = infos.iter().map(|info| (named(info), group(info))).collect();
        let wanted: Vec<_> = slots.map(|slot| (wanted(slot), slot.user_group.clone())).collect();
        let is_good = desktop["is_clear_data"] == false && sent.request.entry.op == Op::BatchAttach;
        if named != wanted || !is_good || desktop["is_detach_all_users"].is_boolean() {
            let number = sent.request.entry.number;
            self.broken("P5", format!("request {number} sends {desktop}, planned {wanted:?}"));
        }
    }

    /// P3: nothing that has its final word is sent again.
    fn not_settled(&mut self, sent: &Sent<'h>) {
        let Some(durable) = sent.request.durable else { return };
        for (item, slots) in &sent.attempt.carries {
            for slot in slots {
                let mut words = self.settled.iter().rev().filter(|(n, settlement, _)| {
                    *n < durable && settlement.item == *item && settlement.slots.contains(slot)
                });
                if let Some((_, word, _)) = words.next()
                    && is_final(word.result.outcome)
                {
                    let (number, name) = (sent.request.entry.number, self.name(*item, *slot));
                    self.broken(
                        "P3",
                        format!("request {number} sends {name}, which is {} already", word.result.outcome),
                    );
                }
            }
        }
    }

    /// P6 and P7: every earlier write for the same desktop is closed, one in doubt by reads.
    fn one_at_a_time(&mut self, sent: &Sent<'h>) {
        let mut faults = Vec::new();
        for (item, _) in &sent.attempt.carries {
            let Some(planned) = self.items.get(item) else { continue };
            for earlier in &self.sent {
                for (other, slots) in &earlier.attempt.carries {
                    let same_desktop =
                        self.items.get(other).is_some_and(|other| self.is_same(&other.desktop, &planned.desktop));
                    if same_desktop && let Some(fault) = self.open(earlier, (*other, slots), sent, *item) {
                        faults.push(fault);
                    }
                }
            }
        }
        for (promise, what) in faults {
            self.broken(promise, what);
        }
    }

    /// Why `earlier` still holds its desktop open as `later` is sent.
    fn open(
        &self,
        earlier: &Sent<'h>,
        (item, slots): (ItemId, &[SlotNo]),
        later: &Sent<'h>,
        by: ItemId,
    ) -> Option<(&'static str, String)> {
        let durable = later.request.durable.unwrap_or(usize::MAX);
        let answer = earlier.answer.filter(|(n, _)| *n < durable).map(|(_, answer)| answer);
        let pair = format!("requests {} and {}", earlier.request.entry.number, later.request.entry.number);
        let desktop = &self.items.get(&item)?.desktop;
        match answer {
            Some(answer) if answer.kind.is_not_executed() => return None,
            // Gone with its process; the next one must read first.
            None if earlier.life == later.life => {
                return Some(("P6", format!("{pair} are on the wire for {desktop} together")));
            }
            _ => {}
        }
        let is_settled = |slot: &SlotNo| {
            self.settled.iter().any(|(n, settlement, _)| {
                *n < durable
                    && settlement.item == item
                    && settlement.slots.contains(slot)
                    && is_final(settlement.result.outcome)
            })
        };
        if slots.iter().all(is_settled) {
            return None;
        }
        if item != by {
            return Some(("P6", format!("{pair} are open for {desktop} together")));
        }
        let answered = earlier.request.reply.map_or(earlier.at(), |reply| reply.at);
        let doubt = answer.is_none_or(|answer| answer.kind == AnswerKind::Doubt);
        let is_refused = earlier.refused(item).is_some() || self.has_failed_job(item, durable);
        if !doubt && is_refused {
            let reads = self.reads_within(desktop, answered, later.at());
            return reads.is_empty().then(|| ("P6", format!("{pair}: {desktop} was refused, and not read in between")));
        }
        let from = if doubt { earlier.at() } else { answered } + self.history.promised.doubt_wait;
        let again =
            later.slots(item).iter().filter(|slot| slots.contains(slot)).filter_map(|slot| self.slot(item, *slot));
        let blind = again
            .into_iter()
            .find(|(_, slot)| !self.is_proved(desktop, slot, !self.history.wants_bound(), from, later.at()));
        let (_, slot) = blind?;
        let promise = if doubt { "P7" } else { "P6" };
        Some((
            promise,
            format!("{pair}: {desktop}/{:?} is sent again, and no two reads saw it unchanged", slot.user_name),
        ))
    }

    /// P7: `ALL` is sent only right after a read that shows nobody who was not planned.
    fn looked_at(&mut self, sent: &Sent<'h>) {
        for (id, slots) in &sent.attempt.carries {
            let Some(item) = self.items.get(id).copied() else { continue };
            let all =
                item.all && slots.iter().any(|slot| self.slot(*id, *slot).is_some_and(|(_, s)| s.kind == Kind::All));
            if !all {
                continue;
            }
            let from = sent.at().checked_sub(LOOK_LASTS).unwrap_or(sent.at());
            let lag = self.history.promised.read_lag;
            let planned = |one: &Bound| item.slots.iter().any(|slot| is_meant(slot, one));
            let reads = self.meant(item.desktop.as_str()).and_then(|desktop| self.reads.get(&desktop));
            let good = reads.into_iter().flatten().any(|(read, answered)| {
                if *answered < from || *answered > sent.at() {
                    return false;
                }
                let seen = read.checked_sub(lag).unwrap_or(*read);
                self.states_within(&item.desktop, seen, seen).any(|bound| bound.iter().all(planned))
            });
            if !good {
                let number = sent.request.entry.number;
                self.broken("P7", format!("request {number} detaches all of {} without a good look", item.desktop));
            }
        }
    }
}

type Named = (String, String, Option<String>, Option<String>);

fn named(info: &Value) -> Named {
    let text = |field: &str| info[field].as_str().map(str::to_owned);
    let kind = text("type").unwrap_or_else(|| "USER".to_owned());
    (kind, text("user_name").unwrap_or_default(), text("user_id"), text("domain"))
}

fn wanted(slot: &Slot) -> Named {
    (slot.kind.to_string(), slot.user_name.clone(), slot.user_id.clone(), slot.domain.clone())
}
