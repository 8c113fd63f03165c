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
    /// His own row is not done: its binding stands.
    NotDone,
    /// Something else lets him in.
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
            Outcome::Failed | Outcome::Attached | Outcome::AlreadyAttached => Self::NotDone,
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
    /// Those who get in because a row of theirs is not done, and by nothing else.
    pub(super) not_done: u64,
    /// Those who get in by something that no row names.
    pub(super) by_else: u64,
    /// Rows that name no person: groups, everybody on a desktop, and nobody.
    pub(super) groups: u64,
    pub(super) everybody: u64,
    pub(super) nameless: u64,
}

/// People who still get in that are listed by name.
const LISTED: usize = 100;
/// Rows of one of them that are listed.
const LISTED_ROWS: usize = 5;

/// Somebody who still gets in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Insider {
    name: u64,
    id: Option<u64>,
    /// Of his first row that says so.
    pub(super) line: u64,
    pub(super) user: String,
    /// As the column `still_via` has it.
    pub(super) still_via: String,
    /// His rows that are not done, or the first of them.
    pub(super) undone: Vec<Undone>,
}

/// A row that is not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Undone {
    pub(super) line: u64,
    pub(super) desktop: String,
    pub(super) outcome: Outcome,
    pub(super) code: String,
    pub(super) message: String,
}

impl People {
    pub(super) fn still_in(&self) -> u64 {
        self.not_done + self.by_else
    }

    pub(super) fn total(&self) -> u64 {
        self.out + self.not_due + self.open + self.still_in()
    }
}

/// Counts people while their rows pass by. Digests stand for names and ids: a hundred thousand take a few megabytes.
#[derive(Debug, Default)]
pub(super) struct Census {
    hasher: RandomState,
    /// By name: each id that comes with it, and where its rows stand; no id is `None`.
    found: HashMap<u64, Vec<(Option<u64>, Standing)>>,
    /// Rows that name no person, as [`People`] has them.
    others: People,
    insiders: Vec<Insider>,
}

impl Census {
    pub(super) fn absorb(&mut self, row: &ResultRow<'_>) {
        let [_, _, name, id, _, kind, _] = row.cells;
        let others = match Kind::parse(kind) {
            Some(Kind::Group | Kind::UserGroup) => Some(&mut self.others.groups),
            Some(Kind::All) => Some(&mut self.others.everybody),
            _ if name.is_empty() && id.is_empty() => Some(&mut self.others.nameless),
            _ => None,
        };
        if let Some(rows) = others {
            *rows += 1;
            return;
        }
        let user = if name.is_empty() { id } else { name };
        let id = (!id.is_empty()).then(|| self.hasher.hash_one(id));
        let name = id.filter(|_| name.is_empty()).unwrap_or_else(|| self.hasher.hash_one(fold(name)));
        let known = self.found.entry(name).or_default();
        let standing = Standing::of(row);
        if matches!(standing, Standing::NotDone | Standing::In) {
            list(&mut self.insiders, (name, id), user, row);
        }
        match known.iter_mut().find(|(of, _)| *of == id) {
            Some((_, before)) => *before = standing.max(*before),
            None => known.push((id, standing)),
        }
    }

    /// A name without an id is that of the one id that has it; where two have it, it is somebody of his own.
    ///
    /// Beside the counts the first of those who still get in.
    pub(super) fn people(self) -> (People, Vec<Insider>) {
        let mut people = self.others;
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
                    Standing::NotDone => &mut people.not_done,
                    Standing::In => &mut people.by_else,
                } += 1;
            }
        }
        (people, self.insiders)
    }
}

/// Adds what a row says of somebody who still gets in.
fn list(insiders: &mut Vec<Insider>, (name, id): (u64, Option<u64>), user: &str, row: &ResultRow<'_>) {
    let is_same = |one: &Insider| one.name == name && (one.id == id || one.id.is_none() || id.is_none());
    if !insiders.iter().any(is_same) && insiders.len() < LISTED {
        let (line, user, still_via) = (row.line, user.to_owned(), String::new());
        insiders.push(Insider { name, id, line, user, still_via, undone: Vec::new() });
    }
    let Some(place) = insiders.iter_mut().find(|one| is_same(one)) else { return };
    // All rows of a person have the same.
    if place.still_via.is_empty() {
        row.still_via.clone_into(&mut place.still_via);
    }
    let [id, name, ..] = row.cells;
    let result = row.result;
    let (code, message) = result.words();
    if !result.outcome.is_success() && place.undone.len() < LISTED_ROWS {
        place.undone.push(Undone {
            line: row.line,
            desktop: (if name.is_empty() { id } else { name }).to_owned(),
            outcome: result.outcome,
            code: code.to_owned(),
            message: message.to_owned(),
        });
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
        let (people, insiders) = census.people();
        let expected =
            People { out: 2, not_due: 1, open: 4, not_done: 1, by_else: 1, groups: 1, everybody: 1, nameless: 0 };
        assert_eq!(people, expected);
        // All who are counted are named, with the reason.
        let named: Vec<_> = insiders.iter().map(|one| (&*one.user, &*one.still_via, one.undone.len())).collect();
        assert_eq!(named, [("pool", "pool:P;?", 0), ("half", "", 1)]);
    }
}
