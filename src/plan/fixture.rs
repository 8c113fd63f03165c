//! Inputs and live desktops for this module's tests.

use super::directory::{Account, Directory};
use super::snapshot::{Snapshot, UserKey};
use crate::input::{Input, ReadOptions, Source, read};
use crate::model::{Bound, Kind, LiveDesktop, fold};
use crate::testing::build;

/// An input as the reader makes it.
pub(super) fn input(csv: &str) -> Input {
    let source = Source::Bytes { name: "leavers.csv".to_owned(), bytes: csv.as_bytes().to_vec() };
    read(source, &ReadOptions { empty_desktop_is_every: true, ..ReadOptions::default() }).unwrap()
}

/// As [`build::bound`], with the privilege group `users`.
pub(super) fn bound(who: &str) -> Bound {
    Bound { user_group: Some("users".to_owned()), ..build::bound(who) }
}

/// As [`build::live`], everybody with the privilege group `users`.
pub(super) fn desktop(id: &str, who: &[&str]) -> LiveDesktop {
    LiveDesktop { bound: Some(who.iter().map(|who| bound(who)).collect()), ..build::live(id, &[]) }
}

/// A snapshot as the preflight makes it: every name and user of these desktops can be found.
pub(super) fn snapshot(desktops: impl IntoIterator<Item = LiveDesktop>) -> Snapshot {
    let mut seen = Snapshot { is_proved: true, ..Snapshot::default() };
    let (mut users, mut groups) = (Vec::new(), Vec::new());
    for live in desktops {
        seen.by_name.entry(fold(&live.name).into_owned()).or_default().push(live.id.clone());
        for one in live.bound.iter().flatten() {
            let known = if one.kind == Kind::User { &mut users } else { &mut groups };
            known.push(account(&one.user_name, one.user_id.as_deref().unwrap_or_default()));
        }
        seen.desktops.insert(live.id.clone(), Some(live));
    }
    (seen.users, seen.groups) = (Some(Directory::new(users)), Some(Directory::new(groups)));
    seen
}

pub(super) fn account(name: &str, id: &str) -> Account {
    Account { id: id.to_owned(), name: name.to_owned(), ..Account::default() }
}

/// Answers who holds what, as the preflight does for rows without a desktop.
pub(super) fn with_user(seen: Snapshot, kind: Kind, name: &str, domain: &str) -> Snapshot {
    with_user_and_id(seen, kind, name, "", domain)
}

pub(super) fn with_user_and_id(mut seen: Snapshot, kind: Kind, name: &str, id: &str, domain: &str) -> Snapshot {
    let key = UserKey { kind, name: name.to_owned(), id: id.to_owned(), domain: domain.to_owned() };
    let holds = |live: &&LiveDesktop| live.bound.iter().flatten().any(|one| key.may_mean(one));
    let mut held: Vec<_> = seen.desktops.values().flatten().filter(holds).map(|live| live.id.clone()).collect();
    held.sort();
    seen.by_user.insert(key, held);
    seen
}

/// The service knows these users, too, who are bound nowhere.
pub(super) fn knowing(mut seen: Snapshot, names: &[&str]) -> Snapshot {
    let bound = seen.users.iter().flat_map(Directory::names);
    seen.users = Some(Directory::new(bound.chain(names.iter().copied()).map(|name| account(name, "")).collect()));
    seen
}
