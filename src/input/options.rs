//! How an input is to be read.

use super::field::Field;
use crate::model::Outcome;

/// Rows that an input may have.
pub(super) const MAX_ROWS: usize = 10_000_000;

/// How to read the input; the default detects everything.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// A label such as `gb18030`.
    pub encoding: Option<String>,
    /// An ASCII character, not a quote or a line end.
    pub delimiter: Option<u8>,
    /// The sheet's name in a workbook; the default is the first visible one that has rows.
    pub sheet: Option<String>,
    /// Fields with the header of their column.
    pub columns: Vec<(Field, String)>,
    /// Just the rows whose `outcome` column holds one of these.
    pub only: Option<Vec<Outcome>>,
    /// Rows at most; one more is an error.
    pub max_rows: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { encoding: None, delimiter: None, sheet: None, columns: Vec::new(), only: None, max_rows: MAX_ROWS }
    }
}
