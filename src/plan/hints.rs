//! Rows whose user is not bound may hold a typing error: the nearest name, to show in the plan and beside the outcome.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::context::Ground;
use super::entries::Entries;
use super::fate::Tag;
use super::matching::distance;
use crate::input::Field;
use crate::model::{Doubt, Kind, fold, same_name};
use crate::text::escape_untrusted;

/// A row that is taken as already detached, and what it may have meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint<'t> {
    /// The entry's place in the plan.
    pub(super) entry: usize,
    pub line: u64,
    pub user: &'t str,
    /// Empty for a row that names a user alone.
    pub desktop: &'t str,
    /// The nearest name: on that desktop, else of all users.
    pub nearest: Option<&'t str>,
    /// The service knows no user of this name.
    pub unknown_user: bool,
    /// Somebody of this very name is bound there in this domain, which is not the row's.
    pub other_domain: Option<&'t str>,
}

impl Hint<'_> {
    pub(super) fn doubt(&self) -> Doubt {
        match (self.unknown_user, self.other_domain) {
            (true, _) => Doubt::UnknownUser,
            (false, Some(_)) => Doubt::OtherDomain,
            (false, None) => Doubt::NearName,
        }
    }

    /// What is doubtful, as a part of a sentence.
    pub(super) fn words(&self) -> String {
        let user = escape_untrusted(self.user, 64);
        let mut words = match self.desktop {
            "" => format!("`{user}` holds no desktop"),
            desktop => format!("`{user}` is not bound to {}", escape_untrusted(desktop, 60)),
        };
        if self.unknown_user {
            words.push_str(", and the service knows no user of this name");
        }
        if let Some(domain) = self.other_domain {
            _ = write!(words, " in the row's domain, but is in the domain `{}`", escape_untrusted(domain, 64));
        } else if let Some(nearest) = self.nearest {
            _ = write!(words, "; the nearest name is `{}`", escape_untrusted(nearest, 64));
        }
        words
    }
}

/// How many hints are kept.
pub(super) const KEPT: usize = 1_000;
/// How many names are compared for hints in one plan: enough for every usual one, and no plan takes long by it.
const COMPARISONS: usize = 200_000;

/// What the first rows may have meant that are taken as already detached.
pub(super) fn hints<'t>(ground: &Ground<'t>, entries: &Entries) -> Vec<Hint<'t>> {
    let mut hints = Hints::default();
    if ground.look.is_none() {
        return hints.kept; // nobody was seen to be gone
    }
    for (entry, (record, tag)) in entries.iter().enumerate() {
        if hints.kept.len() >= KEPT || hints.compared >= COMPARISONS {
            break;
        }
        match tag {
            Tag::Gone => hints.note(ground, entry, record.row, record.to),
            Tag::GoneEverywhere => hints.note_nowhere(ground, entry, record.row),
            _ => {}
        }
    }
    hints.kept
}

#[derive(Debug, Default)]
struct Hints<'t> {
    kept: Vec<Hint<'t>>,
    compared: usize,
}

impl<'t> Hints<'t> {
    /// Looks for what a row may have meant, whose user is not bound to this desktop.
    fn note(&mut self, ground: &Ground<'t>, entry: usize, row: u32, desk: u32) {
        let Some(live) = ground.live(desk) else { return };
        let wanted = ground.wanted(row);
        let bound = live.bound.as_deref().unwrap_or_default();
        self.compared += bound.len();
        let here = || bound.iter().filter(|one| one.kind == wanted.kind);
        let other_domain =
            here().find(|one| same_name(&one.user_name, wanted.name)).and_then(|one| one.domain.as_deref());
        let mut nearest = closest(wanted.name, here().map(|one| one.user_name.as_str()));
        let known = ground.look.and_then(|look| look.known_users.as_ref()).filter(|_| wanted.kind == Kind::User);
        let unknown_user = known.is_some_and(|known| !known.contains(&*fold(wanted.name)));
        if unknown_user && nearest.is_none() {
            self.compared += known.map_or(0, HashSet::len);
            let known = known.into_iter().flatten();
            nearest = closest(wanted.name, known.map(String::as_str));
        }
        if nearest.is_some() || unknown_user {
            let cells = ground.row(row);
            let user = cells.get(Field::UserName);
            let desktop = live.id.as_str();
            self.kept.push(Hint { entry, line: cells.line(), user, desktop, nearest, unknown_user, other_domain });
        }
    }

    /// Looks for what a row may have meant that names a user alone, who holds no desktop: worth a word only where the
    /// service knows no such user.
    fn note_nowhere(&mut self, ground: &Ground<'t>, entry: usize, row: u32) {
        let wanted = ground.wanted(row);
        let known = ground.look.and_then(|look| look.known_users.as_ref()).filter(|_| wanted.kind == Kind::User);
        let Some(known) = known.filter(|known| !known.contains(&*fold(wanted.name))) else { return };
        self.compared += known.len();
        let cells = ground.row(row);
        self.kept.push(Hint {
            entry,
            line: cells.line(),
            user: cells.get(Field::UserName),
            desktop: "",
            nearest: closest(wanted.name, known.iter().map(String::as_str)),
            unknown_user: true,
            other_domain: None,
        });
    }
}

/// The nearest name; of several as near, the first by alphabet (the order they come in may be by chance).
fn closest<'a>(name: &str, others: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    others
        .filter(|other| other.len().abs_diff(name.len()) <= 8)
        .filter_map(|other| Some((distance(name, other)?, other)))
        .min()
        .map(|(_, other)| other)
}
