//! What every reader of a file hands on: records, with the limits that hold for each of them.

use std::io::{self, Read, Seek};

use crate::text::bytes::holds;

/// What a file may be delimited by.
pub(super) const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Bytes that one record may hold, its quotes and delimiters not counted.
pub(super) const MAX_RECORD: usize = 1024 * 1024;
/// Bytes that a cell may hold which is read.
pub(super) const MAX_CELL: usize = 4 * 1024;
/// Characters that any other cell may hold: as many as spreadsheets allow. Its bytes must fit 16 bits.
pub(super) const MAX_LONG_CELL: usize = 32_767;
/// Cells that one record may have.
pub(super) const MAX_COLUMNS: usize = 1024;

/// What is trimmed off a cell: blanks and line ends, no-break and zero-width characters.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FEFF}')
}

/// A cell without the blanks around it.
#[inline]
pub(super) fn trim(cell: &str) -> &str {
    match cell.as_bytes() {
        // Most cells: told by two bytes.
        [only] if only.is_ascii_graphic() => cell,
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => cell,
        _ => cell.trim_matches(is_blank),
    }
}

/// `="00123"`, by which a text is kept from being read as a number, as that text.
pub(super) fn as_text(cell: &str) -> &str {
    let inside = cell.strip_prefix("=\"").and_then(|cell| cell.strip_suffix('"'));
    inside.filter(|inside| !inside.contains('"')).map_or(cell, trim)
}

/// Whether it is printable ASCII that JSON writes as it stands.
pub(super) fn is_plain(text: &str) -> bool {
    !holds(text.as_bytes(), is_odd)
}

/// A byte that no plain text holds.
#[expect(clippy::needless_bitwise_bool, reason = "as `holds` asks for it")]
pub(super) const fn is_odd(byte: u8) -> bool {
    !matches!(byte, b' '..=b'~') | (byte == b'"') | (byte == b'\\')
}

/// Why a cell does not say what a person sees in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It cannot be what somebody typed: a date, or a number that lost digits.
    Damaged,
    /// A merged cell covers it, so that it is empty without having been left empty.
    Covered,
    /// A formula whose result the file does not hold.
    NotComputed,
    /// Its format shows other characters than its digits.
    ShownOtherwise,
}

/// A number's digits, and whether some are lost: spreadsheets keep 15 digits of a number, a longer one has lost its end.
pub(super) fn show_number(number: f64) -> (String, bool) {
    if number.abs() >= 1e15 {
        (format!("{number:E}").replace('E', "E+"), true)
    } else if number.fract() == 0.0 {
        // Adding zero turns a negative zero into zero.
        (format!("{:.0}", number + 0.0), false)
    } else {
        (number.to_string(), false)
    }
}

/// One record as it was read: its cells in one text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'r> {
    /// The line, or sheet row, that it starts on.
    pub(super) line: u64,
    pub(super) text: &'r str,
    /// Where each cell ends in `text`.
    pub(super) ends: &'r [usize],
    /// Bytes between two cells: 1 where `text` still holds the delimiters.
    pub(super) gap: usize,
    /// Whether `text` holds printable ASCII alone, and none that JSON escapes.
    pub(super) is_plain: bool,
    /// Columns whose cell does not say what a person sees there, and why.
    pub(super) marks: &'r [(usize, Mark)],
    /// Whether the spreadsheet hides it, or filters it out.
    pub(super) is_hidden: bool,
}

impl<'r> Record<'r> {
    /// Empty where the record has no such cell.
    pub(super) fn cell(&self, column: usize) -> &'r str {
        let Some(&end) = self.ends.get(column) else { return "" };
        let start = column.checked_sub(1).map_or(0, |before| self.ends[before] + self.gap);
        self.text.get(start..end).unwrap_or_default()
    }

    pub(super) fn cells(&self) -> impl Iterator<Item = &'r str> {
        let record = *self;
        (0..self.ends.len()).map(move |column| record.cell(column))
    }
}

/// What takes records, one after the other.
pub(super) trait Sink {
    /// * `inside`: line ends within the record's cells.
    ///
    /// # Errors
    /// In words, with the place: what makes the input as a whole unreadable.
    fn take(&mut self, record: &Record<'_>, inside: u64) -> Result<(), String>;
}

/// Why reading stopped.
#[derive(Debug)]
pub(super) enum Trouble {
    /// What is wrong and where, in words.
    Problem(String),
    /// The bytes from this line on mean nothing in the encoding.
    Undecodable(u64),
    Io(io::Error),
}

impl From<String> for Trouble {
    fn from(problem: String) -> Self {
        Self::Problem(problem)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Something to read from, more than once.
pub(super) trait Bytes: Read + Seek + Send {}

impl<T: Read + Seek + Send> Bytes for T {}
