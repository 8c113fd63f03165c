//! Reads parts of the journal into a [`History`].

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::model::{PartLabel, Refusal};

use super::codec;
use super::record::{AnswerRecord, Attempt, AttemptId, Item, ItemId, Sent, Settlement, SlotNo};
use super::replay::History;
use super::schema::Fault;

/// The columns that [`sent`] reads, in its order.
macro_rules! attempt_columns {
    () => {
        "a.id, a.chunk, a.part, a.at, a.body_sha256, a.body_bytes, a.carries, a.kind, a.answer"
    };
}
pub(super) use attempt_columns;

/// `SQLite`'s numbers are signed.
pub(super) fn signed(number: u64) -> Result<i64, Fault> {
    i64::try_from(number).map_err(|_| Fault::Bad(format!("the number {number}")))
}

pub(super) fn unsigned(number: i64) -> Result<u64, Fault> {
    u64::try_from(number).map_err(|_| Fault::Bad(format!("the number {number}")))
}

/// One row of `attempt AS a`, columns as above.
pub(super) fn sent(row: &rusqlite::Row<'_>) -> Result<Sent, Fault> {
    let id = unsigned(row.get(0)?)?;
    let kind = row.get_ref(7)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    let text = row.get_ref(8)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    let answer: Option<AnswerRecord> = match (kind, text) {
        (Some(kind), Some(text)) => Some(codec::read_answer(id, kind, text)?),
        _ => None,
    };
    let attempt = Attempt {
        id,
        part: PartLabel { chunk: row.get(1)?, part: row.get(2)? },
        at: row.get(3)?,
        body_sha256: row.get(4)?,
        body_bytes: unsigned(row.get(5)?)?,
        carries: codec::read_carries(row.get_ref(6)?.as_str().map_err(rusqlite::Error::from)?)?,
    };
    Ok(Sent { attempt, answer })
}

/// Chunk, first and last item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) chunk: u32,
    pub(super) first: ItemId,
    pub(super) last: ItemId,
}

impl Range {
    pub(super) fn holds(self, item: ItemId) -> bool {
        (self.first..=self.last).contains(&item)
    }
}

pub(super) fn range_of_chunk(connection: &Connection, chunk: u32) -> Result<Option<Range>, Fault> {
    let mut found = connection.prepare_cached("SELECT number, first_item, last_item FROM chunk WHERE number = ?1")?;
    Ok(found.query_row([chunk], range).optional()?)
}

pub(super) fn range_of_item(connection: &Connection, item: ItemId) -> Result<Option<Range>, Fault> {
    let mut found = connection.prepare_cached(
        "SELECT number, first_item, last_item FROM chunk WHERE first_item <= ?1 ORDER BY first_item DESC LIMIT 1",
    )?;
    Ok(found.query_row([item], range).optional()?.filter(|range| range.holds(item)))
}

pub(super) fn range(row: &rusqlite::Row<'_>) -> Result<Range, rusqlite::Error> {
    Ok(Range { chunk: row.get(0)?, first: row.get(1)?, last: row.get(2)? })
}

pub(super) fn ranges(connection: &Connection, sql: &str) -> Result<Vec<Range>, Fault> {
    Ok(connection.prepare_cached(sql)?.query_map([], range)?.collect::<Result<_, _>>()?)
}

pub(super) fn item(connection: &Connection, id: ItemId) -> Result<Option<Item>, Fault> {
    let mut found = connection.prepare_cached("SELECT body FROM item WHERE id = ?1")?;
    let mut rows = found.query([id])?;
    match rows.next()? {
        Some(row) => Ok(Some(codec::read_item(id, row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?)),
        None => Ok(None),
    }
}

/// The settlements of one item, in their order.
pub(super) fn settlements(connection: &Connection, item: ItemId) -> Result<Vec<Settlement>, Fault> {
    let Some(range) = range_of_item(connection, item)? else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    each_outcome(connection, range.chunk, |carries, body| {
        for (_, slots) in carries.into_iter().filter(|(carried, _)| *carried == item) {
            all.push(Settlement { item, slots, result: codec::read_outcome(body)? });
        }
        Ok(())
    })?;
    Ok(all)
}

/// All settlements of a chunk, in their order.
pub(super) fn settlements_of_chunk(connection: &Connection, chunk: u32) -> Result<Vec<Settlement>, Fault> {
    let mut all = Vec::new();
    each_outcome(connection, chunk, |carries, body| {
        let result = codec::read_outcome(body)?;
        all.extend(carries.into_iter().map(|(item, slots)| Settlement { item, slots, result: result.clone() }));
        Ok(())
    })?;
    Ok(all)
}

pub(super) const OUTCOMES_OF_CHUNK: &str = "SELECT carries, body FROM settled WHERE chunk = ?1 ORDER BY n";

/// The rows of a chunk's settlements, in their order: of whom each speaks, and what it says.
pub(super) fn each_outcome(
    connection: &Connection,
    chunk: u32,
    mut f: impl FnMut(Vec<(ItemId, Vec<SlotNo>)>, &str) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut found = connection.prepare_cached(OUTCOMES_OF_CHUNK)?;
    let mut rows = found.query([chunk])?;
    while let Some(row) = rows.next()? {
        let carries = codec::read_carries(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
        f(carries, row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?;
    }
    Ok(())
}

/// All that is on record for one chunk's items.
pub(super) fn chunk(connection: &Connection, range: Range) -> Result<History, Fault> {
    let mut history = History::default();
    let bounds = params![range.first, range.last];

    let mut found = connection.prepare_cached("SELECT id, body FROM item WHERE id BETWEEN ?1 AND ?2")?;
    let mut rows = found.query(bounds)?;
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        let body = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        history.items.insert(id, codec::read_item(id, body)?);
    }

    for settlement in settlements_of_chunk(connection, range.chunk)? {
        history.settlements.entry(settlement.item).or_default().push(settlement);
    }

    let mut found = connection.prepare_cached("SELECT item, job_id, refusal FROM job WHERE item BETWEEN ?1 AND ?2")?;
    let mut rows = found.query(bounds)?;
    while let Some(row) = rows.next()? {
        let refusal: Option<String> = row.get(2)?;
        let refusal: Option<Refusal> = refusal
            .map(|text| serde_json::from_str(&text).map_err(|error| Fault::Bad(format!("job: {error}"))))
            .transpose()?;
        history.jobs.entry(row.get(0)?).or_default().insert(row.get(1)?, refusal);
    }

    let mut found = connection.prepare_cached("SELECT item, slot FROM seen WHERE item BETWEEN ?1 AND ?2")?;
    let mut rows = found.query(bounds)?;
    while let Some(row) = rows.next()? {
        history.seen.entry(row.get(0)?).or_default().insert(row.get::<_, SlotNo>(1)?);
    }

    add_attempts(connection, range.chunk, &mut history)?;
    Ok(history)
}

/// Adds the attempts that carried anything of a chunk.
pub(super) fn add_attempts(connection: &Connection, chunk: u32, history: &mut History) -> Result<(), Fault> {
    let mut found = connection.prepare_cached(concat!(
        "SELECT ",
        attempt_columns!(),
        " FROM attempt_chunk AS c JOIN attempt AS a ON a.id = c.attempt WHERE c.chunk = ?1"
    ))?;
    let mut rows = found.query([chunk])?;
    while let Some(row) = rows.next()? {
        history.add_sent(sent(row)?);
    }
    Ok(())
}

/// The number that the next write gets.
pub(super) fn next_attempt(connection: &Connection) -> Result<AttemptId, Fault> {
    let last: Option<i64> = connection.query_row("SELECT max(id) FROM attempt", [], |row| row.get(0))?;
    Ok(unsigned(last.unwrap_or(0))? + 1)
}
