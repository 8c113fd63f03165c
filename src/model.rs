//! The words that every other module speaks: identifiers, kinds of bindings, outcomes.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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

/// A number of 32 bits as a place in a list.
pub(crate) fn to_usize(number: u32) -> usize {
    usize::try_from(number).expect("a usize has at least 32 bits on every platform this runs on")
}

/// Whether any byte is such a one. Told without a branch for each, many at once: nearly always none is.
///
/// * `is`: without `&&` and `||`, which are branches and would be taken byte by byte.
#[inline]
pub(crate) fn holds(text: &[u8], is: impl Fn(u8) -> bool) -> bool {
    // Of a known length, sixteen bytes are a few instructions: so the last block may overlap the one before.
    let any = |block: &[u8; 16]| block.iter().fold(0, |any, &byte| any | u8::from(is(byte))) != 0;
    let Some(last) = text.last_chunk() else {
        return text.iter().fold(false, |any, &byte| any | is(byte));
    };
    let (blocks, _) = text.as_chunks();
    blocks.iter().any(any) || any(last)
}

/// The same byte eight times.
pub(crate) const fn eight(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// What a row asks to detach: the column `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Kind {
    /// One user.
    #[default]
    User,
    /// One user group.
    Group,
    /// Everybody who is bound to the desktop.
    All,
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Group => "GROUP",
            Self::All => "ALL",
        }
    }

    /// Reads a `type` cell, without case; an empty one is [`Kind::User`]. `None` for any other word.
    pub fn parse(cell: &str) -> Option<Self> {
        let known = [Self::User, Self::Group, Self::All];
        // As it should be written, mostly; then without case.
        let exactly = known.into_iter().find(|kind| cell == kind.as_str());
        exactly
            .or_else(|| known.into_iter().find(|kind| cell.eq_ignore_ascii_case(kind.as_str())))
            .or_else(|| cell.is_empty().then_some(Self::User))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One user or group that is bound to a desktop, as the service spells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bound {
    /// [`Kind::User`] or [`Kind::Group`].
    #[serde(rename = "type")]
    pub kind: Kind,
    pub user_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Privilege group on the desktop (`users`, `administrators`, `sudo`, `default`); an undo needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// A desktop as one read of the API showed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveDesktop {
    pub id: DesktopId,
    pub name: String,
    /// `ACTIVE`, `SHUTOFF`, `HIBERNATED`, `ERROR`, …; empty where the service did not say.
    pub status: String,
    /// Empty when no task runs on the desktop.
    pub task_status: String,
    /// `ATTACHED`, `UNATTACH`, `DEATTACHED`, `WAITING`, …; empty where the service did not say.
    pub attach_state: String,
    /// `DEDICATED`, `SHARED`, `POOLED`; empty where the service did not say.
    pub desktop_type: String,
    pub pool_id: Option<String>,
    /// `CONNECTED` while somebody works on it.
    pub login_status: String,
    /// Frozen by the service: arrears, an end of term, a violation.
    pub frozen: bool,
    /// Put into maintenance by an administrator.
    pub in_maintenance: bool,
    /// Who is bound; `None` where this read does not tell (RELIABILITY.md: not a good read).
    pub bound: Option<Vec<Bound>>,
}

impl LiveDesktop {
    /// Whether nothing is under way on the desktop: no task, no attach or detach queued or running.
    pub fn is_idle(&self) -> bool {
        self.task_status.is_empty() && !matches!(self.attach_state.as_str(), "WAITING" | "ATTACHING" | "DEATTACHING")
    }

    /// Who is bound, if this read is evidence: the desktop is idle and its bindings were told.
    pub fn good(&self) -> Option<&[Bound]> {
        self.bound.as_deref().filter(|_| self.is_idle())
    }

    /// Whether its state forbids a detach for as long as nobody changes it by hand: waiting is of no use.
    pub fn is_stuck(&self) -> bool {
        self.frozen || self.in_maintenance || matches!(self.status.as_str(), "HIBERNATED" | "ERROR")
    }

    /// Whether the desktop belongs to a pool, so that a detach of it comes with a job.
    pub fn is_pooled(&self) -> bool {
        self.pool_id.is_some() || self.desktop_type == "POOLED"
    }
}

/// The one final word on a row. The names are a public interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Was bound, is not any more.
    Detached,
    /// Was not bound when the run came to it.
    AlreadyDetached,
    /// In an undo: was not bound, is now.
    Attached,
    /// In an undo: was bound when the run came to it.
    AlreadyAttached,
    /// Refused; the code says why.
    Failed,
    /// Sent, and what became of it could not be learnt.
    Unknown,
    /// Can't be sent; the code names the rule.
    Invalid,
    /// The run stopped first, or was told to leave it.
    NotSent,
    /// In a plan alone.
    Planned,
}

impl Outcome {
    /// Every outcome, in the order in which a summary lists them.
    pub const ALL: [Self; 9] = [
        Self::Detached,
        Self::AlreadyDetached,
        Self::Attached,
        Self::AlreadyAttached,
        Self::Failed,
        Self::Unknown,
        Self::Invalid,
        Self::NotSent,
        Self::Planned,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Detached => "detached",
            Self::AlreadyDetached => "already_detached",
            Self::Attached => "attached",
            Self::AlreadyAttached => "already_attached",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
            Self::NotSent => "not_sent",
            Self::Planned => "planned",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// Whether a row of this outcome is as the operator wanted it.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Detached | Self::AlreadyDetached | Self::Attached | Self::AlreadyAttached)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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

/// A refusal that the API (or one of its jobs) gave: what `error_code` and `error_msg` of a row come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The code as the service spelled it, or `HTTP_404` where it gave none.
    pub code: String,
    /// At most 1,000 characters, control characters escaped.
    pub message: String,
}

/// Wall-clock time for records that people read: UTC, RFC 3339, whole milliseconds.
pub fn timestamp_now() -> String {
    let now = jiff::Timestamp::now();
    let millis = now.as_millisecond();
    jiff::Timestamp::from_millisecond(millis).unwrap_or(now).to_string()
}

/// Makes text from outside safe to keep, log and print (P21): control, bidirectional and zero-width characters
/// become `\u{…}`, and at most `max` characters stay.
pub fn tame(text: &str, max: usize) -> String {
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
pub const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}' | '\u{061C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
        | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_byte_is_held_wherever_it_stands(len in 0..70_usize, at in 0..70_usize) {
            let mut text = vec![b'a'; len];
            if let Some(byte) = text.get_mut(at) {
                *byte = b'b';
            }
            prop_assert_eq!(holds(&text, |byte| byte == b'b'), at < len);
        }
    }

    #[test]
    fn an_empty_type_is_user_and_an_unknown_one_is_nothing() {
        assert_eq!(Kind::parse(""), Some(Kind::User));
        assert_eq!(Kind::parse("group"), Some(Kind::Group));
        assert_eq!(Kind::parse("ROBOT"), None);
    }

    #[test]
    fn labels_read_back_as_written() {
        for text in ["7", "7.2", "1.10"] {
            assert_eq!(text.parse::<PartLabel>().unwrap().to_string(), text);
        }
        assert!("x".parse::<PartLabel>().is_err());
    }

    #[test]
    fn p21_text_from_outside_loses_its_controls() {
        assert_eq!(tame("a\x1b[31mb\u{202e}c", 99), "a\\u{1b}[31mb\\u{202e}c");
        assert_eq!(tame("abcdef", 3), "abc…");
    }

    #[test]
    fn desktop_ids_are_bounded_in_characters() {
        assert!(["", ".", ".."].into_iter().all(|text| DesktopId::parse(text).is_none()));
        assert!(DesktopId::parse("a\nb").is_none());
        assert!(DesktopId::parse(&"桌".repeat(255)).is_some());
        assert!(DesktopId::parse(&"x".repeat(256)).is_none());
    }
}
