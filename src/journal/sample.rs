//! A small plan for the tests of this module.

use std::path::Path;

use crate::model::{DesktopId, Kind, Outcome, PartLabel, Refusal};

use crate::testing::build;

use super::record::{
    AnswerKind, AnswerRecord, Attempt, AttemptId, Entry, Fate, Identity, Item, ItemId, Record, ResultRow, RowOutcome,
    Settlement, Slot, SlotNo,
};
use super::{Builder, MemoryJournal};

pub(super) const AT: &str = "2026-11-24T04:14:00Z";

/// What a directory holds, sorted.
pub(super) fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// With one other column, `ticket`.
pub(crate) fn identity() -> Identity {
    Identity { extra_columns: vec!["ticket".to_owned()], ..build::identity() }
}

/// `chunks` chunks of two items of two slots each; the first slot of each item is named by two rows. Every chunk is
/// followed by an invalid row.
pub(super) fn plan(chunks: u32) -> (Vec<Entry>, Vec<Item>) {
    let (mut entries, mut items) = (Vec::new(), Vec::new());
    let mut add = |cells: [&str; 3], fate| {
        let [desktop, user, extra] = cells;
        entries.push(Entry {
            line: entries.len() as u64 + 2,
            cells: [desktop, "", user, "", "", "USER", ""].map(ToOwned::to_owned),
            extras: vec![extra.to_owned()],
            fate,
        });
    };
    for chunk in 1..=chunks {
        for id in [chunk * 2 - 1, chunk * 2] {
            let desktop = format!("d-{id}");
            let slot = |name: &str, rows, seen| Slot {
                kind: Kind::User,
                user_name: name.to_owned(),
                user_id: Some("u".to_owned()),
                user_group: None,
                sent_group: None,
                domain: None,
                rows,
                seen,
                has_namesake: seen,
            };
            items.push(Item {
                id,
                chunk,
                desktop: DesktopId::parse(&desktop).unwrap(),
                desktop_name: format!("name-{id}"),
                pooled: false,
                all: false,
                slots: vec![slot("lì, na", 2, true), slot("bob", 1, false)],
                seen: true,
                shared: true,
            });
            add([&desktop, "lì, na", "T-1"], Fate::Send { item: id, slot: 0 });
            add([&desktop, "bob", "T-2"], Fate::Send { item: id, slot: 1 });
            add([&desktop, "LÌ, NA", "T-3"], Fate::Send { item: id, slot: 0 });
        }
        let (code, message) = ("INVALID_USER_MISSING".into(), "no user".into());
        add(["d-x", "", ""], Fate::Fixed { outcome: Outcome::Invalid, code, message });
    }
    (entries, items)
}

/// Builds [`plan`] at `path`, and the same in memory.
pub(super) fn build(path: &Path, chunks: u32) -> MemoryJournal {
    let (entries, items) = plan(chunks);
    let mut builder = Builder::create(path, &identity()).unwrap();
    for entry in &entries {
        builder.owned_entry(entry).unwrap();
    }
    for item in &items {
        builder.item(item.clone()).unwrap();
    }
    builder.finish().unwrap();
    MemoryJournal::new(identity(), entries, items)
}

pub(super) fn intent(id: AttemptId, chunk: u32, carries: &[(ItemId, &[SlotNo])]) -> Record {
    Record::Intent(Attempt {
        id,
        part: PartLabel { chunk, part: 0 },
        carries: carries.iter().map(|(item, slots)| (*item, slots.to_vec())).collect(),
        body_sha256: "ab".repeat(32),
        body_bytes: 123,
        at: AT.to_owned(),
    })
}

pub(super) fn answer(attempt: AttemptId, kind: AnswerKind) -> AnswerRecord {
    AnswerRecord {
        attempt,
        kind,
        status: Some(200),
        code: String::new(),
        message: String::new(),
        request_id: format!("req-{attempt}"),
        job_id: format!("job-{attempt}"),
        refused: vec![],
        at: AT.to_owned(),
        took_ms: 7,
    }
}

pub(super) fn refusal(code: &str) -> Refusal {
    Refusal { code: code.to_owned(), message: "no, \"not\"\nnow".to_owned() }
}

pub(super) fn settled(item: ItemId, slots: &[SlotNo], outcome: Outcome) -> Settlement {
    Settlement {
        item,
        slots: slots.to_vec(),
        result: RowOutcome {
            job_id: "job".to_owned(),
            attempts: 1,
            request_id: "req".to_owned(),
            part: "1".to_owned(),
            finished_at: AT.to_owned(),
            evidence: "absent in two reads".to_owned(),
            ..RowOutcome::new(outcome, String::new(), String::new())
        },
    }
}

/// A record of the results in words.
pub(super) fn line(row: &ResultRow<'_>) -> String {
    format!("{row:?}")
}

/// As if another version of the program had made it.
pub(super) fn set_format(path: &Path, format: u32) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.pragma_update(None, "user_version", format).unwrap();
}
