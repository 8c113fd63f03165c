//! Commands that can be pasted into a POSIX shell.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::is_invisible;

/// Quotes a word so that a POSIX shell reads it as that word; plain words stay plain.
pub(crate) fn shell_quote(word: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,@%+=".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) && !word.starts_with('=') {
        Cow::Borrowed(word)
    } else if word.chars().any(|c| c.is_control() || is_invisible(c)) {
        Cow::Owned(spelled_out(word))
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
}

/// A word with characters that must not reach a terminal, written so that the shell makes them.
fn spelled_out(word: &str) -> String {
    // The shell takes line feeds off the end of what a command prints, so those stand behind it.
    let body = word.trim_end_matches('\n');
    let mut spelled = String::from("\"$(printf '");
    for c in body.chars() {
        let is_plain = !c.is_control() && !is_invisible(c) && !matches!(c, '\'' | '\\' | '%');
        if is_plain {
            spelled.push(c);
        } else {
            for byte in c.to_string().bytes() {
                _ = write!(spelled, "\\{byte:03o}");
            }
        }
    }
    spelled.push_str("')\"");
    if body.len() < word.len() {
        spelled.push('\'');
        spelled.push_str(&word[body.len()..]);
        spelled.push('\'');
    }
    spelled
}

/// A whole command, each word quoted where it has to be.
pub(crate) fn shell_line<S: AsRef<str>>(words: &[S]) -> String {
    words.iter().map(|word| shell_quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_pasted() {
        let words = ["batch-detach", "run", "Q3 leavers.csv", "it's", "", "a$b", "--only", "failed,unknown"];
        assert_eq!(shell_line(&words), r"batch-detach run 'Q3 leavers.csv' 'it'\''s' '' 'a$b' --only failed,unknown");
    }
}
