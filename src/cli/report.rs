//! `report`: the page of a run, while it goes on or after.

use super::args::{ReportArgs, beside_journal};
use super::outputs::Outputs;
use super::status::what_next;
use super::task::started_with;
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
    let mut outputs = Outputs::default();
    outputs.keep_run(&args.journal);
    let (input, options) = started_with(view.identity());
    outputs.keep_started(&input, &options);
    outputs.write("--output", Some(&path));
    outputs.check()?;
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
