//! The plan of a list as a draft.

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::Value;

use super::approve::{PlannedRow, compare_facts, compare_rows};
use super::detach::Plan;
use super::document::{self, FORMAT};
use super::draft::{Draft, Touched, guard};
use super::fingerprint::{Digests, HashFacts};
use super::policy::Policy;
use super::show::{self, Facts, Outline};
use crate::error::Error;
use crate::input::RowFault;
use crate::journal::{self, EntryRef};
use crate::model::Outcome;
use crate::text::counted;

impl Draft for Plan<'_> {
    fn faults(&self) -> Vec<RowFault> {
        self.faults().collect()
    }

    fn guard(&self, policy: &Policy) -> Result<(), String> {
        guard(self.stats().desktops, self.context.look.and_then(|look| look.assigned_desktops), policy)
    }

    fn write_requests(&self, covered: HashFacts<'_>, out: &mut dyn Write) -> io::Result<String> {
        self.write_requests(covered, out)
    }

    fn human(&self, facts: &Facts<'_>, width: usize) -> String {
        show::human(self, facts, width)
    }

    fn outline(&self, facts: &Facts<'_>) -> Outline {
        show::outline(self, facts)
    }

    fn touched(&self) -> HashMap<&str, Touched> {
        self.each_touched()
    }

    fn json(&self, facts: &Facts<'_>) -> serde_json::Result<String> {
        serde_json::to_string(&document::json(self, facts))
    }

    fn compare(&self, approved: &Value, covered: HashFacts<'_>) -> Vec<String> {
        let rows = approved.get("rows").and_then(Value::as_array);
        let (true, Some(rows)) = (approved.get("format") == Some(&FORMAT.into()), rows) else {
            return vec![format!(
                "the approved file is no plan of format {FORMAT}; make it again with `plan --format json` of this version"
            )];
        };
        let mut differences = Vec::new();
        if approved.pointer("/input/sha256").and_then(Value::as_str) != Some(&self.input().sha256) {
            differences.push("the input has been changed since it was approved".to_owned());
        }
        differences.extend(compare_facts(approved, covered));
        if approved.get("preflight").and_then(Value::as_bool) != Some(self.looked()) {
            differences.push("one of the two plans was made with --preflight off".to_owned());
        }
        let mut digests = Digests::new(self);
        let entries = self.entries().map(|entry| PlannedRow {
            line: entry.line(),
            desktop: entry.desktop(),
            user: entry.user(),
            outcome: entry.outcome(),
            code: entry.code(),
            key: entry,
        });
        differences.extend(compare_rows(rows, entries, "detached", |entry| hex::encode(digests.of(entry))));
        differences
    }

    fn question(&self) -> Option<String> {
        let stats = self.stats();
        let bindings = counted(stats.bindings, "binding", "bindings");
        let desktops = counted(stats.desktops, "desktop", "desktops");
        (stats.to_send() > 0).then(|| format!("Detach {bindings} from {desktops}?"))
    }

    fn canary_chunks(&self) -> usize {
        self.canary_chunks()
    }

    fn outcomes(&self) -> Box<dyn Iterator<Item = Outcome> + '_> {
        Box::new(self.entries().map(|entry| entry.outcome()))
    }

    fn for_each_entry(&self, f: &mut dyn FnMut(EntryRef<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let mut extras = Vec::new();
        for entry in self.entries() {
            extras.clear();
            extras.extend(entry.extras());
            let fate = entry.fate();
            f(EntryRef { line: entry.line(), cells: entry.cells(), extras: &extras, fate: &fate })?;
        }
        Ok(())
    }

    fn items(&self) -> Box<dyn Iterator<Item = journal::Item> + '_> {
        Box::new(self.items())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::super::show::tests::shown;
    use super::*;

    /// How often cells of rows are looked up for the preview of a list of so many.
    fn looked_up(rows: usize) -> u64 {
        let rows_of_list = (0..rows).map(|n| format!("desktop-{},user-{n}", n / 4));
        let list = rows_of_list.collect::<Vec<_>>().join("\n");
        shown(&format!("desktop_id,user_name\n{list}"), None, |plan, facts| {
            let made: &dyn Draft = plan;
            made.write_requests(facts.covered, &mut io::sink()).unwrap();
            made.human(facts, 80);
            assert_eq!(made.outcomes().count(), rows);
            assert!(made.guard(&Policy::default()).is_ok() && made.question().is_some());
            plan.input().table.looked_up.load(Ordering::Relaxed)
        })
    }

    #[test]
    fn a_preview_looks_up_no_row_oftener_than_its_plan_and_its_body_need() {
        let for_a_thousand = looked_up(2_000) - looked_up(1_000);
        // Whether it names a user, how long the user is in a body, and the body.
        assert_eq!(for_a_thousand, 3_000);
    }
}
