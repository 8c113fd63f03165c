//! Commands that can be pasted into a POSIX shell.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;

use super::is_invisible;

/// Quotes a word so that a POSIX shell reads it as that word, byte for byte; plain words stay plain.
pub(crate) fn shell_quote(word: impl AsRef<OsStr>) -> String {
    let bytes = word.as_ref().as_bytes();
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:,@%+=".contains(byte);
    match std::str::from_utf8(bytes) {
        Ok(word) if !word.is_empty() && bytes.iter().all(plain) && !word.starts_with('=') => word.to_owned(),
        Ok(word) if !word.chars().any(|c| c.is_control() || is_invisible(c)) => {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
        _ => spelled_out(bytes),
    }
}

/// A word with characters that must not reach a terminal, or with bytes that are none, written so that the shell makes them.
fn spelled_out(word: &[u8]) -> String {
    // The shell takes line feeds off the end of what a command prints, so those stand behind it.
    let feeds = word.iter().rev().take_while(|byte| **byte == b'\n').count();
    let mut spelled = String::from("\"$(printf '");
    for part in word[..word.len() - feeds].utf8_chunks() {
        for c in part.valid().chars() {
            // What begins with a dash would be an option of `printf`.
            let is_first_dash = c == '-' && spelled.ends_with('\'');
            if is_first_dash || c.is_control() || is_invisible(c) || matches!(c, '\'' | '\\' | '%') {
                spell(&mut spelled, c.to_string().as_bytes());
            } else {
                spelled.push(c);
            }
        }
        spell(&mut spelled, part.invalid());
    }
    spelled.push_str("')\"");
    if feeds > 0 {
        _ = write!(spelled, "'{}'", "\n".repeat(feeds));
    }
    spelled
}

/// Bytes as `printf` makes them.
fn spell(spelled: &mut String, bytes: &[u8]) {
    for byte in bytes {
        _ = write!(spelled, "\\{byte:03o}");
    }
}

/// A whole command, each word quoted where it has to be.
pub(crate) fn shell_line<S: AsRef<OsStr>>(words: &[S]) -> String {
    words.iter().map(shell_quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_word_as_it_is_whatever_bytes_it_has() {
        let mut words: Vec<Vec<u8>> = (1..=u8::MAX).map(|byte| vec![byte]).collect();
        words.extend([
            b"liste-ao\xfbt.csv".to_vec(),
            "\u{202e}a%\n\n".into(),
            "it's \u{9b}".into(),
            b"--results=-ao\xfb.csv".to_vec(),
            "-\u{1}'-".into(),
            (1..=u8::MAX).collect(),
        ]);
        for word in words {
            let quoted = shell_quote(OsStr::from_bytes(&word));
            assert!(
                !quoted.trim_end_matches(['\n', '\'']).chars().any(|c| c.is_control() || is_invisible(c)),
                "{quoted:?}"
            );
            let script = format!("printf %s {quoted}");
            let said = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(said.stdout, word, "{quoted}");
        }
    }

    #[test]
    fn commands_can_be_pasted() {
        let words = ["batch-detach", "run", "Q3 leavers.csv", "it's", "", "a$b", "--only", "failed,unknown"];
        assert_eq!(shell_line(&words), r"batch-detach run 'Q3 leavers.csv' 'it'\''s' '' 'a$b' --only failed,unknown");
    }
}
