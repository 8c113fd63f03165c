//! The sections of the page, but for its rows.

use maud::{Markup, html};

use super::chart;
use super::facts::{Facts, to_u64};
use super::redact::Veil;
use super::rows::{IN_DOUBT, class};
use super::timeline::{Strip, date_of};
use crate::api::{action_on, advice as api_advice};
use crate::journal::Identity;
use crate::model::Class;
use crate::model::Outcome;
use crate::outcome::next::Next;
use crate::outcome::summary::{Cause, Place, words_of};
use crate::text::escape_untrusted;
use crate::text::{counted, grouped, size, spell_duration, spell_rate};

/// Causes that are told one by one; the table of rows has them all.
const SHOWN_CAUSES: usize = 30;
/// Processes that get a picture of their own: the latest.
const SHOWN_STRIPS: usize = 4;
/// Processes in the table: the latest.
const SHOWN_PROCESSES: usize = 50;

/// Where a run stands, in one word.
pub(super) fn state(facts: &Facts, running: bool) -> &'static str {
    match (running, facts.progress.finished) {
        (true, _) => "going on",
        (false, true) => "finished",
        (false, false) => "stopped",
    }
}

/// `run` or `undo`.
pub(super) fn kind(facts: &Facts) -> &'static str {
    if facts.identity.class == Class::BatchAttach { "Undo" } else { "Run" }
}

fn verdict(facts: &Facts, running: bool) -> (String, &'static str) {
    let counts = facts.summary.counts();
    let (total, good, open) = (counts.total(), counts.successes(), facts.progress.open());
    let rows = counted(total, "row", "rows");
    if running {
        let done = grouped(total.saturating_sub(open));
        return (format!("The run is going on: {done} of {rows} have their outcome."), "wait");
    }
    if !facts.progress.finished {
        let left = counted(open, "row is open", "rows are open");
        return (format!("The run stopped before its end: {left} of {rows}."), "wait");
    }
    let in_doubt = facts.rows_in_doubt();
    if good == total && in_doubt > 0 {
        let doubt = counted(in_doubt, "of them is in doubt", "of them are in doubt");
        return (format!("All {rows} are as requested, but {doubt}: please check."), "wait");
    }
    if good == total && facts.summary.missing() > 0 {
        return (
            format!("All {rows} are as requested, but the list is much shorter than the last one: please check."),
            "wait",
        );
    }
    if good == total {
        return (format!("All is as requested: {rows} of {}.", grouped(total)), "good");
    }
    let doubt = if in_doubt > 0 { format!(" ({} of them in doubt)", grouped(in_doubt)) } else { String::new() };
    let (good, bad) = (grouped(good), grouped(total - good));
    (format!("The run has ended: {good} of {rows} are as requested{doubt}, {bad} not."), "bad")
}

/// In whose account the run works, as far as the page may tell.
pub(super) fn account(facts: &Facts) -> Markup {
    let (identity, veil) = (&facts.identity, &facts.veil);
    let caller = &identity.caller;
    // It may be the name of a person: that of the IAM user.
    let credentials = Some(caller.credentials.as_str()).filter(|text| !text.is_empty() && veil.is_open());
    let facts = [
        ("project", Some(caller.project(&identity.project_id))),
        ("region", identity.region.clone()),
        ("credentials", credentials.map(str::to_owned)),
        ("agency", caller.agency.as_ref().map(ToString::to_string)),
    ];
    html! {
        p.facts {
            @for (n, (label, text)) in facts.iter().filter_map(|(label, text)| Some((label, text.as_ref()?))).enumerate() {
                @if n > 0 { " · " }
                (label) " " (veil.text(text))
            }
        }
    }
}

/// What happened, at a glance.
pub(super) fn overview(facts: &Facts, running: bool, next: &Next) -> Markup {
    let counts = facts.summary.counts();
    let total = counts.total().max(1);
    let (verdict, mood) = verdict(facts, running);
    let identity = &facts.identity;
    html! {
        section aria-labelledby="overview" {
            h2 #overview { "What happened" }
            p.verdict.(mood) { (verdict) }
            @if facts.people.total() > 0 && identity.class == Class::BatchDetach {
                h3 { (counted(facts.people.total(), "person", "people")) }
                (chart::people(&facts.people, facts.progress.still.is_some()))
                h3 { (counted(counts.total(), "row", "rows")) }
            }
            (chart::outcomes(counts))
            ul.tiles {
                @for (outcome, rows) in counts.iter().filter(|(_, rows)| *rows > 0) {
                    li.tile.(class(outcome)) {
                        a href="#rows" data-show=(outcome.as_str()) {
                            span.name { (outcome) } b { (grouped(rows)) } " " span.share { (share(rows, total)) }
                        }
                        small { (words_of(outcome, facts.summary.is_verified())) }
                    }
                }
            }
            p.sum { (counts) }
            p {
                "The list is " i { (facts.veil.text(&identity.input_path)) } ". To do it, the plan had "
                (counted(facts.progress.chunks, "request", "requests")) " for "
                (counted(facts.desktops, "desktop", "desktops")) "."
            }
            @for note in identity.notes.iter().chain(&identity.warnings) {
                p.note { strong { "Note: " } (facts.veil.text(note)) }
            }
            @if facts.progress.canary == Some(false) {
                p.note { strong { "Note: " } "The canary failed: nothing more of this run is sent." }
            }
            (next_step(next, &facts.veil))
        }
    }
}

/// What to do now, and the command for it.
pub(super) fn next_step(next: &Next, veil: &Veil) -> Markup {
    html! {
        div.next {
            p { (escape_untrusted(&next.words, 1_000)) }
            @if let Some(line) = next.line() { pre tabindex="0" { code { (veil.text(&line)) } } }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share for people")]
fn share(rows: u64, total: u64) -> String {
    let percent = rows as f64 / total as f64 * 100.0;
    match rows {
        _ if rows == total => "100 %".to_owned(),
        _ if percent < 0.1 => "< 0.1 %".to_owned(),
        _ if percent > 99.9 => "> 99.9 %".to_owned(),
        _ => format!("{percent:.1} %"),
    }
}

/// Why rows count as done and may not be what was meant.
pub(super) fn doubts(facts: &Facts) -> Markup {
    let (doubts, rows, missing) = (facts.summary.doubts(), facts.rows_in_doubt(), facts.summary.missing());
    if rows == 0 && missing == 0 {
        return html! {};
    }
    html! {
        section aria-labelledby="doubts" {
            h2 #doubts { "Rows in doubt" }
            @if missing > 0 {
                p.note {
                    "This list has " (counted(missing, "row", "rows")) " less than the last one. Please check that it is complete."
                }
            }
            @if rows > 0 {
                p {
                    a href="#rows" data-show=(IN_DOUBT) { (counted(rows, "row", "rows")) }
                    " of the list: done, but perhaps somebody else was meant. Please check."
                }
                ol.causes {
                    @for one in doubts { (cause(facts, one)) }
                }
            }
        }
    }
}

/// Why rows are not as requested, and what to do.
pub(super) fn causes(facts: &Facts) -> Markup {
    let causes = facts.summary.causes();
    if causes.is_empty() {
        return html! {};
    }
    html! {
        section aria-labelledby="causes" {
            h2 #causes { "Why, and what to do" }
            ol.causes {
                @for one in causes.iter().take(SHOWN_CAUSES) { (cause(facts, one)) }
            }
            @if let Some(rest) = causes.get(SHOWN_CAUSES..).filter(|rest| !rest.is_empty()) {
                p {
                    "and " (counted(rest.iter().map(|cause| cause.rows).sum(), "row", "rows")) " of "
                    (counted(to_u64(rest.len()), "more group", "more groups")) ": see the table of rows."
                }
            }
        }
    }
}

fn cause(facts: &Facts, cause: &Cause) -> Markup {
    let what_to_do = cause.advice(&|code, message| action_on(code, message).map(str::to_owned));
    let meaning = api_advice(&cause.code, None).map(|advice| advice.meaning);
    let more = cause.rows.saturating_sub(to_u64(cause.examples.len()));
    html! {
        li.cause.(class(cause.outcome)) {
            h3 {
                span.o.(class(cause.outcome)) { (cause.outcome) } " " (counted(cause.rows, "row", "rows"))
                @if !cause.code.is_empty() { " " code { (escape_untrusted(&cause.code, 80)) } }
            }
            @if let Some(meaning) = meaning.filter(|_| cause.outcome == Outcome::Failed) { p { (capital(meaning)) "." } }
            @if !cause.message.is_empty() {
                p.message {
                    (escape_untrusted(&facts.veil.message(&cause.code, &cause.message), 400))
                    @if cause.varied { " (the message varies)" }
                }
            }
            @if let Some(text) = what_to_do { p { strong { "What to do: " } (capital(&text)) @if !text.ends_with('.') { "." } } }
            p.examples {
                @for (n, place) in cause.examples.iter().enumerate() { @if n > 0 { "; " } (example(facts, place)) }
                @if more > 0 { "; and " (grouped(more)) " more" }
            }
        }
    }
}

fn example(facts: &Facts, place: &Place) -> Markup {
    let user = match (place.kind.to_ascii_uppercase().as_str(), place.user_name.as_str()) {
        ("ALL", _) => "everybody".into(),
        (_, "") => "(no user)".into(),
        (_, name) => facts.veil.user(name),
    };
    let name = if place.desktop_name.is_empty() { &place.desktop_id } else { &place.desktop_name };
    html! { "line " (place.line) ": " (user) @if !name.is_empty() { " on " (facts.veil.text(name)) } }
}

/// A text of ours as a sentence.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// The requests: how many, how fast, how they ended.
pub(super) fn requests(facts: &Facts) -> Markup {
    let work = &facts.work;
    let strips = work.strips(&facts.processes);
    html! {
        section aria-labelledby="requests" {
            h2 #requests { "Requests" }
            @if work.count() == 0 {
                p { "No write was sent." }
            } @else {
                @let (first, technical) = figures(facts, &strips);
                (first)
                (chart::legend(work, &strips))
                @let skipped = strips.len().saturating_sub(SHOWN_STRIPS);
                @if skipped > 0 { p { "Pictures of the latest " (SHOWN_STRIPS) " processes that wrote; " (skipped) " before them are left out." } }
                @for strip in strips.iter().skip(skipped) {
                    @if strips.len() > 1 { h3 { "Process " (strip.process + 1) } }
                    figure {
                        (chart::timeline(strip, strip.process + 1))
                        details { summary { "These figures as a table" } (chart::timeline_table(strip)) }
                    }
                }
                details {
                    summary { "Technical details" }
                    (technical)
                    @if !work.latency.is_empty() {
                        h3 { "How long the answers took" }
                        figure {
                            (chart::latencies(work))
                            details { summary { "These figures as a table" } (chart::latencies_table(work)) }
                        }
                    }
                    (tallies(facts))
                }
            }
            @if work.count() == 0 && !facts.progress.requests.is_empty() {
                details { summary { "Technical details" } (tallies(facts)) }
            }
        }
    }
}

/// The figures that matter, one a box; those for everybody, and those for whoever knows the API.
fn figures(facts: &Facts, strips: &[Strip]) -> (Markup, Markup) {
    let work = &facts.work;
    let throttled = work.ends[super::timeline::end_of(Some(crate::journal::AnswerKind::Throttled))];
    let held: std::time::Duration = strips.iter().map(|strip| strip.held().0).sum();
    let longest = strips.iter().map(|strip| strip.held().1).max().unwrap_or_default();
    let ceiling = strips.last().and_then(|strip| strip.per_minute);
    let quantile = |of: f64| milliseconds(work.latency.value_at_quantile(of));
    let first = html! {
        dl.figures {
            div { dt { "Requests sent" } dd { (grouped(work.count())) } }
            @if let Some(ceiling) = ceiling { div { dt { "At most" } dd { (spell_rate(ceiling / 60.0)) } } }
        }
    };
    let technical = html! {
        dl.figures {
            div { dt { "Bodies" } dd { (size(work.bytes)) } }
            div { dt { "Answered 429" } dd { (grouped(throttled)) } }
            @if throttled > 0 {
                div { dt { "Paused by 429s" } dd { (spell_duration(held)) } }
                div { dt { "Longest" } dd { (spell_duration(longest)) } }
            }
            @if !work.latency.is_empty() {
                div { dt { "Answer time, median" } dd { (quantile(0.5)) } }
                div { dt { "90 % within" } dd { (quantile(0.9)) } }
                div { dt { "99 % within" } dd { (quantile(0.99)) } }
                div { dt { "Slowest" } dd { (milliseconds(work.latency.max())) } }
            }
        }
    };
    (first, technical)
}

fn milliseconds(ms: u64) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { spell_duration(std::time::Duration::from_millis(ms)) }
}

/// Reads and writes by class, as the processes counted them, and writes by status.
fn tallies(facts: &Facts) -> Markup {
    let requests = &facts.progress.requests;
    let mut ends: Vec<&str> = requests.keys().map(|(_, word)| word.as_str()).collect();
    // What started is the sum of the others, and comes first.
    ends.sort_unstable_by_key(|word| (*word != "started", *word != "ok", *word));
    ends.dedup();
    let seen = |class: Class| requests.keys().any(|(of, _)| *of == class);
    html! {
        @if !requests.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Requests by class" {
                table {
                    caption { "Requests by class and by what became of them, as counted by the processes that ended normally" }
                    thead { tr { th scope="col" { "Class" } @for end in &ends { th.num scope="col" { (escape_untrusted(&end.replace('_', " "), 40)) } } } }
                    tbody {
                        @for class in Class::ALL.into_iter().filter(|class| seen(*class)) {
                            tr {
                                th scope="row" { (class.as_str()) }
                                @for end in &ends {
                                    td.num { (grouped(requests.get(&(class, (*end).to_owned())).copied().unwrap_or_default())) }
                                }
                            }
                        }
                    }
                }
            }
        }
        @if !facts.work.statuses.is_empty() {
            table {
                caption { "Answers to writes by HTTP status" }
                thead { tr { th scope="col" { "Status" } th.num scope="col" { "Answers" } } }
                tbody {
                    @for (status, answers) in &facts.work.statuses {
                        tr {
                            th scope="row" { @match status { Some(status) => (status), None => "no complete answer" } }
                            td.num { (grouped(*answers)) }
                        }
                    }
                }
            }
        }
    }
}

/// What the run is: all that tells it from any other.
pub(super) fn identity(facts: &Facts, journal: &str) -> Markup {
    let (identity, veil) = (&facts.identity, &facts.veil);
    let operator = veil.user(&identity.operator);
    html! {
        section aria-labelledby="identity" {
            h2 #identity { "Which run this is" }
            dl.identity {
                dt { "Run" } dd { code { (escape_untrusted(&identity.run_id, 40)) } ", " (kind(facts).to_lowercase()) }
                @if let Some(ticket) = &identity.ticket { dt { "Ticket" } dd { (veil.text(ticket)) } }
                dt { "Input" } dd { (veil.text(&identity.input_path)) }
                dt { "Input SHA-256" } dd { code { (escape_untrusted(&identity.input_sha256, 128)) } }
                dt { "Plan hash" } dd { code { (escape_untrusted(&identity.plan_hash, 128)) } }
                dt { "Endpoint" } dd { (veil.text(&identity.endpoint)) }
                dt { "Project" } dd { (veil.text(&identity.caller.project(&identity.project_id))) }
                @if let Some(region) = &identity.region { dt { "Region" } dd { (veil.text(region)) } }
                // It may be the name of a person: that of the IAM user.
                @if !identity.caller.credentials.is_empty() && veil.is_open() {
                    dt { "Credentials" } dd { (veil.text(&identity.caller.credentials)) }
                }
                @if let Some(agency) = &identity.caller.agency { dt { "Agency" } dd { (veil.text(&agency.to_string())) } }
                dt { "Planned" } dd { (time(&identity.created_at)) }
                dt { "Operator" } dd { (operator) " on " (veil.text(&identity.host)) }
                @if let Some(undone) = &identity.undo_of { dt { "Undoes" } dd { (veil.text(undone)) } }
                dt { "Journal" } dd { (veil.text(journal)) }
                dt { "Version" } dd { "batch-detach " (escape_untrusted(&identity.program_version, 40)) }
            }
            (processes(facts))
            (plan_settings(identity, veil))
        }
    }
}

/// The settings that the plan's hash covers, as they were.
pub(super) fn plan_settings(identity: &Identity, veil: &Veil) -> Markup {
    html! {
        details {
            summary { "Settings that shaped the plan" }
            table {
                caption { "Settings that shaped the plan" }
                thead { tr { th scope="col" { "Setting" } th scope="col" { "Value" } } }
                tbody {
                    @for (name, value) in &identity.plan_settings {
                        tr { th scope="row" { (escape_untrusted(name, 80)) } td { (veil.text(value)) } }
                    }
                }
            }
        }
    }
}

fn processes(facts: &Facts) -> Markup {
    let skipped = facts.processes.len().saturating_sub(SHOWN_PROCESSES);
    html! {
        @if !facts.processes.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Processes" {
                table {
                    caption {
                        "Processes of this run"
                        @if skipped > 0 { " (the latest " (SHOWN_PROCESSES) " of " (facts.processes.len()) ")" }
                    }
                    thead { tr { th scope="col" { "No." } th scope="col" { "Started" } th scope="col" { "Ended" } th scope="col" { "Exit code" } th scope="col" { "Why it ended" } } }
                    tbody {
                        @for (n, process) in facts.processes.iter().enumerate().skip(skipped) {
                            tr {
                                th scope="row" { (n + 1) }
                                td { @if process.started_at.is_empty() { "before the start was on record" } @else { (time(&process.started_at)) } }
                                @if let Some(stopped) = &process.stopped {
                                    td { (time(&stopped.at)) }
                                    td { (stopped.exit) }
                                    td { @if stopped.reason.is_empty() { "ended normally" } @else { (facts.veil.text(&escape_untrusted(&stopped.reason, 300))) } }
                                } @else {
                                    td { "–" }
                                    td { "–" }
                                    td { "no end recorded: still running, or killed" }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A time on record, for people and for programs.
pub(super) fn time(at: &str) -> Markup {
    html! { time datetime=(escape_untrusted(at, 40)) { (escape_untrusted(&date_of(at), 40)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_never_claim_all_or_nothing_falsely() {
        for (rows, total, text) in
            [(1, 1, "100 %"), (1, 100_000, "< 0.1 %"), (99_999, 100_000, "> 99.9 %"), (59, 61, "96.7 %")]
        {
            assert_eq!(share(rows, total), text);
        }
    }

    #[test]
    fn times_are_told_in_units_that_matter() {
        assert_eq!([milliseconds(7), milliseconds(1_240)], ["7 ms", "1.2 s"]);
    }
}
