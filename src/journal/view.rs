//! Reads a journal: where the run stands, and every record of its results. Never writes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;

use crate::error::Error;
use crate::model::{Class, NOT_TOLD, Outcome, StillAccess, leaver};

use super::build;
use super::codec::Entries;
use super::load::{self, Range, attempt_columns, unsigned};
use super::open::open_to_read;
use super::outcomes::Outcomes;
use super::record::{
    AnswerKind, Fate, Identity, Item, ItemId, OpenItem, Process, Progress, Recheck, ResultRow, Resume, RowOutcome,
    Sent, Settlement, SlotNo,
};
use super::replay::History;
use super::schema::{self, Fault};
use super::seam::Past;
use super::whole;
use crate::files;

pub(super) const VERB: &str = "read the journal";

/// A journal to read from.
///
/// Works while a run is going on in another process, and on what a kill left behind. The process that writes a
/// journal must not open a second view on it: see [`Handle::with_view`](super::store::Handle::with_view).
#[derive(Debug)]
pub struct View {
    connection: Connection,
    path: PathBuf,
    identity: Identity,
    /// By this process: then writes may have been sent.
    driven: bool,
}

impl View {
    /// # Errors
    /// [`Error::File`] where it can't be read, [`Error::NotOurJournal`] where it is no whole journal of this version.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = &files::real(path);
        whole::refuse_remains(path)?;
        schema::check_header(path)?;
        let open = || {
            let look = whole::Look::at(path)?;
            let opened = open_to_read(path, schema::read_identity);
            let (connection, identity) = opened.map_err(|fault| fault.before(VERB, path))?;
            look.check(&connection, path, &identity.run_id)?;
            Ok(Self { connection, path: path.to_owned(), identity, driven: false })
        };
        // A process that works on it may have gone on between the look and the opening.
        open().or_else(|error| if matches!(error, Error::NotOurJournal { .. }) { open() } else { Err(error) })
    }

    /// The writer's own view, on its one connection.
    pub(super) fn over(connection: Connection, path: &Path, identity: Identity) -> Self {
        Self { connection, path: path.to_owned(), identity, driven: true }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) fn into_connection(self) -> Connection {
        self.connection
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Runs `read` on one unchanging state of the journal.
    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, Error> {
        let read = || {
            if !self.connection.is_autocommit() {
                return read(&self.connection); // within `still`
            }
            let transaction = self.connection.unchecked_transaction()?;
            read(&transaction)
        };
        read().map_err(|fault| match fault.at(VERB, &self.path) {
            Error::NotOurJournal { problem, .. } if self.driven => Error::Damaged { path: self.path.clone(), problem },
            error => error,
        })
    }

    /// Where the run stands. Takes as long for a million rows as for ten, but for those in flight.
    pub fn progress(&self) -> Result<Progress, Error> {
        self.read(|connection| progress(connection, &self.identity))
    }

    /// How many rows of its input this run was planned from; `None` where an older program made the journal. Takes no
    /// time, however long the list was.
    pub fn input_rows(&self) -> Result<Option<u64>, Error> {
        self.read(|connection| {
            let rows = schema::meta(connection, schema::INPUT_ROWS)?.map(|text| text.parse());
            rows.transpose().map_err(|error| Fault::Bad(format!("rows of the input: {error}")))
        })
    }

    /// Where the run stands, and all that a process needs to go on with it.
    pub fn resume(&self) -> Result<Resume, Error> {
        self.read(|connection| {
            let mut found = connection.prepare_cached("SELECT number FROM chunk WHERE open > 0 ORDER BY number")?;
            let open_chunks = found.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            let mut in_flight = Vec::new();
            for range in touched(connection)? {
                in_flight.extend(load::chunk(connection, range)?.in_flight());
            }
            let next_attempt = load::next_attempt(connection)?;
            Ok(Resume { progress: progress(connection, &self.identity)?, open_chunks, in_flight, next_attempt })
        })
    }

    /// The items of a chunk that are not settled; none where there is no such chunk.
    pub fn chunk(&self, number: u32) -> Result<Vec<OpenItem>, Error> {
        self.read(|connection| {
            let Some(range) = load::range_of_chunk(connection, number)? else { return Ok(Vec::new()) };
            Ok(load::chunk(connection, range)?.into_open())
        })
    }

    /// The items that are to be read once more at the end of the run, each with the words that rest on a doubt.
    pub fn rechecks(&self) -> Result<Vec<Recheck>, Error> {
        self.read(|connection| {
            let mut found = connection.prepare_cached("SELECT item FROM recheck ORDER BY item")?;
            let ids = found.query_map([], |row| row.get(0))?.collect::<Result<Vec<ItemId>, _>>()?;
            let one = |id| {
                let item = load::item(connection, id)?.ok_or_else(|| super::replay::no_item(id))?;
                let mut history = History::default();
                history.settlements.insert(id, load::settlements(connection, id)?);
                Ok((item, history.to_recheck(id)))
            };
            ids.into_iter().map(one).collect()
        })
    }

    /// Hands every record of the results to `f`, in input order, on one unchanging state of the journal.
    ///
    /// Rows without a final word are `not_sent` where every write that carried them is proved not executed, else
    /// `unknown`.
    pub fn for_each_result(&self, mut f: impl FnMut(ResultRow<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.read(|connection| {
            let mut outcomes = Outcomes::new(connection)?;
            let mut still = Still::new(connection, &self.identity)?;
            let mut blocks = connection.prepare("SELECT first, body FROM entries ORDER BY first")?;
            let mut blocks = blocks.query([])?;
            while let Some(block) = blocks.next()? {
                still.at(unsigned(block.get(0)?)?)?;
                let block = block.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
                each_in_block(block, &self.identity, &mut outcomes, &mut still, &mut f)?;
            }
            Ok(())
        })
    }

    /// Hands every item with the outcome of each of its slots to `f`, in the order of the plan. Open slots are
    /// `unknown` or `not_sent`, as in the results.
    pub fn for_each_item(&self, mut f: impl FnMut(&Item, &[Outcome]) -> Result<(), Error>) -> Result<(), Error> {
        self.read(|connection| {
            let mut outcomes = Vec::new();
            for range in load::ranges(connection, "SELECT number, first_item, last_item FROM chunk ORDER BY number")? {
                let history = load::chunk(connection, range)?;
                for (id, item) in &history.items {
                    outcomes.clear();
                    let of_slots = (0..).zip(&item.slots).filter_map(|(slot, _)| history.outcome(*id, slot));
                    outcomes.extend(of_slots.map(|result| result.outcome));
                    f(item, &outcomes).map_err(Fault::Caller)?;
                }
            }
            Ok(())
        })
    }

    /// Hands every write with its answer to `f`, in the order of the intents.
    pub fn for_each_attempt(&self, mut f: impl FnMut(&Sent) -> Result<(), Error>) -> Result<(), Error> {
        self.read(|connection| {
            let sql = concat!("SELECT ", attempt_columns!(), " FROM attempt AS a ORDER BY a.id");
            let mut found = connection.prepare(sql)?;
            let mut rows = found.query([])?;
            while let Some(row) = rows.next()? {
                f(&load::sent(row)?).map_err(Fault::Caller)?;
            }
            Ok(())
        })
    }

    /// Hands every settlement, also those that a later one replaced, to `f`: by item, then in their order.
    pub fn for_each_settlement(&self, mut f: impl FnMut(&Settlement) -> Result<(), Error>) -> Result<(), Error> {
        self.read(|connection| {
            let mut found = connection.prepare("SELECT number FROM chunk ORDER BY number")?;
            let mut chunks = found.query([])?;
            while let Some(chunk) = chunks.next()? {
                let mut all = load::settlements_of_chunk(connection, chunk.get(0)?)?;
                all.sort_by_key(|settlement| settlement.item); // stable
                all.iter().try_for_each(|settlement| f(settlement).map_err(Fault::Caller))?;
            }
            Ok(())
        })
    }

    /// The processes that drove the run, in their order.
    pub fn processes(&self) -> Result<Vec<Process>, Error> {
        self.read(|connection| {
            processes(connection, concat!("SELECT ", process_columns!(), " FROM process ORDER BY id"))
        })
    }

    /// Runs `look` on one unchanging state of the journal: all that it reads goes together, though a run may be going
    /// on. A writer in another process may have to wait until it is over, so it should be short.
    pub fn still<T>(&self, look: impl FnOnce(&Self) -> Result<T, Error>) -> Result<T, Error> {
        self.read(|_| look(self).map_err(Fault::Caller))
    }
}

/// The columns that [`processes`] reads, in its order.
macro_rules! process_columns {
    () => {
        "started_at, version, write_period_us, stopped"
    };
}
use process_columns;

/// The chunks that hold open slots which may have been sent.
fn touched(connection: &Connection) -> Result<Vec<Range>, Fault> {
    load::ranges(
        connection,
        "SELECT number, first_item, last_item FROM chunk WHERE open > 0 AND touched > 0 ORDER BY number",
    )
}

fn processes(connection: &Connection, sql: &str) -> Result<Vec<Process>, Fault> {
    let mut found = connection.prepare_cached(sql)?;
    let mut rows = found.query([])?;
    let mut all = Vec::new();
    while let Some(row) = rows.next()? {
        let stopped: Option<String> = row.get(3)?;
        let stopped = stopped.map(|text| serde_json::from_str(&text)).transpose();
        let stopped = stopped.map_err(|error| Fault::Bad(format!("end of a process: {error}")))?;
        let period: Option<i64> = row.get(2)?;
        let write_period = period.map(unsigned).transpose()?.map(Duration::from_micros);
        all.push(Process { started_at: row.get(0)?, version: row.get(1)?, write_period, stopped });
    }
    Ok(all)
}

fn progress(connection: &Connection, identity: &Identity) -> Result<Progress, Fault> {
    let mut progress = Progress::default();
    let mut found = connection.prepare_cached("SELECT key, n FROM tally WHERE n <> 0")?;
    let mut rows = found.query([])?;
    while let Some(row) = rows.next()? {
        let key = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
        let n = unsigned(row.get(1)?)?;
        if let Some(outcome) = key.strip_prefix("rows.").and_then(Outcome::parse) {
            progress.outcomes.insert(outcome, n);
        } else if let Some(kind) = key.strip_prefix("attempts.") {
            progress.attempts.insert(AnswerKind::parse(kind), n);
        } else if let Some((class, word)) = key.strip_prefix("requests.").and_then(|key| key.split_once('.')) {
            if let Some(class) = Class::ALL.into_iter().find(|known| known.as_str() == class) {
                progress.requests.insert((class, word.to_owned()), n);
            }
        } else {
            match key {
                "entries" => progress.rows = n,
                "chunks" => progress.chunks = n,
                "chunks.open" => progress.chunks_open = n,
                _ => return Err(Fault::Bad(format!("count {key:?}"))),
            }
        }
    }
    for range in touched(connection)? {
        let history = load::chunk(connection, range)?;
        progress.open_unknown += history.items.values().map(|item| history.unknown_rows(item)).sum::<u64>();
    }
    let settled: u64 = progress.outcomes.values().sum();
    let open = progress.rows.checked_sub(settled).ok_or_else(|| Fault::Bad("more outcomes than rows".to_owned()))?;
    progress.open_not_sent =
        open.checked_sub(progress.open_unknown).ok_or_else(|| Fault::Bad("more open rows than rows".to_owned()))?;
    progress.rechecks_open = unsigned(connection.query_row("SELECT count(*) FROM recheck", [], |row| row.get(0))?)?;
    progress.canary = schema::meta(connection, "canary")?.map(|word| word == "passed");
    let latest = concat!("SELECT ", process_columns!(), " FROM process ORDER BY id DESC LIMIT 1");
    progress.undone_by = schema::meta(connection, "undone_by")?;
    progress.last = processes(connection, latest)?.pop();
    progress.finished = progress.chunks_open == 0 && open == 0 && progress.rechecks_open == 0;
    let found = still_access(connection)?;
    progress.still_open = found.is_none() && identity.still_access;
    progress.still = found.unwrap_or_default();
    Ok(progress)
}

/// What stands there of who still gets in: nothing where it was not to be looked for.
type Found = Option<StillAccess>;

/// Who still gets in; `None` where that is still to be looked for, or was no matter of the program that made the journal.
fn still_access(connection: &Connection) -> Result<Option<Found>, Fault> {
    let text = schema::meta(connection, schema::STILL_ACCESS)?;
    let found = text.map(|text| serde_json::from_str(&text)).transpose();
    found.map_err(|error| Fault::Bad(format!("who still gets in: {error}")))
}

/// The cells of `still_via`, block by block.
struct Still<'c> {
    connection: &'c Connection,
    /// Whether of nobody it is sure that there is nothing.
    incomplete: bool,
    has_cells: bool,
    /// Those of the block, by the number of their record; the next one last.
    cells: Vec<(u64, String)>,
    record: u64,
    now: String,
}

impl<'c> Still<'c> {
    fn new(connection: &'c Connection, identity: &Identity) -> Result<Self, Fault> {
        let looked = still_access(connection)?;
        let has_cells = matches!(looked, Some(Some(_)));
        let incomplete = match looked {
            None => identity.still_access,
            Some(found) => found.is_some_and(|found| found.incomplete),
        };
        Ok(Self { connection, incomplete, has_cells, cells: Vec::new(), record: 0, now: String::new() })
    }

    /// The block that begins with the record of this number.
    fn at(&mut self, first: u64) -> Result<(), Fault> {
        self.record = first;
        self.cells.clear();
        if self.has_cells {
            let mut found = self.connection.prepare_cached(
                "SELECT entry, ways FROM still_via WHERE entry >= ?1 AND entry < ?2 ORDER BY entry DESC",
            )?;
            let mut rows = found.query([load::signed(first)?, load::signed(first + build::BLOCK)?])?;
            while let Some(row) = rows.next()? {
                self.cells.push((unsigned(row.get(0)?)?, row.get(1)?));
            }
        }
        Ok(())
    }

    fn next(&mut self, cells: &[&str; 7], outcome: Outcome) -> &str {
        let record = self.record;
        self.record += 1;
        if let Some((_, ways)) = self.cells.pop_if(|(next, _)| *next == record) {
            self.now = ways;
            return &self.now;
        }
        if self.incomplete && leaver(cells, outcome).is_some() { NOT_TOLD } else { "" }
    }
}

fn each_in_block(
    block: &[u8],
    identity: &Identity,
    outcomes: &mut Outcomes<'_>,
    still: &mut Still<'_>,
    f: &mut impl FnMut(ResultRow<'_>) -> Result<(), Error>,
) -> Result<(), Fault> {
    let mut extras = Vec::new();
    let mut entries = Entries::new(block, identity.extra_columns.len());
    // One for all that the plan settled, so that they cost no allocation each.
    let mut fixed = RowOutcome::new(Outcome::Planned, String::new(), String::new());
    fixed.finished_at.clone_from(&identity.created_at);
    while let Some(entry) = entries.next(&mut extras)? {
        let open;
        let result = match entry.fate {
            Fate::Fixed { outcome, code, message } => {
                fixed.outcome = outcome;
                code.as_ref().clone_into(&mut fixed.code);
                message.as_ref().clone_into(&mut fixed.message);
                &fixed
            }
            Fate::Send { item, slot } => {
                if let Some(settled) = outcomes.settled(item, slot)? {
                    settled
                } else {
                    open = outcomes.open(item, slot)?;
                    &open
                }
            }
        };
        let still_via = still.next(&entry.cells, result.outcome);
        f(ResultRow { line: entry.line, cells: entry.cells, result, still_via, extras: &extras })
            .map_err(Fault::Caller)?;
    }
    Ok(())
}

impl Past for View {
    fn identity(&self) -> &Identity {
        self.identity()
    }

    fn rows(&self) -> Result<u64, Error> {
        Ok(self.progress()?.rows)
    }

    fn for_each_sent(
        &self,
        mut f: impl FnMut(u64, [&str; 7], &[&str], (ItemId, SlotNo)) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.read(|connection| {
            let mut blocks = connection.prepare("SELECT body FROM entries ORDER BY first")?;
            let mut blocks = blocks.query([])?;
            while let Some(block) = blocks.next()? {
                let block = block.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
                let mut extras = Vec::new();
                let mut entries = Entries::new(block, self.identity.extra_columns.len());
                while let Some(entry) = entries.next(&mut extras)? {
                    if let Fate::Send { item, slot } = entry.fate {
                        f(entry.line, entry.cells, &extras, (item, slot)).map_err(Fault::Caller)?;
                    }
                }
            }
            Ok(())
        })
    }

    fn for_each_item(&self, f: impl FnMut(&Item, &[Outcome]) -> Result<(), Error>) -> Result<(), Error> {
        self.for_each_item(f)
    }
}

#[cfg(test)]
mod tests;
