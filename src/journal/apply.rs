//! Turns records into rows, within the transaction of the one writer.

use std::collections::BTreeMap;
use std::iter::Peekable;

use rusqlite::{Connection, params};

use super::codec;
use super::item_sizes::Shapes;
use super::load::{self, signed};
use super::record::{AnswerRecord, Attempt, ItemId, Record, RowOutcome, Settlement, SlotNo, Stopped};
use super::replay::{is_final, latest, no_intent, wants_recheck};
use super::schema::{self, Fault};

/// What one transaction adds to the counts. Written at its end, so that a thousand outcomes cost one write each.
#[derive(Debug, Default)]
struct Sums {
    tally: BTreeMap<String, i64>,
    /// Slots that each chunk's open ones become more (or, below zero, fewer) by.
    open: BTreeMap<u32, i64>,
}

impl Sums {
    fn add(&mut self, key: &str, n: i64) {
        match self.tally.get_mut(key) {
            Some(sum) => *sum += n,
            None => _ = self.tally.insert(key.to_owned(), n),
        }
    }

    fn write(mut self, connection: &Connection) -> Result<(), Fault> {
        for (chunk, more) in std::mem::take(&mut self.open).into_iter().filter(|(_, more)| *more != 0) {
            let mut found = connection.prepare_cached("SELECT open FROM chunk WHERE number = ?1")?;
            let before = found.query_row([chunk], |row| row.get::<_, i64>(0))?;
            let left = before + more;
            let mut update = connection.prepare_cached("UPDATE chunk SET open = ?2 WHERE number = ?1")?;
            update.execute(params![chunk, left])?;
            match (before, left) {
                (0, 1..) => self.add("chunks.open", 1),
                (1.., 0) => self.add("chunks.open", -1),
                _ => {}
            }
        }
        let mut add = connection
            .prepare_cached("INSERT INTO tally VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET n = n + excluded.n")?;
        for (key, n) in self.tally.into_iter().filter(|(_, n)| *n != 0) {
            add.execute(params![key, n])?;
        }
        Ok(())
    }
}

/// Takes in all records of one transaction.
///
/// # Errors
/// What they refer to is not in the plan or not on record, or the disk says no: then the transaction is not to be
/// committed.
pub(super) fn apply(
    connection: &Connection,
    shapes: &mut Shapes,
    records: impl IntoIterator<Item = Record>,
) -> Result<(), Fault> {
    let mut sums = Sums::default();
    let mut records = records.into_iter().peekable();
    while let Some(record) = records.next() {
        one(connection, shapes, &mut sums, record, &mut records)?;
    }
    sums.write(connection)
}

/// Takes from `rest` the settlements with the same outcome of further items of the chunk: that is one row for them all.
/// The items of a request mostly get their outcome together.
fn of_same_outcome(
    shapes: &Shapes,
    settlement: Settlement,
    chunk: u32,
    rest: &mut Peekable<impl Iterator<Item = Record>>,
) -> (RowOutcome, Vec<(ItemId, Vec<SlotNo>)>) {
    let Settlement { item, slots, result } = settlement;
    let (mut last, mut carries) = (item, vec![(item, slots)]);
    let is_next = |next: &Record, last| match next {
        // Upwards, so that none comes twice.
        Record::Settled(next) => next.item > last && shapes.is_of(next.item, chunk) && next.result == result,
        _ => false,
    };
    while let Some(Record::Settled(next)) = rest.next_if(|next| is_next(next, last)) {
        last = next.item;
        carries.push((next.item, next.slots));
    }
    (result, carries)
}

fn one(
    connection: &Connection,
    shapes: &mut Shapes,
    sums: &mut Sums,
    record: Record,
    rest: &mut Peekable<impl Iterator<Item = Record>>,
) -> Result<(), Fault> {
    match record {
        Record::Started { at, version, write_period } => {
            let period = write_period.and_then(|period| i64::try_from(period.as_micros()).ok());
            connection
                .prepare_cached("INSERT INTO process(started_at, version, write_period_us) VALUES (?1, ?2, ?3)")?
                .execute(params![at, version, period])?;
        }
        Record::Intent(attempt) => intent(connection, shapes, sums, attempt)?,
        Record::Answer(answer) => self::answer(connection, sums, answer)?,
        Record::Job { item, job_id, refusal } => {
            shapes.get(connection, item, &[])?;
            let refusal = refusal
                .map(|refusal| serde_json::to_string(&refusal))
                .transpose()
                .map_err(|error| Fault::Bad(format!("job of item {item}: {error}")))?;
            connection
                .prepare_cached("INSERT OR REPLACE INTO job VALUES (?1, ?2, ?3)")?
                .execute(params![item, job_id, refusal])?;
        }
        Record::Seen { item, slots } => {
            shapes.get(connection, item, &slots)?;
            let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO seen VALUES (?1, ?2)")?;
            for slot in slots {
                insert.execute(params![item, slot])?;
            }
        }
        Record::Settled(settlement) => {
            let chunk = shapes.get(connection, settlement.item, &settlement.slots)?.chunk;
            let (result, carries) = of_same_outcome(shapes, settlement, chunk, rest);
            settled(connection, shapes, sums, chunk, &result, &carries)?;
        }
        Record::Rechecked { item } => {
            shapes.get(connection, item, &[])?;
            connection.prepare_cached("DELETE FROM recheck WHERE item = ?1")?.execute([item])?;
        }
        Record::Canary { passed } => {
            let word = if passed { "passed" } else { "failed" };
            connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES ('canary', ?1)")?.execute([word])?;
        }
        Record::Undone { by } => {
            connection.prepare_cached("INSERT OR REPLACE INTO meta VALUES ('undone_by', ?1)")?.execute([by])?;
        }
        Record::Requests { counts } => {
            for (class, word, n) in counts {
                sums.add(&format!("requests.{}.{word}", class.as_str()), signed(n)?);
            }
        }
        Record::StillAccess { found, rows } => {
            let found =
                serde_json::to_string(&found).map_err(|error| Fault::Bad(format!("who still gets in: {error}")))?;
            connection.execute(schema::STILL_VIA, [])?;
            connection.execute("DELETE FROM still_via", [])?;
            connection
                .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?
                .execute([schema::STILL_ACCESS, &found])?;
            let mut insert = connection.prepare_cached("INSERT INTO still_via VALUES (?1, ?2)")?;
            for (entry, ways) in rows {
                insert.execute(params![signed(entry)?, ways])?;
            }
        }
        Record::Stopped { at, exit, reason } => stopped(connection, &Stopped { at, exit, reason })?,
    }
    Ok(())
}

fn intent(connection: &Connection, shapes: &mut Shapes, sums: &mut Sums, attempt: Attempt) -> Result<(), Fault> {
    let Attempt { id, part, carries, body_sha256, body_bytes, at } = attempt;
    let id = signed(id)?;
    connection
        .prepare_cached(
            "INSERT INTO attempt(id, chunk, part, at, body_sha256, body_bytes, carries)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            id,
            part.chunk,
            part.part,
            at,
            body_sha256,
            signed(body_bytes)?,
            codec::write_carries(&carries)
        ])?;
    let mut link = connection.prepare_cached("INSERT OR IGNORE INTO attempt_chunk VALUES (?1, ?2)")?;
    let mut touch = connection.prepare_cached("UPDATE chunk SET touched = 1 WHERE number = ?1 AND touched = 0")?;
    let mut last = None;
    for (item, slots) in &carries {
        let chunk = shapes.get(connection, *item, slots)?.chunk;
        // Neighbours are of one chunk, nearly always.
        if last.replace(chunk) != Some(chunk) {
            link.execute(params![chunk, id])?;
            touch.execute([chunk])?;
        }
    }
    sums.add("attempts.", 1);
    Ok(())
}

fn answer(connection: &Connection, sums: &mut Sums, answer: AnswerRecord) -> Result<(), Fault> {
    let (attempt, kind) = (answer.attempt, answer.kind);
    let id = signed(attempt)?;
    let mut found = connection.prepare_cached("SELECT kind FROM attempt WHERE id = ?1")?;
    let before: Option<Option<String>> =
        rusqlite::OptionalExtension::optional(found.query_row([id], |row| row.get(0)))?;
    let before = before.ok_or_else(|| no_intent(attempt))?.unwrap_or_default();
    connection.prepare_cached("UPDATE attempt SET kind = ?2, answer = ?3 WHERE id = ?1")?.execute(params![
        id,
        kind.as_str(),
        codec::write_answer(answer)?
    ])?;
    sums.add(&format!("attempts.{before}"), -1);
    sums.add(&format!("attempts.{}", kind.as_str()), 1);
    let sql = if kind.is_not_executed() {
        // So that `status` and a resume need not look at a chunk that a 429 put off.
        "UPDATE chunk SET touched = EXISTS (
             SELECT 1 FROM attempt_chunk AS c JOIN attempt AS a ON a.id = c.attempt
             WHERE c.chunk = chunk.number AND (a.kind IS NULL OR a.kind IN ('answered', 'doubt')))
         WHERE number IN (SELECT chunk FROM attempt_chunk AS l WHERE l.attempt = ?1) AND touched = 1"
    } else {
        "UPDATE chunk SET touched = 1
         WHERE number IN (SELECT chunk FROM attempt_chunk AS l WHERE l.attempt = ?1) AND touched = 0"
    };
    connection.prepare_cached(sql)?.execute([id])?;
    Ok(())
}

/// Writes an outcome, and moves the counts from the one that stood on each slot to the new one.
///
/// * `carries`: items of one chunk, each once, with the slots that it speaks of.
fn settled(
    connection: &Connection,
    shapes: &mut Shapes,
    sums: &mut Sums,
    chunk: u32,
    result: &RowOutcome,
    carries: &[(ItemId, Vec<SlotNo>)],
) -> Result<(), Fault> {
    let now = result.outcome;
    let (mut open, mut added) = (0, 0);
    for (id, slots) in carries {
        let shape = shapes.get(connection, *id, slots)?;
        // Most items are settled once.
        let mut all =
            if std::mem::replace(&mut shape.settled, true) { load::settlements(connection, *id)? } else { Vec::new() };
        let mut slots = slots.clone();
        slots.sort_unstable();
        slots.dedup();
        for slot in &slots {
            let rows = shape.rows.get(usize::from(*slot)).map_or(0, |rows| i64::from(*rows));
            match latest(&all, *slot).map(|before| before.result.outcome).filter(|before| is_final(*before)) {
                Some(before) => sums.add(&format!("rows.{before}"), -rows),
                None => open -= 1,
            }
            added += rows;
            open += i64::from(!is_final(now));
        }
        if result.recheck {
            connection.prepare_cached("INSERT OR IGNORE INTO recheck VALUES (?1)")?.execute([id])?;
        } else if !all.is_empty() {
            all.push(Settlement { item: *id, slots, result: result.clone() });
            if !wants_recheck(&all) {
                connection.prepare_cached("DELETE FROM recheck WHERE item = ?1")?.execute([id])?;
            }
        }
    }
    connection
        .prepare_cached(
            "INSERT INTO settled(chunk, n, carries, body)
             VALUES (?1, (SELECT coalesce(max(n), 0) + 1 FROM settled WHERE chunk = ?1), ?2, ?3)",
        )?
        .execute(params![chunk, codec::write_carries(carries), codec::write_outcome(result)?])?;
    if is_final(now) {
        sums.add(&format!("rows.{now}"), added);
    } else {
        connection.prepare_cached("UPDATE chunk SET touched = 2 WHERE number = ?1")?.execute([chunk])?;
    }
    *sums.open.entry(chunk).or_default() += open;
    Ok(())
}

fn stopped(connection: &Connection, stopped: &Stopped) -> Result<(), Fault> {
    let text = serde_json::to_string(stopped).map_err(|error| Fault::Bad(format!("end of the process: {error}")))?;
    let ended = connection
        .prepare_cached("UPDATE process SET stopped = ?1 WHERE id = (SELECT max(id) FROM process) AND stopped IS NULL")?
        .execute([&text])?;
    if ended == 0 {
        connection
            .prepare_cached("INSERT INTO process(started_at, version, stopped) VALUES ('', '', ?1)")?
            .execute([&text])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::journal::Journal as _;
    use crate::journal::sample::{build, line, settled};
    use crate::journal::store::Store;
    use crate::journal::view::View;
    use crate::model::Outcome;

    use super::*;

    /// All that a journal of two chunks tells after these commits, and how many rows its settlements take.
    fn told(commits: impl Iterator<Item = Vec<Record>>) -> (Vec<String>, u32) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        build(&path, 2);
        let store = Store::open(&path).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for records in commits {
            runtime.block_on(store.handle().commit(records)).unwrap();
        }
        store.close().unwrap();
        let view = View::open(&path).unwrap();
        let mut told = vec![format!("{:?}", view.progress().unwrap()), format!("{:?}", view.rechecks().unwrap())];
        view.for_each_settlement(|word| {
            told.push(format!("{word:?}"));
            Ok(())
        })
        .unwrap();
        view.for_each_result(|row| {
            told.push(line(&row));
            Ok(())
        })
        .unwrap();
        let rows = view.connection().query_row("SELECT count(*) FROM settled", [], |row| row.get(0)).unwrap();
        (told, rows)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn p02_words_that_came_together_are_those_that_came_one_by_one(
            seeds in prop::collection::vec(
                (1..=4_u32, prop::sample::subsequence(vec![0_u16, 1], 1..=2), 0..3_usize, any::<bool>()),
                0..20,
            ),
        ) {
            let outcomes = [Outcome::Detached, Outcome::Failed, Outcome::Unknown];
            let records: Vec<_> = seeds
                .iter()
                .map(|(item, slots, n, recheck)| {
                    let mut settled = settled(*item, slots, outcomes[*n]);
                    settled.result.recheck = *recheck;
                    Record::Settled(settled)
                })
                .collect();
            let together = told(std::iter::once(records.clone()));
            let one_by_one = told(records.into_iter().map(|record| vec![record]));
            prop_assert_eq!(together.0, one_by_one.0);
            prop_assert!(together.1 <= one_by_one.1);
        }
    }

    #[test]
    fn the_same_word_of_the_items_of_a_chunk_is_one_row() {
        let rows = |items: &[u32]| {
            let words = items.iter().map(|item| Record::Settled(settled(*item, &[0], Outcome::Detached)));
            told(std::iter::once(words.collect())).1
        };
        assert_eq!(rows(&[1, 2]), 1);
        assert_eq!(rows(&[1, 2, 3, 4]), 2, "two chunks");
        assert_eq!(rows(&[2, 1, 1]), 3, "none comes twice in a row");
    }
}
