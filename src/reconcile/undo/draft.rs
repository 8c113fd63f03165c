//! An undo's plan as a draft.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use serde_json::Value;

use super::plan::{Stats, UndoPlan, word};
use super::show;
use crate::error::Error;
use crate::input::RowFault;
use crate::journal::{EntryRef, Fate, Item};
use crate::model::{Bound, DesktopId, Outcome};
use crate::plan::show::{Facts, Outline};
use crate::plan::{
    Draft, Fields, HashFacts, PlannedRow, Policy, Touched, bound_digest, compare_facts, compare_rows, guard,
};
use crate::text::counted;

/// Bytes that begin every hash: a change of what is covered changes them.
const VERSION: &[u8] = b"batch-detach undo 1\n";

impl Draft for UndoPlan<'_> {
    fn faults(&self) -> Vec<RowFault> {
        let mut faults = Vec::new();
        for (at, (row, fate)) in self.rows().enumerate() {
            if let Fate::Fixed { outcome: Outcome::Invalid, code, message } = fate {
                let code = if let Cow::Borrowed(code) = code { code } else { "INVALID_ROW" };
                faults.push(RowFault { row: at, line: row.line, column: None, code, message: message.to_string() });
            }
        }
        faults
    }

    /// The share of `--max-percent` is that of the desktops that are assigned before a detach or after an attach: what a
    /// run may do under it, its undo may take back.
    fn guard(&self, policy: &Policy) -> Result<(), String> {
        let touched: HashSet<&DesktopId> = self.items.iter().map(|item| &item.desktop).collect();
        let count = |len: usize| u64::try_from(len).unwrap_or(u64::MAX);
        let free = touched.iter().filter(|id| {
            let bound = self.live(id).and_then(|live| live.bound.as_deref());
            self.attaches() && bound.is_none_or(<[Bound]>::is_empty)
        });
        let added = count(free.count());
        guard(count(touched.len()), self.look.assigned_desktops.map(|assigned| assigned + added), policy)
    }

    fn write_requests(&self, covered: HashFacts<'_>, out: &mut dyn Write) -> io::Result<String> {
        let mut hash = Fields::new(VERSION);
        hash.text(self.changed.class.as_str());
        hash.text(&self.changed.digest());
        hash.covered(covered);
        hash.number(self.fates.len());
        for (row, fate) in self.rows() {
            match fate {
                Fate::Send { item, slot } => {
                    hash.bytes(&item.to_le_bytes());
                    hash.bytes(&slot.to_le_bytes());
                }
                Fate::Fixed { outcome, code, .. } => {
                    hash.text(outcome.as_str());
                    hash.text(code);
                    hash.text(&row.cells[0]);
                }
            }
        }
        for item in &self.items {
            hash.bytes(&bound_digest(self.live(&item.desktop).and_then(|live| live.bound.as_deref())));
        }
        hash.number(self.chunks.len());
        let mut body = Vec::new();
        for chunk in 0..self.chunks.len() {
            self.write_body(chunk, &mut body);
            hash.bytes(&body);
            body.push(b'\n');
            out.write_all(&body)?;
        }
        out.flush()?;
        Ok(hex::encode(hash.finish()))
    }

    fn human(&self, facts: &Facts<'_>, width: usize) -> String {
        show::human(self, facts, width)
    }

    fn outline(&self, facts: &Facts<'_>) -> Outline {
        show::outline(self, facts)
    }

    fn touched(&self) -> HashMap<&str, Touched> {
        let touched = self.items.iter().filter_map(|item| {
            let mut stats = Stats::default();
            stats.count_desktop(self.live(&item.desktop)?, !self.attaches());
            Some((
                item.desktop.as_str(),
                Touched::new(stats.in_use > 0, stats.hibernated > 0, false, &show::effects_of(&stats)),
            ))
        });
        touched.collect()
    }

    fn json(&self, facts: &Facts<'_>) -> serde_json::Result<String> {
        serde_json::to_string(&show::json(self, facts))
    }

    fn compare(&self, approved: &Value, covered: HashFacts<'_>) -> Vec<String> {
        let rows = approved.get("rows").and_then(Value::as_array);
        let undo_of = approved.pointer("/undo_of/plan_hash").and_then(Value::as_str);
        let (Some(rows), Some(undo_of)) = (rows, undo_of) else {
            return vec![
                "the approved file is not the plan of an undo; make one with `undo … --dry-run --format json`"
                    .to_owned(),
            ];
        };
        let mut differences = Vec::new();
        if undo_of != self.changed.run.plan_hash {
            differences.push("the approved undo is of another run".to_owned());
        }
        differences.extend(compare_facts(approved, covered));
        let planned = self.rows().map(|(row, fate)| {
            let (outcome, code) = word(fate);
            PlannedRow { line: row.line, desktop: &row.cells[0], user: &row.cells[2], outcome, code, key: (row, fate) }
        });
        let done = if self.attaches() { "attached" } else { "detached" };
        differences.extend(compare_rows(rows, planned, done, |(row, fate)| self.row_digest(row, fate)));
        differences
    }

    fn question(&self) -> Option<String> {
        let stats = self.stats();
        let (verb, to) = if self.attaches() { ("Attach", "to") } else { ("Detach", "from") };
        let bindings = counted(stats.bindings, "binding", "bindings");
        let desktops = counted(stats.desktops, "desktop", "desktops");
        (stats.to_send > 0).then(|| format!("{verb} {bindings} {to} {desktops} again?"))
    }

    fn warnings(&self) -> Vec<String> {
        let pooled = self.stats().pooled;
        let desktops = counted(pooled, "desktop is", "desktops are");
        let warning =
            format!("{desktops} of a pool: whom the pool gave another desktop since then keeps that one, too");
        (pooled > 0).then_some(warning).into_iter().collect()
    }

    fn canary_chunks(&self) -> usize {
        self.canary_chunks()
    }

    fn outcomes(&self) -> Box<dyn Iterator<Item = Outcome> + '_> {
        Box::new(self.rows().map(|(_, fate)| fate.outcome()))
    }

    fn for_each_entry(&self, f: &mut dyn FnMut(EntryRef<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let mut extras = Vec::new();
        for (row, fate) in self.rows() {
            extras.clear();
            extras.extend(row.extras.iter().map(String::as_str));
            f(EntryRef { line: row.line, cells: row.cells.each_ref().map(String::as_str), extras: &extras, fate })?;
        }
        Ok(())
    }

    fn items(&self) -> Box<dyn Iterator<Item = Item> + '_> {
        Box::new(self.items.iter().cloned())
    }
}
