//! An approved plan against the one made now: which rows differ.

use std::collections::BTreeMap;
use std::iter::Peekable;

use serde_json::Value;

use super::fingerprint::HashFacts;
use crate::model::Outcome;
use crate::text::escape_untrusted;

/// How many differing rows are named.
const NAMED: usize = 50;

/// One row of the plan made now, to be compared with the approved one.
pub(crate) struct PlannedRow<'a, K> {
    pub line: u64,
    /// As in the JSON: the desktop's id, or the name that the row gives.
    pub desktop: &'a str,
    pub user: &'a str,
    pub outcome: Outcome,
    pub code: &'a str,
    /// What its digest is made of.
    pub key: K,
}

/// How the rows of the plan made now differ from those of an approved plan's JSON: a sentence each, by their line, at most
/// [`NAMED`]. Rows that were taken out of the file, put in or changed are told, whatever hash stands in it.
///
/// * `rows`: of both plans in the order of lines.
/// * `done`: what the plan does to a row, in one word.
/// * `digest`: of a row of the plan made now; it is asked for only where the rest is alike.
pub(crate) fn compare_rows<'a, K>(
    approved: &[Value],
    rows: impl Iterator<Item = PlannedRow<'a, K>>,
    done: &'static str,
    mut digest: impl FnMut(&K) -> String,
) -> Vec<String> {
    let mut found = Found { done, differences: Vec::new(), more: 0 };
    let mut old = approved.iter().filter_map(ApprovedRow::read).peekable();
    let mut new = rows.peekable();
    while let Some(line) = match (old.peek(), new.peek()) {
        (Some(old), Some(new)) => Some(old.line.min(new.line)),
        (Some(old), None) => Some(old.line),
        (None, Some(new)) => Some(new.line),
        (None, None) => None,
    } {
        let was = take_line(&mut old, |row| row.line == line);
        let is = take_line(&mut new, |row| row.line == line);
        found.line(line, &was, &is, &mut digest);
    }
    if found.more > 0 {
        found.differences.push(format!("… and {} more rows differ", found.more));
    }
    found.differences
}

/// How place and settings differ from those of an approved plan's JSON.
pub(crate) fn compare_facts(approved: &Value, covered: HashFacts<'_>) -> Vec<String> {
    let text = |key: &str| approved.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut differences = Vec::new();
    for (name, is) in [("endpoint", covered.endpoint), ("project", covered.project)] {
        let was = text(name);
        if was != is {
            let (was, is) = (escape_untrusted(was, 200), escape_untrusted(is, 200));
            differences.push(format!("the {name} was `{was}` and is `{is}`"));
        }
    }
    let was = approved.get("settings").and_then(Value::as_object);
    let was = was.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()));
    let was: BTreeMap<&str, &str> = was.collect();
    let gone = was.keys().copied().filter(|name| !covered.settings.contains_key(*name));
    for name in covered.settings.keys().map(String::as_str).chain(gone) {
        let (was, is) = (was.get(name).copied(), covered.settings.get(name).map(String::as_str));
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

struct Found {
    done: &'static str,
    differences: Vec<String>,
    more: u64,
}

impl Found {
    fn line<K>(
        &mut self,
        line: u64,
        was: &[ApprovedRow<'_>],
        is: &[PlannedRow<'_, K>],
        digest: &mut impl FnMut(&K) -> String,
    ) {
        let is_same =
            |old: &ApprovedRow<'_>, new: &PlannedRow<'_, K>| (old.desktop, old.user) == (new.desktop, new.user);
        for old in was {
            let place = place(line, old.desktop);
            match is.iter().find(|new| is_same(old, new)) {
                None => self.note(format!("{place}: {}, and is not in the plan now", self.approved(old))),
                Some(new) if (old.outcome, old.code) != (new.outcome.as_str(), new.code) => {
                    self.note(format!("{place}: {}, and {}", self.approved(old), self.now_is(new)));
                }
                Some(new) if old.digest != digest(&new.key) => {
                    let what = "who is bound to this desktop, or how the user is named there, has changed";
                    self.note(format!("{place}: {what}"));
                }
                Some(_) => {}
            }
        }
        if was.len() > is.len() {
            self.note(format!(
                "line {line}: stands {} times in the approved plan, and {} times now",
                was.len(),
                is.len()
            ));
        }
        for new in is.iter().filter(|new| !was.iter().any(|old| is_same(old, new))) {
            self.note(format!("{}: was not in the approved plan, and {}", place(line, new.desktop), self.now_is(new)));
        }
    }

    fn approved(&self, old: &ApprovedRow<'_>) -> String {
        if old.outcome == Outcome::Planned.as_str() {
            return format!("was approved to be {}", self.done);
        }
        let code = if old.code.is_empty() { "" } else { ", " };
        format!("was approved as {}{code}{}", escape_untrusted(old.outcome, 40), escape_untrusted(old.code, 60))
    }

    fn now_is<K>(&self, new: &PlannedRow<'_, K>) -> String {
        match (new.outcome, new.code) {
            (Outcome::Planned, _) => format!("would be {} now", self.done),
            (outcome, "") => format!("is {outcome} now"),
            (outcome, code) => format!("is {outcome} now ({code})"),
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

#[cfg(test)]
mod tests {
    use super::super::fixture::{desktop, input, knowing, snapshot};
    use super::super::show::Facts;
    use super::super::{Draft as _, Plan, Policy, Snapshot, plan};
    use super::*;
    use crate::model::Caller;

    const CSV: &str = "desktop_id,user_name\nd1,ann\nd2,bob\nd2,cara\n";

    fn with<T>(csv: &str, seen: &Snapshot, project: &str, f: impl FnOnce(&Plan<'_>, &Facts<'_>) -> T) -> T {
        let settings = BTreeMap::from([("canary".to_owned(), project.len().to_string())]);
        let covered = HashFacts { endpoint: "https://e", project, settings: &settings };
        let input = input(csv);
        let plan = plan(&input, Some(seen), &Policy::default());
        let hash = plan.hash(covered);
        f(
            &plan,
            &Facts {
                hash: &hash,
                covered,
                region: None,
                caller: &Caller::default(),
                context: &[],
                write_per_s: 1.0,
                skip_invalid: false,
                still: None,
            },
        )
    }

    fn differences(csv: &str, seen: &Snapshot, project: &str) -> Vec<String> {
        let before = snapshot([desktop("d1", &["ann#1"]), desktop("d2", &["bob#2", "cara#3"])]);
        let approved = with(CSV, &before, "p", |plan, facts| plan.json(facts).unwrap());
        let approved = serde_json::from_str(&approved).unwrap();
        with(csv, seen, project, |plan, facts| plan.compare(&approved, facts.covered))
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
        let seen = knowing(snapshot([desktop("d1", &["ann#1"])]), &["zoe"]);
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
        let said = with(CSV, &seen, "p", |plan, facts| plan.compare(&serde_json::json!({"format": 9}), facts.covered));
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("plan --format json"), "{said:?}");
    }
}
