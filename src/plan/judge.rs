//! One desktop at a time: each row against the live bindings, the same binding once, cut into slices for requests.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::bodies::{EMPTY_BODY, desktop_len, user_len};
use super::ground::{Ground, ItemRec, NONE, SlotRec, place};
use super::group::{ByDesk, Entries, by_desk};
use super::matching::{Found, Matcher, places, to_usize};
use super::policy::Policy;
use super::reason::{Tag, is_protected, protected};
use crate::input::Field;
use crate::model::{Bound, Kind, LiveDesktop};

/// What a row of a desktop comes to.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    Fixed(Tag),
    /// This live binding.
    Bound(u32),
    /// Not seen, because the read does not tell or there was none.
    AsGiven,
    /// Everybody.
    All,
}

/// Judges desktops one after another; what is to be sent collects in `slots` and `items`.
struct Judge<'p, 't> {
    ground: &'p Ground<'t>,
    policy: &'p Policy,
    entries: &'p Entries,
    /// What becomes of the entries that were given, in the order in which they were: a slot, or the reason for none.
    fates: Vec<Result<u32, Tag>>,
    slots: Vec<SlotRec>,
    /// In the order of desktops; a desktop's slices stand together.
    items: Vec<ItemRec>,
    // Scratch space of one desktop.
    verdicts: Vec<Verdict>,
    candidates: Vec<(u32, &'t Bound)>,
    slot_of: Vec<u32>,
    given: Given,
    lens: Vec<usize>,
}

impl<'p, 't> Judge<'p, 't> {
    /// * `rows`, `desks`: how many are expected.
    fn new(ground: &'p Ground<'t>, policy: &'p Policy, entries: &'p Entries, rows: usize, desks: usize) -> Self {
        Self {
            ground,
            policy,
            entries,
            fates: Vec::with_capacity(rows),
            slots: Vec::with_capacity(rows),
            items: Vec::with_capacity(desks),
            verdicts: Vec::new(),
            candidates: Vec::new(),
            slot_of: Vec::new(),
            given: Given::default(),
            lens: Vec::new(),
        }
    }

    /// Judges these desktops, in turn.
    fn desktops(&mut self, by_desk: &ByDesk, desks: std::ops::Range<usize>) {
        let mut warm = to_usize(by_desk.starts[desks.start]);
        let end = to_usize(by_desk.starts[desks.end]);
        for desk in desks {
            let [from, to] = [desk, desk + 1].map(|at| to_usize(by_desk.starts[at]));
            if to > warm {
                let next = warm..(to + WARMED).min(end);
                warm = next.end;
                let rows = by_desk.order[next].iter().map(|&entry| self.entries.records[to_usize(entry)].row);
                self.ground.input.table.warm(rows.map(to_usize));
            }
            self.desktop(place(desk), &by_desk.order[from..to]);
        }
    }

    /// Takes in what another one found for the desktops that follow.
    fn append(&mut self, next: Self) {
        let first = place(self.slots.len());
        self.fates.extend(next.fates.into_iter().map(|fate| fate.map(|slot| slot + first)));
        self.slots.extend(next.slots);
        self.items.extend(next.items.into_iter().map(|item| ItemRec { first: item.first + first, ..item }));
    }

    /// `order`: the desktop's open entries, in input order.
    fn desktop(&mut self, desk: u32, order: &[u32]) {
        if order.is_empty() {
            return;
        }
        self.verdicts.clear();
        match (self.ground.look, self.ground.live(desk)) {
            (None, _) => self.verdicts.resize(order.len(), Verdict::AsGiven),
            (Some(_), Some(live)) => self.against(desk, live, order),
            (Some(_), None) => self.verdicts.resize(order.len(), Verdict::Fixed(Tag::DesktopNotFound)),
        }
        let first = self.slots.len();
        let fates = self.fates.len();
        let all = self.bind(desk, order);
        self.fit(desk, first, fates, all);
        self.slice(desk, first, all);
    }

    /// Judges the rows of a desktop that was seen.
    fn against(&mut self, desk: u32, live: &'t LiveDesktop, order: &[u32]) {
        let protect = &self.policy.protect;
        if protect.covers(live.id.as_str()) || protect.covers(&live.name) {
            self.verdicts.resize(order.len(), Verdict::Fixed(Tag::ProtectedDesktop));
            return;
        }
        let bound = live.bound.as_deref().unwrap_or_default();
        let nobody = live.good().is_some_and(<[Bound]>::is_empty);
        let matcher = Matcher::new(bound, order.len());
        let left = self.policy.in_use_skip && live.login_status == "CONNECTED";
        for &entry in order {
            let row = self.entries.records[to_usize(entry)].row;
            let wanted = self.ground.wanted(row);
            let verdict = if wanted.kind == Kind::All {
                match protected(self.ground, desk) {
                    Some(_) => Verdict::Fixed(Tag::ProtectedBinding),
                    None if nobody => Verdict::Fixed(Tag::NobodyBound),
                    None if bound.len() + order.len() >= usize::from(u16::MAX) => Verdict::Fixed(Tag::TooManyBound),
                    None => Verdict::All,
                }
            } else {
                match matcher.find(&wanted, &mut self.candidates) {
                    Found::One(place)
                        if bound.get(to_usize(place)).is_some_and(|one| is_protected(&self.policy.protect, one)) =>
                    {
                        Verdict::Fixed(Tag::ProtectedUser)
                    }
                    Found::One(place) => Verdict::Bound(place),
                    Found::WrongId(_) => Verdict::Fixed(Tag::WrongId),
                    Found::Several => Verdict::Fixed(Tag::Ambiguous),
                    Found::Nobody if live.good().is_some() => Verdict::Fixed(Tag::Gone),
                    Found::Nobody => Verdict::AsGiven,
                }
            };
            self.verdicts.push(match verdict {
                Verdict::Fixed(_) => verdict,
                _ if left => Verdict::Fixed(Tag::InUse),
                _ => verdict,
            });
        }
    }

    /// Makes the desktop's slots, and says which one each entry becomes. Whether it is an `ALL`.
    fn bind(&mut self, desk: u32, order: &[u32]) -> bool {
        let first = self.slots.len();
        let bound = self.ground.bound(desk);
        let all = self.verdicts.iter().any(|verdict| matches!(verdict, Verdict::All));
        self.slot_of.clear();
        self.slot_of.resize(bound.len(), NONE);
        self.given.clear();
        if all {
            // The first slot is the `ALL` itself; then everybody, so that the engine knows whom it may meet.
            self.slots.push(SlotRec { row: NONE, bound: NONE, rows: 0, item: 0 });
            for ((at, _), slot_of) in places(bound).zip(&mut self.slot_of) {
                *slot_of = place(self.slots.len());
                self.slots.push(SlotRec { row: NONE, bound: at, rows: 0, item: 0 });
            }
        }
        for (&entry, &verdict) in order.iter().zip(&self.verdicts) {
            let record = self.entries.records[to_usize(entry)];
            let slot = match verdict {
                Verdict::Fixed(tag) => {
                    self.fates.push(Err(tag));
                    continue;
                }
                Verdict::All => place(first),
                Verdict::Bound(at) => {
                    let slot_of = &mut self.slot_of[to_usize(at)];
                    if *slot_of == NONE {
                        *slot_of = place(self.slots.len());
                        self.slots.push(SlotRec { row: NONE, bound: at, rows: 0, item: 0 });
                    }
                    *slot_of
                }
                Verdict::AsGiven => self.given.find(self.ground, &self.slots, record.row).unwrap_or_else(|| {
                    let slot = place(self.slots.len());
                    self.slots.push(SlotRec { row: record.row, bound: NONE, rows: 0, item: 0 });
                    self.given.add(self.ground, &self.slots, slot);
                    slot
                }),
            };
            self.fates.push(Ok(slot));
            let slot = &mut self.slots[to_usize(slot)];
            slot.rows += 1;
            if slot.row == NONE || (lacks_group(self.ground, slot.row) && !lacks_group(self.ground, record.row)) {
                slot.row = record.row;
            }
        }
        all
    }

    /// Measures the desktop's users, and takes out those that fit no request even alone.
    ///
    /// * `first`, `fates`: where the desktop's slots, and the fates of its entries, begin.
    fn fit(&mut self, desk: u32, first: usize, fates: usize, all: bool) {
        let ground = self.ground;
        let bounds = &self.policy.bounds;
        let room = bounds.max_bytes.saturating_sub(EMPTY_BODY + desktop_len(ground.id(desk), all));
        self.lens.clear();
        if all {
            if EMPTY_BODY + desktop_len(ground.id(desk), all) > bounds.max_bytes {
                self.drop_slots(first, fates, |_| true);
            }
            return;
        }
        self.lens.extend(self.slots[first..].iter().map(|slot| user_len(&ground.binding(desk, slot))));
        if self.lens.iter().any(|&len| len > room) {
            let lens = std::mem::take(&mut self.lens);
            self.drop_slots(first, fates, |at| lens[at] > room);
            self.lens = lens.into_iter().filter(|&len| len <= room).collect();
        }
    }

    /// Takes slots from `first` on out again; `out` is asked by their place from there.
    fn drop_slots(&mut self, first: usize, fates: usize, out: impl Fn(usize) -> bool) {
        let mut moved = Vec::new();
        let mut kept = first;
        for at in 0..self.slots.len() - first {
            moved.push((!out(at)).then(|| place(kept)));
            if !out(at) {
                self.slots.swap(kept, first + at);
                kept += 1;
            }
        }
        self.slots.truncate(kept);
        for fate in &mut self.fates[fates..] {
            *fate = fate.and_then(|slot| moved[to_usize(slot) - first].ok_or(Tag::TooLarge));
        }
    }

    /// Cuts the desktop's slots into items that each fit a request.
    fn slice(&mut self, desk: u32, first: usize, all: bool) {
        let mut at = first;
        let frame = desktop_len(self.ground.id(desk), all);
        let item = |first: usize, len: usize, bytes: usize| ItemRec {
            desk,
            first: place(first),
            chunk_or_bytes: place(bytes),
            len: u16::try_from(len).expect("a slice is at most 500 users, an ALL was refused above 65,534"),
            all,
        };
        if all {
            if self.slots.len() > first {
                self.items.push(item(first, self.slots.len() - first, frame));
            }
            return;
        }
        let bounds = &self.policy.bounds;
        let most = bounds.max_users_per_desktop.min(bounds.max_users).clamp(1, 500);
        let (mut bytes, mut len) = (frame, 0);
        for &user in &self.lens {
            let comma = usize::from(len > 0);
            if len == most || (len > 0 && EMPTY_BODY + bytes + comma + user > bounds.max_bytes) {
                self.items.push(item(at, len, bytes));
                (at, bytes, len) = (at + len, frame, 0);
            }
            bytes += usize::from(len > 0) + user;
            len += 1;
        }
        if len > 0 {
            self.items.push(item(at, len, bytes));
        }
    }
}

fn lacks_group(ground: &Ground<'_>, row: u32) -> bool {
    ground.row(row).get(Field::UserGroup).is_empty()
}

/// The slots of one desktop that go out as given, to find the same binding again.
#[derive(Default)]
struct Given {
    slots: Vec<u32>,
    /// Filled only once there are many.
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// Rows that are brought into the cache ahead of the desktops that they belong to.
const WARMED: usize = 256;

/// Up to how many slots are compared one by one.
const COMPARED: usize = 16;

impl Given {
    fn clear(&mut self) {
        self.slots.clear();
        self.index.clear();
    }

    fn find(&self, ground: &Ground<'_>, slots: &[SlotRec], row: u32) -> Option<u32> {
        let wanted = key(ground, row);
        // The name first: it is what differs, nearly always, and the rest is not looked up then.
        let same = |&slot: &u32| {
            let theirs = slots[to_usize(slot)].row;
            ground.row(theirs).get(Field::UserName) == wanted.1 && key(ground, theirs) == wanted
        };
        if self.slots.len() <= COMPARED {
            self.slots.iter().copied().find(|slot| same(slot))
        } else {
            self.index.find(self.hasher.hash_one(wanted), same).copied()
        }
    }

    fn add(&mut self, ground: &Ground<'_>, slots: &[SlotRec], slot: u32) {
        let hash = |&slot: &u32| self.hasher.hash_one(key(ground, slots[to_usize(slot)].row));
        self.slots.push(slot);
        if self.slots.len() == COMPARED + 1 {
            for slot in &self.slots {
                self.index.insert_unique(hash(slot), *slot, hash);
            }
        } else if self.slots.len() > COMPARED {
            self.index.insert_unique(hash(&slot), slot, hash);
        }
    }
}

/// What makes two rows the same binding where the service does not say.
fn key<'t>(ground: &Ground<'t>, row: u32) -> (Kind, &'t str, &'t str, &'t str) {
    let wanted = ground.wanted(row);
    (wanted.kind, wanted.name, wanted.id, wanted.domain)
}

/// Entries that a thread of their own pays for.
const PARTED: usize = 50_000;

/// Judges every desktop: what is to be sent, the open entries pointing at it.
///
/// No desktop's judgement depends on another's, so that several threads take an equal share of the entries each.
pub(super) fn judge(ground: &Ground<'_>, policy: &Policy, entries: &mut Entries) -> (Vec<SlotRec>, Vec<ItemRec>) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    judge_in_parts(ground, policy, entries, threads.min(entries.records.len() / PARTED))
}

fn judge_in_parts(
    ground: &Ground<'_>,
    policy: &Policy,
    entries: &mut Entries,
    parts: usize,
) -> (Vec<SlotRec>, Vec<ItemRec>) {
    let by_desk = by_desk(ground.desks(), entries);
    let mut parts = by_desk.parts(parts);
    let first = parts.next().unwrap_or(0..0);
    // The first part takes in the others, so that it has room for them.
    let mut whole = Judge::new(ground, policy, entries, by_desk.order.len(), ground.desks());
    std::thread::scope(|scope| {
        let others = parts.map(|desks| {
            let (by_desk, entries) = (&by_desk, &*entries);
            scope.spawn(move || {
                let rows = to_usize(by_desk.starts[desks.end] - by_desk.starts[desks.start]);
                let mut judge = Judge::new(ground, policy, entries, rows, desks.len());
                judge.desktops(by_desk, desks);
                judge
            })
        });
        let others: Vec<_> = others.collect();
        whole.desktops(&by_desk, first);
        for other in others {
            whole.append(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
    });
    let Judge { fates, slots, items, .. } = whole;
    for (&entry, fate) in by_desk.order.iter().zip(fates) {
        match fate {
            Ok(slot) => entries.records[to_usize(entry)].to = slot,
            Err(tag) => entries.tags[to_usize(entry)] = tag,
        }
    }
    (slots, items)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::super::fixture::{desktop, input, snapshot};
    use super::super::group::entries;
    use super::super::policy::Bounds;
    use super::*;

    proptest! {
        #[test]
        fn p17_desktops_that_threads_divide_are_judged_as_by_one(
            rows in prop::collection::vec((0..9_u8, 0..6_u8), 1..60), looked: bool, parts in 2..7_usize, large: bool,
        ) {
            let mut csv = "desktop_id,user_name\n".to_owned();
            for (desk, user) in rows {
                writeln!(csv, "d{desk},user{}", "x".repeat(usize::from(user))).unwrap();
            }
            let input = input(&csv);
            let seen = snapshot((0..7).map(|desk| desktop(&format!("d{desk}"), &["user", "userxx", "userxxxxx"])));
            let bounds = Bounds { max_users_per_desktop: 2, max_bytes: if large { 140 } else { 1 << 20 }, ..Bounds::default() };
            let policy = Policy { bounds, ..Policy::default() };
            let judged = |parts: usize| {
                let mut ground = Ground::new(&input, looked.then_some(&seen), &policy.protect);
                let mut entries = entries(&mut ground, &policy);
                let judged = judge_in_parts(&ground, &policy, &mut entries, parts);
                format!("{judged:?} {entries:?}")
            };
            prop_assert_eq!(judged(parts), judged(1));
        }
    }
}
