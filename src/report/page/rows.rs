//! The table of rows: as HTML to read without JavaScript and, for large runs, as data that the page's script shows.

use std::borrow::Cow;
use std::fmt::Write as _;

use maud::{Markup, html};

use super::redact::Veil;
use super::timeline::clock_of;
use crate::model::{Kind, NOT_TOLD, Outcome};
use crate::outcome::ResultRow;
use crate::outcome::results::safe;
use crate::text::{escape_untrusted, grouped};

/// Up to so many rows, all of them are in the HTML.
pub(super) const ALL_IN_HTML: u64 = 5_000;
/// Of a larger run, so many are: first those that are not as requested.
pub(super) const SOME_IN_HTML: u64 = 2_000;
/// Rows that the page holds as data at most: first those that are not as requested.
pub(super) const ALL_AS_DATA: u64 = 250_000;
/// Characters of a message in the table; the results file has all of it.
const SHOWN_MESSAGE: usize = 300;

/// A cell of up to so many characters stays on one line: a date, a ticket. The script knows it, too.
const SHORT: usize = 16;

/// Chooses rows while they pass by: all that are not as requested, as far as there is room, and the first of the others.
#[derive(Debug)]
pub(super) struct Pick {
    bad: u64,
    good: u64,
}

impl Pick {
    /// * `room`: rows that are taken at most.
    /// * `bad`: rows that are not as requested, in all.
    pub(super) fn new(room: u64, bad: u64) -> Self {
        let bad = bad.min(room);
        Self { bad, good: room - bad }
    }

    pub(super) fn takes(&mut self, outcome: Outcome) -> bool {
        let left = if outcome.is_success() { &mut self.good } else { &mut self.bad };
        let takes = *left > 0;
        *left -= u64::from(takes);
        takes
    }
}

/// One row, safe to show.
pub(super) struct Shown<'r> {
    line: u64,
    desktop: Cow<'r, str>,
    desktop_id: Cow<'r, str>,
    user: Cow<'r, str>,
    /// What else is known of the user: kind, domain, id.
    user_more: String,
    /// By what he still gets in.
    still: String,
    outcome: Outcome,
    is_in_doubt: bool,
    code: Cow<'r, str>,
    message: String,
    attempts: u32,
    chunk: Cow<'r, str>,
    request_id: Cow<'r, str>,
    job_id: Cow<'r, str>,
    finished_at: Cow<'r, str>,
    /// The list's own columns; none on a page that names nobody, for a cell may name a person in any form.
    own: Vec<Cow<'r, str>>,
}

/// How the marks of a row that can be filtered by are called; its outcome is one, too.
pub(super) const NOT_AS_REQUESTED: &str = "bad";
pub(super) const STILL_IN: &str = "still";
pub(super) const IN_DOUBT: &str = "doubt";

/// By what somebody still gets in, in words; nothing where he does not.
pub(super) fn still_words(still_via: &str) -> String {
    let known = still_via.strip_suffix(NOT_TOLD).unwrap_or(still_via).trim_end_matches(';').replace(';', "; ");
    match (known.is_empty(), still_via.ends_with(NOT_TOLD)) {
        (true, true) => "may still get in: not everything could be read".to_owned(),
        (true, false) => String::new(),
        (false, true) => format!("still gets in by {known}; perhaps by more: not everything could be read"),
        (false, false) => format!("still gets in by {known}"),
    }
}

impl<'r> Shown<'r> {
    pub(super) fn new(row: &ResultRow<'r>, veil: &Veil) -> Self {
        let [desktop_id, desktop_name, user_name, user_id, _, kind, domain] = row.cells;
        let result = row.result;
        let (code, message) = result.words();
        let mut more = Vec::new();
        let kind = Kind::parse(kind);
        if let Some(kind) = kind.filter(|kind| *kind != Kind::User) {
            more.push(Cow::Borrowed(kind.as_str()));
        }
        if !domain.is_empty() {
            more.push(veil.text(domain));
        }
        if !user_id.is_empty() && veil.is_open() {
            more.push(safe(user_id));
        }
        let user = if user_name.is_empty() && kind == Some(Kind::All) {
            Cow::Borrowed("everybody")
        } else if user_name.is_empty() {
            veil.user(user_id)
        } else {
            veil.user(user_name)
        };
        Self {
            line: row.line,
            desktop: veil.text(desktop_name),
            desktop_id: safe(desktop_id),
            user,
            user_more: more.join(" · "),
            still: still_words(&escape_untrusted(&veil.text(row.still_via), SHOWN_MESSAGE)),
            outcome: result.outcome,
            is_in_doubt: result.doubt().is_some(),
            code: safe(code),
            message: escape_untrusted(&veil.message(code, message), SHOWN_MESSAGE),
            attempts: result.attempts,
            chunk: safe(&result.part),
            request_id: safe(&result.request_id),
            job_id: safe(&result.job_id),
            finished_at: safe(&result.finished_at),
            own: if veil.is_open() { row.extras.iter().map(|cell| veil.text(cell)).collect() } else { Vec::new() },
        }
    }

    /// What the row can be filtered by, blanks between; its outcome first.
    fn marks(&self) -> String {
        let marks = [
            (!self.outcome.is_success(), NOT_AS_REQUESTED),
            (!self.still.is_empty(), STILL_IN),
            (self.is_in_doubt, IN_DOUBT),
        ];
        let marks = marks.iter().filter(|(is_so, _)| *is_so).map(|(_, mark)| *mark);
        std::iter::once(self.outcome.as_str()).chain(marks).collect::<Vec<_>>().join(" ")
    }

    /// Whether he still gets in, or may.
    pub(super) fn is_still_in(&self) -> bool {
        !self.still.is_empty()
    }

    /// The cells of the list's own columns.
    pub(super) fn own(&self) -> Markup {
        html! { @for cell in &self.own { td.short[cell.chars().count() <= SHORT] { (cell) } } }
    }

    /// The cell of the desktop.
    pub(super) fn desktop(&self) -> Markup {
        let name = if self.desktop.is_empty() { &self.desktop_id } else { &self.desktop };
        let id = if self.desktop.is_empty() { "" } else { &*self.desktop_id };
        html! { td { (name) @if !id.is_empty() { small { (id) } } } }
    }

    /// The cell of the person.
    pub(super) fn person(&self) -> Markup {
        html! {
            td {
                (self.user)
                @if !self.user_more.is_empty() { small { (self.user_more) } }
                @if !self.still.is_empty() { small.still { (self.still) } }
            }
        }
    }

    /// Why it is so, as the program or the service says.
    pub(super) fn reason(&self) -> Markup {
        html! {
            @if !self.code.is_empty() { b { (self.code) } }
            @if !self.message.is_empty() { small { (self.message) } }
        }
    }

    pub(super) fn html(&self) -> Markup {
        html! {
            tr data-o=(self.marks()) {
                th scope="row" { (self.line) }
                (self.desktop())
                (self.person())
                (self.own())
                td { span.o.(class(self.outcome)) { (self.outcome.as_str()) } }
                td.why { (self.reason()) }
                td { (self.attempts) }
                td.sent {
                    @if !self.chunk.is_empty() { "chunk " (self.chunk) }
                    @if !self.request_id.is_empty() { small { "request " (self.request_id) } }
                    @if !self.job_id.is_empty() { small { "job " (self.job_id) } }
                }
                td { @if !self.finished_at.is_empty() { (clock_of(&self.finished_at)) } }
            }
        }
    }

    /// Appends the row as a JSON array; a text that is the one of the row before is `0`.
    ///
    /// Safe within a `script` element: no `<` is in it.
    pub(super) fn data(&self, before: &mut Vec<String>, out: &mut String) {
        _ = write!(out, "[{},{}", self.line, self.attempts);
        let (time, marks) = (clock_of(&self.finished_at), self.marks());
        let cells: [&str; 12] = [
            &marks,
            &self.desktop,
            &self.desktop_id,
            &self.user,
            &self.user_more,
            &self.still,
            &self.code,
            &self.message,
            &self.chunk,
            &self.request_id,
            &self.job_id,
            &time,
        ];
        before.resize(cells.len() + self.own.len(), String::new());
        for (cell, before) in cells.into_iter().chain(self.own.iter().map(AsRef::as_ref)).zip(before) {
            if cell == before {
                out.push_str(",0");
            } else {
                out.push(',');
                push_json(cell, out);
                cell.clone_into(before);
            }
        }
        out.push(']');
    }
}

/// A JSON string that can't end the element it stands in.
fn push_json(text: &str, out: &mut String) {
    let json = serde_json::Value::from(text).to_string();
    for c in json.chars() {
        match c {
            '<' | '>' | '&' => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
}

/// What asks for rows; hidden until the script is there to answer.
///
/// * `kinds`: what can be chosen, as the marks of the rows call it, in words, and how many there are.
pub(super) fn search<'a>(total: u64, kinds: impl Iterator<Item = (&'a str, &'a str, u64)>) -> Markup {
    html! {
        form #search role="search" hidden {
            label for="words" { "Search" }
            input #words type="search" autocomplete="off" spellcheck="false" aria-describedby="hint";
            label for="show" { "Show" }
            select #show {
                option value="" { "all rows (" (grouped(total)) ")" }
                @for (mark, words, rows) in kinds.filter(|(.., rows)| *rows > 0) {
                    option value=(mark) { (words) " (" (grouped(rows)) ")" }
                }
            }
            p #hint { "Any part of a row: a user, a desktop, a code, a message, a line. If you type several words, only rows with all of them are shown." }
        }
        p #count role="status" aria-live="polite" {}
    }
}

/// The buttons that turn the pages of what was found.
pub(super) const PAGER: &str = "<p class=\"pager\" hidden><button type=\"button\" id=\"back\">Previous</button> \
     <button type=\"button\" id=\"forth\">Next</button></p>";

/// The class of the style sheet that colours an outcome.
pub(super) const fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Detached | Outcome::Attached => "done",
        Outcome::AlreadyDetached | Outcome::AlreadyAttached => "was",
        Outcome::Failed => "failed",
        Outcome::Unknown => "unknown",
        Outcome::Invalid => "invalid",
        Outcome::NotDue | Outcome::NotSent | Outcome::Planned => "left",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::RowOutcome;

    fn result(outcome: Outcome, message: &str) -> RowOutcome {
        RowOutcome {
            attempts: 1,
            request_id: "r".to_owned(),
            part: "1".to_owned(),
            finished_at: "2026-11-24T05:16:02.123Z".to_owned(),
            ..RowOutcome::new(outcome, "WKS.1".to_owned(), message.to_owned())
        }
    }

    const EVIL: &str = "</script><script>alert(1)</script><img src=x onerror=\"alert('1')\">&\u{202e}";

    #[test]
    fn p21_no_text_from_outside_becomes_markup() {
        let result = result(Outcome::Failed, EVIL);
        let row = ResultRow { line: 7, cells: [EVIL; 7], result: &result, still_via: EVIL, extras: &[EVIL] };
        let shown = Shown::new(&row, &Veil::Open);
        let html = shown.html().into_string();
        for tag in ["<script", "<img", "\u{202e}"] {
            assert!(!html.contains(tag), "{html}");
        }
        let mut data = String::new();
        shown.data(&mut Vec::new(), &mut data);
        assert!(!data.contains('<') && !data.contains('\u{202e}'), "{data}");
        let back: serde_json::Value = serde_json::from_str(&data).unwrap();
        for at in [3, 5, 14] {
            assert_eq!(back[at], serde_json::Value::from(&*safe(EVIL)), "{at}");
        }
    }

    #[test]
    fn data_leaves_out_what_the_row_before_said() {
        let result = result(Outcome::Detached, "gone");
        let cells = ["d", "n", "u", "", "", "", ""];
        let first = ResultRow { line: 7, cells, result: &result, still_via: "pool:P;?", extras: &["T-1", ""] };
        let cells = ["d", "n", "0", "", "", "GROUP", ""];
        let second = ResultRow { line: 8, cells, still_via: "", extras: &["T-1", "x"], ..first };
        let (mut before, mut out) = (Vec::new(), String::new());
        Shown::new(&first, &Veil::Open).data(&mut before, &mut out);
        Shown::new(&second, &Veil::Open).data(&mut before, &mut out);
        let still = "still gets in by pool:P; perhaps by more: not everything could be read";
        let expected = format!(r#"[7,1,"detached still","n","d","u",0,"{still}",0,0,"1","r",0,"05:16:02","T-1",0]"#)
            + r#"[8,1,"detached",0,0,"0","GROUP","",0,0,0,0,0,0,0,"x"]"#;
        assert_eq!(out, expected);
    }

    #[test]
    fn by_what_somebody_still_gets_in_reads_as_words() {
        assert_eq!(still_words(""), "");
        assert_eq!(still_words("?"), "may still get in: not everything could be read");
        assert_eq!(still_words("desktop:a;pool:b"), "still gets in by desktop:a; pool:b");
    }

    #[test]
    fn where_not_all_fit_those_that_are_not_as_requested_come_first() {
        let mut pick = Pick::new(3, 2);
        let passing = [Outcome::Detached, Outcome::Detached, Outcome::Failed, Outcome::Unknown, Outcome::Invalid];
        assert_eq!(passing.map(|outcome| pick.takes(outcome)), [true, false, true, true, false]);
    }
}
