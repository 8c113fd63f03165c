//! Whom the service knows, bound or not.

use crate::model::fold;
use crate::text::bytes::to_usize;

/// A user, or a user group, that the service knows; texts that it does not tell are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    pub id: String,
    pub name: String,
    pub email: String,
    pub domain: String,
}

/// All users, or all user groups, that the service knows.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    accounts: Vec<Account>,
    names: Index,
    ids: Index,
    emails: Index,
}

/// Texts that are not empty, sorted, each with the place of its account.
type Index = Vec<(Box<str>, u32)>;

impl Directory {
    pub fn new(accounts: Vec<Account>) -> Self {
        let index = |text: &dyn Fn(&Account) -> Box<str>| {
            let texts = accounts.iter().zip(0..).map(|(one, at)| (text(one), at));
            let mut index: Index = texts.filter(|(text, _)| !text.is_empty()).collect();
            index.sort_unstable();
            index
        };
        let names = index(&|one| fold(&one.name).into());
        let ids = index(&|one| one.id.as_str().into());
        let emails = index(&|one| fold(&one.email).into());
        Self { accounts, names, ids, emails }
    }

    /// Those of this name, without case.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = &Account> {
        self.found(&self.names, &fold(name))
    }

    pub(super) fn with_id(&self, id: &str) -> Option<&Account> {
        self.found(&self.ids, id).next()
    }

    /// Those of this address, without case.
    pub(super) fn with_email(&self, email: &str) -> impl Iterator<Item = &Account> {
        self.found(&self.emails, &fold(email))
    }

    pub(super) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.accounts.iter().map(|one| one.name.as_str())
    }

    fn found<'a>(&'a self, index: &'a Index, text: &str) -> impl Iterator<Item = &'a Account> + use<'a> {
        let from = index.partition_point(|(known, _)| **known < *text);
        let many = index[from..].iter().take_while(|(known, _)| **known == *text).count();
        index[from..from + many].iter().filter_map(|&(_, at)| self.accounts.get(to_usize(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_found_by_name_and_address_without_case_and_by_their_id() {
        let account = |id: &str, name: &str, email: &str| Account {
            id: id.to_owned(),
            name: name.to_owned(),
            email: email.to_owned(),
            domain: String::new(),
        };
        let all =
            [account("1", "Ann", "ann@example.com"), account("2", "ann", ""), account("3", "José", "J@example.com")];
        let directory = Directory::new(all.to_vec());
        assert_eq!(directory.named("ANN").count(), 2);
        assert_eq!(directory.named("JOSE\u{301}").next(), Some(&all[2]));
        assert_eq!(directory.with_email("j@EXAMPLE.com").collect::<Vec<_>>(), [&all[2]]);
        assert_eq!(
            (directory.with_email("").count(), directory.with_id("2"), directory.with_id("")),
            (0, Some(&all[1]), None)
        );
    }
}
