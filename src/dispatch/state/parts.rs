//! What waits to be sent: chunks that are not loaded yet, parts that are ready, put off, or aside until their desktop
//! is free.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::journal::ItemId;
use crate::model::{DesktopId, PartLabel};

/// Desktops for which parts may wait before no more chunks are loaded.
const MAX_ASIDE: usize = 1_000;
/// Chunks that are loaded in one go: each wait for the journal is one for its sync, too.
const MAX_LOADED_AT_ONCE: usize = 16;
/// Parts that are kept ready at most, however many may be under way: each holds its items.
const MAX_READY: usize = 2 * MAX_LOADED_AT_ONCE;

/// What one request will carry: the open slots of these items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub label: PartLabel,
    pub items: Vec<ItemId>,
    /// A new attempt (after a doubt, a busy desktop or "still bound"): it draws on the budget of repeats.
    pub(super) repeat: bool,
    /// Connections that failed in a row.
    pub(super) failures: u32,
    /// When its items were looked at, where they had to be.
    pub(super) looked_at: Option<Instant>,
    /// It has to be looked at before it is sent.
    pub(super) look: bool,
}

impl Part {
    pub(super) fn new(label: PartLabel, items: Vec<ItemId>) -> Self {
        Self { label, items, repeat: false, failures: 0, looked_at: None, look: false }
    }

    /// Whether it may only be sent after a look, and the last one is longer ago than `lasts`.
    pub(crate) fn is_stale(&self, now: Instant, lasts: Duration) -> bool {
        self.looked_at.is_some_and(|at| now.saturating_duration_since(at) > lasts)
    }

    /// Until when it may leave without another look, if a look holds so long.
    pub(crate) fn good_until(&self, lasts: Duration) -> Option<Instant> {
        self.looked_at.map(|at| at + lasts)
    }

    /// It was looked at just now, and may go.
    pub(crate) fn looked(&mut self, at: Instant) {
        self.looked_at = Some(at);
    }

    /// It may not go before it was looked at once more.
    pub(crate) fn look_again(&mut self) {
        self.look = true;
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Parts {
    /// Chunks with open items that are not loaded yet, by number.
    chunks: VecDeque<u32>,
    loading: bool,
    ready: VecDeque<Part>,
    /// Parts that wait for a time; of one time, in the order in which they were put off.
    later: BTreeMap<(Instant, u64), Part>,
    serial: u64,
    /// Which item holds a desktop open: no second write for it meanwhile (P6).
    holders: HashMap<DesktopId, ItemId>,
    /// Parts that wait for a desktop that another item holds open.
    aside: HashMap<DesktopId, Vec<Part>>,
    aside_items: usize,
    /// How many parts each chunk was divided into.
    divided: HashMap<u32, u32>,
}

impl Parts {
    pub(super) fn new(chunks: Vec<u32>) -> Self {
        Self {
            chunks: chunks.into(),
            loading: false,
            ready: VecDeque::new(),
            later: BTreeMap::new(),
            serial: 0,
            holders: HashMap::new(),
            aside: HashMap::new(),
            aside_items: 0,
            divided: HashMap::new(),
        }
    }

    /// The chunks to load now, as many as there is room for; none while some are being loaded.
    ///
    /// * `last`: no chunk of a higher number.
    pub(super) fn load(&mut self, concurrency: usize, last: u32) -> Option<Vec<u32>> {
        if self.loading || self.aside.len() >= MAX_ASIDE {
            return None;
        }
        let room = (2 * concurrency).min(MAX_READY).saturating_sub(self.ready.len()).min(MAX_LOADED_AT_ONCE);
        let next = || if self.has_chunks(last) { self.chunks.pop_front() } else { None };
        let chunks: Vec<u32> = std::iter::from_fn(next).take(room).collect();
        self.loading = !chunks.is_empty();
        self.loading.then_some(chunks)
    }

    pub(super) fn loaded(&mut self) {
        self.loading = false;
    }

    fn has_chunks(&self, last: u32) -> bool {
        self.chunks.front().is_some_and(|chunk| *chunk <= last)
    }

    /// Whether nothing waits to be sent of the chunks up to `last`, parts aside excepted.
    pub(super) fn is_idle(&self, last: u32) -> bool {
        !self.has_chunks(last) && !self.loading && self.ready.is_empty() && self.later.is_empty()
    }

    /// Items that wait for a desktop which another one holds open.
    pub(super) fn items_aside(&self) -> usize {
        self.aside_items
    }

    /// It goes after what is ready.
    pub(super) fn push(&mut self, part: Part) {
        self.ready.push_back(part);
    }

    /// It goes before what is ready.
    pub(super) fn push_first(&mut self, part: Part) {
        self.ready.push_front(part);
    }

    pub(super) fn put_off(&mut self, part: Part, until: Instant) {
        self.serial += 1;
        self.later.insert((until, self.serial), part);
    }

    /// When the first part that was put off may go.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.later.keys().next().map(|(at, _)| *at)
    }

    /// One item goes (again), together with others of its label that became ready lately.
    pub(super) fn join(&mut self, label: PartLabel, item: ItemId, repeat: bool, looked_at: Option<Instant>) {
        let Some(part) = self.ready.iter_mut().rev().find(|part| part.repeat == repeat && part.label == label) else {
            return self.ready.push_back(Part { repeat, looked_at, ..Part::new(label, vec![item]) });
        };
        part.looked_at = match (part.looked_at, looked_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        part.items.push(item);
    }

    /// The next part to go; those whose desktop is held open by another item are set aside on the way.
    ///
    /// * `queued`: the desktop of an item that still waits to be sent.
    /// * `given_up`: whether an item will not be done with its desktop in this process.
    pub(super) fn next<'d>(
        &mut self,
        now: Instant,
        queued: impl Fn(ItemId) -> Option<&'d DesktopId>,
        given_up: impl Fn(ItemId) -> bool,
    ) -> Option<Part> {
        while let Some(entry) = self.later.first_entry().filter(|entry| entry.key().0 <= now) {
            self.ready.push_front(entry.remove());
        }
        while let Some(mut part) = self.ready.pop_front() {
            part.items.retain(|id| queued(*id).is_some());
            let is_stuck = |id: &ItemId| queued(*id).and_then(|desktop| self.holder(desktop)).is_some_and(&given_up);
            let stuck: Vec<ItemId> = part.items.iter().copied().filter(is_stuck).collect();
            if let Some((stuck, free)) = self.divide(&part, |id| stuck.contains(&id)) {
                for alone in stuck {
                    if let Some(desktop) = alone.items.first().and_then(|id| queued(*id)) {
                        self.set_aside(desktop.clone(), alone);
                    }
                }
                part = free;
            }
            let held = |id: &ItemId| queued(*id).filter(|desktop| self.holder(desktop).is_some_and(|by| by != *id));
            match part.items.iter().find_map(held) {
                Some(desktop) => self.set_aside(desktop.clone(), part),
                None if part.items.is_empty() => {}
                None => return Some(part),
            }
        }
        None
    }

    pub(super) fn set_aside(&mut self, desktop: DesktopId, part: Part) {
        self.aside_items += part.items.len();
        self.aside.entry(desktop).or_default().push(part);
    }

    pub(super) fn holder(&self, desktop: &DesktopId) -> Option<ItemId> {
        self.holders.get(desktop).copied()
    }

    pub(super) fn hold(&mut self, desktop: &DesktopId, item: ItemId) {
        self.holders.insert(desktop.clone(), item);
    }

    /// The item is done with its desktop, and what waited for it is ready.
    pub(super) fn release(&mut self, desktop: &DesktopId, item: ItemId) {
        if self.holders.get(desktop) != Some(&item) {
            return;
        }
        self.holders.remove(desktop);
        for part in self.aside.remove(desktop).unwrap_or_default() {
            self.aside_items -= part.items.len();
            self.ready.push_back(part);
        }
    }

    /// An item is given up, and keeps its desktop: what waited for it along with others goes without it.
    ///
    /// * `is_on`: whether an item is of that desktop, or of another one that was given up.
    pub(super) fn give_up(&mut self, desktop: &DesktopId, is_on: impl Fn(ItemId) -> bool) {
        for part in self.aside.remove(desktop).unwrap_or_default() {
            self.aside_items -= part.items.len();
            match self.divide(&part, &is_on) {
                Some((stuck, free)) => {
                    for alone in stuck {
                        self.set_aside(desktop.clone(), alone);
                    }
                    self.ready.push_back(free);
                }
                None => self.set_aside(desktop.clone(), part),
            }
        }
    }

    pub(super) fn has_aside(&self, desktop: &DesktopId) -> bool {
        self.aside.contains_key(desktop)
    }

    /// Takes apart what can't go in this process, each item by itself, and what can; `None` where it is all of one kind.
    fn divide(&mut self, part: &Part, is_stuck: impl Fn(ItemId) -> bool) -> Option<(Vec<Part>, Part)> {
        let (stuck, free): (Vec<_>, Vec<_>) = part.items.iter().copied().partition(|id| is_stuck(*id));
        if stuck.is_empty() || free.is_empty() {
            return None;
        }
        let chunk = part.label.chunk;
        let mut with = |items| Part { label: self.next_label(chunk), items, ..part.clone() };
        let free = with(free);
        Some((stuck.into_iter().map(|id| with(vec![id])).collect(), free))
    }

    /// The label of one more part of a divided chunk.
    pub(super) fn next_label(&mut self, chunk: u32) -> PartLabel {
        let part = self.divided.entry(chunk).or_insert(0);
        *part += 1;
        PartLabel { chunk, part: *part }
    }

    /// An earlier process gave this label already.
    pub(super) fn take_label(&mut self, label: PartLabel) {
        let part = self.divided.entry(label.chunk).or_insert(0);
        *part = label.part.max(*part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(chunk: u32, items: &[ItemId]) -> Part {
        Part::new(PartLabel { chunk, part: 0 }, items.to_vec())
    }

    fn desktop(name: &str) -> DesktopId {
        DesktopId::parse(name).unwrap()
    }

    /// All items wait, for this desktop.
    fn all_of<'d>(desktop: &'d DesktopId) -> impl Fn(ItemId) -> Option<&'d DesktopId> {
        move |_| Some(desktop)
    }

    fn in_order(parts: &mut Parts, now: Instant) -> Vec<u32> {
        let a = desktop("a");
        std::iter::from_fn(|| parts.next(now, all_of(&a), |_| false)).map(|part| part.label.chunk).collect()
    }

    #[test]
    fn chunks_are_loaded_in_order_as_far_as_there_is_room_and_one_lot_at_a_time() {
        for (concurrency, last, expected) in
            [(2, u32::MAX, vec![1, 2, 3, 4]), (2, 2, vec![1, 2]), (1, u32::MAX, vec![1, 2]), (2, 0, vec![])]
        {
            let mut parts = Parts::new((1..=9).collect());
            assert_eq!(parts.load(concurrency, last).unwrap_or_default(), expected, "{concurrency} {last}");
            assert_eq!(parts.is_idle(last), expected.is_empty());
            if !expected.is_empty() {
                assert_eq!(parts.load(concurrency, last), None, "while some are being loaded");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_was_put_off_comes_when_it_is_due_and_before_the_others() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(3));
        let mut parts = Parts::new(Vec::new());
        parts.put_off(part(1, &[1]), later);
        parts.push(part(2, &[2]));
        parts.push_first(part(3, &[3]));
        assert_eq!(parts.wakes_at(), Some(later));
        assert_eq!(in_order(&mut parts, now), [3, 2]);
        assert!(!parts.is_idle(u32::MAX));
        parts.push(part(4, &[4]));
        assert_eq!(in_order(&mut parts, later), [1, 4]);
        assert!(parts.is_idle(u32::MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn p06_a_part_waits_aside_until_its_desktop_is_free_and_blocks_no_other() {
        let now = Instant::now();
        let (a, b) = (desktop("a"), desktop("b"));
        let of = |id: ItemId| Some(if id == 3 { &b } else { &a });
        let mut parts = Parts::new(Vec::new());
        parts.hold(&a, 1);
        parts.push(part(2, &[2]));
        parts.push(part(3, &[3]));
        assert_eq!(parts.next(now, of, |_| false).map(|part| part.items), Some(vec![3]));
        assert_eq!((parts.next(now, of, |_| false), parts.items_aside()), (None, 1));
        parts.release(&a, 7);
        assert_eq!(parts.next(now, of, |_| false), None, "only its holder frees it");
        parts.release(&a, 1);
        assert_eq!(parts.next(now, of, |_| false).map(|part| part.items), Some(vec![2]));
        assert_eq!(parts.items_aside(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn p02_what_waits_for_a_desktop_that_is_given_up_keeps_no_other_one_waiting() {
        let now = Instant::now();
        let (a, b) = (desktop("a"), desktop("b"));
        let of = |id: ItemId| Some(if id == 3 || id == 5 { &b } else { &a });
        let mut parts = Parts::new(Vec::new());
        parts.hold(&a, 1);
        parts.push(part(2, &[2, 3]));
        assert_eq!((parts.next(now, of, |_| false), parts.items_aside()), (None, 2));
        parts.give_up(&a, |id| id == 2);
        let given_up = |id| id == 1;
        assert_eq!(parts.next(now, of, given_up).map(|part| part.items), Some(vec![3]));
        // One that comes later is divided at once.
        parts.push(part(3, &[4, 5]));
        assert_eq!(parts.next(now, of, given_up).map(|part| part.items), Some(vec![5]));
        assert_eq!((parts.next(now, of, given_up), parts.items_aside()), (None, 2));
    }

    #[tokio::test(start_paused = true)]
    async fn items_of_one_label_go_together_repeats_apart_from_first_attempts() {
        let (now, label, a) = (Instant::now(), PartLabel { chunk: 1, part: 2 }, desktop("a"));
        let mut parts = Parts::new(Vec::new());
        let earlier = now.checked_sub(Duration::from_secs(1)).unwrap();
        for (item, repeat, looked_at) in
            [(1, false, Some(now)), (2, true, None), (3, false, Some(earlier)), (4, true, None)]
        {
            parts.join(label, item, repeat, looked_at);
        }
        let first = parts.next(now, all_of(&a), |_| false).unwrap();
        assert_eq!((first.items.as_slice(), first.repeat, first.looked_at), ([1, 3].as_slice(), false, Some(earlier)));
        let second = parts.next(now, all_of(&a), |_| false).unwrap();
        assert_eq!((second.items.as_slice(), second.repeat, second.looked_at), ([2, 4].as_slice(), true, None));
    }

    #[test]
    fn labels_go_on_after_those_of_an_earlier_process() {
        let mut parts = Parts::new(Vec::new());
        parts.take_label(PartLabel { chunk: 1, part: 3 });
        parts.take_label(PartLabel { chunk: 1, part: 2 });
        assert_eq!(parts.next_label(1).to_string(), "1.4");
        assert_eq!(parts.next_label(2).to_string(), "2.1");
    }

    #[test]
    fn what_no_longer_waits_is_left_out() {
        let mut parts = Parts::new(Vec::new());
        let a = desktop("a");
        parts.push(part(1, &[1, 2]));
        parts.push(part(2, &[3]));
        let of = |id: ItemId| (id == 2).then_some(&a);
        assert_eq!(parts.next(Instant::now(), of, |_| false).map(|part| part.items), Some(vec![2]));
        assert_eq!(parts.next(Instant::now(), of, |_| false), None);
    }
}
