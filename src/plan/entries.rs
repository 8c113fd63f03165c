//! From rows to entries: which desktop each row speaks of, and what a row is refused for by itself.

use std::ops::Range;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use super::address::Addressed;
use super::context::{Context, EntryRec, NONE, Numbers, place};
use super::fast::shares::{shares, side_by_side};
use super::fate::Tag;
use super::matching::{Wanted, are_one_person, has_id, may_be, narrow};
use super::policy::Policy;
use super::snapshot::Snapshot;
use crate::input::{Field, Input, RowRef};
use crate::model::{Bound, DesktopId, Kind, same_name};
use crate::text::bytes::to_usize;

/// Entries in input order, with the decision on those that need no look at a desktop. An open one has [`Tag::Send`]
/// and points at its desktop.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) rows: EntryRows,
    /// See [`EntryRec::to`].
    pub(super) to: Vec<u32>,
    pub(super) tags: Vec<Tag>,
}

/// The row of each entry. Nothing is kept while each row has one entry, as nearly always.
#[derive(Debug, Default)]
pub(super) struct EntryRows(Vec<u32>);

impl EntryRows {
    #[inline]
    pub(super) fn of(&self, entry: usize) -> u32 {
        if self.0.is_empty() { place(entry) } else { self.0[entry] }
    }

    fn push(&mut self, entry: usize, row: u32) {
        if self.0.is_empty() && row != place(entry) {
            self.0.extend(0..place(entry));
        }
        if row != place(entry) || !self.0.is_empty() {
            self.0.push(row);
        }
    }
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.to.len()
    }

    pub(super) fn get(&self, entry: usize) -> (EntryRec, Tag) {
        (EntryRec { row: self.rows.of(entry), to: self.to[entry] }, self.tags[entry])
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (EntryRec, Tag)> {
        (0..self.len()).map(|entry| self.get(entry))
    }

    fn push(&mut self, row: u32, to: u32, tag: Tag) {
        self.rows.push(self.to.len(), row);
        self.to.push(to);
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
pub(super) fn entries(context: &mut Context<'_>, policy: &Policy) -> Entries {
    match desks_of_all(context, policy, SHARE) {
        Some(to) => {
            context.number_all();
            let tags = vec![Tag::Send; to.len()];
            Entries { rows: EntryRows::default(), to, tags }
        }
        None => one_by_one(context, policy),
    }
}

/// The desktop of each row, where without a look every row is to be sent, as in nearly every list: then no row's entry
/// depends on another's, and desktops are numbered as their ids are. `None` for any other list.
///
/// * `least`: rows that a thread looks at, at least.
fn desks_of_all(context: &Context<'_>, policy: &Policy, least: usize) -> Option<Vec<u32>> {
    let Input { table, faults, not_due, .. } = context.input;
    if context.look.is_some() || !policy.protect.is_empty() || !faults.is_empty() || !not_due.is_empty() {
        return None;
    }
    let are_ids = side_by_side(shares(table.desktops() - 1, least), |share| {
        share.into_iter().all(|desk| DesktopId::is_one(table.desktop(place(desk + 1))))
    });
    if !are_ids.into_iter().all(|are| are) || context.has_ids_in_two_cases() {
        return None;
    }
    let of = side_by_side(shares(table.len(), least), |share| {
        let rows = share.map(|row| table.row(row));
        // As `one_row` comes to it.
        let desk = |row: RowRef<'_>| {
            let is_sent = matches!(row.kind(), Some(Kind::User | Kind::Group)) && !row.lacks(Field::UserName);
            is_sent.then(|| row.desktop().checked_sub(1)).flatten()
        };
        rows.map(desk).collect::<Option<Vec<u32>>>()
    });
    let mut all: Vec<u32> = Vec::new();
    all.reserve_exact(table.len());
    for part in of {
        all.append(&mut part?);
    }
    Some(all)
}

/// Rows, or entries, that pay for their way between threads.
const SHARE: usize = 65_536;

fn one_by_one(context: &mut Context<'_>, policy: &Policy) -> Entries {
    let rows = context.input.table.len();
    let (to, tags) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    let mut entries = Entries { rows: EntryRows::default(), to, tags };
    let mut numbers = Numbers::default();
    let mut faults = context.input.faults.iter().enumerate().peekable();
    let mut not_due = context.input.not_due.iter().peekable();
    for row in 0..place(rows) {
        let mut fault = None;
        while let Some((at, of)) = faults.next_if(|(_, fault)| fault.row <= to_usize(row)) {
            fault = fault.or((of.row == to_usize(row)).then_some(at));
        }
        if let Some(at) = fault {
            entries.push(row, place(at), Tag::Fault);
        } else if not_due.next_if(|&&late| late == row).is_some() {
            entries.settled(row, Tag::NotDue);
        } else {
            one_row(context, policy, &mut numbers, row, &mut entries);
        }
    }
    entries
}

fn one_row<'t>(context: &mut Context<'t>, policy: &Policy, numbers: &mut Numbers<'t>, row: u32, entries: &mut Entries) {
    let cells = context.row(row);
    // No text is touched that need not be: for a million rows it lies all over the memory.
    let id = cells.desktop();
    let has_id = id != 0;
    let Some(kind) = cells.kind() else { return entries.settled(row, Tag::Type) };
    // Faults of the input say so already; here it must hold whatever the reader lets through (P5).
    let is_addressed = kind == Kind::User && context.input.table.has(Field::UserEmail) && !cells.email().is_empty();
    if kind != Kind::All && cells.lacks(Field::UserName) && !is_addressed {
        return entries.settled(row, Tag::UserMissing);
    }
    if !policy.protect.is_empty() {
        let Wanted { name, id, .. } = context.wanted(row);
        if [name, id, cells.email()].into_iter().any(|text| policy.protect.covers(text)) {
            return entries.settled(row, Tag::ProtectedUser);
        }
        if policy.protect.covers(cells.get(Field::DesktopId)) || policy.protect.covers(cells.get(Field::DesktopName)) {
            return entries.settled(row, Tag::ProtectedDesktop);
        }
    }
    if kind == Kind::All {
        if !has_id && cells.lacks(Field::DesktopName) {
            return entries.settled(row, Tag::DesktopMissing);
        }
        if !policy.allow_detach_all {
            return entries.settled(row, Tag::AllNotAllowed);
        }
    }
    let Some(look) = context.look else {
        if !has_id || kind == Kind::All || cells.lacks(Field::UserName) {
            return entries.settled(row, Tag::NeedsPreflight);
        }
        let Some(desk) = given(context, numbers, id) else { return entries.settled(row, Tag::DesktopId) };
        return entries.open(row, desk);
    };
    if is_addressed && let Some(tag) = wrong_address(context, row) {
        return entries.settled(row, tag);
    }
    let name = cells.get(Field::DesktopName);
    if has_id {
        let Some(desk) = given(context, numbers, id) else { return entries.settled(row, Tag::DesktopId) };
        match context.live(desk) {
            None if look.unreadable.contains_key(context.id(desk)) => entries.push(row, desk, Tag::DesktopUnreadable),
            None => entries.push(row, desk, Tag::DesktopNotFound),
            Some(live) if !name.is_empty() && !live.name.is_empty() && !same_name(name, &live.name) => {
                entries.push(row, desk, Tag::DesktopMismatch);
            }
            Some(_) => entries.open(row, desk),
        }
    } else if !look.is_proved {
        entries.settled(row, Tag::NotProved);
    } else if !name.is_empty() {
        match context.named(name) {
            [] => entries.settled(row, Tag::NameNotFound),
            [only] => {
                let desk = context.number_found(numbers, only.as_str());
                if context.live(desk).is_some() {
                    entries.open(row, desk);
                } else {
                    entries.push(row, desk, Tag::NameNotFound);
                }
            }
            _ => entries.settled(row, Tag::NameAmbiguous),
        }
    } else {
        by_user(context, look, numbers, row, entries);
    }
}

/// What is wrong with the address that a row gives.
fn wrong_address(context: &Context<'_>, row: u32) -> Option<Tag> {
    let cells = context.row(row);
    let (name, id) = (cells.get(Field::UserName), cells.get(Field::UserId));
    match context.addressed(row) {
        Some(Addressed::One(account)) => {
            let is_other = (!name.is_empty() && !same_name(name, &account.name))
                || (!id.is_empty() && !account.id.is_empty() && id != account.id);
            is_other.then_some(Tag::AddressMismatch)
        }
        Some(Addressed::Several) => Some(Tag::AddressAmbiguous),
        // Whoever is known by the name beside it has another address, or none.
        Some(Addressed::Nobody) => {
            let users = context.look.and_then(|look| look.users.as_ref());
            let is_known = || users.is_some_and(|users| users.named(name).next().is_some());
            (name.is_empty() || is_known()).then_some(Tag::AddressUnknown)
        }
        None => name.is_empty().then_some(Tag::AddressUnknown),
    }
}

/// The number of the desktop that a row gives the id of; `None` where it can't be one.
fn given<'t>(context: &mut Context<'t>, numbers: &mut Numbers<'t>, id: u32) -> Option<u32> {
    let may_be = numbers.known(id).is_some() || DesktopId::is_one(context.input.table.desktop(id));
    may_be.then(|| context.number(numbers, id))
}

/// The entries of a row that names a user alone.
fn by_user<'t>(
    context: &mut Context<'t>,
    look: &'t Snapshot,
    numbers: &mut Numbers<'t>,
    row: u32,
    entries: &mut Entries,
) {
    let wanted = context.wanted(row);
    let held = context.held(row);
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
    let before = entries.len();
    for id in held.iter().filter(mine) {
        let desk = context.number_found(numbers, id.as_str());
        entries.push(row, desk, tag);
    }
    if entries.len() == before {
        entries.settled(row, Tag::GoneEverywhere);
    }
}

/// The open entries by desktop, each desktop's in input order.
pub(super) struct ByDesk {
    /// Those of desktop `d` are from `starts[d]` to `starts[d + 1]`.
    starts: Vec<u32>,
    /// `None`: as they come. A sheet in the order of its desktops, or with one row for each, needs no memory for it.
    order: Option<Vec<AtomicU32>>,
}

impl ByDesk {
    /// Where the desktop's entries begin; for the number after the last desktop's, where all end.
    pub(super) fn start(&self, desk: usize) -> usize {
        to_usize(self.starts[desk])
    }

    pub(super) fn len(&self) -> usize {
        self.starts.last().map_or(0, |&end| to_usize(end))
    }

    #[inline]
    pub(super) fn entry(&self, at: usize) -> usize {
        self.order.as_ref().map_or(at, |order| to_usize(order[at].load(Relaxed)))
    }

    /// Cuts the desktops into runs of at least so many entries each; the last may have fewer.
    pub(super) fn runs(&self, entries: usize) -> Vec<Range<usize>> {
        let desks = self.starts.len() - 1;
        let mut runs = Vec::new();
        let mut from = 0;
        while from < desks {
            let wanted = place(self.start(from) + entries);
            let to = (from + 1 + self.starts[from + 1..].partition_point(|&start| start < wanted)).min(desks);
            runs.push(from..to);
            from = to;
        }
        runs
    }
}

/// A share of the entries.
struct Share {
    entries: Range<usize>,
    /// Of each desktop, how many are open; then, where the next one goes.
    places: Vec<u32>,
    /// Whether all are open and in the order of their desktops.
    as_they_come: bool,
}

impl Share {
    fn count(desks: usize, all: &Entries, entries: Range<usize>) -> Self {
        let mut places = vec![0; desks];
        let (mut last, mut as_they_come) = (0, true);
        for at in entries.clone() {
            let (is_open, desk) = (all.tags[at] == Tag::Send, all.to[at]);
            as_they_come &= is_open && desk >= last;
            if is_open {
                places[to_usize(desk)] += 1;
                last = desk;
            }
        }
        Self { entries, places, as_they_come }
    }

    /// Each desktop's place is no other share's.
    fn sort(mut self, all: &Entries, order: &[AtomicU32]) {
        for at in self.entries {
            if all.tags[at] == Tag::Send {
                let place_of = &mut self.places[to_usize(all.to[at])];
                order[to_usize(*place_of)].store(place(at), Relaxed);
                *place_of += 1;
            }
        }
    }
}

/// A counting sort: two passes, no list of lists.
pub(super) fn by_desk(desks: usize, entries: &Entries) -> ByDesk {
    by_desk_in(shares(entries.len(), SHARE), desks, entries)
}

fn by_desk_in(parts: Vec<Range<usize>>, desks: usize, entries: &Entries) -> ByDesk {
    let mut parts = side_by_side(parts, |share| Share::count(desks, entries, share));
    let is_sorted = parts.windows(2).all(|two| {
        let [before, after] = [two[0].entries.end - 1, two[1].entries.start].map(|at| entries.to[at]);
        before <= after
    });
    let as_they_come = is_sorted && parts.iter().all(|part| part.as_they_come);
    let mut starts = Vec::with_capacity(desks + 1);
    let mut sum = 0;
    for desk in 0..desks {
        starts.push(sum);
        for part in &mut parts {
            let places = &mut part.places[desk];
            sum += std::mem::replace(places, sum);
        }
    }
    starts.push(sum);
    if as_they_come {
        return ByDesk { starts, order: None };
    }
    let order: Vec<_> = std::iter::repeat_with(AtomicU32::default).take(to_usize(sum)).collect();
    side_by_side(parts, |part| part.sort(entries, &order));
    ByDesk { starts, order: Some(order) }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::super::fixture::input;
    use super::*;

    proptest! {
        #[test]
        fn rows_that_threads_share_come_to_the_same_as_one_by_one(
            rows in prop::collection::vec((0..5_u8, "a?", "(USER|GROUP|ALL|x)?"), 1..30), sorted: bool,
        ) {
            let mut rows = rows;
            if sorted {
                rows.sort();
            }
            let mut csv = "desktop_id,user_name,type\n".to_owned();
            for (desk, user, kind) in &rows {
                // `.` can't be an id, and the first row of a desktop may be the wrong one.
                writeln!(csv, "{},{user},{kind}", if *desk == 0 { ".".to_owned() } else { format!("d{desk}") }).unwrap();
            }
            let input = input(&csv);
            let policy = Policy::default();
            let mut context = Context::new(&input, None, &policy.protect);
            let entries = one_by_one(&mut context, &policy);
            let ids: Vec<_> = (0..place(context.desks())).map(|desk| context.id(desk)).collect();
            let mut whole = Context::new(&input, None, &policy.protect);
            match desks_of_all(&whole, &policy, 2) {
                Some(to) => {
                    whole.number_all();
                    prop_assert_eq!(&to, &entries.to);
                    prop_assert!(entries.tags.iter().all(|tag| *tag == Tag::Send));
                    prop_assert_eq!((0..place(whole.desks())).map(|desk| whole.id(desk)).collect::<Vec<_>>(), ids.clone());
                }
                None => prop_assert!(entries.tags.iter().any(|tag| *tag != Tag::Send)),
            }
            // Desktops are numbered as their first open row comes.
            let mut seen = Vec::new();
            for (record, tag) in entries.iter().filter(|(_, tag)| *tag == Tag::Send) {
                let id = ids[to_usize(record.to)];
                prop_assert_eq!((id, tag), (input.table.row(to_usize(record.row)).get(Field::DesktopId), Tag::Send));
                if !seen.contains(&id) {
                    seen.push(id);
                }
            }
            prop_assert_eq!(seen, ids);
        }

        #[test]
        fn runs_cover_every_desktop_once_and_entries_keep_their_order(
            of in prop::collection::vec((0..9_u32, prop::bool::weighted(0.9)), 0..60), sorted: bool, least in 1..9_usize,
        ) {
            let mut of = of;
            if sorted {
                of.sort_unstable();
            }
            let tags = of.iter().map(|&(_, open)| if open { Tag::Send } else { Tag::Gone }).collect();
            let to = of.iter().map(|&(desk, _)| desk).collect();
            let entries = Entries { rows: EntryRows::default(), to, tags };
            let by_desk = by_desk_in(shares(entries.len(), least), 9, &entries);
            prop_assert_eq!(by_desk.order.is_none(), of.is_sorted() && of.iter().all(|(_, open)| *open));
            let mut seen = Vec::new();
            for desk in by_desk.runs(least).into_iter().flatten() {
                seen.extend((by_desk.start(desk)..by_desk.start(desk + 1)).map(|at| (desk, by_desk.entry(at))));
            }
            let mut plain: Vec<_> = of.iter().enumerate().filter(|(_, (_, open))| *open).collect();
            plain.sort_by_key(|(_, (desk, _))| *desk);
            let plain: Vec<_> = plain.into_iter().map(|(at, &(desk, _))| (to_usize(desk), at)).collect();
            prop_assert_eq!(seen, plain);
        }

        #[test]
        fn the_row_of_an_entry_is_the_one_that_it_was_pushed_with(steps in prop::collection::vec(0..3_u32, 0..40)) {
            let mut entries = Entries { rows: EntryRows::default(), to: Vec::new(), tags: Vec::new() };
            let mut rows = Vec::new();
            for (row, many) in (0..).zip(steps) {
                // None for a row is not what happens, and must not matter.
                for _ in 0..many {
                    entries.push(row, 0, Tag::Send);
                    rows.push(row);
                }
            }
            let kept: Vec<_> = (0..entries.len()).map(|entry| entries.rows.of(entry)).collect();
            prop_assert_eq!(kept, rows);
        }
    }
}
