//! The summary of a run: how many rows came to which end, why, and what to do now.

use std::time::Duration;

use anstyle::{AnsiColor, Style};
use schemars::{JsonSchema, Schema};
use serde::Serialize;

use crate::error::Exit;
use crate::journal::{Identity, RowOutcome};
use crate::model::{Caller, Class, Doubt, Outcome, StillAccess};
use crate::outcome::advice::advice;
use crate::outcome::counts::Counts;
use crate::outcome::next::{Next, meaning};
use crate::outcome::results::{ResultRow, safe};
use crate::text::{BOLD, DIM, Page, counted, escape_untrusted, grouped, serialized, spell_duration};

/// Rises when a key of the JSON summary changes its meaning or goes.
pub(crate) const FORMAT: u32 = 1;

/// Causes that are told apart; rows of further ones are counted together, so that an endless variety of codes
/// can't fill the memory.
const MAX_CAUSES: usize = 200;
/// Rows that are named for each cause.
const MAX_EXAMPLES: usize = 3;
/// Causes that the screen shows; the results file has them all.
const SHOWN_CAUSES: usize = 12;
/// People who still get in that the screen shows.
const SHOWN_STILL: usize = 5;
/// Characters of a message on the screen.
const SHOWN_MESSAGE: usize = 300;
/// Of a run against the simulator, for whoever reads no more than the top.
pub(crate) const SIMULATED: &str = "This was a simulation: nothing real was changed.";
/// The code of the rows that came after [`MAX_CAUSES`].
const OTHER_CODES: &str = "(other codes)";

/// Why some rows are not as requested: those of one outcome and one code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cause {
    pub outcome: Outcome,
    pub code: String,
    /// The first row's message.
    pub message: String,
    /// Whether some rows said it in other words (often only another desktop's id).
    pub varied: bool,
    /// Whether all of them name the same state, or none.
    pub one_state: bool,
    pub rows: u64,
    pub examples: Vec<Place>,
}

/// One row, as a person finds it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Place {
    pub line: u64,
    pub desktop_id: String,
    pub desktop_name: String,
    pub user_name: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// Is fed every row of the results, in any order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Summary {
    counts: Counts,
    attempts: u64,
    causes: Vec<Cause>,
    /// Why rows that count as done may not be what was meant.
    doubts: Vec<Cause>,
    /// Rows that count as done at the service's word alone.
    unproved: u64,
    /// How many rows more the last list had, where this one is much shorter.
    missing: u64,
}

/// What a summary says besides the rows.
pub(crate) struct SummaryFacts<'a> {
    pub identity: &'a Identity,
    /// As it was named on the command line.
    pub input: &'a str,
    pub results: Option<&'a str>,
    pub journal: Option<&'a str>,
    pub exit: Exit,
    /// Why the run stopped before its end.
    pub stopped: Option<&'a str>,
    /// Records that the results must have (P1); checked against the rows that were absorbed.
    pub expected_rows: Option<u64>,
    /// Whether people are told the requests, too (`-v`); scripts always are.
    pub details: bool,
    /// Requests of the whole run by class and by what became of them, as the journal counts them.
    pub requests: &'a [(Class, String, u64)],
    /// Of this process.
    pub took: Duration,
    /// Who still gets in, where that was looked for.
    pub still: Option<&'a StillAccess>,
    /// What the operator should know though no row says it: a cut-off file.
    pub warnings: &'a [String],
    pub next: &'a Next,
    /// Advice for the API's codes and messages.
    pub advice: &'a dyn Fn(&str, &str) -> Option<String>,
}

impl Summary {
    /// Of a run none of whose rows is counted yet.
    pub(crate) fn of(identity: &Identity) -> Self {
        Self { missing: identity.missing_rows, ..Self::default() }
    }

    /// Counts one row and keeps why it is not as requested.
    pub(crate) fn absorb(&mut self, row: &ResultRow<'_>) {
        let result = row.result;
        self.counts.add(result.outcome, 1);
        self.attempts += u64::from(result.attempts);
        self.unproved += u64::from(result.outcome.is_success() && result.evidence == RowOutcome::AT_ITS_WORD);
        if result.doubt().is_some() {
            return keep(&mut self.doubts, row);
        }
        if !result.outcome.is_success() && result.outcome != Outcome::Planned {
            keep(&mut self.causes, row);
        }
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether no row counts as done at the service's word alone: each by its own evidence, whatever is set now.
    pub(crate) fn is_verified(&self) -> bool {
        self.unproved == 0
    }

    /// Why rows are not as requested: by outcome in the order of a summary, the most frequent first.
    pub(crate) fn causes(&self) -> Vec<&Cause> {
        sorted(&self.causes)
    }

    /// Why rows that count as done may not be what was meant: the most frequent reason first.
    pub(crate) fn doubts(&self) -> Vec<&Cause> {
        sorted(&self.doubts)
    }

    /// How many rows are in doubt, by kind; those that are not there, too.
    pub(crate) fn rows_in_doubt(&self) -> Vec<(Doubt, u64)> {
        let of_rows = self.doubts().into_iter().filter_map(|cause| Some((Doubt::of_code(&cause.code)?, cause.rows)));
        of_rows.chain((self.missing > 0).then_some((Doubt::ShorterList, self.missing))).collect()
    }

    /// How many rows more the last list had, where this one is much shorter.
    pub(crate) const fn missing(&self) -> u64 {
        self.missing
    }

    /// For people, in lines of at most `width` columns (single long words apart).
    pub(crate) fn human(&self, facts: &SummaryFacts<'_>, width: usize, colour: bool) -> String {
        render(self, facts, width).finish(colour)
    }

    /// For scripts: one object, with a newline at its end.
    ///
    /// # Errors
    /// None in practice: the value has text and numbers only.
    pub(crate) fn json(&self, facts: &SummaryFacts<'_>) -> serde_json::Result<String> {
        let json = JsonSummary {
            format: FORMAT,
            command: facts.identity.command(),
            run: JsonRun::of(facts.identity),
            input: facts.input,
            results: facts.results,
            journal: facts.journal,
            rows: self.counts.total(),
            outcomes: self.counts.iter().filter(|(outcome, rows)| *rows > 0 || !is_rare(*outcome)).map(name).collect(),
            exit_code: facts.exit.code(),
            exit: meaning(facts.exit, false),
            stopped: facts.stopped,
            verified: self.is_verified(),
            attempts: self.attempts,
            requests: facts
                .requests
                .iter()
                .map(|(class, result, count)| JsonRequests { class: class.as_str(), result, count: *count })
                .collect(),
            duration_s: facts.took.as_secs_f64(),
            failures: self
                .causes()
                .into_iter()
                .map(|cause| JsonCause {
                    outcome: cause.outcome,
                    error_code: &cause.code,
                    error_msg: &cause.message,
                    rows: cause.rows,
                    examples: &cause.examples,
                    advice: cause.advice(facts.advice),
                })
                .collect(),
            doubts: self
                .doubts()
                .into_iter()
                .filter_map(JsonDoubt::of)
                .chain(JsonDoubt::missing(self.missing))
                .collect(),
            still_access: facts.still,
            warnings: facts.warnings,
            next: facts.next.line(),
            next_words: &facts.next.words,
        };
        serde_json::to_string_pretty(&json).map(|text| text + "\n")
    }
}

impl Cause {
    /// What to do about it.
    ///
    /// * `api`: as [`advice`] takes it.
    pub(crate) fn advice(&self, api: &dyn Fn(&str, &str) -> Option<String>) -> Option<String> {
        advice(self.outcome, &self.code, if self.one_state { &self.message } else { "" }, api)
    }
}

/// The state that a message names: `status is [HIBERNATED] and …`.
fn state_in(message: &str) -> &str {
    message.split(['[', ']']).nth(1).unwrap_or_default()
}

/// Counts a row under its code.
fn keep(causes: &mut Vec<Cause>, row: &ResultRow<'_>) {
    let result = row.result;
    let (own, message) = (safe(&result.code), safe(&result.message));
    let position = |causes: &[Cause], code: &str| {
        causes.iter().position(|cause| cause.outcome == result.outcome && cause.code == code)
    };
    let found = position(causes, &own);
    let code = if found.is_some() || causes.len() < MAX_CAUSES { &own } else { OTHER_CODES };
    let place = found.or_else(|| position(causes, code)).unwrap_or_else(|| {
        causes.push(Cause {
            outcome: result.outcome,
            code: code.to_owned(),
            message: message.clone().into_owned(),
            varied: false,
            one_state: true,
            rows: 0,
            examples: Vec::new(),
        });
        causes.len() - 1
    });
    let cause = &mut causes[place];
    cause.rows += 1;
    cause.varied |= cause.message != message;
    cause.one_state &= state_in(&cause.message) == state_in(&message);
    if cause.examples.len() < MAX_EXAMPLES {
        cause.examples.push(Place {
            line: row.line,
            desktop_id: safe(row.desktop_id()).into_owned(),
            desktop_name: safe(row.desktop_name()).into_owned(),
            user_name: safe(row.user_name()).into_owned(),
            kind: safe(row.cells[5]).into_owned(),
        });
    }
}

fn sorted(causes: &[Cause]) -> Vec<&Cause> {
    let mut causes: Vec<&Cause> = causes.iter().collect();
    causes.sort_by(|a, b| a.outcome.cmp(&b.outcome).then(b.rows.cmp(&a.rows)).then(a.code.cmp(&b.code)));
    causes
}

/// Outcomes that most runs can't have; a JSON summary names them only where they occur.
const fn is_rare(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Attached | Outcome::AlreadyAttached | Outcome::Planned)
}

fn name((outcome, rows): (Outcome, u64)) -> (&'static str, u64) {
    (outcome.as_str(), rows)
}

/// The schema of a summary's JSON.
pub(crate) fn schema() -> Schema {
    serialized::<JsonSummary<'static>>()
}

/// Which run it is, where it works and as whom: the same keys in every JSON that tells of a run.
#[derive(Serialize, JsonSchema)]
pub(crate) struct JsonRun<'a> {
    run_id: &'a str,
    endpoint: &'a str,
    region: Option<&'a str>,
    project: &'a str,
    caller: &'a Caller,
    ticket: Option<&'a str>,
}

impl<'a> JsonRun<'a> {
    pub(crate) fn of(identity: &'a Identity) -> Self {
        Self {
            run_id: &identity.run_id,
            endpoint: &identity.endpoint,
            region: identity.region.as_deref(),
            project: &identity.project_id,
            caller: &identity.caller,
            ticket: identity.ticket.as_deref(),
        }
    }
}

/// The summary of a run or an undo.
#[derive(Serialize, JsonSchema)]
struct JsonSummary<'a> {
    /// Rises when a key changes its meaning or goes.
    format: u32,
    command: &'a str,
    #[serde(flatten)]
    run: JsonRun<'a>,
    input: &'a str,
    results: Option<&'a str>,
    journal: Option<&'a str>,
    rows: u64,
    outcomes: std::collections::BTreeMap<&'static str, u64>,
    exit_code: u8,
    exit: &'a str,
    stopped: Option<&'a str>,
    verified: bool,
    attempts: u64,
    requests: Vec<JsonRequests<'a>>,
    duration_s: f64,
    failures: Vec<JsonCause<'a>>,
    /// Rows that count as done and may not be what was meant.
    doubts: Vec<JsonDoubt<'a>>,
    /// Who still gets in by something other than what the rows name; `null` where that was not looked for.
    still_access: Option<&'a StillAccess>,
    warnings: &'a [String],
    next: Option<String>,
    next_words: &'a str,
}

#[derive(Serialize, JsonSchema)]
struct JsonRequests<'a> {
    class: &'a str,
    result: &'a str,
    count: u64,
}

#[derive(Serialize, JsonSchema)]
struct JsonCause<'a> {
    outcome: Outcome,
    error_code: &'a str,
    error_msg: &'a str,
    rows: u64,
    examples: &'a [Place],
    advice: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct JsonDoubt<'a> {
    kind: &'static str,
    error_code: &'a str,
    error_msg: &'a str,
    rows: u64,
    examples: &'a [Place],
}

impl<'a> JsonDoubt<'a> {
    /// Of rows that the last list had.
    fn missing(rows: u64) -> Option<Self> {
        let doubt = Doubt::ShorterList;
        (rows > 0).then_some(Self {
            kind: doubt.label(),
            error_code: doubt.code(),
            error_msg: "this list is much shorter than the last one: check that it is complete",
            rows,
            examples: &[],
        })
    }

    fn of(cause: &'a Cause) -> Option<Self> {
        Some(Self {
            kind: Doubt::of_code(&cause.code)?.label(),
            error_code: &cause.code,
            error_msg: &cause.message,
            rows: cause.rows,
            examples: &cause.examples,
        })
    }
}

/// The page for the screen.
fn render(summary: &Summary, facts: &SummaryFacts<'_>, width: usize) -> Page {
    let mut page = Page::new(width);
    let what = match facts.stopped {
        Some(why) => format!("stopped: {}", safe(why)),
        None => meaning(facts.exit, false).to_owned(),
    };
    let (command, run_id) = (capital(facts.identity.command()), &facts.identity.run_id);
    page.paragraph("", &format!("{command} {run_id} of {}: {what}.", safe(facts.input)), BOLD);
    if facts.identity.is_simulated() {
        page.paragraph("", SIMULATED, Style::new());
    }
    page.blank();
    outcomes(&mut page, summary);
    causes(&mut page, summary, facts);
    if let Some(found) = facts.still {
        still(&mut page, found);
    }
    about(&mut page, facts);
    next(&mut page, facts.next);
    if let Some(expected) = facts.expected_rows.filter(|expected| *expected != summary.counts.total()) {
        let fault = format!(
            "The input has {}, but these are accounted for. This is a fault of the program: please report it.",
            counted(expected, "row", "rows")
        );
        page.paragraph("", &fault, style_of(Outcome::Failed));
    }
    let line = summary.counts.to_string();
    page.paragraph("", &line, BOLD);
    page
}

fn outcomes(page: &mut Page, summary: &Summary) {
    let counts = &summary.counts;
    let digits = counts.iter().map(|(_, rows)| grouped(rows).len()).max().unwrap_or(1);
    for (outcome, rows) in counts.iter().filter(|(_, rows)| *rows > 0) {
        let start = format!("  {:>digits$}  {:<16}  ", grouped(rows), outcome.as_str());
        page.labelled(style_of(outcome), &start, words_of(outcome, summary.is_verified()));
    }
}

fn causes(page: &mut Page, summary: &Summary, facts: &SummaryFacts<'_>) {
    for cause in summary.doubts() {
        let what = format!("{}, but in doubt", cause.outcome);
        one_cause(page, cause, &what, style_of(Outcome::Unknown), facts);
    }
    let causes = summary.causes();
    for cause in causes.iter().take(SHOWN_CAUSES) {
        one_cause(page, cause, cause.outcome.as_str(), style_of(cause.outcome), facts);
    }
    if let Some(rest) = causes.get(SHOWN_CAUSES..).filter(|rest| !rest.is_empty()) {
        let rows = rest.iter().map(|cause| cause.rows).sum();
        let line = format!(
            "and {} of {} with other causes: see the columns error_code and error_msg of the results.",
            counted(rows, "row", "rows"),
            counted(u64::try_from(rest.len()).unwrap_or(u64::MAX), "more group", "more groups"),
        );
        page.blank();
        page.paragraph("", &line, Style::new());
    }
}

fn one_cause(page: &mut Page, cause: &Cause, what: &str, style: Style, facts: &SummaryFacts<'_>) {
    page.blank();
    let code = if cause.code.is_empty() { "" } else { ": " };
    let head = format!("{} {what}{code}{}", counted(cause.rows, "row", "rows"), escape_untrusted(&cause.code, 80));
    page.paragraph("", &head, style);
    if !cause.message.is_empty() {
        let more = if cause.varied { " (the message varies)" } else { "" };
        page.paragraph("  ", &format!("{}{more}", escape_untrusted(&cause.message, SHOWN_MESSAGE)), Style::new());
    }
    for example in &cause.examples {
        page.paragraph("  - ", &example.words(), DIM);
    }
    let left = cause.rows.saturating_sub(u64::try_from(cause.examples.len()).unwrap_or(u64::MAX));
    if left > 0 {
        page.paragraph("  - ", &format!("and {} more", grouped(left)), DIM);
    }
    if let Some(advice) = cause.advice(facts.advice) {
        page.paragraph("  ", &format!("What to do: {}", safe(&advice)), Style::new());
    }
}

/// Who still gets in, and by what.
fn still(page: &mut Page, found: &StillAccess) {
    page.blank();
    if !found.is_open() {
        let line = "None of these people still gets in by another desktop, a group or a pool.";
        return page.paragraph("", line, Style::new());
    }
    let rows = if found.people > 0 { format!(" ({})", counted(found.rows, "row", "rows")) } else { String::new() };
    let head = capital(&found.in_words()) + &rows;
    page.paragraph("", &head, style_of(Outcome::Unknown));
    for one in found.examples.iter().take(SHOWN_STILL) {
        let (user, ways) = (safe(&one.user_name), safe(&one.still_via));
        page.paragraph("  - ", &format!("line {}: {user} by {}", one.line, ways.replace(';', "; ")), DIM);
    }
    let shown = u64::try_from(found.examples.len().min(SHOWN_STILL)).unwrap_or(u64::MAX);
    if found.people > shown {
        page.paragraph("  - ", &format!("and {} more", grouped(found.people - shown)), DIM);
    }
    for why in &found.why {
        page.paragraph("  ", &capital(&safe(why)), Style::new());
    }
    if found.people > 0 {
        let advice = "What to do: unbind these desktops, and take the people out of these groups and pools. The column \
                      still_via of the results has all of them.";
        page.paragraph("  ", advice, Style::new());
    }
}

fn about(page: &mut Page, facts: &SummaryFacts<'_>) {
    page.blank();
    for (name, value) in
        [("Results", facts.results), ("Journal", facts.journal), ("Ticket", facts.identity.ticket.as_deref())]
    {
        if let Some(value) = value {
            page.fact(name, &safe(value));
        }
    }
    for class in Class::ALL.into_iter().filter(|_| facts.details) {
        let of_class: Vec<_> = facts.requests.iter().filter(|(each, _, count)| *each == class && *count > 0).collect();
        if of_class.is_empty() {
            continue;
        }
        // What started is the sum; the others say what became of it.
        let (started, results): (Vec<_>, Vec<_>) = of_class.into_iter().partition(|(_, result, _)| result == "started");
        let counted = if started.is_empty() { &results } else { &started };
        let sum: u64 = counted.iter().map(|(_, _, count)| count).sum();
        let parts: Vec<String> =
            results.iter().map(|(_, result, count)| format!("{} {}", grouped(*count), safe(result))).collect();
        page.fact("Requests", &format!("{} {} ({})", grouped(sum), class.as_str(), parts.join(", ")));
    }
    page.fact("Time", &spell_duration(facts.took));
    for warning in facts.warnings {
        page.fact("Note", &safe(warning));
    }
    page.blank();
}

fn next(page: &mut Page, next: &Next) {
    page.paragraph("", &next.words, Style::new());
    if let Some(line) = next.line() {
        page.verbatim(2, &line, BOLD);
    }
    page.blank();
}

impl Place {
    /// `line 12: zhang.san on WIN-FIN-01 (5f0c2a7e-…)`
    fn words(&self) -> String {
        let desktop = match (self.desktop_name.as_str(), self.desktop_id.as_str()) {
            ("", "") => String::new(),
            ("", one) | (one, "") => format!(" on {one}"),
            (name, id) => format!(" on {name} ({id})"),
        };
        let user = match (self.kind.to_ascii_uppercase().as_str(), self.user_name.as_str()) {
            ("ALL", _) => "everybody".to_owned(),
            (_, "") => "(no user)".to_owned(),
            ("GROUP", name) => format!("group {name}"),
            (_, name) => name.to_owned(),
        };
        format!("line {}: {user}{desktop}", self.line)
    }
}

/// What an outcome means, for somebody who sees the word for the first time.
pub(crate) const fn words_of(outcome: Outcome, verified: bool) -> &'static str {
    match (outcome, verified) {
        (Outcome::Detached, true) => "was bound, is not bound now",
        (Outcome::Detached | Outcome::Attached, false) => {
            "the service said that it is done (not read back: --verify off)"
        }
        (Outcome::AlreadyDetached, _) => "was already unbound before this run",
        (Outcome::Attached, true) => "was not bound, is bound now",
        (Outcome::AlreadyAttached, _) => "was already bound before this run",
        (Outcome::NotDue, _) => "its day is still to come; nothing was sent for it",
        (Outcome::Failed, _) => "refused; nothing has changed for these rows",
        (Outcome::Unknown, _) => "sent, but what became of it is not known yet",
        (Outcome::Invalid, _) => "can't be sent: the row is wrong",
        (Outcome::NotSent, _) => "nothing was sent for these rows",
        (Outcome::Planned, _) => "would be sent",
    }
}

const fn style_of(outcome: Outcome) -> Style {
    let colour = match outcome {
        Outcome::Detached | Outcome::AlreadyDetached | Outcome::Attached | Outcome::AlreadyAttached => AnsiColor::Green,
        Outcome::Failed => AnsiColor::Red,
        Outcome::Unknown | Outcome::Invalid | Outcome::NotSent => AnsiColor::Yellow,
        Outcome::NotDue | Outcome::Planned => AnsiColor::Cyan,
    };
    colour.on_default()
}

fn capital(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
