//! What the page tells, read from the journal in one go.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use super::people::{Census, Insider, People};
use super::redact::{Hashed, Names, Veil};
use super::timeline::Work;
use crate::error::Error;
use crate::journal::{Identity, Process, Progress, View};
use crate::outcome::Summary;

/// One state of a run.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) identity: Identity,
    pub(super) progress: Progress,
    pub(super) processes: Vec<Process>,
    pub(super) summary: Summary,
    pub(super) work: Work,
    pub(super) desktops: u64,
    /// People of the list, by where they stand.
    pub(super) people: People,
    /// The first of those who still get in.
    pub(super) insiders: Vec<Insider>,
    /// Rows of people who still get in, or may.
    pub(super) rows_still_in: u64,
    pub(super) veil: Veil,
}

impl Facts {
    /// * `redact`: users as salted hashes.
    pub(super) fn read(view: &View, redact: bool) -> Result<Self, Error> {
        let identity = view.identity().clone();
        let (progress, processes) = (view.progress()?, view.processes()?);
        let mut names = Names::default();
        if redact {
            names.add(&identity.operator);
        }
        let mut summary = Summary::of(&identity);
        let (mut census, mut rows_still_in) = (Census::default(), 0);
        view.for_each_result(|row| {
            if redact {
                names.add(row.cells[2]);
                names.add(row.cells[3]);
            }
            summary.absorb(&row);
            census.absorb(&row);
            rows_still_in += u64::from(!row.still_via.is_empty());
            Ok(())
        })?;
        // A desktop may be in several chunks. Its hash is enough to know it again.
        let (mut desktops, hasher) = (HashSet::new(), RandomState::new());
        view.for_each_item(|item, _| {
            desktops.insert(hasher.hash_one(&item.desktop));
            for slot in item.slots.iter().filter(|_| redact) {
                names.add(&slot.user_name);
                slot.user_id.iter().for_each(|id| names.add(id));
            }
            Ok(())
        })?;
        let mut work = Work::new()?;
        view.for_each_attempt(|sent| {
            work.absorb(sent);
            Ok(())
        })?;
        let veil = if redact { Veil::Hashed(Hashed::new(names)?) } else { Veil::Open };
        let desktops = to_u64(desktops.len());
        let (people, insiders) = census.people();
        Ok(Self { identity, progress, processes, summary, work, desktops, people, insiders, rows_still_in, veil })
    }

    /// Rows that count as done and may mean somebody else.
    pub(super) fn rows_in_doubt(&self) -> u64 {
        self.summary.doubts().iter().map(|cause| cause.rows).sum()
    }
}

pub(super) fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
