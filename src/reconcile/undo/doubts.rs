//! Reads back what a stopped run may have changed, before it is taken back.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::changed::Changed;
use crate::error::Error;
use crate::journal::{Item, SlotNo};
use crate::model::Class;
use crate::plan::{Questions, Snapshot};
use crate::reconcile::evidence::{ReadSpan, Sight};
use crate::reconcile::judge::Watch;
use crate::reconcile::preflight::Preflight;

/// Reads what the run may have changed until it is known, or for as long as a read-back may take. Bindings of which
/// nothing was proved: desktop and slot.
///
/// # Errors
/// Those of the reads; [`Error::Internal`] for a desktop with more bindings than a journal can number.
pub(crate) async fn read_back(changed: &Changed, preflight: &Preflight) -> Result<HashSet<(usize, usize)>, Error> {
    let waits = preflight.waits();
    let began = Instant::now();
    let mut doubts = Doubts::new(changed, began + waits.doubt_wait, waits.settle_time)?;
    while let Some(questions) = doubts.questions() {
        let asked = Instant::now();
        let seen = preflight.look(&questions).await?;
        doubts.see(&seen, ReadSpan { began: asked, ended: Instant::now() });
        if doubts.questions().is_none() || Instant::now() >= began + waits.read_back_deadline {
            break;
        }
        let wait = if doubts.is_half_proved() { waits.settle_time } else { waits.poll_interval };
        tokio::time::sleep(wait).await;
    }
    Ok(doubts.unsettled())
}

/// Watches the bindings in doubt until good reads tell of each how it stands. Decides only: the reads are the caller's.
#[derive(Debug)]
pub(crate) struct Doubts {
    /// By the desktop's place: its bindings in doubt (their places in the order of the item's slots), and their watch.
    open: BTreeMap<usize, (Item, Vec<usize>, Watch)>,
    /// Of which nothing was proved.
    unsettled: HashSet<(usize, usize)>,
}

impl Doubts {
    /// * `counts_from`: a binding that is as it was before the run counts as such from here on only: a request of the
    ///   run may still be executed.
    /// * `apart`: how far two good reads must be from each other.
    ///
    /// # Errors
    /// [`Error::Internal`] for a desktop with more bindings than a journal can number.
    pub(crate) fn new(changed: &Changed, counts_from: Instant, apart: Duration) -> Result<Self, Error> {
        let mut by_desktop: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (desktop, slot) in &changed.in_doubt {
            by_desktop.entry(*desktop).or_default().push(*slot);
        }
        let mut open = BTreeMap::new();
        for (at, mut slots) in by_desktop {
            slots.sort_unstable();
            let Some(desktop) = changed.desktops.get(at) else { continue };
            let of = slots.iter().filter_map(|slot| desktop.slots.get(*slot).cloned()).collect();
            let item = Item { slots: of, ..desktop.clone() };
            let numbers: Result<Vec<SlotNo>, _> = (0..slots.len()).map(SlotNo::try_from).collect();
            let numbers = numbers
                .map_err(|_| Error::Internal(format!("too many bindings in doubt on desktop {}", item.desktop)))?;
            // The run's own wish: what it wanted may count at once, what it found only later.
            let watch = Watch::new(&numbers, counts_from, apart, changed.run.class == Class::BatchAttach);
            open.insert(at, (item, slots, watch));
        }
        Ok(Self { open, unsettled: changed.in_doubt.clone() })
    }

    /// What is to be read now; `None` once all is settled.
    pub(crate) fn questions(&self) -> Option<Questions> {
        let ids: Vec<_> = self.open.values().map(|(item, ..)| item.desktop.clone()).collect();
        (!ids.is_empty()).then(|| Questions { ids, ..Questions::default() })
    }

    /// Takes in one round of reads.
    pub(crate) fn see(&mut self, look: &Snapshot, span: ReadSpan) {
        let unsettled = &mut self.unsettled;
        self.open.retain(|at, (item, slots, watch)| {
            let sight = match look.desktops.get(&item.desktop) {
                Some(Some(desktop)) => Sight::Shown(desktop),
                Some(None) => Sight::Nowhere,
                None => return true,
            };
            let proofs = watch.see(item, sight, span);
            for slot in proofs.iter().filter_map(|proof| slots.get(usize::from(proof.slot()))) {
                unsettled.remove(&(*at, *slot));
            }
            watch.close(&proofs);
            !watch.is_done()
        });
    }

    /// Whether a first read of a pair is on record, so that the next one is due soon.
    pub(crate) fn is_half_proved(&self) -> bool {
        self.open.values().any(|(_, _, watch)| watch.is_half_proved())
    }

    /// Bindings of which nothing could be proved: desktop and slot.
    pub(crate) fn unsettled(self) -> HashSet<(usize, usize)> {
        self.unsettled
    }
}
