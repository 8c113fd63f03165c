//! Rows whose user is not bound may hold a typing error: the nearest name, to show in the plan and beside the outcome.

use std::fmt::Write as _;

use super::context::Context;
use super::entries::Entries;
use super::fate::{Tag, not_known};
use super::matching::distance;
use crate::model::{Doubt, Kind, same_name};
use crate::text::escape_untrusted;

/// A row whose user is not bound, and what it may have meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint<'t> {
    /// The entry's place in the plan.
    pub(super) entry: usize,
    pub line: u64,
    pub user: &'t str,
    pub(super) kind: Kind,
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
            _ = write!(words, ", and {}", not_known(self.kind));
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
pub(super) fn hints<'t>(context: &Context<'t>, entries: &Entries) -> Vec<Hint<'t>> {
    let mut hints = Hints::default();
    if context.look.is_none() {
        return hints.kept; // nobody was seen to be gone
    }
    for (entry, (record, tag)) in entries.iter().enumerate() {
        if hints.kept.len() >= KEPT || hints.compared >= COMPARISONS {
            break;
        }
        match tag {
            Tag::Gone => hints.note(context, entry, record.row, record.to, false),
            Tag::Unknown | Tag::UnknownGone => hints.note(context, entry, record.row, record.to, true),
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
    /// Looks for what a row may have meant, whose user is not bound to this desktop, or to any where it names none.
    fn note(&mut self, context: &Context<'t>, entry: usize, row: u32, desk: u32, unknown_user: bool) {
        let seen = context.live(desk);
        let wanted = context.wanted(row);
        let bound = context.bound(desk);
        self.compared += bound.len();
        let here = || bound.iter().filter(|one| one.kind == wanted.kind);
        let other_domain =
            here().find(|one| same_name(&one.user_name, wanted.name)).and_then(|one| one.domain.as_deref());
        let mut nearest = closest(wanted.name, here().map(|one| one.user_name.as_str()));
        if let (true, None, Some(listed)) =
            (unknown_user, nearest, context.look.and_then(|look| look.directory(wanted.kind)))
        {
            self.compared += listed.names().len();
            nearest = closest(wanted.name, listed.names());
        }
        if nearest.is_some() || unknown_user {
            let desktop = seen.map_or("", |live| live.id.as_str());
            let (user, kind) = (wanted.name, wanted.kind);
            let line = context.row(row).line();
            self.kept.push(Hint { entry, line, user, kind, desktop, nearest, unknown_user, other_domain });
        }
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
