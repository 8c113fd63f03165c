//! The page of a plan, for the person who approves it: what needs a decision comes first.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use maud::{Markup, PreEscaped, html};

use super::frame::{head, tail};
use super::groups::{Group, Tally};
use super::redact::{Hashed, Names, Veil};
use super::rows::{PAGER, STILL_IN, Shown, class, search};
use super::sections::{capital, next_step, plan_settings, time};
use super::still::still;
use crate::error::Error;
use crate::journal::{EntryRef, Fate, Identity, ResultRow};
use crate::model::{Class, Outcome, Ways};
use crate::outcome::next::Next;
use crate::outcome::summary::words_of;
use crate::plan::show::{Facts, IN_USE, Outline};
use crate::plan::{Draft, Touched};
use crate::text::{counted, escape_untrusted, grouped};

/// Rows of a group that are shown at once. The others are folded by as many: a browser lays out what is unfolded alone.
const PART: u64 = 500;

/// What is told beside the plan itself.
pub(crate) struct About<'a> {
    /// What the plan's journal would begin with.
    pub identity: &'a Identity,
    pub facts: &'a Facts<'a>,
    /// Settings that hold a run back: name, value, and where that comes from.
    pub limits: &'a [(&'a str, &'a str, String)],
    /// The patterns of `protect`.
    pub protected: &'a [&'a str],
    /// What a guard refuses.
    pub refused: Option<&'a str>,
    /// How to approve it; without a command where nobody can.
    pub next: &'a Next,
    /// By what the person of each record would still get in.
    pub ways: Ways<'a>,
    /// Show users as salted hashes.
    pub redact: bool,
}

/// Writes the page of a plan, every row of it.
///
/// # Errors
/// What `trouble` makes of an error of `out`.
pub(crate) fn write(
    plan: &dyn Draft,
    about: &About<'_>,
    out: &mut dyn Write,
    trouble: &dyn Fn(std::io::Error) -> Error,
) -> Result<(), Error> {
    let touched = plan.touched();
    let (mut rows_still_in, mut ways) = (0, about.ways);
    let mut tallies: [Tally; Group::ALL.len()] = Group::ALL.map(Tally::of);
    let mut names = Names::default();
    if about.redact {
        names.add(&about.identity.operator);
        // Whoever is protected is named in no row.
        about.protected.iter().for_each(|pattern| names.add(pattern));
    }
    plan.for_each_entry(&mut |entry| {
        let still_via = ways.next(&entry.cells, entry.fate.outcome());
        let of = Group::of(&entry, still_via, &touched);
        if let Some(tally) = tallies.iter_mut().find(|tally| tally.group == of) {
            tally.add(touched.get(entry.cells[0]).filter(|_| matches!(entry.fate, Fate::Send { .. })));
        }
        rows_still_in += u64::from(!still_via.is_empty());
        if about.redact {
            names.add(entry.cells[2]);
            names.add(entry.cells[3]);
        }
        Ok(())
    })?;
    let veil = if about.redact { Veil::Hashed(Hashed::new(names)?) } else { Veil::Open };
    let page = Page { about, veil, touched, attaches: about.identity.class == Class::BatchAttach };
    let groups = || tallies.iter().filter(|tally| tally.rows > 0);
    let mut put = |text: &str| out.write_all(text.as_bytes()).map_err(trouble);
    put(&head(&page.title()).into_string())?;
    put("<body>")?;
    put(&page.top(groups()).into_string())?;
    put("<main id=\"main\">")?;
    put(&page.overview(&plan.outline(about.facts), groups()).into_string())?;
    if let Some(found) = about.facts.still {
        put(&still(found, &page.veil, rows_still_in).into_string())?;
    }
    // The rows of people who still get in are asked for by their own mark, which others have, too.
    let kinds = groups().filter(|tally| tally.group != Group::StillIn);
    let kinds = kinds.map(|tally| (tally.group.id(), tally.group.words(page.attaches).0, tally.rows));
    let kinds = kinds.chain([(STILL_IN, "still gets in, or may", rows_still_in)]);
    put(&page.all_rows(tallies.iter().map(|tally| tally.rows).sum(), kinds).into_string())?;
    put("<div id=\"groups\">")?;
    for tally in groups() {
        page.rows(plan, tally, &mut put)?;
    }
    put("</div>")?;
    put(&page.limits().into_string())?;
    put(&page.identity().into_string())?;
    put("</main>")?;
    put(&page.bottom().into_string())?;
    put(&tail().into_string())
}

struct Page<'a> {
    about: &'a About<'a>,
    veil: Veil,
    touched: HashMap<&'a str, Touched>,
    attaches: bool,
}

impl Page<'_> {
    fn title(&self) -> String {
        let input = &self.about.identity.input_path;
        let name = Path::new(input).file_name().map_or(input.into(), |name| name.to_string_lossy());
        let kind = if self.about.identity.undo_of.is_some() { "Plan of an undo" } else { "Plan" };
        format!("{kind}: {}", escape_untrusted(&self.veil.text(&name), 200))
    }

    fn top<'t>(&self, groups: impl Iterator<Item = &'t Tally>) -> Markup {
        let About { identity, redact, .. } = self.about;
        html! {
            a.skip href="#main" { "Skip to the plan" }
            header {
                p.product {
                    "batch-detach"
                    @if identity.is_simulated() { " " span.badge { "simulated" } }
                    @if *redact { " " span.badge { "redacted" } }
                }
                h1 { (self.title()) }
                @if identity.is_simulated() {
                    p.note { strong { "This is a simulation: nothing real was changed, and nothing real will be changed." } }
                }
                p.facts {
                    span.badge.state { "nothing sent" }
                    " planned " (time(&identity.created_at))
                    @if !redact { " by " (self.veil.user(&identity.operator)) " on " (self.veil.text(&identity.host)) }
                    @if let Some(ticket) = &identity.ticket { " for ticket " strong { (self.veil.text(ticket)) } }
                }
                nav aria-label="Sections" {
                    ul {
                        li { a href="#overview" { "What will happen" } }
                        li { a href="#approve" { "To approve it" } }
                        @if self.about.facts.still.is_some() { li { a href="#still" { "Who still gets in" } } }
                        li { a href="#rows" { "All rows" } }
                        @for tally in groups {
                            li { a href={ "#" (tally.group.id()) } { (tally.group.words(self.attaches).0) " (" (grouped(tally.rows)) ")" } }
                        }
                        li { a href="#limits" { "Guards and limits" } }
                        li { a href="#identity" { "Where it goes" } }
                    }
                }
            }
        }
    }

    /// What will happen, at a glance, and how it is approved.
    fn overview<'t>(&self, outline: &Outline, groups: impl Iterator<Item = &'t Tally>) -> Markup {
        let Outline { lines, named, effects, lost } = outline;
        let About { identity, facts, refused, next, .. } = self.about;
        html! {
            section aria-labelledby="overview" {
                h2 #overview { "What will happen" }
                @for (n, line) in lines.iter().enumerate() {
                    @let line = line.trim_end_matches('.');
                    @if n == 0 { p.verdict.wait { (line) "." } } @else { p { (line) "." } }
                }
                @for line in named { p { (capital(&self.veil.text(line))) "." } }
                ul.tiles {
                    @for Tally { group, rows, .. } in groups {
                        li.tile.(group.class()) {
                            a href={ "#" (group.id()) } {
                                span.name { (group.words(self.attaches).0) } b { (grouped(*rows)) }
                            }
                        }
                    }
                }
                @for (title, items) in [("Of the desktops touched", effects), ("What does not come back", lost)] {
                    @if !items.is_empty() {
                        h3 { (title) }
                        ul { @for item in items { li { (item) } } }
                    }
                }
                @for note in identity.notes.iter().chain(&identity.warnings) {
                    p.note { strong { "Note: " } (self.veil.text(note)) }
                }
            }
            section aria-labelledby="approve" {
                h2 #approve { "To approve it" }
                @if let Some(refused) = refused {
                    p.verdict.bad { "A guard refuses this plan: " (self.veil.text(refused)) "." }
                }
                dl.identity {
                    dt { "Plan hash" } dd { code { (facts.hash) } }
                }
                (next_step(next, &self.veil))
            }
        }
    }

    /// Asks for rows, and has room for those that are found; nothing more where scripts don't run.
    fn all_rows<'k>(&self, total: u64, kinds: impl Iterator<Item = (&'k str, &'k str, u64)>) -> Markup {
        html! {
            section aria-labelledby="rows" {
                h2 #rows { "All rows (" (grouped(total)) ")" }
                p { "They stand in groups below; those that need a decision come first." }
                (search(total, kinds))
                div #found hidden {
                    div.scroll tabindex="0" role="region" aria-label="Table of the rows found" {
                        table #table.plan {
                            caption { "Rows found, with what becomes of them" }
                            (self.columns())
                            tbody {}
                        }
                    }
                    (PreEscaped(PAGER))
                }
            }
        }
    }

    fn columns(&self) -> Markup {
        let own: &[String] = if self.about.redact { &[] } else { &self.about.identity.extra_columns };
        html! {
            thead {
                tr {
                    @for name in ["Line", "Desktop", "User"] { th scope="col" { (name) } }
                    @for name in own { th scope="col" { (self.veil.text(name)) } }
                    @for name in ["What becomes of it", "Why"] { th scope="col" { (name) } }
                }
            }
        }
    }

    /// A section of the rows of one group.
    fn rows(
        &self,
        plan: &dyn Draft,
        tally: &Tally,
        put: &mut impl FnMut(&str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (group, rows) = (tally.group, tally.rows);
        let (title, words) = group.words(self.attaches);
        let id = group.id();
        // Our own words: no markup is in them.
        put(&format!("<section aria-labelledby=\"{id}\" data-all=\"{}\">", tally.common()))?;
        let heading = html! {
            h2 #(id) { (title) " (" (counted(rows, "row", "rows")) ")" }
            @if !words.is_empty() { p { (words) } }
            @if !tally.effects.is_empty() {
                ul {
                    @for (effect, of) in &tally.effects {
                        li {
                            @match (*of == rows, rows) {
                                (true, 1) => {},
                                (true, _) => "All rows: ",
                                (false, _) => { (counted(*of, "row", "rows")) ": " },
                            }
                            "the desktop " (effect.alone)
                        }
                    }
                }
            }
        };
        put(&heading.into_string())?;
        let (mut at, mut ways) = (0, self.about.ways);
        plan.for_each_entry(&mut |entry| {
            let still_via = ways.next(&entry.cells, entry.fate.outcome());
            if Group::of(&entry, still_via, &self.touched) != group {
                return Ok(());
            }
            if at % PART == 0 {
                put(&part_end(at))?;
                put(&self.part_start(title, at, rows))?;
            }
            at += 1;
            put(&self.row(&entry, tally, still_via).into_string())
        })?;
        put(&part_end(at))?;
        put("</section>")
    }

    /// Begins a table of up to [`PART`] rows; all but a group's first are folded.
    fn part_start(&self, title: &str, from: u64, rows: u64) -> String {
        let (first, last) = (grouped(from + 1), grouped(rows.min(from + PART)));
        let mut start = String::new();
        if from > 0 {
            start.push_str(&html! { summary { "Rows " (first) " to " (last) } }.into_string());
            start.insert_str(0, "<details>");
        }
        let caption = format!("{title}: rows {first} to {last} of {}", grouped(rows));
        // The title is ours: no markup is in it.
        start.push_str("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"");
        start.push_str(&caption);
        start.push_str("\"><table class=\"plan\">");
        start.push_str(&html! { caption { (caption) } }.into_string());
        start.push_str(&self.columns().into_string());
        start.push_str("<tbody>");
        start
    }

    fn row(&self, entry: &EntryRef<'_>, tally: &Tally, still_via: &str) -> Markup {
        let result = entry.fate.foreseen();
        let row = ResultRow { line: entry.line, cells: entry.cells, result: &result, still_via, extras: entry.extras };
        let shown = Shown::new(&row, &self.veil);
        let desktop = self.touched.get(entry.cells[0]).filter(|_| result.outcome == Outcome::Planned);
        let group = tally.group;
        html! {
            tr data-o=(if shown.is_still_in() { format!("{} {STILL_IN}", group.id()) } else { group.id().to_owned() }) {
                th scope="row" { (entry.line) }
                (shown.desktop())
                (shown.person())
                (shown.own())
                td { span.o.(mark(result.outcome)) { (fate(result.outcome, self.attaches)) } }
                td {
                    (shown.reason())
                    @if let Some(desktop) = desktop {
                        @let others = desktop.effects.iter().map(|effect| effect.mark).filter(|mark| *mark != IN_USE);
                        @let marks = desktop.in_use.then_some(IN_USE).into_iter().chain(others);
                        (marks.filter(|mark| !tally.is_common(mark)).collect::<Vec<_>>().join(" · "))
                    }
                }
            }
        }
    }

    /// What holds a run of it back.
    fn limits(&self) -> Markup {
        html! {
            section aria-labelledby="limits" {
                h2 #limits { "Guards and limits" }
                div.scroll tabindex="0" role="region" aria-label="Table of guards and limits" {
                    table {
                        caption { "Settings that limit a run of this plan" }
                        thead { tr { @for name in ["Setting", "Value", "Set by"] { th scope="col" { (name) } } } }
                        tbody {
                            @for (name, value, origin) in self.about.limits {
                                tr { th scope="row" { (name) } td { (self.veil.text(value)) } td { (self.veil.text(origin)) } }
                            }
                        }
                    }
                }
            }
        }
    }

    /// Where it goes, and what it was made of.
    fn identity(&self) -> Markup {
        let About { identity, facts, .. } = self.about;
        // The credentials may be called by the name of a person: that of the IAM user.
        let place = facts.context.iter().filter(|(label, value)| {
            !value.is_empty() && (self.veil.is_open() || !matches!(*label, "credentials" | "config"))
        });
        html! {
            section aria-labelledby="identity" {
                h2 #identity { "Where it goes" }
                dl.identity {
                    @for (label, value) in place { dt { (capital(label)) } dd { (self.veil.text(value)) } }
                    dt { "Input" } dd { (self.veil.text(&identity.input_path)) }
                    dt { "Input SHA-256" } dd { code { (escape_untrusted(&identity.input_sha256, 128)) } }
                    @if let Some(undone) = &identity.undo_of { dt { "Undoes" } dd { (self.veil.text(undone)) } }
                    dt { "Version" } dd { "batch-detach " (escape_untrusted(&identity.program_version, 40)) }
                }
                (plan_settings(identity, &self.veil))
            }
        }
    }

    fn bottom(&self) -> Markup {
        html! {
            footer {
                p {
                    "Made by batch-detach " (env!("CARGO_PKG_VERSION")) ". This page loads nothing from anywhere; nothing was sent."
                    @if self.about.redact {
                        " Users are shown as hashes, and the list's own columns are left out; the salt was made for this page and not saved."
                    }
                }
            }
        }
    }
}

/// Ends the table before the row at this place; nothing before the first.
fn part_end(at: u64) -> String {
    let folded = if at > PART { "</details>" } else { "" };
    if at == 0 { String::new() } else { format!("</tbody></table></div>{folded}") }
}

/// What becomes of a row, in words.
const fn fate(outcome: Outcome, attaches: bool) -> &'static str {
    match outcome {
        Outcome::Planned if attaches => "to be attached",
        Outcome::Planned => "to be detached",
        Outcome::AlreadyDetached => "already detached",
        Outcome::AlreadyAttached => "already attached",
        Outcome::Invalid => "invalid: not sent",
        Outcome::NotDue => "not due: not sent",
        Outcome::NotSent => "left out: not sent",
        other => words_of(other, true),
    }
}

/// The class of the style sheet that colours what becomes of a row.
const fn mark(outcome: Outcome) -> &'static str {
    if matches!(outcome, Outcome::Planned) { "planned" } else { class(outcome) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::write::tests::{EVIL, evil_identity};
    use super::*;
    use crate::input::{self, ReadOptions, Source};
    use crate::plan::{HashFacts, Policy, plan};

    fn page(csv: &str, redact: bool) -> String {
        let list = Source::Bytes { name: EVIL.to_owned(), bytes: csv.as_bytes().to_vec() };
        let input = input::read(list, &ReadOptions::default()).unwrap();
        let made = plan(&input, None, &Policy::default());
        let identity = evil_identity();
        let covered = HashFacts { endpoint: EVIL, project: EVIL, settings: &BTreeMap::new() };
        let facts = Facts {
            hash: "0f",
            covered,
            region: Some(EVIL),
            caller: &identity.caller,
            context: &[("project", EVIL.to_owned())],
            write_per_s: 1.0,
            skip_invalid: true,
            still: None,
        };
        let next = Next { words: EVIL.to_owned(), command: Some(vec![EVIL.into()]) };
        let limits = [("protect", EVIL, EVIL.to_owned())];
        let told = [(0, format!("pool:{EVIL}"))];
        let ways = Ways::new(&told, false);
        let (identity, facts, refused) = (&identity, &facts, Some(EVIL));
        let about = About { identity, facts, limits: &limits, protected: &[EVIL], refused, next: &next, ways, redact };
        let mut out = Vec::new();
        write(&made, &about, &mut out, &|error| Error::Internal(error.to_string())).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn p21_no_text_from_outside_becomes_markup_or_a_control_in_a_plan() {
        let cell = "\"</style></title><img src=x onerror=\"\"alert('1')\"\">&\u{202e}\"";
        let csv = format!("desktop_id,user_name,type,{cell}\nd1,{cell},,{cell}\nd2,{cell},{cell},{cell}\n");
        for redact in [false, true] {
            let page = page(&csv, redact);
            assert!(!page.contains("<img") && page.contains("still gets in by pool:"), "{redact}");
            assert_eq!(page.matches("</script>").count(), 2, "{redact}: those that are ours");
            assert!(!page.contains(['\u{202e}', '\u{1b}']), "{redact}");
            assert_eq!((page.matches("</style>").count(), page.matches("</title>").count()), (1, 1), "{redact}");
            assert_eq!(page.matches("<tr data-o=").count(), 2);
            assert_eq!(page.contains("user-"), redact);
        }
    }

    #[test]
    fn of_a_long_group_all_but_the_first_rows_are_folded() {
        // The first one's person still gets in, and stands in a group of its own.
        let rows = (0..=2 * PART + 1).fold(String::new(), |rows, n| format!("{rows}d{n},u{n}\n"));
        let page = page(&format!("desktop_id,user_name\n{rows}"), false);
        assert_eq!(page.matches("<summary>Rows ").count(), 2);
        assert!(page.contains("<summary>Rows 501 to 1,000</summary>"));
        assert!(page.contains("<summary>Rows 1,001 to 1,001</summary>"));
        assert_eq!(page.matches("<tr data-o=").count(), 1_002);
        for element in ["details", "table", "section", "tbody"] {
            let (open, closed) = (format!("<{element}"), format!("</{element}>"));
            assert_eq!(page.matches(&open).count(), page.matches(&closed).count(), "{element}");
        }
    }
}
