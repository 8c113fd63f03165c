//! Whom the page names: everybody, or nobody (`--redact`).

use std::borrow::Cow;
use std::collections::BTreeSet;

use aho_corasick::AhoCorasick;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::error::Error;
use crate::outcome::results::safe;

/// Names that are looked for within messages at most: the search needs memory for each of their characters. A page of
/// more people shows no messages.
const MAX_NAMES: usize = 300_000;
/// A shorter name is replaced only where it stands as a word of its own.
const SHORT: usize = 4;
/// Hex digits of a hash: enough to tell a hundred thousand people apart.
const DIGITS: usize = 12;
const LEFT_OUT: &str = "(left out)";

/// What text from outside passes before it is shown.
#[derive(Debug)]
pub(super) enum Veil {
    /// As it is, but safe to show (P21).
    Open,
    Hashed(Hashed),
}

/// Users as salted hashes. The salt is made for one page and kept nowhere, so that nobody can try names against it.
#[derive(Debug)]
pub(super) struct Hashed {
    salt: [u8; 32],
    /// `None` where there are too many names to look for.
    names: Option<AhoCorasick>,
}

/// The users of a run, by name and by id, collected to be looked for within messages.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: BTreeSet<String>,
    too_many: bool,
}

impl Names {
    pub(super) fn add(&mut self, name: &str) {
        if name.is_empty() || self.too_many || self.all.contains(name) {
            return;
        }
        // The search itself knows the case of ASCII letters only.
        for form in [safe(name).into_owned(), name.to_lowercase(), name.to_uppercase(), name.to_owned()] {
            self.all.insert(form);
        }
        if self.all.len() > MAX_NAMES {
            self.too_many = true;
            self.all = BTreeSet::new();
        }
    }
}

impl Hashed {
    pub(super) fn new(names: Names) -> Result<Self, Error> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(|error| Error::Internal(format!("no random numbers: {error}")))?;
        Self::with_salt(salt, names)
    }

    fn with_salt(salt: [u8; 32], names: Names) -> Result<Self, Error> {
        let searcher = AhoCorasick::builder().ascii_case_insensitive(true).build(&names.all);
        let searcher = searcher.map_err(|error| Error::Internal(format!("names to look for: {error}")))?;
        Ok(Self { salt, names: (!names.too_many).then_some(searcher) })
    }

    /// `user-3fa9c1d2e4b0`: the same for one name throughout a page, whatever its case.
    fn hash(&self, name: &str) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.salt) else { return LEFT_OUT.to_owned() };
        mac.update(name.to_lowercase().as_bytes());
        let digits = hex::encode(mac.finalize().into_bytes());
        format!("user-{}", digits.get(..DIGITS).unwrap_or_default())
    }

    fn replace(&self, text: &str) -> String {
        let Some(names) = &self.names else { return LEFT_OUT.to_owned() };
        let mut found: Vec<(usize, usize)> = names
            .find_overlapping_iter(text)
            .map(|found| (found.start(), found.end()))
            .filter(|(start, end)| stands_alone(text, *start, *end))
            .collect();
        found.sort_unstable();
        let (mut out, mut after) = (String::with_capacity(text.len()), 0);
        let mut spans = found.into_iter().peekable();
        while let Some((start, mut end)) = spans.next() {
            // Names that overlap are one: what is left of the second would tell a part of it.
            while let Some((_, more)) = spans.next_if(|(next, _)| *next < end) {
                end = end.max(more);
            }
            out.push_str(text.get(after..start).unwrap_or_default());
            out.push_str(&self.hash(text.get(start..end).unwrap_or_default()));
            after = end;
        }
        out.push_str(text.get(after..).unwrap_or_default());
        out
    }
}

/// Whether the match may be a name here: a short one must not be a part of a longer word.
fn stands_alone(text: &str, start: usize, end: usize) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let (before, inside, after) = (text.get(..start), text.get(start..end), text.get(end..));
    let (Some(before), Some(inside), Some(after)) = (before, inside, after) else { return false };
    inside.chars().count() >= SHORT
        || !(is_word(inside.chars().next()) && is_word(before.chars().next_back())
            || is_word(inside.chars().next_back()) && is_word(after.chars().next()))
}

impl Veil {
    pub(super) const fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// A cell that names a user, or is the id of one.
    pub(super) fn user<'t>(&self, cell: &'t str) -> Cow<'t, str> {
        match self {
            Self::Hashed(hashed) if !cell.is_empty() => hashed.hash(cell).into(),
            _ => safe(cell),
        }
    }

    /// Other text, in which a user may be named.
    pub(super) fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match self {
            Self::Hashed(hashed) if !text.is_empty() => safe(&hashed.replace(text)).into_owned().into(),
            _ => safe(text),
        }
    }

    /// Why a row is not as requested. Our own messages name people whom no row names: between backticks, and some of them
    /// in brackets.
    pub(super) fn message<'t>(&self, code: &str, text: &'t str) -> Cow<'t, str> {
        let Self::Hashed(hashed) = self else { return safe(text) };
        if text.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut text = Cow::Borrowed(text);
        if matches!(code, "STILL_BOUND" | "NOT_BOUND" | "INVALID_AMBIGUOUS_USER") {
            text = between(&text, '(', ')', |_| "(…)".to_owned()).into();
        }
        if code.starts_with("INVALID_") || code.starts_with("DOUBT_") {
            text = between(&text, '`', '`', |name| format!("`{}`", hashed.hash(name))).into();
        }
        safe(&hashed.replace(&text)).into_owned().into()
    }
}

/// Puts `with` in the place of each part between `open` and `close`; an open one goes to the end.
fn between(text: &str, open: char, close: char, with: impl Fn(&str) -> String) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(open) {
        let (inside, behind) = after.split_once(close).unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(&with(inside));
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veil(names: &[&str]) -> Veil {
        let mut all = Names::default();
        for name in names {
            all.add(name);
        }
        Veil::Hashed(Hashed::with_salt([7; 32], all).unwrap())
    }

    #[test]
    fn one_name_has_one_hash_whatever_its_case() {
        let veil = veil(&["Zhang.San", "Äpfel"]);
        let hash = veil.user("zhang.san").into_owned();
        assert!(hash.starts_with("user-") && hash.len() == 5 + DIGITS, "{hash}");
        assert_eq!(veil.user("ZHANG.SAN"), hash);
        assert_ne!(veil.user("li.si"), hash);
        assert_eq!(veil.text("no user zhang.SAN here"), format!("no user {hash} here"));
        assert_eq!(veil.text("ÄPFEL"), veil.user("äpfel"));
        assert_eq!(veil.user(""), "");
    }

    #[test]
    fn two_pages_have_two_salts() {
        let of = || Hashed::new(Names::default()).unwrap().hash("zhang.san");
        assert_ne!(of(), of());
    }

    #[test]
    fn names_are_found_within_other_text_and_short_ones_only_as_words() {
        let veil = veil(&["张三", "bo", "zhangsan"]);
        for text in ["用户张三不存在", "WINZHANGSAN01", "user bo, 409", "bo", "(BO)"] {
            let shown = veil.text(text).into_owned();
            assert!(shown.contains("user-"), "{text}: {shown}");
        }
        assert_eq!(veil.text("bound, robot, Bob"), "bound, robot, Bob");
    }

    #[test]
    fn of_names_that_overlap_nothing_is_left() {
        let veil = veil(&["anna.li", "li.marco"]);
        let shown = veil.text("x anna.li.marco y").into_owned();
        assert!(shown.starts_with("x user-") && shown.ends_with(" y"), "{shown}");
        assert!(!shown.contains("li") && !shown.contains("marco"), "{shown}");
    }

    #[test]
    fn people_whom_no_row_names_are_hidden_in_our_own_messages() {
        let veil = veil(&[]);
        for (code, message) in [
            ("STILL_BOUND", "not sent: 1 was bound to this desktop since the plan was made (secret.one); plan again"),
            ("INVALID_AMBIGUOUS_USER", "several people have this name (secret.one in domain d); add domain or user_id"),
            ("INVALID_ID_MISMATCH", "the id 7 is `secret.one` here, not `b`; correct the one that is wrong"),
            ("INVALID_PROTECTED", "`secret.one` is bound to this desktop and protected (--protect)"),
            ("INVALID_PROTECTED", "`secret.one"),
        ] {
            assert!(!veil.message(code, message).contains("secret"), "{message}");
            assert_eq!(Veil::Open.message(code, message), message);
        }
        assert!(veil.message("INVALID_PROTECTED", "protected (--protect)").contains("(--protect)"));
    }

    #[test]
    fn with_too_many_names_no_message_is_shown() {
        let mut names = Names::default();
        (0..=MAX_NAMES).for_each(|n| names.add(&format!("u{n}")));
        let veil = Veil::Hashed(Hashed::with_salt([7; 32], names).unwrap());
        assert_eq!(veil.text("u5 is busy"), LEFT_OUT);
        assert!(veil.user("u5").starts_with("user-"));
    }

    #[test]
    fn p21_text_is_safe_to_show_either_way() {
        assert_eq!(Veil::Open.text("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(veil(&["bob"]).message("X", "a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(Veil::Open.user("a\u{1b}b"), "a\\u{1b}b");
    }
}
