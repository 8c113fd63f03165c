//! The thread that owns the connection of a journal, and makes durable in one go whatever is queued.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::oneshot;

use crate::error::Error;

use super::item_sizes::Shapes;
use super::record::{Identity, Record};
use super::schema::{self, Fault, beside};
use super::seam::JournalError;
use super::view::View;
use super::{apply, load, whole};

pub(super) const OPENING: &str = "open the journal";
const WRITING: &str = "write the journal";
/// How long the writer waits for a reader that has the file for itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it waits when it tidies up, which is not worth a stop.
const LITTLE_PATIENCE: Duration = Duration::from_millis(200);
/// Records that one transaction takes in at most, so that the first caller does not wait for the last.
const GROUP: usize = 4_096;
/// Transactions and records after which the log is copied into the file.
const CHECKPOINT_TRANSACTIONS: usize = 64;
const CHECKPOINT_RECORDS: usize = 8_192;

/// How `SQLite` keeps its promises on this file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Medium {
    /// Write-ahead log, `synchronous=FULL`.
    Local,
    /// Rollback journal, `synchronous=EXTRA`: no shared memory.
    Network,
}

pub(super) type Reading = Box<dyn FnOnce(&View) + Send>;

pub(super) enum Job {
    Commit { records: Vec<Record>, done: oneshot::Sender<Result<(), JournalError>> },
    Read(Reading),
    Close,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) failed: OnceLock<Arc<str>>,
}

impl Shared {
    pub(super) fn closed(&self) -> JournalError {
        self.check().err().unwrap_or_else(|| JournalError::Closed { path: self.path.clone() })
    }

    pub(super) fn check(&self) -> Result<(), JournalError> {
        match self.failed.get() {
            Some(cause) => Err(JournalError::Failed { path: self.path.clone(), cause: Arc::clone(cause) }),
            None => Ok(()),
        }
    }

    /// The first cause stays.
    fn fail(&self, cause: &str) {
        _ = self.failed.set(cause.into());
    }
}

/// Opens for writing; nothing is changed by that, nor by closing it.
fn open_untouched(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // The log goes into the file where that is asked for alone: a failed fsync must not be followed by another (P13).
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// All that opening reads, before anything is changed: a damaged journal stays as it is.
fn look_first(connection: &Connection) -> Result<Identity, Fault> {
    let identity = schema::read_identity(connection)?;
    load::next_attempt(connection)?;
    Ok(identity)
}

pub(super) fn connect(
    path: &Path,
    medium: Medium,
    look: &whole::Look,
) -> Result<(Connection, Identity, Medium), Fault> {
    let connection = open_untouched(path)?;
    let identity = look_first(&connection)?;
    let mut medium = medium;
    if medium == Medium::Local {
        look.mark_opening(path, &identity.run_id)?;
    }
    if medium == Medium::Local && pragma(&connection, "journal_mode = WAL")? != "wal" {
        // A file system without shared memory, though not known as one.
        medium = Medium::Network;
    }
    let (mode, synchronous, number) = match medium {
        Medium::Local => ("wal", "FULL", "2"),
        Medium::Network => ("delete", "EXTRA", "3"),
    };
    if medium == Medium::Network {
        pragma(&connection, "journal_mode = DELETE")?;
    }
    connection.pragma_update(None, "synchronous", synchronous)?;
    // macOS alone: there fsync leaves the data in the drive's cache.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    for (name, wanted) in [("journal_mode", mode), ("synchronous", number)] {
        let is = pragma(&connection, name)?;
        if is != wanted {
            return Err(Fault::Io(std::io::Error::other(format!("{name} is {is} instead of {wanted}"))));
        }
    }
    // The log is copied by `Writer::checkpoint`, which looks at what that says: SQLite's own would not tell of a
    // failed fsync, and trust the next one.
    pragma(&connection, "wal_autocheckpoint = 0")?;
    // 4 MiB: chunks are settled in about the order of the plan, so that their pages come again soon, or not at all.
    connection.pragma_update(None, "cache_size", -4_096)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok((connection, identity, medium))
}

/// A pragma's value as text.
///
/// Goes on after the row: a change of the mode commits only then, and a failed fsync is told only there.
pub(super) fn pragma(connection: &Connection, pragma: &str) -> Result<String, Fault> {
    let mut statement = connection.prepare(&format!("PRAGMA {pragma}"))?;
    let mut rows = statement.query([])?;
    let mut value = None;
    while let Some(row) = rows.next()? {
        if value.is_none() {
            value = Some(match row.get(0)? {
                Value::Integer(number) => number.to_string(),
                Value::Text(text) => text,
                other => format!("{other:?}"),
            });
        }
    }
    Ok(value.unwrap_or_default())
}

/// Makes the journal one file that stands alone: log checkpointed, rollback mode. Neither that it is busy (a reader)
/// nor that it stays so is a failure: the log beside it is then part of it.
///
/// * `run_id`: of the journal, where it is known.
fn fold(connection: &Connection, path: &Path, run_id: Option<&str>) -> Result<(), Fault> {
    connection.busy_timeout(LITTLE_PATIENCE)?;
    let is_whole = copy_log(connection)?;
    let Some(run_id) = run_id.filter(|_| is_whole) else { return empty_log(connection) };
    whole::mark_folded(path, run_id)?;
    empty_log(connection)?;
    if pragma(connection, "journal_mode")? == "delete" {
        whole::unmark(path)?;
    }
    Ok(())
}

/// Copies the log into the file. Whether all of it is there; what a reader holds up is copied the next time.
fn copy_log(connection: &Connection) -> Result<bool, Fault> {
    let copied = |row: &rusqlite::Row<'_>| Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?);
    Ok(connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], copied)?)
}

fn empty_log(connection: &Connection) -> Result<(), Fault> {
    // Not through `journal_mode` alone: it reports a failed checkpoint as a mode that did not change.
    let busy = pragma(connection, "wal_checkpoint(TRUNCATE)")?;
    if busy == "0" {
        match pragma(connection, "journal_mode = DELETE") {
            Err(Fault::Sql(error)) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {}
            result => drop(result?),
        }
    }
    Ok(())
}

/// Checkpoints a journal that nobody drives, whichever version made it, so that it can be renamed.
///
/// # Errors
/// [`Error::NotOurJournal`] where it is no journal or a damaged one: the file is then untouched. [`Error::File`] where the
/// disk says no, or a reader holds on to it.
pub(super) fn stand_alone(path: &Path) -> Result<(), Error> {
    let known = schema::format_of(path)? == schema::VERSION;
    whole::Look::at(path)?;
    let fold_up = || {
        let connection = open_untouched(path)?;
        // Of another version's tables nothing is known, and to the log they do not matter.
        let identity = if known { Some(look_first(&connection)?) } else { None };
        fold(&connection, path, identity.as_ref().map(|identity| identity.run_id.as_str()))?;
        let mode = pragma(&connection, "journal_mode")?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(mode)
    };
    let mode = fold_up().map_err(|fault: Fault| fault.before(OPENING, path))?;
    if mode != "delete" {
        let why = "another program reads it; wait until it is done, and run again";
        return Err(Fault::Io(std::io::Error::other(why)).before("move aside the journal", path));
    }
    Ok(())
}

/// Sees whether the files that are written to are still the ones that a resume will find.
#[derive(Debug)]
struct Watch {
    file: PathBuf,
    log: PathBuf,
    file_was: Seen,
    log_was: Option<Seen>,
    medium: Medium,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    device: u64,
    inode: u64,
    length: u64,
}

impl Seen {
    fn of(data: &Metadata) -> Self {
        Self { device: data.dev(), inode: data.ino(), length: data.len() }
    }

    fn look(path: &Path) -> Result<Self, std::io::Error> {
        std::fs::metadata(path).map(|data| Self::of(&data))
    }

    /// Neither file ever shrinks while it is driven.
    fn is_grown_from(self, before: Self) -> bool {
        (self.device, self.inode) == (before.device, before.inode) && self.length >= before.length
    }
}

impl Watch {
    fn new(path: &Path, medium: Medium) -> Result<Self, std::io::Error> {
        let (file, log) = (path.to_owned(), beside(path, "-wal"));
        Ok(Self { file_was: Seen::look(path)?, file, log, log_was: None, medium })
    }

    /// After a commit and before it is told.
    fn check(&mut self) -> Result<(), Fault> {
        let gone = |path: &Path| Fault::Bad(format!("{} was removed, replaced or cut by somebody", path.display()));
        let now = Seen::look(&self.file)?;
        if !now.is_grown_from(self.file_was) {
            return Err(gone(&self.file));
        }
        self.file_was = now;
        if self.medium == Medium::Local {
            let now = Seen::look(&self.log)?;
            if self.log_was.is_some_and(|before| !now.is_grown_from(before)) {
                return Err(gone(&self.log));
            }
            self.log_was = Some(now);
        }
        Ok(())
    }
}

pub(super) struct Writer {
    view: View,
    shared: Arc<Shared>,
    medium: Medium,
    watch: Watch,
    shapes: Shapes,
    /// Since the last checkpoint.
    transactions: usize,
    records: usize,
    marker: Option<whole::Marker>,
    commits: u64,
    /// Where the log begins anew with the next commit: the commits in the file.
    base: Option<u64>,
}

/// Marks the journal as failed where the writer ends by a panic.
struct Unwound<'a>(&'a Shared);

impl Drop for Unwound<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("its thread panicked");
        }
    }
}

impl Writer {
    pub(super) fn new(view: View, shared: Arc<Shared>, medium: Medium) -> Result<Self, Fault> {
        let watch = Watch::new(&shared.path, medium)?;
        let commits = whole::commits(view.connection())?;
        let marker = match medium {
            Medium::Local => Some(whole::Marker::new(&shared.path, &shared.identity.run_id)?),
            Medium::Network => None,
        };
        let shapes = Shapes::default();
        Ok(Self { view, shared, medium, watch, shapes, transactions: 0, records: 0, marker, commits, base: None })
    }

    pub(super) fn work(mut self, queue: &mpsc::Receiver<Job>) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let _unwound = Unwound(&shared);
        let mut next = queue.recv().ok();
        while let Some(job) = next.take() {
            match job {
                Job::Commit { records, done } => {
                    let mut count = records.len();
                    let (mut batch, mut waiting) = (vec![records], vec![done]);
                    while count < GROUP {
                        match queue.try_recv() {
                            Ok(Job::Commit { records, done }) => {
                                count += records.len();
                                batch.push(records);
                                waiting.push(done);
                            }
                            other => {
                                next = other.ok();
                                break;
                            }
                        }
                    }
                    self.commit(batch, count);
                    for done in waiting {
                        _ = done.send(self.shared.check());
                    }
                    self.checkpoint();
                }
                Job::Read(read) => read(&self.view),
                Job::Close => break,
            }
            if next.is_none() {
                next = queue.recv().ok();
            }
        }
        self.close()
    }

    /// All or nothing; a failure is the last thing that this journal does.
    fn commit(&mut self, batch: Vec<Vec<Record>>, count: usize) {
        if self.shared.failed.get().is_some() {
            return;
        }
        let written = write(self.view.connection_mut(), &mut self.shapes, batch, self.base);
        match written.and_then(|()| self.watch.check()) {
            Ok(()) => {
                self.transactions += 1;
                self.records += count;
                self.commits += 1;
                self.base = None;
                if let Some(marker) = &mut self.marker {
                    marker.committed(self.commits);
                }
            }
            Err(fault) => self.shared.fail(&fault.to_string()),
        }
    }

    /// Copies the log into the file once there is enough of it, so that it does not grow for ever.
    fn checkpoint(&mut self) {
        let due = self.transactions >= CHECKPOINT_TRANSACTIONS || self.records >= CHECKPOINT_RECORDS;
        if !due || self.medium == Medium::Network || self.shared.failed.get().is_some() {
            return;
        }
        (self.transactions, self.records) = (0, 0);
        match copy_log(self.view.connection()) {
            Ok(true) => self.base = Some(self.commits),
            Ok(false) => {}
            Err(error) => self.shared.fail(&format!("checkpoint: {error}")),
        }
    }

    fn close(self) -> Result<(), Error> {
        let path = self.view.path().to_owned();
        let connection = self.view.into_connection();
        if let Some(cause) = self.shared.failed.get() {
            // The log stays as it is: the next process reads from it what is whole. A rollback journal would be
            // played back at closing, trusting an fsync of this process; the next one does that.
            if self.medium == Medium::Network {
                std::mem::forget(connection);
            }
            let source = std::io::Error::other(cause.to_string()).into();
            return Err(Error::Disk { verb: WRITING, path, source });
        }
        let folded = match self.medium {
            Medium::Local => fold(&connection, &path, Some(&self.shared.identity.run_id)),
            Medium::Network => Ok(()),
        };
        if let Err(fault) = &folded {
            self.shared.fail(&fault.to_string());
        }
        folded.map_err(|fault| fault.at(WRITING, &path))?;
        connection.close().map_err(|(_, error)| Fault::Sql(error).at(WRITING, &path))
    }
}

fn write(
    connection: &mut Connection,
    shapes: &mut Shapes,
    batch: Vec<Vec<Record>>,
    base: Option<u64>,
) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    apply::apply(&transaction, shapes, batch.into_iter().flatten())?;
    whole::count_commit(&transaction, base)?;
    transaction.commit()?;
    Ok(())
}
