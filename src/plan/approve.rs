//! An approved plan against the one made now: which rows differ.

use std::iter::Peekable;

use serde_json::Value;

use super::draft::{Plan, PlanEntry};
use super::fingerprint::Digests;
use super::show::{FORMAT, Facts};
use crate::model::Outcome;
use crate::text::escape_untrusted;

/// How many differing rows are named.
const NAMED: usize = 50;

/// How the plan made now differs from an approved one, as [`json`](super::show::json) wrote it: a sentence each, rows by
/// their line. Rows that were taken out of the file, put in or changed are told, whatever hash stands in it.
pub(crate) fn compare(approved: &Value, plan: &Plan<'_>, facts: &Facts<'_>) -> Vec<String> {
    let rows = approved.get("rows").and_then(Value::as_array);
    let (true, Some(rows)) = (approved.get("format").and_then(Value::as_u64) == Some(u64::from(FORMAT)), rows) else {
        return vec![format!(
            "the approved file is no plan of format {FORMAT}; make it again with `plan --format json` of this version"
        )];
    };
    let mut differences = facts_that_differ(approved, plan, facts);
    let mut found = Rows { differences: Vec::new(), more: 0 };
    let mut digests = Digests::new(plan);
    let mut old = rows.iter().filter_map(ApprovedRow::read).peekable();
    let mut new = plan.entries().peekable();
    while let Some(line) = match (old.peek(), new.peek()) {
        (Some(old), Some(new)) => Some(old.line.min(new.line())),
        (Some(old), None) => Some(old.line),
        (None, Some(new)) => Some(new.line()),
        (None, None) => None,
    } {
        let was = take_line(&mut old, |row| row.line == line);
        let is = take_line(&mut new, |entry| entry.line() == line);
        found.line(line, &was, &is, &mut digests);
    }
    differences.append(&mut found.differences);
    if found.more > 0 {
        differences.push(format!("… and {} more rows differ", found.more));
    }
    differences
}

fn facts_that_differ(approved: &Value, plan: &Plan<'_>, facts: &Facts<'_>) -> Vec<String> {
    let text = |pointer: &str| approved.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let mut differences = Vec::new();
    if text("/input/sha256") != plan.input().sha256 {
        differences.push("the input has been changed since it was approved".to_owned());
    }
    for (name, was, is) in
        [("endpoint", text("/endpoint"), facts.covered.endpoint), ("project", text("/project"), facts.covered.project)]
    {
        if was != is {
            differences.push(format!(
                "the {name} was `{}` and is `{}`",
                escape_untrusted(was, 200),
                escape_untrusted(is, 200)
            ));
        }
    }
    if approved.get("preflight").and_then(Value::as_bool) != Some(plan.looked()) {
        differences.push("one of the two plans was made with --preflight off".to_owned());
    }
    let none = serde_json::Map::new();
    let was = approved.get("settings").and_then(Value::as_object).unwrap_or(&none);
    let gone = was.keys().filter(|name| !facts.covered.settings.contains_key(*name));
    for name in facts.covered.settings.keys().chain(gone) {
        let (was, is) = (was.get(name).and_then(Value::as_str), facts.covered.settings.get(name).map(String::as_str));
        if was != is {
            let word = |value: Option<&str>| {
                value.map_or("not set".to_owned(), |value| format!("`{}`", escape_untrusted(value, 200)))
            };
            differences.push(format!("--{} was {} and is {}", escape_untrusted(name, 60), word(was), word(is)));
        }
    }
    differences
}

/// One element of the approved `rows`.
struct ApprovedRow<'a> {
    line: u64,
    desktop: &'a str,
    user: &'a str,
    outcome: &'a str,
    code: &'a str,
    digest: &'a str,
}

impl<'a> ApprovedRow<'a> {
    fn read(row: &'a Value) -> Option<Self> {
        let text = |at: usize| row.get(at)?.as_str();
        Some(Self {
            line: row.get(0)?.as_u64()?,
            desktop: text(1)?,
            user: text(2)?,
            outcome: text(3)?,
            code: text(4)?,
            digest: text(5)?,
        })
    }
}

fn take_line<T>(items: &mut Peekable<impl Iterator<Item = T>>, is_of_line: impl Fn(&T) -> bool) -> Vec<T> {
    std::iter::from_fn(|| items.next_if(&is_of_line)).collect()
}

struct Rows {
    differences: Vec<String>,
    more: u64,
}

impl Rows {
    fn line<'t>(
        &mut self,
        line: u64,
        was: &[ApprovedRow<'_>],
        is: &[PlanEntry<'_, 't>],
        digests: &mut Digests<'_, 't>,
    ) {
        for old in was {
            let same = |entry: &&PlanEntry<'_, '_>| entry.desktop() == old.desktop && entry.user() == old.user;
            let now = is.iter().find(same);
            let place = place(line, old.desktop);
            match now {
                None => self.note(format!("{place}: {}, and is not in the plan now", approved(old))),
                Some(entry) => {
                    let (outcome, code) = (entry.outcome(), entry.code());
                    if old.outcome != outcome.as_str() || old.code != code {
                        self.note(format!("{place}: {}, and {}", approved(old), now_is(outcome, code)));
                    } else if old.digest != hex::encode(digests.of(entry)) {
                        let what = "who is bound to this desktop, or how the user is named there, has changed";
                        self.note(format!("{place}: {what}"));
                    }
                }
            }
        }
        if was.len() > is.len() {
            self.note(format!(
                "line {line}: stands {} times in the approved plan, and {} times now",
                was.len(),
                is.len()
            ));
        }
        for entry in is {
            if !was.iter().any(|old| entry.desktop() == old.desktop && entry.user() == old.user) {
                let now = now_is(entry.outcome(), entry.code());
                self.note(format!("{}: was not in the approved plan, and {now}", place(line, entry.desktop())));
            }
        }
    }

    fn note(&mut self, difference: String) {
        if self.differences.len() < NAMED {
            self.differences.push(difference);
        } else {
            self.more += 1;
        }
    }
}

fn place(line: u64, desktop: &str) -> String {
    if desktop.is_empty() {
        format!("line {line}")
    } else {
        format!("line {line} (desktop {})", escape_untrusted(desktop, 60))
    }
}

fn approved(old: &ApprovedRow<'_>) -> String {
    if old.outcome == Outcome::Planned.as_str() {
        "was approved to be detached".to_owned()
    } else {
        let code = if old.code.is_empty() { "" } else { ", " };
        format!("was approved as {}{code}{}", escape_untrusted(old.outcome, 40), escape_untrusted(old.code, 60))
    }
}

fn now_is(outcome: Outcome, code: &str) -> String {
    match outcome {
        Outcome::Planned => "would be detached now".to_owned(),
        _ if code.is_empty() => format!("is {outcome} now"),
        _ => format!("is {outcome} now ({code})"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::fixture::{desktop, input, snapshot};
    use super::super::show::json;
    use super::super::{HashFacts, Policy, Snapshot, plan};
    use super::*;

    const CSV: &str = "desktop_id,user_name\nd1,ann\nd2,bob\nd2,cara\n";

    fn with<T>(csv: &str, seen: &Snapshot, project: &str, f: impl FnOnce(&Plan<'_>, &Facts<'_>) -> T) -> T {
        let settings = BTreeMap::from([("canary".to_owned(), project.len().to_string())]);
        let covered = HashFacts { endpoint: "https://e", project, settings: &settings };
        let input = input(csv);
        let plan = plan(&input, Some(seen), &Policy::default());
        let hash = plan.hash(covered);
        f(&plan, &Facts { hash: &hash, covered, context: &[], write_per_s: 1.0, skip_invalid: false })
    }

    fn differences(csv: &str, seen: &Snapshot, project: &str) -> Vec<String> {
        let before = snapshot([desktop("d1", &["ann#1"]), desktop("d2", &["bob#2", "cara#3"])]);
        let approved = with(CSV, &before, "p", |plan, facts| serde_json::to_value(json(plan, facts)).unwrap());
        with(csv, seen, project, |plan, facts| compare(&approved, plan, facts))
    }

    #[test]
    fn one_more_bound_user_names_the_rows_of_that_desktop_alone() {
        let seen = snapshot([desktop("d1", &["ann#1", "new#9"]), desktop("d2", &["bob#2", "cara#3"])]);
        let differences = differences(CSV, &seen, "p");
        assert_eq!(
            differences,
            ["line 2 (desktop d1): who is bound to this desktop, or how the user is named there, has changed"]
        );
    }

    #[test]
    fn a_row_whose_fate_differs_is_named_with_both_fates() {
        let seen = snapshot([desktop("d1", &["ann#1"])]);
        let differences = differences("desktop_id,user_name\nd1,ann\nd2,bob\nd1,zoe\n", &seen, "p");
        assert_eq!(
            differences,
            [
                "the input has been changed since it was approved",
                "line 3 (desktop d2): was approved to be detached, and is invalid now (INVALID_DESKTOP_NOT_FOUND)",
                "line 4 (desktop d2): was approved to be detached, and is not in the plan now",
                "line 4 (desktop d1): was not in the approved plan, and is already_detached now",
            ]
        );
    }

    #[test]
    fn another_project_and_another_setting_are_named() {
        let seen = snapshot([desktop("d1", &["ann#1"]), desktop("d2", &["bob#2", "cara#3"])]);
        let differences = differences(CSV, &seen, "other");
        assert_eq!(differences, ["the project was `p` and is `other`", "--canary was `1` and is `5`"]);
    }

    #[test]
    fn a_file_that_is_no_plan_is_said_to_be_none() {
        let seen = snapshot([]);
        let said = with(CSV, &seen, "p", |plan, facts| compare(&serde_json::json!({"format": 9}), plan, facts));
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("plan --format json"), "{said:?}");
    }
}
