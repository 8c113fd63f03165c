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
    file: File,
}

impl RunLock {
    /// Whether somebody holds the lock of this journal. Leaves nothing behind.
    pub fn is_held(journal: &Path) -> bool {
        beside(journal, ".lock").exists() && matches!(Self::acquire(journal), Err(Error::Locked(_)))
    }

    /// Locks `FILE.journal.lock`, which is made where it is missing, and removed at release. One that was left over
    /// means nothing.
    ///
    /// # Errors
    /// [`Error::Locked`] where another process (or another lock of this one) holds it, [`Error::File`] where the file
    /// can't be made.
    pub fn acquire(journal: &Path) -> Result<Self, Error> {
        let path = beside(journal, ".lock");
        loop {
            if let Some(lock) = Self::hold(open(&path)?, &path)? {
                return Ok(lock);
            }
        }
    }

    /// Locks what was opened. `None`: whoever held it has removed the file between our opening and our locking, so that
    /// this lock guards nothing, because the next process makes a new file.
    fn hold(file: File, path: &Path) -> Result<Option<Self>, Error> {
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(trouble(path, source)),
        }
        let is_there = is_at(&file, path).map_err(|source| trouble(path, source))?;
        Ok(is_there.then(|| Self { path: path.to_owned(), file }))
    }
}

impl Drop for RunLock {
    fn drop(&mut self) {
        // While it is still held: removed afterwards, it could be the next holder's.
        if is_at(&self.file, &self.path).unwrap_or_default() {
            _ = std::fs::remove_file(&self.path);
        }
    }
}

fn trouble(path: &Path, source: std::io::Error) -> Error {
    Error::File { verb: "lock", path: path.to_owned(), source }
}

fn open(path: &Path) -> Result<File, Error> {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
    options.open(path).map_err(|source| trouble(path, source))
}

/// Whether the open file is the one that stands at `path`.
fn is_at(file: &File, path: &Path) -> std::io::Result<bool> {
    let (mine, there) = (file.metadata()?, std::fs::metadata(path));
    Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (mine.dev(), mine.ino())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p15_a_second_holder_is_refused_and_the_next_one_starts_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("r.csv.journal");
        let first = RunLock::acquire(&journal).unwrap();
        assert!(matches!(RunLock::acquire(&journal), Err(Error::Locked(_))));
        drop(first);
        assert!(!beside(&journal, ".lock").exists(), "nothing is left behind");
        drop(RunLock::acquire(&journal).unwrap());
    }

    #[test]
    fn p15_a_file_left_over_means_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("r.csv.journal");
        std::fs::write(beside(&journal, ".lock"), "12345").unwrap();
        RunLock::acquire(&journal).unwrap();
    }

    #[test]
    fn p15_a_lock_on_a_removed_file_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("r.csv.journal");
        // As if the holder had removed the file after our opening and before our locking.
        let first = RunLock::acquire(&journal).unwrap();
        std::fs::remove_file(beside(&journal, ".lock")).unwrap();
        let second = RunLock::acquire(&journal).unwrap();
        drop(first);
        assert!(matches!(RunLock::acquire(&journal), Err(Error::Locked(_))), "the second one's file stays");
        drop(second);
    }

    #[test]
    fn p15_a_file_that_its_holder_removed_after_our_opening_is_not_the_one_to_hold() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("r.csv.journal");
        let path = beside(&journal, ".lock");
        let first = RunLock::acquire(&journal).unwrap();
        let opened = open(&path).unwrap();
        drop(first);
        let third = RunLock::acquire(&journal).unwrap();
        assert!(RunLock::hold(opened, &path).unwrap().is_none(), "two would hold it");
        drop(third);
    }

    #[test]
    fn p15_many_threads_never_hold_it_together() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("r.csv.journal");
        let holders = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        if let Ok(lock) = RunLock::acquire(&journal) {
                            assert_eq!(holders.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                            holders.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                            drop(lock);
                        }
                    }
                });
            }
        });
    }
}
