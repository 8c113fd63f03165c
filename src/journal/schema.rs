//! Tables and their version, and what tells a journal from any other file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode};

use crate::error::Error;

use super::codec::Malformed;
use super::record::Identity;

/// `bDet`, at byte 68 of the file.
pub(super) const APPLICATION_ID: u32 = 0x6244_6574;
/// Rises when an older program could not go on with the journal.
pub(super) const VERSION: u32 = 2;

/// The key in `meta` of who still gets in; absent where that is still to be looked for, and in the journals of older
/// programs. The records of the results that it names are in a table of its own.
pub(super) const STILL_ACCESS: &str = "still_access";

/// Made when it is needed: journals of older programs have none.
pub(super) const STILL_VIA: &str =
    "CREATE TABLE IF NOT EXISTS still_via(entry INTEGER PRIMARY KEY, ways TEXT NOT NULL)";

/// The key in `meta` of how many rows the input had; absent in the journals of older programs.
pub(super) const INPUT_ROWS: &str = "input_rows";

pub(super) const TABLES: &str = "
    CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    -- blocks of entries in input order, by the number of the first one
    CREATE TABLE entries(first INTEGER PRIMARY KEY, body BLOB NOT NULL);
    -- open: slots without a final word; touched: 1 where a write may have been executed, 2 where one ended unknown
    CREATE TABLE chunk(number INTEGER PRIMARY KEY, first_item INTEGER NOT NULL, last_item INTEGER NOT NULL,
                       open INTEGER NOT NULL, touched INTEGER NOT NULL DEFAULT 0);
    -- rows: how many entries each of its slots stands for, which is all that counting needs of an item
    CREATE TABLE item(id INTEGER PRIMARY KEY, rows TEXT NOT NULL, body TEXT NOT NULL);
    CREATE TABLE attempt(id INTEGER PRIMARY KEY, chunk INTEGER NOT NULL, part INTEGER NOT NULL, at TEXT NOT NULL,
                         body_sha256 TEXT NOT NULL, body_bytes INTEGER NOT NULL, carries TEXT NOT NULL,
                         kind TEXT, answer TEXT);
    CREATE TABLE attempt_chunk(chunk INTEGER NOT NULL, attempt INTEGER NOT NULL,
                               PRIMARY KEY (chunk, attempt)) WITHOUT ROWID;
    -- a word and the items and slots of a chunk that it is said of; a later one (n) on the same slot replaces it
    CREATE TABLE settled(chunk INTEGER NOT NULL, n INTEGER NOT NULL, carries TEXT NOT NULL, body TEXT NOT NULL,
                         PRIMARY KEY (chunk, n)) WITHOUT ROWID;
    CREATE TABLE job(item INTEGER NOT NULL, job_id TEXT NOT NULL, refusal TEXT,
                     PRIMARY KEY (item, job_id)) WITHOUT ROWID;
    CREATE TABLE seen(item INTEGER NOT NULL, slot INTEGER NOT NULL, PRIMARY KEY (item, slot)) WITHOUT ROWID;
    CREATE TABLE recheck(item INTEGER PRIMARY KEY);
    CREATE TABLE process(id INTEGER PRIMARY KEY, started_at TEXT NOT NULL, version TEXT NOT NULL, write_period_us INTEGER,
                         stopped TEXT);
    -- counts kept current: rows.OUTCOME, attempts.KIND, requests.CLASS.WORD, …
    CREATE TABLE tally(key TEXT PRIMARY KEY, n INTEGER NOT NULL) WITHOUT ROWID;
";

/// Made after the rows are in, which is faster.
pub(super) const INDEXES: &str = "
    CREATE INDEX chunks_of_attempt ON attempt_chunk(attempt);
    CREATE UNIQUE INDEX chunk_by_item ON chunk(first_item);
    CREATE INDEX chunk_open ON chunk(number) WHERE open > 0;
    CREATE INDEX chunk_touched ON chunk(number) WHERE open > 0 AND touched > 0;
";

/// Why the journal's own work could not be done.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Io(io::Error),
    /// What is in the file, or what the caller asks to keep, makes no sense.
    Bad(String),
    /// An error of the caller's own, passed through.
    Caller(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Malformed> for Fault {
    fn from(what: Malformed) -> Self {
        Self::Bad(what)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sql(error) => error.fmt(f),
            Self::Io(error) => error.fmt(f),
            Self::Bad(what) => f.write_str(what),
            Self::Caller(error) => error.fmt(f),
        }
    }
}

impl Fault {
    /// As an error of the journal at `path` while doing `verb`.
    pub(super) fn at(self, verb: &'static str, path: &Path) -> Error {
        let source: Box<dyn std::error::Error + Send + Sync> = match self {
            Self::Caller(error) => return error,
            Self::Bad(what) => return damaged(path, &what),
            Self::Sql(error) => match error.sqlite_error_code() {
                // Without a code it is a value of another type than ours; unknown is a table that is missing.
                None | Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt | ErrorCode::Unknown) => {
                    return damaged(path, &error.to_string());
                }
                Some(_) => error.into(),
            },
            Self::Io(error) => error.into(),
        };
        Error::Disk { verb, path: path.to_owned(), source }
    }
}

impl Fault {
    /// As [`Fault::at`], while nothing was sent yet: nothing is to be resumed.
    pub(super) fn before(self, verb: &'static str, path: &Path) -> Error {
        match self.at(verb, path) {
            Error::Disk { verb, path, source } => Error::File { verb, path, source: io::Error::other(source) },
            error => error,
        }
    }
}

pub(super) fn not_our_journal(path: &Path, problem: String) -> Error {
    Error::NotOurJournal { path: path.display().to_string(), problem }
}

fn damaged(path: &Path, what: &str) -> Error {
    not_our_journal(path, format!("this journal is damaged ({what}); restore a copy of it"))
}

/// The format of a journal, whichever version made it. Looks at the first bytes of the file, before `SQLite` does: a
/// file that is not ours stays untouched.
///
/// # Errors
/// [`Error::File`] where it can't be read, [`Error::NotOurJournal`] where it is no journal.
pub(super) fn format_of(path: &Path) -> Result<u32, Error> {
    let mut header = [0; 100];
    let read = File::open(path).and_then(|mut file| match file.read_exact(&mut header) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        result => result.map(|()| true),
    });
    let whole = read.map_err(|source| Error::File { verb: "read the journal", path: path.to_owned(), source })?;
    let number = |at: usize| header[at..at + 4].iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    if !whole || !header.starts_with(b"SQLite format 3\0") || number(68) != APPLICATION_ID {
        return Err(not_our_journal(path, "this is not a journal of batch-detach; name another file".to_owned()));
    }
    Ok(number(60))
}

/// # Errors
/// As [`format_of`], and [`Error::NotOurJournal`] where it is no journal of this version.
pub(super) fn check_header(path: &Path) -> Result<(), Error> {
    match format_of(path)? {
        VERSION => Ok(()),
        version => Err(not_our_journal(
            path,
            format!(
                "this journal was written by another version of batch-detach (format {version}; this one writes \
                 {VERSION}); finish, undo or report that run with that version"
            ),
        )),
    }
}

/// Reads the identity, and with it whether the journal is whole.
pub(super) fn read_identity(connection: &Connection) -> Result<Identity, Fault> {
    let whole: Option<String> = meta(connection, "whole")?;
    if whole.is_none() {
        return Err(Fault::Bad("it was never finished".to_owned()));
    }
    let identity = meta(connection, "identity")?.ok_or_else(|| Fault::Bad("it has no identity".to_owned()))?;
    serde_json::from_str(&identity).map_err(|error| Fault::Bad(format!("identity: {error}")))
}

pub(super) fn meta(connection: &Connection, key: &str) -> Result<Option<String>, Fault> {
    use rusqlite::OptionalExtension as _;
    Ok(connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()?)
}

/// The journal's path with something appended: `FILE.journal-wal`.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
