//! Counts what a plan comes to.

use std::collections::{HashMap, HashSet};

use super::context::SlotRec;
use super::detach::Plan;
use super::draft::Touched;
use super::fate::Tag;
use super::matching::places;
use super::show::effects_of;
use super::stats::PlanStats;
use crate::model::{Kind, LiveDesktop, Outcome, fold};
use crate::text::bytes::to_usize;

/// How many unknown desktops, desktops in use, and desktops that may be refused are named.
const UNKNOWN_NAMED: usize = 5;
const IN_USE_NAMED: usize = 10;
const STUCK_NAMED: usize = 10;

/// As people know the desktop.
fn name_of(live: &LiveDesktop) -> &str {
    if live.name.is_empty() { live.id.as_str() } else { &live.name }
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

impl<'t> Plan<'t> {
    /// Counts for people, guards and exit codes. One pass over the plan, the first time.
    pub fn stats(&self) -> &PlanStats<'t> {
        self.stats.get_or_init(|| PlanStats::of(self))
    }

    /// See [`Draft::touched`](super::Draft::touched): what the counts say of all desktops, said of each.
    pub(super) fn each_touched(&self) -> HashMap<&str, Touched> {
        let touched = self.slots_by_desktop().filter_map(|slots| {
            let desk = self.items[to_usize(slots.first()?.item)].desk;
            let mut stats = PlanStats::default();
            stats.count_desktop(self.context.live(desk)?);
            stats.count_left(self, slots);
            Some((
                self.context.id(desk),
                Touched::new(stats.in_use > 0, stats.stuck > 0, stats.left_with_nobody > 0, &effects_of(&stats)),
            ))
        });
        touched.collect()
    }

    /// A desktop's slots stand together, whatever chunks they are in.
    fn slots_by_desktop(&self) -> impl Iterator<Item = &[SlotRec]> {
        let desk = |slot: &SlotRec| self.items[to_usize(slot.item)].desk;
        self.slots.chunk_by(move |one, next| desk(one) == desk(next))
    }
}

impl<'t> PlanStats<'t> {
    fn of(plan: &Plan<'t>) -> Self {
        let mut stats = Self {
            rows: count(plan.input().table.len()),
            entries: count(plan.entries().len()),
            chunks: count(plan.chunks.len()),
            canary_chunks: count(plan.canary_chunks()),
            bytes: plan.chunks.iter().map(|chunk| count(chunk.bytes)).sum(),
            hints: plan.hints.iter().filter(|hint| plan.entries.tags[hint.entry] != Tag::Unknown).cloned().collect(),
            ..Self::default()
        };
        stats.count_entries(plan);
        stats.count_bindings(plan);
        // Every desktop that is touched has exactly one first slice.
        for item in plan.items.iter().filter(|item| plan.is_first_part(item)) {
            stats.desktops += 1;
            if let Some(live) = plan.context.live(item.desk) {
                stats.count_desktop(live);
            }
        }
        stats
    }

    fn count_entries(&mut self, plan: &Plan<'t>) {
        let mut unknown = HashSet::new();
        let mut left = HashSet::new();
        for (entry, (record, tag)) in plan.entries().zip(plan.entries.iter()) {
            if tag == Tag::Send {
                match plan.context.row(record.row).kind().unwrap_or_default() {
                    Kind::All => self.send_all += 1,
                    Kind::Group | Kind::UserGroup => self.send_groups += 1,
                    Kind::User => self.send_users += 1,
                }
                continue;
            }
            match entry.outcome() {
                Outcome::AlreadyDetached => self.already_detached += 1,
                Outcome::NotDue => self.not_due += 1,
                Outcome::Invalid => *self.invalid.entry(entry.code()).or_default() += 1,
                _ => self.left_out += 1,
            }
            match tag {
                Tag::DesktopNotFound | Tag::NameNotFound => {
                    let named = entry.desktop();
                    let folded = if tag == Tag::NameNotFound { fold(named) } else { named.into() };
                    if unknown.insert(folded) && self.unknown_named.len() < UNKNOWN_NAMED {
                        self.unknown_named.push(named);
                    }
                }
                Tag::InUse => {
                    if let Some(live) =
                        entry.desk().filter(|&desk| left.insert(desk)).and_then(|desk| plan.context.live(desk))
                    {
                        self.note_in_use(live);
                        self.in_use_left_out += 1;
                    }
                }
                _ => {}
            }
        }
        self.unknown_desktops = count(unknown.len());
    }

    fn note_in_use(&mut self, live: &'t LiveDesktop) {
        self.in_use += 1;
        if self.in_use_named.len() < IN_USE_NAMED {
            self.in_use_named.push(name_of(live));
        }
    }

    fn count_desktop(&mut self, live: &'t LiveDesktop) {
        if live.login_status == "CONNECTED" {
            self.note_in_use(live);
        }
        let shared = live.desktop_type == "SHARED";
        self.hibernated += u64::from(live.status == "HIBERNATED");
        self.in_error += u64::from(live.status == "ERROR");
        self.frozen += u64::from(live.frozen);
        self.in_maintenance += u64::from(live.in_maintenance);
        if live.is_stuck() {
            self.stuck += 1;
            if self.stuck_named.len() < STUCK_NAMED {
                self.stuck_named.push(name_of(live));
            }
        }
        self.busy += u64::from(!live.is_idle());
        self.pooled += u64::from(live.is_pooled());
        self.shut_down += u64::from(live.status == "ACTIVE" && !shared && !live.is_pooled());
        self.started += u64::from(live.status == "SHUTOFF" && shared);
    }

    /// What bindings go, and who is left.
    fn count_bindings(&mut self, plan: &Plan<'t>) {
        self.bindings = plan.items.iter().map(|item| if item.all { 1 } else { u64::from(item.len) }).sum();
        self.duplicates = plan.slots.iter().map(|slot| u64::from(slot.rows.saturating_sub(1))).sum();
        if !plan.looked() {
            return;
        }
        for slots in plan.slots_by_desktop() {
            self.count_left(plan, slots);
        }
    }

    /// Who is left on a desktop.
    fn count_left(&mut self, plan: &Plan<'t>, slots: &[SlotRec]) {
        let Some(item) = slots.first().map(|slot| &plan.items[to_usize(slot.item)]) else { return };
        let Some(bound) = plan.context.live(item.desk).and_then(|live| live.bound.as_deref()) else { return };
        let sent: HashSet<u32> = slots.iter().map(|slot| slot.bound).collect();
        let mut stay = places(bound).filter(|(place, _)| !item.all && !sent.contains(place)).peekable();
        self.left_with_nobody += u64::from(!bound.is_empty() && stay.peek().is_none());
        self.group_stays += u64::from(stay.any(|(_, one)| one.kind == Kind::Group));
    }
}
