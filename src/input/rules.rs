//! The rules that a row can break by what its own cells say.

use super::cell::{is_damaged, is_ordinary, is_quoted, max_chars, unlike_looks};
use super::due::Day;
use super::field::Field;
use super::header::Layout;
use super::record::{DELIMITERS, Mark, Record, trim};
use crate::model::Kind;
use crate::text::{escape_untrusted, is_invisible};

/// The code of a row that lacks its desktop.
pub(super) const DESKTOP_MISSING: &str = "INVALID_DESKTOP_MISSING";

/// The delimiter of a line that stands in its first cell whole: as many values as there are columns, and no other cell.
fn whole_line(layout: &Layout, record: &Record<'_>) -> Option<u8> {
    let columns = layout.headers.len();
    if columns < 2 || (1..record.ends.len()).any(|column| !trim(record.cell(column)).is_empty()) {
        return None;
    }
    let cell = record.cell(0).as_bytes();
    DELIMITERS.into_iter().find(|delimiter| cell.split(|byte| byte == delimiter).count() == columns)
}

/// What a person sees of the row that its cells do not say.
pub(super) fn check_looks(
    layout: &Layout,
    record: &Record<'_>,
    fault: &mut impl FnMut(Option<Field>, &'static str, String),
) {
    if !record.marks.is_empty() {
        for &(field, column) in &layout.read {
            for (code, message) in unlike_looks(record, column) {
                fault(Some(field), code, message.to_owned());
            }
        }
    }
    if let Some(delimiter) = whole_line(layout, record) {
        let message = format!(
            "the whole line stands in one cell, in quotes, with {} between its values; take off the quotes around the \
                 line",
            if delimiter == b'\t' { "tabs".to_owned() } else { format!("`{}`", char::from(delimiter)) }
        );
        fault(None, "INVALID_LINE_IN_CELL", message);
    }
}

/// What each cell that is read says by itself.
pub(super) fn check_cells(
    layout: &Layout,
    record: &Record<'_>,
    cells: &[&str; Field::READ.len()],
    fault: &mut impl FnMut(Option<Field>, &'static str, String),
) {
    let is_clean = record.is_plain && record.marks.is_empty();
    for &(field, column) in &layout.read {
        let text = cells[field.index()];
        if text.is_empty() || field == Field::Type || (is_clean && is_ordinary(text)) {
            continue;
        }
        let max = max_chars(field);
        if text.len() > max && text.chars().count() > max {
            let message = format!("longer than {max} characters; correct it (an unbalanced quote looks like this)");
            fault(Some(field), "INVALID_TOO_LONG", message);
        }
        if !record.is_plain
            && let Some(c) = text.chars().find(|&c| c.is_control() || is_invisible(c))
        {
            let message = match c {
                '\n' | '\r' => {
                    "a line break inside the cell; remove it (an unbalanced quote looks like this)".to_owned()
                }
                _ => format!("an invisible character, {}, inside the cell; type it anew", c.escape_unicode()),
            };
            fault(Some(field), "INVALID_CONTROL_CHARACTER", message);
        }
        if field == Field::DesktopId && matches!(text, "." | "..") {
            let message = "this can't be the id of a desktop; write the id, or leave the cell empty and give the \
                           desktop's name";
            fault(Some(field), "INVALID_DESKTOP_ID", message.to_owned());
        }
        let is_marked = record.marks.contains(&(column, Mark::Damaged));
        if !layout.is_results && is_quoted(text) {
            let message = "still in quotes; take them off (in CSV nothing, not even a blank, may stand before a quote)";
            fault(Some(field), "INVALID_QUOTED_CELL", message.to_owned());
        }
        if is_marked || is_damaged(text) || (!record.is_plain && text.contains('\u{FFFD}')) {
            let message = if text.contains('\u{FFFD}') {
                // The rest of it is somebody's name.
                "a character was lost when the file was saved in another encoding; enter the cell anew".to_owned()
            } else {
                format!(
                    "\"{}\" is what a spreadsheet made of the real value; format the column as text and enter it \
                     anew",
                    escape_untrusted(text, 40)
                )
            };
            fault(Some(field), "INVALID_DAMAGED_CELL", message);
        }
    }
}

/// What the row's type asks of its other cells.
pub(super) fn check_type(
    kind: Option<Kind>,
    cells: &[&str; Field::READ.len()],
    has_desktop: bool,
    forbid_all: bool,
    fault: &mut impl FnMut(Option<Field>, &'static str, String),
) {
    let cell = |field: Field| cells[field.index()];
    let has_user = !cell(Field::UserName).is_empty() || !cell(Field::UserEmail).is_empty();
    match kind {
        None => {
            let message = format!(
                "the type \"{}\" is none of USER, GROUP and ALL; write one of them, or leave it empty for USER",
                escape_untrusted(cell(Field::Type), 40)
            );
            fault(Some(Field::Type), "INVALID_TYPE", message);
        }
        Some(Kind::All) => {
            // One that names a user, or no desktop, is wrong in itself: it may not be meant for everybody.
            if forbid_all && has_desktop && !has_user {
                let message = "type ALL detaches everybody from the desktop; if that is meant, add --allow-detach-all";
                fault(Some(Field::Type), "INVALID_ALL_NOT_ALLOWED", message.to_owned());
            }
            if has_user {
                let message = "a row of type ALL detaches everybody and names no user; empty this cell, or write \
                               USER or GROUP as the type";
                let column = if cell(Field::UserName).is_empty() { Field::UserEmail } else { Field::UserName };
                fault(Some(column), "INVALID_ALL_WITH_USER", message.to_owned());
            }
            if !has_desktop {
                let message = "a row of type ALL needs a desktop; write its id or its name";
                fault(Some(Field::DesktopId), DESKTOP_MISSING, message.to_owned());
            }
        }
        Some(kind @ (Kind::User | Kind::Group | Kind::UserGroup))
            if !has_user || (kind != Kind::User && cell(Field::UserName).is_empty()) =>
        {
            let message = "the user is missing, and an empty user is never read as everybody; write the name, or \
                           the type ALL for everybody on this desktop";
            fault(Some(Field::UserName), "INVALID_USER_MISSING", message.to_owned());
        }
        Some(Kind::User | Kind::Group | Kind::UserGroup) => {}
    }
}

/// What is wrong with a cell that should say a day; `None` where it says one.
pub(super) fn no_day(cell: &str, day: Day) -> Option<(&'static str, &'static str)> {
    match day {
        Day::Known(_) => None,
        _ if cell.is_empty() => Some((
            "INVALID_DATE_MISSING",
            "the day is missing, and without it nobody knows whether the row is due; write it as 2026-11-30",
        )),
        Day::Either(..) => Some((
            "INVALID_DATE_AMBIGUOUS",
            "this is one day where the month comes first, and another where the day does; say which with --date-format \
             %d/%m/%Y or --date-format %m/%d/%Y",
        )),
        Day::Unreadable => Some((
            "INVALID_DATE",
            "this is not read as a date; write it as 2026-11-30, or say how it is written with --date-format",
        )),
    }
}
