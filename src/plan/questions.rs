//! What has to be looked up before these rows can be judged.

use std::collections::HashSet;

use super::address::addressed;
use super::context::{place, whom};
use super::directory::Directory;
use super::matching::Wanted;
use super::policy::Policy;
use super::snapshot::UserKey;
use crate::input::{Field, Input};
use crate::model::{DesktopId, Kind, fold};
use crate::text::bytes::to_usize;

/// What the preflight has to find out; each thing once, in first-seen order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// Desktops that rows name by id.
    pub ids: Vec<DesktopId>,
    /// Desktops that rows name by name alone: as given, one spelling for all that are one without case.
    pub names: Vec<String>,
    /// Users and groups of rows without a desktop.
    pub users: Vec<UserKey>,
    /// Whether a guard needs the number of assigned desktops.
    pub needs_assigned_total: bool,
}

/// What has to be looked up for these rows. Rows that are wrong in themselves, or not due, ask for nothing.
///
/// * `users`: all that the service knows, where rows [name them by an address](super::names_by_address).
pub fn questions(input: &Input, policy: &Policy, users: Option<&Directory>) -> Questions {
    let addressed = addressed(input, users);
    let mut asked = Questions { needs_assigned_total: policy.max_percent.is_some(), ..Questions::default() };
    let (mut ids, mut names, mut users) = (vec![false; input.table.desktops()], HashSet::new(), HashSet::new());
    let mut faults = input.faults.iter().peekable();
    let mut not_due = input.not_due.iter().peekable();
    for row in 0..input.table.len() {
        let mut is_out = not_due.next_if(|&&late| to_usize(late) == row).is_some();
        while faults.next_if(|fault| fault.row <= row).is_some() {
            is_out = true;
        }
        if is_out {
            continue;
        }
        let cells = input.table.row(row);
        let Some(kind) = cells.kind() else { continue };
        if kind == Kind::All && !policy.allow_detach_all {
            continue;
        }
        let (id, name) = (cells.desktop(), cells.get(Field::DesktopName));
        if id != 0 {
            if !std::mem::replace(&mut ids[to_usize(id)], true) {
                asked.ids.extend(DesktopId::parse(input.table.desktop(id)));
            }
        } else if !name.is_empty() {
            if names.insert(fold(name)) {
                asked.names.push(name.to_owned());
            }
        } else if kind != Kind::All {
            let Wanted { name, id, domain, .. } = whom(cells, addressed.get(&place(row)).copied());
            if !name.is_empty() && users.insert((kind, name, id, domain)) {
                asked.users.push(UserKey { kind, name: name.to_owned(), id: id.to_owned(), domain: domain.to_owned() });
            }
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::super::fixture::input;
    use super::*;

    #[test]
    fn each_thing_is_asked_once_in_first_seen_order() {
        let input = input(
            "desktop_id,desktop_name,user_name,type,domain\n\
             d2,,a,,\nd1,,b,,\nd2,PC-1,c,,\n,PC-9,a,,\n,pc-9,b,,\n,,a,,\n,,a,,\n,,a,GROUP,\n,,a,,east\nd3,,,ALL,\nd4,,,,\n",
        );
        let asked = questions(
            &input,
            &Policy { max_percent: crate::config::Percent::read("1").ok(), ..Policy::default() },
            None,
        );
        assert_eq!(asked.ids.iter().map(DesktopId::as_str).collect::<Vec<_>>(), ["d2", "d1"], "neither ALL nor faults");
        assert_eq!(asked.names, ["PC-9"]);
        let key =
            |kind, domain: &str| UserKey { kind, name: "a".to_owned(), id: String::new(), domain: domain.to_owned() };
        assert_eq!(asked.users, [key(Kind::User, ""), key(Kind::Group, ""), key(Kind::User, "east")]);
        assert!(asked.needs_assigned_total);
        let all = Policy { allow_detach_all: true, ..Policy::default() };
        assert_eq!(questions(&input, &all, None).ids.len(), 3);
    }
}
