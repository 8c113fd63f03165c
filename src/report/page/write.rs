//! Puts the page together.

use std::io::Write;
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use super::facts::Facts;
use super::redact::Veil;
use super::rows::{ALL_AS_DATA, ALL_IN_HTML, Pick, SOME_IN_HTML, Shown};
use super::sections;
use crate::error::Error;
use crate::journal::{Identity, Progress, View};
use crate::model::{Outcome, tame};
use crate::outcome::Counts;
use crate::outcome::next::Next;
use crate::outcome::text::{counted, grouped};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the journal does not know.
pub struct About<'a> {
    pub journal: &'a Path,
    /// Whether a process is at work on the run.
    pub running: bool,
    /// Show users as salted hashes.
    pub redact: bool,
    /// UTC, RFC 3339.
    pub made_at: &'a str,
    /// What comes next, for a run that stands like this.
    pub next: &'a dyn Fn(&Identity, &Progress, &Counts) -> Next,
}

/// Writes the page of the run, and returns its counts.
///
/// # Errors
/// Those of the journal; what `trouble` makes of an error of `out`.
pub fn write(
    view: &View,
    about: &About<'_>,
    out: &mut dyn Write,
    trouble: &dyn Fn(std::io::Error) -> Error,
) -> Result<Counts, Error> {
    view.still(|view| {
        let facts = Facts::read(view, about.redact)?;
        let counts = *facts.summary.counts();
        let next = (about.next)(&facts.identity, &facts.progress, &counts);
        let mut put = |text: &str| out.write_all(text.as_bytes()).map_err(trouble);
        put(&head(&facts).into_string())?;
        put("<body>")?;
        put(&top(&facts, about).into_string())?;
        put("<main id=\"main\">")?;
        put(&sections::overview(&facts, about.running, &next).into_string())?;
        put(&sections::causes(&facts).into_string())?;
        put(&sections::requests(&facts).into_string())?;
        rows(view, &facts.veil, &counts, &mut put)?;
        put(&sections::identity(&facts, &about.journal.display().to_string()).into_string())?;
        put("</main>")?;
        put(&bottom(about).into_string())?;
        put("</body></html>\n")?;
        Ok(counts)
    })
}

/// What may be loaded: nothing. What may run and style: what is in the page, to the letter.
fn policy() -> String {
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; base-uri 'none'; form-action 'none'",
        base64(&Sha256::digest(STYLE)),
        base64(&Sha256::digest(SCRIPT))
    )
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let group = (0..3).fold(0_u32, |group, n| group << 8 | u32::from(three.get(n).copied().unwrap_or_default()));
        for n in 0..4_usize {
            let digit = DIGITS[(group >> (18 - 6 * n) & 63) as usize];
            text.push(if n <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

fn title(facts: &Facts) -> String {
    let input = &facts.identity.input_path;
    let name = Path::new(input).file_name().map_or_else(|| input.clone(), |name| name.to_string_lossy().into_owned());
    format!("{} {}: {}", sections::kind(facts), tame(&facts.identity.run_id, 40), tame(&facts.veil.text(&name), 200))
}

fn head(facts: &Facts) -> Markup {
    html! {
        (DOCTYPE)
        (PreEscaped("<html lang=\"en\">"))
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(policy());
            meta name="referrer" content="no-referrer";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="robots" content="noindex";
            title { (title(facts)) }
            // A browser would ask the server for an icon by itself.
            link rel="icon" href="data:,";
            style { (PreEscaped(STYLE)) }
        }
    }
}

fn top(facts: &Facts, about: &About<'_>) -> Markup {
    let identity = &facts.identity;
    let state = sections::state(facts, about.running);
    html! {
        a.skip href="#main" { "Skip to the report" }
        header {
            p.product { "batch-detach" @if identity.endpoint == "simulator" { " " span.badge { "simulated" } } @if about.redact { " " span.badge { "redacted" } } }
            h1 { (title(facts)) }
            p.facts {
                span.badge.state { (state) }
                " planned " (sections::time(&identity.created_at))
                @if !about.redact { " by " (facts.veil.user(&identity.operator)) " on " (facts.veil.text(&identity.host)) }
                @if let Some(ticket) = &identity.ticket { " for ticket " strong { (facts.veil.text(ticket)) } }
            }
            nav aria-label="Sections" {
                ul {
                    li { a href="#overview" { "What happened" } }
                    @if !facts.summary.causes().is_empty() { li { a href="#causes" { "Why, and what to do" } } }
                    li { a href="#requests" { "Requests" } }
                    li { a href="#rows" { "Rows" } }
                    li { a href="#identity" { "Which run this is" } }
                }
            }
        }
    }
}

fn bottom(about: &About<'_>) -> Markup {
    html! {
        footer {
            p {
                "Made by batch-detach " (env!("CARGO_PKG_VERSION")) " on " (sections::time(about.made_at)) " from the run's journal alone. "
                "This page loads nothing and asks nobody."
                @if about.redact {
                    " Users are shown as hashes; the salt was made for this page and kept nowhere, so the same user has another hash on another page."
                }
            }
        }
        script { (PreEscaped(SCRIPT)) }
    }
}

/// The section of the rows, written as they are read.
fn rows(
    view: &View,
    veil: &Veil,
    counts: &Counts,
    put: &mut impl FnMut(&str) -> Result<(), Error>,
) -> Result<(), Error> {
    let total = counts.total();
    let bad = total - counts.successes();
    let as_data = total > ALL_IN_HTML;
    let in_html = if as_data { SOME_IN_HTML } else { ALL_IN_HTML };
    put(&rows_head(counts, as_data, in_html, bad).into_string())?;
    let mut pick = Pick::new(in_html, bad);
    view.for_each_result(|row| {
        if pick.takes(row.outcome) { put(&Shown::new(&row, veil).html().into_string()) } else { Ok(()) }
    })?;
    put("</tbody></table></div>")?;
    if as_data {
        put("<script type=\"application/json\" id=\"rows-data\">[")?;
        let (mut pick, mut before, mut text, mut first) =
            (Pick::new(ALL_AS_DATA, bad), Default::default(), String::new(), true);
        view.for_each_result(|row| {
            if !pick.takes(row.outcome) {
                return Ok(());
            }
            text.clear();
            if !std::mem::take(&mut first) {
                text.push_str(",\n");
            }
            Shown::new(&row, veil).data(&mut before, &mut text);
            put(&text)
        })?;
        put("]</script>")?;
    }
    put("<p class=\"pager\" hidden><button type=\"button\" id=\"back\">Previous</button> \
         <button type=\"button\" id=\"forth\">Next</button></p></section>")
}

fn rows_head(counts: &Counts, as_data: bool, in_html: u64, bad: u64) -> Markup {
    let total = counts.total();
    let columns = ["Line", "Desktop", "User", "Outcome", "Why", "Writes", "Request", "Finished (UTC)"];
    html! {
        (PreEscaped("<section aria-labelledby=\"rows\">"))
        h2 #rows { "Rows" }
        form #search role="search" hidden {
            label for="words" { "Search" }
            input #words type="search" autocomplete="off" spellcheck="false" aria-describedby="hint";
            label for="show" { "Show" }
            select #show {
                option value="" { "all rows (" (grouped(total)) ")" }
                @if bad > 0 && bad < total { option value="bad" { "not as wanted (" (grouped(bad)) ")" } }
                @for (outcome, rows) in counts.iter().filter(|(_, rows)| *rows > 0) {
                    option value=(outcome.as_str()) { (outcome) " (" (grouped(rows)) ")" }
                }
            }
            p #hint { "Part of a user, a desktop, a code, a message, a line or a request; several words must all be there." }
        }
        p #count role="status" aria-live="polite" {}
        @if as_data {
            p.note #partly {
                "Without JavaScript this table shows " (counted(in_html, "row", "rows")) " of " (grouped(total))
                @if bad > in_html { ", the first of those that are not as wanted" } @else if bad > 0 { ", all that are not as wanted among them" }
                ". The results file has every row."
            }
        }
        @if total > ALL_AS_DATA {
            p.note {
                "This page holds " (grouped(ALL_AS_DATA)) " of " (grouped(total)) " rows, those that are not as wanted first. The results file has every row."
            }
        }
        (PreEscaped("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Rows\"><table id=\"table\" class=\"rows\">"))
        caption { "Rows of the input with their outcomes, in input order" }
        thead { tr { @for column in columns { th scope="col" { (column) } } } }
        (PreEscaped(format!("<tbody data-outcomes=\"{}\">", Outcome::ALL.map(Outcome::as_str).join(" "))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_everybody() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xfe]), "+//+");
    }

    #[test]
    fn nothing_in_style_or_script_reaches_out_or_ends_its_element() {
        for text in [STYLE, SCRIPT] {
            for word in ["</", "http:", "https:", "url(", "@import", "fetch", "XMLHttp", "innerHTML", "eval"] {
                assert!(!text.contains(word), "{word}");
            }
        }
    }
}
