//! The process's environment, as something that a test can stand in for.

/// A value without what files, secret stores and editors leave around it: blanks, line ends, a byte order mark.
pub(crate) fn trimmed(value: &str) -> &str {
    value.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')
}

/// Looks up environment variables, each without the blanks and line ends around it. An empty one counts as not set.
pub(crate) trait Env: Send + Sync {
    fn var(&self, name: &str) -> Option<String>;

    /// Whether it is set, and to nothing.
    fn is_blank(&self, name: &str) -> bool;

    /// The first of `names` that is set.
    fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.var(name))
    }
}

/// The real environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ProcessEnv;

impl Env for ProcessEnv {
    fn var(&self, name: &str) -> Option<String> {
        let value = std::env::var_os(name)?.to_string_lossy().into_owned();
        Some(trimmed(&value).to_owned()).filter(|value| !value.is_empty())
    }

    fn is_blank(&self, name: &str) -> bool {
        std::env::var_os(name).is_some() && self.var(name).is_none()
    }
}

/// A fixed list of names and values.
impl<const N: usize> Env for [(&str, &str); N] {
    fn var(&self, name: &str) -> Option<String> {
        self.as_slice().var(name)
    }

    fn is_blank(&self, name: &str) -> bool {
        self.as_slice().is_blank(name)
    }
}

impl Env for &[(&str, &str)] {
    fn var(&self, name: &str) -> Option<String> {
        let (_, value) = self.iter().find(|(known, _)| *known == name)?;
        Some(trimmed(value).to_owned()).filter(|value| !value.is_empty())
    }

    fn is_blank(&self, name: &str) -> bool {
        self.iter().any(|(known, _)| *known == name) && self.var(name).is_none()
    }
}
