//! `report`: the page of a run, while it goes on or after.

use std::path::{Path, PathBuf};

use super::args::{ReportArgs, beside_journal};
use super::status::what_next;
use super::{Closing, say};
use crate::error::Error;
use crate::files;
use crate::journal::{RunLock, View};
use crate::report::page::{About, write};
use crate::text::counted;
use crate::text::timestamp_now;

/// `report JOURNAL`.
pub(super) fn command(args: &ReportArgs) -> Result<Closing, Error> {
    // Before the journal is opened: asking closes a handle on it, which would drop SQLite's locks.
    let running = RunLock::is_held(&args.journal);
    let view = View::open(&args.journal)?;
    let path = args.output.clone().unwrap_or_else(|| beside_journal(&args.journal, "report.html"));
    keep_clear(&path, &args.journal)?;
    let made_at = timestamp_now();
    let about = About {
        journal: &args.journal,
        running,
        redact: args.redact,
        made_at: &made_at,
        next: &|identity, progress, counts| what_next(&args.journal, identity, progress, counts, running),
    };
    let trouble = |source: std::io::Error| Error::Disk { verb: "write", path: path.clone(), source: source.into() };
    let counts = files::write_atomically(&path, |out| write(&view, &about, out, &trouble))?;
    say(&format!("{}: {}\n", path.display(), counted(counts.total(), "row", "rows")))?;
    Ok(Closing::silent())
}

/// The page must not replace what it is made from, nor the results.
fn keep_clear(page: &Path, journal: &Path) -> Result<(), Error> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let with = |ending: &str| {
        let mut name = journal.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let results = journal.with_extension("");
    let taken = [journal.to_owned(), results, with("-wal"), with("-shm"), with("-journal"), with(".lock")];
    if taken.iter().any(|file| real(file) == real(page)) {
        let problem = format!("{} belongs to the run itself; name another file with --output", page.display());
        return Err(Error::Usage { problem });
    }
    Ok(())
}
