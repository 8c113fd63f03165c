//! Commands that can be pasted into a POSIX shell.

use std::borrow::Cow;

/// Quotes a word so that a POSIX shell reads it as that word; plain words stay plain.
pub(crate) fn shell_quote(word: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,@%+=".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) && !word.starts_with('=') {
        Cow::Borrowed(word)
    } else {
        Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
    }
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
