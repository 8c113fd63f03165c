//! An undo's plan for people, and as JSON.

use schemars::{JsonSchema, Schema};
use serde::{Serialize, Serializer};

use super::plan::{Stats, UndoPlan, word};
use crate::model::{Caller, Outcome};
use crate::plan::Draft as _;
use crate::plan::document::FORMAT;
use crate::plan::show::{
    Effect, Facts, IN_USE, Outline, busy, desktops, hibernated, invalid, labelled, place, sending, shut_down, told,
};
use crate::text::{BOLD, Page, counted as some, escape_untrusted, grouped, serialized};

/// The plan in plain words, at most `width` columns wide where words allow it.
pub(crate) fn human(plan: &UndoPlan<'_>, facts: &Facts<'_>, width: usize) -> String {
    let (stats, run) = (plan.stats(), &plan.changed.run);
    let attaches = plan.attaches();
    let mut page = Page::new(width);
    page.styled(
        BOLD,
        &format!(
            "Undo of run {} ({}): {} that it {}",
            run.run_id,
            escape_untrusted(&plan.changed.journal, 200),
            some(stats.rows, "row", "rows"),
            if attaches { "detached" } else { "attached" }
        ),
    );
    labelled(&mut page, "its input", &run.input_path);
    place(&mut page, facts);
    if plan.changed.left > 0 {
        let left = some(plan.changed.left, "other row of that run stays", "other rows of that run stay");
        page.line(2, &format!("{left} out: not changed by it, or not asked for."));
    }
    let Outline { lines, lost, effects, .. } = outline(plan, facts);
    let mut lines = lines.iter();
    lines.by_ref().take(1).for_each(|sums| page.title(sums));
    lines.for_each(|line| page.line(2, line));
    if !lost.is_empty() {
        page.title("What does not come back");
        for what in &lost {
            page.item(what);
        }
    }
    desktops(&mut page, &effects);
    let what = "they are left out (--only-user, --only-desktop, or --on-invalid skip)";
    invalid(&mut page, facts, what, plan.faults().into_iter(), |code| stats.invalid.get(code).copied());
    page.blank();
    page.line(0, &format!("Plan {}", facts.hash));
    page.finish(true)
}

/// See [`Draft::outline`].
pub(super) fn outline(plan: &UndoPlan<'_>, facts: &Facts<'_>) -> Outline {
    let (stats, attaches) = (plan.stats(), plan.attaches());
    let mut lines = vec![sums(&stats, attaches)];
    if stats.to_send > 0 {
        let bindings = some(stats.bindings, "binding", "bindings");
        lines.push(format!("{bindings} on {}", some(stats.desktops, "desktop", "desktops")));
        lines.push(sending(facts, stats.chunks, stats.canary_chunks, stats.bytes));
    }
    let mut lost = Vec::new();
    if stats.to_send > 0 && attaches {
        lines.push("Each gets its own privilege group back; the data on the desktops is kept.".to_owned());
        lost.push("sessions that ended, and what was not saved in them".to_owned());
        lost.push("data on a desktop that was cleared or rebuilt since then".to_owned());
        if stats.pooled > 0 {
            let of = some(stats.pooled, "desktop here belongs to a pool", "desktops here belong to pools");
            lost.push(format!("a pool's choice: {of}, and whom the pool gave another one since then keeps that one"));
        }
    }
    Outline { lines, named: Vec::new(), effects: told(&effects_of(&stats), stats.desktops), lost }
}

/// The counts of all rows.
fn sums(stats: &Stats, attaches: bool) -> String {
    let (verb, done) = if attaches { ("attach", "already attached") } else { ("detach", "already detached") };
    let mut parts = vec![format!("{} to {verb}", grouped(stats.to_send)), format!("{} {done}", grouped(stats.done))];
    let mut add = |count: u64, text: String| parts.extend((count > 0).then_some(text));
    add(stats.invalid_total(), some(stats.invalid_total(), "invalid row", "invalid rows"));
    add(stats.left_out, format!("{} left out", grouped(stats.left_out)));
    parts.join(", ")
}

/// What the desktops are like.
pub(super) const fn effects_of(stats: &Stats) -> [Effect; 4] {
    [
        Effect::new(stats.in_use, "is in use now", "are in use now", IN_USE),
        shut_down(stats.shut_down),
        hibernated(stats.hibernated),
        busy(stats.busy),
    ]
}

/// The plan as one JSON object; also what `--approved` is compared with.
pub(crate) fn json<'a>(plan: &'a UndoPlan<'_>, facts: &Facts<'a>) -> impl Serialize + use<'a> {
    let (stats, run) = (plan.stats(), &plan.changed.run);
    Document {
        format: FORMAT,
        hash: facts.hash,
        undo_of: UndoOf { run_id: &run.run_id, journal: &plan.changed.journal, plan_hash: &run.plan_hash },
        endpoint: facts.covered.endpoint,
        region: facts.region,
        project: facts.covered.project,
        caller: facts.caller,
        settings: facts.covered.settings,
        counts: Counts {
            rows: stats.rows,
            to_attach: if plan.attaches() { stats.to_send } else { 0 },
            to_detach: if plan.attaches() { 0 } else { stats.to_send },
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
    region: Option<&'a str>,
    project: &'a str,
    caller: &'a Caller,
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
