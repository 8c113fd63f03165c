//! What was seen, as values that can be made in one way only: from the reads that prove it.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::reads::Page;
use crate::journal::{Item, Slot, SlotNo};
use crate::model::{Bound, Kind, LiveDesktop, Person, same_name};

/// Whether `bound` holds the binding that `slot` means: somebody who is the same person; anybody for an `ALL`.
pub(crate) fn holds(slot: &Slot, bound: &[Bound]) -> bool {
    if slot.kind == Kind::All {
        return !bound.is_empty();
    }
    bound.iter().any(|one| slot.person().is(&Person::from(one)))
}

/// What one read said of one desktop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Sight<'a> {
    /// The desktop was shown; whether the read is evidence is [`LiveDesktop::good`].
    Shown(&'a LiveDesktop),
    /// Asked for by itself, the service says that there is no such desktop.
    Nowhere,
}

/// When a read was under way: evidence must not be dated earlier than the answer, nor later than the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadSpan {
    pub began: Instant,
    pub ended: Instant,
}

/// What one read that is evidence says of one binding. It proves nothing of what was sent: a queue, a lag, or a replica
/// that was left behind looks just so. [`Proof::of`] takes two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sighting {
    slot: SlotNo,
    shows: Shows,
    span: ReadSpan,
    /// Nor is a namesake there any more who was beside him before.
    lacks_namesake: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shows {
    Bound,
    Absent,
    /// The desktop itself is not there.
    Nowhere,
}

impl Sighting {
    /// `None` where the read does not tell: it is not good, or the item has no such slot.
    pub(crate) fn of(item: &Item, slot: SlotNo, sight: Sight<'_>, span: ReadSpan) -> Option<Self> {
        let (shows, lacks_namesake) = match sight {
            Sight::Nowhere => (Shows::Nowhere, false),
            Sight::Shown(desktop) => {
                let (of, bound) = (item.slots.get(usize::from(slot))?, desktop.good()?);
                let is_named = |one: &Bound| one.kind == of.kind && same_name(&one.user_name, &of.user_name);
                let lacks_namesake = of.has_namesake && !bound.iter().any(is_named);
                (if holds(of, bound) { Shows::Bound } else { Shows::Absent }, lacks_namesake)
            }
        };
        Some(Self { slot, shows, span, lacks_namesake })
    }

    pub(crate) fn slot(&self) -> SlotNo {
        self.slot
    }

    /// Whether a good read shows the binding to be so; neither of the two where the desktop is nowhere.
    pub(crate) fn shows(&self, bound: bool) -> bool {
        self.shows == if bound { Shows::Bound } else { Shows::Absent }
    }

    /// Whether it was asked for before that time.
    pub(crate) fn began_before(&self, instant: Instant) -> bool {
        self.span.began < instant
    }

    /// Whether both say the same of the same binding.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        (self.slot, self.shows) == (other.slot, other.shows)
    }
}

/// A binding is there no more. Only [`Proof::of`] makes one, so that nothing can say `detached` on less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Absence {
    slot: SlotNo,
    lacks_namesake: bool,
}

impl Absence {
    pub(crate) fn slot(self) -> SlotNo {
        self.slot
    }

    /// Whether a namesake, who was bound beside him and whom nobody named, is not bound any more either.
    pub(crate) fn lacks_namesake(self) -> bool {
        self.lacks_namesake
    }
}

/// A binding is there. Only [`Proof::of`] makes one, so that nothing can say `attached` on less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Presence(SlotNo);

impl Presence {
    pub(crate) fn slot(self) -> SlotNo {
        self.0
    }
}

/// What two sightings of one binding prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    Bound(Presence),
    Absent(Absence),
    /// The desktop is gone, and the binding with it.
    Gone(Absence),
}

impl Proof {
    /// `None` unless both say the same of the same binding, and the last read began `apart` after the first one ended,
    /// or later. That every read between them agreed is up to the caller.
    pub(super) fn of(first: &Sighting, last: &Sighting, apart: Duration) -> Option<Self> {
        let is_apart = last.span.began.saturating_duration_since(first.span.ended) >= apart;
        (is_apart && first.agrees_with(last)).then_some(match last.shows {
            Shows::Bound => Self::Bound(Presence(last.slot)),
            Shows::Absent => Self::Absent(Absence { slot: last.slot, lacks_namesake: last.lacks_namesake }),
            Shows::Nowhere => Self::Gone(Absence { slot: last.slot, lacks_namesake: false }),
        })
    }

    pub(crate) fn slot(self) -> SlotNo {
        match self {
            Self::Bound(Presence(slot)) => slot,
            Self::Absent(absence) | Self::Gone(absence) => absence.slot,
        }
    }
}

/// What has an entry of its own in a list.
pub(crate) trait Listed {
    /// By what it is told from the others.
    fn key(&self) -> &str;
}

impl Listed for LiveDesktop {
    fn key(&self) -> &str {
        self.id.as_str()
    }
}

/// A whole list, proved complete: what does not stand in it is not there.
///
/// It was read in a fixed order from the first entry to the end, and each page began with the last entry of the one
/// before it, so that nothing slipped out between two pages. The end is a page that brings nothing but the entry it
/// begins with, never a total or a short page. No id came twice, every entry could be read, and the totals that were
/// told agree with each other and with the count of ids.
#[derive(Debug)]
pub(crate) struct Whole<T> {
    entries: Vec<T>,
}

impl<T> Whole<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn into_entries(self) -> Vec<T> {
        self.entries
    }
}

/// The whole list of desktops: whoever is bound to none of them is bound nowhere.
pub(crate) type Census = Whole<LiveDesktop>;

/// The pages of a list, until they prove it whole or contradict themselves.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    entries: Vec<T>,
    ids: HashSet<Box<str>>,
    total: Option<u64>,
    ended: bool,
    begun: bool,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), ids: HashSet::new(), total: None, ended: false, begun: false }
    }
}

impl<T: Listed> Pages<T> {
    /// Takes in the next page. Whether the list has ended with it.
    ///
    /// # Errors
    /// How the list contradicts itself: it has to be read anew.
    pub(crate) fn add(&mut self, page: Page<T>) -> Result<bool, &'static str> {
        let Page { entries, received, total } = page;
        if entries.len() != received {
            return Err("an entry of the list has no usable id, or stands there twice");
        }
        // An answer without a total tells none, which contradicts nothing.
        if let Some(total) = total
            && self.total.replace(total).is_some_and(|before| before != total)
        {
            return Err("the pages of the list tell different totals");
        }
        let mut rest = entries.into_iter();
        if self.begun {
            let first = rest.next().ok_or("a page of the list is empty before its end")?;
            if self.entries.last().is_none_or(|last| last.key() != first.key()) {
                return Err("a page of the list does not begin with the last entry of the page before");
            }
        }
        let before = self.entries.len();
        for entry in rest {
            if !self.ids.insert(entry.key().into()) {
                return Err("an entry stands in the list twice");
            }
            self.entries.push(entry);
        }
        self.ended = self.entries.len() == before;
        self.begun = true;
        Ok(self.ended)
    }

    /// Where the next page begins: with the last entry so far. `None` once the list has ended.
    pub(crate) fn next_offset(&self) -> Option<u64> {
        (!self.ended).then(|| (self.entries.len() as u64).saturating_sub(1))
    }

    /// # Errors
    /// Why the pages do not prove the list whole.
    pub(crate) fn into_whole(self) -> Result<Whole<T>, &'static str> {
        if !self.ended {
            return Err("the list was not read to its end");
        }
        if self.total.is_some_and(|total| total != self.entries.len() as u64) {
            return Err("the list tells another total than the entries it holds");
        }
        Ok(Whole { entries: self.entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DesktopId;
    use crate::reconcile::fixture::{bound, desktop, item, slot};

    fn page(ids: &[&str], total: Option<u64>) -> Page<LiveDesktop> {
        let live = |id: &&str| LiveDesktop { id: DesktopId::parse(id).unwrap(), ..desktop(&[], "") };
        Page { entries: ids.iter().map(live).collect(), received: ids.len(), total }
    }

    fn census(pages: &[(&[&str], Option<u64>)]) -> Result<usize, &'static str> {
        let mut all = Pages::default();
        for (ids, total) in pages {
            if all.add(page(ids, *total))? {
                break;
            }
        }
        all.into_whole().map(|whole| whole.into_entries().len())
    }

    #[test]
    fn p02_only_pages_that_overlap_up_to_the_end_are_a_census() {
        assert_eq!(census(&[(&["a", "b", "c"], Some(4)), (&["c", "d"], Some(4)), (&["d"], Some(4))]), Ok(4));
        assert_eq!(census(&[(&["a", "b"], None), (&["b"], None)]), Ok(2), "no total is no contradiction");
        assert_eq!(census(&[(&[], None)]), Ok(0));
        // Each would end well but for the one thing that is wrong with it.
        let broken: [&[(&[&str], Option<u64>)]; 9] = [
            &[(&["a", "b", "c"], Some(4)), (&["d", "e"], Some(4)), (&["e"], Some(4))], // one was deleted between the pages
            &[(&["a", "b", "c"], Some(4)), (&["a", "b", "c"], Some(4))],               // the offset is ignored
            &[(&["a", "b"], Some(3)), (&["b", "a"], Some(3)), (&["a"], Some(3))],      // an id twice
            &[(&["a", "b"], None), (&["b", "a"], None), (&["a"], None)],               // which is no end either
            &[(&["a", "b"], Some(4)), (&["b", "c"], Some(3)), (&["c"], Some(3))],      // the total moved
            &[(&["a", "b"], Some(3)), (&["b"], Some(3))],                              // fewer than told
            &[(&["a", "b"], Some(2)), (&[], Some(2))],                                 // an empty page is no end
            &[(&["a"], Some(0)), (&["a"], Some(0))],                                   // none in all, and one is there
            &[(&["a", "b"], Some(2))], // nor is a short one, or the total
        ];
        for pages in broken {
            assert!(census(pages).is_err(), "{pages:?}");
        }
        let mut unreadable = page(&["a"], Some(2));
        unreadable.received = 2;
        assert!(Pages::default().add(unreadable).is_err());
    }

    #[test]
    fn a_binding_is_held_by_id_or_by_name_without_case_within_its_type_and_domain() {
        let mut one = slot("Alice");
        assert!(holds(&one, &[bound("ALICE")]));
        let group = Bound { kind: Kind::Group, ..bound("Alice") };
        assert!(!holds(&one, std::slice::from_ref(&group)));
        one.user_id = Some("7".to_owned());
        assert!(holds(&one, &[Bound { user_id: Some("7".to_owned()), ..bound("renamed") }]));
        one.domain = Some("east".to_owned());
        assert!(!holds(&one, &[Bound { domain: Some("west".to_owned()), ..bound("alice") }]));
        assert!(holds(&one, &[bound("alice")]), "a binding without a domain counts for any");
    }

    #[tokio::test(start_paused = true)]
    async fn p02_an_absence_takes_two_good_reads_of_one_binding_that_agree_and_are_far_enough_apart() {
        let (start, item) = (Instant::now(), item(&["a", "b"]));
        let seen = |slot, sight, began: u64, ended: u64| {
            let [began, ended] = [began, ended].map(|second| start + Duration::from_secs(second));
            Sighting::of(&item, slot, sight, ReadSpan { began, ended })
        };
        let (nobody, a_and_b, busy) = (desktop(&[], ""), desktop(&["a", "b"], ""), desktop(&[], "rebooting"));
        let [nobody, both, busy] = [&nobody, &a_and_b, &busy].map(Sight::Shown);
        assert!(seen(0, busy, 0, 1).is_none(), "a task runs");
        assert!(seen(2, nobody, 0, 1).is_none(), "there is no such binding");
        let first = seen(0, nobody, 0, 2).unwrap();
        for (slot, sight, began, proof) in [
            (0, nobody, 7, Some(Proof::Absent(Absence { slot: 0, lacks_namesake: false }))),
            (0, nobody, 6, None), // 5 s after the first began, not after it ended
            (1, nobody, 7, None),
            (0, both, 7, None),
            (0, Sight::Nowhere, 7, None),
        ] {
            let last = seen(slot, sight, began, 9).unwrap();
            assert_eq!(Proof::of(&first, &last, Duration::from_secs(5)), proof, "{slot} {sight:?} {began}");
        }
    }
}
