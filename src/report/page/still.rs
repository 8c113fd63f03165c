//! Who still gets in, for the page of a run and that of its plan.

use maud::{Markup, html};

use super::facts::Facts;
use super::people::{Insider, Undone};
use super::redact::Veil;
use super::rows::STILL_IN;
use super::sections::capital;
use crate::api::action_on;
use crate::model::{Class, NOT_TOLD, StillAccess};
use crate::outcome::advice::advice;
use crate::text::{counted, escape_untrusted};

/// Of a plan: the sentence, and the people by name.
///
/// * `rows`: how many rows of the page say it.
pub(super) fn still(found: &StillAccess, veil: &Veil, rows: u64) -> Markup {
    let named = u64::try_from(found.examples.len()).unwrap_or(u64::MAX);
    let people = found.examples.iter().flat_map(|one| {
        ways(&one.still_via).map(|(by, what_to_do)| line(one.line, veil, &one.user_name, &veil.text(&by), what_to_do))
    });
    html! {
        section aria-labelledby="still" {
            h2 #still { "Who still gets in" }
            @if found.is_open() {
                p.verdict.wait { "After this: " (found.in_words()) "." }
            } @else {
                p.verdict.good { "After this: none of these people, neither by another desktop nor by a group or a pool." }
            }
            @if named > 0 { (table(people)) }
            (rest(found.people.saturating_sub(named), rows))
            (notes(found, veil))
        }
    }
}

/// Whether the page of a run has a section on it.
pub(super) fn is_told(facts: &Facts) -> bool {
    facts.identity.class == Class::BatchDetach && (facts.progress.still.is_some() || facts.people.still_in() > 0)
}

/// Of a run: all who are counted as still in, with the reason, and what to do about it.
pub(super) fn still_in(facts: &Facts) -> Markup {
    if !is_told(facts) {
        return html! {};
    }
    let (people, veil) = (&facts.people, &facts.veil);
    let total = people.still_in();
    let named = u64::try_from(facts.insiders.len()).unwrap_or(u64::MAX);
    let unknown = facts.progress.still.as_ref().map_or(0, |found| found.unknown);
    html! {
        section aria-labelledby="still" {
            h2 #still { "Who still gets in" }
            @if total > 0 {
                p.verdict.wait {
                    (counted(total, "person still gets in", "people still get in"))
                    @match (people.by_else, people.not_done) {
                        (_, 0) => " by something else",
                        (0, _) => ": their own row is not done",
                        (others, undone) => {
                            ": " (others) " by something else, and " (undone) " because their own row is not done"
                        }
                    }
                    "."
                }
            } @else if unknown == 0 {
                p.verdict.good { "None of these people, neither by another desktop nor by a group or a pool." }
            }
            @if unknown > 0 {
                p.note { "For " (counted(unknown, "person", "people")) " it is not fully known whether something else lets them in." }
            }
            @if named > 0 { (table(facts.insiders.iter().flat_map(|one| lines(one, veil)))) }
            (rest(total.saturating_sub(named), facts.rows_still_in))
            @match &facts.progress.still {
                Some(found) => (notes(found, veil)),
                None => p.note { "Nobody has looked yet by what else people get in." },
            }
        }
    }
}

/// A line for each reason why somebody gets in.
fn lines(one: &Insider, veil: &Veil) -> Vec<Markup> {
    let ways =
        ways(&one.still_via).map(|(by, what_to_do)| line(one.line, veil, &one.user, &veil.text(&by), what_to_do));
    let undone = one.undone.iter().map(|row| {
        let Undone { desktop, outcome, code, message, .. } = row;
        let by = format!("their own row is not done: desktop {}, {outcome}", veil.text(desktop));
        let api = |code: &str, message: &str| action_on(code, message).map(str::to_owned);
        let what_to_do = advice(*outcome, code, message, &api).unwrap_or_default();
        line(row.line, veil, &one.user, &by, &(capital(what_to_do.trim_end_matches('.')) + "."))
    });
    ways.chain(undone).collect()
}

fn line(line: u64, veil: &Veil, user: &str, by: &str, what_to_do: &str) -> Markup {
    html! {
        tr {
            td { (line) }
            td { (veil.user(user)) }
            td { (escape_untrusted(by, 1_000)) }
            td { (what_to_do) }
        }
    }
}

/// By what somebody gets in, and what to do about each.
fn ways(still_via: &str) -> impl Iterator<Item = (String, &'static str)> {
    still_via.split(';').filter(|way| !way.is_empty()).map(|way| match way.split_once(':') {
        Some(("desktop", name)) => (format!("another desktop: {name}"), "Unbind this desktop."),
        Some(("group", name)) => (format!("a group: {name}"), "Take the person out of this group."),
        Some(("pool", name)) => (format!("a pool: {name}"), "Take the person out of this pool."),
        _ if way == NOT_TOLD => ("perhaps more: not everything could be read".to_owned(), "See the note below."),
        _ => (way.to_owned(), ""),
    })
}

fn table(people: impl Iterator<Item = Markup>) -> Markup {
    html! {
        table.people {
            caption { "People who still get in, by what, and what to do" }
            thead { tr { @for name in ["Line", "User", "By", "What to do"] { th scope="col" { (name) } } } }
            tbody { @for one in people { (one) } }
        }
    }
}

/// Those who are not named, and where the rows are.
fn rest(people: u64, rows: u64) -> Markup {
    html! {
        @if people > 0 { p { "And " (counted(people, "more person", "more people")) "." } }
        @if rows > 0 {
            p {
                "In the table of rows, those of people who still get in by something else are marked: "
                a href="#rows" data-show=(STILL_IN) { "show " (counted(rows, "row", "rows")) }
                "."
            }
        }
    }
}

/// Why it could not be told.
fn notes(found: &StillAccess, veil: &Veil) -> Markup {
    html! {
        @for why in &found.why { p.note { strong { "Note: " } (escape_untrusted(&veil.text(why), 1_000)) } }
    }
}
