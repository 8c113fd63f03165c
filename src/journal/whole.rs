//! Whether all parts of a journal are there, and belong together.
//!
//! While a journal is driven, its latest commits stand in a file of their own beside it, the log (`-wal`). `SQLite` opens
//! a journal that has lost its log as if those commits had never been: rows that were sent would count as never sent.
//! The file's header tells that there was a log. Two moments look just like a loss: right after opening, when the log
//! has no commit yet, and right before closing, when all of it is in the file. A mark in the lock file, which is durable
//! before either begins, tells them apart. It counts the commits, too, so that it tells an older copy; and the log tells
//! on how many commits in the file it builds, so that a file and a log of different times are not taken for one journal.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::error::Error;

use super::open::{Access, connect};
use super::schema::{self, Fault, beside, not_our_journal};

/// What the lock file says of the log of a run's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mark {
    /// It holds nothing yet.
    Opening,
    /// It holds commits; the journal had counted so many, at least, when this was written.
    Driven { commits: u64 },
    /// All of it is in the file.
    Folded,
}

/// The first words of a log, in either byte order of its checksums.
const LOG_MAGIC: [u32; 2] = [0x377f_0682, 0x377f_0683];
/// How every `SQLite` file begins, and what it keeps to take a transaction back.
const FILE_MAGIC: &[u8] = b"SQLite format 3\0";
const ROLLBACK_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// The version that an index of a log (`-shm`) begins with, in the byte order of its machine.
const INDEX_VERSION: u32 = 3_007_000;
/// The files beside a journal that belong to it.
pub(crate) const PARTS: [&str; 4] = ["-wal", "-shm", "-journal", ".lock"];
/// A log's header, and that of each page in it.
const LOG_HEADER: u64 = 32 + 24;

/// What the files show before `SQLite` opens them: closing any other handle on a journal drops the locks that it has.
#[derive(Debug)]
pub(super) struct Look {
    has_log: bool,
    /// Run and commits as the file alone tells them. `None` where it does not: a kill in the middle of copying the log.
    in_file: Option<(String, u64)>,
    /// What the lock file says, and of which run.
    mark: Option<(String, Mark)>,
}

impl Look {
    /// # Errors
    /// [`Error::NotOurJournal`] where the log is lost, emptied, or no log at all.
    pub(super) fn at(path: &Path) -> Result<Self, Error> {
        let trouble = |source| Error::File { verb: "read the journal", path: path.to_owned(), source };
        let (expects_log, has_log) = (expects_log(path).map_err(trouble)?, has_log(path));
        let look = Self { has_log: expects_log && has_log, in_file: in_file(path), mark: read_mark(path) };
        if !expects_log || has_log {
            return Ok(look);
        }
        let mark = look.in_file.as_ref().and_then(|(run_id, _)| look.mark_of(run_id));
        // Its holder may have closed it just now.
        if matches!(mark, Some(Mark::Opening | Mark::Folded)) || !self::expects_log(path).map_err(trouble)? {
            return Ok(look);
        }
        let problem = format!(
            "this journal has lost a part: {} is missing, empty or no log of it, and what was done last stands only \
             there; put that file back beside the journal, or name a whole copy of both",
            beside(path, "-wal").display()
        );
        Err(not_our_journal(path, problem))
    }

    /// Once the journal is open, its log included.
    ///
    /// # Errors
    /// [`Error::NotOurJournal`] where the log is of another run or an older one, or the whole is older than what the lock
    /// file tells of.
    pub(super) fn check(&self, connection: &Connection, path: &Path, run_id: &str) -> Result<(), Error> {
        let trouble = |fault: Fault| fault.before("read the journal", path);
        let (commits, base) = (commits(connection).map_err(trouble)?, number(connection, BASE).map_err(trouble)?);
        if let Some((_, commits_in_file)) = &self.in_file
            && self.has_log
            && *commits_in_file < base
        {
            let problem = format!(
                "an older copy stands in the place of this journal: its {} builds on a later one; put that one back, or \
                 name a whole copy of both",
                beside(path, "-wal").display()
            );
            return Err(not_our_journal(path, problem));
        }
        if let Some((id_in_file, commits_in_file)) = &self.in_file
            && self.has_log
            && (id_in_file != run_id || *commits_in_file > commits)
        {
            let problem = format!(
                "{} does not belong to this journal: it is of {}; put the right one back, or name a whole copy of both",
                beside(path, "-wal").display(),
                if id_in_file == run_id { "an earlier time" } else { "another run" }
            );
            return Err(not_our_journal(path, problem));
        }
        match self.mark_of(run_id) {
            Some(Mark::Driven { commits: at_least }) if commits < *at_least => {
                let problem = "an older copy stands in the place of this journal: a later process of this run worked on \
                               another one; put that one back, with its -wal";
                Err(not_our_journal(path, problem.to_owned()))
            }
            _ => Ok(()),
        }
    }

    fn mark_of(&self, run_id: &str) -> Option<&Mark> {
        self.mark.as_ref().filter(|(id, _)| id == run_id).map(|(_, mark)| mark)
    }

    /// Whether there is a log whose commits go on.
    pub(super) const fn has_log(&self) -> bool {
        self.has_log
    }

    /// Before the log is made, where there is none.
    pub(super) fn mark_opening(&self, path: &Path, run_id: &str) -> io::Result<()> {
        if self.has_log { Ok(()) } else { write_mark(path, run_id, &Mark::Opening) }
    }
}

/// Counts one commit, so that the log holds something, and says so.
///
/// * `is_new`: whether the log begins with it.
pub(super) fn mark_driven(connection: &Connection, path: &Path, run_id: &str, is_new: bool) -> Result<(), Fault> {
    let base = if is_new { Some(commits(connection)?) } else { None };
    let transaction = connection.unchecked_transaction()?;
    count_commit(&transaction, base)?;
    transaction.commit()?;
    Ok(write_mark(path, run_id, &Mark::Driven { commits: commits(connection)? })?)
}

/// Says of each commit in the lock file that it was made.
#[derive(Debug)]
pub(super) struct Marker {
    /// `None` where there is no lock file.
    file: Option<File>,
    run_id: String,
}

impl Marker {
    pub(super) fn new(path: &Path, run_id: &str) -> io::Result<Self> {
        Ok(Self { file: open_lock_file(path)?, run_id: run_id.to_owned() })
    }

    /// Not synced: after a power loss it may tell of fewer commits than there are, never of more.
    pub(super) fn committed(&mut self, commits: u64) {
        let words = words(&self.run_id, &Mark::Driven { commits });
        // The longer it is, the more commits: what it replaces is never longer.
        if let Some(file) = &mut self.file
            && let Err(error) = file.seek(SeekFrom::Start(0)).and_then(|_| file.write_all(words.as_bytes()))
        {
            tracing::debug!(%error, "the lock file could not be written");
            self.file = None;
        }
    }
}

/// Before the log is emptied, and all of it in the file.
pub(super) fn mark_folded(path: &Path, run_id: &str) -> io::Result<()> {
    write_mark(path, run_id, &Mark::Folded)
}

/// The journal stands alone: there is nothing more to say.
pub(super) fn unmark(path: &Path) -> io::Result<()> {
    match open_lock_file(path)? {
        Some(file) => file.set_len(0),
        None => Ok(()),
    }
}

/// The key in `meta` of how many commits the file held when its log began.
const BASE: &str = "base";

/// In each transaction, so that any log of this journal says of which run it is.
///
/// * `base`: of a log that begins with it: the commits in the file.
pub(super) fn count_commit(connection: &Connection, base: Option<u64>) -> Result<(), Fault> {
    let sql = "INSERT INTO meta VALUES ('commits', 1) ON CONFLICT (key) DO UPDATE SET value = value + 1";
    connection.prepare_cached(sql)?.execute([])?;
    if let Some(base) = base {
        connection.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [BASE, &base.to_string()])?;
    }
    Ok(())
}

pub(super) fn commits(connection: &Connection) -> Result<u64, Fault> {
    number(connection, "commits")
}

fn number(connection: &Connection, key: &str) -> Result<u64, Fault> {
    let number = schema::meta(connection, key)?.map_or(Ok(0), |text| text.parse());
    number.map_err(|error| Fault::Bad(format!("{key}: {error}")))
}

/// That a journal is not there itself, and a part of it is.
///
/// # Errors
/// [`Error::NotOurJournal`], naming the part and the ways out.
pub(crate) fn refuse_remains(journal: &Path) -> Result<(), Error> {
    let Some(part) = remains(journal) else { return Ok(()) };
    let problem = format!(
        "this journal is gone, and {} is left of it: what that run did stands there alone; put it back, or start over from \
         the list with --fresh, which moves aside what is left",
        part.display()
    );
    Err(not_our_journal(journal, problem))
}

/// What is left of a journal that is not there itself: it was taken away, or lost.
pub(crate) fn remains(journal: &Path) -> Option<PathBuf> {
    let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
    if is_there(&journal.to_owned()) {
        return None;
    }
    let by_itself = ["-wal", "-shm"].map(|part| beside(journal, part)).into_iter().find(is_there);
    by_itself.or_else(|| read_mark(journal).map(|_| beside(journal, ".lock")))
}

/// As in [`Look`].
fn in_file(path: &Path) -> Option<(String, u64)> {
    let connection = connect(path, Access::Immutable).ok()?;
    let identity = schema::read_identity(&connection).ok()?;
    Some((identity.run_id, commits(&connection).ok()?))
}

/// Whether the file's header says that there is a log.
fn expects_log(path: &Path) -> io::Result<bool> {
    let mut header = [0; 20];
    match File::open(path)?.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        result => result.map(|()| header[18] == 2),
    }
}

fn has_log(path: &Path) -> bool {
    let read = || {
        let mut file = File::open(beside(path, "-wal")).ok()?;
        let mut magic = [0; 4];
        file.read_exact(&mut magic).ok()?;
        Some(file.metadata().ok()?.len() > LOG_HEADER && LOG_MAGIC.contains(&u32::from_be_bytes(magic)))
    };
    read().unwrap_or_default()
}

/// Whether a file that begins so is a journal, or a part of one, by whatever name.
pub(crate) fn is_of_a_journal(start: &[u8]) -> bool {
    let first = start.first_chunk().copied().unwrap_or_default();
    start.starts_with(FILE_MAGIC)
        || start.starts_with(&ROLLBACK_MAGIC)
        || LOG_MAGIC.contains(&u32::from_be_bytes(first))
        || u32::from_ne_bytes(first) == INDEX_VERSION
        || std::str::from_utf8(start)
            .is_ok_and(|text| mark(text).is_some_and(|(id, _)| id.len() == 8 && hex::decode(id).is_ok()))
}

fn open_lock_file(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).write(true).open(beside(path, ".lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

fn write_mark(path: &Path, run_id: &str, mark: &Mark) -> io::Result<()> {
    let Some(mut file) = open_lock_file(path)? else { return Ok(()) };
    let words = words(run_id, mark);
    file.write_all(words.as_bytes())?;
    file.set_len(words.len() as u64)?;
    file.sync_all()
}

fn words(run_id: &str, mark: &Mark) -> String {
    match mark {
        Mark::Opening => format!("{run_id} opening\n"),
        Mark::Driven { commits } => format!("{run_id} driven {commits}\n"),
        Mark::Folded => format!("{run_id} folded\n"),
    }
}

fn read_mark(path: &Path) -> Option<(String, Mark)> {
    mark(&std::fs::read_to_string(beside(path, ".lock")).ok()?)
}

fn mark(text: &str) -> Option<(String, Mark)> {
    let mut words = text.lines().next()?.split(' ');
    let run_id = words.next()?.to_owned();
    let mark = match (words.next()?, words.next()) {
        ("opening", None) => Mark::Opening,
        ("folded", None) => Mark::Folded,
        ("driven", Some(commits)) => Mark::Driven { commits: commits.parse().ok()? },
        _ => return None,
    };
    Some((run_id, mark))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use crate::journal::sample::{build, identity, intent};
    use crate::journal::{Builder, Journal as _, RunLock, Store, View, move_aside};

    use super::*;

    /// A journal as a kill leaves it: with its log, and with its lock file.
    fn killed(directory: &Path, name: &str) -> PathBuf {
        let (path, copy) = (directory.join("driven.journal"), directory.join(name));
        build(&path, 2);
        let lock = RunLock::acquire(&path).unwrap();
        let store = Store::open(&path).unwrap();
        for id in 1..=3 {
            futures::executor::block_on(store.handle().commit(vec![intent(id, 1, &[(1, &[0])])])).unwrap();
        }
        for ending in ["", "-wal", ".lock"] {
            std::fs::copy(beside(&path, ending), beside(&copy, ending)).unwrap();
        }
        store.close().unwrap();
        drop(lock);
        std::fs::remove_file(&path).unwrap();
        copy
    }

    fn refusal(path: &Path) -> String {
        let (view, store) = (View::open(path).unwrap_err(), Store::open(path).unwrap_err());
        assert_eq!(view.to_string(), store.to_string());
        assert!(matches!(view, Error::NotOurJournal { .. }), "{view}");
        view.to_string()
    }

    #[test]
    fn p16_a_journal_without_its_log_is_refused_by_all_that_open_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = killed(directory.path(), "a.journal");
        let wal = beside(&path, "-wal");
        assert_eq!(View::open(&path).unwrap().progress().unwrap().attempts, [(None, 3)].into());
        let whole = std::fs::read(&wal).unwrap();
        for (kind, left) in
            [("cut", &whole[..56]), ("emptied", b""), ("another file", b"line,desktop_id\n".repeat(9).as_slice())]
        {
            std::fs::write(&wal, left).unwrap();
            assert!(refusal(&path).contains("a.journal-wal"), "{kind}");
        }
        std::fs::remove_file(&wal).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert!(refusal(&path).contains("a.journal-wal"));
        // It is moved out of the way as it is, and is refused there as well.
        let moved = move_aside(&path, &directory.path().join("a"), "0badcafe").unwrap();
        assert_eq!(std::fs::read(&moved.journal).unwrap(), before);
        assert!(refusal(&moved.journal).contains("has lost a part"));
    }

    #[test]
    fn p16_a_log_of_another_run_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = killed(directory.path(), "a.journal");
        let other = directory.path().join("other.journal");
        let (entries, items) = crate::journal::sample::plan(2);
        let mut builder =
            Builder::create(&other, &crate::journal::Identity { run_id: "0ddba11f".to_owned(), ..identity() }).unwrap();
        for entry in &entries {
            builder.owned_entry(entry).unwrap();
        }
        for item in items {
            builder.item(item).unwrap();
        }
        builder.finish().unwrap();
        let store = Store::open(&other).unwrap();
        std::fs::copy(beside(&other, "-wal"), beside(&path, "-wal")).unwrap();
        store.close().unwrap();
        refusal(&path);
    }

    #[test]
    fn p16_a_copy_that_is_older_than_the_last_process_is_refused_where_the_lock_file_is_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        build(&path, 1);
        let backup = std::fs::read(&path).unwrap();
        let lock = RunLock::acquire(&path).unwrap();
        let store = Store::open(&path).unwrap();
        let mark = std::fs::read(beside(&path, ".lock")).unwrap();
        store.close().unwrap();
        drop(lock);
        assert!(!beside(&path, ".lock").exists(), "nothing is left behind");
        std::fs::write(&path, backup).unwrap();
        assert!(View::open(&path).is_ok(), "nothing tells");
        std::fs::write(beside(&path, ".lock"), mark).unwrap();
        assert!(refusal(&path).contains("older copy"));
    }

    #[test]
    fn p03_a_kill_before_the_first_commit_or_after_the_last_loses_nothing_and_is_not_taken_for_a_loss() {
        let directory = tempfile::tempdir().unwrap();
        let path = killed(directory.path(), "a.journal");
        std::fs::write(beside(&path, "-wal"), "").unwrap();
        for mark in [Mark::Opening, Mark::Folded] {
            write_mark(&path, "0badcafe", &mark).unwrap();
            View::open(&path).unwrap();
            write_mark(&path, "0ddba11f", &mark).unwrap();
            assert!(refusal(&path).contains("has lost a part"), "the mark is of another run");
        }
    }

    /// Commits so many intents, each by itself.
    fn commit(store: &Store, ids: std::ops::RangeInclusive<u64>) {
        for id in ids {
            futures::executor::block_on(store.handle().commit(vec![intent(id, 1, &[(1, &[0])])])).unwrap();
        }
    }

    #[test]
    fn p16_an_older_copy_is_refused_though_it_is_of_the_same_process() {
        let directory = tempfile::tempdir().unwrap();
        let (path, older) = (directory.path().join("driven.journal"), directory.path().join("older.journal"));
        build(&path, 2);
        let lock = RunLock::acquire(&path).unwrap();
        let store = Store::open(&path).unwrap();
        let copy = |endings: &[&str]| {
            for ending in endings {
                std::fs::copy(beside(&path, ending), beside(&older, ending)).unwrap();
            }
        };
        commit(&store, 1..=1);
        copy(&["", "-wal", ".lock"]);
        View::open(&older).unwrap();
        commit(&store, 2..=3);
        copy(&[".lock"]);
        assert!(refusal(&older).contains("older copy"));
        // All of a later time.
        copy(&["-wal"]);
        assert_eq!(View::open(&older).unwrap().progress().unwrap().attempts, [(None, 3)].into());
        drop((store, lock));
    }

    #[test]
    fn p16_a_log_that_builds_on_a_later_file_is_refused_and_no_lock_file_is_needed_to_tell() {
        let directory = tempfile::tempdir().unwrap();
        let (path, mixed) = (directory.path().join("driven.journal"), directory.path().join("mixed.journal"));
        build(&path, 2);
        let store = Store::open(&path).unwrap();
        commit(&store, 1..=1);
        std::fs::copy(&path, &mixed).unwrap();
        // So many that the log was copied into the file meanwhile, and begun anew.
        commit(&store, 2..=70);
        std::fs::copy(beside(&path, "-wal"), beside(&mixed, "-wal")).unwrap();
        assert!(refusal(&mixed).contains("builds on a later one"));
        std::fs::copy(&path, &mixed).unwrap();
        assert_eq!(View::open(&mixed).unwrap().progress().unwrap().attempts, [(None, 70)].into());
        drop(store);
    }
}
