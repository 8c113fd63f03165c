//! The people of a list: who is out, who is still in, and of whom that is open.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::model::{Kind, NOT_TOLD, Outcome, fold};
use crate::outcome::ResultRow;

/// Where somebody stands by all his rows: the last one that any of them says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Nothing that was looked at lets him in.
    Out,
    /// His day is still to come.
    NotDue,
    /// Not done, not known, or in doubt.
    Open,
    /// A binding of his stands, or something else lets him in.
    In,
}

impl Standing {
    fn of(row: &ResultRow<'_>) -> Self {
        let known = row.still_via.strip_suffix(NOT_TOLD).unwrap_or(row.still_via);
        let by_outcome = match row.result.outcome {
            // In doubt, it may be somebody else whose binding stands.
            Outcome::Detached | Outcome::AlreadyDetached
                if row.still_via.is_empty() && row.result.doubt().is_none() =>
            {
                Self::Out
            }
            Outcome::NotDue => Self::NotDue,
            Outcome::Failed | Outcome::Attached | Outcome::AlreadyAttached => Self::In,
            Outcome::Detached
            | Outcome::AlreadyDetached
            | Outcome::Unknown
            | Outcome::Invalid
            | Outcome::NotSent
            | Outcome::Planned => Self::Open,
        };
        if known.is_empty() { by_outcome } else { Self::In }
    }
}

/// How many people stand where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct People {
    pub(super) out: u64,
    pub(super) not_due: u64,
    pub(super) open: u64,
    pub(super) still_in: u64,
    /// Rows that name no person: groups, and everybody on a desktop.
    pub(super) others: u64,
}

impl People {
    pub(super) fn total(&self) -> u64 {
        self.out + self.not_due + self.open + self.still_in
    }
}

/// Counts people while their rows pass by. Digests stand for names and ids: a hundred thousand take a few megabytes.
#[derive(Debug, Default)]
pub(super) struct Census {
    hasher: RandomState,
    /// By name: each id that comes with it, and where its rows stand; no id is `None`.
    found: HashMap<u64, Vec<(Option<u64>, Standing)>>,
    others: u64,
}

impl Census {
    pub(super) fn absorb(&mut self, row: &ResultRow<'_>) {
        let [_, _, name, id, _, kind, _] = row.cells;
        if Kind::parse(kind).is_some_and(|kind| kind != Kind::User) || (name.is_empty() && id.is_empty()) {
            self.others += 1;
            return;
        }
        let id = (!id.is_empty()).then(|| self.hasher.hash_one(id));
        let name = id.filter(|_| name.is_empty()).unwrap_or_else(|| self.hasher.hash_one(fold(name)));
        let known = self.found.entry(name).or_default();
        let standing = Standing::of(row);
        match known.iter_mut().find(|(of, _)| *of == id) {
            Some((_, before)) => *before = standing.max(*before),
            None => known.push((id, standing)),
        }
    }

    /// A name without an id is that of the one id that has it; where two have it, it is somebody of his own.
    pub(super) fn people(self) -> People {
        let mut people = People { others: self.others, ..People::default() };
        for of_name in self.found.into_values() {
            let is_one = of_name.iter().filter(|(id, _)| id.is_some()).count() <= 1;
            let standings: Vec<Standing> = if is_one {
                of_name.iter().map(|(_, standing)| *standing).max().into_iter().collect()
            } else {
                of_name.into_iter().map(|(_, standing)| standing).collect()
            };
            for standing in standings {
                *match standing {
                    Standing::Out => &mut people.out,
                    Standing::NotDue => &mut people.not_due,
                    Standing::Open => &mut people.open,
                    Standing::In => &mut people.still_in,
                } += 1;
            }
        }
        people
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::RowOutcome;
    use crate::model::Doubt;

    #[test]
    fn a_person_is_out_only_where_every_row_of_his_says_so() {
        let mut census = Census::default();
        for (name, id, kind, outcome, still_via) in [
            ("out", "1", "", Outcome::Detached, ""),
            ("OUT", "", "USER", Outcome::AlreadyDetached, ""),
            ("pool", "2", "", Outcome::Detached, "pool:P;?"),
            ("half", "3", "", Outcome::Detached, ""),
            ("half", "3", "", Outcome::Failed, ""),
            ("mark", "4", "", Outcome::Detached, "?"),
            ("left", "5", "", Outcome::NotSent, ""),
            ("misspelt", "", "", Outcome::AlreadyDetached, ""),
            ("later", "6", "", Outcome::NotDue, ""),
            ("later", "6", "", Outcome::Detached, ""),
            // Two people of one name.
            ("twin", "7", "", Outcome::Detached, ""),
            ("twin", "8", "", Outcome::Unknown, ""),
            ("staff", "", "GROUP", Outcome::Failed, ""),
            ("", "", "ALL", Outcome::Detached, ""),
        ] {
            let code = if name == "misspelt" { Doubt::NearName.code() } else { "" };
            let result = RowOutcome::new(outcome, code.to_owned(), String::new());
            let cells = ["d", "", name, id, "", kind, ""];
            census.absorb(&ResultRow { line: 2, cells, result: &result, still_via, extras: &[] });
        }
        assert_eq!(census.people(), People { out: 2, not_due: 1, open: 4, still_in: 2, others: 2 });
    }
}
