//! A list that is much shorter than the last one: perhaps an export that broke off, perhaps a filter that was left on.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::Error;
use crate::input::Input;
use crate::journal::View;
use crate::outcome::text::counted;

/// Lists of fewer rows come and go.
const WORTH: u64 = 10;

/// Adds a note to the input where it has at most half the rows that the journal at its place was planned from, and
/// returns it. A guard this is not: people do leave in waves.
///
/// * `shaping`: the settings of this plan; a choice of rows (`--only`) makes lists that can't be compared.
pub(super) fn note<'i>(input: &'i mut Input, shaping: &BTreeMap<String, String>, journal: &Path) -> Option<&'i str> {
    if !journal.exists() || shaping.contains_key(ONLY) {
        return None;
    }
    let rows = u64::try_from(input.table.len()).unwrap_or(u64::MAX);
    let note = match told(journal, rows) {
        Ok(note) => note?,
        Err(error) => {
            // What stands there is no obstacle to a plan, and a run judges it by itself.
            tracing::debug!(%error, "the last list is not known");
            return None;
        }
    };
    input.notes.push(note);
    input.notes.last().map(String::as_str)
}

const ONLY: &str = "only";

fn told(journal: &Path, rows: u64) -> Result<Option<String>, Error> {
    let view = View::open(journal)?;
    let identity = view.identity();
    if identity.undo_of.is_some() || identity.plan_settings.contains_key(ONLY) {
        return Ok(None);
    }
    let last = view.input_rows()?;
    Ok(last.filter(|last| is_half(rows, *last)).map(|last| {
        format!(
            "this list has {}, and the last one (run {}, {}) had {}: see that it is whole",
            counted(rows, "row", "rows"),
            identity.run_id,
            identity.created_at.get(..10).unwrap_or(&identity.created_at),
            counted(last, "row", "rows"),
        )
    }))
}

const fn is_half(rows: u64, last: u64) -> bool {
    last >= WORTH && rows <= last / 2
}
