//! The one writer: a thread that owns the connection, and makes durable in one go whatever is queued.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::future::BoxFuture;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::oneshot;

use crate::error::Error;

use super::record::{AttemptId, Identity, OpenItem, Progress, Recheck, Record};
use super::schema::{self, Fault, beside};
use super::seam::{Journal, JournalError};
use super::view::View;
use super::{apply, fs};

const OPENING: &str = "open the journal";
const WRITING: &str = "write the journal";
/// How long the writer waits for a reader that has the file for itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it waits when it tidies up, which is not worth a stop.
const LITTLE_PATIENCE: Duration = Duration::from_millis(500);
/// Records that one transaction takes in at most, so that the first caller does not wait for the last.
const GROUP: usize = 4_096;
/// Transactions and records after which the log is copied into the file.
const CHECKPOINT_TRANSACTIONS: usize = 64;
const CHECKPOINT_RECORDS: usize = 8_192;

/// How `SQLite` keeps its promises on this file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    /// Write-ahead log, `synchronous=FULL`.
    Local,
    /// Rollback journal, `synchronous=EXTRA`: no shared memory.
    Network,
}

type Reading = Box<dyn FnOnce(&View) + Send>;

enum Job {
    Commit { records: Vec<Record>, done: oneshot::Sender<Result<(), JournalError>> },
    Read(Reading),
    Close,
}

/// A journal that this process drives: the only way to change it.
///
/// Take the [`super::RunLock`] first: this does not keep other processes away.
#[derive(Debug)]
pub struct Store {
    handle: Handle,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

/// Reaches the [`Store`] from anywhere; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    identity: Identity,
    failed: OnceLock<Arc<str>>,
    next_attempt: AtomicU64,
}

impl Store {
    /// Opens a journal to go on with it.
    ///
    /// # Errors
    /// [`Error::Foreign`] where it is no journal, a newer one or a damaged one: the file is then untouched.
    /// [`Error::File`] and [`Error::Disk`] where the disk says no.
    pub fn open(path: &Path) -> Result<Self, Error> {
        schema::check_header(path)?;
        let medium = if fs::is_network(path) { Medium::Network } else { Medium::Local };
        Self::open_on(path, medium)
    }

    fn open_on(path: &Path, medium: Medium) -> Result<Self, Error> {
        let (connection, identity, medium) = connect(path, medium).map_err(|fault| fault.at(OPENING, path))?;
        let view = View::over(connection, path, identity.clone());
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            identity,
            failed: OnceLock::new(),
            next_attempt: AtomicU64::new(view.next_attempt()?),
        });
        let watch = Watch::new(path, medium).map_err(|error| Fault::Io(error).at(OPENING, path))?;
        let (jobs, queue) = mpsc::channel();
        let writer = Writer { view, shared: Arc::clone(&shared), medium, watch, transactions: 0, records: 0 };
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.work(&queue));
        let thread = thread.map_err(|error| Fault::Io(error).at(OPENING, path))?;
        Ok(Self { handle: Handle { shared, jobs }, thread: Some(thread) })
    }

    pub fn identity(&self) -> &Identity {
        &self.handle.shared.identity
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the writer after what is queued. The log goes into the file, and the file stands alone; after a failed
    /// commit nothing of that is tried (P13).
    ///
    /// # Errors
    /// [`Error::Disk`] where a commit had failed, or this does.
    pub fn close(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        _ = self.handle.jobs.send(Job::Close);
        thread.join().map_err(|_| Error::Internal("the journal's thread panicked".to_owned()))?
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        _ = self.end();
    }
}

impl Handle {
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// See [`Journal::commit`].
    pub async fn commit(&self, records: Vec<Record>) -> Result<(), JournalError> {
        self.shared.check()?;
        if records.is_empty() {
            return Ok(());
        }
        let (done, answer) = oneshot::channel();
        self.jobs.send(Job::Commit { records, done }).map_err(|_| self.shared.closed())?;
        answer.await.unwrap_or_else(|_| Err(self.shared.closed()))
    }

    /// See [`Journal::has_failed`].
    pub fn has_failed(&self) -> bool {
        self.shared.failed.get().is_some()
    }

    /// Runs `read` on the writer's own connection, after what was queued before it; commits wait meanwhile.
    /// What it sees is durable, but after a failed commit: there it is the last state before that.
    pub async fn with_view<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View) -> T + Send + 'static,
    ) -> Result<T, JournalError> {
        let (done, answer) = oneshot::channel();
        let job = Job::Read(Box::new(move |view| _ = done.send(read(view))));
        self.jobs.send(job).map_err(|_| self.shared.closed())?;
        answer.await.map_err(|_| self.shared.closed())
    }

    async fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.with_view(read).await?.map_err(|error| {
            use std::error::Error as _;
            let cause = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
            JournalError::Unreadable { path: self.shared.path.clone(), cause: cause.into() }
        })
    }

    /// See [`Journal::next_attempt_id`].
    #[expect(clippy::unused_async, reason = "as in the trait; another journal may have to look")]
    pub async fn next_attempt_id(&self) -> Result<AttemptId, JournalError> {
        self.shared.check()?;
        Ok(self.shared.next_attempt.fetch_add(1, Ordering::Relaxed))
    }

    /// See [`Journal::open_chunks`].
    pub async fn open_chunks(&self) -> Result<Vec<u32>, JournalError> {
        self.ask(View::open_chunks).await
    }

    /// See [`Journal::chunk`].
    pub async fn chunk(&self, number: u32) -> Result<Vec<OpenItem>, JournalError> {
        self.ask(move |view| view.chunk(number)).await
    }

    /// See [`Journal::in_flight`].
    pub async fn in_flight(&self) -> Result<Vec<OpenItem>, JournalError> {
        self.ask(View::in_flight).await
    }

    /// See [`Journal::rechecks`].
    pub async fn rechecks(&self) -> Result<Vec<Recheck>, JournalError> {
        self.ask(View::rechecks).await
    }

    /// See [`Journal::totals`].
    pub async fn totals(&self) -> Result<Progress, JournalError> {
        self.ask(View::progress).await
    }
}

impl Journal for Handle {
    fn commit(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(self.commit(records))
    }

    fn has_failed(&self) -> bool {
        self.has_failed()
    }

    fn next_attempt_id(&self) -> BoxFuture<'_, Result<AttemptId, JournalError>> {
        Box::pin(self.next_attempt_id())
    }

    fn open_chunks(&self) -> BoxFuture<'_, Result<Vec<u32>, JournalError>> {
        Box::pin(self.open_chunks())
    }

    fn chunk(&self, number: u32) -> BoxFuture<'_, Result<Vec<OpenItem>, JournalError>> {
        Box::pin(self.chunk(number))
    }

    fn in_flight(&self) -> BoxFuture<'_, Result<Vec<OpenItem>, JournalError>> {
        Box::pin(self.in_flight())
    }

    fn rechecks(&self) -> BoxFuture<'_, Result<Vec<Recheck>, JournalError>> {
        Box::pin(self.rechecks())
    }

    fn totals(&self) -> BoxFuture<'_, Result<Progress, JournalError>> {
        Box::pin(self.totals())
    }
}

impl Shared {
    fn closed(&self) -> JournalError {
        self.check().err().unwrap_or_else(|| JournalError::Closed { path: self.path.clone() })
    }

    fn check(&self) -> Result<(), JournalError> {
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

/// Opens for writing, and reads the identity; nothing is changed by that, nor by closing it.
fn open_untouched(path: &Path) -> Result<(Connection, Identity), Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // The log goes into the file where that is asked for alone: a failed fsync must not be followed by another (P13).
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(PATIENCE)?;
    let identity = schema::read_identity(&connection)?;
    Ok((connection, identity))
}

fn connect(path: &Path, medium: Medium) -> Result<(Connection, Identity, Medium), Fault> {
    let (connection, identity) = open_untouched(path)?;
    let mut medium = medium;
    if medium == Medium::Local && set(&connection, "journal_mode", "WAL")? != "wal" {
        // A file system without shared memory, though not known as one.
        medium = Medium::Network;
    }
    let (mode, synchronous, number) = match medium {
        Medium::Local => ("wal", "FULL", "2"),
        Medium::Network => ("delete", "EXTRA", "3"),
    };
    if medium == Medium::Network {
        set(&connection, "journal_mode", "DELETE")?;
    }
    connection.pragma_update(None, "synchronous", synchronous)?;
    // macOS alone: there fsync leaves the data in the drive's cache.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    for (name, wanted) in [("journal_mode", mode), ("synchronous", number)] {
        let is = get(&connection, name)?;
        if is != wanted {
            return Err(Fault::Io(std::io::Error::other(format!("{name} is {is} instead of {wanted}"))));
        }
    }
    // The log is copied by `Writer::checkpoint`, which looks at what that says: SQLite's own would not tell of a
    // failed fsync, and trust the next one.
    get(&connection, "wal_autocheckpoint = 0")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok((connection, identity, medium))
}

fn set(connection: &Connection, name: &str, value: &str) -> Result<String, Fault> {
    Ok(connection.pragma_update_and_check(None, name, value, |row| row.get(0))?)
}

/// A pragma's value as text.
fn get(connection: &Connection, pragma: &str) -> Result<String, Fault> {
    let value: rusqlite::types::Value = connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))?;
    Ok(match value {
        rusqlite::types::Value::Integer(number) => number.to_string(),
        rusqlite::types::Value::Text(text) => text,
        other => format!("{other:?}"),
    })
}

/// Makes the journal one file that stands alone: log checkpointed, rollback mode. Neither that it is busy (a reader)
/// nor that it stays so is a failure: the log beside it is then part of it.
fn fold(connection: &Connection) -> Result<(), Fault> {
    connection.busy_timeout(LITTLE_PATIENCE)?;
    // Not through `journal_mode` alone: it reports a failed checkpoint as a mode that did not change.
    let busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if !busy {
        match set(connection, "journal_mode", "DELETE") {
            Err(Fault::Sql(error)) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {}
            result => drop(result?),
        }
    }
    Ok(())
}

/// Checkpoints a journal that nobody drives, so that it can be renamed.
///
/// # Errors
/// As [`Store::open`], or that a reader holds on to it.
pub(super) fn stand_alone(path: &Path) -> Result<(), Error> {
    schema::check_header(path)?;
    let fold_up = || {
        let (connection, _) = open_untouched(path)?;
        fold(&connection)?;
        let mode = get(&connection, "journal_mode")?;
        connection.close().map_err(|(_, error)| error)?;
        Ok(mode)
    };
    let mode = fold_up().map_err(|fault: Fault| fault.at(OPENING, path))?;
    if mode != "delete" {
        let path = path.display();
        return Err(Error::Stopped(format!("{path}: another program reads this journal; wait for it, and run again")));
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

struct Writer {
    view: View,
    shared: Arc<Shared>,
    medium: Medium,
    watch: Watch,
    /// Since the last checkpoint.
    transactions: usize,
    records: usize,
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
    fn work(mut self, queue: &mpsc::Receiver<Job>) -> Result<(), Error> {
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
        let result = write(self.view.connection_mut(), batch).and_then(|()| self.watch.check());
        match result {
            Ok(()) => {
                self.transactions += 1;
                self.records += count;
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
        // Passive: what a reader holds up is copied the next time.
        if let Err(error) = self.view.connection().query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            self.shared.fail(&format!("checkpoint: {error}"));
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
        let folded = if self.medium == Medium::Local { fold(&connection) } else { Ok(()) };
        if let Err(fault) = &folded {
            self.shared.fail(&fault.to_string());
        }
        folded.map_err(|fault| fault.at(WRITING, &path))?;
        connection.close().map_err(|(_, error)| Fault::Sql(error).at(WRITING, &path))
    }
}

fn write(connection: &mut Connection, batch: Vec<Vec<Record>>) -> Result<(), Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for record in batch.into_iter().flatten() {
        apply::apply(&transaction, record)?;
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::journal::record::AnswerKind;
    use crate::journal::sample::{answer, build, identity, intent, settled};
    use crate::model::Outcome;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn a_built_journal_is_driven_closed_and_stands_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.csv.journal");
        build(&path, 2);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.identity(), &identity());
        let handle = store.handle();
        assert_eq!(handle.next_attempt_id().await, Ok(1));
        handle.commit(vec![intent(1, 1, &[(1, &[0, 1]), (2, &[0, 1])])]).await.unwrap();
        assert_eq!(handle.in_flight().await.unwrap().len(), 2);
        handle.commit(vec![Record::Answer(answer(1, AnswerKind::Answered))]).await.unwrap();
        handle.commit(vec![Record::Settled(settled(1, &[0, 1], Outcome::Detached))]).await.unwrap();
        assert_eq!(names(directory.path()), ["r.csv.journal", "r.csv.journal-shm", "r.csv.journal-wal"]);
        store.close().unwrap();
        assert_eq!(names(directory.path()), ["r.csv.journal"]);

        let view = View::open(&path).unwrap();
        let progress = view.progress().unwrap();
        assert_eq!(progress.outcomes, [(Outcome::Detached, 3), (Outcome::Invalid, 2)].into());
        assert_eq!((progress.open_unknown, progress.open_not_sent), (3, 6));
        assert_eq!((progress.chunks, progress.chunks_open, progress.finished), (2, 2, false));
        assert_eq!(progress.attempts, [(Some(AnswerKind::Answered), 1)].into());
        let mut outcomes = Vec::new();
        view.for_each_result(|row| {
            outcomes.push(row.outcome.as_str());
            Ok(())
        })
        .unwrap();
        let (d, u, i, n) = ("detached", "unknown", "invalid", "not_sent");
        assert_eq!(outcomes, [d, d, d, u, u, u, i, n, n, n, n, n, n, i]);
        assert_eq!(names(directory.path()), ["r.csv.journal"]);
        assert_eq!(handle.commit(vec![]).await, Ok(()));
        assert!(handle.chunk(1).await.is_err());
    }
}
