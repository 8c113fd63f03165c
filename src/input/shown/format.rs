//! Number formats: whether a cell shows the very digits that it holds.

use crate::input::record::show_number;

/// The pattern of a format that every program knows by its number; `None` for a date, a currency, a fraction, …
pub(super) fn built_in(id: u32) -> Option<&'static str> {
    match id {
        0 => Some("General"),
        1 => Some("0"),
        3 | 37 | 38 => Some("#,##0"),
        49 => Some("@"),
        _ => None,
    }
}

/// Whether a number in this format looks as its digits do.
pub(super) fn shows_number(pattern: &str, number: f64) -> bool {
    let all = sections(pattern);
    let section = match all.as_slice() {
        [first] | [first, _, ..] if number > 0.0 => first,
        [only] => only,
        [_, _] if number == 0.0 => return shows_in(all[0].as_str(), number),
        [_, second, ..] if number < 0.0 => return second.contains('-') && shows_in(&second.replace('-', ""), -number),
        [_, _, third, ..] => third,
        _ => return false,
    };
    shows_in(section, number)
}

fn shows_in(section: &str, number: f64) -> bool {
    let Some(bare) = bare(section) else { return false };
    let whole = number.fract() == 0.0;
    if bare.eq_ignore_ascii_case("general") || bare == "@" {
        // More digits than these are shown as 1.23457E+11, or rounded.
        return if whole { number.abs() < 1e11 } else { show_number(number).0.len() <= 11 };
    }
    let is_digits = !bare.is_empty() && bare.chars().all(|c| matches!(c, '0' | '#' | '?' | ','));
    if !is_digits || !whole || bare.ends_with(',') || (bare.contains(',') && number.abs() >= 1000.0) {
        return false;
    }
    let least = bare.matches('0').count();
    let digits = show_number(number.abs()).0.len();
    digits >= least && (number != 0.0 || least > 0)
}

/// Whether a text in this format looks as it is.
pub(super) fn shows_text(pattern: &str) -> bool {
    let all = sections(pattern);
    match all.as_slice() {
        [_, _, _, text, ..] => bare(text).is_some_and(|text| text == "@" || text.eq_ignore_ascii_case("general")),
        some => some.iter().all(|one| !one.contains('@') || bare(one).is_some_and(|one| one == "@")),
    }
}

/// A format's parts: for numbers above zero, below it, for zero, and for texts.
fn sections(pattern: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in pattern.chars() {
        if c == ';' && !quoted && !escaped {
            all.push(String::new());
            continue;
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped && !quoted;
        if let Some(last) = all.last_mut() {
            last.push(c);
        }
    }
    all
}

/// A section without what only colours it or sets it apart; `None` where it adds characters, or means other digits.
fn bare(section: &str) -> Option<String> {
    let mut bare = String::new();
    let mut rest = section.chars();
    while let Some(c) = rest.next() {
        match c {
            // Room as wide as the next character, which is not shown itself.
            '_' | '*' => _ = rest.next(),
            '\\' if rest.next().is_none_or(char::is_whitespace) => {}
            '"' => {
                if rest.by_ref().take_while(|&c| c != '"').any(|c| !c.is_whitespace()) {
                    return None;
                }
            }
            '[' => {
                let inside: String = rest.by_ref().take_while(|&c| c != ']').collect();
                let is_colour = inside.chars().all(|c| c.is_ascii_alphanumeric());
                if !is_colour || inside.to_ascii_lowercase().starts_with("dbnum") || inside.len() < 3 {
                    return None;
                }
            }
            '\\' => return None,
            _ if c.is_whitespace() => {}
            _ => bare.push(c),
        }
    }
    Some(bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_add_or_drop_characters_are_told_from_those_that_colour() {
        for (pattern, number, is_same) in [
            ("General", 123.0, true),
            ("General", 123_456_789_012.0, false),
            ("0", 123_456_789_012.0, true),
            ("@", 7.0, true),
            ("00000", 123.0, false),
            ("00000", 12345.0, true),
            ("\"d-\"0000", 1.0, false),
            ("#,##0", 999.0, true),
            ("#,##0", 1000.0, false),
            ("0.00", 5.0, false),
            ("0_ ", 123.0, true),
            ("0_);[Red]\\(0\\)", 123.0, true),
            ("[Red]0", 5.0, true),
            ("[DBNum1]0", 5.0, false),
            ("0%", 5.0, false),
            (";;;", 5.0, false),
            ("#", 0.0, false),
            ("0,", 5000.0, false),
            ("yyyy-mm-dd", 5.0, false),
        ] {
            assert_eq!(shows_number(pattern, number), is_same, "{pattern} {number}");
        }
        for (pattern, is_same) in
            [("General", true), ("@", true), ("0", true), (";;;", false), ("\"PC-\"@", false), ("0;0;0;@", true)]
        {
            assert_eq!(shows_text(pattern), is_same, "{pattern}");
        }
    }
}
