//! The table of rows: as HTML to read without JavaScript and, for large runs, as data that the page's script shows.

use std::borrow::Cow;
use std::fmt::Write as _;

use maud::{Markup, html};

use super::redact::Veil;
use super::timeline::clock_of;
use crate::model::{Kind, Outcome};
use crate::outcome::ResultRow;
use crate::outcome::results::safe;
use crate::text::escape_untrusted;

/// Up to so many rows, all of them are in the HTML.
pub(super) const ALL_IN_HTML: u64 = 5_000;
/// Of a larger run, so many are: first those that are not as wanted.
pub(super) const SOME_IN_HTML: u64 = 2_000;
/// Rows that the page holds as data at most: first those that are not as wanted.
pub(super) const ALL_AS_DATA: u64 = 250_000;
/// Characters of a message in the table; the results file has all of it.
const SHOWN_MESSAGE: usize = 300;

/// Chooses rows while they pass by: all that are not as wanted, as far as there is room, and the first of the others.
#[derive(Debug)]
pub(super) struct Pick {
    bad: u64,
    good: u64,
}

impl Pick {
    /// * `room`: rows that are taken at most.
    /// * `bad`: rows that are not as wanted, in all.
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
    outcome: Outcome,
    code: Cow<'r, str>,
    message: String,
    attempts: u32,
    chunk: Cow<'r, str>,
    request_id: Cow<'r, str>,
    job_id: Cow<'r, str>,
    finished_at: Cow<'r, str>,
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
        if !row.still_via.is_empty() {
            let ways = escape_untrusted(&veil.text(row.still_via), SHOWN_MESSAGE);
            more.push(format!("still gets in by {}", ways.replace(';', "; ")).into());
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
            outcome: result.outcome,
            code: safe(code),
            message: escape_untrusted(&veil.message(code, message), SHOWN_MESSAGE),
            attempts: result.attempts,
            chunk: safe(&result.part),
            request_id: safe(&result.request_id),
            job_id: safe(&result.job_id),
            finished_at: safe(&result.finished_at),
        }
    }

    /// The cell of the desktop.
    pub(super) fn desktop(&self) -> Markup {
        let name = if self.desktop.is_empty() { &self.desktop_id } else { &self.desktop };
        let id = if self.desktop.is_empty() { "" } else { &*self.desktop_id };
        html! { td { (name) @if !id.is_empty() { small { (id) } } } }
    }

    /// The cell of the person.
    pub(super) fn person(&self) -> Markup {
        html! { td { (self.user) @if !self.user_more.is_empty() { small { (self.user_more) } } } }
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
            tr data-o=(self.outcome.as_str()) {
                th scope="row" { (self.line) }
                (self.desktop())
                (self.person())
                td { span.o.(class(self.outcome)) { (self.outcome.as_str()) } }
                td { (self.reason()) }
                td { (self.attempts) }
                td {
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
    pub(super) fn data(&self, before: &mut [String; 10], out: &mut String) {
        let place = Outcome::ALL.iter().position(|outcome| *outcome == self.outcome).unwrap_or_default();
        _ = write!(out, "[{},{place},{}", self.line, self.attempts);
        let time = clock_of(&self.finished_at);
        let cells: [&str; 10] = [
            &self.desktop,
            &self.desktop_id,
            &self.user,
            &self.user_more,
            &self.code,
            &self.message,
            &self.chunk,
            &self.request_id,
            &self.job_id,
            &time,
        ];
        for (cell, before) in cells.into_iter().zip(before) {
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
        let row = ResultRow { line: 7, cells: [EVIL; 7], result: &result, still_via: "", extras: &[] };
        let shown = Shown::new(&row, &Veil::Open);
        let html = shown.html().into_string();
        for tag in ["<script", "<img", "\u{202e}"] {
            assert!(!html.contains(tag), "{html}");
        }
        let mut data = String::new();
        shown.data(&mut Default::default(), &mut data);
        assert!(!data.contains('<') && !data.contains('\u{202e}'), "{data}");
        let back: serde_json::Value = serde_json::from_str(&data).unwrap();
        assert_eq!(back[3], serde_json::Value::from(&*safe(EVIL)));
    }

    #[test]
    fn data_leaves_out_what_the_row_before_said() {
        let result = result(Outcome::Detached, "gone");
        let first =
            ResultRow { line: 7, cells: ["d", "n", "u", "", "", "", ""], result: &result, still_via: "", extras: &[] };
        let second = ResultRow { line: 8, cells: ["d", "n", "0", "", "", "GROUP", ""], ..first };
        let (mut before, mut out) = (Default::default(), String::new());
        Shown::new(&first, &Veil::Open).data(&mut before, &mut out);
        Shown::new(&second, &Veil::Open).data(&mut before, &mut out);
        let expected = r#"[7,0,1,"n","d","u",0,0,0,"1","r",0,"05:16:02"][8,0,1,0,0,"0","GROUP",0,0,0,0,0,0]"#;
        assert_eq!(out, expected);
    }

    #[test]
    fn where_not_all_fit_those_that_are_not_as_wanted_come_first() {
        let mut pick = Pick::new(3, 2);
        let passing = [Outcome::Detached, Outcome::Detached, Outcome::Failed, Outcome::Unknown, Outcome::Invalid];
        assert_eq!(passing.map(|outcome| pick.takes(outcome)), [true, false, true, true, false]);
    }
}
