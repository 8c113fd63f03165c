//! What a run changed, as its journal tells it.

use std::collections::{HashMap, HashSet};

use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::journal::{Identity, Item, ItemId, Past, Slot, SlotNo};
use crate::model::Class;
use crate::model::{DesktopId, Kind, Outcome, fold};
use crate::plan::Questions;
use crate::text::escape_untrusted;

/// Whom an undo is for: `--only-user` and `--only-desktop`; nobody named is everybody.
#[derive(Debug, Clone, Default)]
pub(crate) struct Only {
    /// Names, without case.
    pub users: Vec<String>,
    pub desktops: Vec<String>,
}

/// One record of the run's results whose binding it changed, or may have changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// As in the run's results.
    pub line: u64,
    pub cells: [String; 7],
    pub extras: Vec<String>,
    /// Its desktop's place in [`Changed::desktops`], and the binding's place there.
    pub desktop: usize,
    pub slot: usize,
}

/// What a run changed, or may have changed.
#[derive(Debug, Clone)]
pub(crate) struct Changed {
    /// The run's journal, as it was named.
    pub journal: String,
    /// Of the run that is taken back.
    pub run: Identity,
    /// What takes it back.
    pub class: Class,
    /// In the order of the run's results.
    pub rows: Vec<Row>,
    /// Each desktop once, in the order of the run's plan, with the bindings to take back; `rows` of a slot counts those
    /// of [`Changed::rows`].
    pub desktops: Vec<Item>,
    /// Who else of the run's plan was bound to a desktop before it: the run did not change them, or they were not asked for.
    pub beside: HashMap<DesktopId, Vec<Slot>>,
    /// Bindings of which it is not known yet whether the run changed them: desktop and slot.
    pub in_doubt: HashSet<(usize, usize)>,
    /// Records of the run's results that stay out: it did not change them, or they were not asked for.
    pub left: u64,
}

impl Changed {
    /// Reads what the run of this journal made `detached` (an undo: `attached`), and what stands open there.
    ///
    /// # Errors
    /// [`Error::Usage`] where a name or an id in `only` is nobody's whom the run changed: a typo must not look like
    /// "nothing to do". Else what reading the journal brings.
    pub(crate) fn read(run_of: &impl Past, journal: String, only: &Only) -> Result<Self, Error> {
        let run = run_of.identity().clone();
        let class = if run.class == Class::BatchAttach { Class::BatchDetach } else { Class::BatchAttach };
        let wanted = if class == Class::BatchAttach { Outcome::Detached } else { Outcome::Attached };
        let mut filter = Filter::new(only);
        let (rows, desktops, in_doubt) = (Vec::new(), Vec::new(), HashSet::new());
        let mut made = Self { journal, run, class, rows, desktops, beside: HashMap::new(), in_doubt, left: 0 };
        let mut by_id: HashMap<DesktopId, usize> = HashMap::new();
        let mut places: HashMap<(ItemId, SlotNo), (usize, usize)> = HashMap::new();
        // Bindings that an `ALL` row alone stands for, by its item.
        let mut of_all: HashMap<ItemId, Vec<SlotNo>> = HashMap::new();
        run_of.for_each_item(|item, outcomes| {
            for ((slot, outcome), number) in item.slots.iter().zip(outcomes).zip(0..) {
                let in_doubt = *outcome == Outcome::Unknown;
                let changed = in_doubt || *outcome == wanted;
                if slot.kind == Kind::All || !changed || !filter.takes(&slot.user_name, item.desktop.as_str()) {
                    if slot.seen && slot.kind != Kind::All {
                        made.beside.entry(item.desktop.clone()).or_default().push(slot.clone());
                    }
                    continue;
                }
                let desktop = *by_id.entry(item.desktop.clone()).or_insert(made.desktops.len());
                if desktop == made.desktops.len() {
                    made.desktops.push(Item { id: 0, chunk: 0, all: false, slots: Vec::new(), ..item.clone() });
                }
                let Some(of_desktop) = made.desktops.get_mut(desktop) else { continue };
                let place = (desktop, of_desktop.slots.len());
                if slot.rows == 0 {
                    of_all.entry(item.id).or_default().push(number);
                }
                of_desktop.slots.push(Slot { rows: 0, ..slot.clone() });
                places.insert((item.id, number), place);
                if in_doubt {
                    made.in_doubt.insert(place);
                }
            }
            Ok(())
        })?;
        filter.check()?;
        let mut taken = 0;
        run_of.for_each_sent(|line, cells, extras, (item, number)| {
            if let Some(place) = places.get(&(item, number)) {
                taken += 1;
                made.push(line, cells, extras, *place);
                return Ok(());
            }
            let of_all = of_all.get(&item).filter(|_| cells[5].eq_ignore_ascii_case(Kind::All.as_str()));
            taken += u64::from(of_all.is_some());
            // The row detached everybody: a record for each of them whom no other row names.
            for place in of_all.into_iter().flatten().filter_map(|number| places.get(&(item, *number))) {
                let slot = made.desktops.get(place.0).and_then(|desktop| desktop.slots.get(place.1));
                let Some(slot) = slot.cloned() else { continue };
                let text = |text: Option<String>| text.unwrap_or_default();
                let (id, group, domain) = (text(slot.user_id), text(slot.user_group), text(slot.domain));
                let cells = [cells[0], cells[1], &slot.user_name, &id, &group, slot.kind.as_str(), &domain];
                made.push(line, cells, extras, *place);
            }
            Ok(())
        })?;
        made.left = run_of.rows()?.saturating_sub(taken);
        Ok(made)
    }

    fn push(&mut self, line: u64, cells: [&str; 7], extras: &[&str], (desktop, slot): (usize, usize)) {
        if let Some(slot) = self.desktops.get_mut(desktop).and_then(|desktop| desktop.slots.get_mut(slot)) {
            slot.rows += 1;
        }
        let extras = extras.iter().map(|cell| (*cell).to_owned()).collect();
        self.rows.push(Row { line, cells: cells.map(str::to_owned), extras, desktop, slot });
    }

    /// What the undo's identity has for an input: which run, and by which plan.
    pub(crate) fn digest(&self) -> String {
        digest_of(&self.run)
    }

    /// What the preflight has to find out.
    pub(crate) fn questions(&self, needs_assigned_total: bool) -> Questions {
        let ids = self.desktops.iter().map(|desktop| desktop.desktop.clone()).collect();
        Questions { ids, needs_assigned_total, ..Questions::default() }
    }
}

/// SHA-256 in hex over a run's id and its plan's hash.
fn digest_of(run: &Identity) -> String {
    hex::encode(Sha256::digest(format!("{}\n{}\n", run.run_id, run.plan_hash)))
}

/// [`Only`], and which of its words met somebody.
struct Filter<'a> {
    users: HashMap<String, (&'a str, bool)>,
    desktops: HashMap<&'a str, bool>,
}

impl<'a> Filter<'a> {
    fn new(only: &'a Only) -> Self {
        let users = only.users.iter().map(|name| (fold(name).into_owned(), (name.as_str(), false)));
        Self { users: users.collect(), desktops: only.desktops.iter().map(|id| (id.as_str(), false)).collect() }
    }

    fn takes(&mut self, user: &str, desktop: &str) -> bool {
        let user = if self.users.is_empty() {
            true
        } else {
            self.users.get_mut(fold(user).as_ref()).map(|(_, met)| *met = true).is_some()
        };
        user & (self.desktops.is_empty() || self.desktops.get_mut(desktop).map(|met| *met = true).is_some())
    }

    fn check(&self) -> Result<(), Error> {
        let users = self.users.values().filter(|(_, met)| !met).map(|(name, _)| ("--only-user", *name));
        let desktops = self.desktops.iter().filter(|(_, met)| !**met).map(|(id, _)| ("--only-desktop", *id));
        let mut missed: Vec<_> = users.chain(desktops).collect();
        missed.sort_unstable();
        let Some((option, word)) = missed.first() else { return Ok(()) };
        let what = if *option == "--only-user" { "nobody of this name" } else { "no desktop of this id" };
        let problem = format!(
            "{option} {}: the run changed {what}; its results file names those whom it did",
            escape_untrusted(word, DesktopId::MAX_CHARS)
        );
        Err(Error::Usage { problem })
    }
}
