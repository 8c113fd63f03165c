//! What is identified: desktops, and parts of the plan.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::text::bytes::holds;

/// The id of a desktop, as the service knows it: 1 to 255 characters, none of them a control character. `.` and `..` are
/// none: no URL can carry them.
///
/// Parsed once, at the input or at an answer; cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DesktopId(Arc<str>);

impl DesktopId {
    /// Longest id that the API's definition allows, in characters.
    pub const MAX_CHARS: usize = 255;

    /// `None` where [`DesktopId::is_one`] says no.
    pub fn parse(text: &str) -> Option<Self> {
        Self::is_one(text).then(|| Self(text.into()))
    }

    /// Not where `text` is empty, too long, `.`, `..` (which would be another path) or holds a control character.
    pub fn is_one(text: &str) -> bool {
        let fits = !matches!(text, "" | "." | "..")
            && (text.len() <= Self::MAX_CHARS || text.chars().count() <= Self::MAX_CHARS);
        let may_hold_one = holds(text.as_bytes(), |byte| !matches!(byte, b' '..=b'~'));
        fits && !(may_hold_one && text.chars().any(char::is_control))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both are the id of one desktop: services compare without case, and answer in a spelling of their own.
    pub(crate) fn is_spelling_of(&self, other: &Self) -> bool {
        self.is_spelled(&other.0)
    }

    /// Whether `text` is this id in some spelling.
    pub(crate) fn is_spelled(&self, text: &str) -> bool {
        self.0.eq_ignore_ascii_case(text)
    }

    /// What all spellings of the id have in common.
    pub(crate) fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for DesktopId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for DesktopId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Which part of the plan a request carried: a chunk (`7`), or a part of a divided one (`7.2`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartLabel {
    /// The chunk's number in the plan, from 1.
    pub chunk: u32,
    /// 0 for the whole chunk; parts are numbered from 1.
    pub part: u32,
}

impl fmt::Display for PartLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.part == 0 { write!(f, "{}", self.chunk) } else { write!(f, "{}.{}", self.chunk, self.part) }
    }
}

impl std::str::FromStr for PartLabel {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (chunk, part) = text.split_once('.').unwrap_or((text, "0"));
        Ok(Self { chunk: chunk.parse()?, part: part.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn desktop_ids_are_bounded_in_characters() {
        assert!(["", ".", ".."].into_iter().all(|text| DesktopId::parse(text).is_none()));
        assert!(DesktopId::parse("a\nb").is_none());
        assert!(DesktopId::parse(&"桌".repeat(255)).is_some());
        assert!(DesktopId::parse(&"x".repeat(256)).is_none());
    }

    #[test]
    fn labels_read_back_as_written() {
        for text in ["7", "7.2", "1.10"] {
            assert_eq!(text.parse::<PartLabel>().unwrap().to_string(), text);
        }
        assert!("x".parse::<PartLabel>().is_err());
    }
}
