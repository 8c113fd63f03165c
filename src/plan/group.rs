//! From rows to entries: which desktop each row speaks of, and what a row is refused for by itself.

use super::ground::{EntryRec, Ground, NONE, Numbers, place};
use super::matching::{are_one_person, has_id, may_be, narrow, to_usize};
use super::policy::Policy;
use super::reason::Tag;
use super::snapshot::{Snapshot, same_name};
use crate::input::Field;
use crate::model::{Bound, DesktopId, Kind};

/// Entries in input order, with the decision on those that need no look at a desktop. An open one has [`Tag::Send`]
/// and points at its desktop.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) records: Vec<EntryRec>,
    pub(super) tags: Vec<Tag>,
}

impl Entries {
    fn push(&mut self, row: u32, to: u32, tag: Tag) {
        self.records.push(EntryRec { row, to });
        self.tags.push(tag);
    }

    fn open(&mut self, row: u32, desk: u32) {
        self.push(row, desk, Tag::Send);
    }

    fn settled(&mut self, row: u32, tag: Tag) {
        self.push(row, NONE, tag);
    }
}

/// One entry a row; for a row without a desktop one for each desktop found, by id, at least one.
pub(super) fn entries(ground: &mut Ground<'_>, policy: &Policy) -> Entries {
    let rows = ground.input.table.len();
    let mut entries = Entries { records: Vec::with_capacity(rows), tags: Vec::with_capacity(rows) };
    let mut numbers = Numbers::default();
    let mut faults = ground.input.faults.iter().enumerate().peekable();
    for row in 0..place(rows) {
        let mut fault = None;
        while let Some((at, of)) = faults.next_if(|(_, fault)| fault.row <= to_usize(row)) {
            fault = fault.or((of.row == to_usize(row)).then_some(at));
        }
        if let Some(at) = fault {
            entries.push(row, place(at), Tag::Fault);
        } else {
            one_row(ground, policy, &mut numbers, row, &mut entries);
        }
    }
    entries
}

fn one_row<'t>(ground: &mut Ground<'t>, policy: &Policy, numbers: &mut Numbers<'t>, row: u32, entries: &mut Entries) {
    let cells = ground.row(row);
    // The id's text stays untouched: for a million rows it lies all over the memory.
    let (id, name, user) = (cells.desktop(), cells.get(Field::DesktopName), cells.get(Field::UserName));
    let has_id = id != 0;
    let Some(kind) = cells.kind() else { return entries.settled(row, Tag::Type) };
    // Faults of the input say so already; here it must hold whatever the reader lets through (P5).
    if kind != Kind::All && user.is_empty() {
        return entries.settled(row, Tag::UserMissing);
    }
    if !policy.protect.is_empty() {
        if policy.protect.covers(user) || policy.protect.covers(cells.get(Field::UserId)) {
            return entries.settled(row, Tag::ProtectedUser);
        }
        if policy.protect.covers(cells.get(Field::DesktopId)) || policy.protect.covers(name) {
            return entries.settled(row, Tag::ProtectedDesktop);
        }
    }
    if kind == Kind::All {
        if !has_id && name.is_empty() {
            return entries.settled(row, Tag::DesktopMissing);
        }
        if !policy.allow_detach_all {
            return entries.settled(row, Tag::AllNotAllowed);
        }
    }
    let Some(look) = ground.look else {
        if !has_id || kind == Kind::All {
            return entries.settled(row, Tag::NeedsPreflight);
        }
        let desk = match numbers.known(id) {
            Some(desk) => desk,
            None if is_id(cells.get(Field::DesktopId)) => ground.number(numbers, id),
            None => return entries.settled(row, Tag::DesktopId),
        };
        return entries.open(row, desk);
    };
    if has_id {
        let desk = ground.number(numbers, id);
        match ground.live(desk) {
            None => entries.push(row, desk, Tag::DesktopNotFound),
            Some(live) if !name.is_empty() && !live.name.is_empty() && !same_name(name, &live.name) => {
                entries.push(row, desk, Tag::DesktopMismatch);
            }
            Some(_) => entries.open(row, desk),
        }
    } else if !name.is_empty() {
        match ground.named(name) {
            [] => entries.settled(row, Tag::NameNotFound),
            [only] => {
                let desk = ground.number_found(numbers, only.as_str());
                if ground.live(desk).is_some() {
                    entries.open(row, desk);
                } else {
                    entries.push(row, desk, Tag::NameNotFound);
                }
            }
            _ => entries.settled(row, Tag::NameAmbiguous),
        }
    } else {
        by_user(ground, look, numbers, row, entries);
    }
}

/// Whether [`DesktopId::parse`] takes it; nearly always told without making one.
fn is_id(id: &str) -> bool {
    let plain = !id.is_empty() && id.len() <= DesktopId::MAX_CHARS && id.bytes().all(|byte| byte.is_ascii_graphic());
    plain || DesktopId::parse(id).is_some()
}

/// The entries of a row that names a user alone.
fn by_user<'t>(
    ground: &mut Ground<'t>,
    look: &'t Snapshot,
    numbers: &mut Numbers<'t>,
    row: u32,
    entries: &mut Entries,
) {
    let wanted = ground.wanted(row);
    let held = ground.held(row);
    // Over all desktops together: a name in two domains is two people, even where no single desktop shows both.
    let mut people: Vec<(&DesktopId, &Bound)> = Vec::new();
    let mut untold: Vec<&DesktopId> = Vec::new();
    for id in held {
        match look.desktops.get(id).and_then(Option::as_ref).and_then(|live| live.bound.as_ref()) {
            Some(bound) => people.extend(bound.iter().filter(|one| may_be(one, &wanted)).map(|one| (id, one))),
            None => untold.push(id),
        }
    }
    let everybody = people.clone();
    let tag = match narrow(&mut people, &wanted) {
        // Each desktop's own judgement names the two ids.
        Err(_) => Tag::Send,
        Ok(()) if !are_one_person(&people) => Tag::AmbiguousAcross,
        Ok(()) => {
            // The same person may be spelled otherwise on another desktop.
            let id = people.iter().find_map(|(_, one)| one.user_id.as_ref());
            let whole = wanted.id.is_empty() && are_one_person(&everybody);
            let others = everybody.iter().filter(|(_, one)| whole || (id.is_some() && one.user_id.as_ref() == id));
            people.extend(others);
            Tag::Send
        }
    };
    // Under another name on some desktop (renamed meanwhile): that desktop's own judgement says so.
    let renamed = |id: &DesktopId| {
        let live = look.desktops.get(id).and_then(Option::as_ref);
        let bound = live.and_then(|live| live.bound.as_deref()).unwrap_or_default();
        bound.iter().any(|one| has_id(one, &wanted) && !same_name(&one.user_name, wanted.name))
    };
    let mine = |id: &&DesktopId| {
        tag == Tag::AmbiguousAcross
            || people.is_empty()
            || untold.contains(id)
            || people.iter().any(|(theirs, _)| theirs == id)
            || renamed(id)
    };
    let before = entries.records.len();
    for id in held.iter().filter(mine) {
        let desk = ground.number_found(numbers, id.as_str());
        entries.push(row, desk, tag);
    }
    if entries.records.len() == before {
        entries.settled(row, Tag::GoneEverywhere);
    }
}

/// The open entries by desktop: `order[starts[d]..starts[d + 1]]` are those of desktop `d`, in input order.
pub(super) struct ByDesk {
    pub(super) starts: Vec<u32>,
    pub(super) order: Vec<u32>,
}

impl ByDesk {
    /// Cuts the desktops into as many runs at most, at least one, of about as many entries each.
    pub(super) fn parts(&self, parts: usize) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let desks = self.starts.len() - 1;
        let parts = parts.clamp(1, desks.max(1));
        let border = |part: usize| {
            let entries = place(self.order.len() * part / parts);
            if part == parts { desks } else { self.starts.partition_point(|&start| start < entries).min(desks) }
        };
        let borders: Vec<_> = (0..=parts).map(border).collect();
        (0..parts).map(move |part| borders[part]..borders[part + 1])
    }
}

/// A counting sort: two passes, no list of lists.
pub(super) fn by_desk(desks: usize, entries: &Entries) -> ByDesk {
    let open = || {
        let tagged = entries.records.iter().zip(&entries.tags).zip(0u32..);
        tagged.filter(|((_, tag), _)| **tag == Tag::Send).map(|((entry, _), at)| (to_usize(entry.to), at))
    };
    let mut starts = vec![0u32; desks + 1];
    for (desk, _) in open() {
        starts[desk + 1] += 1;
    }
    let mut sum = 0;
    for start in &mut starts {
        sum += *start;
        *start = sum;
    }
    let mut order = vec![0u32; to_usize(sum)];
    // Each start moves to its desktop's end, which is the next one's start: moved back below.
    for (desk, at) in open() {
        order[to_usize(starts[desk])] = at;
        starts[desk] += 1;
    }
    starts.rotate_right(1);
    starts[0] = 0;
    ByDesk { starts, order }
}
