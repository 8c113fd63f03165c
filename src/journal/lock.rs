//! One holder at a time (P15).

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::Error;

use super::schema::beside;
use crate::files;

/// The right to drive a journal, held for life. The kernel takes it back from a dead holder.
#[derive(Debug)]
pub struct RunLock {
    path: PathBuf,
    file: File,
}

impl RunLock {
    /// Whether somebody holds the lock of this journal. Leaves nothing behind.
    ///
    /// Asks by a shared lock, given back at once: whoever else asks at the same moment is no holder.
    ///
    /// To be asked before this process opens the journal: see [`hold_file`].
    pub fn is_held(journal: &Path) -> bool {
        let journal = &files::real(journal);
        let is_locked = |file: File| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        let by_itself = || may_be_held(journal) && File::open(journal).is_ok_and(is_locked);
        File::open(beside(journal, ".lock")).is_ok_and(is_locked) || by_itself()
    }

    /// Locks `FILE.journal.lock`, which is made where it is missing, and removed at release. That one was left over means
    /// nothing for the lock. Waits for a moment where somebody has it; see [`lock`].
    ///
    /// # Errors
    /// [`Error::Locked`] where another process (or another lock of this one) holds it, [`Error::File`] where the file
    /// can't be made.
    pub fn acquire(journal: &Path) -> Result<Self, Error> {
        let journal = &files::real(journal);
        let path = beside(journal, ".lock");
        // By whatever name its holder reached it: a hard link, or one whose lock file somebody removed.
        drop(hold_file(journal)?);
        loop {
            if let Some(lock) = Self::hold(open(&path)?, &path)? {
                return Ok(lock);
            }
        }
    }

    /// Locks what was opened. `None`: whoever held it has removed the file between our opening and our locking, so that
    /// this lock guards nothing, because the next process makes a new file.
    fn hold(file: File, path: &Path) -> Result<Option<Self>, Error> {
        match lock(&file) {
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
        // One that says something of the journal's log stays: the next process has to know.
        let is_blank = self.file.metadata().is_ok_and(|data| data.len() == 0);
        if is_blank && is_at(&self.file, &self.path).unwrap_or_default() {
            _ = std::fs::remove_file(&self.path);
        }
        give_back(&self.file);
    }
}

/// A journal's own file, locked; see [`hold_file`].
#[derive(Debug)]
pub(super) struct Hold(File);

impl Drop for Hold {
    fn drop(&mut self) {
        give_back(&self.0);
    }
}

/// Closing alone may not be enough: a process that this one is just starting has the file open, too, until it runs a
/// program of its own.
fn give_back(file: &File) {
    _ = file.unlock();
}

/// Locks a journal by the file itself, so that no second process drives it by another name. `None` where there is no such
/// file, or it can't be locked.
///
/// On Linux alone, and on a disk of its own: elsewhere this lock and those of `SQLite` are of one kind, and would stand in
/// each other's way. Closing *any* handle on a file drops the locks that `SQLite` has on it in this process: so this is
/// called before it opens the file, or given back after it has closed it.
///
/// # Errors
/// [`Error::Locked`] where another process drives it.
pub(super) fn hold_file(journal: &Path) -> Result<Option<Hold>, Error> {
    if !may_be_held(journal) {
        return Ok(None);
    }
    let Ok(file) = File::open(journal) else { return Ok(None) };
    match lock(&file) {
        Ok(()) => Ok(Some(Hold(file))),
        Err(TryLockError::WouldBlock) => Err(Error::Locked(beside(journal, ".lock"))),
        Err(TryLockError::Error(_)) => Ok(None),
    }
}

/// Whether a journal there can be locked by the file itself: see [`hold_file`].
fn may_be_held(journal: &Path) -> bool {
    cfg!(target_os = "linux") && !files::is_network(journal)
}

/// Locks a file for one holder. Whoever has it now may be about to give it back: those who ask in that moment whether it
/// is held ([`RunLock::is_held`]) have a shared lock for an instant, and who tries to hold it, and fails for another
/// reason, an exclusive one. The first are never taken for holders, unless one is stopped in the middle of asking; the
/// others are waited for as long as such a try takes.
fn lock(file: &File) -> Result<(), TryLockError> {
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {}
            result => return result,
        }
        let patience = match file.try_lock_shared() {
            Ok(()) => file.unlock().map(|()| ASKING).map_err(TryLockError::Error)?,
            Err(TryLockError::WouldBlock) => TRYING,
            Err(error) => return Err(error),
        };
        if began.elapsed() >= patience {
            return Err(TryLockError::WouldBlock);
        }
        // Not in step with whoever else waits.
        std::thread::sleep(Duration::from_micros(fastrand::u64(100..2_000)));
    }
}

/// Asking whether a file is locked takes microseconds.
const ASKING: Duration = Duration::from_secs(1);
/// Trying to hold a journal, and giving it back, takes milliseconds.
const TRYING: Duration = Duration::from_millis(200);

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
    fn p15_a_lock_is_given_back_though_a_starting_child_still_has_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let journal = folder.path().join("a.journal");
        std::fs::write(&journal, "").unwrap();
        let lock = RunLock::acquire(&journal).unwrap();
        let of_child = lock.file.try_clone().unwrap();
        drop(lock);
        assert!(of_child.try_lock().is_ok(), "a duplicate shares its lock");
        of_child.unlock().unwrap();
        let hold = hold_file(&journal).unwrap().unwrap();
        let of_child = hold.0.try_clone().unwrap();
        drop(hold);
        assert!(hold_file(&journal).unwrap().is_some());
        drop(of_child);
    }

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
    fn p15_two_never_drive_one_journal_by_whatever_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let journal = path("r.csv.journal");
        crate::journal::sample::build(&journal, 1);
        let lock = RunLock::acquire(&journal).unwrap();
        let store = crate::journal::Store::open(&journal).unwrap();
        std::os::unix::fs::symlink(&journal, path("soft")).unwrap();
        assert!(matches!(RunLock::acquire(&path("soft")), Err(Error::Locked(_))));
        if cfg!(target_os = "linux") {
            std::fs::hard_link(&journal, path("hard")).unwrap();
            assert!(matches!(RunLock::acquire(&path("hard")), Err(Error::Locked(_))));
            assert!(RunLock::is_held(&path("hard")));
            std::fs::remove_file(beside(&journal, ".lock")).unwrap();
            assert!(matches!(RunLock::acquire(&journal), Err(Error::Locked(_))), "its lock file was removed");
            assert!(matches!(crate::journal::Store::open(&journal), Err(Error::Locked(_))));
        }
        store.close().unwrap();
        drop(lock);
        drop(RunLock::acquire(&journal).unwrap());
    }

    #[test]
    fn p15_who_asks_whether_a_journal_is_held_is_no_holder() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("r.csv.journal");
        crate::journal::sample::build(&journal, 1);
        std::fs::write(beside(&journal, ".lock"), "").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..500).for_each(|_| assert!(!RunLock::is_held(&journal), "they only ask")));
            }
        });
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..500).for_each(|_| _ = RunLock::is_held(&journal)));
            }
            let file = File::open(&journal).unwrap();
            for _ in 0..100 {
                lock(&file).expect("they only ask");
                file.unlock().unwrap();
            }
        });
    }

    /// Lets all of `what` begin at one moment, each a little later by chance, and gives what they came to.
    fn together<T: Send>(seed: u64, what: &[&(dyn Fn() -> T + Sync)]) -> Vec<T> {
        let mut random = fastrand::Rng::with_seed(seed);
        let start = std::sync::Barrier::new(what.len());
        std::thread::scope(|scope| {
            let begun = what.iter().map(|what| {
                let (start, wait) = (&start, Duration::from_micros(random.u64(..200)));
                scope.spawn(move || {
                    start.wait();
                    std::thread::sleep(wait);
                    what()
                })
            });
            let begun: Vec<_> = begun.collect();
            begun.into_iter().map(|one| one.join().unwrap()).collect()
        })
    }

    #[test]
    fn p15_of_two_that_lock_while_two_ask_one_holds_it() {
        for seed in 0..8 {
            let directory = tempfile::tempdir().unwrap();
            let journal = directory.path().join("r.csv.journal");
            crate::journal::sample::build(&journal, 1);
            let lock = || RunLock::acquire(&journal).ok();
            let ask = || {
                (0..50).for_each(|_| _ = RunLock::is_held(&journal));
                None
            };
            let held = together(seed, &[&lock, &ask, &lock, &ask]);
            assert_eq!(held.iter().flatten().count(), 1, "seed {seed}");
            assert!(RunLock::is_held(&journal), "seed {seed}");
        }
    }

    #[test]
    fn p15_who_tries_and_gives_up_costs_nobody_the_lock() {
        for seed in 0..100 {
            let directory = tempfile::tempdir().unwrap();
            let journal = directory.path().join("r.csv.journal");
            crate::journal::sample::build(&journal, 1);
            // As if the input had changed, or the questions had been answered with no.
            let give_up = || RunLock::acquire(&journal).is_ok_and(|lock| (lock.path.exists(), drop(lock)).0);
            let lock = || RunLock::acquire(&journal).is_ok();
            let ask = || {
                (0..20).for_each(|_| _ = RunLock::is_held(&journal));
                true
            };
            assert_eq!(together(seed, &[&give_up, &lock, &ask, &give_up]), [true; 4], "seed {seed}");
        }
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
