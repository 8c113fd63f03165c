//! Where a setting was written, and how its faults name that.

use std::fmt;
use std::sync::Arc;

use crate::error::Error;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File {
        path: Arc<str>,
        /// From 1.
        line: usize,
    },
    Variable(String),
    /// The option's name, without its dashes.
    Option(&'static str),
    /// A journal that is resumed without its input.
    Journal(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Option(name) => write!(f, "option --{name}"),
            Self::Journal(path) => write!(f, "journal {path}"),
        }
    }
}

pub(super) fn wrong(name: &str, origin: &Origin, problem: String) -> Error {
    Error::Setting { name: name.to_owned(), origin: origin.to_string(), problem }
}
