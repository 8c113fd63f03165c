//! What the preflight saw of the live bindings.

use std::collections::HashMap;

use super::directory::Directory;
use crate::model::{Bound, DesktopId, Kind, LiveDesktop, same_name};

/// The live state of everything that the input names, as one preflight saw it.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Every desktop that was asked for or found; `None`: the service does not know it.
    pub desktops: HashMap<DesktopId, Option<LiveDesktop>>,
    /// Ids that were asked for and that the service spells in another case: as it spells them.
    pub spelled: HashMap<DesktopId, DesktopId>,
    /// Desktops that the service refuses to show, in its words.
    pub unreadable: HashMap<DesktopId, String>,
    /// Desktops by name, the name in lower case.
    pub by_name: HashMap<String, Vec<DesktopId>>,
    /// For each of [`Questions::users`](super::Questions), the desktops where somebody is bound whom it [may
    /// mean](UserKey::may_mean); sorted by id. Each of them is in `desktops`.
    pub by_user: HashMap<UserKey, Vec<DesktopId>>,
    /// All users that the service knows; `None` where they were not read.
    pub users: Option<Directory>,
    /// All user groups that the service knows; `None` where they were not read.
    pub groups: Option<Directory>,
    /// How many desktops of the project are assigned to somebody; `None` where that was not read.
    pub assigned_desktops: Option<u64>,
    /// Whether `desktops` holds all of the project.
    pub is_whole: bool,
    /// Whether the whole list of desktops was proved complete. Where it was not, nobody is absent everywhere.
    pub is_proved: bool,
}

impl Snapshot {
    /// A desktop as it was shown, by its id in any case.
    pub(crate) fn live(&self, id: &DesktopId) -> Option<&LiveDesktop> {
        self.desktops.get(self.spelled.get(id).unwrap_or(id))?.as_ref()
    }

    /// Everybody of this type whom the service knows, if that was read.
    pub(super) fn directory(&self, kind: Kind) -> Option<&Directory> {
        match kind {
            Kind::User => self.users.as_ref(),
            Kind::Group | Kind::UserGroup => self.groups.as_ref(),
            Kind::All => None,
        }
    }
}

/// A user or group as a row without a desktop names it: its cells as given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserKey {
    /// [`Kind::User`] or [`Kind::Group`].
    pub kind: Kind,
    pub name: String,
    /// Empty where the row gives none.
    pub id: String,
    /// Empty where the row gives none.
    pub domain: String,
}

impl UserKey {
    /// Whether a binding is of this type, and has this name without case and this domain if one is given, or has this
    /// id: somebody who was renamed is found by it, and the row is then seen to be wrong.
    pub fn may_mean(&self, bound: &Bound) -> bool {
        let named = || domain_fits(bound, &self.domain) && same_name(&bound.user_name, &self.name);
        bound.kind == self.kind && (self.has_id(bound) || named())
    }

    fn has_id(&self, bound: &Bound) -> bool {
        !self.id.is_empty() && bound.user_id.as_deref() == Some(&self.id)
    }
}

/// Whether a binding can be one of this domain: an empty domain asks for none, a binding without one counts for any.
pub(super) fn domain_fits(bound: &Bound, domain: &str) -> bool {
    domain.is_empty() || bound.domain.as_deref().is_none_or(|theirs| same_name(theirs, domain))
}
