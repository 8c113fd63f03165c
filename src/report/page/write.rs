//! Puts the page together.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use maud::{Markup, PreEscaped, html};

use super::facts::Facts;
use super::frame::{head, tail};
use super::rows::{self, ALL_AS_DATA, ALL_IN_HTML, PAGER, Pick, SOME_IN_HTML, Shown};
use super::sections;
use super::still::{is_told, still_in};
use crate::error::Error;
use crate::journal::{Identity, Progress, View};
use crate::outcome::Counts;
use crate::outcome::next::Next;
use crate::outcome::summary::SIMULATED;
use crate::text::escape_untrusted;
use crate::text::{counted, grouped};

/// What the journal does not know.
pub(crate) struct About<'a> {
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
pub(crate) fn write(
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
        put(&head(&title(&facts)).into_string())?;
        put("<body>")?;
        put(&top(&facts, about).into_string())?;
        put("<main id=\"main\">")?;
        put(&sections::overview(&facts, about.running, &next).into_string())?;
        put(&still_in(&facts).into_string())?;
        put(&sections::doubts(&facts).into_string())?;
        put(&sections::causes(&facts).into_string())?;
        put(&sections::requests(&facts).into_string())?;
        rows(view, &facts, &mut put)?;
        put(&sections::identity(&facts, &about.journal.display().to_string()).into_string())?;
        put("</main>")?;
        put(&bottom(about).into_string())?;
        put(&tail().into_string())?;
        Ok(counts)
    })
}

fn title(facts: &Facts) -> String {
    let input = &facts.identity.input_path;
    let name = Path::new(input).file_name().map_or_else(|| input.clone(), |name| name.to_string_lossy().into_owned());
    format!(
        "{} {}: {}",
        sections::kind(facts),
        escape_untrusted(&facts.identity.run_id, 40),
        escape_untrusted(&facts.veil.text(&name), 200)
    )
}

fn top(facts: &Facts, about: &About<'_>) -> Markup {
    let identity = &facts.identity;
    let state = sections::state(facts, about.running);
    html! {
        a.skip href="#main" { "Skip to the report" }
        header {
            p.product { "batch-detach" @if identity.is_simulated() { " " span.badge { "simulated" } } @if about.redact { " " span.badge { "redacted" } } }
            h1 { (title(facts)) }
            @if identity.is_simulated() { p.note { strong { (SIMULATED) } } }
            p.facts {
                span.badge.state { (state) }
                " planned " (sections::time(&identity.created_at))
                @if !about.redact { " by " (facts.veil.user(&identity.operator)) " on " (facts.veil.text(&identity.host)) }
                @if let Some(ticket) = &identity.ticket { " for ticket " strong { (facts.veil.text(ticket)) } }
            }
            (sections::account(facts))
            nav aria-label="Sections" {
                ul {
                    li { a href="#overview" { "What happened" } }
                    @if is_told(facts) { li { a href="#still" { "Who still gets in" } } }
                    @if !facts.summary.rows_in_doubt().is_empty() { li { a href="#doubts" { "Rows in doubt" } } }
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
                "This page loads nothing from anywhere."
                @if about.redact {
                    " Users are shown as hashes; the salt was made for this page and not saved, so the same user has another hash on another page."
                }
            }
        }
    }
}

/// The section of the rows, written as they are read.
fn rows(view: &View, facts: &Facts, put: &mut impl FnMut(&str) -> Result<(), Error>) -> Result<(), Error> {
    let (veil, counts) = (&facts.veil, facts.summary.counts());
    let total = counts.total();
    let bad = total - counts.successes();
    let as_data = total > ALL_IN_HTML;
    let in_html = if as_data { SOME_IN_HTML } else { ALL_IN_HTML };
    put(&rows_head(facts, as_data, in_html, bad).into_string())?;
    let mut pick = Pick::new(in_html, bad);
    view.for_each_result(|row| {
        if pick.takes(row.result.outcome) { put(&Shown::new(&row, veil).html().into_string()) } else { Ok(()) }
    })?;
    put("</tbody></table></div>")?;
    if as_data {
        put("<script type=\"application/json\" id=\"rows-data\">[")?;
        let (mut pick, mut before, mut text, mut first) =
            (Pick::new(ALL_AS_DATA, bad), Vec::new(), String::new(), true);
        view.for_each_result(|row| {
            if !pick.takes(row.result.outcome) {
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
    put(PAGER)?;
    put("</section>")
}

fn rows_head(facts: &Facts, as_data: bool, in_html: u64, bad: u64) -> Markup {
    let counts = facts.summary.counts();
    let total = counts.total();
    let own: &[String] = if facts.veil.is_open() { &facts.identity.extra_columns } else { &[] };
    let own = own.iter().map(|name| facts.veil.text(name));
    let ours = |names: &'static [&'static str]| names.iter().map(|name| Cow::Borrowed(*name));
    let columns = ours(&["Line", "Desktop", "User"]).chain(own);
    let columns = columns.chain(ours(&["Outcome", "Why", "Writes", "Request", "Finished (UTC)"]));
    let kinds = [
        (rows::NOT_AS_REQUESTED, "not as requested", if bad < total { bad } else { 0 }),
        (rows::STILL_IN, "still gets in, or may", facts.rows_still_in),
        (rows::IN_DOUBT, "in doubt", facts.rows_in_doubt()),
    ];
    let kinds =
        kinds.into_iter().chain(counts.iter().map(|(outcome, rows)| (outcome.as_str(), outcome.as_str(), rows)));
    html! {
        (PreEscaped("<section aria-labelledby=\"rows\">"))
        h2 #rows { "Rows" }
        (rows::search(total, kinds))
        @if as_data {
            p.note #partly {
                "Without JavaScript this table shows " (counted(in_html, "row", "rows")) " of " (grouped(total))
                @if bad > in_html { ", the first of those that are not as requested" } @else if bad > 0 { ", all that are not as requested among them" }
                ". The results file has every row."
            }
        }
        @if total > ALL_AS_DATA {
            p.note {
                "This page holds " (grouped(ALL_AS_DATA)) " of " (grouped(total)) " rows, those that are not as requested first. The results file has every row."
            }
        }
        (PreEscaped("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Table of rows\"><table id=\"table\" class=\"rows\">"))
        caption { "Rows of the input with their outcomes, in input order" }
        thead { tr { @for column in columns { th scope="col" { (column) } } } }
        (PreEscaped("<tbody>"))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::journal::{
        AnswerKind, AnswerRecord, Attempt, Builder, EntryRef, Fate, Item, Journal as _, Record, RowOutcome, Settlement,
        Slot, Store,
    };
    use crate::model::{AgencyName, Caller, Class, Outcome, PartLabel};
    use crate::testing::build;

    pub(in super::super) const EVIL: &str =
        "</script></style></title><img src=x onerror=\"alert('1')\">&\u{202e}\u{1b}[31m";

    /// An identity in which everything is markup.
    pub(in super::super) fn evil_identity() -> Identity {
        let evil = || EVIL.to_owned();
        Identity {
            run_id: evil(),
            class: Class::BatchDetach,
            created_at: evil(),
            program_version: evil(),
            operator: evil(),
            host: evil(),
            ticket: Some(evil()),
            input_path: evil(),
            input_sha256: evil(),
            plan_hash: evil(),
            endpoint: evil(),
            project_id: evil(),
            region: Some(evil()),
            caller: Caller {
                credentials: evil(),
                agency: Some(AgencyName { name: evil(), account: evil() }),
                project_name: Some(evil()),
            },
            plan_settings: [(evil(), evil())].into(),
            preflight: true,
            notes: vec![evil()],
            results_bom: false,
            extra_columns: vec![evil()],
            undo_of: Some(evil()),
            canary_chunks: 0,
            warnings: vec![evil()],
            missing_rows: 0,
            typed: None,
            still_access: false,
        }
    }

    /// A run in which everything that comes from outside is markup: rows, requests, answers, its own identity.
    fn evil_journal(path: &Path) {
        let evil = || EVIL.to_owned();
        let (mut builder, extras) = (Builder::create(path, &evil_identity()).unwrap(), [EVIL]);
        let slot = Slot { user_name: evil(), user_id: Some(evil()), ..build::slot("u") };
        let fixed = Fate::Fixed { outcome: Outcome::Invalid, code: EVIL.into(), message: EVIL.into() };
        for fate in [Fate::Send { item: 1, slot: 0 }, fixed] {
            builder.entry(EntryRef { line: 2, cells: [EVIL; 7], extras: &extras, fate: &fate }).unwrap();
        }
        let item = Item { desktop_name: evil(), slots: vec![slot], ..build::item(1, "<img>", &[]) };
        builder.item(item).unwrap();
        builder.finish().unwrap();
    }

    async fn evil_answers(path: &Path) {
        let (evil, at) = (|| EVIL.to_owned(), "2026-11-24T05:16:02Z");
        let store = Store::open(path).unwrap();
        let part = PartLabel { chunk: 1, part: 0 };
        let (carries, body_sha256) = (vec![(1, vec![0])], evil());
        let records = vec![
            Record::Started { at: evil(), version: evil(), write_period: None },
            Record::Intent(Attempt { id: 1, part, carries, body_sha256, body_bytes: 1, at: at.to_owned() }),
            Record::Answer(AnswerRecord {
                attempt: 1,
                kind: AnswerKind::Refused,
                status: Some(400),
                code: evil(),
                message: evil(),
                request_id: evil(),
                job_id: evil(),
                refused: vec![],
                at: evil(),
                took_ms: 7,
            }),
            Record::Settled(Settlement {
                item: 1,
                slots: vec![0],
                result: RowOutcome {
                    job_id: evil(),
                    attempts: 1,
                    request_id: evil(),
                    part: evil(),
                    finished_at: evil(),
                    evidence: evil(),
                    ..RowOutcome::new(Outcome::Failed, evil(), evil())
                },
            }),
            Record::Requests { counts: vec![(Class::BatchDetach, evil(), 1)] },
            Record::Stopped { at: evil(), exit: 5, reason: evil() },
        ];
        store.handle().commit(records).await.unwrap();
        store.close().unwrap();
    }

    fn page(journal: &Path, redact: bool) -> String {
        let next =
            |_: &Identity, _: &Progress, _: &Counts| Next { words: EVIL.to_owned(), command: Some(vec![EVIL.into()]) };
        let about = About { journal: Path::new(EVIL), running: false, redact, made_at: EVIL, next: &next };
        let mut out = Vec::new();
        write(&View::open(journal).unwrap(), &about, &mut out, &|error| Error::Internal(error.to_string())).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn p21_no_text_from_outside_becomes_markup_or_a_control_anywhere() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("evil.journal");
        evil_journal(&path);
        evil_answers(&path).await;
        for redact in [false, true] {
            let page = page(&path, redact);
            assert!(!page.contains("<img"), "{redact}");
            assert_eq!(page.matches("</script>").count(), 2, "{redact}: those that are ours");
            assert_eq!(
                (page.matches("</style>").count(), page.matches("</title>").count() >= 1),
                (1, true),
                "{redact}"
            );
            assert!(!page.contains(['\u{202e}', '\u{1b}']), "{redact}");
            assert_eq!(page.contains("user-"), redact);
        }
    }

    #[tokio::test]
    async fn a_disk_that_is_full_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        evil_journal(&path);
        let next = |_: &Identity, _: &Progress, _: &Counts| Next { words: String::new(), command: None };
        let about = About { journal: &path, running: true, redact: false, made_at: "", next: &next };
        let (view, mut room) = (View::open(&path).unwrap(), vec![0_u8; 20_000]);
        let full = write(&view, &about, &mut room.as_mut_slice(), &|error| Error::Stopped(error.to_string()));
        assert!(matches!(full, Err(Error::Stopped(_))), "{full:?}");
    }
}
