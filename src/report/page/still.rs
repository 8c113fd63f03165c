//! Who still gets in, for the page of a run and that of its plan.

use maud::{Markup, html};

use super::redact::Veil;
use super::rows::STILL_IN;
use crate::model::StillAccess;
use crate::text::{counted, escape_untrusted};

/// The sentence, and the people by name.
///
/// * `is_plan`: it is what would be.
/// * `rows`: how many rows of the page say it.
pub(super) fn still(found: &StillAccess, veil: &Veil, is_plan: bool, rows: u64) -> Markup {
    let named = u64::try_from(found.examples.len()).unwrap_or(u64::MAX);
    let after = if is_plan { "After this: " } else { "" };
    html! {
        section aria-labelledby="still" {
            h2 #still { "Who still gets in" }
            @if found.is_open() {
                p.verdict.wait { (after) (found.in_words()) "." }
            } @else {
                p.verdict.good { (after) "none of these people, neither by another desktop nor by a group or a pool." }
            }
            @if !found.examples.is_empty() {
                div.scroll tabindex="0" role="region" aria-label="Table of people" {
                    table.plan {
                        caption { "People who still get in, and by what" }
                        thead { tr { @for name in ["Row", "User", "By"] { th scope="col" { (name) } } } }
                        tbody {
                            @for one in &found.examples {
                                tr {
                                    td { "line " (one.line) }
                                    td { (veil.user(&one.user_name)) }
                                    td { (escape_untrusted(&veil.text(&one.still_via), 1_000).replace(';', "; ")) }
                                }
                            }
                        }
                    }
                }
            }
            @if found.people > named {
                p { "And " (counted(found.people - named, "more person", "more people")) "." }
            }
            @if rows > 0 {
                p {
                    "Each of their rows below says it: "
                    a href="#rows" data-show=(STILL_IN) { (counted(rows, "row", "rows")) }
                    "."
                }
            }
            @for why in &found.why { p.note { strong { "Note: " } (escape_untrusted(&veil.text(why), 1_000)) } }
        }
    }
}
