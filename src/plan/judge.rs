//! One desktop at a time: each row against the live bindings, the same binding once, cut into slices for requests.

use std::hash::BuildHasher;
use std::sync::mpsc::{Receiver, sync_channel};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::bodies::{EMPTY_BODY, desktop_len};
use super::context::{Context, ItemRec, NONE, SlotRec, place};
use super::entries::{ByDesk, Entries, EntryRows, by_desk};
use super::fast::shares::threads;
use super::fate::{Tag, is_protected, protected};
use super::matching::{Found, Matcher, places};
use super::policy::Policy;
use crate::input::Field;
use crate::model::{Bound, Kind, LiveDesktop};
use crate::text::bytes::to_usize;

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

/// What became of a run of desktops.
#[derive(Default)]
struct Judged {
    /// Of each open entry, in the order of [`ByDesk`]: a slot, or the reason for none.
    fates: Vec<Result<u32, Tag>>,
    slots: Vec<SlotRec>,
    /// In the order of desktops; a desktop's slices stand together.
    items: Vec<ItemRec>,
}

/// Judges desktops one after another.
struct Judge<'p, 't> {
    context: &'p Context<'t>,
    policy: &'p Policy,
    fates: Vec<Result<u32, Tag>>,
    slots: Vec<SlotRec>,
    items: Vec<ItemRec>,
    // Scratch space of one desktop.
    rows: Vec<u32>,
    verdicts: Vec<Verdict>,
    candidates: Vec<(u32, &'t Bound)>,
    slot_of: Vec<u32>,
    given: Given,
    lens: Vec<usize>,
    ahead: Vec<u32>,
    places: Vec<u32>,
}

impl<'p, 't> Judge<'p, 't> {
    fn new(context: &'p Context<'t>, policy: &'p Policy) -> Self {
        Self {
            context,
            policy,
            fates: Vec::new(),
            slots: Vec::new(),
            items: Vec::new(),
            rows: Vec::new(),
            verdicts: Vec::new(),
            candidates: Vec::new(),
            slot_of: Vec::new(),
            given: Given::default(),
            lens: Vec::new(),
            ahead: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Judges these desktops, in turn.
    fn run(&mut self, by_desk: &ByDesk, rows: &EntryRows, desks: std::ops::Range<usize>) -> Judged {
        let (mut warm, end) = (by_desk.start(desks.start), by_desk.start(desks.end));
        self.fates.reserve(end - warm);
        self.slots.reserve(end - warm);
        self.items.reserve(desks.len());
        let row = |at: usize| rows.of(by_desk.entry(at));
        for desk in desks {
            let [from, to] = [desk, desk + 1].map(|at| by_desk.start(at));
            if to > warm {
                let next = warm..(to + WARMED).min(end);
                warm = next.end;
                self.ahead.clear();
                self.ahead.extend(next.map(row));
                let table = &self.context.input.table;
                // Without a look nearly every row is judged by what it is found by.
                match self.context.look {
                    Some(_) => table.warm_text(&self.ahead, &mut self.places),
                    None => table.warm(&self.ahead, &mut self.places),
                }
            }
            let mut rows = std::mem::take(&mut self.rows);
            rows.clear();
            rows.extend((from..to).map(row));
            self.desktop(place(desk), &rows);
            self.rows = rows;
        }
        Judged {
            fates: std::mem::take(&mut self.fates),
            slots: std::mem::take(&mut self.slots),
            items: std::mem::take(&mut self.items),
        }
    }

    /// `order`: the rows of the desktop's open entries, in input order.
    fn desktop(&mut self, desk: u32, order: &[u32]) {
        if order.is_empty() {
            return;
        }
        self.verdicts.clear();
        match (self.context.look, self.context.live(desk)) {
            (None, _) => self.verdicts.resize(order.len(), Verdict::AsGiven),
            (Some(_), Some(live)) => self.against(desk, live, order),
            (Some(_), None) => self.verdicts.resize(order.len(), Verdict::Fixed(Tag::DesktopNotFound)),
        }
        let first = self.slots.len();
        let fates = self.fates.len();
        let all = self.bind(desk, order);
        let frame = desktop_len(self.context.id(desk), all);
        self.fit(desk, first, fates, frame, all);
        self.slice(desk, first, frame, all);
    }

    /// Judges the rows of a desktop that was seen.
    fn against(&mut self, desk: u32, live: &'t LiveDesktop, order: &[u32]) {
        let protect = &self.policy.protect;
        if protect.covers(live.id.as_str()) || protect.covers(&live.name) {
            self.verdicts.resize(order.len(), Verdict::Fixed(Tag::ProtectedDesktop));
            return;
        }
        let Some(bound) = live.bound.as_deref() else {
            self.verdicts.resize(order.len(), Verdict::Fixed(Tag::DesktopUnreadable));
            return;
        };
        let nobody = live.good().is_some_and(<[Bound]>::is_empty);
        let matcher = Matcher::new(bound, order.len());
        let left = self.policy.in_use_skip && live.login_status == "CONNECTED";
        for &row in order {
            let wanted = self.context.wanted(row);
            let verdict = if wanted.kind == Kind::All {
                match protected(self.context, desk) {
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
        let bound = self.context.bound(desk);
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
        for (&row, &verdict) in order.iter().zip(&self.verdicts) {
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
                Verdict::AsGiven => self.given.find(self.context, &self.slots, row).unwrap_or_else(|| {
                    let slot = place(self.slots.len());
                    self.slots.push(SlotRec { row, bound: NONE, rows: 0, item: 0 });
                    self.given.add(self.context, &self.slots, slot);
                    slot
                }),
            };
            self.fates.push(Ok(slot));
            let slot = &mut self.slots[to_usize(slot)];
            slot.rows += 1;
            let is_better = || lacks_group(self.context, slot.row) && !lacks_group(self.context, row);
            if slot.row == NONE || (slot.row != row && is_better()) {
                slot.row = row;
            }
        }
        all
    }

    /// Measures the desktop's users, and takes out those that fit no request even alone.
    ///
    /// * `first`, `fates`: where the desktop's slots, and the fates of its entries, begin.
    /// * `frame`: bytes of the desktop without its users.
    fn fit(&mut self, desk: u32, first: usize, fates: usize, frame: usize, all: bool) {
        let context = self.context;
        let bounds = &self.policy.bounds;
        let room = bounds.max_bytes.saturating_sub(EMPTY_BODY + frame);
        self.lens.clear();
        if all {
            if EMPTY_BODY + frame > bounds.max_bytes {
                self.drop_slots(first, fates, |_| true);
            }
            return;
        }
        self.lens.extend(self.slots[first..].iter().map(|slot| context.user_len(desk, slot)));
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
    fn slice(&mut self, desk: u32, first: usize, frame: usize, all: bool) {
        let mut at = first;
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

fn lacks_group(context: &Context<'_>, row: u32) -> bool {
    context.row(row).lacks(Field::UserGroup)
}

/// The slots of one desktop that go out as given, to find the same binding again.
#[derive(Default)]
struct Given {
    /// Each with its row's mark.
    slots: Vec<(u32, u32)>,
    /// Filled only once there are many.
    index: HashTable<(u32, u32)>,
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

    fn find(&self, context: &Context<'_>, slots: &[SlotRec], row: u32) -> Option<u32> {
        let mark = context.row(row).mark();
        // Nearly always it tells that they differ, and no text is looked up then.
        let same = |&(theirs, slot): &(u32, u32)| {
            theirs == mark && key(context, slots[to_usize(slot)].row) == key(context, row)
        };
        let found = if self.slots.len() <= COMPARED {
            self.slots.iter().copied().find(same)
        } else {
            self.index.find(self.hasher.hash_one(mark), same).copied()
        };
        found.map(|(_, slot)| slot)
    }

    fn add(&mut self, context: &Context<'_>, slots: &[SlotRec], slot: u32) {
        let hash = |&(mark, _): &(u32, u32)| self.hasher.hash_one(mark);
        let mark = context.row(slots[to_usize(slot)].row).mark();
        self.slots.push((mark, slot));
        if self.slots.len() == COMPARED + 1 {
            for slot in &self.slots {
                self.index.insert_unique(hash(slot), *slot, hash);
            }
        } else if self.slots.len() > COMPARED {
            self.index.insert_unique(hash(&(mark, slot)), (mark, slot), hash);
        }
    }
}

/// What makes two rows the same binding where the service does not say.
fn key<'t>(context: &Context<'t>, row: u32) -> (Kind, &'t str, &'t str, &'t str) {
    let wanted = context.wanted(row);
    (wanted.kind, wanted.name, wanted.id, wanted.domain)
}

/// Entries of a run of desktops: enough to pay for its way between threads.
const RUN: usize = 16_384;
/// How many runs of each thread may wait.
const AHEAD: usize = 2;

/// Judges every desktop: what is to be sent, the open entries pointing at it.
///
/// No desktop's judgement depends on another's: threads take the runs in turn, and what they find is put together in the
/// order of desktops.
pub(super) fn judge(context: &Context<'_>, policy: &Policy, entries: &mut Entries) -> (Vec<SlotRec>, Vec<ItemRec>) {
    judge_by(context, policy, entries, threads(), RUN)
}

fn judge_by(
    context: &Context<'_>,
    policy: &Policy,
    entries: &mut Entries,
    threads: usize,
    run: usize,
) -> (Vec<SlotRec>, Vec<ItemRec>) {
    let by_desk = by_desk(context.desks(), entries);
    let (by_desk, runs) = (&by_desk, &*by_desk.runs(run));
    let Entries { rows, to, tags } = entries;
    let rows = &*rows;
    let threads = threads.min(runs.len()).max(1);
    let mut slots: Vec<SlotRec> = Vec::with_capacity(by_desk.len());
    let mut items: Vec<ItemRec> = Vec::with_capacity(context.desks());
    std::thread::scope(|scope| {
        let share = |nth: usize| runs.iter().skip(nth).step_by(threads).cloned();
        // Where the system has no thread left, its share is judged here.
        let others = (1..threads).map(|nth| {
            let (found, others) = sync_channel(AHEAD);
            let work = move || {
                let mut judge = Judge::new(context, policy);
                // An error: nobody wants the rest.
                _ = share(nth).try_for_each(|desks| found.send(judge.run(by_desk, rows, desks)));
            };
            std::thread::Builder::new().spawn_scoped(scope, work).ok().map(|_| others)
        });
        let others: Vec<Option<Receiver<Judged>>> = std::iter::once(None).chain(others).collect();
        let mut judge = Judge::new(context, policy);
        for (desks, nth) in runs.iter().zip((0..threads).cycle()) {
            let judged = match &others[nth] {
                Some(others) => others.recv().expect("a thread ends early only by a panic, which the scope passes on"),
                None => judge.run(by_desk, rows, desks.clone()),
            };
            let (first, from) = (place(slots.len()), by_desk.start(desks.start));
            for (at, fate) in (from..).zip(judged.fates) {
                let entry = by_desk.entry(at);
                match fate {
                    Ok(slot) => to[entry] = slot + first,
                    Err(tag) => tags[entry] = tag,
                }
            }
            slots.extend(judged.slots);
            items.extend(judged.items.into_iter().map(|item| ItemRec { first: item.first + first, ..item }));
        }
    });
    (slots, items)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use proptest::prelude::*;

    use super::super::entries::entries;
    use super::super::fixture::{desktop, input, snapshot};
    use super::super::policy::Bounds;
    use super::*;

    proptest! {
        #[test]
        fn p17_desktops_that_threads_divide_are_judged_as_by_one(
            rows in prop::collection::vec((0..9_u8, 0..6_u8), 1..60), looked: bool, threads in 2..7_usize, run in 1..9_usize,
            large: bool,
        ) {
            let mut csv = "desktop_id,user_name\n".to_owned();
            for (desk, user) in rows {
                writeln!(csv, "d{desk},user{}", "x".repeat(usize::from(user))).unwrap();
            }
            let input = input(&csv);
            let seen = snapshot((0..7).map(|desk| desktop(&format!("d{desk}"), &["user", "userxx", "userxxxxx"])));
            let bounds = Bounds { max_users_per_desktop: 2, max_bytes: if large { 140 } else { 1 << 20 }, ..Bounds::default() };
            let policy = Policy { bounds, ..Policy::default() };
            let judged = |threads: usize, run: usize| {
                let mut context = Context::new(&input, looked.then_some(&seen), &policy.protect);
                let mut entries = entries(&mut context, &policy);
                let judged = judge_by(&context, &policy, &mut entries, threads, run);
                format!("{judged:?} {entries:?}")
            };
            prop_assert_eq!(judged(threads, run), judged(1, 1_000));
        }
    }
}
