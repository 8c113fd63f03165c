//! What the journal holds, as plain values.
//!
//! An *entry* is one record of the results to be. An *item* is one desktop's share of one chunk; its *slots* are
//! the bindings that it carries. Several entries may point at one slot (the same binding named twice).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{Caller, Class, DesktopId, Doubt, Kind, Outcome, PartLabel, Person, Refusal, StillAccess, Typed};

/// An item's number in its journal, from 1, in the order of the plan.
pub type ItemId = u32;
/// A binding's place within its item, from 0.
pub type SlotNo = u16;
/// A write request's number in its journal, from 1, in the order of the intents.
pub type AttemptId = u64;

/// What makes a run *that* run, and what it was made by. A resume under another one is refused (P16).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Eight hex digits, made when the journal is; files that are moved aside carry it.
    pub run_id: String,
    /// [`Class::BatchDetach`], or [`Class::BatchAttach`] for an undo.
    pub class: Class,
    /// UTC, RFC 3339.
    pub created_at: String,
    pub program_version: String,
    /// The user and the host that made the run.
    pub operator: String,
    pub host: String,
    pub ticket: Option<String>,
    /// The input as it was named on the command line.
    pub input_path: String,
    /// SHA-256 of the input's bytes, hex.
    pub input_sha256: String,
    /// SHA-256 of the plan, hex.
    pub plan_hash: String,
    pub endpoint: String,
    pub project_id: String,
    pub region: Option<String>,
    /// As whom it was planned; journals of older programs don't tell.
    #[serde(default)]
    pub caller: Caller,
    /// The settings that shape a plan, by option name; a resume names the ones that differ.
    pub plan_settings: BTreeMap<String, String>,
    /// Whether the live bindings were read before the plan was made.
    pub preflight: bool,
    /// The journal's own warnings for plan and summary: a last line without newline, for example.
    pub notes: Vec<String>,
    /// Whether the results begin with a byte order mark.
    pub results_bom: bool,
    /// Names of the input's other columns, in their order.
    pub extra_columns: Vec<String>,
    /// For an undo: the journal that it takes back.
    pub undo_of: Option<String>,
    /// How many chunks, from the first, are the canary.
    #[serde(default)]
    pub canary_chunks: u32,
    /// What the plan warned of, for the summary.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// How many rows more the last list had, where this one is at most half as long.
    #[serde(default)]
    pub missing_rows: u64,
    /// What it was started with, for the next command; journals of older programs don't tell.
    #[serde(default)]
    pub typed: Option<Typed>,
    /// Whether the run ends with a look at who still gets in.
    #[serde(default)]
    pub still_access: bool,
}

/// What a run has for an endpoint that works on the simulator.
pub(crate) const SIMULATOR: &str = "simulator";

impl Identity {
    /// The command that began it: `run` or `undo`.
    pub(crate) const fn command(&self) -> &'static str {
        if self.undo_of.is_some() { "undo" } else { "run" }
    }

    /// Whether it works on the simulator that is a part of this program: nothing real is changed.
    pub(crate) fn is_simulated(&self) -> bool {
        self.endpoint == SIMULATOR
    }
}

/// What the plan holds for one record of the results; its words are borrowed from the plan or from the journal's block, or
/// its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate<'a> {
    /// To be sent, as this binding of this item.
    Send { item: ItemId, slot: SlotNo },
    /// Settled by the plan: already detached, invalid, or left out (`not_sent`).
    ///
    /// * `code`: names the rule; empty for what is already detached, or not due.
    /// * `message`: what is wrong and what to do; empty where the code is.
    Fixed { outcome: Outcome, code: Cow<'a, str>, message: Cow<'a, str> },
}

impl Fate<'_> {
    /// The same with words of its own.
    pub fn into_owned(self) -> Fate<'static> {
        match self {
            Self::Send { item, slot } => Fate::Send { item, slot },
            Self::Fixed { outcome, code, message } => {
                Fate::Fixed { outcome, code: code.into_owned().into(), message: message.into_owned().into() }
            }
        }
    }

    /// What would become of the record if all went well.
    pub(crate) fn outcome(&self) -> Outcome {
        match self {
            Self::Send { .. } => Outcome::Planned,
            Self::Fixed { outcome, .. } => *outcome,
        }
    }

    /// What the results would say of it before anything is sent.
    pub(crate) fn foreseen(&self) -> RowOutcome {
        match self {
            Self::Send { .. } => RowOutcome::new(Outcome::Planned, String::new(), String::new()),
            Self::Fixed { outcome, code, message } => RowOutcome::new(*outcome, code.to_string(), message.to_string()),
        }
    }
}

/// One record of the results to be, in input order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The line (or sheet row) its row starts on.
    pub line: u64,
    /// The row's own cells: `desktop_id,desktop_name,user_name,user_id,user_group,type,domain`; as given, or
    /// filled with what was found where they were empty.
    pub cells: [String; 7],
    /// The cells of [`Identity::extra_columns`].
    pub extras: Vec<String>,
    pub fate: Fate<'static>,
}

/// An [`Entry`] whose cells are borrowed, so that building the journal copies each cell once.
#[derive(Debug, Clone, Copy)]
pub struct EntryRef<'a> {
    pub line: u64,
    /// As in [`Entry::cells`].
    pub cells: [&'a str; 7],
    /// As in [`Entry::extras`].
    pub extras: &'a [&'a str],
    pub fate: &'a Fate<'a>,
}

/// One binding that is to be changed, as it goes on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub kind: Kind,
    pub user_name: String,
    pub user_id: Option<String>,
    /// Privilege group as the service has it: an undo needs it.
    pub user_group: Option<String>,
    /// Privilege group as the row gives it: a detach sends this one alone.
    pub sent_group: Option<String>,
    pub domain: Option<String>,
    /// How many entries share it: what one settled slot adds to the counts.
    pub rows: u32,
    /// Whether the preflight saw it bound.
    pub seen: bool,
    /// Whether it saw somebody else of this name on the desktop, who stays: a service that goes by names takes both.
    pub has_namesake: bool,
}

impl Slot {
    /// Whom the binding is of.
    pub(crate) fn person(&self) -> Person<'_> {
        Person { kind: self.kind, name: &self.user_name, id: self.user_id.as_deref(), domain: self.domain.as_deref() }
    }
}

/// One desktop's share of one chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and none excludes another")]
pub struct Item {
    pub id: ItemId,
    pub chunk: u32,
    pub desktop: DesktopId,
    pub desktop_name: String,
    pub pooled: bool,
    /// Detaches everybody (`ALL`): then the slots are those who were bound at preflight.
    pub all: bool,
    pub slots: Vec<Slot>,
    /// Whether the preflight saw the desktop at all.
    pub seen: bool,
    /// Whether it saw several people on it, these or others: such a desktop is not one person's alone, whatever the
    /// service calls its type.
    pub shared: bool,
}

/// A write that is about to be sent (P4: durable before its first byte).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub id: AttemptId,
    pub part: PartLabel,
    /// What the request carries: items with the slots of each.
    pub carries: Vec<(ItemId, Vec<SlotNo>)>,
    /// Hex.
    pub body_sha256: String,
    pub body_bytes: u64,
    /// UTC, RFC 3339.
    pub at: String,
}

/// An attempt with its answer, if one is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub attempt: Attempt,
    pub answer: Option<AnswerRecord>,
}

impl Sent {
    /// `None` where no answer is on record: then it may have been sent.
    pub fn kind(&self) -> Option<AnswerKind> {
        self.answer.as_ref().map(|answer| answer.kind)
    }

    /// Whether it is proved that the server executed nothing of it.
    pub fn is_not_executed(&self) -> bool {
        self.kind().is_some_and(AnswerKind::is_not_executed)
    }

    /// Whether it is one of a row's `attempts`; an intent without an answer is, because it may have been sent.
    pub fn counts(&self) -> bool {
        self.kind().is_none_or(AnswerKind::counts)
    }

    /// Whether somebody answered, and did not just put it off.
    pub(super) fn was_answered(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| answer.kind.counts() && answer.status.is_some())
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerKind {
    /// A complete answer that the request was taken, desktop by desktop.
    Answered,
    /// Nobody knows whether it was executed: a read-back decides.
    Doubt,
    /// A complete answer that proves it was not executed: refused as a whole.
    Refused,
    /// 429: not executed, and no attempt spent.
    Throttled,
    /// Never left this machine: no connection, or cancelled at a stop. No attempt spent.
    NotSent,
}

impl AnswerKind {
    pub const ALL: [Self; 5] = [Self::Answered, Self::Doubt, Self::Refused, Self::Throttled, Self::NotSent];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Doubt => "doubt",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::NotSent => "not_sent",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Whether the answer proves that nothing was executed.
    pub const fn is_not_executed(self) -> bool {
        matches!(self, Self::Refused | Self::Throttled | Self::NotSent)
    }

    /// Whether the attempt counts as one in a row's `attempts`.
    pub const fn counts(self) -> bool {
        matches!(self, Self::Answered | Self::Doubt | Self::Refused)
    }
}

/// The answer to an attempt, or that there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerRecord {
    pub attempt: AttemptId,
    pub kind: AnswerKind,
    pub status: Option<u16>,
    /// Of a refusal of the whole request, or the cause of a doubt.
    pub code: String,
    pub message: String,
    pub request_id: String,
    pub job_id: String,
    /// Desktops that a 200 listed as refused.
    pub refused: Vec<(ItemId, Refusal)>,
    /// UTC, RFC 3339.
    pub at: String,
    /// How long the answer took, in milliseconds.
    pub took_ms: u64,
}

/// What the results say of a row, and what that rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowOutcome {
    pub outcome: Outcome,
    /// Of the API, of a job, or of this program; of a success it is what was overcome on the way.
    pub code: String,
    pub message: String,
    pub job_id: String,
    /// Writes that carried the row, 429s not counted.
    pub attempts: u32,
    pub request_id: String,
    /// The part that carried it last; the chunk where none did; empty where the plan settled it.
    pub part: String,
    /// UTC, RFC 3339; empty while the row has no final word.
    pub finished_at: String,
    /// In words, what the outcome rests on.
    pub evidence: String,
    /// Whether it was ever in doubt, so that it is read once more at the end of the run.
    pub recheck: bool,
}

impl RowOutcome {
    /// The evidence of a success that was not read back (`--verify off`).
    pub const AT_ITS_WORD: &str = "the answer took it";

    /// Why this success may not be what was meant.
    pub(crate) fn doubt(&self) -> Option<Doubt> {
        if self.outcome.is_success() { Doubt::of_code(&self.code) } else { None }
    }

    /// Code and message as people are told them. Those of a success would read as a failure, because an accepted row
    /// may have been refused once on the way; a doubt is told all the same.
    pub fn words(&self) -> (&str, &str) {
        if self.outcome.is_success() && self.doubt().is_none() { ("", "") } else { (&self.code, &self.message) }
    }

    /// That of a row that no write carried.
    pub const fn new(outcome: Outcome, code: String, message: String) -> Self {
        Self {
            outcome,
            code,
            message,
            job_id: String::new(),
            attempts: 0,
            request_id: String::new(),
            part: String::new(),
            finished_at: String::new(),
            evidence: String::new(),
            recheck: false,
        }
    }
}

/// The outcome of some slots of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    pub item: ItemId,
    pub slots: Vec<SlotNo>,
    pub result: RowOutcome,
}

/// One change of the journal. What is committed together becomes durable together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A process begins (or resumes) the run.
    Started {
        at: String,
        version: String,
        /// The shortest time between two writes that the ceiling allows it (P8).
        write_period: Option<Duration>,
    },
    /// A write is about to be sent.
    Intent(Attempt),
    Answer(AnswerRecord),
    /// What a job said of an item: a refusal, or (`None`) that it ended well.
    Job {
        item: ItemId,
        job_id: String,
        refusal: Option<Refusal>,
    },
    /// Slots that a read-back saw bound though the preflight had not.
    Seen {
        item: ItemId,
        slots: Vec<SlotNo>,
    },
    /// A final word. A later one on the same slot replaces it (the last read of a run may).
    Settled(Settlement),
    /// The final re-read of slots that were ever in doubt agreed with their outcome.
    Rechecked {
        item: ItemId,
    },
    /// The canary's judgement; a failed one is final for this journal.
    Canary {
        passed: bool,
    },
    /// An undo takes the run back, so nothing more of it is ever sent; `by` is the undo's journal.
    Undone {
        by: String,
    },
    /// Requests since the last such record, by class and by what became of them (`ok`, `throttled`, `failed`, …).
    Requests {
        counts: Vec<(Class, String, u64)>,
    },
    /// Who still gets in after the run; `None` where it was not to be looked for. A later one replaces it.
    StillAccess {
        found: Option<StillAccess>,
        /// Records of the results of which something is known, by their number from 0: the cells of `still_via`.
        rows: Vec<(u64, String)>,
    },
    /// The process ends normally.
    Stopped {
        at: String,
        exit: u8,
        reason: String,
    },
}

/// What a resume knows of an item that is not settled yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenItem {
    pub item: Item,
    /// Slots that have their final word.
    pub settled: Vec<SlotNo>,
    /// Attempts that counted.
    pub attempts: u32,
    /// Attempts that may have changed something: accepted ones and doubts.
    pub executed: u32,
    /// The latest attempt that carried it, unless it provably was not executed.
    pub last: Option<LastAttempt>,
    /// Whether any attempt of it ever was in doubt.
    pub ever_doubt: bool,
    /// Whether any attempt of it ever had an answer, other than one that put it off.
    pub ever_answered: bool,
    /// Slots that were seen bound, at the preflight or later.
    pub seen_bound: Vec<SlotNo>,
}

/// The latest attempt of an open item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAttempt {
    pub id: AttemptId,
    pub part: PartLabel,
    pub slots: Vec<SlotNo>,
    /// `None` where no answer is on record: it may have been sent, so it is a doubt.
    pub kind: Option<AnswerKind>,
    /// When it was about to be sent; UTC, RFC 3339.
    pub at: String,
    pub request_id: String,
    pub job_id: String,
    /// Whether the job is known to have ended.
    pub job_done: bool,
    /// What the answer (or the job) said against this desktop.
    pub refusal: Option<Refusal>,
}

/// An item that is to be read once more at the end of the run, with the words that rest on a doubt: each settlement
/// with the slots of which it is the latest.
pub type Recheck = (Item, Vec<Settlement>);

/// One process that drove the run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// UTC, RFC 3339.
    pub started_at: String,
    pub version: String,
    /// As in [`Record::Started`].
    pub write_period: Option<Duration>,
    /// `None` where it was killed, or is at work.
    pub stopped: Option<Stopped>,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// UTC, RFC 3339.
    pub at: String,
    pub exit: u8,
    pub reason: String,
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Records of the results.
    pub rows: u64,
    /// Rows that have their final word, fixed ones of the plan included; no zeros.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Rows without a final word of which nothing can have been executed.
    pub open_not_sent: u64,
    /// Rows without a final word that may have been executed.
    pub open_unknown: u64,
    pub chunks: u64,
    pub chunks_open: u64,
    /// Writes by what became of them; `None`: no answer on record. No zeros.
    pub attempts: BTreeMap<Option<AnswerKind>, u64>,
    /// [`Record::Requests`], added up.
    pub requests: BTreeMap<(Class, String), u64>,
    /// Items that are still to be read once more at the end of the run.
    pub rechecks_open: u64,
    /// The canary's judgement, if there was one.
    pub canary: Option<bool>,
    /// The journal of the latest undo that takes the run back.
    pub undone_by: Option<String>,
    /// The latest process that drove the run.
    pub last: Option<Process>,
    /// Nothing is left to send, nothing is unknown, nothing is to be read once more.
    pub finished: bool,
    /// Who still gets in, once that was looked for.
    pub still: Option<StillAccess>,
    /// Whether it is still to be looked for.
    pub still_open: bool,
}

impl Progress {
    /// Rows without a final word.
    pub const fn open(&self) -> u64 {
        self.open_not_sent + self.open_unknown
    }
}

/// What a process starts from, all of one state of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    pub progress: Progress,
    /// The chunks with slots that have no final word, by number.
    pub open_chunks: Vec<u32>,
    /// Every open item that was sent, or may have been.
    pub in_flight: Vec<OpenItem>,
    /// The number that the next write gets: none had it yet.
    pub next_attempt: AttemptId,
}

/// One record of the results.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultRow<'a> {
    pub line: u64,
    /// As in [`Entry::cells`].
    pub cells: [&'a str; 7],
    pub result: &'a RowOutcome,
    /// What the leaver still gets in by.
    pub still_via: &'a str,
    pub extras: &'a [&'a str],
}
