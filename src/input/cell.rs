//! What one cell says by itself: whether it can be a name, and whether it is what a person sees.

use super::field::Field;
use super::record::{Mark, Record};
use crate::model::Kind;
use crate::text::is_invisible;

/// Characters of a user or group name; of any other name or id. Source: the definition of `BatchDetachDesktops` in
/// Huawei's API reference.
const MAX_USER_NAME: usize = 64;
const MAX_OTHER: usize = 255;

/// How many characters a cell may have.
pub(super) const fn max_chars(field: Field) -> usize {
    if matches!(field, Field::UserName) { MAX_USER_NAME } else { MAX_OTHER }
}

/// Whether a text of the service's can stand in results that are an input again: one that could not be read back would
/// make the whole file invalid.
pub(crate) fn can_be_read_back(field: Field, text: &str) -> bool {
    text.chars().count() <= max_chars(field)
        && text.trim() == text
        && !text.chars().any(|c| c.is_control() || is_invisible(c) || c == '\u{FFFD}')
        && !is_damaged(text)
}

/// Whether a plain cell is within all bounds, without quotes around it, and nothing that a spreadsheet made: nearly every
/// cell is, and few bytes tell it. One that is may still be told as not.
#[inline]
pub(super) fn is_ordinary(cell: &str) -> bool {
    let bytes = cell.as_bytes();
    let [first, .., last] = bytes else { return false };
    bytes.len() <= MAX_USER_NAME
        && last.is_ascii_alphanumeric()
        && match first {
            b'E' => false, // `Err:502`
            b'0'..=b'9' => !is_scientific(bytes),
            _ => first.is_ascii_alphabetic(),
        }
}

/// Whether quotes that should have been taken off are part of the cell.
pub(super) fn is_quoted(cell: &str) -> bool {
    // Most cells: told by two bytes.
    if let [first, .., last] = cell.as_bytes()
        && first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
    {
        return false;
    }
    let pairs = [
        ('\'', '\''),
        ('\u{201c}', '\u{201d}'),
        ('\u{201e}', '\u{201c}'),
        ('\u{2018}', '\u{2019}'),
        ('«', '»'),
        ('`', '`'),
    ];
    let has = |(open, close)| cell.chars().count() > 1 && cell.starts_with(open) && cell.ends_with(close);
    cell.starts_with('"') || cell.ends_with('"') || pairs.into_iter().any(has)
}

/// Why a cell does not say what a person sees in its place; one that is damaged is told elsewhere, with what it looks
/// like.
pub(super) fn unlike_looks(record: &Record<'_>, column: usize) -> impl Iterator<Item = (&'static str, &'static str)> {
    let marks = record.marks;
    let is_damaged = marks.contains(&(column, Mark::Damaged));
    marks.iter().filter(move |(at, _)| *at == column).filter_map(move |&(_, mark)| {
        let told = match mark {
            Mark::Damaged => return None,
            Mark::ShownOtherwise if is_damaged => return None,
            Mark::Covered => (
                "INVALID_MERGED_CELL",
                "a merged cell covers this one, so the row does not say what it holds; unmerge the cells and fill in \
                     each of them",
            ),
            Mark::NotComputed => (
                "INVALID_FORMULA",
                "a formula without a stored value; open the file in a spreadsheet program, which computes it, and \
                     save it again",
            ),
            Mark::ShownOtherwise => (
                "INVALID_CELL_FORMAT",
                "the format of this cell shows other characters than it holds (as 00123 for 123); format the column \
                     as text and enter the cell anew",
            ),
        };
        Some(told)
    })
}

/// Letters, digits, `-`, `_`, and `.` in user names: what the console makes names of. One of other characters is told as
/// unusual, never refused: the service may know more.
pub(super) fn is_usual(name: &str, kind: Kind) -> bool {
    // Nearly every name is ASCII, and told much faster by its bytes, without a branch for each.
    let (words, rest) = name.as_bytes().as_chunks::<8>();
    let least = |bytes: &[u8]| bytes.iter().fold(FOR_ALL, |least, &byte| least.min(USUAL[usize::from(byte)]));
    let least = words.iter().fold(least(rest), |known, word| known.min(least(word)));
    let is_dot = |dot| dot && kind == Kind::User;
    least >= if kind == Kind::User { FOR_USERS } else { FOR_ALL }
        || name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_') || is_dot(c == '.'))
}

/// Which bytes of ASCII are usual in names.
const USUAL: [u8; 256] = {
    let mut usual = [0; 256];
    let mut byte = 0u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            usual[byte as usize] = FOR_ALL;
        }
        byte += 1;
    }
    usual[b'.' as usize] = FOR_USERS;
    usual
};

const FOR_USERS: u8 = 1;
const FOR_ALL: u8 = 2;

/// What spreadsheets leave behind: `1.9E+18`, `#N/A`, `#####`.
#[inline]
pub(super) fn is_damaged(cell: &str) -> bool {
    match cell.as_bytes() {
        [b'0'..=b'9' | b'-' | b'+', ..] => is_scientific(cell.as_bytes()),
        [b'#', rest @ ..] => ERRORS.contains(&cell) || (rest.len() >= 2 && rest.iter().all(|&b| b == b'#')),
        [b'E', b'r', b'r', b':', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

const ERRORS: [&str; 14] = [
    "#N/A",
    "#REF!",
    "#NAME?",
    "#VALUE!",
    "#DIV/0!",
    "#NULL!",
    "#NUM!",
    "#DATA!",
    "#SPILL!",
    "#CALC!",
    "#GETTING_DATA",
    "#ERROR!",
    "#FIELD!",
    "#BUSY!",
];

/// `[±]digits[.digits]E±digits`. Without a sign in the exponent it may be a name (`1e5`); before `-`, which names may
/// hold, only the capital letter that spreadsheets write counts.
fn is_scientific(cell: &[u8]) -> bool {
    // How many digits there are at the front.
    let digits = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let unsigned = if let [b'-' | b'+', rest @ ..] = cell { rest } else { cell };
    let (whole, mut rest) = unsigned.split_at(digits(unsigned));
    if let [b'.' | b',', fraction @ ..] = rest {
        rest = &fraction[digits(fraction)..];
        if rest.len() == fraction.len() {
            return false;
        }
    }
    match rest {
        [b'E', b'+' | b'-', exponent @ ..] | [b'e', b'+', exponent @ ..] => {
            !whole.is_empty() && !exponent.is_empty() && digits(exponent) == exponent.len()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::record::trim;
    use super::*;

    proptest! {
        #[test]
        fn usual_bytes_are_usual_characters(name in "[a-z.張_ é]{0,20}", group: bool) {
            let kind = if group { Kind::Group } else { Kind::User };
            let is_usual_one = |c: char| c.is_alphanumeric() || c == '_' || (c == '.' && !group);
            prop_assert_eq!(is_usual(&name, kind), name.chars().all(is_usual_one));
        }
    }

    proptest! {
        #[test]
        fn an_ordinary_cell_is_one_that_no_rule_would_refuse(cell in "[!-~]{0,12}|[0-9E+.-]{2,9}|Err:[0-9]{1,3}|[a-z]{60,70}") {
            if is_ordinary(&cell) {
                prop_assert!(!is_damaged(&cell) && !is_quoted(&cell) && cell.len() <= MAX_USER_NAME && !matches!(&*cell, "." | ".."));
            }
        }
    }

    #[test]
    fn spreadsheet_damage_is_told_from_names() {
        for cell in ["1.9E+18", "1,9E+18", "1E+05", "-2.5e+10", "1.2E-05", "#N/A", "#REF!", "########", "Err:502"] {
            assert!(is_damaged(cell), "{cell}");
        }
        for cell in ["", "1e5", "2e-10", "1E5", "E+5", "#team", "##", "0198c0de-1e+a", "Err:", "Error", "1.E+5"] {
            assert!(!is_damaged(cell), "{cell}");
        }
    }

    #[test]
    fn outer_blanks_of_every_kind_are_trimmed_and_inner_ones_stay() {
        for cell in [" a b\t", "\u{a0}a b\u{3000}", "\u{feff}a b\u{200b}", "a b", "\u{200d}\u{2060}a b\r\n"] {
            assert_eq!(trim(cell), "a b");
        }
        assert_eq!(trim("\u{200b} "), "");
        assert_eq!(trim("x"), "x");
    }
}
