//! Unknown is not gone: who is bound nowhere counts as already detached only where the service knows them. A misspelt
//! name is bound nowhere, too, and so is everybody in another project than the one that is meant.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::context::Context;
use super::directory::Directory;
use super::entries::Entries;
use super::fate::Tag;
use super::matching::Wanted;
use super::policy::Policy;
use super::snapshot::Snapshot;
use crate::model::{Kind, fold, same_name};

/// Lists that were not read, and without which nobody can tell whether somebody is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unlisted {
    /// Rows whose user is bound nowhere that was looked at.
    pub users: u64,
    /// Rows whose user group is.
    pub groups: u64,
}

/// What is known of somebody who is not bound where the row says.
enum Standing {
    Known,
    Unknown,
    /// The list of all of that type was not read.
    Unlisted,
    /// Name and id belong to two people.
    OtherPerson,
}

/// Judges each entry that would be already detached because nobody of that name was found.
pub(super) fn settle(context: &Context<'_>, policy: &Policy, entries: &mut Entries) -> Unlisted {
    let mut unlisted = Unlisted::default();
    let Some(look) = context.look else { return unlisted };
    let mut everybody = None;
    for at in 0..entries.len() {
        let (record, tag) = entries.get(at);
        if !matches!(tag, Tag::Gone | Tag::GoneEverywhere) {
            continue;
        }
        let wanted = context.wanted(record.row);
        let bound = everybody.get_or_insert_with(|| Everybody::in_sight(look));
        let gone = policy.unknown_is_gone && !is_qualified(wanted.name);
        entries.tags[at] = match standing(&wanted, bound, look.directory(wanted.kind)) {
            Standing::Known => tag,
            Standing::OtherPerson => Tag::WrongId,
            Standing::Unknown if gone => Tag::UnknownGone,
            Standing::Unknown => Tag::Unknown,
            Standing::Unlisted => {
                let rows = if wanted.kind == Kind::Group { &mut unlisted.groups } else { &mut unlisted.users };
                *rows += 1;
                match (policy.unknown_is_gone, gone) {
                    (false, _) => tag,
                    (true, true) => Tag::UnknownGone,
                    (true, false) => Tag::Unknown,
                }
            }
        };
    }
    unlisted
}

fn standing(wanted: &Wanted<'_>, bound: &Everybody<'_>, listed: Option<&Directory>) -> Standing {
    let is_bound = bound.names.contains(&(wanted.kind, fold(wanted.name)));
    if wanted.id.is_empty() {
        return match listed {
            _ if is_bound => Standing::Known,
            Some(listed) if listed.named(wanted.name).next().is_some() => Standing::Known,
            Some(_) => Standing::Unknown,
            None => Standing::Unlisted,
        };
    }
    let by_id = bound.ids.get(&(wanted.kind, wanted.id)).copied();
    let by_id = by_id.or_else(|| listed?.with_id(wanted.id).map(|one| one.name.as_str()));
    match (by_id, listed) {
        (Some(name), _) if same_name(name, wanted.name) => Standing::Known,
        (Some(_), _) => Standing::OtherPerson,
        (None, None) => Standing::Unlisted,
        (None, Some(listed)) => match listed.named(wanted.name).next() {
            Some(one) if one.id.is_empty() => Standing::Known,
            Some(_) => Standing::OtherPerson,
            None => Standing::Unknown,
        },
    }
}

/// Everybody who is bound to a desktop that was seen.
struct Everybody<'t> {
    names: HashSet<(Kind, Cow<'t, str>)>,
    /// The name that goes with each id.
    ids: HashMap<(Kind, &'t str), &'t str>,
}

impl<'t> Everybody<'t> {
    fn in_sight(look: &'t Snapshot) -> Self {
        let (mut names, mut ids) = (HashSet::new(), HashMap::new());
        for one in look.desktops.values().flatten().flat_map(|live| live.bound.iter().flatten()) {
            names.insert((one.kind, fold(&one.user_name)));
            ids.extend(one.user_id.as_deref().map(|id| ((one.kind, id), one.user_name.as_str())));
        }
        Self { names, ids }
    }
}

/// Whether this is an address, or a name with its domain in front: nobody is gone for not being known so.
fn is_qualified(name: &str) -> bool {
    name.contains(['@', '\\'])
}
