//! The history checker: what was planned, what the server received and did, what became durable, and what the results
//! say, held against the promises P1–P11 of RELIABILITY.md, row by row. It knows nothing of the engine: a history may come
//! from a simulation, from a killed process, or from a doctored copy of either.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use batch_detach::api::Class;
use batch_detach::dispatch::verdict::is_passing;
use batch_detach::journal::{
    AnswerKind, AnswerRecord, Attempt, Entry, Fate, Item, ItemId, Record, Settlement, Slot, SlotNo,
};
use batch_detach::model::{Bound, DesktopId, Kind, Outcome, Refusal};
use batch_detach::sim::{Change, LogEntry, Op};
use serde_json::Value;
use tokio::time::Instant;

/// What was promised to this run.
#[derive(Debug, Clone)]
pub struct Promised {
    /// From one start of a class to the next at least.
    pub write_period: Duration,
    pub read_period: Duration,
    /// Attempts per row at most.
    pub max_tries: usize,
    /// The two reads of a proof are at least so far apart.
    pub settle_time: Duration,
    /// "Bound" counts only so long after a doubt or an accepted answer.
    pub doubt_wait: Duration,
    pub verify: bool,
    pub preflight: bool,
    /// `--allow-detach-all`.
    pub may_detach_all: bool,
    /// How old what a read of this server shows can be.
    pub read_lag: Duration,
}

/// One request that the server received.
#[derive(Debug, Clone)]
pub struct Request {
    pub entry: LogEntry,
    /// How many records were durable as it left; `None` where nobody could look.
    pub durable: Option<usize>,
    /// What came back, if it came.
    pub reply: Option<Replied>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replied {
    pub at: Instant,
    pub status: u16,
    /// What `Retry-After` asked for, where it made sense.
    pub retry_after: Option<Duration>,
}

/// A process that drove the journal.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    pub began: Instant,
    /// How many requests the server had received before.
    pub requests: usize,
}

/// A durable record, and when it became so.
#[derive(Debug, Clone)]
pub struct Stamped {
    pub at: Instant,
    pub record: Record,
}

/// What the results said when a process was gone.
#[derive(Debug, Clone)]
pub struct Stop {
    pub at: Instant,
    /// How many requests the server had received, and how many records were durable.
    pub requests: usize,
    pub records: usize,
    pub rows: Vec<ResultLine>,
}

/// One record of the results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultLine {
    pub line: u64,
    pub desktop: String,
    pub user: String,
    pub outcome: Outcome,
    pub code: String,
    pub attempts: u32,
}

/// Everything that is known of one run, from its plan to its end.
#[derive(Debug, Clone)]
pub struct History {
    pub promised: Promised,
    /// The lines of the input's rows, in order.
    pub lines: Vec<u64>,
    pub entries: Vec<Entry>,
    pub items: Vec<Item>,
    /// Who was bound at first, and every binding that came or went since.
    pub first: BTreeMap<DesktopId, Vec<Bound>>,
    pub changes: Vec<Change>,
    pub requests: Vec<Request>,
    pub records: Vec<Stamped>,
    /// The processes that drove the journal, one after another.
    pub lives: Vec<Life>,
    /// One for each process; the last one is the end.
    pub stops: Vec<Stop>,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// `P1` to `P11`.
    pub promise: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.what)
    }
}

/// Timers of the runtime have whole milliseconds, and so has the server's own lateness.
const TICK: Duration = Duration::from_millis(2);
/// A look that allows an `ALL` may be so old: the engine's own 10 s and one turn at the gate.
const LOOK_LASTS: Duration = Duration::from_secs(12);

/// Checks everything; no violation means that all promises were kept.
pub fn check(history: &History) -> Vec<Violation> {
    let mut checker = Checker::new(history);
    checker.conservation();
    checker.writes();
    checker.truth();
    checker.stops();
    checker.ceilings();
    checker.throttling();
    checker.budget();
    checker.authentication();
    checker.found
}

/// The whole history, a line for each thing that happened, in order: for people who look for a fault.
pub fn tell(history: &History) -> String {
    let Some(origin) = history.lives.first().map(|life| life.began) else { return String::new() };
    let since = |at: Instant| match at.checked_duration_since(origin) {
        Some(after) => format!("{:>10.3}", after.as_secs_f64()),
        None => format!("{:>10.3}", -origin.duration_since(at).as_secs_f64()),
    };
    let mut lines: Vec<(Instant, u8, String)> = Vec::new();
    for (n, life) in history.lives.iter().enumerate() {
        lines.push((life.began, 0, format!("process {n} begins")));
    }
    for change in &history.changes {
        let (sign, who) = (if change.attached { '+' } else { '-' }, &change.bound);
        let what = format!("  {sign} {}/{} {:?} by {:?}", change.desktop, who.kind, who.user_name, change.request);
        lines.push((change.at, 1, what));
    }
    for Request { entry, durable, reply } in &history.requests {
        let (op, id) = (entry.op.as_str(), entry.path.rsplit('/').next().unwrap_or_default());
        let status = reply.map(|reply| (reply.status, since(reply.at)));
        let what =
            format!("  -> {} {op} {id} {} {:?} {status:?} ({durable:?})", entry.number, entry.query, entry.executed);
        lines.push((entry.at, 2, what));
    }
    for (n, Stamped { at, record }) in history.records.iter().enumerate() {
        lines.push((*at, 3, format!("  = {n} {record:?}")));
    }
    lines.sort_by_key(|(at, kind, _)| (*at, *kind));
    lines.into_iter().map(|(at, _, what)| format!("{} {what}\n", since(at))).collect()
}

/// A write that the server received, and the intent behind it.
struct Sent<'h> {
    request: &'h Request,
    attempt: &'h Attempt,
    /// The answer's place among the records, where one is on record.
    answer: Option<(usize, &'h AnswerRecord)>,
    life: usize,
}

impl Sent<'_> {
    fn at(&self) -> Instant {
        self.request.entry.at
    }

    /// Whether it may have changed something, as far as the journal can know.
    fn may_be_executed(&self) -> bool {
        self.answer.is_none_or(|(_, answer)| !answer.kind.is_not_executed())
    }

    fn slots(&self, item: ItemId) -> &[SlotNo] {
        self.attempt.carries.iter().find(|(id, _)| *id == item).map_or(&[], |(_, slots)| slots)
    }

    fn refused(&self, item: ItemId) -> Option<&Refusal> {
        let (_, answer) = self.answer?;
        answer.refused.iter().find(|(id, _)| *id == item).map(|(_, refusal)| refusal)
    }
}

/// Who was bound to a desktop from when on, in order of time; at first since ever.
type States = Vec<(Option<Instant>, Vec<Bound>)>;

struct Checker<'h> {
    history: &'h History,
    items: HashMap<ItemId, &'h Item>,
    states: HashMap<DesktopId, States>,
    sent: Vec<Sent<'h>>,
    /// By desktop: when reads that told of it were received.
    reads: HashMap<DesktopId, Vec<Instant>>,
    /// Final words: their place among the records.
    settled: Vec<(usize, &'h Settlement, Instant)>,
    found: Vec<Violation>,
}

/// Whether `bound` holds what `slot` means.
fn holds(slot: &Slot, bound: &[Bound]) -> bool {
    slot.kind == Kind::All && !bound.is_empty() || bound.iter().any(|one| is_meant(slot, one))
}

fn is_meant(slot: &Slot, one: &Bound) -> bool {
    let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    let same_id = slot.user_id.is_some() && slot.user_id == one.user_id;
    let same_domain = match (&slot.domain, &one.domain) {
        (Some(ours), Some(theirs)) => same(ours, theirs),
        _ => true,
    };
    slot.kind == one.kind && (same_id || same_domain && same(&slot.user_name, &one.user_name))
}

const fn is_final(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Unknown | Outcome::Planned)
}

impl<'h> Checker<'h> {
    fn new(history: &'h History) -> Self {
        let mut states: HashMap<DesktopId, States> = HashMap::new();
        for (desktop, bound) in &history.first {
            states.insert(desktop.clone(), vec![(None, bound.clone())]);
        }
        for change in &history.changes {
            let states = states.entry(change.desktop.clone()).or_default();
            let mut now = states.last().map(|(_, bound)| bound.clone()).unwrap_or_default();
            if change.attached {
                now.push(change.bound.clone());
            } else {
                now.retain(|one| *one != change.bound);
            }
            states.push((Some(change.at), now));
        }
        let settled = history.records.iter().enumerate().filter_map(|(n, stamped)| match &stamped.record {
            Record::Settled(settlement) => Some((n, settlement, stamped.at)),
            _ => None,
        });
        let mut checker = Self {
            history,
            items: history.items.iter().map(|item| (item.id, item)).collect(),
            states,
            sent: Vec::new(),
            reads: HashMap::new(),
            settled: settled.collect(),
            found: Vec::new(),
        };
        checker.find_reads();
        checker
    }

    fn broken(&mut self, promise: &'static str, what: impl Into<String>) {
        self.found.push(Violation { promise, what: what.into() });
    }

    fn find_reads(&mut self) {
        for Request { entry, reply, .. } in &self.history.requests {
            let Some(reply) = reply else { continue };
            match entry.op {
                Op::ListDesktops if reply.status == 200 => {
                    let named: Vec<_> = entry
                        .query
                        .split('&')
                        .filter_map(|pair| pair.strip_prefix("desktop_id="))
                        .filter_map(DesktopId::parse)
                        .collect();
                    let all = entry.query.contains("offset=");
                    let every = self.states.keys().filter(|_| all).cloned().collect::<Vec<_>>();
                    for desktop in named.into_iter().chain(every) {
                        self.reads.entry(desktop).or_default().push(entry.at);
                    }
                }
                // "Not found" is a word on the desktop, too.
                Op::ShowDesktop if matches!(reply.status, 200 | 404) => {
                    let id = entry.path.rsplit('/').next().and_then(DesktopId::parse);
                    if let Some(desktop) = id {
                        self.reads.entry(desktop).or_default().push(entry.at);
                    }
                }
                _ => {}
            }
        }
    }

    /// When reads of the desktop were received within that time, both ends included.
    fn reads_within(&self, desktop: &DesktopId, from: Instant, to: Instant) -> Vec<Instant> {
        let all = self.reads.get(desktop).map_or(&[][..], Vec::as_slice);
        all.iter().copied().filter(|at| from <= *at && *at <= to).collect()
    }

    /// Whether the server's truth had `slot` bound (or not) at any moment of that time.
    fn was(&self, desktop: &DesktopId, slot: &Slot, bound: bool, from: Instant, to: Instant) -> bool {
        self.states_within(desktop, from, to).any(|state| holds(slot, state) == bound)
    }

    fn states_within(&self, desktop: &DesktopId, from: Instant, to: Instant) -> impl Iterator<Item = &[Bound]> {
        static NOBODY: Vec<Bound> = Vec::new();
        let states = self.states.get(desktop).map_or(&[][..], Vec::as_slice);
        let ends = states.iter().skip(1).map(|(at, _)| *at).chain([None]);
        let within = states.iter().zip(ends).filter(move |((began, _), ended)| {
            began.is_none_or(|began| began <= to) && ended.is_none_or(|ended| from <= ended)
        });
        let none = states.is_empty().then_some(NOBODY.as_slice());
        within.map(|((_, bound), _)| bound.as_slice()).chain(none)
    }

    /// Whether a read that was received then can have shown `slot` bound (or not).
    fn showed(&self, desktop: &DesktopId, slot: &Slot, bound: bool, read: Instant) -> bool {
        let lag = self.history.promised.read_lag;
        let seen = read.checked_sub(lag).unwrap_or(read);
        self.was(desktop, slot, bound, seen, seen)
    }

    /// Whether reads within that time proved `slot` bound (or not): two, far enough apart, that both showed it so.
    fn is_proved(&self, desktop: &DesktopId, slot: &Slot, bound: bool, from: Instant, to: Instant) -> bool {
        let mut reads = self.reads_within(desktop, from, to);
        reads.retain(|read| self.showed(desktop, slot, bound, *read));
        match (reads.first(), reads.last()) {
            (Some(first), Some(last)) => *last - *first >= self.history.promised.settle_time,
            _ => false,
        }
    }

    fn slot(&self, item: ItemId, slot: SlotNo) -> Option<(&'h Item, &'h Slot)> {
        let item = self.items.get(&item)?;
        Some((item, item.slots.get(usize::from(slot))?))
    }

    fn name(&self, item: ItemId, slot: SlotNo) -> String {
        match self.slot(item, slot) {
            Some((item, slot)) => format!("{}/{} {:?}", item.desktop, slot.kind, slot.user_name),
            None => format!("item {item} slot {slot}"),
        }
    }

    /// The life of the process that made a request.
    fn life_of(&self, request: &Request) -> usize {
        self.history.lives.iter().rposition(|life| life.requests <= request.entry.number).unwrap_or(0)
    }

    /// P1: every row of the input, in order, with one record or more, and what the plan settled as the plan said.
    fn conservation(&mut self) {
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

    /// P3 to P7: every write that the server received.
    fn writes(&mut self) {
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

    /// P3: nothing that has its final word is sent again.
    fn not_settled(&mut self, sent: &Sent<'h>) {
        let Some(durable) = sent.request.durable else { return };
        for (item, slots) in &sent.attempt.carries {
            for slot in slots {
                let words = self.settled.iter().filter(|(n, settlement, _)| {
                    *n < durable && settlement.item == *item && settlement.slots.contains(slot)
                });
                if let Some((_, word, _)) = words.last()
                    && is_final(word.outcome)
                {
                    let (number, name) = (sent.request.entry.number, self.name(*item, *slot));
                    self.broken("P3", format!("request {number} sends {name}, which is {} already", word.outcome));
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
                    let same_desktop = self.items.get(other).is_some_and(|other| other.desktop == planned.desktop);
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
                    && is_final(settlement.outcome)
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
        if !doubt && earlier.refused(item).is_some() {
            let reads = self.reads_within(desktop, answered, later.at());
            return reads.is_empty().then(|| ("P6", format!("{pair}: {desktop} was refused, and not read in between")));
        }
        let from = if doubt { earlier.at() } else { answered } + self.history.promised.doubt_wait;
        let again =
            later.slots(item).iter().filter(|slot| slots.contains(slot)).filter_map(|slot| self.slot(item, *slot));
        let blind = again.into_iter().find(|(_, slot)| !self.is_proved(desktop, slot, true, from, later.at()));
        let (_, slot) = blind?;
        let promise = if doubt { "P7" } else { "P6" };
        Some((promise, format!("{pair}: {desktop}/{:?} is sent again, and no two reads saw it bound", slot.user_name)))
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
            let good = self.reads_within(&item.desktop, from, sent.at()).into_iter().any(|read| {
                let seen = read.checked_sub(lag).unwrap_or(read);
                self.states_within(&item.desktop, seen, seen).any(|bound| bound.iter().all(planned))
            });
            if !good {
                let number = sent.request.entry.number;
                self.broken("P7", format!("request {number} detaches all of {} without a good look", item.desktop));
            }
        }
    }

    /// P2: the last word on every slot, against the server's truth and the reads that it rests on.
    fn truth(&mut self) {
        let mut last: BTreeMap<(ItemId, SlotNo), (usize, &Settlement, Instant)> = BTreeMap::new();
        for (n, settlement, at) in &self.settled {
            for slot in &settlement.slots {
                last.insert((settlement.item, *slot), (*n, settlement, *at));
            }
        }
        for ((item, slot), (n, settlement, at)) in last {
            if let Some(what) = self.untrue(item, slot, n, settlement, at) {
                let name = self.name(item, slot);
                let (outcome, code) = (settlement.outcome, &settlement.code);
                self.broken("P2", format!("{name} is {outcome} {code}: {what} ({})", settlement.evidence));
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
        let origin = self.history.lives.first().map_or(at, |life| life.began);
        let from = last.map_or(origin, |sent| sent.at());
        let seen_then = |bound| {
            let window = promised.read_lag + promised.settle_time + TICK;
            self.was(desktop, slot, bound, at.checked_sub(window).unwrap_or(at), at)
        };
        match word.outcome {
            Outcome::Detached => {
                // One that was refused whole counts: the binding was there, or nobody had looked, and is not any more.
                if !self.is_intended(id, number, n, |_| true) {
                    return Some("it was never sent".to_owned());
                }
                if !promised.verify {
                    let clean = |sent: &&&Sent<'_>| {
                        sent.answer.is_some_and(|(_, answer)| answer.kind == AnswerKind::Answered)
                            && sent.refused(id).is_none()
                    };
                    if last.filter(clean).is_some() {
                        return None;
                    }
                }
                (!self.is_proved(desktop, slot, false, from, at))
                    .then(|| "no two reads after it was sent can have shown it absent".to_owned())
            }
            Outcome::AlreadyDetached => {
                let applied = self.history.changes.iter().any(|change| {
                    change.request.is_some()
                        && !change.attached
                        && change.desktop == *desktop
                        && change.at <= at
                        && is_meant(slot, &change.bound)
                });
                if slot.seen && (applied || intended) {
                    return Some("it was bound at preflight, and sent".to_owned());
                }
                let reads = self.reads_within(desktop, from, at);
                let shown = |read: &Instant| self.showed(desktop, slot, false, *read);
                (!reads.iter().any(shown)).then(|| "no read can have shown it absent".to_owned())
            }
            Outcome::Failed => self.unfounded(id, number, word, (from, at), seen_then(true)),
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
        bound: bool,
    ) -> Option<String> {
        let promised = &self.history.promised;
        let (item, slot) = self.slot(id, number)?;
        if word.code.is_empty() {
            return Some("it names no code".to_owned());
        }
        let refusal = Refusal { code: word.code.clone(), message: word.message.clone() };
        // Never seen and not there: a typo is no success.
        let nobody = |state: &[Bound]| state.is_empty();
        let exists = item.seen || !self.states_within(&item.desktop, at, at).any(nobody);
        if !promised.verify && !matches!(word.code.as_str(), "STILL_BOUND") {
            return None; // the service's own word was taken
        }
        if !bound && exists {
            return Some("it was not bound then".to_owned());
        }
        // Busy up to the deadline, or new people on an `ALL`: no two good reads are to be had, or needed.
        let needs_no_proof = is_passing(&refusal) || word.code == "BUSY" || !exists || item.all;
        let counts = if word.code == "STILL_BOUND" && !word.recheck && word.evidence.starts_with("unchanged") {
            from + promised.doubt_wait
        } else {
            from
        };
        (!needs_no_proof && !self.is_proved(&item.desktop, slot, true, counts, at))
            .then(|| "no two reads can have shown it bound".to_owned())
    }

    /// Whether an intent before record `n` carries the slot, of those that `counts`.
    fn is_intended(&self, item: ItemId, slot: SlotNo, n: usize, counts: impl Fn(u64) -> bool) -> bool {
        self.history.records[..n].iter().any(|stamped| match &stamped.record {
            Record::Intent(attempt) => {
                attempt.carries.iter().any(|(id, slots)| *id == item && slots.contains(&slot)) && counts(attempt.id)
            }
            _ => false,
        })
    }

    /// Whether an answer before record `n` proves that the attempt was not executed.
    fn is_known_not_executed(&self, attempt: u64, n: usize) -> bool {
        self.history.records[..n].iter().any(|stamped| match &stamped.record {
            Record::Answer(answer) => answer.attempt == attempt && answer.kind.is_not_executed(),
            _ => false,
        })
    }

    /// P2 and P3 at every stop: what has no final word is `unknown` where it may have been executed, else `not_sent`.
    fn stops(&mut self) {
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
                        .is_some_and(|(item, slot)| item.desktop == *desktop && is_meant(slot, bound))
                });
                let maybe = |attempt| !self.is_known_not_executed(attempt, stop.records);
                let intended = self.is_intended(*item, *slot, stop.records, maybe);
                let words = self.settled.iter().filter(|(n, settlement, _)| {
                    *n < stop.records && settlement.item == *item && settlement.slots.contains(slot)
                });
                let word = words.last().map(|(_, settlement, _)| settlement.outcome);
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

    /// P8: no two starts of a class closer than its ceiling allows, whoever sends.
    fn ceilings(&mut self) {
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
    fn throttling(&mut self) {
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

    /// P10: attempts of a row, and repeats of a process.
    fn budget(&mut self) {
        let promised = &self.history.promised;
        let mut tries: BTreeMap<(ItemId, SlotNo), usize> = BTreeMap::new();
        let mut repeats: BTreeMap<usize, u64> = BTreeMap::new();
        let mut faults = Vec::new();
        for sent in self.sent.iter().filter(|sent| sent.may_be_executed()) {
            let mut is_repeat = false;
            for (item, slots) in &sent.attempt.carries {
                for slot in slots {
                    let tries = tries.entry((*item, *slot)).or_default();
                    is_repeat |= *tries > 0;
                    *tries += 1;
                    if *tries == promised.max_tries + 1 {
                        faults.push(format!("{} was sent {tries} times", self.name(*item, *slot)));
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
    fn authentication(&mut self) {
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
                    again += usize::from(request.entry.at > since);
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

type Named = (String, String, Option<String>, Option<String>);

fn named(info: &Value) -> Named {
    let text = |field: &str| info[field].as_str().map(str::to_owned);
    let kind = text("type").unwrap_or_else(|| "USER".to_owned());
    (kind, text("user_name").unwrap_or_default(), text("user_id"), text("domain"))
}

fn wanted(slot: &Slot) -> Named {
    (slot.kind.to_string(), slot.user_name.clone(), slot.user_id.clone(), slot.domain.clone())
}
