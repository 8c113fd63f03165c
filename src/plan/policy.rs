//! What the settings say about which rows may be sent, and how much one request may carry.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::snapshot::fold;

/// The settings that shape a plan, checked.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// `--allow-detach-all`.
    pub allow_detach_all: bool,
    /// `--protect`.
    pub protect: Protect,
    /// `--in-use skip`.
    pub in_use_skip: bool,
    /// The bounds of a request.
    pub bounds: Bounds,
    /// `--canary`: this many desktops go first, in requests of their own.
    pub canary: Option<u32>,
    /// `--max-desktops`: desktops that the plan may touch.
    pub max_desktops: Option<u64>,
    /// `--max-percent`: their share of the project's assigned desktops, in percent.
    pub max_percent: Option<f64>,
}

/// How much one request may carry. Source: API definition, `BatchDetachInstances`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Desktops, from 1.
    pub max_desktops: usize,
    /// Users and groups over all desktops, from 1.
    pub max_users: usize,
    /// Users and groups of one desktop, from 1; the rest of it follows in later requests.
    pub max_users_per_desktop: usize,
    /// Bytes of the whole JSON body.
    pub max_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { max_desktops: 100, max_users: 5_000, max_users_per_desktop: 500, max_bytes: 1 << 20 }
    }
}

/// Users, groups and desktops that are never touched.
///
/// Patterns are globs (`*`, `?`, `[a-z]`, `{one,other}`) over the whole name, without case.
#[derive(Debug, Clone, Default)]
pub struct Protect {
    ascii: GlobSet,
    /// globset matches bytes: its `?` is one byte of a character that has several. Here `?` is one to four bytes, so
    /// that a name in Chinese is matched; it may then protect a little more than was meant, never less.
    wide: GlobSet,
}

impl Protect {
    /// # Errors
    /// Which pattern is wrong, why, and what to write instead.
    pub fn new(patterns: &[String]) -> Result<Self, String> {
        let (mut ascii, mut wide) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in patterns {
            let pattern = pattern.trim();
            if pattern.is_empty() {
                return Err("a pattern is empty; write a name, or a pattern such as `admin*`".to_owned());
            }
            let folded = fold(pattern);
            ascii.add(glob(pattern, &folded)?);
            wide.add(glob(pattern, &widen(pattern, &folded)?)?);
        }
        let build = |set: GlobSetBuilder| set.build().map_err(|error| format!("the patterns are too large: {error}"));
        Ok(Self { ascii: build(ascii)?, wide: build(wide)? })
    }

    pub fn is_empty(&self) -> bool {
        self.ascii.is_empty()
    }

    /// Whether a name or an id is protected; an empty one never is.
    pub fn covers(&self, name: &str) -> bool {
        if self.is_empty() || name.is_empty() {
            return false;
        }
        let set = if name.is_ascii() { &self.ascii } else { &self.wide };
        set.is_match(&*fold(name))
    }
}

fn glob(as_written: &str, pattern: &str) -> Result<Glob, String> {
    GlobBuilder::new(pattern)
        .literal_separator(false)
        .backslash_escape(true)
        .build()
        .map_err(|error| format!("pattern `{as_written}`: {}", error.kind()))
}

/// The pattern for names with characters of several bytes: each `?` stands for one to four bytes.
fn widen(as_written: &str, pattern: &str) -> Result<String, String> {
    let mut wide = String::with_capacity(pattern.len());
    let (mut escaped, mut class) = (false, false);
    for c in pattern.chars() {
        if class && !c.is_ascii() {
            return Err(format!(
                "pattern `{as_written}`: `[…]` can hold ASCII characters alone; list the names as `{{one,other}}` instead"
            ));
        }
        match c {
            _ if escaped => wide.push(c),
            '?' if !class => {
                wide.push_str("{?,??,???,????}");
                continue;
            }
            _ => wide.push(c),
        }
        match c {
            _ if escaped => escaped = false,
            '\\' if !class => escaped = true,
            '[' => class = true,
            ']' => class = false,
            _ => {}
        }
    }
    Ok(wide)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protect(patterns: &[&str]) -> Protect {
        Protect::new(&patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn patterns_cover_whole_names_without_case() {
        let protect = protect(&["admin*", "CEO", "svc-?", "{root,boss}"]);
        for name in ["ADMIN", "admin.li", "ceo", "Svc-1", "BOSS"] {
            assert!(protect.covers(name), "{name}");
        }
        for name in ["", "an-admin", "ceo2", "svc-12"] {
            assert!(!protect.covers(name), "{name}");
        }
    }

    #[test]
    fn a_question_mark_stands_for_a_chinese_character_too() {
        let protect = protect(&["王?", "É*", "組\\?"]);
        for name in ["王伟", "Émile", "émile", "組?"] {
            assert!(protect.covers(name), "{name}");
        }
        assert!(!protect.covers("李伟"));
        assert!(!protect.covers("組x"));
    }

    #[test]
    fn a_wrong_pattern_is_named() {
        for pattern in ["[", "", "[王李]", "{a"] {
            let error = Protect::new(&[pattern.to_owned()]).unwrap_err();
            assert!(error.contains(pattern), "{error}");
        }
    }

    #[test]
    fn without_patterns_nothing_is_protected() {
        assert!(Protect::default().is_empty());
        assert!(!Protect::default().covers("admin"));
    }
}
