//! Why a row is not sent: kept as one byte a row, put into words only where somebody reads them.

use std::borrow::Cow;

use super::address::Addressed;
use super::context::{Context, NONE};
use super::matching::{Found, Matcher, Wanted, may_be, places};
use crate::config::Protected;
use crate::input::Field;
use crate::model::{Bound, Doubt, Kind, Outcome, same_name};
use crate::text::bytes::to_usize;
use crate::text::escape_untrusted;

/// What is said of a row that no request can carry, in a plan and in that of an undo.
pub(crate) const ROW_TOO_LARGE: &str = "this row alone is longer than a request may be; raise --max-request-bytes";
/// What is said of a row that `--in-use skip` leaves out.
pub(crate) const LEFT_IN_USE: &str = "somebody works on this desktop now, and --in-use skip leaves such desktops alone";

/// What the plan decided on an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    /// To be sent.
    Send,
    /// A fault of the row itself.
    Fault,
    UserMissing,
    DesktopMissing,
    DesktopId,
    Type,
    AllNotAllowed,
    NeedsPreflight,
    NameNotFound,
    NameAmbiguous,
    DesktopNotFound,
    /// The service does not show the desktop, or does not tell who is bound to it.
    DesktopUnreadable,
    DesktopMismatch,
    ProtectedUser,
    ProtectedDesktop,
    /// An `ALL` row on a desktop with a protected binding.
    ProtectedBinding,
    /// Name and id do not belong together.
    WrongId,
    Ambiguous,
    AmbiguousAcross,
    TooManyBound,
    TooLarge,
    Gone,
    /// The service does not know the row's user or group.
    Unknown,
    /// The same, where that counts as gone.
    UnknownGone,
    /// No user has the row's address.
    AddressUnknown,
    /// Several users have the row's address.
    AddressAmbiguous,
    /// The row's address is another user's than its name or id.
    AddressMismatch,
    /// A row without a desktop whose user holds none.
    GoneEverywhere,
    /// An `ALL` row on a desktop where nobody is bound.
    NobodyBound,
    InUse,
    /// Its day is still to come.
    NotDue,
    /// A row without the desktop's id, where the whole list contradicts itself.
    NotProved,
}

/// A row that the plan settles by itself, in words.
pub(super) struct Explained<'p> {
    pub(super) outcome: Outcome,
    /// Names the rule; empty for what is already detached, or not due.
    pub(super) code: &'static str,
    /// What is wrong and what to do; empty for what is already detached, or not due.
    pub(super) message: Cow<'p, str>,
    /// The column that is wrong, if one is: its header for the row's own faults, else the field's name.
    pub(super) column: Option<&'p str>,
}

impl Tag {
    /// Outcome, code and column.
    fn verdict(self) -> (Outcome, &'static str, Option<Field>) {
        let invalid = |code, field| (Outcome::Invalid, code, Some(field));
        match self {
            Self::Send => (Outcome::Planned, "", None),
            Self::Fault => (Outcome::Invalid, "INVALID_ROW", None),
            Self::UserMissing => invalid("INVALID_USER_MISSING", Field::UserName),
            Self::DesktopMissing => invalid("INVALID_DESKTOP_MISSING", Field::DesktopId),
            Self::DesktopId => invalid("INVALID_DESKTOP_ID", Field::DesktopId),
            Self::Type => invalid("INVALID_TYPE", Field::Type),
            Self::AllNotAllowed => invalid("INVALID_ALL_NOT_ALLOWED", Field::Type),
            Self::NeedsPreflight => (Outcome::Invalid, NEEDS_PREFLIGHT, None),
            Self::NameNotFound => invalid("INVALID_DESKTOP_NOT_FOUND", Field::DesktopName),
            Self::NameAmbiguous => invalid("INVALID_DESKTOP_AMBIGUOUS", Field::DesktopName),
            Self::DesktopNotFound => invalid("INVALID_DESKTOP_NOT_FOUND", Field::DesktopId),
            Self::DesktopUnreadable => invalid("INVALID_DESKTOP_UNREADABLE", Field::DesktopId),
            Self::DesktopMismatch => invalid("INVALID_DESKTOP_MISMATCH", Field::DesktopName),
            Self::ProtectedUser => invalid("INVALID_PROTECTED", Field::UserName),
            Self::ProtectedDesktop => invalid("INVALID_PROTECTED", Field::DesktopId),
            Self::ProtectedBinding => invalid("INVALID_PROTECTED", Field::Type),
            Self::WrongId => invalid("INVALID_ID_MISMATCH", Field::UserId),
            Self::Ambiguous | Self::AmbiguousAcross => invalid("INVALID_AMBIGUOUS_USER", Field::UserName),
            Self::TooManyBound => (Outcome::Invalid, "INVALID_TOO_MANY_BOUND", None),
            Self::TooLarge => (Outcome::Invalid, "INVALID_TOO_LARGE", None),
            Self::Gone | Self::GoneEverywhere | Self::NobodyBound => (Outcome::AlreadyDetached, "", None),
            Self::Unknown => invalid(USER_UNKNOWN, Field::UserName),
            Self::UnknownGone => (Outcome::AlreadyDetached, Doubt::UnknownUser.code(), None),
            Self::AddressUnknown => invalid(USER_UNKNOWN, Field::UserEmail),
            Self::AddressAmbiguous => invalid("INVALID_AMBIGUOUS_USER", Field::UserEmail),
            Self::AddressMismatch => invalid("INVALID_ID_MISMATCH", Field::UserEmail),
            Self::NotProved => (Outcome::Invalid, NOT_PROVED, None),
            Self::InUse => (Outcome::NotSent, "IN_USE", None),
            Self::NotDue => (Outcome::NotDue, "", None),
        }
    }

    pub(super) fn outcome(self) -> Outcome {
        self.verdict().0
    }

    /// Names the rule; of a fault of the row itself, the fault does.
    pub(super) fn code(self) -> &'static str {
        self.verdict().1
    }
}

/// The code of a row that only a complete list of desktops could answer.
pub(crate) const NOT_PROVED: &str = "INVALID_NOT_PROVED";
/// The code of a row that nobody can judge without a look.
pub(crate) const NEEDS_PREFLIGHT: &str = "INVALID_NEEDS_PREFLIGHT";
/// The code of a row whose user or group the service does not know.
pub(crate) const USER_UNKNOWN: &str = "INVALID_USER_UNKNOWN";
/// Names from the service in a message: this long at most.
const MAX_NAME: usize = 64;
/// How many things a message lists.
const MAX_LISTED: usize = 5;

/// Puts a decision into words. `to`: of the entry ([`EntryRec`](super::context::EntryRec)).
pub(super) fn explain<'t>(context: &Context<'t>, row: u32, tag: Tag, to: u32) -> Explained<'t> {
    let (outcome, mut code, field) = tag.verdict();
    let mut column = field.map(Field::as_str);
    let cells = context.row(row);
    let get = |field| escape_untrusted(cells.get(field), MAX_NAME);
    let message: Cow<'t, str> = match tag {
        Tag::Send | Tag::Gone | Tag::GoneEverywhere | Tag::NobodyBound | Tag::NotDue => "".into(),
        Tag::Fault => match context.input.faults.get(to_usize(to)) {
            Some(fault) => {
                code = fault.code;
                column = fault.column.as_deref();
                fault.message.as_str().into()
            }
            None => "the row is wrong".into(),
        },
        Tag::UserMissing => "the user is missing; an empty user is never read as everybody".into(),
        Tag::DesktopMissing => "a row of type ALL needs a desktop".into(),
        Tag::DesktopId => {
            "this can't be the id of a desktop: 1 to 255 characters, none of them a control character".into()
        }
        Tag::Type => "the type is none of USER, GROUP and ALL".into(),
        Tag::AllNotAllowed => {
            "type ALL detaches everybody from the desktop; if that is meant, add --allow-detach-all".into()
        }
        Tag::NeedsPreflight => needs_preflight(cells.kind(), cells.get(Field::DesktopName)).into(),
        Tag::NameNotFound => "no desktop of this project has this name; correct it, or take the row out".into(),
        Tag::DesktopNotFound => {
            "no desktop of this project has this id; correct it, or take the row out if the desktop is gone".into()
        }
        Tag::DesktopUnreadable => unreadable(context, to).into(),
        Tag::NameAmbiguous => {
            let ids = context.named(cells.get(Field::DesktopName)).iter().map(|id| escape_untrusted(id.as_str(), 255));
            let list = list(ids);
            format!("several desktops have this name ({list}); give the desktop_id of the one that is meant").into()
        }
        Tag::DesktopMismatch => {
            let theirs = context.live(to).map_or("", |live| live.name.as_str());
            format!(
                "the desktop of this id is named `{}`, not `{}`; correct one of the two",
                escape_untrusted(theirs, MAX_NAME),
                get(Field::DesktopName)
            )
            .into()
        }
        Tag::ProtectedUser => "this user or group is protected (--protect); take the row out".into(),
        Tag::ProtectedDesktop => "this desktop is protected (--protect); take the row out".into(),
        Tag::ProtectedBinding => format!(
            "`{}` is bound to this desktop and protected (--protect); name the others one by one instead of ALL",
            protected(context, to).map_or_else(String::new, |(_, one)| escape_untrusted(&one.user_name, MAX_NAME))
        )
        .into(),
        Tag::WrongId => wrong_id(context, row, to).into(),
        Tag::Ambiguous | Tag::AmbiguousAcross => ambiguous(context, row, to, tag).into(),
        Tag::Unknown => format!("{}; {}", not_known(context.wanted(row).kind), way_out(&context.wanted(row))).into(),
        Tag::UnknownGone => format!("taken as already detached, but {}", not_known(context.wanted(row).kind)).into(),
        Tag::AddressUnknown => {
            "no user of the service has this address; correct it, write the user's name, or say --column user_email=- where \
             these are not the addresses that the service knows"
                .into()
        }
        Tag::AddressAmbiguous => "several users of the service have this address; write the user's name or id".into(),
        Tag::AddressMismatch => address_mismatch(context, row).into(),
        Tag::TooManyBound => {
            "more users are bound to this desktop than one ALL row can follow; name them one by one".into()
        }
        Tag::TooLarge => ROW_TOO_LARGE.into(),
        Tag::NotProved => {
            "the list of desktops contradicts itself each time it is read, so the desktops of this row are not all \
             known; give the desktop_id, or run again later"
                .into()
        }
        Tag::InUse => LEFT_IN_USE.into(),
    };
    Explained { outcome, code, message, column }
}

fn unreadable(context: &Context<'_>, desk: u32) -> String {
    match context.look.and_then(|look| look.unreadable.get(context.id(desk))) {
        Some(said) => format!("the service refuses to show this desktop ({said}); correct the id, or take the row out"),
        None => {
            "the service does not tell who is bound to this desktop, or contradicts itself, each time it is asked; \
                 look at it in the console, then run again or take the row out"
                .to_owned()
        }
    }
}

fn needs_preflight(kind: Option<Kind>, desktop_name: &str) -> &'static str {
    if kind == Some(Kind::All) {
        "a row of type ALL needs a look at who is bound; leave out --preflight off"
    } else if desktop_name.is_empty() {
        "a row without a desktop needs a look at the live bindings; give the desktop_id, or leave out --preflight off"
    } else {
        "a desktop name needs a look at the live desktops; give the desktop_id, or leave out --preflight off"
    }
}

/// The first protected binding of a desktop.
pub(super) fn protected<'t>(context: &Context<'t>, desk: u32) -> Option<(u32, &'t Bound)> {
    places(context.bound(desk)).find(|(_, one)| is_protected(&context.protect, one))
}

/// Whether a binding is protected, by its name or its id.
pub(super) fn is_protected(protect: &Protected, one: &Bound) -> bool {
    !protect.is_empty()
        && (protect.covers(&one.user_name) || one.user_id.as_deref().is_some_and(|id| protect.covers(id)))
}

fn wrong_id(context: &Context<'_>, row: u32, desk: u32) -> String {
    let cells = context.row(row);
    let (name, id) =
        (escape_untrusted(cells.get(Field::UserName), MAX_NAME), escape_untrusted(cells.get(Field::UserId), 255));
    let bound = context.bound(desk);
    let owner = match Matcher::new(bound, 1).find(&context.wanted(row), &mut Vec::new()) {
        Found::WrongId(place) => bound.get(to_usize(place)),
        Found::One(_) | Found::Nobody | Found::Several => None,
    };
    match owner {
        Some(one) if same_name(&one.user_name, cells.get(Field::UserName)) => format!(
            "`{name}` is bound here with the id {}, not {id}; correct the one that is wrong",
            escape_untrusted(one.user_id.as_deref().unwrap_or_default(), 255)
        ),
        Some(one) => format!(
            "the id {id} is `{}` here, not `{name}` (renamed, or a shifted column); correct the one that is wrong",
            escape_untrusted(&one.user_name, MAX_NAME)
        ),
        None => format!("`{name}` and the id {id} do not belong together; correct the one that is wrong"),
    }
}

/// What is doubtful about somebody whom the service does not know.
pub(super) const fn not_known(kind: Kind) -> &'static str {
    match kind {
        Kind::Group | Kind::UserGroup => "the service knows no user group of this name",
        Kind::User | Kind::All => "the service knows no user of this name",
    }
}

/// What to do about a name that the service does not know.
pub(super) fn way_out(wanted: &Wanted<'_>) -> String {
    let quoted = |text: &str| format!("`{}`", escape_untrusted(text, 64));
    if let Some((domain, name)) = wanted.name.split_once('\\') {
        return format!(
            "write the plain name, {}, and the domain, {}, into a column `domain`",
            quoted(name),
            quoted(domain)
        );
    }
    if let Some((name, _)) = wanted.name.split_once('@') {
        return format!(
            "this is an address: put it into a column `user_email`, or write the plain name, as {}",
            quoted(name)
        );
    }
    if wanted.name.contains([',', ';', '/', '\n']) {
        return "a row names one user: write a row for each".to_owned();
    }
    "correct it, or take the row out; --unknown-users gone is for lists that keep people who were deleted".to_owned()
}

fn address_mismatch(context: &Context<'_>, row: u32) -> String {
    let theirs = match context.addressed(row) {
        Some(Addressed::One(account)) => escape_untrusted(&account.name, MAX_NAME),
        _ => String::new(),
    };
    format!("this is the address of `{theirs}`, and the row names somebody else beside it; correct one of the two")
}

fn ambiguous(context: &Context<'_>, row: u32, desk: u32, tag: Tag) -> String {
    let wanted = context.wanted(row);
    let mut domains = Vec::new();
    let mut note = |live: &[Bound]| {
        for (_, one) in places(live).filter(|(_, one)| may_be(one, &wanted)) {
            let words = match one.domain.as_deref() {
                Some(domain) => format!(
                    "{} in domain {}",
                    escape_untrusted(&one.user_name, MAX_NAME),
                    escape_untrusted(domain, MAX_NAME)
                ),
                None => format!("{} without a domain", escape_untrusted(&one.user_name, MAX_NAME)),
            };
            if !domains.contains(&words) && domains.len() <= MAX_LISTED {
                domains.push(words);
            }
        }
    };
    let place = if tag == Tag::AmbiguousAcross || desk == NONE {
        for id in context.held(row) {
            if let Some(live) = context.look.and_then(|look| look.desktops.get(id)?.as_ref()) {
                note(live.bound.as_deref().unwrap_or_default());
            }
        }
        "in this project"
    } else {
        note(context.bound(desk));
        "on this desktop"
    };
    format!("several people {place} have this name ({}); add domain or user_id", list(domains.into_iter()))
}

fn list(words: impl Iterator<Item = String>) -> String {
    let mut list = String::new();
    for (n, word) in words.enumerate() {
        if n == MAX_LISTED {
            list.push_str(", …");
            break;
        }
        if n > 0 {
            list.push_str(", ");
        }
        list.push_str(&word);
    }
    list
}
