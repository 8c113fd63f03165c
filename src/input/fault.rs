//! What is wrong with a row, and how that is told.

use std::fmt::Write;

use crate::text::escape_untrusted;

/// One rule that one row breaks. A row may break several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFault {
    /// The row's index in the table, from 0.
    pub row: usize,
    /// The line (or sheet row) that the row starts on.
    pub line: u64,
    /// The column's header as the file spells it; `None` where the file lacks the column, or the row as a whole
    /// is wrong.
    pub column: Option<String>,
    /// The row's `error_code`: `INVALID_TYPE`, …
    pub code: &'static str,
    /// What is wrong and what to do, in words; no user names.
    pub message: String,
}

/// One text line for each fault, in the order given (that of the file), at most `limit` of them, then how many
/// more there are. No newline at the end.
pub(crate) fn report(faults: &[RowFault], limit: usize) -> String {
    let mut lines = String::new();
    for fault in faults.iter().take(limit) {
        if !lines.is_empty() {
            lines.push('\n');
        }
        // Writing into a `String` cannot fail.
        _ = match &fault.column {
            Some(column) => {
                write!(
                    lines,
                    "line {}, column \"{}\": {} ({})",
                    fault.line,
                    escape_untrusted(column, 60),
                    fault.message,
                    fault.code
                )
            }
            None => write!(lines, "line {}: {} ({})", fault.line, fault.message, fault.code),
        };
    }
    if faults.len() > limit {
        _ = write!(lines, "{}… and {} more", if lines.is_empty() { "" } else { "\n" }, faults.len() - limit);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: u64, column: Option<&str>) -> RowFault {
        RowFault {
            row: 0,
            line,
            column: column.map(str::to_owned),
            code: "INVALID_TYPE",
            message: "no such type".to_owned(),
        }
    }

    #[test]
    fn a_report_has_a_line_for_each_fault_and_says_what_it_leaves_out() {
        let faults = [fault(2, Some("Type\u{1b}")), fault(3, None), fault(4, None)];
        assert_eq!(
            report(&faults, 2),
            "line 2, column \"Type\\u{1b}\": no such type (INVALID_TYPE)\nline 3: no such type (INVALID_TYPE)\n… and 1 more"
        );
        assert_eq!(report(&faults[..1], 9).lines().count(), 1);
        assert_eq!(report(&faults, 0), "… and 3 more");
        assert_eq!(report(&[], 5), "");
    }
}
