//! What an undo plans, held against the service's own log: nobody is judged by somebody else of his name, and only who
//! came after the run is in the way.

use super::*;

impl Checker<'_> {
    /// P2 and P5 of an undo's plan.
    pub(super) fn undone(&mut self) {
        let history = self.history;
        if !history.wants_bound() {
            return;
        }
        for request in &history.requests {
            if request.entry.op == Op::BatchDetach {
                self.broken("P5", format!("request {} of an undo detaches", request.entry.number));
            }
        }
        let Some((from, to)) = history.look() else { return };
        for entry in &history.entries {
            let Fate::Fixed { outcome, code, .. } = &entry.fate else { continue };
            let Some(desktop) = self.looked_for(&entry.cells[0]) else { continue };
            let before = history.first.get(&desktop).filter(|_| history.promised.looked);
            // Who went by somebody else's hand was perhaps gone as the run looked.
            let went = |one: &&Bound| {
                history.changes.iter().any(|change| {
                    change.request.is_none()
                        && !change.attached
                        && self.is_same(&change.desktop, &desktop)
                        && change.bound == **one
                })
            };
            let before: Vec<&Bound> = before.into_iter().flatten().filter(|one| !went(one)).collect();
            let was = |meant: &dyn Fn(&Bound) -> bool| {
                self.states_within(&desktop, from, to).any(|state| state.iter().any(meant))
            };
            let ids = |one: &Bound| (one.kind, one.user_id.clone());
            let is_wrong = match (outcome, code.as_ref()) {
                (Outcome::AlreadyAttached, _) => !was(&|one| is_of(entry, one)),
                (_, "INVALID_TAKEN") => !was(&|one| before.iter().all(|there| ids(there) != ids(one))),
                (_, "INVALID_ID_MISMATCH") => !was(&|one| {
                    is_named(entry, one) && !is_of(entry, one) && before.iter().all(|there| ids(there) != ids(one))
                }),
                _ => false,
            };
            if is_wrong {
                let (line, user) = (entry.line, &entry.cells[2]);
                self.broken("P2", format!("line {line}: {desktop}/{user:?} is {outcome} {code}, and never was so"));
            }
        }
    }
}

/// Whether a binding has the row's kind and name.
fn is_named(entry: &Entry, one: &Bound) -> bool {
    let [_, _, user, _, _, kind, _] = &entry.cells;
    let kind = if kind.is_empty() { "USER" } else { kind };
    one.user_name.to_lowercase() == user.to_lowercase() && one.kind.to_string().eq_ignore_ascii_case(kind)
}

/// Whether a binding is the row's: by its id, where the row has one.
fn is_of(entry: &Entry, one: &Bound) -> bool {
    match (&entry.cells[3], &one.user_id) {
        (ours, Some(theirs)) if !ours.is_empty() => ours == theirs,
        _ => is_named(entry, one),
    }
}
