//! When which item is read, so that reads which may wait a little fall together: the list takes a hundred desktops at
//! the price of one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::super::rules::Rules;
use crate::journal::ItemId;

/// Ids in one `desktop_id` filter at most.
const MAX_IDS_PER_READ: usize = 100;
/// The first look at a desktop after its answer; grows where the service is slower, but not over the doubt wait, from
/// which on every look counts.
const FIRST_LOOK: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug)]
pub(super) struct Reads {
    due: BTreeSet<(Instant, ItemId)>,
    /// When each item is due: it is so once at most.
    at: HashMap<ItemId, Instant>,
    /// To be read one by one, since a list lacked them.
    single: VecDeque<ItemId>,
    /// To be read in fewer company, and from when on: a read of more was refused.
    halves: BTreeMap<(Instant, u64), Vec<ItemId>>,
    serial: u64,
    /// How often in a row a read of this item was answered with a 500.
    broken: HashMap<ItemId, u32>,
    /// For which every list that holds them is refused.
    alone: HashSet<ItemId>,
    /// A read of the list waits for its turn at the gate.
    turn_asked: bool,
    /// Reads under way, those that wait for their turn included.
    pub(super) out: usize,
    /// Those that wait for the grid since the last read or answer, and could all be read from this time on.
    gathered: (Instant, Vec<ItemId>),
    first_look: Duration,
    longest_first_look: Duration,
    /// What the grid counts from, and its step.
    began: Instant,
    step: Duration,
}

impl Reads {
    pub(super) fn new(rules: &Rules, now: Instant) -> Self {
        Self {
            due: BTreeSet::new(),
            at: HashMap::new(),
            single: VecDeque::new(),
            halves: BTreeMap::new(),
            serial: 0,
            broken: HashMap::new(),
            alone: HashSet::new(),
            turn_asked: false,
            out: 0,
            gathered: (now, Vec::new()),
            first_look: FIRST_LOOK.min(rules.waits.settle_time),
            longest_first_look: rules.waits.doubt_wait.max(rules.waits.settle_time),
            began: now,
            step: rules.waits.poll_interval.min(rules.waits.settle_time) / 4,
        }
    }

    /// Reads an item at that time, and not at the one that was set before.
    pub(super) fn schedule(&mut self, item: ItemId, at: Instant) {
        if let Some(old) = self.at.insert(item, at) {
            self.due.remove(&(old, item));
        }
        self.due.insert((at, item));
    }

    pub(super) fn cancel(&mut self, item: ItemId) {
        if let Some(at) = self.at.remove(&item) {
            self.due.remove(&(at, item));
        }
    }

    /// A read of the list showed these, or could have.
    pub(super) fn listed(&mut self, items: &[ItemId]) {
        for item in items {
            self.broken.remove(item);
        }
    }

    /// A read of the list by these was answered with a 500. How often in a row by now, for the one that met most.
    pub(super) fn broke(&mut self, items: &[ItemId]) -> u32 {
        let mut count = |item: &ItemId| {
            let times = self.broken.entry(*item).or_default();
            *times += 1;
            *times
        };
        items.iter().map(&mut count).max().unwrap_or_default()
    }

    /// A read of the list by these is refused: each half is read by itself, down to the guilty one, which is in no list
    /// from then on.
    pub(super) fn divide(&mut self, mut items: Vec<ItemId>, at: Instant) {
        if let [only] = items.as_slice() {
            self.alone.insert(*only);
            return self.single(*only);
        }
        let second = items.split_off(items.len().div_ceil(2));
        for half in [items, second] {
            self.serial += 1;
            self.halves.insert((at, self.serial), half);
        }
    }

    /// Reads an item by itself, as soon as may be.
    pub(super) fn single(&mut self, item: ItemId) {
        self.single.push_back(item);
    }

    pub(super) fn next_single(&mut self) -> Option<ItemId> {
        self.single.pop_front()
    }

    /// Whether a read of the list is to wait for its turn now.
    pub(super) fn ask_turn(&mut self, now: Instant) -> bool {
        let asks = !self.turn_asked && self.first_due().is_some_and(|at| at <= now);
        self.turn_asked |= asks;
        asks
    }

    /// The turn has come, or was given up.
    pub(super) fn end_turn(&mut self) {
        self.turn_asked = false;
    }

    /// When the list is to be read next.
    fn first_due(&self) -> Option<Instant> {
        let of_all = self.due.first().map(|(at, _)| *at);
        let of_halves = self.halves.keys().next().map(|(at, _)| *at);
        of_all.into_iter().chain(of_halves).min()
    }

    /// What is due now, as much as one read may ask for.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<ItemId> {
        if let Some(half) = self.halves.first_entry().filter(|half| half.key().0 <= now) {
            return half.remove();
        }
        let mut items = Vec::new();
        while let Some((at, item)) = self.due.first().copied()
            && at <= now
            && items.len() < MAX_IDS_PER_READ
        {
            self.cancel(item);
            if self.alone.contains(&item) {
                self.single(item);
            } else {
                items.push(item);
            }
        }
        items
    }

    /// When the next read is due for which no turn is asked yet.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        self.first_due().filter(|_| !self.turn_asked)
    }

    /// The next point of the grid at or after `at`, for reads that may wait a little.
    fn on_grid(&self, at: Instant) -> Instant {
        let over = at.saturating_duration_since(self.began).as_nanos() % self.step.as_nanos().max(1);
        let rest = if over == 0 { 0 } else { self.step.as_nanos() - over };
        at + Duration::from_nanos(u64::try_from(rest).unwrap_or_default())
    }

    /// Of an item that is to be read at that time: it may wait for the grid, so that reads fall together. As many as fill a
    /// read wait for no others.
    pub(super) fn gather(&mut self, item: ItemId, at: Instant) {
        let waits_until = self.on_grid(at);
        self.move_read(item, at, waits_until);
        if self.gathered.0 != at {
            self.gathered = (at, Vec::new());
        }
        self.gathered.1.push(item);
        if self.gathered.1.len() == MAX_IDS_PER_READ {
            for item in std::mem::take(&mut self.gathered.1) {
                self.move_read(item, waits_until, at);
            }
        }
    }

    /// Reads an item at `to`, if it was to be read at `from`.
    fn move_read(&mut self, item: ItemId, from: Instant, to: Instant) {
        if self.at.get(&item) == Some(&from) {
            self.schedule(item, to);
        }
    }

    /// How long after its answer a desktop is looked at first.
    pub(super) fn first_look(&self) -> Duration {
        self.first_look
    }

    /// Where most first looks came too early, the service takes longer, and later ones wait longer.
    pub(super) fn learn(&mut self, looks: usize, early: usize) {
        if early * 2 > looks {
            self.first_look = (self.first_look * 2).min(self.longest_first_look);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_item_is_due_once_and_a_read_takes_a_hundred() {
        let now = Instant::now();
        let mut reads = Reads::new(&Rules::default(), now);
        for item in 1..=150 {
            reads.schedule(item, now);
        }
        reads.schedule(1, now + SECOND);
        reads.cancel(2);
        assert!(reads.ask_turn(now) && !reads.ask_turn(now), "one turn at a time");
        assert_eq!(reads.wakes_at(), None);
        reads.end_turn();
        assert_eq!(reads.take_due(now), (3..=102).collect::<Vec<_>>());
        assert_eq!(reads.take_due(now), (103..=150).collect::<Vec<_>>());
        assert_eq!((reads.take_due(now), reads.wakes_at()), (vec![], Some(now + SECOND)));
        assert_eq!(reads.take_due(now + SECOND), [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn p02_a_refused_read_is_divided_down_to_the_guilty_id_and_that_one_is_in_no_list_again() {
        let (guilty, start) = (70, Instant::now());
        let mut reads = Reads::new(&Rules::default(), start);
        for item in 1..=100 {
            reads.schedule(item, start);
        }
        let (mut made, mut shown) = (0, 0);
        while reads.ask_turn(start) {
            reads.end_turn();
            let asked = reads.take_due(start);
            made += 1;
            if asked.contains(&guilty) { reads.divide(asked, start) } else { shown += asked.len() }
        }
        assert_eq!((made, shown, reads.next_single()), (15, 99, Some(guilty)));
        reads.schedule(guilty, start);
        assert_eq!((reads.take_due(start), reads.next_single()), (vec![], Some(guilty)));
    }

    #[tokio::test(start_paused = true)]
    async fn reads_that_may_wait_fall_on_a_grid() {
        let now = Instant::now();
        let reads = Reads::new(&Rules::default(), now); // a quarter of 5 s
        for (at_ms, expected_ms) in [(0, 0), (1, 1_250), (1_250, 1_250), (1_251, 2_500)] {
            let at = |ms| now + Duration::from_millis(ms);
            assert_eq!(reads.on_grid(at(at_ms)), at(expected_ms), "{at_ms} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_as_fill_a_read_do_not_wait_for_the_grid() {
        let now = Instant::now();
        let mut reads = Reads::new(&Rules::default(), now);
        let (at, grid) = (now + SECOND, now + Duration::from_millis(1_250));
        for item in 1..=250 {
            reads.schedule(item, at);
            if item == 7 {
                reads.schedule(item, now + 9 * SECOND); // put off for another reason
            }
            reads.gather(item, at);
        }
        assert_eq!(reads.take_due(at).len(), 100);
        assert_eq!(reads.take_due(at), (102..=200).collect::<Vec<_>>(), "item 7 is not among them");
        assert_eq!((reads.take_due(at), reads.wakes_at()), (vec![], Some(grid)));
        assert_eq!(reads.take_due(grid), (201..=250).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_look_is_learnt_up_to_the_wait_from_which_all_looks_count() {
        let mut reads = Reads::new(&Rules::default(), Instant::now());
        for (looks, early, expected_s) in
            [(0, 0, 1), (4, 2, 1), (4, 3, 2), (1, 1, 4), (1, 1, 8), (1, 1, 16), (1, 1, 30)]
        {
            reads.learn(looks, early);
            assert_eq!(reads.first_look(), SECOND * expected_s, "{early} of {looks}");
        }
    }
}
