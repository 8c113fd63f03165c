//! Whom and what a run never touches: patterns for names, without case and in Unicode's canonical form.

use unicode_normalization::UnicodeNormalization as _;

use crate::text::quoted;

/// The patterns of `--protect`, ready to be asked.
///
/// `*` stands for any run of characters, `?` for one, `[a-z]` and `[!a-z]` for one of (or none of) a set, `{a,b}` for
/// either; everything else for itself, a backslash too (`CORP\admin*`). A pattern must fit the whole name. Characters
/// are Unicode's, which the usual crates for file patterns match byte by byte: `王?` must protect `王芳`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Protected {
    /// A pattern as written, with what its `{…}` unfolds to.
    patterns: Vec<(String, Vec<Vec<Token>>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Run,
    One,
    Char(char),
    Set { negated: bool, ranges: Vec<(char, char)> },
}

/// Unfolded forms of one pattern at most; `{a,b}{a,b}…` doubles with every pair.
const MAX_FORMS: usize = 1_024;

impl Protected {
    /// # Errors
    /// The first pattern that is not one, and why.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let read = |pattern: &'a str| Ok((pattern.to_owned(), parse(pattern)?));
        Ok(Self { patterns: patterns.into_iter().map(read).collect::<Result<_, String>>()? })
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// The patterns as written.
    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().map(|(pattern, _)| pattern.as_str())
    }

    /// Whether a name or an id is protected; an empty one never is.
    pub fn covers(&self, name: &str) -> bool {
        !name.is_empty() && self.pattern_of(name).is_some()
    }

    /// The first pattern, as written, that `name` fits.
    pub fn pattern_of(&self, name: &str) -> Option<&str> {
        if self.patterns.is_empty() {
            return None;
        }
        let name: Vec<char> = name.nfc().map(fold).collect();
        let fits = |forms: &[Vec<Token>]| forms.iter().any(|form| is_match(form, &name));
        self.patterns.iter().find(|(_, forms)| fits(forms)).map(|(pattern, _)| pattern.as_str())
    }
}

/// One character without its case. Of the way there and back only what keeps one character is used, so that `?` counts
/// right; and nothing depends on the neighbours, as the lower case of a Greek word's last sigma does.
fn fold(c: char) -> char {
    fn single(mut chars: impl Iterator<Item = char>) -> Option<char> {
        chars.next().filter(|_| chars.next().is_none())
    }
    let upper = single(c.to_uppercase()).unwrap_or(c);
    single(upper.to_lowercase()).unwrap_or(upper)
}

fn parse(pattern: &str) -> Result<Vec<Vec<Token>>, String> {
    if pattern.trim().is_empty() {
        return Err("an empty pattern protects nothing: write a name, or a pattern as in `admin*`".to_owned());
    }
    let lower: Vec<char> = pattern.nfc().map(fold).collect();
    let why = |problem: &str| format!("{} is not a pattern: {problem}", quoted(pattern));
    unfold(&lower).map_err(why)?.iter().map(|form| tokens(form).map_err(why)).collect()
}

/// Where the bracket that opens at `open` ends: a `]` that comes first belongs to the set.
fn set_end(chars: &[char], open: usize) -> Option<usize> {
    let first = open + 1 + usize::from(matches!(chars.get(open + 1), Some('!' | '^')));
    (first + 1..chars.len()).find(|&at| chars[at] == ']')
}

/// Writes `a{b,c}d` out as `abd` and `acd`.
fn unfold(pattern: &[char]) -> Result<Vec<Vec<char>>, &'static str> {
    let mut forms: Vec<Vec<char>> = vec![Vec::new()];
    let mut at = 0;
    while let Some(&c) = pattern.get(at) {
        let (choices, end) = match c {
            '{' => {
                let (end, choices) = braces(pattern, at)?;
                (choices, end)
            }
            '}' => return Err("a `}` without its `{`"),
            '[' => {
                let end = set_end(pattern, at).ok_or("a `[` without its `]`")?;
                (vec![pattern[at..=end].to_vec()], end)
            }
            _ => (vec![vec![c]], at),
        };
        if forms.len() * choices.len() > MAX_FORMS {
            return Err("its `{…}` stand for too many names; write several patterns");
        }
        forms = forms.iter().flat_map(|form| choices.iter().map(|choice| [form.as_slice(), choice].concat())).collect();
        at = end + 1;
    }
    Ok(forms)
}

/// Where the braces that open at `open` end, and what stands between their commas.
fn braces(pattern: &[char], open: usize) -> Result<(usize, Vec<Vec<char>>), &'static str> {
    let mut choices = vec![Vec::new()];
    let mut at = open + 1;
    while let Some(&c) = pattern.get(at) {
        let last = choices.len() - 1;
        match c {
            '{' => return Err("`{` within `{…}`; write several patterns"),
            '}' => return Ok((at, choices)),
            ',' => choices.push(Vec::new()),
            '[' => {
                let end = set_end(pattern, at).ok_or("a `[` without its `]`")?;
                choices[last].extend_from_slice(&pattern[at..=end]);
                at = end;
            }
            _ => choices[last].push(c),
        }
        at += 1;
    }
    Err("a `{` without its `}`")
}

fn tokens(form: &[char]) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = form.get(at) {
        match c {
            '*' if tokens.last() == Some(&Token::Run) => {}
            '*' => tokens.push(Token::Run),
            '?' => tokens.push(Token::One),
            '[' => {
                let end = set_end(form, at).ok_or("a `[` without its `]`")?;
                let negated = matches!(form[at + 1], '!' | '^');
                tokens.push(Token::Set { negated, ranges: ranges(&form[at + 1 + usize::from(negated)..end])? });
                at = end;
            }
            _ => tokens.push(Token::Char(c)),
        }
        at += 1;
    }
    Ok(tokens)
}

fn ranges(set: &[char]) -> Result<Vec<(char, char)>, &'static str> {
    let mut ranges = Vec::new();
    let mut rest = set;
    loop {
        match *rest {
            [] => return Ok(ranges),
            [low, '-', high, ref after @ ..] => {
                if low > high {
                    return Err("a range in its `[…]` runs backwards");
                }
                ranges.push((low, high));
                rest = after;
            }
            [one, ref after @ ..] => {
                ranges.push((one, one));
                rest = after;
            }
        }
    }
}

/// Time grows with pattern × name at most: a run takes up what is left over, and only the last run is tried again.
fn is_match(form: &[Token], name: &[char]) -> bool {
    let (mut at, mut token) = (0, 0);
    let mut retry = None;
    loop {
        let fits = match (form.get(token), name.get(at)) {
            (None, None) => return true,
            (Some(Token::Run), _) => {
                retry = Some((token + 1, at));
                token += 1;
                continue;
            }
            (Some(Token::One), Some(_)) => true,
            (Some(Token::Char(wanted)), Some(c)) => wanted == c,
            (Some(Token::Set { negated, ranges }), Some(c)) => {
                ranges.iter().any(|(low, high)| (low..=high).contains(&c)) != *negated
            }
            (Some(_), None) | (None, Some(_)) => false,
        };
        if fits {
            (token, at) = (token + 1, at + 1);
        } else {
            match retry {
                Some((after_run, from)) if from < name.len() => {
                    retry = Some((after_run, from + 1));
                    (token, at) = (after_run, from + 1);
                }
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fits(pattern: &str, name: &str) -> bool {
        Protected::new([pattern]).unwrap().pattern_of(name).is_some()
    }

    #[test]
    fn patterns_fit_whole_names_without_case() {
        for (pattern, name) in [
            ("admin", "ADMIN"),
            ("Admin*", "administrator"),
            ("*svc*", "a-SVC-b"),
            ("u?r", "uSr"),
            ("u[0-9]", "u7"),
            ("u[!0-9]", "ux"),
            ("u[]]", "u]"),
            ("u[a-]", "u-"),
            ("{ceo,cto}-*", "CTO-1"),
            ("corp\\a*", "CORP\\adam"),
            ("*a*b*", "xaxxbx"),
            ("**", ""),
        ] {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("admin", "admin2"), ("u?r", "ur"), ("u[0-9]", "ux"), ("{ceo,cto}", "cfo"), ("*a*b", "ba")]
        {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn p05_a_question_mark_protects_one_character_of_any_script() {
        assert!(fits("王?", "王芳"));
        assert!(fits("[王李]*", "李四"));
        assert!(fits("MÜLLER*", "müller.j"));
        assert!(!fits("王?", "王小芳"));
        assert!(fits("ΟΔΥΣ*", "οδυσσευς") && fits("οδυσσευσ", "ΟΔΥΣΣΕΥΣ"));
        assert!(fits("Stra?e", "straße"));
    }

    #[test]
    fn a_broken_pattern_is_refused_with_its_reason() {
        for (pattern, reason) in [
            ("", "empty"),
            ("a[b", "without its `]`"),
            ("a{b", "without its `}`"),
            ("a}b", "without its `{`"),
            ("{a,{b}}", "within"),
            ("[z-a]", "backwards"),
        ] {
            let error = Protected::new([pattern]).unwrap_err();
            assert!(error.contains(reason), "{pattern}: {error}");
        }
        assert!(Protected::new(["{a,b}".repeat(11).as_str()]).unwrap_err().contains("too many"));
    }

    #[test]
    fn the_pattern_is_named_as_it_was_written() {
        assert_eq!(Protected::new(["x", "Boss*"]).unwrap().pattern_of("bossy"), Some("Boss*"));
    }

    proptest! {
        #[test]
        fn p18_no_pattern_panics_and_none_takes_long(pattern in "[ab*?\\[\\]{},!-]{0,40}", name in "[ab]{0,200}") {
            if let Ok(protected) = Protected::new([pattern.as_str()]) {
                _ = protected.pattern_of(&name);
            }
        }

        #[test]
        fn a_name_without_signs_protects_itself(name in "[\\p{L}\\p{N}._@ -]{1,30}") {
            prop_assume!(!name.trim().is_empty());
            prop_assert!(fits(&name, &name));
            prop_assert!(!name.is_ascii() || fits(&name, &name.to_uppercase()));
        }
    }
}
