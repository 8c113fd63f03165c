//! An undo's plan for people, as JSON, and compared with an approved one.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use schemars::{JsonSchema, Schema};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::plan::{Stats, UndoPlan, word};
use crate::journal::Fate;
use crate::model::Class;
use crate::model::Outcome;
use crate::plan::HashFacts;
use crate::plan::show::FORMAT;
use crate::text::{
    BOLD, Page, counted as some, escape_untrusted, grouped, serialized, size, spell_estimate, spell_rate,
};

/// What is shown beside the plan itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// See [`UndoPlan::hash`].
    pub hash: &'a str,
    pub covered: HashFacts<'a>,
    /// The journal that is taken back, as it was named.
    pub journal: &'a str,
    /// Further lines for people: label and value.
    pub context: &'a [(&'a str, String)],
    /// The ceiling of writes, a second.
    pub write_per_s: f64,
    /// `--on-invalid skip`.
    pub skip_invalid: bool,
}

/// Lines of one message that are shown.
const LINES_SHOWN: usize = 5;
/// Differences from an approved plan that are named.
const NAMED: usize = 20;

/// The plan in plain words, at most `width` columns wide where words allow it.
pub(crate) fn human(plan: &UndoPlan<'_>, facts: &Facts<'_>, width: usize) -> String {
    let (stats, run) = (plan.stats(), &plan.changed.run);
    let attaches = plan.changed.class == Class::BatchAttach;
    let mut page = Page::new(width);
    page.styled(
        BOLD,
        &format!(
            "Undo of run {} ({}): {} that it {}",
            run.run_id,
            escape_untrusted(facts.journal, 200),
            some(stats.rows, "row", "rows"),
            if attaches { "detached" } else { "attached" }
        ),
    );
    let own = [
        ("its input", run.input_path.clone()),
        ("endpoint", facts.covered.endpoint.to_owned()),
        ("project", facts.covered.project.to_owned()),
    ];
    for (label, value) in own.iter().chain(facts.context).filter(|(_, value)| !value.is_empty()) {
        page.paragraph(&format!("  {label:<12} "), &escape_untrusted(value, 300), anstyle::Style::new());
    }
    if plan.changed.left > 0 {
        let left = some(plan.changed.left, "other row of that run stays", "other rows of that run stay");
        page.line(2, &format!("{left} out: not changed by it, or not asked for."));
    }
    counts(&mut page, facts, &stats, attaches);
    effects(&mut page, &stats, attaches);
    invalid(&mut page, plan, facts);
    page.blank();
    page.line(0, &format!("Plan {}", facts.hash));
    page.finish(true)
}

fn counts(page: &mut Page, facts: &Facts<'_>, stats: &Stats, attaches: bool) {
    let (verb, done) = if attaches { ("attach", "attached already") } else { ("detach", "already gone") };
    let mut parts = vec![format!("{} to {verb}", grouped(stats.to_send)), format!("{} {done}", grouped(stats.done))];
    let mut add = |count: u64, text: String| parts.extend((count > 0).then_some(text));
    add(stats.invalid_total(), some(stats.invalid_total(), "invalid row", "invalid rows"));
    add(stats.left_out, format!("{} left out", grouped(stats.left_out)));
    page.title(&parts.join(", "));
    if stats.to_send == 0 {
        return;
    }
    let bindings = some(stats.bindings, "binding", "bindings");
    page.line(2, &format!("{bindings} on {}", some(stats.desktops, "desktop", "desktops")));
    let mut line = format!("{}, {} in all", some(stats.chunks, "request", "requests"), size(stats.bytes));
    if facts.write_per_s > 0.0 {
        let apart = u32::try_from(stats.chunks.saturating_sub(1)).map_or(0.0, f64::from);
        let (takes, rate) = (Duration::from_secs_f64(apart / facts.write_per_s), spell_rate(facts.write_per_s));
        _ = write!(line, "; sending takes {} at the ceiling of {rate}", spell_estimate(takes));
    }
    if stats.canary_chunks > 0 {
        let canary = some(stats.canary_chunks, "request goes", "requests go");
        _ = write!(line, "; the first {canary} as the canary");
    }
    page.line(2, &line);
    if attaches {
        page.line(2, "Each gets its own privilege group back; the data on the desktops is kept.");
    }
}

fn effects(page: &mut Page, stats: &Stats, attaches: bool) {
    if stats.to_send == 0 {
        return;
    }
    if attaches {
        page.title("What does not come back");
        page.item("sessions that were cut off, and what was not saved in them");
        page.item("data on a desktop that was cleared or rebuilt since then");
        if stats.pooled > 0 {
            let of = some(stats.pooled, "desktop here belongs to a pool", "desktops here belong to pools");
            page.item(&format!("a pool's choice: {of}, and whom the pool gave another one since then keeps that one"));
        }
    }
    let effects = [
        (stats.in_use, "is in use now", "are in use now"),
        (
            stats.shut_down,
            "is a single-user desktop and on: it shuts down at once",
            "are single-user desktops and on: they shut down at once",
        ),
        (stats.hibernated, "is hibernated: the service may refuse it", "are hibernated: the service may refuse them"),
        (stats.busy, "is busy: it has to wait", "are busy: they have to wait"),
    ];
    if effects.iter().any(|(count, ..)| *count > 0) {
        page.title("Of the desktops touched");
        for (count, one, many) in effects.into_iter().filter(|(count, ..)| *count > 0) {
            page.item(&some(count, one, many));
        }
    }
}

fn invalid(page: &mut Page, plan: &UndoPlan<'_>, facts: &Facts<'_>) {
    let faults = plan.faults();
    if faults.is_empty() {
        return;
    }
    page.caution(if facts.skip_invalid {
        "Invalid rows, which are left out and reported"
    } else {
        "Invalid rows: nothing is sent before they are left out (--only-user, --only-desktop, or --on-invalid skip)"
    });
    let mut codes: Vec<&str> = faults.iter().map(|fault| fault.code).collect();
    codes.sort_unstable();
    codes.dedup();
    for code in codes {
        let of: Vec<_> = faults.iter().filter(|fault| fault.code == code).collect();
        page.line(2, code);
        let lines: Vec<String> = of.iter().take(LINES_SHOWN).map(|fault| fault.line.to_string()).collect();
        let word = if of.len() == 1 { "line" } else { "lines" };
        let more = if of.len() > LINES_SHOWN { ", …" } else { "" };
        let message = of.first().map_or("", |fault| fault.message.as_str());
        page.line(4, &format!("{word} {}{more}: {message}", lines.join(", ")));
    }
}

/// The plan as one JSON object; also what `--approved` is compared with.
pub(crate) fn json<'a>(plan: &'a UndoPlan<'_>, facts: &Facts<'a>) -> impl Serialize + use<'a> {
    let (stats, run) = (plan.stats(), &plan.changed.run);
    Document {
        format: FORMAT,
        hash: facts.hash,
        undo_of: UndoOf { run_id: &run.run_id, journal: facts.journal, plan_hash: &run.plan_hash },
        endpoint: facts.covered.endpoint,
        project: facts.covered.project,
        settings: facts.covered.settings,
        counts: Counts {
            rows: stats.rows,
            to_attach: if plan.changed.class == Class::BatchAttach { stats.to_send } else { 0 },
            to_detach: if plan.changed.class == Class::BatchAttach { 0 } else { stats.to_send },
            bindings: stats.bindings,
            already_done: stats.done,
            invalid: stats.invalid_total(),
            invalid_by_code: stats.invalid,
            left_out: stats.left_out,
            desktops: stats.desktops,
            in_use: stats.in_use,
            hibernated: stats.hibernated,
            busy: stats.busy,
            shut_down: stats.shut_down,
            pooled: stats.pooled,
            requests: stats.chunks,
            canary_requests: stats.canary_chunks,
            bytes: stats.bytes,
        },
        row_columns: ["line", "desktop", "user", "outcome", "code", "digest"],
        rows: Rows(plan),
    }
}

/// The schema of the JSON of an undo's plan.
pub(crate) fn schema() -> Schema {
    serialized::<Document<'static, Vec<(u64, String, String, Outcome, String, String)>>>()
}

/// The plan of an undo, as JSON.
#[derive(Serialize, JsonSchema)]
struct Document<'a, R: Serialize> {
    format: u32,
    hash: &'a str,
    undo_of: UndoOf<'a>,
    endpoint: &'a str,
    project: &'a str,
    settings: &'a std::collections::BTreeMap<String, String>,
    counts: Counts,
    row_columns: [&'static str; 6],
    rows: R,
}

#[derive(Serialize, JsonSchema)]
struct UndoOf<'a> {
    run_id: &'a str,
    journal: &'a str,
    plan_hash: &'a str,
}

#[derive(Serialize, JsonSchema)]
struct Counts {
    rows: u64,
    to_attach: u64,
    to_detach: u64,
    bindings: u64,
    already_done: u64,
    invalid: u64,
    invalid_by_code: std::collections::BTreeMap<String, u64>,
    left_out: u64,
    desktops: u64,
    in_use: u64,
    hibernated: u64,
    busy: u64,
    shut_down: u64,
    pooled: u64,
    requests: u64,
    canary_requests: u64,
    bytes: u64,
}

struct Rows<'a, 'p>(&'a UndoPlan<'p>);

impl Serialize for Rows<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.rows().map(|(row, fate)| {
            let (outcome, code) = word(fate);
            (row.line, &row.cells[0], &row.cells[2], outcome.as_str(), code, self.0.row_digest(row, fate))
        }))
    }
}

/// How the plan made now differs from the approved one, as [`json`] wrote it: a sentence each, rows by their line. Rows that
/// were taken out of the file, put in or changed are told, whatever hash stands in it.
pub(crate) fn compare(approved: &Value, plan: &UndoPlan<'_>, facts: &Facts<'_>) -> Vec<String> {
    let rows = approved.get("rows").and_then(Value::as_array);
    let undo_of = approved.pointer("/undo_of/plan_hash").and_then(Value::as_str);
    let (Some(rows), Some(undo_of)) = (rows, undo_of) else {
        return vec![
            "the approved file is not the plan of an undo; make one with `undo … --dry-run --format json`".into(),
        ];
    };
    let mut differences = Vec::new();
    if undo_of != plan.changed.run.plan_hash {
        differences.push("the approved undo is of another run".to_owned());
    }
    for (name, was, is) in [
        ("endpoint", approved.get("endpoint"), facts.covered.endpoint),
        ("project", approved.get("project"), facts.covered.project),
    ] {
        let was = was.and_then(Value::as_str).unwrap_or_default();
        if was != is {
            differences.push(format!(
                "the {name} was `{}` and is `{}`",
                escape_untrusted(was, 200),
                escape_untrusted(is, 200)
            ));
        }
    }
    let none = serde_json::Map::new();
    let was = approved.get("settings").and_then(Value::as_object).unwrap_or(&none);
    let gone = was.keys().filter(|name| !facts.covered.settings.contains_key(*name));
    for name in facts.covered.settings.keys().chain(gone) {
        let (was, is) = (was.get(name).and_then(Value::as_str), facts.covered.settings.get(name).map(String::as_str));
        let word = |value: Option<&str>| {
            value.map_or("not set".to_owned(), |value| format!("`{}`", escape_untrusted(value, 200)))
        };
        if was != is {
            differences.push(format!("--{} was {} and is {}", escape_untrusted(name, 60), word(was), word(is)));
        }
    }
    let key = |row: &Value| {
        let text = |at: usize| row.get(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        (row.get(0).and_then(Value::as_u64).unwrap_or_default(), text(1), text(2))
    };
    let mut old: HashMap<_, &Value> = rows.iter().map(|row| (key(row), row)).collect();
    let mut differing = Vec::new();
    for (row, fate) in plan.rows() {
        let place = format!("line {} ({})", row.line, escape_untrusted(&row.cells[0], 60));
        let was = old.remove(&(row.line, row.cells[0].clone(), row.cells[2].clone()));
        let text = |at: usize| was.and_then(|was| was.get(at)).and_then(Value::as_str).unwrap_or_default();
        if was.is_none() {
            differing.push(format!("{place}: was not in the approved plan"));
        } else if (text(3), text(4)) != (word(fate).0.as_str(), word(fate).1) {
            let now = told(fate);
            differing.push(format!(
                "{place}: was {}, and is {now}",
                escape_untrusted(&format!("{} {}", text(3), text(4)), 80)
            ));
        } else if text(5) != plan.row_digest(row, fate) {
            differing.push(format!("{place}: who is bound to this desktop has changed"));
        }
    }
    let mut gone: Vec<_> = old.into_keys().collect();
    gone.sort_unstable();
    differing.extend(gone.into_iter().map(|(line, desktop, _)| {
        format!("line {line} ({}): was approved, and is not in the plan now", escape_untrusted(&desktop, 60))
    }));
    let more = differing.len().saturating_sub(NAMED);
    differing.truncate(NAMED);
    differences.extend(differing);
    if more > 0 {
        differences.push(format!("… and {more} more rows differ"));
    }
    differences
}

fn told(fate: &Fate) -> String {
    match word(fate) {
        (Outcome::Planned, _) => "to be sent".to_owned(),
        (outcome, "") => outcome.as_str().to_owned(),
        (outcome, code) => format!("{outcome} {code}"),
    }
}
