//! Lines that fit the screen.

use std::borrow::Cow;

use unicode_width::UnicodeWidthChar as _;

/// Columns that a terminal uses for the text: East Asian characters take two.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(char_columns).sum()
}

/// Breaks text into lines of at most `width` columns, at blanks where there are any; never empty.
///
/// A single word that is wider (an id, a path) stays whole, so that it can be copied; East Asian text, which has
/// no blanks, breaks between characters.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    wrap_hanging(text, width, width)
}

/// As [`wrap`], with a width of its own for the first line.
pub(super) fn wrap_hanging(text: &str, first: usize, others: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut rest = word;
        while !rest.is_empty() {
            let width = if lines.len() == 1 { first } else { others };
            let used = lines.last().map_or(0, |line| columns(line));
            // A blank stands between words, never inside one that goes on.
            let blank = usize::from(used > 0 && rest.len() == word.len());
            let fits = used + blank + columns(rest) <= width;
            let cut = if fits { rest.len() } else { wide_cut(rest, width.saturating_sub(used + blank)) };
            if cut == 0 && used > 0 {
                lines.push(String::new());
                continue;
            }
            // Nothing fits, on a line of its own: up to the first break, or whole.
            let (now, later) = rest.split_at(if cut == 0 { first_break(rest) } else { cut });
            if let Some(line) = lines.last_mut() {
                line.push_str(&" "[..blank]);
                line.push_str(now);
            }
            rest = later;
        }
    }
    lines
}

/// The text, or as much of it as fits `width` columns with a `…` after it.
pub(crate) fn one_line(text: &str, width: usize) -> Cow<'_, str> {
    if columns(text) <= width {
        return Cow::Borrowed(text);
    }
    let mut left = width.saturating_sub(1);
    let fits = |c: &char| left.checked_sub(char_columns(*c)).map(|rest| left = rest).is_some();
    let mut cut: String = text.chars().take_while(fits).collect();
    if width > 0 {
        cut.push('…');
    }
    Cow::Owned(cut)
}

/// How much of the word (bytes) fits into `width` and may be followed by a line break: only next to a wide character.
fn wide_cut(word: &str, width: usize) -> usize {
    let (mut used, mut cut, mut before) = (0, 0, None);
    for (place, c) in word.char_indices() {
        if used > width {
            break;
        }
        if place > 0 && (is_wide(c) || before.is_some_and(is_wide)) {
            cut = place;
        }
        used += char_columns(c);
        before = Some(c);
    }
    cut
}

/// Where (in bytes) the first line break is allowed after the word's start; its end where none is.
fn first_break(word: &str) -> usize {
    let wide_start = word.starts_with(is_wide);
    word.char_indices().skip(1).find(|(_, c)| wide_start || is_wide(*c)).map_or(word.len(), |(place, _)| place)
}

/// What a control character takes is not known; one column is the safe guess.
fn char_columns(c: char) -> usize {
    c.width().unwrap_or(1)
}

fn is_wide(c: char) -> bool {
    char_columns(c) == 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_break_at_blanks_and_long_words_stay_whole() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("see /a/very/long/path now", 8), ["see", "/a/very/long/path", "now"]);
        assert_eq!(wrap("", 8), [""]);
    }

    #[test]
    fn east_asian_text_breaks_between_characters() {
        assert_eq!(wrap("用户不存在请检查", 8), ["用户不存", "在请检查"]);
        assert_eq!(wrap("用户 zhang.san 不存在", 10), ["用户", "zhang.san", "不存在"]);
    }

    #[test]
    fn a_line_that_does_not_fit_ends_in_an_ellipsis() {
        for (width, text) in [(5, "用户 x"), (4, "用…"), (3, "用…"), (2, "…"), (0, "")] {
            assert_eq!(one_line("用户 x", width + usize::from(width == 5)), text);
        }
    }

    #[test]
    fn an_accent_of_its_own_takes_no_column() {
        assert_eq!(["e\u{301}", "用", "é", "a"].map(columns), [1, 2, 1, 1]);
    }

    proptest! {
        #[test]
        fn wrapping_keeps_every_character_but_blanks(text in "[a-z 用户]{0,60}|.{0,40}", width in 1_usize..30) {
            let kept: String = wrap(&text, width).concat().split_whitespace().collect();
            prop_assert_eq!(kept, text.split_whitespace().collect::<String>());
        }

        #[test]
        fn lines_fit_unless_they_are_one_word(text in "[a-z 用户]{0,60}", width in 2_usize..30) {
            for line in wrap(&text, width) {
                let one_word = !line.contains(' ') && !line.contains(is_wide);
                prop_assert!(columns(&line) <= width || one_word || line.chars().filter(|c| is_wide(*c)).count() < 2);
            }
        }
    }
}
