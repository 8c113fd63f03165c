//! How an input is to be read.

use super::due::Due;
use super::field::Field;
use crate::model::Outcome;

/// Rows that an input may have.
pub(super) const MAX_ROWS: usize = 10_000_000;

/// What becomes of rows that a spreadsheet hides or filters out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// The whole file is refused.
    Refuse,
    /// They are no rows.
    Skip,
    /// They are rows like any other.
    Read,
}

/// How to read the input; the default detects everything.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// A label such as `gb18030`.
    pub encoding: Option<String>,
    /// An ASCII character, not a quote or a line end.
    pub delimiter: Option<u8>,
    /// The sheet's name in a workbook; the default is the first visible one that has rows.
    pub sheet: Option<String>,
    /// The line, or the sheet's row, of the header; the default is the first that is not blank.
    pub header_row: Option<u32>,
    /// What becomes of rows that a spreadsheet hides or filters out.
    pub hidden_rows: Hidden,
    /// Whether an empty desktop in a list with a desktop column means every desktop of its user; else it is a fault.
    pub empty_desktop_is_every: bool,
    /// Whether rows of type `ALL` are a fault.
    pub forbid_all: bool,
    /// Fields with the header of their column; `-` for a field that no header holds.
    pub columns: Vec<(Field, String)>,
    /// Whether rows wait for a day that the list says.
    pub due: Due,
    /// Just the rows whose `outcome` column holds one of these.
    pub only: Option<Vec<Outcome>>,
    /// Rows at most; one more is an error.
    pub max_rows: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            encoding: None,
            delimiter: None,
            sheet: None,
            header_row: None,
            hidden_rows: Hidden::Refuse,
            empty_desktop_is_every: false,
            forbid_all: false,
            columns: Vec::new(),
            due: Due::default(),
            only: None,
            max_rows: MAX_ROWS,
        }
    }
}
