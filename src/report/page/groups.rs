//! The groups of a plan's rows: what needs a decision comes first.

use std::collections::HashMap;

use super::rows::class;
use crate::journal::{EntryRef, Fate};
use crate::model::{Doubt, NOT_TOLD, Outcome};
use crate::plan::Touched;
use crate::plan::show::{Effect, IN_USE};

/// What becomes of rows, and how much of a decision each asks for: the most comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Doubt,
    Invalid,
    /// Whatever is done for the row, its person gets in by something else.
    StillIn,
    /// Sent, though the desktop's state may not allow it.
    MayBeRefused,
    /// Not sent, or sent though the desktop is in use.
    InUse,
    LeftWithNobody,
    Send,
    Done,
    NotDue,
    /// Left out for another reason.
    Other,
}

impl Group {
    pub(super) const ALL: [Self; 10] = [
        Self::Doubt,
        Self::Invalid,
        Self::StillIn,
        Self::MayBeRefused,
        Self::InUse,
        Self::Other,
        Self::LeftWithNobody,
        Self::Send,
        Self::Done,
        Self::NotDue,
    ];

    /// * `still_via`: by what the row's person would still get in.
    pub(super) fn of(entry: &EntryRef<'_>, still_via: &str, touched: &HashMap<&str, Touched>) -> Self {
        let gets_in = !matches!(still_via, "" | NOT_TOLD);
        match entry.fate {
            Fate::Send { .. } if gets_in => Self::StillIn,
            Fate::Send { .. } => match touched.get(entry.cells[0]) {
                Some(desktop) if desktop.may_be_refused => Self::MayBeRefused,
                Some(desktop) if desktop.in_use => Self::InUse,
                Some(desktop) if desktop.left_with_nobody => Self::LeftWithNobody,
                _ => Self::Send,
            },
            Fate::Fixed { outcome, code, .. } => match outcome {
                Outcome::AlreadyDetached | Outcome::AlreadyAttached if Doubt::of_code(code).is_some() => Self::Doubt,
                Outcome::AlreadyDetached if gets_in => Self::StillIn,
                Outcome::AlreadyDetached | Outcome::AlreadyAttached => Self::Done,
                Outcome::Invalid => Self::Invalid,
                Outcome::NotSent if code == "IN_USE" => Self::InUse,
                Outcome::NotDue => Self::NotDue,
                _ => Self::Other,
            },
        }
    }

    /// Its title, and what there is to decide or to know.
    pub(super) const fn words(self, attaches: bool) -> (&'static str, &'static str) {
        match self {
            Self::Doubt => (
                "In doubt",
                "Nobody of this name is bound there, so nothing would be sent. Check whether somebody else is meant.",
            ),
            Self::Invalid => ("Invalid or unknown", "Nothing is sent for these rows. Correct them, or leave them out."),
            Self::StillIn => (
                "Still get in",
                "After this, these people still get in by something else, which no row of the list names.",
            ),
            Self::MayBeRefused => (
                "May be refused",
                "The service may refuse these rows, for the state that their desktops are in. Wake or repair the \
                 desktops first, or accept that these rows fail and have to be run again.",
            ),
            Self::InUse => (
                "In use now",
                "Somebody works on these desktops now. Decide whether their sessions may end; --in-use skip leaves these desktops as they are.",
            ),
            Self::LeftWithNobody => (
                "To be detached, and the desktop will have no user",
                "The last binding of these desktops goes. Decide what becomes of them.",
            ),
            Self::Send if attaches => ("To be attached", ""),
            Self::Send => ("To be detached", ""),
            Self::Done if attaches => ("Already attached", "Nothing is sent for these rows."),
            Self::Done => ("Already detached", "Nothing is sent for these rows."),
            Self::NotDue => ("Not due", "Their day is still to come. Nothing is sent for these rows."),
            Self::Other => ("Left out", "Nothing is sent for these rows."),
        }
    }

    /// As the page's links call it.
    pub(super) const fn id(self) -> &'static str {
        match self {
            Self::Doubt => "doubt",
            Self::Invalid => "invalid",
            Self::StillIn => "still-rows",
            Self::MayBeRefused => "may-be-refused",
            Self::InUse => "in-use",
            Self::LeftWithNobody => "no-user",
            Self::Send => "send",
            Self::Done => "done",
            Self::NotDue => "not-due",
            Self::Other => "other",
        }
    }

    /// The class of the style sheet that colours it.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::StillIn => class(Outcome::Failed),
            Self::Doubt | Self::MayBeRefused | Self::InUse => "unknown",
            Self::Invalid => class(Outcome::Invalid),
            Self::LeftWithNobody | Self::Send => "planned",
            Self::Done => class(Outcome::AlreadyDetached),
            Self::NotDue | Self::Other => class(Outcome::NotDue),
        }
    }
}

/// The rows of a group, and how many of them have what their desktops are like.
pub(super) struct Tally {
    pub(super) group: Group,
    pub(super) rows: u64,
    pub(super) effects: Vec<(Effect, u64)>,
}

impl Tally {
    pub(super) const fn of(group: Group) -> Self {
        Self { group, rows: 0, effects: Vec::new() }
    }

    /// Counts a row.
    pub(super) fn add(&mut self, desktop: Option<&Touched>) {
        self.rows += 1;
        for effect in desktop.map(|desktop| &desktop.effects).into_iter().flatten() {
            match self.effects.iter_mut().find(|(known, _)| known.mark == effect.mark) {
                Some((_, rows)) => *rows += 1,
                None => self.effects.push((*effect, 1)),
            }
        }
    }

    /// Whether all rows have it, so that it is said once.
    pub(super) fn is_common(&self, mark: &str) -> bool {
        (self.group == Group::InUse && mark == IN_USE)
            || self.effects.iter().any(|(effect, rows)| effect.mark == mark && *rows == self.rows)
    }

    /// What is said once, for a row that stands alone.
    pub(super) fn common(&self) -> String {
        let in_use = (self.group == Group::InUse).then_some(IN_USE);
        let others = self.effects.iter().map(|(effect, _)| effect.mark).filter(|mark| *mark != IN_USE);
        in_use.into_iter().chain(others.filter(|mark| self.is_common(mark))).collect::<Vec<_>>().join(" · ")
    }
}
