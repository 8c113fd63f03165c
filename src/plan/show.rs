//! The plan for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::detach::Plan;
use super::fingerprint::HashFacts;
use super::stats::PlanStats;
use crate::input::RowFault;
use crate::model::{Caller, StillAccess};
use crate::text::{BOLD, Page, counted as some, escape_untrusted, grouped, size, spell_estimate, spell_rate};

/// What is shown beside the plan itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Facts<'a> {
    /// See [`Draft::write_requests`](super::Draft::write_requests).
    pub hash: &'a str,
    pub covered: HashFacts<'a>,
    pub region: Option<&'a str>,
    pub caller: &'a Caller,
    /// Lines for people, such as the endpoint, the project, the credentials' source, a proxy: label and value.
    pub context: &'a [(&'a str, String)],
    /// The ceiling of writes, a second.
    pub write_per_s: f64,
    /// `--on-invalid skip`.
    pub skip_invalid: bool,
    /// Who would still get in, where that was looked for.
    pub still: Option<&'a StillAccess>,
}

/// How many messages are shown of each code, how many lines of each message, and how many hints.
const MESSAGES_SHOWN: usize = 3;
const LINES_SHOWN: usize = 5;
const HINTS_SHOWN: usize = 5;
/// How many of the people who would still get in are named.
const STILL_SHOWN: usize = 5;

/// The plan in plain words, at most `width` columns wide where words allow it; with colours, for a stream that takes
/// them off where they are not wanted.
pub(crate) fn human(plan: &Plan<'_>, facts: &Facts<'_>, width: usize) -> String {
    let stats = plan.stats();
    let mut page = Page::new(width);
    heading(&mut page, plan, facts, stats);
    counts(&mut page, facts, plan);
    desktops(&mut page, &outline(plan, facts).effects);
    if let Some(found) = facts.still {
        still(&mut page, found);
    }
    let what = "they are corrected (or --on-invalid skip)";
    invalid(&mut page, facts, what, plan.faults(), |code| stats.invalid.get(code).copied());
    hints(&mut page, stats);
    if !plan.input().notes.is_empty() {
        page.title("About the input");
        for note in &plan.input().notes {
            page.item(&escape_untrusted(note, 300));
        }
    }
    page.blank();
    page.line(0, &format!("Plan {}", facts.hash));
    page.finish(true)
}

fn heading(page: &mut Page, plan: &Plan<'_>, facts: &Facts<'_>, stats: &PlanStats<'_>) {
    let mut line = format!("{}: {}", escape_untrusted(&plan.input().name, 200), some(stats.rows, "row", "rows"));
    if stats.entries > stats.rows {
        _ = write!(line, ", {} with every desktop of the users named alone", stats.entries);
    }
    page.styled(BOLD, &line);
    place(page, facts);
    if !plan.looked() {
        page.line(2, "The live bindings were not looked at (--preflight off): who is already detached is not known.");
    }
}

/// Where the plan goes, a line for each fact that is known.
pub(crate) fn place(page: &mut Page, facts: &Facts<'_>) {
    for (label, value) in facts.context.iter().filter(|(_, value)| !value.is_empty()) {
        labelled(page, label, value);
    }
}

/// A value behind its label.
pub(crate) fn labelled(page: &mut Page, label: &str, value: &str) {
    page.paragraph(&format!("  {label:<12} "), &escape_untrusted(value, 300), anstyle::Style::new());
}

/// How many requests are sent, and how long that takes.
pub(crate) fn sending(facts: &Facts<'_>, chunks: u64, canary_chunks: u64, bytes: u64) -> String {
    let mut line = format!("{}, {} in all", some(chunks, "request", "requests"), size(bytes));
    if facts.write_per_s > 0.0 {
        let apart = u32::try_from(chunks.saturating_sub(1)).map_or(0.0, f64::from);
        let (takes, rate) = (Duration::from_secs_f64(apart / facts.write_per_s), spell_rate(facts.write_per_s));
        _ = write!(line, "; sending takes {} at the ceiling of {rate}", spell_estimate(takes));
    }
    if canary_chunks > 0 {
        let canary = some(canary_chunks, "request goes", "requests go");
        _ = write!(line, "; the first {canary} as the canary");
    }
    line
}

/// Something that desktops are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effect {
    /// How many of them.
    pub desktops: u64,
    /// How it is said of one and of several.
    pub one: &'static str,
    pub many: &'static str,
    /// In a word or two, beside the name of a desktop.
    pub mark: &'static str,
    /// The end of a sentence on a desktop.
    pub alone: &'static str,
}

impl Effect {
    pub(crate) const fn new(desktops: u64, one: &'static str, many: &'static str, mark: &'static str) -> Self {
        Self { desktops, one, many, mark, alone: one }
    }
}

/// The mark of a desktop with a connected session.
pub(crate) const IN_USE: &str = "in use now";

pub(crate) const fn shut_down(desktops: u64) -> Effect {
    Effect {
        alone: "is a single-user desktop and switched on now: it shuts down immediately",
        ..Effect::new(
            desktops,
            "single-user desktop is switched on now: it shuts down immediately",
            "single-user desktops are switched on now: they shut down immediately",
            "switched on now",
        )
    }
}

pub(crate) const fn hibernated(desktops: u64) -> Effect {
    Effect::new(
        desktops,
        "is hibernated: the service may refuse it",
        "are hibernated: the service may refuse them",
        "hibernated",
    )
}

pub(crate) const fn busy(desktops: u64) -> Effect {
    Effect::new(desktops, "is busy: it has to wait", "are busy: they have to wait", "busy")
}

/// What the desktops that are touched are like, see [`told`].
pub(crate) fn desktops(page: &mut Page, effects: &[String]) {
    if !effects.is_empty() {
        page.title("Of the desktops touched");
        for effect in effects {
            page.item(effect);
        }
    }
}

/// Those effects that there are, in words.
///
/// * `touched`: how many desktops there are in all.
pub(crate) fn told(effects: &[Effect], touched: u64) -> Vec<String> {
    let words = |effect: &Effect| match effect.desktops {
        2 if touched == 2 => format!("both {}", effect.many),
        all if all > 2 && all == touched => format!("all {} {}", grouped(all), effect.many),
        some_of_them => some(some_of_them, effect.one, effect.many),
    };
    effects.iter().filter(|effect| effect.desktops > 0).map(words).collect()
}

/// The plan in sentences, for what is laid out otherwise than a page of plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outline {
    /// What will happen: the counts; where something is sent, what it is, and how.
    pub lines: Vec<String>,
    /// Desktops by name that somebody should look at.
    pub named: Vec<String>,
    /// What the desktops that are touched are like.
    pub effects: Vec<String>,
    /// What an undo does not bring back.
    pub lost: Vec<String>,
}

/// See [`Draft::outline`](super::Draft::outline).
pub(crate) fn outline(plan: &Plan<'_>, facts: &Facts<'_>) -> Outline {
    let stats = plan.stats();
    let mut lines = vec![sums(facts, stats)];
    if stats.to_send() > 0 {
        lines.extend([parts(stats), sending(facts, stats.chunks, stats.canary_chunks, stats.bytes)]);
    }
    let mut names = Vec::from_iter(named("unknown", stats.unknown_desktops, &stats.unknown_named));
    let in_use = if stats.in_use_left_out > 0 {
        some(stats.in_use, "desktop is in use now and left out", "desktops are in use now and left out")
    } else {
        let is = if stats.in_use == 1 { "is" } else { "are" };
        let of = some(stats.desktops, "desktop touched", "desktops touched");
        format!("{} of the {of} {is} in use now", grouped(stats.in_use))
    };
    names.extend(named(&in_use, stats.in_use, &stats.in_use_named));
    names.extend(named("may be refused", stats.stuck, &stats.stuck_named));
    Outline { lines, named: names, effects: told(&effects_of(stats), stats.desktops), lost: Vec::new() }
}

/// The counts of all rows.
fn sums(facts: &Facts<'_>, stats: &PlanStats<'_>) -> String {
    let mut parts = vec![
        format!("{} to detach", grouped(stats.to_send())),
        format!("{} already detached", grouped(stats.already_detached)),
    ];
    let mut add = |count: u64, text: String| parts.extend((count > 0).then_some(text));
    add(stats.unknown_desktops, some(stats.unknown_desktops, "desktop unknown", "desktops unknown"));
    add(stats.invalid_total(), some(stats.invalid_total(), "invalid row", "invalid rows"));
    let day = facts.covered.settings.get("as-of").map_or(String::new(), |day| format!(" on {day}"));
    add(stats.not_due, format!("{} not due{day}", grouped(stats.not_due)));
    add(stats.left_out, format!("{} left out", grouped(stats.left_out)));
    parts.join(", ")
}

/// The rows that are sent, by what they are for.
fn parts(stats: &PlanStats<'_>) -> String {
    let mut kinds = Vec::new();
    let mut add = |count: u64, one: &str, many: &str| kinds.extend((count > 0).then(|| some(count, one, many)));
    add(stats.send_users, "row for a user", "rows for users");
    add(stats.send_groups, "row for a group", "rows for groups");
    add(stats.send_all, "row for everybody on a desktop (ALL)", "rows for everybody on their desktops (ALL)");
    let mut line = format!("{}; {}", kinds.join(", "), some(stats.desktops, "desktop touched", "desktops touched"));
    if stats.duplicates > 0 {
        let repeat = some(stats.duplicates, "row repeats a binding and is", "rows repeat a binding and are");
        _ = write!(line, "; {repeat} sent once");
    }
    line
}

fn counts(page: &mut Page, facts: &Facts<'_>, plan: &Plan<'_>) {
    let Outline { lines, named, .. } = outline(plan, facts);
    let mut lines = lines.iter().chain(&named);
    lines.by_ref().take(1).for_each(|sums| page.title(sums));
    lines.for_each(|line| page.line(2, line));
}

/// The first of those that something is said of; nothing where there are none.
fn named(what: &str, count: u64, names: &[&str]) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let mut line = format!("{what}: ");
    line.push_str(&names.iter().map(|name| escape_untrusted(name, 60)).collect::<Vec<_>>().join(", "));
    let rest = count.saturating_sub(u64::try_from(names.len()).unwrap_or(u64::MAX));
    if rest > 0 {
        _ = write!(line, " and {} more", grouped(rest));
    }
    Some(line)
}

/// What unbinding does to the desktops; nothing where they were not looked at.
pub(super) const fn effects_of(stats: &PlanStats<'_>) -> [Effect; 10] {
    [
        shut_down(stats.shut_down),
        Effect::new(
            stats.started,
            "is shared and off: it gets started",
            "are shared and off: they get started",
            "shared and off",
        ),
        Effect::new(stats.pooled, "belongs to a pool", "belong to pools", "in a pool"),
        Effect::new(stats.group_stays, "keeps a user group bound", "keep a user group bound", "a group stays bound"),
        Effect::new(stats.left_with_nobody, "will have no user", "will have no user", "no user left"),
        hibernated(stats.hibernated),
        Effect::new(
            stats.in_error,
            "is in the state ERROR: the service may refuse it",
            "are in the state ERROR: the service may refuse them",
            "in the state ERROR",
        ),
        Effect::new(
            stats.frozen,
            "is frozen: the service may refuse it",
            "are frozen: the service may refuse them",
            "frozen",
        ),
        Effect::new(
            stats.in_maintenance,
            "is in maintenance mode: the service may refuse it",
            "are in maintenance mode: the service may refuse them",
            "in maintenance mode",
        ),
        busy(stats.busy),
    ]
}

/// Who would still get in, if all writes go well.
fn still(page: &mut Page, found: &StillAccess) {
    if !found.is_open() {
        page.blank();
        return page.line(0, "After this, none of these people still gets in by something else.");
    }
    page.caution(&format!("After this, {}", found.in_words()));
    for one in found.examples.iter().take(STILL_SHOWN) {
        let (user, ways) = (escape_untrusted(&one.user_name, 64), escape_untrusted(&one.still_via, 300));
        page.item(&format!("line {}: {user} by {}", one.line, ways.replace(';', "; ")));
    }
    let rest = found.people.saturating_sub(u64::try_from(STILL_SHOWN).unwrap_or(u64::MAX));
    if rest > 0 {
        page.item(&format!("and {} more", grouped(rest)));
    }
    for why in &found.why {
        page.line(2, &escape_untrusted(why, 500));
    }
}

/// What is wrong with which rows, by code.
///
/// * `what_helps`: what has to be done before anything is sent.
/// * `rows`: how many rows a code has; one with several faults counts under its first.
pub(crate) fn invalid(
    page: &mut Page,
    facts: &Facts<'_>,
    what_helps: &str,
    faults: impl Iterator<Item = RowFault>,
    rows: impl Fn(&str) -> Option<u64>,
) {
    let mut faults = faults.peekable();
    if faults.peek().is_none() {
        return;
    }
    page.caution(&if facts.skip_invalid {
        "Invalid rows, which are left out and reported".to_owned()
    } else {
        format!("Invalid rows: nothing is sent before {what_helps}")
    });
    let mut shown: BTreeMap<&str, Vec<Complaint>> = BTreeMap::new();
    for fault in faults {
        let complaints = shown.entry(fault.code).or_default();
        if let Some(known) = complaints.iter_mut().find(|known| known.message == fault.message) {
            known.lines.extend((known.lines.len() < LINES_SHOWN).then_some(fault.line));
        } else if complaints.len() < MESSAGES_SHOWN {
            let column = fault
                .column
                .map(|column| format!(", column \"{}\"", escape_untrusted(&column, 60)))
                .unwrap_or_default();
            complaints.push(Complaint { message: fault.message, column, lines: vec![fault.line] });
        }
    }
    for (code, complaints) in shown {
        page.line(2, code);
        let mut told = 0;
        for Complaint { message, column, lines } in complaints {
            told += u64::try_from(lines.len()).unwrap_or(u64::MAX);
            let word = if lines.len() == 1 { "line" } else { "lines" };
            let lines = lines.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            page.line(4, &format!("{word} {lines}{column}: {message}"));
        }
        let rest = rows(code).unwrap_or_default().saturating_sub(told);
        if rest > 0 {
            page.line(4, &format!("… and {}", some(rest, "more row", "more rows")));
        }
    }
}

/// What is wrong in the same words with several rows.
struct Complaint {
    message: String,
    column: String,
    lines: Vec<u64>,
}

fn hints(page: &mut Page, stats: &PlanStats<'_>) {
    if stats.hints.is_empty() {
        return;
    }
    page.caution("Taken as already detached, but possibly a typing error");
    for hint in stats.hints.iter().take(HINTS_SHOWN) {
        page.item(&format!("line {}: {}", hint.line, hint.words()));
    }
    if let Some(rest) = stats.hints.len().checked_sub(HINTS_SHOWN).filter(|&rest| rest > 0) {
        page.item(&format!("… and more like these ({} at least)", grouped(u64::try_from(rest).unwrap_or(u64::MAX))));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::fixture::{desktop, input, knowing, snapshot};
    use super::super::{Policy, Snapshot, plan};
    use super::*;

    fn plain(plan: &Plan<'_>, facts: &Facts<'_>, width: usize) -> String {
        anstream::adapter::strip_str(&human(plan, facts, width)).to_string()
    }
    use crate::model::LiveDesktop;

    pub(in crate::plan) fn shown<T>(
        csv: &str,
        seen: Option<&Snapshot>,
        f: impl FnOnce(&Plan<'_>, &Facts<'_>) -> T,
    ) -> T {
        let settings = BTreeMap::from([("protect".to_owned(), "ceo".to_owned())]);
        let covered = HashFacts { endpoint: "https://workspace.example", project: "p1", settings: &settings };
        let input = input(csv);
        let plan = plan(&input, seen, &Policy::default());
        let context = [
            ("endpoint", "https://workspace.example".to_owned()),
            ("project", "p1".to_owned()),
            ("credentials", "HW_AUTH_TOKEN".to_owned()),
            ("proxy", String::new()),
        ];
        let caller = Caller { credentials: "HW_AUTH_TOKEN".to_owned(), ..Caller::default() };
        let facts = Facts {
            hash: "0f",
            covered,
            region: Some("cn-north-4"),
            caller: &caller,
            context: &context,
            write_per_s: 100.0 / 60.0,
            skip_invalid: false,
            still: None,
        };
        f(&plan, &facts)
    }

    pub(in crate::plan) fn world() -> Snapshot {
        let single = |id: &str, who: &[&str]| LiveDesktop { desktop_type: "DEDICATED".to_owned(), ..desktop(id, who) };
        let used = LiveDesktop { login_status: "CONNECTED".to_owned(), ..single("d1", &["ann#1"]) };
        let pooled = LiveDesktop { pool_id: Some("p".to_owned()), ..desktop("d3", &["ann#1", "%staff#9"]) };
        knowing(snapshot([used, single("d2", &["bob.li#2"]), pooled]), &["bob.lee"])
    }

    pub(in crate::plan) const CSV: &str =
        "desktop_id,user_name\nd1,ann\nd1,ANN\nd2,bob.lee\nd3,ann\nd8,x\nd9,x\nd9,y\nd7,y\nd2,bob.li\n";

    #[test]
    fn people_read_what_will_happen_in_plain_words() {
        let text = shown(CSV, Some(&world()), |plan, facts| plain(plan, facts, 80));
        assert_eq!(
            text,
            "leavers.csv: 9 rows
  endpoint     https://workspace.example
  project      p1
  credentials  HW_AUTH_TOKEN

4 to detach, 1 already detached, 3 desktops unknown, 4 invalid rows
  4 rows for users; 3 desktops touched; 1 row repeats a binding and is sent once
  2 requests, 385 bytes in all; sending takes less than 1 s at the ceiling of
    100/min
  unknown: d8, d9, d7
  1 of the 3 desktops touched is in use now: PC-d1

Of the desktops touched
  - 2 single-user desktops are switched on now: they shut down immediately
  - 1 belongs to a pool
  - 1 keeps a user group bound
  - 2 will have no user

Invalid rows: nothing is sent before they are corrected (or --on-invalid skip)
  INVALID_DESKTOP_NOT_FOUND
    lines 6, 7, 8, 9, column \"desktop_id\": no desktop of this project has this
      id; correct it, or take the row out if the desktop is gone

Taken as already detached, but possibly a typing error
  - line 4: `bob.lee` is not bound to d2; the nearest name is `bob.li`

Plan 0f
"
        );
    }

    #[test]
    fn without_a_look_the_plan_says_what_it_does_not_know() {
        let text = shown("desktop_id,user_name\nd1,ann\n", None, |plan, facts| plain(plan, facts, 80));
        assert!(text.contains("--preflight off"), "{text}");
        assert!(!text.contains("Of the desktops touched"), "{text}");
    }

    #[test]
    fn p21_text_from_outside_is_tamed_and_lines_are_broken() {
        let csv = "desktop_id,user_name\nd1\u{202e},ann\nd1,ann\n";
        let text = shown(csv, Some(&world()), |plan, facts| plain(plan, facts, 60));
        assert!(!text.contains('\u{202e}'), "{text}");
        assert!(text.lines().all(|line| crate::text::columns(line) <= 60 || !line.trim().contains(' ')), "{text}");
    }
}
