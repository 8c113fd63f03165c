//! The history checker: what was planned, what the server received and did, what became durable, and what the results
//! say, held against the promises P1–P11 (`tests/README.md`), row by row. It knows nothing of the engine: a history may come
//! from a simulation, from a killed process, or from a doctored copy of either.

mod outcomes;
mod pace;
mod undo;
mod writes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use batch_detach::testing::dispatch::verdict::is_passing;
use batch_detach::testing::journal::{
    AnswerKind, AnswerRecord, Attempt, Entry, Fate, Item, ItemId, Record, Settlement, Slot, SlotNo,
};
use batch_detach::testing::model::Class;
use batch_detach::testing::model::{Bound, DesktopId, Kind, Outcome, Refusal};
use batch_detach::testing::sim::{Change, Executed, LogEntry, Op};
use serde_json::Value;
use tokio::time::Instant;

/// What was promised to this run.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Promised {
    /// [`Class::BatchAttach`] for an undo: what is said of "bound" and "absent" below is then the other way round.
    pub(crate) class: Class,
    /// From one start of a class to the next at least.
    pub(crate) write_period: Duration,
    pub(crate) read_period: Duration,
    /// Attempts per row at most.
    pub(crate) max_tries: usize,
    /// The two reads of a proof are at least so far apart.
    pub(crate) settle_time: Duration,
    /// "Bound" counts only so long after a doubt or an accepted answer.
    pub(crate) doubt_wait: Duration,
    /// How long an answer takes to become durable; before that nobody hears of it.
    pub(crate) heard_after: Duration,
    pub(crate) verify: bool,
    /// Whether the run looked before its plan; else nobody can know who was bound beside whom.
    pub(crate) looked: bool,
    /// `--allow-detach-all`.
    pub(crate) may_detach_all: bool,
    /// Whether the server compares ids without case.
    pub(crate) ids_in_any_case: bool,
    /// Desktops of which it says that they are done, and never does them.
    pub(crate) never_done: Vec<DesktopId>,
    /// How old what a read of this server shows can be.
    pub(crate) read_lag: Duration,
}

/// One request that the server received.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) entry: LogEntry,
    /// How many records were durable as it left; `None` where nobody could look.
    pub(crate) durable: Option<usize>,
    /// What came back, if it came.
    pub(crate) reply: Option<Replied>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replied {
    pub(crate) at: Instant,
    pub(crate) status: u16,
    /// What `Retry-After` asked for, where it made sense.
    pub(crate) retry_after: Option<Duration>,
}

/// A process that drove the journal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) began: Instant,
    /// How many requests the server had received before.
    pub(crate) requests: usize,
}

/// A durable record, and when it became so.
#[derive(Debug, Clone)]
pub(crate) struct Stamped {
    pub(crate) at: Instant,
    pub(crate) record: Record,
}

/// What the results said when a process was gone.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    /// How many requests the server had received, and how many records were durable.
    pub(crate) requests: usize,
    pub(crate) records: usize,
    pub(crate) rows: Vec<ResultLine>,
}

/// One record of the results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ResultLine {
    pub(crate) line: u64,
    pub(crate) desktop: String,
    pub(crate) user: String,
    pub(crate) outcome: Outcome,
    pub(crate) code: String,
    pub(crate) attempts: u32,
}

/// Everything that is known of one run, from its plan to its end.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) promised: Promised,
    /// The lines of the input's rows, in order.
    pub(crate) lines: Vec<u64>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) items: Vec<Item>,
    /// Who was bound at first (of an undo: before the run that it takes back), and every binding that came or went since.
    pub(crate) first: BTreeMap<DesktopId, Vec<Bound>>,
    pub(crate) changes: Vec<Change>,
    pub(crate) requests: Vec<Request>,
    pub(crate) records: Vec<Stamped>,
    /// The processes that drove the journal, one after another.
    pub(crate) lives: Vec<Life>,
    /// One for each process; the last one is the end.
    pub(crate) stops: Vec<Stop>,
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// `P1` to `P11`.
    pub(crate) promise: &'static str,
    pub(crate) what: String,
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
pub(crate) fn check(history: &History) -> Vec<Violation> {
    let mut checker = Checker::new(history);
    checker.conservation();
    checker.writes();
    checker.planned();
    checker.undone();
    checker.truth();
    checker.stops();
    checker.ceilings();
    checker.throttling();
    checker.budget();
    checker.authentication();
    checker.found
}

/// The whole history, a line for each thing that happened, in order: for people who look for a fault.
pub(crate) fn tell(history: &History) -> String {
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
    lines.into_iter().map(|(at, _, what)| format!("{} {what}", since(at))).collect::<Vec<_>>().join("\n")
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

    fn refused_nobody(&self) -> bool {
        self.answer.is_some_and(|(_, answer)| answer.refused.is_empty())
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
    /// By desktop: when reads that told of it were received, and when answered.
    reads: HashMap<DesktopId, Vec<(Instant, Instant)>>,
    /// By desktop: when it was asked for by itself, and whether it was found.
    shows: HashMap<DesktopId, Vec<(Instant, bool)>>,
    /// Final words: their place among the records.
    settled: Vec<(usize, &'h Settlement, Instant)>,
    found: Vec<Violation>,
}

/// Whether `bound` holds what `slot` means.
fn holds(slot: &Slot, bound: &[Bound]) -> bool {
    slot.kind == Kind::All && !bound.is_empty() || bound.iter().any(|one| is_meant(slot, one))
}

/// Ids decide where both have one; else the name, and the domain where both have one.
fn is_meant(slot: &Slot, one: &Bound) -> bool {
    let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    if let (Some(ours), Some(theirs)) = (&slot.user_id, &one.user_id) {
        return slot.kind == one.kind && ours == theirs;
    }
    let same_domain = match (&slot.domain, &one.domain) {
        (Some(ours), Some(theirs)) => same(ours, theirs),
        _ => true,
    };
    slot.kind == one.kind && same_domain && same(&slot.user_name, &one.user_name)
}

/// Whether a request's body means this binding of this desktop: by its id where the body has one.
fn is_asked(body: &Value, desktop: &DesktopId, one: &Bound) -> bool {
    let same = |asked: &Value, ours: &str| asked.as_str().is_some_and(|asked| asked.eq_ignore_ascii_case(ours));
    let asked = body["desktops"].as_array().into_iter().flatten();
    asked.filter(|asked| same(&asked["desktop_id"], desktop.as_str())).any(|asked| {
        let infos = ["detach_user_infos", "attach_user_infos"].into_iter().filter_map(|list| asked[list].as_array());
        asked["is_detach_all_users"] == true
            || infos.flatten().any(|info| match (&info["user_id"], &one.user_id) {
                (id @ Value::String(_), Some(ours)) => same(id, ours),
                _ => info["user_name"].as_str().is_some_and(|name| name.to_lowercase() == one.user_name.to_lowercase()),
            })
    })
}

impl Request {
    /// Bindings that came or went by it, though it did not ask for them: the service goes by names.
    fn bystanders(&self) -> impl Iterator<Item = &(DesktopId, Bound)> {
        let body: Value = serde_json::from_slice(&self.entry.body).unwrap_or_default();
        self.entry.applied.iter().filter(move |(desktop, one)| !is_asked(&body, desktop, one))
    }
}

impl History {
    /// Whether a namesake came or went by a request that named somebody else.
    pub(crate) fn takes_by_name(&self) -> bool {
        self.requests.iter().any(|request| request.bystanders().next().is_some())
    }

    /// Whether the bindings are wanted: an undo's.
    fn wants_bound(&self) -> bool {
        self.promised.class == Class::BatchAttach
    }

    /// The time in which it was looked for the plan, as far as reads can show it.
    fn look(&self) -> Option<(Instant, Instant)> {
        let (first, end) = (self.requests.first()?, self.records.first()?);
        Some((first.entry.at.checked_sub(self.promised.read_lag).unwrap_or(first.entry.at), end.at))
    }
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
            shows: HashMap::new(),
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
                        .filter_map(|id| self.meant(id))
                        .collect();
                    let all = entry.query.contains("offset=");
                    let every = self.states.keys().filter(|_| all).cloned().collect::<Vec<_>>();
                    for desktop in named.into_iter().chain(every) {
                        self.reads.entry(desktop).or_default().push((entry.at, reply.at));
                    }
                }
                // "Not found" is a word on the desktop, too.
                Op::ShowDesktop if matches!(reply.status, 200 | 404) => {
                    let id = entry.path.rsplit('/').next().and_then(|id| self.meant(id));
                    if let Some(desktop) = id {
                        self.shows.entry(desktop.clone()).or_default().push((entry.at, reply.status == 200));
                        self.reads.entry(desktop).or_default().push((entry.at, reply.at));
                    }
                }
                _ => {}
            }
        }
    }

    /// The desktop that an id means.
    fn meant(&self, id: &str) -> Option<DesktopId> {
        let id = DesktopId::parse(id)?;
        let mut others = self.states.keys().filter(|_| !self.states.contains_key(&id));
        Some(others.find(|ours| self.is_same(ours, &id)).cloned().unwrap_or(id))
    }

    /// The desktop that a row means which was looked for: without case, whatever the server does.
    fn looked_for(&self, id: &str) -> Option<DesktopId> {
        let ours = self.states.keys().find(|ours| ours.as_str().eq_ignore_ascii_case(id));
        ours.cloned().or_else(|| DesktopId::parse(id))
    }

    /// Whether two ids are of one desktop.
    fn is_same(&self, one: &DesktopId, other: &DesktopId) -> bool {
        one == other || self.history.promised.ids_in_any_case && one.as_str().eq_ignore_ascii_case(other.as_str())
    }

    /// When reads of the desktop were received within that time, both ends included.
    fn reads_within(&self, desktop: &DesktopId, from: Instant, to: Instant) -> Vec<Instant> {
        let all =
            self.meant(desktop.as_str()).and_then(|desktop| self.reads.get(&desktop)).map_or(&[][..], Vec::as_slice);
        all.iter().map(|(at, _)| *at).filter(|at| from <= *at && *at <= to).collect()
    }

    /// Whether the service itself said within that time that there is no such desktop: twice in a row, far enough apart.
    fn was_called_gone(&self, desktop: &DesktopId, from: Instant, to: Instant) -> bool {
        let mut since = None;
        let shows = self.meant(desktop.as_str()).and_then(|desktop| self.shows.get(&desktop));
        for (at, is_found) in shows.into_iter().flatten() {
            if *is_found || *at < from || *at > to {
                since = None;
                continue;
            }
            if *at - *since.get_or_insert(*at) >= self.history.promised.settle_time {
                return true;
            }
        }
        false
    }

    /// Whether the server's truth had `slot` bound (or not) at any moment of that time.
    fn was(&self, desktop: &DesktopId, slot: &Slot, bound: bool, from: Instant, to: Instant) -> bool {
        self.states_within(desktop, from, to).any(|state| holds(slot, state) == bound)
    }

    fn states_within(&self, desktop: &DesktopId, from: Instant, to: Instant) -> impl Iterator<Item = &[Bound]> {
        static NOBODY: Vec<Bound> = Vec::new();
        let states = self.meant(desktop.as_str()).and_then(|desktop| self.states.get(&desktop));
        let states = states.map_or(&[][..], Vec::as_slice);
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

    /// Whether a job that is on record before record `n` says that this item failed.
    fn has_failed_job(&self, item: ItemId, n: usize) -> bool {
        let records = self.history.records.get(..n).unwrap_or(&self.history.records);
        records
            .iter()
            .any(|stamped| matches!(&stamped.record, Record::Job { item: of, refusal: Some(_), .. } if *of == item))
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
}
