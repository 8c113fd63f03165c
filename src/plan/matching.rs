//! Never somebody else: which live binding a row means, or why none can be told.

use std::borrow::Cow;

use super::snapshot::domain_fits;
use crate::model::{Bound, Kind, fold, same_name, same_spelling};
use crate::text::bytes::to_usize;

/// Whom a row names: its cells, empty where it says nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'t> {
    pub(super) kind: Kind,
    pub(super) name: &'t str,
    pub(super) id: &'t str,
    pub(super) domain: &'t str,
}

/// What became of looking for somebody among a desktop's bindings; the numbers are places in their list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    One(u32),
    Nobody,
    /// Name and id do not belong together; this binding has one of the two.
    WrongId(u32),
    /// Several people of this name.
    Several,
}

/// From how many bindings on an index of their names pays.
const INDEXED: usize = 16;

/// Finds people among the bindings of one desktop.
pub(super) struct Matcher<'t> {
    bound: &'t [Bound],
    /// Folded names with their places, sorted; only for large lists.
    index: Vec<(Cow<'t, str>, u32)>,
}

impl<'t> Matcher<'t> {
    /// `rows`: how many rows will be looked for.
    pub(super) fn new(bound: &'t [Bound], rows: usize) -> Self {
        let mut index = Vec::new();
        if bound.len() >= INDEXED && rows > 1 {
            index.extend(places(bound).map(|(place, one)| (fold(&one.user_name), place)));
            index.sort_unstable();
        }
        Self { bound, index }
    }

    /// `candidates` is scratch space.
    pub(super) fn find(&self, wanted: &Wanted<'_>, candidates: &mut Vec<(u32, &'t Bound)>) -> Found {
        candidates.clear();
        if self.index.is_empty() {
            candidates.extend(places(self.bound).filter(|(_, one)| may_be(one, wanted)));
        } else {
            let name = fold(wanted.name);
            let from = self.index.partition_point(|(theirs, _)| *theirs < name);
            candidates.extend(
                self.index[from..]
                    .iter()
                    .take_while(|(theirs, _)| *theirs == name)
                    .filter_map(|&(_, place)| Some((place, self.bound.get(to_usize(place))?)))
                    .filter(|(_, one)| one.kind == wanted.kind && domain_fits(one, wanted.domain)),
            );
        }
        if let Err(place) = narrow(candidates, wanted) {
            return Found::WrongId(place);
        }
        if candidates.is_empty() && !wanted.id.is_empty() {
            // Renamed, or a shuffled column: the id is here under another name.
            let owner = places(self.bound).find(|(_, one)| has_id(one, wanted));
            return owner.map_or(Found::Nobody, |(place, _)| Found::WrongId(place));
        }
        match candidates.as_slice() {
            [] => Found::Nobody,
            [(place, _)] => Found::One(*place),
            // The same person listed twice is one person; anybody without an id might be another.
            [(place, first), rest @ ..]
                if first.user_id.is_some() && rest.iter().all(|(_, one)| one.user_id == first.user_id) =>
            {
                Found::One(*place)
            }
            _ => Found::Several,
        }
    }
}

/// Keeps of `candidates` those that `wanted` means best: by id, else by the exact name, then by the exact domain.
///
/// # Errors
/// The first candidate, where all of them have another id than the row gives.
pub(super) fn narrow<T: Copy>(candidates: &mut Vec<(T, &Bound)>, wanted: &Wanted<'_>) -> Result<(), T> {
    if !wanted.id.is_empty() {
        if candidates.iter().any(|(_, one)| has_id(one, wanted)) {
            candidates.retain(|(_, one)| has_id(one, wanted));
            return Ok(());
        }
        // A binding without an id can't contradict the row's.
        if let Some(&(first, _)) = candidates.first() {
            candidates.retain(|(_, one)| one.user_id.is_none());
            if candidates.is_empty() {
                return Err(first);
            }
        }
    }
    if candidates.len() > 1 {
        prefer(candidates, |one| same_spelling(&one.user_name, wanted.name));
        if !wanted.domain.is_empty() {
            prefer(candidates, |one| one.domain.is_some());
        }
    }
    Ok(())
}

fn prefer<T>(candidates: &mut Vec<(T, &Bound)>, better: impl Fn(&Bound) -> bool) {
    if candidates.iter().any(|(_, one)| better(one)) {
        candidates.retain(|(_, one)| better(one));
    }
}

/// Whether bindings on several desktops, all of one name, can only be one person's.
pub(super) fn are_one_person<T>(bindings: &[(T, &Bound)]) -> bool {
    let mut ids = bindings.iter().filter_map(|(_, one)| one.user_id.as_deref());
    let first_id = ids.next();
    if ids.any(|id| Some(id) != first_id) {
        return false;
    }
    if bindings.iter().all(|(_, one)| one.user_id.is_some()) {
        return true;
    }
    let mut domains = bindings.iter().filter_map(|(_, one)| one.domain.as_deref());
    let first = domains.next();
    domains.all(|domain| first.is_some_and(|first| same_name(first, domain)))
}

/// Whether a binding is of the row's type, its name without case, and its domain if it gives one.
pub(super) fn may_be(one: &Bound, wanted: &Wanted<'_>) -> bool {
    one.kind == wanted.kind && same_name(&one.user_name, wanted.name) && domain_fits(one, wanted.domain)
}

/// Whether a binding is of the row's type and has the id that it gives.
pub(super) fn has_id(one: &Bound, wanted: &Wanted<'_>) -> bool {
    one.kind == wanted.kind && !wanted.id.is_empty() && one.user_id.as_deref() == Some(wanted.id)
}

pub(super) fn places(bound: &[Bound]) -> impl Iterator<Item = (u32, &Bound)> {
    (0u32..).zip(bound)
}

/// The fewest insertions, deletions and replacements of characters between two names; `None` where it is more
/// than 2, or so many that it says nothing about names as short as these.
pub(super) fn distance(one: &str, other: &str) -> Option<usize> {
    let (one, other) = (fold(one), fold(other));
    let [len, other_len] = [&one, &other].map(|name| name.chars().count());
    if len.abs_diff(other_len) > 2 {
        return None;
    }
    let distance = strsim::levenshtein(&one, &other);
    (distance <= 2 && 2 * distance < len).then_some(distance)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(kind: Kind, name: &str, id: &str, domain: &str) -> Bound {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Bound { kind, user_name: name.to_owned(), user_id: some(id), user_group: None, domain: some(domain) }
    }

    fn user(name: &str, id: &str, domain: &str) -> Bound {
        bound(Kind::User, name, id, domain)
    }

    fn find(list: &[Bound], name: &str, id: &str, domain: &str) -> Found {
        let wanted = Wanted { kind: Kind::User, name, id, domain };
        let plain = Matcher::new(list, 1).find(&wanted, &mut Vec::new());
        // The index must not change the answer: the same list among many strangers.
        let mut many = list.to_vec();
        many.extend((0..40).map(|n| user(&format!("stranger{n}"), &format!("s{n}"), "x")));
        assert_eq!(Matcher::new(&many, 9).find(&wanted, &mut Vec::new()), plain);
        plain
    }

    #[test]
    fn the_exact_name_wins_over_one_in_other_case() {
        let list = [user("Bob", "1", ""), user("bob", "2", "")];
        assert_eq!(find(&list, "bob", "", ""), Found::One(1));
        assert_eq!(find(&list, "Bob", "", ""), Found::One(0));
        assert_eq!(find(&list, "BOB", "", ""), Found::Several);
        assert_eq!(find(&list, "BOB", "2", ""), Found::One(1));
    }

    #[test]
    fn a_name_in_two_domains_needs_the_domain_or_the_id() {
        let list = [user("bob", "1", "east"), user("bob", "2", "west")];
        assert_eq!(find(&list, "bob", "", ""), Found::Several);
        assert_eq!(find(&list, "bob", "", "WEST"), Found::One(1));
        assert_eq!(find(&list, "bob", "1", ""), Found::One(0));
        assert_eq!(find(&list, "bob", "", "north"), Found::Nobody);
    }

    #[test]
    fn a_binding_without_a_domain_counts_for_any() {
        assert_eq!(find(&[user("bob", "1", "")], "bob", "", "west"), Found::One(0));
        assert_eq!(find(&[user("bob", "1", ""), user("bob", "2", "west")], "bob", "", "west"), Found::One(1));
    }

    #[test]
    fn an_id_beside_another_name_is_never_a_match() {
        let list = [user("alice", "1", ""), user("bob", "2", "")];
        assert_eq!(find(&list, "alice", "2", ""), Found::WrongId(0));
        assert_eq!(find(&list, "alicia", "1", ""), Found::WrongId(0), "renamed");
        assert_eq!(find(&list, "alice", "3", ""), Found::WrongId(0));
        assert_eq!(find(&list, "carol", "3", ""), Found::Nobody);
    }

    #[test]
    fn a_binding_without_an_id_takes_the_rows_id() {
        assert_eq!(find(&[user("alice", "", "")], "alice", "9", ""), Found::One(0));
    }

    #[test]
    fn a_group_is_not_a_user_of_the_same_name() {
        let list = [bound(Kind::Group, "sales", "1", ""), user("sales", "2", "")];
        assert_eq!(find(&list, "sales", "", ""), Found::One(1));
        assert_eq!(find(&list[..1], "sales", "", ""), Found::Nobody);
    }

    #[test]
    fn the_same_person_listed_twice_is_one_person() {
        assert_eq!(find(&[user("bob", "1", ""), user("bob", "1", "")], "bob", "", ""), Found::One(0));
        assert_eq!(find(&[user("bob", "", ""), user("bob", "", "")], "bob", "", ""), Found::Several);
    }

    #[test]
    fn near_names_are_near_and_short_ones_are_not() {
        assert_eq!(distance("alicee", "alice"), Some(1));
        assert_eq!(distance("Alcie", "alice"), Some(2));
        assert_eq!(distance("王伟", "李强"), None);
        assert_eq!(distance("bob", "tom"), None);
        assert_eq!(distance("bob", "bobby99"), None);
    }

    #[test]
    fn bindings_on_several_desktops_are_one_persons_by_id_or_by_domain() {
        let one = |list: &[Bound]| are_one_person(&list.iter().map(|one| ((), one)).collect::<Vec<_>>());
        assert!(one(&[user("bob", "1", "a"), user("bob", "1", "a")]));
        assert!(!one(&[user("bob", "1", ""), user("bob", "2", "")]));
        assert!(one(&[user("bob", "", "a"), user("bob", "", "A"), user("bob", "", "")]));
        assert!(!one(&[user("bob", "", "a"), user("bob", "", "b")]));
    }
}
