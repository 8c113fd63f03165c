//! A list that is much shorter than the last one: perhaps an export that broke off, perhaps a filter that was left on.

use std::collections::BTreeMap;
use std::path::Path;

use super::target::SIMULATOR;
use crate::error::Error;
use crate::input::Input;
use crate::journal::View;
use crate::text::counted;

/// Lists of fewer rows come and go.
const WORTH: u64 = 10;

/// What tells which earlier list this one can be compared with.
pub(super) struct List<'a> {
    /// As the command line names it.
    pub(super) path: &'a str,
    /// Whether it is for the simulator.
    pub(super) simulated: bool,
    /// The settings of this plan; a choice of rows (`--only`) makes lists that can't be compared.
    pub(super) shaping: &'a BTreeMap<String, String>,
}

/// Adds a note to the input where it has at most half the rows that the journal at its place was planned from. How many
/// that one had more; 0 where it is no such list. A guard this is not: people do leave in waves.
pub(super) fn note(input: &mut Input, list: &List<'_>, journal: &Path) -> u64 {
    if !journal.exists() || list.shaping.contains_key(ONLY) {
        return 0;
    }
    let rows = u64::try_from(input.table.len()).unwrap_or(u64::MAX);
    match told(journal, list, rows) {
        Ok(Some((before, note))) => {
            input.notes.push(note);
            before - rows
        }
        Ok(None) => 0,
        Err(error) => {
            // What stands there is no obstacle to a plan, and a run judges it by itself.
            tracing::debug!(%error, "the last list is not known");
            0
        }
    }
}

const ONLY: &str = "only";

/// The rows of the last list, and what to say of that.
fn told(journal: &Path, list: &List<'_>, rows: u64) -> Result<Option<(u64, String)>, Error> {
    let view = View::open(journal)?;
    let identity = view.identity();
    // The results may be named for several lists, and a rehearsal may have had a part of one.
    let is_other = identity.input_path != list.path || (identity.endpoint == SIMULATOR) != list.simulated;
    if is_other || identity.undo_of.is_some() || identity.plan_settings.contains_key(ONLY) {
        return Ok(None);
    }
    let before = view.input_rows()?;
    Ok(before.filter(|before| is_half(rows, *before)).map(|before| {
        let note = format!(
            "this list has {}, and the last one (run {}, {}) had {}: check that it is complete",
            counted(rows, "row", "rows"),
            identity.run_id,
            identity.created_at.get(..10).unwrap_or(&identity.created_at),
            counted(before, "row", "rows"),
        );
        (before, note)
    }))
}

const fn is_half(rows: u64, last: u64) -> bool {
    last >= WORTH && rows <= last / 2
}
