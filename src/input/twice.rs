//! One binding, two days: a row that is due, and another row of the same binding that is not.

use std::hash::{BuildHasher as _, RandomState};

use super::fault::RowFault;
use super::field::Field;
use super::table::{RowRef, Table};
use crate::model::{Kind, fold};

/// Rows that are due and would take a binding that another row keeps until a later day. Which of the two days holds,
/// nobody can tell here: an old entry of somebody who came back looks just so.
///
/// * `not_due`: rows, rising.
/// * `faults`: of rows that are wrong anyway, in the order of the rows; what is found is added in its place.
pub(super) fn find(table: &Table, not_due: &[u32], faults: &mut Vec<RowFault>) {
    if not_due.is_empty() {
        return;
    }
    let hashes = RandomState::new();
    let waiting: Vec<RowRef<'_>> = not_due.iter().map(|row| table.row(*row as usize)).collect();
    let mut by_key: Vec<(u64, usize)> = Vec::new();
    for (at, row) in waiting.iter().enumerate() {
        by_key.extend(keys(*row, true).map(|key| (hashes.hash_one(key), at)));
    }
    by_key.sort_unstable();
    let mut known = not_due.iter().map(|row| *row as usize).peekable();
    let mut wrong = faults.iter().map(|fault| fault.row).collect::<Vec<_>>().into_iter().peekable();
    let mut found = Vec::new();
    for (index, due) in table.rows().enumerate() {
        while wrong.next_if(|row| *row < index).is_some() {}
        if known.next_if_eq(&index).is_some() || wrong.peek() == Some(&index) {
            continue;
        }
        let candidates = keys(due, false).flat_map(|key| {
            let hash = hashes.hash_one(key);
            let first = by_key.partition_point(|(known, _)| *known < hash);
            by_key[first..].iter().take_while(move |(known, _)| *known == hash).map(|(_, at)| waiting[*at])
        });
        if let Some(later) = candidates.filter(|later| takes(due, *later)).map(RowRef::line).min() {
            found.push(RowFault {
                row: index,
                line: due.line(),
                column: None,
                code: "INVALID_DUE_TWICE",
                message: format!(
                    "line {later} has the same binding with a day that is still to come, so nobody can tell whether it \
                     shall go now; take out the row that no longer holds"
                ),
            });
        }
    }
    if !found.is_empty() {
        faults.append(&mut found);
        faults.sort_by_key(|fault| fault.row); // stable
    }
}

/// By what the rows of one binding are found: whoever it is of; its desktop, for rows of everybody.
fn keys(row: RowRef<'_>, is_waiting: bool) -> impl Iterator<Item = (u8, String)> {
    let is_all = row.kind() == Some(Kind::All);
    let person = [row.get(Field::UserId), row.get(Field::UserName), row.email()];
    let person = (0..).zip(person).filter(move |(_, text)| !is_all && !text.is_empty());
    let person = person.map(|(n, text)| (n, fold(text).into_owned()));
    let desktop = [row.get(Field::DesktopId), row.get(Field::DesktopName)];
    let desktop = (3..).zip(desktop).filter(move |(_, text)| (is_all || is_waiting) && !text.is_empty());
    person.chain(desktop.map(|(n, text)| (n, fold(text).into_owned())))
}

/// Whether doing `due` takes away what `later` names.
fn takes(due: RowRef<'_>, later: RowRef<'_>) -> bool {
    let cells = |field| (fold(due.get(field)), fold(later.get(field)));
    let agree = |field| {
        let (one, other) = cells(field);
        (!one.is_empty() && !other.is_empty()).then_some(one == other)
    };
    let has_desktop =
        |row: RowRef<'_>| !row.get(Field::DesktopId).is_empty() || !row.get(Field::DesktopName).is_empty();
    let same_desktop = agree(Field::DesktopId).or_else(|| agree(Field::DesktopName));
    // Without a desktop it means every desktop of its user.
    if has_desktop(due) && same_desktop != Some(true) {
        return false;
    }
    if due.kind() == Some(Kind::All) {
        return true;
    }
    let same_address =
        (!due.email().is_empty() && !later.email().is_empty()).then(|| fold(due.email()) == fold(later.email()));
    let same_person = agree(Field::UserId).or_else(|| agree(Field::UserName)).or(same_address);
    due.kind() == later.kind() && same_person == Some(true) && agree(Field::Domain) != Some(false)
}
