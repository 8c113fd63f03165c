//! Opens a journal for those that only read.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::api::auth::canonical::encode;

use super::schema::{Fault, beside};

/// How long a read waits for a writer that has the file for itself.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    /// May roll back what a killed writer left; changes nothing else.
    Recover,
    /// As if nobody ever wrote to it.
    Immutable,
}

/// Opens a journal so that nothing in it is changed.
///
/// * `first`: what is read of it at once, by which it is known that it can be read.
pub(super) fn open_to_read<T>(
    path: &Path,
    first: impl Fn(&Connection) -> Result<T, Fault>,
) -> Result<(Connection, T), Fault> {
    let with = |access| {
        let connection = connect(path, access)?;
        let value = first(&connection)?;
        Ok((connection, value))
    };
    with(Access::Read).or_else(|fault| {
        let unwritable = matches!(&fault, Fault::Sql(error) if matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly)
        ));
        let holds = |ending| std::fs::metadata(beside(path, ending)).is_ok_and(|file| file.len() > 0);
        match (unwritable, holds("-journal"), holds("-wal")) {
            // A killed writer's half transaction: SQLite takes it back before anybody reads.
            (true, true, _) => with(Access::Recover),
            // A directory that can't be written to (a copy on read-only media): nobody else writes there either,
            // so the file alone tells all.
            (true, false, false) => with(Access::Immutable),
            _ => Err(fault),
        }
    })
}

pub(super) fn connect(path: &Path, access: Access) -> Result<Connection, Fault> {
    let read = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match access {
        Access::Read => Connection::open_with_flags(path, read)?,
        Access::Recover => {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            connection.pragma_update(None, "query_only", true)?;
            connection
        }
        Access::Immutable => {
            let path: Vec<String> = path.to_string_lossy().split('/').map(encode).collect();
            let uri = format!("file:{}?immutable=1", path.join("/"));
            Connection::open_with_flags(uri, read | OpenFlags::SQLITE_OPEN_URI)?
        }
    };
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}
