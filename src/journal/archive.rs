//! Moves an older run's files out of the way, never over others.

use std::path::{Path, PathBuf};

use crate::error::Error;

use super::schema::{self, beside};
use super::whole;
use super::writer::stand_alone;
use crate::files;

/// Where an older run's files are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MovedAside {
    /// `None` where there were none.
    pub results: Option<PathBuf>,
    pub journal: PathBuf,
}

/// Stands for the id of a run whose journal does not tell it.
const NAMELESS: &str = "older";
/// Of an id from a file; ours have 8.
const ID_CHARS: usize = 32;

/// Renames `leavers.results.csv` to `leavers.results.ID.csv`, and its journal to `leavers.results.ID.csv.journal`; where
/// one of these names is taken, the id gets a number (`ID.2`). The journal may be of another version, or damaged: then
/// what stands beside it goes along. To be called under the [`super::RunLock`].
///
/// * `run_id`: as the journal tells it; may be empty.
///
/// The results go first: after a crash between the two the journal still stands in its place and is found again, and
/// the next call takes it to the results that went ahead.
///
/// # Errors
/// [`Error::NotOurJournal`] where the journal is none, [`Error::File`] where somebody reads it or the disk says no.
pub(crate) fn move_aside(journal: &Path, results: &Path, run_id: &str) -> Result<MovedAside, Error> {
    schema::format_of(journal)?;
    let parts: &[&str] = match stand_alone(journal) {
        Ok(()) => &[],
        // It could not be made one file, and somebody may still want to mend it.
        Err(Error::NotOurJournal { .. }) => &["-wal", "-shm", "-journal"],
        Err(error) => return Err(error),
    };
    let verb = "move aside the older run of";
    let trouble = |source| Error::File { verb, path: results.to_owned(), source };
    // It came from a file: it must not name another directory.
    let id: String = run_id.chars().filter(char::is_ascii_alphanumeric).take(ID_CHARS).collect();
    let id = if id.is_empty() { NAMELESS.to_owned() } else { id };
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let has_results = is_there(results);
    let names = (1_u64..).map(|n| if n == 1 { id.clone() } else { format!("{id}.{n}") });
    let free = names.map(|word| files::with_word(results, &word)).find(|new| {
        // Without results in the old place those in the new one are the ones that went ahead.
        let new_journal = beside(new, ".journal");
        let clash = |part: &&str| is_there(&beside(journal, part)) && is_there(&beside(&new_journal, part));
        !(is_there(&new_journal) || has_results && is_there(new) || parts.iter().any(clash))
    });
    let Some(new) = free else { return Err(Error::Internal("no free name".to_owned())) };
    let new_journal = beside(&new, ".journal");
    for part in parts {
        let (from, to) = (beside(journal, part), beside(&new_journal, part));
        if is_there(&from) {
            files::rename_new(&from, &to).map_err(trouble)?;
        }
    }
    if has_results {
        files::rename_new(results, &new).map_err(trouble)?;
        files::sync_dir_of(&new).map_err(trouble)?;
    }
    files::rename_new(journal, &new_journal).map_err(trouble)?;
    files::sync_dir_of(&new_journal).map_err(trouble)?;
    if files::parent(journal) != files::parent(&new_journal) {
        files::sync_dir_of(journal).map_err(trouble)?;
    }
    // The lock file speaks of a journal that is elsewhere now.
    whole::unmark(journal).map_err(trouble)?;
    let moved = is_there(&new).then_some(new);
    Ok(MovedAside { results: moved, journal: new_journal })
}

/// Moves what is left of a journal that is not there itself out of the way: see [`whole::remains`]. To be called under the
/// [`super::RunLock`].
///
/// * `results`: where the results of that run are, or would be, from now on.
///
/// # Errors
/// As [`move_aside`].
pub(crate) fn move_remains_aside(journal: &Path, results: &Path) -> Result<(), Error> {
    let trouble = |source| Error::File { verb: "move aside what is left of", path: journal.to_owned(), source };
    for part in ["-wal", "-shm"] {
        let (from, to) = (beside(journal, part), beside(&beside(results, ".journal"), part));
        if from.symlink_metadata().is_ok() {
            files::rename_new(&from, &to).map_err(trouble)?;
        }
    }
    whole::unmark(journal).map_err(trouble)
}

#[cfg(test)]
mod tests {
    use crate::journal::Journal as _;
    use crate::journal::Label;
    use crate::journal::View;
    use crate::journal::sample::{build, names, set_format};

    use super::*;

    #[test]
    fn an_older_run_is_moved_aside_whole_and_over_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let (results, journal) =
            (directory.path().join("l.results.csv"), directory.path().join("l.results.csv.journal"));
        for n in ["first", "second"] {
            build(&journal, 1);
            std::fs::write(&results, n).unwrap();
            let moved = move_aside(&journal, &results, "0badcafe").unwrap();
            assert_eq!(std::fs::read(moved.results.unwrap()).unwrap(), n.as_bytes());
            assert_eq!(View::open(&moved.journal).unwrap().progress().unwrap().rows, 7);
        }
        let (a, b) = ("l.results.0badcafe.2.csv", "l.results.0badcafe.csv");
        assert_eq!(names(directory.path()), [a, &format!("{a}.journal"), b, &format!("{b}.journal")]);
    }

    #[test]
    fn a_crash_between_the_two_renames_is_finished_the_next_time() {
        let directory = tempfile::tempdir().unwrap();
        let (results, journal) = (directory.path().join("l.csv"), directory.path().join("l.csv.journal"));
        build(&journal, 1);
        std::fs::write(directory.path().join("l.0badcafe.csv"), "went ahead").unwrap();
        let moved = move_aside(&journal, &results, "0badcafe").unwrap();
        assert_eq!(moved.results.as_deref(), Some(&*directory.path().join("l.0badcafe.csv")));
        assert_eq!(names(directory.path()), ["l.0badcafe.csv", "l.0badcafe.csv.journal"]);
    }

    #[test]
    fn a_log_beside_the_journal_goes_into_it_first() {
        let directory = tempfile::tempdir().unwrap();
        let (path, killed) = (directory.path().join("a.csv.journal"), directory.path().join("b.csv.journal"));
        build(&path, 1);
        let store = crate::journal::Store::open(&path).unwrap();
        let record = crate::journal::Record::Canary { passed: true };
        futures::executor::block_on(store.handle().commit(vec![record])).unwrap();
        for ending in ["", "-wal"] {
            std::fs::copy(beside(&path, ending), beside(&killed, ending)).unwrap();
        }
        let moved = move_aside(&killed, &directory.path().join("b.csv"), "0badcafe").unwrap();
        assert_eq!(moved.results, None);
        assert!(!beside(&killed, "-wal").exists());
        assert_eq!(View::open(&moved.journal).unwrap().progress().unwrap().canary, Some(true));
    }

    #[test]
    fn a_run_of_an_older_or_newer_format_is_moved_aside_as_any() {
        for format in [1, 9] {
            let directory = tempfile::tempdir().unwrap();
            let (results, journal) = (directory.path().join("l.csv"), directory.path().join("l.csv.journal"));
            build(&journal, 1);
            set_format(&journal, format);
            let bytes = std::fs::read(&journal).unwrap();
            std::fs::write(&results, "results").unwrap();
            let id = Label::read(&journal).unwrap().run_id;
            let moved = move_aside(&journal, &results, &id).unwrap();
            assert_eq!(names(directory.path()), ["l.0badcafe.csv", "l.0badcafe.csv.journal"]);
            assert_eq!(std::fs::read(moved.journal).unwrap(), bytes, "format {format}");
        }
    }

    #[test]
    fn a_damaged_run_is_moved_aside_with_all_its_parts_and_without_its_id() {
        let directory = tempfile::tempdir().unwrap();
        let (results, journal) = (directory.path().join("l.csv"), directory.path().join("l.csv.journal"));
        for n in 0..2 {
            build(&journal, 1);
            let mut bytes = std::fs::read(&journal).unwrap();
            bytes[100..].fill(0x5a);
            std::fs::write(&journal, &bytes).unwrap();
            std::fs::write(beside(&journal, "-wal"), "a log").unwrap();
            let id = Label::read(&journal).unwrap().run_id;
            assert_eq!(id, "");
            let moved = move_aside(&journal, &results, &id).unwrap();
            assert_eq!(std::fs::read(&moved.journal).unwrap(), bytes, "{n}");
            assert_eq!(std::fs::read(beside(&moved.journal, "-wal")).unwrap(), b"a log", "{n}");
        }
        let second = ["l.older.2.csv.journal", "l.older.2.csv.journal-wal"];
        let all: Vec<_> = names(directory.path()).into_iter().filter(|name| !name.ends_with("-shm")).collect();
        assert_eq!(all, [second[0], second[1], "l.older.csv.journal", "l.older.csv.journal-wal"]);
    }

    #[test]
    fn what_is_no_journal_is_not_moved() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("l.csv.journal");
        std::fs::write(&journal, "somebody else's").unwrap();
        assert!(matches!(move_aside(&journal, &directory.path().join("l.csv"), ""), Err(Error::NotOurJournal { .. })));
        assert_eq!(names(directory.path()), ["l.csv.journal"]);
    }

    #[test]
    fn a_run_id_never_names_another_directory() {
        let directory = tempfile::tempdir().unwrap();
        let journal = directory.path().join("l.csv.journal");
        build(&journal, 1);
        move_aside(&journal, &directory.path().join("l.csv"), "../../x").unwrap();
        assert_eq!(names(directory.path()), ["l.x.csv.journal"]);
    }
}
