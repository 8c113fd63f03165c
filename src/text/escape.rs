//! Text from outside, made safe to keep and to show.

/// Makes text from outside safe to keep, log and print (P21): control, bidirectional and zero-width characters
/// become `\u{…}`, and at most `max` characters stay.
pub fn escape_untrusted(text: &str, max: usize) -> String {
    let mut safe = String::with_capacity(text.len().min(max));
    for (count, c) in text.chars().enumerate() {
        if count == max {
            safe.push('…');
            break;
        }
        if c.is_control() || is_invisible(c) { safe.extend(c.escape_unicode()) } else { safe.push(c) }
    }
    safe
}

/// Bidirectional controls, zero-width characters, line separators and tags: they change how text looks.
pub(crate) const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

/// A value as it may be repeated in a message: short, and harmless to a terminal.
pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", escape_untrusted(text, 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p21_text_from_outside_loses_its_controls() {
        assert_eq!(escape_untrusted("a\x1b[31mb\u{202e}c", 99), "a\\u{1b}[31mb\\u{202e}c");
        assert_eq!(escape_untrusted("abcdef", 3), "abc…");
    }
}
