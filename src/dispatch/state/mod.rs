//! What the engine knows and what it does next. Decides only: takes what happened, gives operations, records and
//! events. Time is an argument, and nothing in here waits, sends or touches a disk.

mod answers;
mod begin;
mod brakes;
mod jobs;
mod last_look;
mod link;
mod next_op;
mod parts;
mod reads;
mod ruling;
mod settle;
mod sights;
mod writes;

pub(crate) use parts::Part;
pub(crate) use settle::kind_of;
use settle::rows_of;

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::rules::{FORBIDDEN_LIMIT, MAX_BUSY_WAIT, Rules, StopReason};
use super::verdict::{Verdict, is_passing};
use crate::journal::{
    AnswerKind, Attempt, AttemptId, Item, ItemId, LastAttempt, OpenItem, Record, RowOutcome, Settlement, SlotNo,
};
use crate::model::{Bound, Class, DesktopId, Event, Kind, LiveDesktop, Outcome, PartLabel, Person, Refusal};
use crate::pace::{Budget, Ceiling, Held, MAX_GATE, backoff};
use crate::reconcile::evidence::{Absence, Presence, Proof, ReadSpan, Sight, Sighting, holds};
use crate::reconcile::judge::{Watch, newcomers};
use crate::reconcile::reads::{JobWord, ReadFault};
use crate::text::timestamp_now;

use brakes::Brakes;
use jobs::{JobEnd, Jobs};
use last_look::{LastLook, Seen};
use link::{Access, Link, Try};
use parts::Parts;
use reads::Reads;
use ruling::Ruling;

/// A look older than this no longer allows an `ALL` to be sent.
pub(crate) const LOOK_LASTS: Duration = Duration::from_secs(10);

/// Something to do, for the engine.
#[derive(Debug)]
pub(crate) enum Op {
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
pub(crate) enum Done {
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
pub(crate) struct Output {
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
    /// The job of its last write never appeared, or did not say how it went with this desktop.
    unspoken: bool,
    /// Whether any attempt ever had an answer: where none had, nobody refused it.
    answered: bool,
    /// Why its last write is in doubt, or what its job said that nobody understands: the row's cause if it ends bound.
    said: Option<Refusal>,
    /// Why it could not be read the last time.
    unread: Option<String>,
    request_id: String,
    job_id: String,
    phase: Phase,
    busy_rounds: u32,
    busy_since: Option<Instant>,
    deadline: Instant,
    /// Reads that were granted past the deadline.
    overtime: u8,
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
    /// Read before it is sent; watched in case the desktop is gone.
    Looking(Watch),
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

/// See the module.
#[derive(Debug)]
pub(crate) struct State {
    rules: Rules,
    random: fastrand::Rng,
    items: HashMap<ItemId, Live>,
    /// How many of them are [`Phase::Parked`].
    parked: usize,
    parts: Parts,
    reads: Reads,
    jobs: Jobs,
    link: Link,
    brakes: Brakes,
    last_look: LastLook,
    budget: Budget,
    triages: HashMap<u64, Triage>,
    last_triage: u64,
    next_attempt: AttemptId,
    writes_out: usize,
    resumed: bool,
    stop: Option<StopReason>,
    said_verifying: bool,
    /// When the rows that are settled now were; made once for all that follows from one thing that happened.
    settled_at: Option<String>,
}

/// What the state starts from.
#[derive(Debug)]
pub(crate) struct Start {
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
    pub(crate) fn new(rules: Rules, start: Start, now: Instant, out: &mut Output) -> Self {
        let mut state = Self {
            random: fastrand::Rng::with_seed(start.seed),
            items: HashMap::new(),
            parked: 0,
            parts: Parts::new(start.chunks),
            reads: Reads::new(&rules, now),
            jobs: Jobs::default(),
            link: Link::new(start.proved, start.resumed),
            brakes: Brakes::new(&rules, start.canary, start.failed_before),
            last_look: LastLook::new(&rules),
            budget: Budget::new(start.write_ceiling, now),
            triages: HashMap::new(),
            last_triage: 0,
            next_attempt: start.next_attempt,
            writes_out: 0,
            resumed: start.resumed,
            stop: None,
            said_verifying: false,
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
