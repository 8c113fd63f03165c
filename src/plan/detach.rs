//! The plan of a list: what `plan` prints is what `run` sends.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::bodies::DetachBody;
use super::context::{Context, EntryRec, ItemRec, NONE, SlotRec};
use super::entries::{Entries, entries};
use super::fate::{Explained, Tag, explain, way_out};
use super::hints::{Hint, hints};
use super::judge::judge;
use super::matching::places;
use super::policy::Policy;
use super::snapshot::Snapshot;
use super::split::{Chunk, pack};
use super::stats::PlanStats;
use super::unknown::{Unlisted, settle};
use crate::input::{Field, Input, RowFault, RowRef, can_be_read_back};
use crate::journal::{self, Fate};
use crate::model::{DesktopId, Doubt, Kind, LiveDesktop, Outcome, Person, fold};
use crate::text::bytes::to_usize;

/// Every row's fate, the chunks and their bodies: a pure function of the rows, of what the preflight saw, and of the
/// policy (P17). It borrows from the first two, and holds some 30 bytes a row and 20 a desktop itself.
#[derive(Debug)]
pub struct Plan<'t> {
    pub(super) context: Context<'t>,
    pub(super) entries: Entries,
    pub(super) slots: Vec<SlotRec>,
    /// In the order of chunks.
    pub(super) items: Vec<ItemRec>,
    pub(super) chunks: Vec<Chunk>,
    pub(super) hints: Vec<Hint<'t>>,
    unlisted: Unlisted,
    pub(super) stats: OnceLock<PlanStats<'t>>,
}

/// Makes the plan. `look`: what the preflight saw; `None` without one (`--preflight off`).
pub fn plan<'t>(input: &'t Input, look: Option<&'t Snapshot>, policy: &Policy) -> Plan<'t> {
    let mut context = Context::new(input, look, &policy.protect);
    let mut entries = entries(&mut context, policy);
    let (mut slots, mut items) = judge(&context, policy, &mut entries);
    let unlisted = settle(&context, policy, &mut entries);
    let hints = hints(&context, &entries);
    let is_pooled = |desk| context.live(desk).is_some_and(LiveDesktop::is_pooled);
    let chunks = pack(&mut items, &policy.bounds, policy.canary, is_pooled);
    for (at, item) in (0u32..).zip(&items) {
        for slot in &mut slots[item.slots()] {
            slot.item = at;
        }
    }
    Plan { context, entries, slots, items, chunks, hints, unlisted, stats: OnceLock::new() }
}

/// One record of the results to be: a view into the plan.
#[derive(Debug, Clone, Copy)]
pub struct PlanEntry<'p, 't> {
    plan: &'p Plan<'t>,
    at: usize,
}

impl<'t> PlanEntry<'_, 't> {
    fn record(&self) -> EntryRec {
        self.plan.entries.get(self.at).0
    }

    pub(super) fn tag(&self) -> Tag {
        self.plan.entries.tags[self.at]
    }

    fn row(&self) -> RowRef<'t> {
        self.plan.context.row(self.record().row)
    }

    /// The line (or sheet row) that its row starts on.
    pub fn line(&self) -> u64 {
        self.row().line()
    }

    /// [`Outcome::Planned`] for what is to be sent.
    pub fn outcome(&self) -> Outcome {
        self.tag().outcome()
    }

    /// The desktop's id, where it is known or given; else the name that the row gives, or nothing.
    pub fn desktop(&self) -> &'t str {
        let [id, name, ..] = self.cells();
        if id.is_empty() { name } else { id }
    }

    /// The user or group as the row gives it, or as the service names whom its address means.
    pub fn user(&self) -> &'t str {
        self.plan.context.wanted(self.record().row).name
    }

    /// The slot that it is sent as, with the desktop's number.
    pub(super) fn slot(&self) -> Option<(u32, &SlotRec)> {
        let record = self.record();
        let slot = (self.tag() == Tag::Send).then(|| self.plan.slots.get(to_usize(record.to)));
        slot.flatten().map(|slot| (self.plan.items[to_usize(slot.item)].desk, slot))
    }

    pub(super) fn desk(&self) -> Option<u32> {
        match self.tag() {
            Tag::Send => self.slot().map(|(desk, _)| desk),
            Tag::Fault => None,
            _ => Some(self.record().to).filter(|&desk| desk != NONE),
        }
    }

    /// The row's own cells in the order of [`Field::ALL`]: as given, empty ones filled with what was found. What could not
    /// be read back as an input stays out: the desktop's id names it.
    pub fn cells(&self) -> [&'t str; 7] {
        let row = self.row();
        let mut cells = row.cells();
        cells[Field::DesktopId.index()] = row.get(Field::DesktopId);
        let mut fill = |field: Field, found: &'t str| {
            let cell = &mut cells[field.index()];
            if cell.is_empty() && can_be_read_back(field, found) {
                *cell = found;
            }
        };
        if row.kind() == Some(Kind::User) {
            fill(Field::UserName, self.user());
        }
        if let Some(desk) = self.desk() {
            fill(Field::DesktopId, self.plan.context.id(desk));
            fill(Field::DesktopName, self.plan.context.live(desk).map_or("", |live| live.name.as_str()));
        }
        let seen = self.slot().and_then(|(desk, slot)| self.plan.context.slot_bound(desk, slot));
        if let Some(one) = seen {
            fill(Field::Type, one.kind.as_str());
            fill(Field::UserId, one.user_id.as_deref().unwrap_or_default());
            fill(Field::UserGroup, one.user_group.as_deref().unwrap_or_default());
            fill(Field::Domain, one.domain.as_deref().unwrap_or_default());
        }
        cells
    }

    /// The cells of the input's other columns.
    pub fn extras(&self) -> impl Iterator<Item = &'t str> + use<'t> {
        self.row().extras()
    }

    pub fn fate(&self) -> Fate<'t> {
        if let Some((item, slot)) = self.sent() {
            return Fate::Send { item, slot };
        }
        let Explained { outcome, code, message, .. } = self.explained();
        Fate::Fixed { outcome, code: code.into(), message }
    }

    /// The item and slot that it is sent as.
    pub(super) fn sent(&self) -> Option<(journal::ItemId, journal::SlotNo)> {
        let (_, slot) = self.slot()?;
        let first = self.plan.items[to_usize(slot.item)].first;
        let slot_no = u16::try_from(self.record().to - first).expect("an item has at most 65,535 slots");
        Some((slot.item + 1, slot_no))
    }

    fn explained(&self) -> Explained<'t> {
        let record = self.record();
        let explained = explain(&self.plan.context, record.row, self.tag(), record.to);
        let hints = &self.plan.hints;
        match hints.binary_search_by_key(&self.at, |hint| hint.entry) {
            Ok(place) if self.tag() == Tag::Unknown => {
                let way_out = way_out(&self.plan.context.wanted(record.row));
                Explained { message: format!("{}; {way_out}", hints[place].words()).into(), ..explained }
            }
            Ok(place) => Explained {
                code: hints[place].doubt().code(),
                message: format!("taken as already detached, but {}", hints[place].words()).into(),
                ..explained
            },
            Err(_) => self.doubted(explained),
        }
    }

    /// With what the input doubts about the row, where nobody was found by it.
    fn doubted<'f>(&self, explained: Explained<'f>) -> Explained<'f> {
        let doubts = &self.plan.input().doubts;
        let found = doubts.binary_search_by_key(&self.record().row, |&(row, _)| row);
        let (true, Ok(at)) = (matches!(self.tag(), Tag::Gone | Tag::GoneEverywhere), found) else { return explained };
        let doubt = doubts[at].1;
        let why = match doubt {
            Doubt::TrimmedCell => "blanks or invisible characters were taken off the cell that names the user",
            _ => "the name holds characters that the service's rules do not list",
        };
        Explained { code: doubt.code(), message: format!("taken as already detached, but {why}").into(), ..explained }
    }

    /// The code of what the plan settled, without its words.
    pub fn code(&self) -> &'static str {
        let own = (self.tag() == Tag::Fault).then(|| self.plan.input().faults.get(to_usize(self.record().to)));
        own.flatten().map_or(self.tag().code(), |fault| fault.code)
    }

    pub fn kind(&self) -> Kind {
        self.row().kind().unwrap_or_default()
    }

    /// An owned copy for a journal.
    pub fn to_journal(&self) -> journal::Entry {
        journal::Entry {
            line: self.line(),
            cells: self.cells().map(str::to_owned),
            extras: self.extras().map(str::to_owned).collect(),
            fate: self.fate().into_owned(),
        }
    }
}

impl<'t> Plan<'t> {
    /// In the order in which they are sent; the first has number 1.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// Whether the live bindings were looked at.
    pub fn looked(&self) -> bool {
        self.context.look.is_some()
    }

    pub fn input(&self) -> &'t Input {
        self.context.input
    }

    /// One record of the results to be for each row, in input order; for a row without a desktop one for each desktop
    /// found, by id, at least one (P1).
    pub fn entries(&self) -> impl ExactSizeIterator<Item = PlanEntry<'_, 't>> {
        (0..self.entries.len()).map(|at| PlanEntry { plan: self, at })
    }

    /// How many rows can't be told to be gone or unknown, since not all whom the service knows were read.
    pub fn unlisted(&self) -> Unlisted {
        self.unlisted
    }

    /// How many chunks the canary takes: those with the lowest numbers.
    pub fn canary_chunks(&self) -> usize {
        self.chunks.partition_point(|chunk| chunk.canary)
    }

    /// Whether the item is its desktop's first.
    pub(super) fn is_first_part(&self, item: &ItemRec) -> bool {
        let before = to_usize(item.first).checked_sub(1).and_then(|at| self.slots.get(at));
        before.is_none_or(|slot| self.items[to_usize(slot.item)].desk != item.desk)
    }

    pub(super) fn chunk_items(&self, chunk: &Chunk) -> &[ItemRec] {
        &self.items[chunk.first..chunk.first + chunk.desktops]
    }

    /// Writes the body of the chunk at this place (its number less 1), byte for byte as it is sent; `out` is emptied
    /// first. A place without a chunk writes a body without desktops.
    pub fn write_body(&self, chunk: usize, out: &mut Vec<u8>) {
        out.clear();
        self.append_body(chunk, out);
    }

    pub(super) fn append_body(&self, chunk: usize, out: &mut Vec<u8>) {
        let mut body = DetachBody::begin(out);
        let items = self.chunks.get(chunk).map_or(&[][..], |chunk| self.chunk_items(chunk));
        let rows = items.iter().flat_map(|item| &self.slots[item.slots()]).map(|slot| slot.row);
        let rows: Vec<u32> = rows.filter(|&row| row != NONE).collect();
        self.input().table.warm_text(&rows, &mut Vec::new());
        for item in items {
            let slots = &self.slots[item.slots()];
            let id_is_plain = slots.first().is_some_and(|slot| self.context.id_is_plain(item.desk, slot));
            let users = slots.iter().map(|slot| self.context.binding(item.desk, slot));
            body.desktop(self.context.id(item.desk), id_is_plain, item.all, users);
        }
        body.end();
    }

    /// What the journal holds of each desktop's share of each chunk, in the order of chunks, with all that an undo needs.
    pub fn items(&self) -> impl Iterator<Item = journal::Item> {
        self.items.iter().zip(1u32..).map(|(item, id)| {
            let live = self.context.live(item.desk);
            let with_namesake = self.with_namesake(item);
            let slot = |slot| self.journal_slot(item.desk, slot, with_namesake.contains(&slot.bound));
            journal::Item {
                id,
                chunk: item.chunk_or_bytes + 1,
                desktop: self.desktop_id(item.desk),
                desktop_name: live.map_or_else(String::new, |live| live.name.clone()),
                pooled: live.is_some_and(LiveDesktop::is_pooled),
                all: item.all,
                slots: self.slots[item.slots()].iter().map(slot).collect(),
                seen: live.is_some(),
                shared: self.context.bound(item.desk).len() > 1,
            }
        })
    }

    fn desktop_id(&self, desk: u32) -> DesktopId {
        match self.context.live(desk) {
            Some(live) => live.id.clone(),
            None => DesktopId::parse(self.context.id(desk)).expect("ids that are none were refused"),
        }
    }

    fn journal_slot(&self, desk: u32, slot: &SlotRec, has_namesake: bool) -> journal::Slot {
        let sent = self.context.binding(desk, slot);
        let seen = self.context.slot_bound(desk, slot);
        let kept = match seen {
            Some(one) => one.user_group.as_deref(),
            None => sent.sent_group,
        };
        let owned = |text: Option<&str>| text.map(str::to_owned);
        journal::Slot {
            kind: sent.kind,
            user_name: sent.user_name.to_owned(),
            user_id: owned(sent.user_id),
            user_group: owned(kept),
            sent_group: owned(sent.sent_group),
            domain: owned(sent.domain),
            rows: slot.rows,
            seen: seen.is_some(),
            has_namesake,
        }
    }

    /// Which bindings of an item's desktop (their places) have a namesake beside them who stays.
    fn with_namesake(&self, item: &ItemRec) -> HashSet<u32> {
        let bound = self.context.bound(item.desk);
        if item.all || bound.len() < 2 {
            return HashSet::new();
        }
        let mut named: Vec<_> =
            places(bound).map(|(at, one)| ((one.kind.as_str(), fold(&one.user_name)), at)).collect();
        named.sort_unstable();
        let groups = named.chunk_by(|one, other| one.0 == other.0).filter(|group| group.len() > 1);
        let mut groups = groups.map(|group| group.iter().map(|(_, at)| *at).collect::<Vec<u32>>()).peekable();
        if groups.peek().is_none() {
            return HashSet::new();
        }
        let ours = |slot: &&SlotRec| self.items[to_usize(slot.item)].desk == item.desk;
        let (before, after) = self.slots.split_at(to_usize(item.first));
        let gone = after.iter().take_while(ours).chain(before.iter().rev().take_while(ours));
        let gone: HashSet<u32> = gone.map(|slot| slot.bound).collect();
        let is_other = |one: u32, other: u32| {
            let [one, other] = [one, other].map(|at| Person::from(&bound[to_usize(at)]));
            !one.is(&other)
        };
        let has_one =
            |one: &u32, group: &[u32]| group.iter().any(|other| !gone.contains(other) && is_other(*one, *other));
        groups.flat_map(|group| group.iter().copied().filter(|one| has_one(one, &group)).collect::<Vec<_>>()).collect()
    }

    /// All invalid rows in input order, those of the input and those against the live bindings; of a row with several
    /// faults of its own all of them.
    pub fn faults(&self) -> impl Iterator<Item = RowFault> {
        self.entries().filter(|entry| entry.outcome() == Outcome::Invalid).flat_map(|entry| {
            let row = to_usize(entry.record().row);
            let own = &self.context.input.faults;
            let own = if entry.tag() == Tag::Fault {
                &own[to_usize(entry.record().to)..own.partition_point(|fault| fault.row <= row)]
            } else {
                &[]
            };
            let other = own.is_empty().then(|| {
                let Explained { code, message, column, .. } = entry.explained();
                let (line, message) = (entry.line(), message.into_owned());
                RowFault { row, line, column: column.map(str::to_owned), code, message }
            });
            own.iter().cloned().chain(other)
        })
    }
}
