//! Turns records into rows, within the transaction of the one writer.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use crate::model::Outcome;

use super::codec;
use super::load::{self, Range, signed};
use super::record::{AnswerRecord, Attempt, ItemId, Record, Settlement, SlotNo, Stopped};
use super::replay::{check_slots, is_final, latest, no_intent, no_item, wants_recheck};
use super::schema::Fault;

/// Takes in one record.
///
/// # Errors
/// What it refers to is not in the plan or not on record, or the disk says no: then the transaction is not to be
/// committed.
pub(super) fn apply(connection: &Connection, record: Record) -> Result<(), Fault> {
    match record {
        Record::Started { at, version, write_period } => {
            let period = write_period.and_then(|period| i64::try_from(period.as_micros()).ok());
            connection
                .prepare_cached("INSERT INTO process(started_at, version, write_period_us) VALUES (?1, ?2, ?3)")?
                .execute(params![at, version, period])?;
        }
        Record::Intent(attempt) => intent(connection, attempt)?,
        Record::Answer(answer) => self::answer(connection, answer)?,
        Record::Job { item, job_id, refusal } => {
            check(connection, item, &[])?;
            let refusal = refusal
                .map(|refusal| serde_json::to_string(&refusal))
                .transpose()
                .map_err(|error| Fault::Bad(format!("job of item {item}: {error}")))?;
            connection
                .prepare_cached("INSERT OR REPLACE INTO job VALUES (?1, ?2, ?3)")?
                .execute(params![item, job_id, refusal])?;
        }
        Record::Seen { item, slots } => {
            check(connection, item, &slots)?;
            let mut insert = connection.prepare_cached("INSERT OR IGNORE INTO seen VALUES (?1, ?2)")?;
            for slot in slots {
                insert.execute(params![item, slot])?;
            }
        }
        Record::Settled(settlement) => settled(connection, settlement)?,
        Record::Rechecked { item } => {
            check(connection, item, &[])?;
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
                add(connection, &format!("requests.{}.{word}", class.as_str()), signed(n)?)?;
            }
        }
        Record::Stopped { at, exit, reason } => stopped(connection, &Stopped { at, exit, reason })?,
    }
    Ok(())
}

fn add(connection: &Connection, key: &str, n: i64) -> Result<(), Fault> {
    if n != 0 {
        connection
            .prepare_cached("INSERT INTO tally VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET n = n + excluded.n")?
            .execute(params![key, n])?;
    }
    Ok(())
}

fn check(connection: &Connection, item: ItemId, slots: &[SlotNo]) -> Result<(), Fault> {
    let found = load::item(connection, item)?.ok_or_else(|| no_item(item))?;
    Ok(check_slots(&found, slots)?)
}

fn intent(connection: &Connection, attempt: Attempt) -> Result<(), Fault> {
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
    let mut range: Option<Range> = None;
    for (item, slots) in &carries {
        check(connection, *item, slots)?;
        // Neighbours are of one chunk, nearly always.
        if range.is_none_or(|range| !range.holds(*item)) {
            let found = load::range_of_item(connection, *item)?.ok_or_else(|| no_item(*item))?;
            link.execute(params![found.chunk, id])?;
            touch.execute([found.chunk])?;
            range = Some(found);
        }
    }
    add(connection, "attempts.", 1)
}

fn answer(connection: &Connection, answer: AnswerRecord) -> Result<(), Fault> {
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
    add(connection, &format!("attempts.{before}"), -1)?;
    add(connection, &format!("attempts.{}", kind.as_str()), 1)?;
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

/// Writes the settlement, and moves the counts from the word that stood to the new one.
fn settled(connection: &Connection, settlement: Settlement) -> Result<(), Fault> {
    let id = settlement.item;
    let item = load::item(connection, id)?.ok_or_else(|| no_item(id))?;
    check_slots(&item, &settlement.slots)?;
    let mut all = load::settlements(connection, id)?;
    let n = i64::try_from(all.len()).map_err(|error| Fault::Bad(error.to_string()))?;
    let body = codec::write_settlement(&settlement)?;
    connection.prepare_cached("INSERT INTO settled VALUES (?1, ?2, ?3)")?.execute(params![id, n, body])?;

    let (now, mut slots) = (settlement.outcome, settlement.slots.clone());
    slots.sort_unstable();
    slots.dedup();
    let (mut open, mut moved) = (0_i64, BTreeMap::<Outcome, i64>::new());
    for slot in slots {
        let rows = item.slots.get(usize::from(slot)).map_or(0, |slot| i64::from(slot.rows));
        match latest(&all, slot).map(|before| before.outcome).filter(|before| is_final(*before)) {
            Some(before) => *moved.entry(before).or_default() -= rows,
            None => open -= 1,
        }
        if is_final(now) { *moved.entry(now).or_default() += rows } else { open += 1 }
    }
    for (outcome, rows) in moved {
        add(connection, &format!("rows.{outcome}"), rows)?;
    }
    if open != 0 {
        let mut found = connection.prepare_cached("SELECT open FROM chunk WHERE number = ?1")?;
        let left = found.query_row([item.chunk], |row| row.get::<_, i64>(0))? + open;
        let mut update = connection.prepare_cached("UPDATE chunk SET open = ?2 WHERE number = ?1")?;
        update.execute(params![item.chunk, left])?;
        match (left - open, left) {
            (0, 1..) => add(connection, "chunks.open", 1)?,
            (1.., 0) => add(connection, "chunks.open", -1)?,
            _ => {}
        }
    }
    if !is_final(now) {
        connection.prepare_cached("UPDATE chunk SET touched = 2 WHERE number = ?1")?.execute([item.chunk])?;
    }

    let recheck = settlement.recheck;
    all.push(settlement);
    if recheck {
        connection.prepare_cached("INSERT OR IGNORE INTO recheck VALUES (?1)")?.execute([id])?;
    } else if !wants_recheck(&all) {
        connection.prepare_cached("DELETE FROM recheck WHERE item = ?1")?.execute([id])?;
    }
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
