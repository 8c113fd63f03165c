//! What the results say of each slot: found by the million, in the order of the rows, which is not that of the items.

use std::collections::{HashMap, HashSet};

use rusqlite::Connection;

use super::codec;
use super::load::{self, Range};
use super::record::{ItemId, RowOutcome, Settlement, SlotNo};
use super::replay::{History, latest, no_item};
use super::schema::Fault;

/// Open chunks whose writes are kept at most, so that memory stays bounded.
const KEPT: usize = 1_024;
/// Bytes of settlements that are kept at most; 100,000 chunks need a quarter of it.
const MAX_BYTES: usize = 256 << 20;
/// Bytes of a settlement besides its longest texts, with what keeps it.
const OUTCOME_BYTES: usize = 400;

/// The outcomes of slots, while the results are walked through.
pub(super) struct Outcomes<'c> {
    connection: &'c Connection,
    ranges: Vec<Range>,
    settled: Settled<'c>,
    /// Open chunks that any write carried, by number.
    tried: HashSet<u32>,
    /// Of those that were met lately: their writes alone.
    attempts: HashMap<u32, History>,
    /// No write at all.
    untried: History,
}

impl<'c> Outcomes<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self, Fault> {
        let ranges = load::ranges(connection, "SELECT number, first_item, last_item FROM chunk ORDER BY first_item")?;
        let settled = Settled::new(connection, ranges.last().map_or(0, |range| range.last), MAX_BYTES)?;
        let sql = "SELECT DISTINCT c.chunk FROM attempt_chunk AS c JOIN chunk ON chunk.number = c.chunk WHERE open > 0";
        let tried = connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(Self { connection, ranges, settled, tried, attempts: HashMap::new(), untried: History::default() })
    }

    /// The outcome of a slot that is settled.
    pub(super) fn settled(&mut self, item: ItemId, slot: SlotNo) -> Result<Option<&RowOutcome>, Fault> {
        self.settled.outcome(item, slot, &self.ranges)
    }

    /// What there is to say of a slot that is not.
    pub(super) fn open(&mut self, item: ItemId, slot: SlotNo) -> Result<RowOutcome, Fault> {
        let chunk = chunk_of(&self.ranges, item).ok_or_else(|| no_item(item))?;
        if !self.tried.contains(&chunk) {
            // Most chunks of a run that was stopped; rows go through them in no order.
            return Ok(self.untried.open_outcome(chunk, item, slot));
        }
        if self.attempts.len() >= KEPT && !self.attempts.contains_key(&chunk) {
            self.attempts.clear();
        }
        let history = match self.attempts.entry(chunk) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                let mut history = History::default();
                load::add_attempts(self.connection, chunk, &mut history)?;
                new.insert(history)
            }
        };
        Ok(history.open_outcome(chunk, item, slot))
    }
}

/// * `ranges`: of all chunks, in the order of their items.
fn chunk_of(ranges: &[Range], item: ItemId) -> Option<u32> {
    let after = ranges.partition_point(|range| range.first <= item);
    ranges.get(after.checked_sub(1)?).filter(|range| range.holds(item)).map(|range| range.chunk)
}

/// Nothing is settled.
const OPEN: u32 = u32::MAX;
/// Settled more than once: see `again`.
const AGAIN: u32 = u32::MAX - 1;

/// All settlements, read in one walk. Those of many items are the same but for the item, so they are kept once: an item
/// costs four bytes.
struct Settled<'c> {
    connection: &'c Connection,
    /// By item: its place in `kinds`, or [`OPEN`], or [`AGAIN`].
    places: Vec<u32>,
    kinds: Vec<(Vec<SlotNo>, RowOutcome)>,
    again: HashMap<ItemId, Vec<u32>>,
    /// `false`: too much would have to be kept, and the words of a chunk are read when a row comes to it.
    whole: bool,
    /// Then those of the chunks that were met lately, by number: no item's words can be found without reading all of
    /// its chunk's, and rows next to each other are mostly of one chunk or of few.
    lately: HashMap<u32, HashMap<ItemId, Vec<Settlement>>>,
    /// Of those.
    bytes: usize,
    most: usize,
}

impl<'c> Settled<'c> {
    /// * `last`: the highest item.
    /// * `most`: bytes of settlements that are kept.
    fn new(connection: &'c Connection, last: ItemId, most: usize) -> Result<Self, Fault> {
        let mut all = Self {
            connection,
            places: vec![OPEN; usize::try_from(last).unwrap_or(0) + 1],
            kinds: Vec::new(),
            again: HashMap::new(),
            whole: true,
            lately: HashMap::new(),
            bytes: 0,
            most,
        };
        if !all.read()? {
            (all.places, all.kinds, all.again, all.whole) = (Vec::new(), Vec::new(), HashMap::new(), false);
        }
        Ok(all)
    }

    /// `false`: it is too much.
    fn read(&mut self) -> Result<bool, Fault> {
        let connection = self.connection;
        let mut found = connection.prepare("SELECT carries, body FROM settled ORDER BY chunk, n")?;
        let mut rows = found.query([])?;
        let mut bytes = 0;
        while let Some(row) = rows.next()? {
            let carries = codec::read_carries(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
            let body = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
            // What one row says is one word, of these slots or those.
            let mut known: HashMap<Vec<SlotNo>, u32> = HashMap::new();
            for (item, slots) in carries {
                let kind = if let Some(kind) = known.get(&slots) {
                    *kind
                } else {
                    bytes += body.len() + OUTCOME_BYTES;
                    let kind = u32::try_from(self.kinds.len()).unwrap_or(AGAIN);
                    if bytes > self.most || kind >= AGAIN {
                        return Ok(false);
                    }
                    self.kinds.push((slots.clone(), codec::read_outcome(body)?));
                    known.insert(slots, kind);
                    kind
                };
                let place = usize::try_from(item).ok().and_then(|item| self.places.get_mut(item));
                match place.ok_or_else(|| no_item(item))? {
                    place if *place == OPEN => *place = kind,
                    place => {
                        let first = std::mem::replace(place, AGAIN);
                        let list = self.again.entry(item).or_insert_with(|| vec![first]);
                        list.push(kind);
                        bytes += 64;
                    }
                }
            }
        }
        Ok(true)
    }

    fn outcome(&mut self, item: ItemId, slot: SlotNo, ranges: &[Range]) -> Result<Option<&RowOutcome>, Fault> {
        if !self.whole {
            let Some(chunk) = chunk_of(ranges, item) else { return Ok(None) };
            if !self.lately.contains_key(&chunk) {
                self.look_up(chunk)?;
            }
            let settled = self.lately.get(&chunk).and_then(|of_chunk| of_chunk.get(&item));
            return Ok(settled.and_then(|settled| latest(settled, slot)).map(|settled| &settled.result));
        }
        let place = usize::try_from(item).ok().and_then(|item| self.places.get(item));
        Ok(match place.copied().unwrap_or(OPEN) {
            OPEN => None,
            AGAIN => {
                let mut kinds = self.again.get(&item).into_iter().flatten().rev();
                kinds.find_map(|kind| self.one(*kind, slot))
            }
            kind => self.one(kind, slot),
        })
    }

    fn look_up(&mut self, chunk: u32) -> Result<(), Fault> {
        let all = load::settlements_of_chunk(self.connection, chunk)?;
        let bytes = |RowOutcome { message, evidence, .. }: &RowOutcome| message.len() + evidence.len() + OUTCOME_BYTES;
        let bytes: usize = all.iter().map(|settled| bytes(&settled.result)).sum();
        if self.bytes + bytes > self.most {
            self.lately.clear();
            self.bytes = 0;
        }
        let words = self.lately.entry(chunk).or_default();
        for word in all {
            words.entry(word.item).or_default().push(word);
        }
        self.bytes += bytes;
        Ok(())
    }

    fn one(&self, kind: u32, slot: SlotNo) -> Option<&RowOutcome> {
        let (slots, result) = self.kinds.get(usize::try_from(kind).ok()?)?;
        slots.contains(&slot).then_some(result)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::StatementStatus;

    use crate::journal::Journal as _;
    use crate::journal::View;
    use crate::journal::record::Record;
    use crate::journal::sample::{build, settled};
    use crate::journal::store::Store;
    use crate::model::Outcome;

    use super::*;

    fn all_ranges(connection: &Connection) -> Vec<Range> {
        load::ranges(connection, "SELECT number, first_item, last_item FROM chunk ORDER BY first_item").unwrap()
    }

    #[test]
    fn words_that_are_too_many_to_be_kept_are_read_once_for_each_chunk_and_not_for_each_item() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        build(&path, 3);
        let store = Store::open(&path).unwrap();
        // Each says something else, so that none are kept as one.
        let one = |item| {
            let mut settled = settled(item, &[0, 1], Outcome::Failed);
            settled.result.message = format!("outcome {item}");
            Record::Settled(settled)
        };
        let records = (1..=6).map(one).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(store.handle().commit(records)).unwrap();
        store.close().unwrap();

        let view = View::open(&path).unwrap();
        let ranges = all_ranges(view.connection());
        let items = [1, 2, 1, 3, 4, 1, 3, 6, 5, 1];
        // Room for no chunk but the latest; for two of them.
        for (most, reads) in [(0, [1, 1, 1, 2, 2, 3, 4, 5, 5, 6]), (2_000, [1, 1, 1, 2, 2, 2, 2, 3, 3, 4])] {
            let mut kept = Settled::new(view.connection(), 6, most).unwrap();
            assert!(!kept.whole);
            let read = || {
                let found = view.connection().prepare_cached(load::OUTCOMES_OF_CHUNK).unwrap();
                found.get_status(StatementStatus::Run)
            };
            let before = read();
            for (item, reads) in items.into_iter().zip(reads) {
                let message = kept.outcome(item, 1, &ranges).unwrap().map(|result| result.message.clone());
                assert_eq!(message, Some(format!("outcome {item}")));
                assert_eq!(read() - before, reads, "up to item {item}, of {most} bytes");
            }
            assert!(kept.outcome(7, 0, &ranges).unwrap().is_none());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn words_kept_together_are_those_looked_up_one_by_one(
            settlements in prop::collection::vec((1..=6_u32, prop::collection::vec(0..2_u16, 1..3), 0..4_usize), 0..20),
            most in prop::sample::select(vec![0, 1_500, usize::MAX]),
        ) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a.journal");
            build(&path, 3);
            let store = Store::open(&path).unwrap();
            let outcomes = [Outcome::Detached, Outcome::Failed, Outcome::Unknown, Outcome::AlreadyDetached];
            let records =
                settlements.iter().map(|(item, slots, n)| Record::Settled(settled(*item, slots, outcomes[*n])));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(store.handle().commit(records.collect())).unwrap();
            store.close().unwrap();

            let view = View::open(&path).unwrap();
            let ranges = all_ranges(view.connection());
            let mut kept = Settled::new(view.connection(), 6, most).unwrap();
            if most == usize::MAX {
                prop_assert!(kept.whole);
            }
            for item in 1..=6 {
                let all = load::settlements(view.connection(), item).unwrap();
                for slot in 0..2 {
                    let wanted = latest(&all, slot).map(|one| &one.result);
                    let is = kept.outcome(item, slot, &ranges).unwrap();
                    prop_assert_eq!(is, wanted, "item {}, slot {}", item, slot);
                }
            }
        }
    }
}
