//! The formula guard: no cell of ours starts a formula in a spreadsheet (P21), and it can be taken off again.

use std::borrow::Cow;

/// Puts one `'` in front of a cell that a spreadsheet would take for a formula, or that starts with `'` itself.
///
/// A plain number, `-?digits[.digits]`, stays as it is.
pub fn guard(cell: &str) -> Cow<'_, str> {
    if cell.starts_with(is_dangerous) && !is_plain_number(cell) {
        Cow::Owned(format!("'{cell}"))
    } else {
        Cow::Borrowed(cell)
    }
}

/// Takes exactly one `'` off: for every cell, `unguard(&guard(cell)) == cell`.
pub fn unguard(cell: &str) -> &str {
    cell.strip_prefix('\'').unwrap_or(cell)
}

/// First characters that start a formula, or shift what comes after them to the start; `'` is here so that the
/// guard can be taken off without doubt.
const fn is_dangerous(c: char) -> bool {
    matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '\'' | '＝' | '＋' | '－' | '＠')
}

fn is_plain_number(cell: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = cell.strip_prefix('-').unwrap_or(cell);
    match number.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(number),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn p21_no_cell_starts_a_formula() {
        for cell in [
            "=1+1", "+1", "-a", "-1-1", "-", "-.5", "-1.", "@sum", "\tx", "\rx", "\nx", "＝1", "＋1", "－1", "＠x",
            "'x",
        ] {
            assert_eq!(guard(cell), format!("'{cell}"), "{cell:?}");
        }
    }

    #[test]
    fn plain_numbers_and_plain_text_stay() {
        for cell in ["", "-1", "-1.5", "007", "3.14", "zhang.san", "a=b", "张三", "1+1"] {
            assert_eq!(guard(cell), cell);
        }
    }

    proptest! {
        #[test]
        fn p21_the_guard_comes_off_again(cell in "[-=+@'\t\r\n＝＋－＠0-9.a张]{0,6}|.*") {
            let guarded = guard(&cell);
            prop_assert_eq!(unguard(&guarded), cell.as_str());
        }

        #[test]
        fn p21_what_is_guarded_is_harmless(cell in "[-=+@'\t\r\n＝＋－＠0-9.a张]{0,6}|.*") {
            let guarded = guard(&cell);
            prop_assert!(guarded.starts_with('\'') || !guarded.starts_with(is_dangerous) || is_plain_number(&guarded));
        }
    }
}
