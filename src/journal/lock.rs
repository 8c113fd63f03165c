//! One holder at a time (P15).

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::Error;

use super::schema::beside;

/// The right to drive a journal, held for life. The kernel takes it back from a dead holder.
#[derive(Debug)]
pub struct RunLock {
    path: PathBuf,
    /// Closing it gives the lock back.
    _file: File,
}

impl RunLock {
    /// Locks `FILE.journal.lock`, which is made where it is missing, and removed at release. One that was left over
    /// means nothing.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process (or another lock of this one) holds it, [`Error::File`] where the file
    /// can't be made.
    pub fn acquire(journal: &Path) -> Result<Self, Error> {
        let path = beside(journal, ".lock");
        let trouble = |source| Error::File { verb: "lock", path: path.clone(), source };
        loop {
            let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
            let file = options.open(&path).map_err(trouble)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(Error::Locked(path)),
                Err(TryLockError::Error(source)) => return Err(trouble(source)),
            }
            // Whoever held it may have removed the file between our opening and our locking: then this lock guards
            // nothing, because the next process makes a new file.
            let mine = file.metadata().map_err(trouble)?;
            let there = std::fs::metadata(&path);
            if there.is_ok_and(|there| (there.dev(), there.ino()) == (mine.dev(), mine.ino())) {
                return Ok(Self { path, _file: file });
            }
        }
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // While it is still held: removed afterwards, it could be the next holder's.
        _ = std::fs::remove_file(&self.path);
    }
}
