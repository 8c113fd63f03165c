//! What the engine knows and what it does next. Decides only: takes what happened, gives operations, records and
//! events. Time is an argument, and nothing in here waits, sends or touches a disk.

mod answers;
mod begin;
mod next_op;
mod reads;
mod settle;
mod writes;

pub use settle::kind_of;
use settle::{rows_of, split_seen};

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::rules::{ALIKE_LIMIT, FIRST_TRIES, FORBIDDEN_LIMIT, MAX_BUSY_WAIT, Rules, STOP_AT_FROM, StopReason};
use super::verdict::{Verdict, is_passing};
use crate::journal::record::{
    AnswerKind, Attempt, AttemptId, ItemId, OpenItem, Record, RowOutcome, Settlement, SlotNo,
};
use crate::journal::{Item, LastAttempt};
use crate::model::Class;
use crate::model::Event;
use crate::model::{DesktopId, Kind, LiveDesktop, Outcome, PartLabel, Refusal};
use crate::pace::{Budget, Ceiling, Held, MAX_GATE, backoff};
use crate::reconcile::judge::{Proof, ReadSpan, Sight, Watch, newcomers};
use crate::reconcile::reads::{JobWord, ReadFault};
use crate::text::timestamp_now;

/// Ids in one `desktop_id` filter at most.
pub const MAX_IDS_PER_READ: usize = 100;
/// The first look at a desktop after its answer; grows where the service is slower, but not over the doubt wait, from
/// which on every look counts.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// A job that is not found is waited for so long after its answer.
const JOB_APPEARS_WITHIN: Duration = Duration::from_secs(30);
/// A look older than this no longer allows an `ALL` to be sent.
pub const LOOK_LASTS: Duration = Duration::from_secs(10);
/// Chunks that may wait for an open desktop before no more are loaded.
const MAX_ASIDE: usize = 1_000;
/// Chunks that are loaded in one go: each wait for the journal is one for its sync, too.
const MAX_LOADED_AT_ONCE: usize = 16;
/// Parts that are kept ready at most, however many may be under way: each holds its items.
const MAX_READY: usize = 2 * MAX_LOADED_AT_ONCE;

/// What one request will carry: the open slots of these items.
#[derive(Debug, Clone)]
pub struct Part {
    pub label: PartLabel,
    pub items: Vec<ItemId>,
    /// A new attempt (after a doubt, a busy desktop or "still bound"): it draws on the budget of repeats.
    repeat: bool,
    /// Connections that failed in a row.
    failures: u32,
    /// When its items were looked at, where they had to be.
    looked_at: Option<Instant>,
    /// It waited aside, and has to be looked at first.
    look: bool,
}

impl Part {
    fn new(label: PartLabel, items: Vec<ItemId>) -> Self {
        Self { label, items, repeat: false, failures: 0, looked_at: None, look: false }
    }

    /// Whether it may only be sent after a look, and the last one is longer ago than `lasts`.
    pub fn is_stale(&self, now: Instant, lasts: Duration) -> bool {
        self.looked_at.is_some_and(|at| now.saturating_duration_since(at) > lasts)
    }

    /// Until when it may leave without another look, if a look holds so long.
    pub fn good_until(&self, lasts: Duration) -> Option<Instant> {
        self.looked_at.map(|at| at + lasts)
    }

    /// It was looked at just now, and may go.
    pub fn looked(&mut self, at: Instant) {
        self.looked_at = Some(at);
    }

    /// It may not go before it was looked at once more.
    pub fn look_again(&mut self) {
        self.look = true;
    }
}

/// Something to do, for the engine.
#[derive(Debug)]
pub enum Op {
    /// Load the open items of these chunks from the journal.
    Load(Vec<u32>),
    /// Make the intent durable, wait for the gate, send.
    Write { part: Part, attempt: Attempt, desktops: Vec<(ItemId, DesktopId)>, users: usize, generation: u32 },
    /// Wait for the turn of a read of the list; what to read is asked for when it comes.
    ReadTurn,
    /// Read one desktop by itself, since the list lacked it.
    Show { item: ItemId, desktop: DesktopId, generation: u32 },
    /// Ask a job.
    Job { job_id: String, generation: u32 },
    /// Renew the credentials, once for everybody.
    Renew,
    /// Load what was ever in doubt, for the last read.
    LoadRechecks,
}

/// What came of an operation.
#[derive(Debug)]
pub enum Done {
    /// Chunks with their open items, in the order asked.
    Loaded {
        chunks: Vec<(u32, Vec<OpenItem>)>,
    },
    Wrote {
        part: Part,
        request_id: String,
        verdict: Verdict,
        began: Instant,
        ended: Instant,
        status: Option<u16>,
        generation: u32,
        /// A 429 that asks for more than anybody should wait.
        too_long: Option<Duration>,
    },
    /// Stopped before it left.
    Withdrawn {
        part: Part,
        /// Why the look right before it told nothing.
        fault: Option<ReadFault>,
        generation: u32,
    },
    /// The turn of a read has come; the engine asks [`State::read_turn`] what to read.
    Turn {
        turn: Held,
    },
    /// The turn of a read was given up.
    TurnLost,
    ShowLost {
        item: ItemId,
    },
    JobLost {
        job_id: String,
    },
    Read {
        asked: Vec<ItemId>,
        result: Result<Vec<LiveDesktop>, ReadFault>,
        span: ReadSpan,
        generation: u32,
    },
    Shown {
        item: ItemId,
        result: Result<Option<LiveDesktop>, ReadFault>,
        span: ReadSpan,
        generation: u32,
    },
    /// `None`: the job is not found.
    JobTold {
        job_id: String,
        result: Result<Option<JobWord>, ReadFault>,
        generation: u32,
    },
    Renewed(Result<bool, String>),
    Rechecks(Vec<(Item, Vec<Settlement>)>),
    /// `lost`: nothing was asked.
    Probed {
        result: Result<(), ReadFault>,
        generation: u32,
        lost: bool,
    },
}

/// What follows from what happened: records to make durable, then events to tell.
#[derive(Debug, Default)]
pub struct Output {
    pub records: Vec<Record>,
    pub events: Vec<Event>,
}

/// An item in work.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and none excludes another")]
struct Live {
    item: Item,
    /// Slots without their final word.
    open: Vec<SlotNo>,
    label: PartLabel,
    /// Writes that carried it (429s and failed connections not counted): the `attempts` of its rows.
    carried: u32,
    /// Writes that may have changed something: what the limit of attempts counts.
    tries: u32,
    ever_doubt: bool,
    seen_bound: Vec<SlotNo>,
    refusal: Option<Refusal>,
    /// The state that the desktop is in forbids it, or somebody else has it: waiting and trying again is of no use.
    stuck: bool,
    /// The job of its last write never appeared, so nothing was said of it.
    unspoken: bool,
    request_id: String,
    job_id: String,
    phase: Phase,
    busy_rounds: u32,
    busy_since: Option<Instant>,
    deadline: Instant,
    /// One more read was granted past the deadline.
    overtime: bool,
    due: Option<Instant>,
    /// How long after its answer it was, or will be, looked at first.
    waited: Duration,
}

#[derive(Debug)]
enum Phase {
    /// In a part that waits to be sent.
    Queued,
    Sending,
    /// Its job is followed first.
    InJob,
    /// Read before it is sent.
    Looking,
    /// Its part was refused because some desktop is busy: is it this one?
    Triage(u64),
    /// Known to be busy: waits until it is idle.
    Busy,
    Watching(Watch),
    /// Could not be read in time: `unknown` (or `not_sent`) until a resume.
    Parked,
}

/// A part that was refused because some desktop of it is busy.
#[derive(Debug)]
struct Triage {
    part: Part,
    cause: Refusal,
    waiting: usize,
    seen: Vec<(ItemId, Look)>,
}

/// What a read shows of a desktop that may be the busy one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Busy,
    /// In a state that forbids it, however long one waits.
    Stuck,
    /// Nothing to see.
    Idle,
}

impl Look {
    fn at(sight: Sight<'_>) -> Self {
        match sight {
            Sight::Shown(desktop) if !desktop.is_idle() => Self::Busy,
            Sight::Shown(desktop) if desktop.is_stuck() => Self::Stuck,
            Sight::Shown(_) | Sight::Nowhere => Self::Idle,
        }
    }
}

#[derive(Debug)]
struct JobWatch {
    items: Vec<ItemId>,
    due: Instant,
    asked: bool,
    since: Instant,
}

#[derive(Debug)]
struct Recheck {
    item: Item,
    settled: Vec<Settlement>,
    /// Set once a read differed from the outcome: two more decide.
    watch: Option<Watch>,
    deadline: Instant,
    due: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Proved,
    /// Not yet answered with these credentials: one request out at a time.
    Unproved,
    Renewing,
}

#[derive(Debug, PartialEq, Eq)]
struct Later(Reverse<(Instant, u64)>, u64);

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// See the module.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and none excludes another")]
pub struct State {
    rules: Rules,
    /// What the grid of reads that may wait a little counts from.
    began: Instant,
    random: fastrand::Rng,
    items: HashMap<ItemId, Live>,
    /// Which item holds a desktop open: no second write for it meanwhile (P6).
    holders: HashMap<DesktopId, ItemId>,
    /// Parts that wait for a desktop that another item holds open.
    aside: HashMap<DesktopId, Vec<Part>>,
    aside_items: usize,
    parked: usize,
    ready: VecDeque<Part>,
    /// Parts that wait for a time, by number.
    later: BinaryHeap<Later>,
    waiting: HashMap<u64, Part>,
    serial: u64,
    /// Chunks with open items that are not loaded yet, by number.
    todo: VecDeque<u32>,
    loading: bool,
    resumed: bool,
    next_attempt: AttemptId,
    /// How many parts each chunk was divided into.
    divided: HashMap<u32, u32>,
    due: BTreeSet<(Instant, ItemId)>,
    shows: VecDeque<ItemId>,
    turn_asked: bool,
    reads_out: usize,
    writes_out: usize,
    jobs: BTreeMap<String, JobWatch>,
    triages: HashMap<u64, Triage>,
    budget: Budget,
    first_look: Duration,
    access: Access,
    generation: u32,
    renewed_since_success: bool,
    renew_asked: bool,
    /// Whether any write of this process left; decides between exit 4 and 5.
    wrote: bool,
    answers: u64,
    silent: u32,
    last_answer: Instant,
    succeeded: bool,
    alike: (String, u32),
    forbidden: u32,
    settled_rows: u64,
    failed_rows: u64,
    canary: Canary,
    rechecks: HashMap<ItemId, Recheck>,
    rechecks_loaded: Option<bool>,
    unchecked: u64,
    stop: Option<StopReason>,
    no_access: bool,
    /// Whether a write of this process was ever in doubt: it may have been done.
    doubted: bool,
    said_verifying: bool,
    epoch: u32,
    /// When the rows that are settled now were; made once for all that follows from one thing that happened.
    settled_at: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Canary {
    None,
    /// Not judged yet; whether a row of it is not as wanted.
    Pending {
        bad: bool,
    },
    Passed,
}

/// What the state starts from.
#[derive(Debug)]
pub struct Start {
    /// The chunks that have open items, by number.
    pub chunks: Vec<u32>,
    pub next_attempt: AttemptId,
    pub in_flight: Vec<OpenItem>,
    pub resumed: bool,
    /// `Some` where the canary was judged before.
    pub canary: Option<bool>,
    /// Whether rows of an earlier process failed already.
    pub failed_before: bool,
    /// Whether a read of this process was answered already, with these credentials.
    pub proved: bool,
    pub write_ceiling: Ceiling,
    pub seed: u64,
}

impl State {
    pub fn new(rules: Rules, start: Start, now: Instant, out: &mut Output) -> Self {
        let canary = match (rules.canary_chunks, start.canary) {
            (0, _) => Canary::None,
            (_, Some(true)) => Canary::Passed,
            _ => Canary::Pending { bad: start.failed_before || start.canary == Some(false) },
        };
        let mut state = Self {
            began: now,
            budget: Budget::new(start.write_ceiling, now),
            random: fastrand::Rng::with_seed(start.seed),
            items: HashMap::new(),
            holders: HashMap::new(),
            aside: HashMap::new(),
            aside_items: 0,
            parked: 0,
            ready: VecDeque::new(),
            later: BinaryHeap::new(),
            waiting: HashMap::new(),
            serial: 0,
            todo: start.chunks.into(),
            loading: false,
            resumed: start.resumed,
            next_attempt: start.next_attempt,
            divided: HashMap::new(),
            due: BTreeSet::new(),
            shows: VecDeque::new(),
            turn_asked: false,
            reads_out: 0,
            writes_out: 0,
            jobs: BTreeMap::new(),
            triages: HashMap::new(),
            first_look: FIRST_LOOK.min(rules.settle_time),
            access: if start.proved { Access::Proved } else { Access::Unproved },
            generation: 0,
            renewed_since_success: false,
            renew_asked: false,
            wrote: false,
            answers: u64::from(start.proved),
            silent: 0,
            last_answer: now,
            succeeded: false,
            alike: (String::new(), 0),
            forbidden: 0,
            settled_rows: 0,
            failed_rows: 0,
            canary,
            rechecks: HashMap::new(),
            rechecks_loaded: None,
            unchecked: 0,
            stop: None,
            no_access: false,
            doubted: false,
            said_verifying: false,
            epoch: 0,
            settled_at: None,
            rules,
        };
        for open in start.in_flight {
            state.take_up(open, now, out);
        }
        // It may be over already, and then nothing would happen that asks for its judgement.
        state.judge_canary(out);
        state
    }
}
