//! Moves an older run's files out of the way, never over others.

use std::path::{Path, PathBuf};

use crate::error::Error;

use super::fs;
use super::schema::beside;
use super::store::stand_alone;

/// Where an older run's files are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedAside {
    /// `None` where there were none.
    pub results: Option<PathBuf>,
    pub journal: PathBuf,
}

/// Renames `leavers.results.csv` to `leavers.results.ID.csv`, and its journal to `leavers.results.ID.csv.journal`; where
/// one of these names is taken, the id gets a number (`ID.2`). To be called under the [`super::RunLock`].
///
/// The results go first: after a crash between the two the journal still stands in its place and is found again, and
/// the next call takes it to the results that went ahead.
///
/// # Errors
/// [`Error::Foreign`] where the journal is none, [`Error::Stopped`] where somebody reads it, [`Error::Disk`].
pub fn move_aside(journal: &Path, results: &Path, run_id: &str) -> Result<MovedAside, Error> {
    stand_alone(journal)?;
    let trouble = |source: std::io::Error| Error::Disk {
        verb: "move aside the older run of",
        path: results.to_owned(),
        source: source.into(),
    };
    // It came from a file: it must not name another directory.
    let id: String = run_id.chars().filter(char::is_ascii_alphanumeric).collect();
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let has_results = is_there(results);
    let names = (1_u64..).map(|n| if n == 1 { id.clone() } else { format!("{id}.{n}") });
    let free = names.map(|word| fs::with_word(results, &word)).find(|new| {
        // Without results in the old place those in the new one are the ones that went ahead.
        !(is_there(&beside(new, ".journal")) || has_results && is_there(new))
    });
    let Some(new) = free else { return Err(Error::Internal("no free name".to_owned())) };
    let new_journal = beside(&new, ".journal");
    if has_results {
        fs::rename_new(results, &new).map_err(trouble)?;
        fs::sync_dir_of(&new).map_err(trouble)?;
    }
    fs::rename_new(journal, &new_journal).map_err(trouble)?;
    fs::sync_dir_of(&new_journal).map_err(trouble)?;
    if fs::parent(journal) != fs::parent(&new_journal) {
        fs::sync_dir_of(journal).map_err(trouble)?;
    }
    let moved = is_there(&new).then_some(new);
    Ok(MovedAside { results: moved, journal: new_journal })
}
