//! What can be told of a journal whatever version made it, and though it may be damaged.

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

use crate::error::Error;

use super::open::{Access, connect, open_to_read};
use super::schema::{self, Fault};
use super::view::VERB;
use super::whole;
use crate::files;

/// A part of the identity that has had the same form in every format so far; a text is empty where it can't be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Label {
    /// Whether this version of the program knows the journal's format.
    pub known: bool,
    pub run_id: String,
    pub plan_hash: String,
}

impl Label {
    /// # Errors
    /// [`Error::NotOurJournal`] where it is no journal at all, [`Error::File`] where the disk says no.
    pub(crate) fn read(journal: &Path) -> Result<Self, Error> {
        let known = schema::format_of(journal)? == schema::VERSION;
        // One that has lost its log stays as it is: whoever opens it as usual makes an empty one.
        let read = || match whole::Look::at(&files::real(journal)) {
            Ok(_) => open_to_read(journal, identity).map(|(_, identity)| identity),
            Err(_) => identity(&connect(journal, Access::Immutable)?),
        };
        let identity = match read() {
            Ok(identity) => identity,
            Err(fault) => match fault.before(VERB, journal) {
                Error::NotOurJournal { .. } => Value::Null,
                error => return Err(error),
            },
        };
        let text = |key: &str| identity.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Self { known, run_id: text("run_id"), plan_hash: text("plan_hash") })
    }
}

fn identity(connection: &Connection) -> Result<Value, Fault> {
    let text = schema::meta(connection, "identity")?.unwrap_or_default();
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use crate::journal::View;
    use crate::journal::sample::{build, names, set_format};

    use super::*;

    #[test]
    fn a_label_is_read_of_any_format_and_never_of_another_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("l.csv.journal");
        build(&path, 1);
        let view = View::open(&path).unwrap();
        let (run_id, plan_hash) = (view.identity().run_id.clone(), view.identity().plan_hash.clone());
        drop(view);
        for format in [schema::VERSION, 1, 9] {
            set_format(&path, format);
            let known = format == schema::VERSION;
            let label = Label { known, run_id: run_id.clone(), plan_hash: plan_hash.clone() };
            assert_eq!(Label::read(&path).unwrap(), label, "format {format}");
        }
        std::fs::write(&path, "line,desktop_id\n".repeat(100)).unwrap();
        assert!(matches!(Label::read(&path), Err(Error::NotOurJournal { .. })));
        assert_eq!(names(directory.path()), ["l.csv.journal"]);
    }
}
