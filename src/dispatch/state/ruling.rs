//! The final word on bindings, made from what it rests on.

use crate::journal::{Item, RowOutcome, Settlement, SlotNo};
use crate::model::{Doubt, Outcome, Refusal};
use crate::reconcile::evidence::{Absence, Presence, Sighting};

/// The final word on some slots of one item, and the only way to settle them. A success that was read back is made from
/// its proof alone, so that no branch can say `detached` because it takes it for granted.
#[derive(Debug)]
pub(super) struct Ruling {
    slots: Vec<SlotNo>,
    outcome: Outcome,
    refusal: Option<Refusal>,
    /// In words, what it rests on.
    evidence: &'static str,
}

impl Ruling {
    /// Bound before, sent, and absent since. Where a namesake went with one of them, that is said of all: such ones are
    /// to be ruled on by themselves.
    pub(super) fn detached(absences: &[Absence], evidence: &'static str) -> Self {
        let is_gone = absences.iter().any(|one| one.lacks_namesake());
        let slots = absences.iter().map(|one| one.slot());
        let ruling = Self::success(slots, Outcome::Detached, evidence);
        let words = "somebody else of this name was bound to the desktop, too, and is not any more; look whether that \
                     was meant: the service may go by names alone";
        if is_gone { ruling.in_doubt(Doubt::NamesakeGone, words) } else { ruling }
    }

    /// The same, and why it may not be what was meant.
    fn in_doubt(self, doubt: Doubt, words: &str) -> Self {
        let refusal = Refusal { code: doubt.code().to_owned(), message: words.to_owned() };
        Self { refusal: Some(refusal), ..self }
    }

    /// Never seen bound, and absent.
    pub(super) fn already_detached(absences: &[Absence], evidence: &'static str) -> Self {
        Self::success(absences.iter().map(|one| one.slot()), Outcome::AlreadyDetached, evidence)
    }

    /// Sent, and bound since.
    pub(super) fn attached(presences: &[Presence], evidence: &'static str) -> Self {
        Self::success(presences.iter().map(|one| one.slot()), Outcome::Attached, evidence)
    }

    /// What stands as it is wanted before anything was sent for it. One good read is enough, since no request of ours can
    /// be under way; a sighting that shows something else settles nothing.
    pub(super) fn found_so(sightings: &[Sighting], want_bound: bool) -> Self {
        let outcome = if want_bound { Outcome::AlreadyAttached } else { Outcome::AlreadyDetached };
        let as_wanted = sightings.iter().filter(|one| one.shows(want_bound)).map(Sighting::slot);
        Self::success(as_wanted, outcome, "a good read right before sending")
    }

    /// With verification off the answer's word counts, and nothing is read.
    ///
    /// * `beside_namesakes`: whether these have namesakes on the desktop, whom nobody named.
    pub(super) fn at_its_word(slots: Vec<SlotNo>, want_bound: bool, beside_namesakes: bool) -> Self {
        let outcome = if want_bound { Outcome::Attached } else { Outcome::Detached };
        let ruling = Self::success(slots, outcome, RowOutcome::AT_ITS_WORD);
        let words = "somebody else of this name was bound to the desktop, too, and nobody looked whether he still is \
                     (--verify off); look at the desktop: the service may go by names alone";
        if beside_namesakes { ruling.in_doubt(Doubt::NamesakeUnread, words) } else { ruling }
    }

    pub(super) fn failed(slots: Vec<SlotNo>, refusal: Refusal, evidence: &'static str) -> Self {
        Self { slots, outcome: Outcome::Failed, refusal: Some(refusal), evidence }
    }

    fn success(slots: impl IntoIterator<Item = SlotNo>, outcome: Outcome, evidence: &'static str) -> Self {
        Self { slots: slots.into_iter().collect(), outcome, refusal: None, evidence }
    }

    pub(super) fn slots(&self) -> &[SlotNo] {
        &self.slots
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// As the journal keeps it; `rest` is all that the ruling does not say.
    pub(super) fn settlement(self, item: &Item, rest: RowOutcome) -> Settlement {
        let (code, message) = self.refusal.map(|refusal| (refusal.code, refusal.message)).unwrap_or_default();
        let evidence = self.evidence.to_owned();
        let result = RowOutcome { outcome: self.outcome, code, message, evidence, ..rest };
        Settlement { item: item.id, slots: self.slots, result }
    }
}
