//! Who is the same person: one comparison, for the plan, the read-back, a resume, an undo and everything else.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;

use super::{Bound, Kind};

/// A user or a group, as a row, the journal or the service names it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Person<'a> {
    /// [`Kind::User`] or [`Kind::Group`].
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
    /// `None` or empty where nobody says it.
    pub(crate) id: Option<&'a str>,
    /// `None` or empty where nobody says it.
    pub(crate) domain: Option<&'a str>,
}

impl Person<'_> {
    /// Ids decide where both have one, whatever the names. Names, in canonical form and without case, count only where
    /// one id is missing, and with them the domains where both have one. A user is never a group.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.kind == other.kind
            && match (filled(self.id), filled(other.id)) {
                (Some(ours), Some(theirs)) => ours == theirs,
                _ => self.is_named_as(other),
            }
    }

    /// Whether type, name and domain are the same, whatever the ids: one person, or two of one name.
    pub(crate) fn is_named_as(&self, other: &Self) -> bool {
        let fits = match (filled(self.domain), filled(other.domain)) {
            (Some(ours), Some(theirs)) => same_name(ours, theirs),
            _ => true,
        };
        self.kind == other.kind && fits && same_name(self.name, other.name)
    }
}

fn filled(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

impl<'a> From<&'a Bound> for Person<'a> {
    fn from(one: &'a Bound) -> Self {
        Self { kind: one.kind, name: &one.user_name, id: one.user_id.as_deref(), domain: one.domain.as_deref() }
    }
}

/// The form in which names are compared without case: lower case, in Unicode's canonical form, so that an accent that
/// is a character of its own makes no other name.
pub(crate) fn fold(name: &str) -> Cow<'_, str> {
    if name.is_ascii() {
        if name.bytes().any(|byte| byte.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name.into() }
    } else {
        name.to_lowercase().nfc().collect::<String>().into()
    }
}

/// Whether two names are one without case.
pub(crate) fn same_name(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() { one.eq_ignore_ascii_case(other) } else { fold(one) == fold(other) }
}

/// Whether two names are one, case and all, in canonical form.
pub(crate) fn same_spelling(one: &str, other: &str) -> bool {
    one == other || (!one.is_ascii() && !other.is_ascii() && one.nfc().eq(other.nfc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_in_canonical_form() {
        for (one, other) in
            [("Bob", "bOB"), ("Émile", "éMILE"), ("ΝΙΚΟΣ", "νικος"), ("王伟", "王伟"), ("José", "JOSE\u{301}")]
        {
            assert!(same_name(one, other), "{one} {other}");
        }
        assert!(!same_name("bob", "bobo"));
        assert!(!same_name("王伟", "王"));
        assert!(same_spelling("José", "Jose\u{301}") && !same_spelling("José", "jose\u{301}"));
    }

    #[test]
    fn p02_ids_decide_where_both_have_one_and_names_only_where_one_is_missing() {
        let person = |name, id, domain| Person { kind: Kind::User, name, id: Some(id), domain: Some(domain) };
        for (one, other, same) in [
            (person("sam", "1", ""), person("sam", "1", ""), true),
            (person("sam", "1", ""), person("sam", "2", ""), false),
            (person("sam", "1", "east"), person("samuel", "1", "west"), true),
            (person("sam", "1", "east"), person("SAM", "", "East"), true),
            (person("sam", "", "east"), person("sam", "2", ""), true),
            (person("sam", "", "east"), person("sam", "2", "west"), false),
            (person("sam", "", ""), person("tom", "", ""), false),
        ] {
            assert_eq!((one.is(&other), other.is(&one)), (same, same), "{one:?} {other:?}");
        }
        let group = Person { kind: Kind::Group, ..person("sam", "1", "") };
        assert!(!group.is(&person("sam", "1", "")));
    }
}
