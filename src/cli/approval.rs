//! `--approved`: what somebody has agreed to is what is done, and it is done once.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::Error;
use crate::journal::Label;
use crate::plan::{Draft, HashFacts};
use crate::text::escape_untrusted;

/// The plan made now must be the approved one, and it must not have been done before.
///
/// * `hash`: of `plan`.
/// * `journal`: where this run's own will stand; those beside it are asked whether it was done.
///
/// # Errors
/// [`Error::Refused`] with the differing rows, or with the run that did it.
pub(super) fn check(
    approved: &str,
    plan: &dyn Draft,
    hash: &str,
    covered: HashFacts<'_>,
    journal: &Path,
) -> Result<(), Error> {
    if is_hash(approved) {
        if !approved.eq_ignore_ascii_case(hash) {
            return Err(Error::Refused(format!(
                "the plan made now is another one ({hash}) than the approved one ({approved}); nothing was sent. The list, \
                 the settings or the bindings have changed, or another version of this program made the approved plan. A \
                 bare hash can't tell which: give the file that `plan --format json` wrote"
            )));
        }
    } else {
        let value = read(approved)?;
        // The hash in the file proves nothing about its rows: whoever approved it read those.
        let mut differences = plan.compare(&value, covered);
        let is_other = value.get("hash").and_then(Value::as_str) != Some(hash);
        if is_other && differences.is_empty() {
            differences.push("the requests would be divided otherwise, though every row has the same fate".to_owned());
        }
        if !differences.is_empty() {
            let what = if is_other {
                "the plan made now is not the approved one"
            } else {
                "the approved file was changed: its rows are not those of its hash, which is that of the plan made now"
            };
            return Err(Error::Refused(format!("{what}; nothing was sent:\n  - {}", differences.join("\n  - "))));
        }
    }
    match done_by(hash, journal) {
        Some(run_id) => Err(Error::Refused(format!(
            "the approved plan was done already, by run {run_id}; an approval holds once. Plan again and have that approved"
        ))),
        None => Ok(()),
    }
}

/// For a run that goes on: the approved plan must be the one that its journal holds.
///
/// # Errors
/// [`Error::Refused`] where it is another.
pub(super) fn check_again(approved: &str, planned: &str) -> Result<(), Error> {
    let hash = if is_hash(approved) {
        approved.to_ascii_lowercase()
    } else {
        read(approved)?.get("hash").and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    if hash == planned {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "the run that stands unfinished here has another plan ({planned}) than the approved one ({}); nothing was sent. \
         Go on with it without --approved, or start over with --fresh",
        escape_untrusted(&hash, 64)
    )))
}

fn is_hash(approved: &str) -> bool {
    approved.len() == 64 && approved.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The approved plan in a file: UTF-8, or what PowerShell makes of it (a byte order mark, UTF-16).
fn read(approved: &str) -> Result<Value, Error> {
    let path = PathBuf::from(approved);
    let bytes = std::fs::read(&path).map_err(|source| Error::File { verb: "read the approved plan", path, source })?;
    let (text, ..) = encoding_rs::UTF_8.decode(&bytes);
    serde_json::from_str(&text).map_err(|error| Error::Input {
        path: escape_untrusted(approved, 1_000),
        problem: format!("this is no plan as `plan --format json` writes it: {error}"),
    })
}

/// The run that has this plan, among the journals beside the results, moved aside or not.
fn done_by(hash: &str, journal: &Path) -> Option<String> {
    let directory = journal.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let journals = std::fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    journals
        .filter(|path| path.extension().is_some_and(|ending| ending == "journal"))
        .filter_map(|path| Label::read(&path).ok())
        .find(|label| label.plan_hash == hash)
        .map(|label| label.run_id)
}
