//! Whether somebody who leaves still gets in, and by what.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Outcome, Person};
use crate::text::{counted, grouped};

/// People of a list who still get in, by something other than what their rows name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StillAccess {
    /// People of whom something is known that lets them in.
    pub people: u64,
    /// Their rows.
    pub rows: u64,
    /// People of whom it could not be told, or not in full.
    pub unknown: u64,
    /// Why it could not be told: a sentence for each cause.
    #[serde(default)]
    pub why: Vec<String>,
    /// The first of the people who still get in.
    #[serde(default)]
    pub examples: Vec<StillPerson>,
    /// Whether something could not be read: then it can't be told of anybody that there is nothing else.
    #[serde(default)]
    pub incomplete: bool,
}

impl StillAccess {
    /// How many people are named.
    pub const NAMED: usize = 20;

    /// `3 people still get in by something else, and of 5 it could not be told in full`.
    pub fn in_words(&self) -> String {
        let people = |count, one, many| counted(count, &format!("person {one}"), &format!("people {many}"));
        let known = people(self.people, "still gets in by something else", "still get in by something else");
        match (self.people, self.unknown) {
            (_, 0) => known,
            (0, unknown) => {
                let who = people(unknown, "still gets in by something else", "still get in by something else");
                format!("it is not known whether {who}")
            }
            (_, unknown) => format!("{known}, and for {} it is not fully known", grouped(unknown)),
        }
    }

    /// Whether somebody gets in, or might.
    pub const fn is_open(&self) -> bool {
        self.people > 0 || self.unknown > 0
    }
}

/// One of the people who still get in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StillPerson {
    /// Of one of his rows.
    pub line: u64,
    pub user_name: String,
    /// As the column `still_via` of that row has it.
    pub still_via: String,
}

/// Who is meant to get in no more by a record of the results; nobody by one that names a group or everybody, names no
/// one, or whose day is still to come.
///
/// * `cells`: `desktop_id,desktop_name,user_name,user_id,user_group,type,domain`.
pub(crate) fn leaver<'a>(cells: &[&'a str; 7], outcome: Outcome) -> Option<Person<'a>> {
    let [_, _, name, id, _, kind, domain] = *cells;
    let is_meant = outcome != Outcome::NotDue && Kind::parse(kind) == Some(Kind::User);
    (is_meant && !(name.is_empty() && id.is_empty())).then_some(Person {
        kind: Kind::User,
        name,
        id: Some(id),
        domain: Some(domain),
    })
}

/// Something that lets a person in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum WayKind {
    /// A desktop that he is bound to.
    Desktop,
    /// A group of his that is bound to a desktop or authorised for a pool.
    Group,
    /// A pool that he is authorised for.
    Pool,
}

impl fmt::Display for WayKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Desktop => "desktop",
            Self::Group => "group",
            Self::Pool => "pool",
        })
    }
}

/// What stands in `still_via` where something could not be read.
pub(crate) const NOT_TOLD: &str = "?";

/// The column `still_via`: the ways, `;` between them, each once, in order; `?` at the end where something could not be
/// read. A `;` in a name becomes `,`.
pub(crate) fn still_via(mut ways: Vec<(WayKind, &str)>, is_told: bool) -> String {
    ways.sort_unstable();
    ways.dedup();
    let mut parts: Vec<String> =
        ways.into_iter().map(|(kind, name)| format!("{kind}:{}", name.replace(';', ","))).collect();
    if !is_told {
        parts.push(NOT_TOLD.to_owned());
    }
    parts.join(";")
}

/// The cells of `still_via` of records in their order, where nothing is kept of those that have nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ways<'a> {
    told: &'a [(u64, String)],
    is_incomplete: bool,
    record: u64,
}

impl<'a> Ways<'a> {
    /// * `rows`: records of which something is told, by their number from 0, in order.
    /// * `is_incomplete`: whether something could not be read, see [`StillAccess::incomplete`].
    pub(crate) fn new(rows: &'a [(u64, String)], is_incomplete: bool) -> Self {
        Self { told: rows, is_incomplete, record: 0 }
    }

    /// The cell of the next record.
    ///
    /// * `cells`: as [`leaver`] takes them.
    pub(crate) fn next(&mut self, cells: &[&str; 7], outcome: Outcome) -> &'a str {
        let record = self.record;
        self.record += 1;
        match self.told.split_first() {
            Some(((of, ways), rest)) if *of == record => {
                self.told = rest;
                ways
            }
            _ if self.is_incomplete && leaver(cells, outcome).is_some() => NOT_TOLD,
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_stand_in_order_each_once_and_what_could_not_be_read_is_marked() {
        let ways =
            vec![(WayKind::Pool, "Dev"), (WayKind::Desktop, "PC-2"), (WayKind::Pool, "Dev"), (WayKind::Group, "a;b")];
        assert_eq!(still_via(ways.clone(), true), "desktop:PC-2;group:a,b;pool:Dev");
        assert_eq!(still_via(ways, false), "desktop:PC-2;group:a,b;pool:Dev;?");
        assert_eq!((still_via(Vec::new(), true).as_str(), still_via(Vec::new(), false).as_str()), ("", "?"));
    }
}
