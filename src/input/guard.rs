//! The formula guard: no cell of the results starts a formula in a spreadsheet, and
//! reading them back gives the same values.

use std::borrow::Cow;

/// Makes a cell safe to open in a spreadsheet (P21): one that could start a formula, or that starts with `'`, gets
/// one `'` in front. A plain number, `-?digits[.digits]`, stays as it is.
pub fn guard(cell: &str) -> Cow<'_, str> {
    if is_risky(cell) { Cow::Owned(format!("'{cell}")) } else { Cow::Borrowed(cell) }
}

/// Takes off what [`guard`] put in front: exactly one `'`, and only where there is one that it would have put.
/// `unguard(&guard(cell)) == cell` for every cell.
pub fn unguard(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|rest| is_risky(rest)).unwrap_or(cell)
}

fn is_risky(cell: &str) -> bool {
    let starts =
        cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '\'', '\u{FF1D}', '\u{FF0B}', '\u{FF0D}', '\u{FF20}']);
    starts && !is_plain_number(cell)
}

fn is_plain_number(cell: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let unsigned = cell.strip_prefix('-').unwrap_or(cell);
    match unsigned.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(unsigned),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn p21_formulas_get_one_apostrophe_and_plain_numbers_none() {
        for (cell, written) in [
            ("=1+1", "'=1+1"),
            ("+86", "'+86"),
            ("-x", "'-x"),
            ("-1.5.2", "'-1.5.2"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("＝x", "'＝x"),
            ("＠x", "'＠x"),
            ("'x", "''x"),
            ("-12", "-12"),
            ("-0.5", "-0.5"),
            ("alice", "alice"),
            ("", ""),
        ] {
            assert_eq!(guard(cell), written);
            assert_eq!(unguard(written), cell);
        }
    }

    #[test]
    fn an_apostrophe_that_the_guard_did_not_put_stays() {
        assert_eq!(unguard("'s-Hertogenbosch"), "'s-Hertogenbosch");
    }

    proptest! {
        #[test]
        fn p21_reading_takes_off_exactly_what_writing_put(cell in "['=+@\t\r\n＝＋－＠.0-9a-]{0,6}|\\PC{0,8}") {
            let written = guard(&cell);
            prop_assert_eq!(unguard(&written), cell.as_str());
            prop_assert!(!is_risky(&written) || written.starts_with('\''));
        }
    }
}
