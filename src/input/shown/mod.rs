//! What a person sees of a sheet: which rows are hidden, and which cells show something else than what they hold, or
//! hold nothing that could be read. The reader of workbooks does not tell this, so the parts of the file that do are
//! read here, of all three formats into one answer.

mod format;
mod ods;
mod xls;
mod xlsx;

use std::io::{Read, Seek};

use quick_xml::events::BytesStart;

use super::record::{MAX_COLUMNS, Mark};

/// What differs between a sheet and its looks; rows that are not listed show what they hold.
#[derive(Debug, Default)]
pub(super) struct Shown {
    rows: Vec<ShownRow>,
    /// Whether a formula whose result is an empty text is told from one that was never computed.
    pub(super) tells_empty_results: bool,
}

/// Some rows that look alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ShownRow {
    /// From 0, as all numbers of rows and columns here.
    pub(super) first: u32,
    pub(super) last: u32,
    pub(super) is_hidden: bool,
    pub(super) marks: Vec<(usize, Mark)>,
}

impl Shown {
    /// Of an `.xlsx`.
    ///
    /// # Errors
    /// In words: a part that is missing or damaged.
    pub(super) fn of_xlsx(bytes: impl Read + Seek, sheet: &str) -> Result<Self, String> {
        xlsx::read(bytes, sheet).map(|rows| Self::new(rows, true)).map_err(|problem| damaged(&problem))
    }

    /// Of an `.ods`.
    ///
    /// # Errors
    /// As [`Shown::of_xlsx`].
    pub(super) fn of_ods(bytes: impl Read + Seek, sheet: &str) -> Result<Self, String> {
        ods::read(bytes, sheet).map(|rows| Self::new(rows, true)).map_err(|problem| damaged(&problem))
    }

    /// Of an `.xls`.
    ///
    /// * `sheet`: its place among all sheets.
    ///
    /// # Errors
    /// As [`Shown::of_xlsx`].
    pub(super) fn of_xls(bytes: impl Read + Seek, sheet: usize) -> Result<Self, String> {
        xls::read(bytes, sheet).map(|rows| Self::new(rows, false)).map_err(|problem| damaged(&problem))
    }

    /// Refuses an `.xls` whose sheets claim sizes that no sheet can have, before anything makes room for them.
    ///
    /// # Errors
    /// As [`Shown::of_xlsx`].
    pub(super) fn check_xls(bytes: impl Read + Seek) -> Result<(), String> {
        let is_sized = xls::is_sized(bytes).map_err(|problem| damaged(&problem))?;
        if is_sized { Ok(()) } else { Err(damaged("a sheet claims more rows or columns than there can be")) }
    }

    fn new(mut rows: Vec<ShownRow>, tells_empty_results: bool) -> Self {
        rows.retain(|row| row.is_hidden || !row.marks.is_empty());
        rows.sort_by_key(|row| row.first);
        Self { rows, tells_empty_results }
    }

    pub(super) fn row(&self, row: u32) -> Option<&ShownRow> {
        let after = self.rows.partition_point(|known| known.first <= row);
        after.checked_sub(1).and_then(|at| self.rows.get(at)).filter(|known| known.last >= row)
    }

    /// The first row from this one on with a formula that was never computed.
    pub(super) fn next_uncomputed(&self, from: u32) -> Option<&ShownRow> {
        let at = self.rows.partition_point(|known| known.first < from);
        let is_one = |row: &&ShownRow| row.marks.iter().any(|&(_, mark)| mark == Mark::NotComputed);
        self.rows.get(at..).unwrap_or_default().iter().find(is_one)
    }
}

fn damaged(problem: &str) -> String {
    let problem = crate::text::escape_untrusted(problem, 200);
    format!("the workbook is damaged ({problem}); open it in a spreadsheet program and save it again")
}

/// The name without its prefix.
fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

/// An attribute by its name without a prefix.
fn attribute(element: &BytesStart<'_>, wanted: &str) -> Option<String> {
    let attributes = element.attributes_raw();
    if !attributes.contains(wanted) {
        return None;
    }
    let mut all = element.attributes();
    let found = all.with_checks(false).flatten().find(|one| local(one.key.as_ref()) == wanted)?;
    quick_xml::escape::unescape(&found.value).map(std::borrow::Cow::into_owned).ok()
}

/// `A1` to the row and column, from 0.
fn place(reference: &str) -> Option<(u32, usize)> {
    let digits = reference.find(|c: char| c.is_ascii_digit())?;
    let (letters, row) = reference.split_at_checked(digits)?;
    let column = letters.bytes().try_fold(0_usize, |column, letter| {
        let letter = letter.to_ascii_uppercase().checked_sub(b'A').filter(|&letter| letter < 26)?;
        column.checked_mul(26)?.checked_add(usize::from(letter) + 1)
    })?;
    Some((row.parse::<u32>().ok()?.checked_sub(1)?, column.checked_sub(1)?))
}

/// Adds a mark where its column can be one that is read.
fn put(marks: &mut Vec<(usize, Mark)>, column: usize, mark: Mark) {
    if column < MAX_COLUMNS {
        marks.push((column, mark));
    }
}
