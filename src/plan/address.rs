//! Rows that name a user by the address that the service has of them.

use std::collections::HashMap;

use super::directory::{Account, Directory};
use crate::input::{Field, Input, RowRef};
use crate::model::Kind;

/// Whom an address means.
#[derive(Debug, Clone, Copy)]
pub(super) enum Addressed<'t> {
    One(&'t Account),
    Nobody,
    /// Several users have it.
    Several,
}

/// Whether a row names its user by an address, so that all users must be read before it can be judged.
pub fn names_by_address(input: &Input) -> bool {
    input.table.has(Field::UserEmail) && input.table.rows().any(is_addressed)
}

/// Whom the rows mean that give an address, by row.
///
/// * `users`: all that the service knows; `None` where they were not read.
pub(super) fn addressed<'t>(input: &'t Input, users: Option<&'t Directory>) -> HashMap<u32, Addressed<'t>> {
    let Some(users) = users.filter(|_| input.table.has(Field::UserEmail)) else { return HashMap::new() };
    let rows = (0_u32..).zip(input.table.rows()).filter(|&(_, row)| is_addressed(row));
    rows.map(|(at, row)| {
        let mut found = users.with_email(row.email());
        let whom = match (found.next(), found.next()) {
            (Some(one), None) => Addressed::One(one),
            (None, _) => Addressed::Nobody,
            (Some(_), Some(_)) => Addressed::Several,
        };
        (at, whom)
    })
    .collect()
}

/// The address of a group, or beside a row for everybody, names no user.
fn is_addressed(row: RowRef<'_>) -> bool {
    row.kind() == Some(Kind::User) && !row.email().is_empty()
}
