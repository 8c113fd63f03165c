//! Who is bound to what, as rows ask for it and as the service shows it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::DesktopId;

/// What a row asks to detach: the column `type`.
///
/// [`Kind::UserGroup`] is [`Kind::Group`] in every comparison: a service that spells groups so is answered in its own word, and
/// nothing else differs.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Kind {
    /// One user.
    #[default]
    User,
    /// One user group.
    Group,
    /// One user group, as some services spell it.
    UserGroup,
    /// Everybody who is bound to the desktop.
    All,
}

impl Kind {
    /// What decides whether two are the same.
    const fn rank(self) -> u8 {
        match self {
            Self::User => 0,
            Self::Group | Self::UserGroup => 1,
            Self::All => 2,
        }
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Kind {}

impl std::hash::Hash for Kind {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
    }
}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl Kind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Group => "GROUP",
            Self::UserGroup => "USER_GROUP",
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
    /// Who is bound; `None` where this read does not tell.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_type_is_user_and_an_unknown_one_is_nothing() {
        assert_eq!(Kind::parse(""), Some(Kind::User));
        assert_eq!(Kind::parse("group"), Some(Kind::Group));
        assert_eq!(Kind::parse("ROBOT"), None);
    }
}
