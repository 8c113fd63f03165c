//! Makes a journal: whole, or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags, params};

use crate::error::Error;

use super::codec;
use super::record::{Entry, EntryRef, Fate, Identity, Item};
use super::schema::{self, Fault, beside};
use crate::files;

/// Entries in one block.
pub(super) const BLOCK: u64 = 1_000;
/// Blocks and chunks that may wait to be inserted.
const QUEUED: usize = 16;
const VERB: &str = "write the journal";

/// Writes the whole plan beside its place (`FILE.journal.new`), and puts it there when it is complete.
///
/// While the caller makes entries and items, a second thread gives them to `SQLite`, in their order.
///
/// Dropped before [`Builder::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Builder {
    /// `None` once it is closed.
    inserter: Option<Inserter>,
    path: PathBuf,
    aside: PathBuf,
    /// Cells that follow each entry.
    extras: usize,
    block: Vec<u8>,
    entries: u64,
    /// Rows of the input that the entries so far come from, and the line of the last one: a row without a desktop
    /// makes several.
    input_rows: u64,
    last_line: Option<u64>,
    /// Entries that are to be sent.
    sendable: u64,
    /// Entries that the slots say they stand for.
    promised: u64,
    fixed: std::collections::BTreeMap<crate::model::Outcome, u64>,
    last_item: u32,
    chunk: Option<Chunk>,
    chunks: u64,
}

#[derive(Debug)]
struct Chunk {
    number: u32,
    items: Vec<Item>,
}

/// What is inserted in one go.
#[derive(Debug)]
enum Lot {
    /// A block of entries and the number of its first one.
    Entries(u64, Vec<u8>),
    Chunk(Chunk),
}

/// The thread that has the connection.
#[derive(Debug)]
struct Inserter {
    lots: SyncSender<Lot>,
    thread: JoinHandle<Result<Connection, Fault>>,
}

impl Inserter {
    fn start(connection: Connection) -> Result<Self, Fault> {
        let (lots, queue) = sync_channel(QUEUED);
        let thread = std::thread::Builder::new().name("build".to_owned());
        let thread = thread.spawn(move || insert(&connection, &queue).map(|()| connection))?;
        Ok(Self { lots, thread })
    }

    /// The connection, once all is inserted.
    fn end(self) -> Result<Connection, Fault> {
        drop(self.lots);
        self.thread.join().map_err(|_| Fault::Bad("its thread panicked".to_owned()))?
    }
}

fn insert(connection: &Connection, queue: &Receiver<Lot>) -> Result<(), Fault> {
    let number = |number: u64| i64::try_from(number).map_err(|error| Fault::Bad(error.to_string()));
    let mut entries = connection.prepare("INSERT INTO entries VALUES (?1, ?2)")?;
    let mut item = connection.prepare("INSERT INTO item(id, rows, body) VALUES (?1, ?2, ?3)")?;
    let mut chunk =
        connection.prepare("INSERT INTO chunk(number, first_item, last_item, open) VALUES (?1, ?2, ?3, ?4)")?;
    for lot in queue {
        match lot {
            Lot::Entries(first, block) => _ = entries.execute(params![number(first)?, block])?,
            Lot::Chunk(Chunk { number: chunk_no, items }) => {
                for one in &items {
                    item.execute(params![one.id, codec::write_rows(one), codec::write_item(one)?])?;
                }
                let ends = items.first().zip(items.last()).map(|(first, last)| (first.id, last.id));
                let (first, last) = ends.ok_or_else(|| Fault::Bad(format!("chunk {chunk_no} is empty")))?;
                let slots: usize = items.iter().map(|item| item.slots.len()).sum();
                chunk.execute(params![chunk_no, first, last, number(slots as u64)?])?;
            }
        }
    }
    Ok(())
}

impl Builder {
    /// Begins a journal that will stand at `path`.
    ///
    /// # Errors
    /// [`Error::File`] where there is one already, or nothing can be written there.
    pub fn create(path: &Path, identity: &Identity) -> Result<Self, Error> {
        let aside = beside(path, ".new");
        let trouble = |source| Error::File { verb: VERB, path: path.to_owned(), source };
        if path.symlink_metadata().is_ok() {
            return Err(trouble(std::io::ErrorKind::AlreadyExists.into()));
        }
        // What a killed process left of its own attempt: it was never a journal.
        for ending in ["", "-journal", "-wal", "-shm"] {
            files::remove_if_there(&beside(&aside, ending)).map_err(trouble)?;
        }
        drop(files::create_private(&aside).map_err(trouble)?);
        let made = Self {
            inserter: None,
            path: path.to_owned(),
            aside,
            extras: identity.extra_columns.len(),
            block: Vec::new(),
            entries: 0,
            input_rows: 0,
            last_line: None,
            sendable: 0,
            promised: 0,
            fixed: std::collections::BTreeMap::new(),
            last_item: 0,
            chunk: None,
            chunks: 0,
        };
        made.begin(identity).map_err(|fault| fault.before(VERB, path))
    }

    fn begin(mut self, identity: &Identity) -> Result<Self, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.aside, flags)?;
        // Half a file is thrown away, so it needs no protection while it grows; and it grows at its end alone, so that
        // pages once written are not wanted again.
        connection.execute_batch(&format!(
            "PRAGMA page_size = 4096;
             PRAGMA journal_mode = OFF;
             PRAGMA synchronous = OFF;
             PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA cache_size = -2048;
             PRAGMA application_id = {};
             PRAGMA user_version = {};
             BEGIN;
             {}",
            schema::APPLICATION_ID,
            schema::VERSION,
            schema::TABLES,
        ))?;
        let identity = serde_json::to_string(identity).map_err(|error| Fault::Bad(format!("identity: {error}")))?;
        connection.execute("INSERT INTO meta VALUES ('identity', ?1)", [identity])?;
        self.inserter = Some(Inserter::start(connection)?);
        Ok(self)
    }

    fn insert(&mut self, lot: Lot) -> Result<(), Fault> {
        let sent = self.inserter.as_ref().map(|inserter| inserter.lots.send(lot));
        if matches!(sent, Some(Ok(()))) {
            return Ok(());
        }
        // It ended before its time, and knows why.
        self.end_inserting().map(drop)?;
        Err(closed())
    }

    fn end_inserting(&mut self) -> Result<Connection, Fault> {
        self.inserter.take().ok_or_else(closed)?.end()
    }

    /// Adds one record of the results to be; in input order.
    pub fn entry(&mut self, entry: EntryRef<'_>) -> Result<(), Error> {
        if entry.extras.len() != self.extras {
            let (has, wants) = (entry.extras.len(), self.extras);
            return Err(Error::Internal(format!("line {}: {has} other cells instead of {wants}", entry.line)));
        }
        codec::write_entry(&entry, &mut self.block);
        self.entries += 1;
        self.input_rows += u64::from(self.last_line.replace(entry.line) != Some(entry.line));
        match entry.fate {
            Fate::Send { .. } => self.sendable += 1,
            Fate::Fixed { outcome, .. } => *self.fixed.entry(*outcome).or_default() += 1,
        }
        if self.entries.is_multiple_of(BLOCK) { self.end_block().map_err(|fault| self.fail(fault)) } else { Ok(()) }
    }

    /// As [`Builder::entry`], for one that owns its cells.
    pub fn owned_entry(&mut self, entry: &Entry) -> Result<(), Error> {
        let extras: Vec<&str> = entry.extras.iter().map(String::as_str).collect();
        let cells = entry.cells.each_ref().map(String::as_str);
        self.entry(EntryRef { line: entry.line, cells, extras: &extras, fate: &entry.fate })
    }

    fn end_block(&mut self) -> Result<(), Fault> {
        if self.block.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(self.block.len() * 9 / 8);
        let block = std::mem::replace(&mut self.block, next);
        self.insert(Lot::Entries((self.entries - 1) / BLOCK * BLOCK, block))
    }

    /// Adds one desktop's share of a chunk. Items are numbered from 1 without a gap, and come chunk by chunk.
    pub fn item(&mut self, item: Item) -> Result<(), Error> {
        let in_order = self.chunk.as_ref().is_none_or(|chunk| chunk.number <= item.chunk);
        if self.last_item.checked_add(1) != Some(item.id) || !in_order || item.chunk == 0 {
            return Err(Error::Internal(format!("item {} of chunk {} comes out of order", item.id, item.chunk)));
        }
        self.add_item(item).map_err(|fault| self.fail(fault))
    }

    fn add_item(&mut self, item: Item) -> Result<(), Fault> {
        if self.chunk.as_ref().is_some_and(|chunk| chunk.number != item.chunk) {
            self.end_chunk()?;
        }
        self.last_item = item.id;
        self.promised += item.slots.iter().map(|slot| u64::from(slot.rows)).sum::<u64>();
        self.chunk.get_or_insert_with(|| Chunk { number: item.chunk, items: Vec::new() }).items.push(item);
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), Fault> {
        let Some(chunk) = self.chunk.take() else { return Ok(()) };
        self.chunks += 1;
        self.insert(Lot::Chunk(chunk))
    }

    /// Puts the journal in its place, durably.
    ///
    /// # Errors
    /// [`Error::Internal`] where the slots do not stand for just the entries that are to be sent; else as elsewhere.
    /// There is no journal then, unless it was the directory's sync alone that failed.
    pub fn finish(mut self) -> Result<(), Error> {
        if self.sendable != self.promised {
            let (sendable, promised) = (self.sendable, self.promised);
            return Err(Error::Internal(format!("{sendable} rows are to be sent, and the plan holds {promised}")));
        }
        self.complete().map_err(|fault| self.fail(fault))
    }

    fn complete(&mut self) -> Result<(), Fault> {
        self.end_block()?;
        self.end_chunk()?;
        let connection = self.end_inserting()?;
        {
            let mut tally = connection.prepare("INSERT INTO tally VALUES (?1, ?2)")?;
            let mut add = |key: &str, n: u64| {
                let n = i64::try_from(n).map_err(|error| Fault::Bad(error.to_string()))?;
                tally.execute(params![key, n]).map_err(Fault::from)
            };
            add("entries", self.entries)?;
            add("chunks", self.chunks)?;
            for (outcome, rows) in &self.fixed {
                add(&format!("rows.{outcome}"), *rows)?;
            }
        }
        connection.execute("INSERT INTO meta VALUES (?1, ?2)", [schema::INPUT_ROWS, &self.input_rows.to_string()])?;
        connection.execute_batch(schema::INDEXES)?;
        connection.execute_batch(
            "INSERT INTO tally SELECT 'chunks.open', count(*) FROM chunk WHERE open > 0;
             INSERT INTO meta VALUES ('whole', 'yes');
             COMMIT;",
        )?;
        connection.close().map_err(|(_, error)| error)?;
        File::open(&self.aside)?.sync_all()?;
        // Left over from a journal that was taken away by hand, they would be taken for this one's.
        for ending in ["-wal", "-shm", "-journal"] {
            files::remove_if_there(&beside(&self.path, ending))?;
        }
        files::rename_new(&self.aside, &self.path)?;
        files::sync_dir_of(&self.path)?;
        Ok(())
    }

    fn fail(&self, fault: Fault) -> Error {
        match fault {
            Fault::Bad(what) => Error::Internal(format!("the journal can't hold this: {what}")),
            fault => fault.before(VERB, &self.path),
        }
    }
}

fn closed() -> Fault {
    Fault::Bad("it is closed".to_owned())
}

impl Drop for Builder {
    fn drop(&mut self) {
        drop(self.end_inserting());
        // Nothing to tell anybody: the next one clears it away, too.
        _ = files::remove_if_there(&self.aside);
    }
}

#[cfg(test)]
mod tests {
    use crate::journal::View;
    use crate::journal::sample::{build, identity, names, plan};

    use super::*;

    #[test]
    fn a_journal_is_whole_or_absent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.csv.journal");
        let (entries, items) = plan(3);
        let mut builder = Builder::create(&path, &identity()).unwrap();
        for entry in &entries {
            builder.owned_entry(entry).unwrap();
        }
        assert_eq!(names(directory.path()), ["r.csv.journal.new"]);
        drop(builder);
        assert!(names(directory.path()).is_empty());

        let mut builder = Builder::create(&path, &identity()).unwrap();
        for item in &items {
            builder.item(item.clone()).unwrap();
        }
        assert!(matches!(builder.finish(), Err(Error::Internal(_))), "no entry for what the items hold");
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn what_a_kill_left_of_building_is_no_obstacle_and_no_journal() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.csv.journal");
        let mut builder = Builder::create(&path, &identity()).unwrap();
        for entry in &plan(2_000).0 {
            builder.owned_entry(entry).unwrap();
        }
        let torn = std::fs::read(beside(&path, ".new")).unwrap();
        drop(builder);
        for end in [0, 50, 4_096, torn.len()] {
            std::fs::write(&path, &torn[..end]).unwrap();
            assert!(matches!(View::open(&path), Err(Error::NotOurJournal { .. })), "{end} bytes");
            std::fs::remove_file(&path).unwrap();
            std::fs::write(beside(&path, ".new"), &torn[..end]).unwrap();
            build(&path, 1);
            assert_eq!(names(directory.path()), ["r.csv.journal"]);
            assert_eq!(View::open(&path).unwrap().progress().unwrap().rows, 7);
            std::fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn an_older_journal_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.csv.journal");
        let builder = Builder::create(&path, &identity()).unwrap();
        std::fs::write(&path, "somebody else's").unwrap();
        assert!(builder.finish().is_err());
        assert!(matches!(Builder::create(&path, &identity()), Err(Error::File { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"somebody else's");
        assert_eq!(names(directory.path()), ["r.csv.journal"]);
    }

    #[test]
    fn a_log_left_by_a_journal_that_was_taken_away_is_not_played_into_the_new_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.csv.journal");
        std::fs::write(beside(&path, "-wal"), "old").unwrap();
        build(&path, 1);
        assert_eq!(names(directory.path()), ["r.csv.journal"]);
    }

    #[test]
    fn p19_a_journal_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.csv.journal");
        build(&path, 1);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn items_out_of_order_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut builder = Builder::create(&directory.path().join("j"), &identity()).unwrap();
        let (_, items) = plan(2);
        assert!(builder.item(items[1].clone()).is_err());
        builder.item(items[0].clone()).unwrap();
        assert!(builder.item(Item { chunk: 0, ..items[1].clone() }).is_err());
    }
}
