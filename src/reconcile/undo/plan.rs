//! Every row's fate in an undo, the chunks and their bodies.

use std::collections::{BTreeMap, HashSet};

use super::changed::{Changed, Row};
use crate::journal::{Fate, Item, Slot, SlotNo};
use crate::model::{Bound, Class, DesktopId, LiveDesktop, Outcome, Person};
use crate::plan::{
    Chunk, Fields, LEFT_IN_USE, Policy, ROW_TOO_LARGE, Snapshot, attach_body, attachments, bound_digest, detach_body,
    first_eight,
};

/// What takes a run back: a pure function of what it changed, of what the preflight saw, and of the policy (P17).
#[derive(Debug)]
pub(crate) struct UndoPlan<'a> {
    pub changed: &'a Changed,
    pub(super) look: &'a Snapshot,
    /// Of each of [`Changed::rows`].
    pub(super) fates: Vec<Fate<'static>>,
    /// What is sent, in the order of chunks.
    pub items: Vec<Item>,
    pub chunks: Vec<Chunk>,
}

/// Counts of an undo's plan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Stats {
    pub rows: u64,
    /// Rows to be sent.
    pub to_send: u64,
    /// Rows whose binding is as requested already.
    pub done: u64,
    /// Rows that can't be sent, by code.
    pub invalid: BTreeMap<String, u64>,
    /// Rows that a setting leaves out.
    pub left_out: u64,
    pub bindings: u64,
    pub desktops: u64,
    pub chunks: u64,
    pub canary_chunks: u64,
    pub bytes: u64,
    /// Of the desktops touched.
    pub in_use: u64,
    pub pooled: u64,
    pub hibernated: u64,
    pub busy: u64,
    /// Single-user desktops that are on, where this detaches: they shut down at once.
    pub shut_down: u64,
}

impl Stats {
    pub(crate) fn invalid_total(&self) -> u64 {
        self.invalid.values().sum()
    }

    pub(super) fn count_desktop(&mut self, live: &LiveDesktop, detaches: bool) {
        self.in_use += u64::from(live.login_status == "CONNECTED");
        self.hibernated += u64::from(live.status == "HIBERNATED");
        self.busy += u64::from(!live.is_idle());
        self.shut_down +=
            u64::from(detaches && live.status == "ACTIVE" && live.desktop_type != "SHARED" && !live.is_pooled());
    }
}

/// What becomes of one binding.
enum Verdict {
    Send(Slot),
    /// As wanted already.
    Done,
    InUse,
    Invalid(&'static str, &'static str),
}

/// Where a binding stands on its desktop now.
enum Found<'b> {
    One(&'b Bound),
    /// Somebody of that name with another id.
    Namesake,
    Nobody,
}

/// Never somebody else.
///
/// * `others`: of the same desktop, who was there before the run as well.
fn find<'b, 's>(slot: &Slot, bound: &'b [Bound], others: impl Iterator<Item = &'s Slot> + Clone) -> Found<'b> {
    let ours = slot.person();
    if let Some(one) = bound.iter().find(|one| ours.is(&Person::from(*one))) {
        return Found::One(one);
    }
    // One who was beside him before the run is no obstacle, and nobody to judge him by.
    let was_there = |one: &Bound| slot.has_namesake || others.clone().any(|other| other.person().is(&one.into()));
    let came = bound.iter().any(|one| ours.is_named_as(&one.into()) && !was_there(one));
    if came { Found::Namesake } else { Found::Nobody }
}

const NAMESAKE: Verdict = Verdict::Invalid(
    "INVALID_ID_MISMATCH",
    "somebody else of this name is bound to the desktop now; look at it in the console, and leave this row out",
);

const UNREADABLE: Verdict = Verdict::Invalid(
    "INVALID_DESKTOP_UNREADABLE",
    "the service does not tell who is bound to this desktop; look at it in the console, then undo again, or leave this \
     row out",
);

/// Whether one person alone can have the desktop.
fn is_single(desktop: &LiveDesktop) -> bool {
    desktop.is_pooled() || desktop.desktop_type == "DEDICATED"
}

impl<'a> UndoPlan<'a> {
    /// Makes the plan.
    ///
    /// * `unsettled`: bindings in doubt that could not be read back.
    pub(crate) fn new(
        changed: &'a Changed,
        look: &'a Snapshot,
        unsettled: &HashSet<(usize, usize)>,
        policy: &Policy,
    ) -> Self {
        let mut verdicts: Vec<Vec<Verdict>> = Vec::with_capacity(changed.desktops.len());
        let mut sent: Vec<Item> = Vec::with_capacity(changed.desktops.len());
        // Of each desktop's slots, its place among those that are sent.
        for (at, desktop) in changed.desktops.iter().enumerate() {
            let live = look.live(&desktop.desktop);
            let is_unreadable = look.unreadable.contains_key(&desktop.desktop);
            let judge = Judge { changed, policy, desktop, live, is_unreadable };
            let of =
                desktop.slots.iter().enumerate().map(|(slot, one)| {
                    if unsettled.contains(&(at, slot)) { judge.unsettled(one) } else { judge.one(one) }
                });
            let mut of: Vec<Verdict> = of.collect();
            let mut slots = Vec::new();
            for verdict in &mut of {
                if let Verdict::Send(slot) = verdict {
                    slots.push(slot.clone());
                }
            }
            let name = live.map_or_else(|| desktop.desktop_name.clone(), |live| live.name.clone());
            let pooled = live.map_or(desktop.pooled, LiveDesktop::is_pooled);
            sent.push(Item { desktop_name: name, pooled, seen: live.is_some(), slots, ..desktop.clone() });
            verdicts.push(of);
        }
        let made = attachments(changed.class, &sent, &policy.bounds, policy.canary);
        let mut of_slots: Vec<Vec<Fate<'static>>> = Vec::with_capacity(verdicts.len());
        for (of, places) in verdicts.iter().zip(&made.places) {
            let mut places = places.iter();
            of_slots.push(of.iter().map(|verdict| fate(verdict, changed.class, &mut places)).collect());
        }
        let fates = changed.rows.iter().map(|row| {
            let found = of_slots.get(row.desktop).and_then(|of| of.get(row.slot));
            found.cloned().unwrap_or_else(|| invalid("INVALID_ROW", "the row is wrong"))
        });
        let fates = fates.collect();
        Self { changed, look, fates, items: made.items, chunks: made.chunks }
    }

    pub(crate) fn rows(&self) -> impl ExactSizeIterator<Item = (&'a Row, &Fate<'static>)> {
        self.changed.rows.iter().zip(&self.fates)
    }

    pub(super) fn canary_chunks(&self) -> usize {
        self.chunks.iter().filter(|chunk| chunk.canary).count()
    }

    /// Whether it binds again; an undo of an undo detaches again.
    pub(super) fn attaches(&self) -> bool {
        self.changed.class == Class::BatchAttach
    }

    /// Writes the body of the chunk at this place, byte for byte as it is sent; `out` is emptied first.
    pub(crate) fn write_body(&self, chunk: usize, out: &mut Vec<u8>) {
        let number = self.chunks.get(chunk).map_or(0, |chunk| chunk.number);
        let first = self.items.partition_point(|item| item.chunk < number);
        let of = self.items.iter().skip(first).take_while(|item| item.chunk == number);
        let of: Vec<(&Item, Vec<SlotNo>)> =
            of.map(|item| (item, (0..).zip(&item.slots).map(|(number, _)| number).collect())).collect();
        let carried: Vec<(&Item, &[SlotNo])> = of.iter().map(|(item, slots)| (*item, slots.as_slice())).collect();
        if self.attaches() {
            attach_body(&carried, out);
        } else {
            detach_body(&carried, out);
        }
    }

    pub(super) fn live(&self, id: &DesktopId) -> Option<&'a LiveDesktop> {
        self.look.live(id)
    }

    pub(crate) fn stats(&self) -> Stats {
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let mut stats = Stats {
            rows: count(self.fates.len()),
            chunks: count(self.chunks.len()),
            canary_chunks: count(self.canary_chunks()),
            bytes: self.chunks.iter().map(|chunk| count(chunk.bytes)).sum(),
            ..Stats::default()
        };
        for fate in &self.fates {
            match fate {
                Fate::Send { .. } => stats.to_send += 1,
                Fate::Fixed { outcome: Outcome::Invalid, code, .. } => {
                    *stats.invalid.entry(code.to_string()).or_default() += 1;
                }
                Fate::Fixed { outcome: Outcome::NotSent, .. } => stats.left_out += 1,
                Fate::Fixed { .. } => stats.done += 1,
            }
        }
        let mut seen = HashSet::new();
        for item in &self.items {
            stats.bindings += count(item.slots.len());
            if !seen.insert(&item.desktop) {
                continue;
            }
            stats.desktops += 1;
            stats.pooled += u64::from(item.pooled);
            if let Some(live) = self.live(&item.desktop) {
                stats.count_desktop(live, !self.attaches());
            }
        }
        stats
    }

    /// A digest of one row's fate, and of who is bound to its desktop: what tells that an approved one differs.
    pub(super) fn row_digest(&self, row: &Row, fate: &Fate<'_>) -> String {
        let mut hash = Fields::new(b"");
        for cell in &row.cells {
            hash.text(cell);
        }
        let (outcome, code) = word(fate);
        hash.text(outcome.as_str());
        hash.text(code);
        if let (Fate::Send { .. }, Some(desktop)) = (fate, self.changed.desktops.get(row.desktop)) {
            hash.bytes(&bound_digest(self.live(&desktop.desktop).and_then(|live| live.bound.as_deref())));
        }
        hex::encode(first_eight(&hash.finish()))
    }
}

/// Outcome and code of a fate, as a plan's results have them.
pub(super) fn word<'f>(fate: &'f Fate<'_>) -> (Outcome, &'f str) {
    match fate {
        Fate::Send { .. } => (Outcome::Planned, ""),
        Fate::Fixed { outcome, code, .. } => (*outcome, code),
    }
}

fn invalid(code: &'static str, message: &'static str) -> Fate<'static> {
    Fate::Fixed { outcome: Outcome::Invalid, code: code.into(), message: message.into() }
}

/// * `places`: of the slots that are sent, in their order.
fn fate<'p>(
    verdict: &Verdict,
    class: Class,
    places: &mut impl Iterator<Item = &'p Option<(u32, SlotNo)>>,
) -> Fate<'static> {
    match verdict {
        Verdict::Send(_) => match places.next().copied().flatten() {
            Some((item, slot)) => Fate::Send { item, slot },
            None => invalid("INVALID_TOO_LARGE", ROW_TOO_LARGE),
        },
        Verdict::Done => {
            let attaches = class == Class::BatchAttach;
            let outcome = if attaches { Outcome::AlreadyAttached } else { Outcome::AlreadyDetached };
            Fate::Fixed { outcome, code: "".into(), message: "".into() }
        }
        Verdict::InUse => Fate::Fixed { outcome: Outcome::NotSent, code: "IN_USE".into(), message: LEFT_IN_USE.into() },
        Verdict::Invalid(code, message) => invalid(code, message),
    }
}

/// Judges the bindings of one desktop.
struct Judge<'a> {
    changed: &'a Changed,
    policy: &'a Policy,
    desktop: &'a Item,
    live: Option<&'a LiveDesktop>,
    /// The service refuses to show the desktop.
    is_unreadable: bool,
}

impl Judge<'_> {
    fn is_protected(&self, slot: &Slot) -> bool {
        let protect = &self.policy.protect;
        let name = self.live.map_or(self.desktop.desktop_name.as_str(), |live| live.name.as_str());
        protect.covers(&slot.user_name)
            || slot.user_id.as_deref().is_some_and(|id| protect.covers(id))
            || protect.covers(self.desktop.desktop.as_str())
            || protect.covers(name)
    }

    fn protected() -> Verdict {
        Verdict::Invalid("INVALID_PROTECTED", "this user, group or desktop is protected (--protect); leave the row out")
    }

    fn unsettled(&self, slot: &Slot) -> Verdict {
        if self.is_protected(slot) {
            return Self::protected();
        }
        Verdict::Invalid(
            "INVALID_UNSETTLED",
            "the run may have changed this binding, and what became of it could not be read in time; try again later",
        )
    }

    fn one(&self, slot: &Slot) -> Verdict {
        if self.is_protected(slot) {
            return Self::protected();
        }
        if self.is_unreadable || self.live.is_some_and(|live| live.bound.is_none()) {
            return UNREADABLE;
        }
        if self.changed.class == Class::BatchAttach { self.attach(slot) } else { self.detach(slot) }
    }

    /// Who of the run's plan was bound to the desktop before it, whatever became of him.
    fn were_there(&self) -> impl Iterator<Item = &Slot> + Clone {
        let beside = self.changed.beside.get(&self.desktop.desktop);
        self.desktop.slots.iter().chain(beside.into_iter().flatten())
    }

    fn attach(&self, slot: &Slot) -> Verdict {
        let Some(live) = self.live else {
            return Verdict::Invalid(
                "INVALID_DESKTOP_NOT_FOUND",
                "no desktop of this project has this id any more, so nobody can be attached to it; leave the row out",
            );
        };
        let bound = live.bound.as_deref().unwrap_or_default();
        match find(slot, bound, self.were_there()) {
            // Under way to something else it may be bound no longer than that lasts.
            Found::One(_) if live.good().is_some() => return Verdict::Done,
            Found::Namesake => return NAMESAKE,
            Found::One(_) | Found::Nobody => {}
        }
        // A run that did not look detached whoever was named: perhaps nobody.
        if !self.changed.run.preflight || slot.user_group.as_ref().is_none_or(String::is_empty) {
            return Verdict::Invalid(
                "INVALID_NOTHING_KNOWN",
                "an undo can't tell what to attach: the run did not see this binding before it (--preflight off), so neither \
                 whether it was there nor its privilege group is known; attach it in the console",
            );
        }
        let ours = |one: &&Bound| self.were_there().any(|slot| slot.person().is(&Person::from(*one)));
        // Whoever was bound beside our leaver before the run is no obstacle: the desktop can hold several.
        if is_single(live) && !self.desktop.shared && !bound.iter().all(|one| ours(&one)) {
            tracing::debug!(
                desktop = %self.desktop.desktop,
                holders = ?bound.iter().map(|one| one.user_name.as_str()).collect::<Vec<_>>(),
                "held by somebody else now"
            );
            return Verdict::Invalid(
                "INVALID_TAKEN",
                "somebody else holds this single-user desktop now (-v names the holder); detach that binding first, or \
                 leave this row out",
            );
        }
        Verdict::Send(Slot { sent_group: None, seen: false, ..slot.clone() })
    }

    fn detach(&self, slot: &Slot) -> Verdict {
        // A desktop that is gone took its bindings with it: the first undo saw it.
        let Some(live) = self.live else { return Verdict::Done };
        let bound = live.bound.as_deref().unwrap_or_default();
        match find(slot, bound, self.were_there()) {
            Found::Nobody if live.good().is_some() => Verdict::Done,
            // Somebody may be on the way to it; the reads after the request tell.
            Found::Nobody => Verdict::Send(Slot { sent_group: None, seen: false, has_namesake: false, ..slot.clone() }),
            Found::Namesake => NAMESAKE,
            Found::One(_) if self.policy.in_use_skip && live.login_status == "CONNECTED" => Verdict::InUse,
            Found::One(one) => Verdict::Send(Slot {
                kind: one.kind,
                user_name: one.user_name.clone(),
                user_id: one.user_id.clone(),
                user_group: one.user_group.clone(),
                sent_group: None,
                domain: one.domain.clone(),
                rows: slot.rows,
                seen: true,
                has_namesake: false,
            }),
        }
    }
}
