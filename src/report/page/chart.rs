//! The pictures: inline SVG without a script, each with a title, a description and its figures as a table.

use maud::{Markup, html};

use super::facts::to_u64;
use super::people::People;
use super::rows::class;
use super::timeline::{ENDS, LATENCIES, Strip, Work, clock};
use crate::journal::AnswerKind;
use crate::outcome::Counts;
use crate::text::{counted, grouped, spell_duration};

/// Width of a picture in its own units, and the frame of what is drawn in it.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 752.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 168.0;
/// What a time of day takes of a picture's width, in the style sheet's size.
const CLOCK: f64 = 56.0;

/// What became of a write, in words, and the class that colours it.
pub(super) const fn end_words(end: Option<AnswerKind>) -> (&'static str, &'static str) {
    match end {
        Some(AnswerKind::Answered) => ("answered", "e-ok"),
        Some(AnswerKind::Refused) => ("refused", "e-refused"),
        Some(AnswerKind::Throttled) => ("throttled (429)", "e-throttled"),
        Some(AnswerKind::Doubt) => ("no clear answer", "e-doubt"),
        Some(AnswerKind::NotSent) => ("never left", "e-not-sent"),
        None => ("answer open", "e-open"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "places in a picture")]
fn float(number: u64) -> f64 {
    number as f64
}

/// A length for an attribute: two digits are finer than any screen.
fn at(length: f64) -> String {
    format!("{length:.2}")
}

/// All rows as one bar, by outcome.
pub(super) fn outcomes(counts: &Counts) -> Markup {
    let parts: Vec<_> = counts.iter().map(|(outcome, rows)| (outcome.as_str(), class(outcome), rows)).collect();
    bar("rows-bar", "Rows by outcome", &parts)
}

/// The people of the list as one bar: who is out, who still gets in, and of whom that is open.
///
/// * `is_looked`: whether it was looked for what else lets them in.
pub(super) fn people(people: &People, is_looked: bool) -> Markup {
    let People { out, not_due, open, groups, everybody, nameless, .. } = *people;
    let still_in = people.still_in();
    let what_out =
        if is_looked { "out: nothing was found by which they still get in" } else { "out, by what the list names" };
    let parts = [
        ("out", "done", out, what_out),
        ("still in", "failed", still_in, "still in: their own row is not done, or something else lets them in"),
        ("open", "unknown", open, "open: not done, not known, or in doubt"),
        ("not due", "left", not_due, "not due: their day is still to come"),
    ];
    let shown = parts.map(|(name, class, count, _)| (name, class, count));
    html! {
        figure {
            (bar("people-bar", "People by where they stand", &shown))
            ul.legend {
                @for (_, class, count, words) in parts.iter().filter(|(.., count, _)| *count > 0) {
                    li { span.swatch.(class) aria-hidden="true" {} b { (grouped(*count)) } " " (words) }
                }
            }
            @for (rows, one, many) in [
                (groups, "row names a group, and is", "rows name groups, and are"),
                (everybody, "row is for everybody on a desktop, and is", "rows are for everybody on a desktop, and are"),
                (nameless, "row names nobody, and is", "rows name nobody, and are"),
            ] {
                @if rows > 0 { figcaption { (counted(rows, one, many)) " not counted here." } }
            }
        }
    }
}

/// Counts beside each other, each with its name and its class.
fn bar(id: &str, title: &str, parts: &[(&str, &str, u64)]) -> Markup {
    let seen: Vec<_> = parts.iter().filter(|(.., count)| *count > 0).collect();
    let total = float(seen.iter().map(|(.., count)| *count).sum::<u64>().max(1));
    // One of a million must still be seen.
    let widths: Vec<f64> = seen.iter().map(|(.., count)| (float(*count) / total * 1_000.0).max(4.0)).collect();
    let scale = 1_000.0 / widths.iter().sum::<f64>().max(1.0);
    let starts = widths.iter().scan(0.0, |next, width| {
        let start = *next;
        *next += width * scale;
        Some(start)
    });
    let said: Vec<String> = seen.iter().map(|(name, _, count)| format!("{} {name}", grouped(*count))).collect();
    let (title_id, desc_id) = (format!("{id}-title"), format!("{id}-desc"));
    html! {
        svg.bar viewBox="0 0 1000 30" preserveAspectRatio="none" role="img" aria-labelledby=(format!("{title_id} {desc_id}")) {
            title id=(title_id) { (title) }
            desc id=(desc_id) { (said.join(", ")) }
            @for (((name, class, count), width), start) in seen.iter().zip(&widths).zip(starts) {
                rect.(class) x=(at(start)) y="0" width=(at((width * scale - 1.5).max(1.0))) height="30" {
                    title { (grouped(*count)) " " (name) }
                }
            }
        }
    }
}

/// A height that reads well: 1, 2 or 5 times a power of ten.
fn step(max: u64) -> u64 {
    let mut step = 1;
    loop {
        for factor in [1, 2, 5] {
            if max / (step * factor) < 5 {
                return step * factor;
            }
        }
        step *= 10;
    }
}

/// Lines across at round heights, each with its number.
fn grid(top: u64) -> Markup {
    let step = step(top);
    let steps = (0..=top / step).map(|n| n * step);
    html! {
        @for n in steps {
            @let y = height(n, top);
            line.grid x1=(at(LEFT)) x2=(at(RIGHT)) y1=(at(y)) y2=(at(y)) {}
            text.tick x=(at(LEFT - 6.0)) y=(at(y + 3.5)) text-anchor="end" { (grouped(n)) }
        }
    }
}

fn height(n: u64, top: u64) -> f64 {
    BOTTOM - float(n) / float(top.max(1)) * (BOTTOM - TOP)
}

/// The writes of one process over time.
pub(super) fn timeline(strip: &Strip, number: usize) -> Markup {
    let top = strip.peak().max(strip.ceiling.unwrap_or_default()).max(1);
    let count = to_u64(strip.bars.len());
    let slot = (RIGHT - LEFT) / float(count.max(12));
    let all: u64 = strip.bars.iter().flatten().sum();
    let (width, from) = (strip.width, strip.start(0));
    let (title, desc) = (format!("time-{number}-title"), format!("time-{number}-desc"));
    let place = |ms: i64| {
        let seconds = std::time::Duration::from_millis(u64::try_from(ms - from).unwrap_or_default()).as_secs_f64();
        (LEFT + seconds / float(width) * slot).min(RIGHT)
    };
    let every = strip.bars.len().div_ceil(6).max(2);
    html! {
        div.scroll tabindex="0" role="region" aria-label="Writes over time" {
            svg.chart viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-labelledby=(format!("{title} {desc}")) {
                title id=(title) { "Write requests over time, against the ceiling" }
                desc id=(desc) {
                    (counted(all, "write", "writes")) " from " (clock(from)) " UTC on, in bars of " (spell(width)) "; at most "
                    (strip.peak()) " in one."
                    @if let Some(ceiling) = strip.ceiling { " The ceiling allows " (ceiling) "." }
                }
                (grid(top))
                @for (start, end) in &strip.pauses {
                    @let x = place(*start);
                    rect.pause x=(at(x)) y=(at(TOP)) width=(at((place(*end) - x).max(1.0))) height=(at(BOTTOM - TOP)) {
                        title { "paused by a 429 from " (clock(*start)) " to " (clock(*end)) }
                    }
                }
                @for (n, bar) in (0_u64..).zip(&strip.bars) {
                    @let x = LEFT + float(n) * slot;
                    g {
                        title { (clock(strip.start(usize::try_from(n).unwrap_or_default()))) ": " (said(bar)) }
                        @for (end, writes, below) in stacked(bar) {
                            rect.(end_words(end).1) x=(at(x + slot * 0.08)) width=(at(slot * 0.84))
                                y=(at(height(below + writes, top))) height=(at(height(below, top) - height(below + writes, top))) {}
                        }
                    }
                    // One that would run out of the picture is left out.
                    @if usize::try_from(n).is_ok_and(|n| n.is_multiple_of(every)) && x + CLOCK < WIDTH {
                        text.tick x=(at(x)) y=(at(BOTTOM + 16.0)) { (clock(strip.start(usize::try_from(n).unwrap_or_default()))) }
                    }
                }
                line.axis x1=(at(LEFT)) x2=(at(RIGHT)) y1=(at(BOTTOM)) y2=(at(BOTTOM)) {}
                @if let Some(ceiling) = strip.ceiling {
                    @let y = height(ceiling, top);
                    line.ceiling x1=(at(LEFT)) x2=(at(RIGHT)) y1=(at(y)) y2=(at(y)) {}
                    text.ceiling x=(at(RIGHT)) y=(at(y - 4.0)) text-anchor="end" { "ceiling" }
                }
                text.tick x=(at(LEFT)) y=(at(HEIGHT - 2.0)) { "writes started in " (spell(width)) ", by time (UTC)" }
            }
        }
    }
}

pub(super) fn spell(seconds: u64) -> String {
    spell_duration(std::time::Duration::from_secs(seconds))
}

/// The parts of a bar that are there: end, writes, writes below it.
fn stacked(bar: &[u64; ENDS.len()]) -> impl Iterator<Item = (Option<AnswerKind>, u64, u64)> {
    let below = bar.iter().scan(0, |sum, writes| {
        let below = *sum;
        *sum += writes;
        Some(below)
    });
    ENDS.into_iter()
        .zip(bar)
        .zip(below)
        .filter(|((_, writes), _)| **writes > 0)
        .map(|((end, n), below)| (end, *n, below))
}

/// `3 answered, 1 refused`.
fn said(bar: &[u64; ENDS.len()]) -> String {
    let parts: Vec<String> = stacked(bar).map(|(end, writes, _)| format!("{writes} {}", end_words(end).0)).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

/// The figures of a [`timeline`].
pub(super) fn timeline_table(strip: &Strip) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Writes over time, as a table" {
            table.figures {
                caption { "Writes started in each " (spell(strip.width)) @if let Some(ceiling) = strip.ceiling { "; the ceiling allows " (ceiling) } }
                thead { tr { th scope="col" { "From (UTC)" } @for end in ENDS { th scope="col" { (end_words(end).0) } } } }
                tbody {
                    @for (n, bar) in strip.bars.iter().enumerate().filter(|(_, bar)| bar.iter().any(|writes| *writes > 0)) {
                        tr { th scope="row" { (clock(strip.start(n))) } @for writes in bar { td { (writes) } } }
                    }
                }
            }
        }
    }
}

/// What the colours of a [`timeline`] mean, of those that occur.
pub(super) fn legend(work: &Work, strips: &[Strip]) -> Markup {
    html! {
        ul.legend {
            @for (end, writes) in ENDS.into_iter().zip(work.ends).filter(|(_, writes)| *writes > 0) {
                li { span.swatch.(end_words(end).1) aria-hidden="true" {} (end_words(end).0) " " b { (grouped(writes)) } }
            }
            @if strips.iter().any(|strip| !strip.pauses.is_empty()) {
                li { span.swatch.pause aria-hidden="true" {} "paused by a 429" }
            }
        }
    }
}

/// `≤ 10 ms`, `≤ 2 s`, `> 50 s`.
fn latency_words(place: usize) -> String {
    let words = |ms: u64| if ms < 1_000 { format!("{ms} ms") } else { format!("{} s", ms / 1_000) };
    match LATENCIES.get(place) {
        Some(end) => format!("≤ {}", words(*end)),
        None => format!("> {}", words(LATENCIES[LATENCIES.len() - 1])),
    }
}

/// How long the answers took: how many in each class.
pub(super) fn latencies(work: &Work) -> Markup {
    let top = work.latencies.iter().copied().max().unwrap_or_default().max(1);
    let first = work.latencies.iter().position(|answers| *answers > 0).unwrap_or_default().saturating_sub(1);
    let last = work.latencies.iter().rposition(|answers| *answers > 0).unwrap_or_default() + 1;
    let shown: Vec<(usize, u64)> =
        work.latencies.iter().copied().enumerate().skip(first).take(last - first + 1).collect();
    let slot = (RIGHT - LEFT) / float(to_u64(shown.len()).max(6));
    html! {
        div.scroll tabindex="0" role="region" aria-label="Answer times" {
            svg.chart viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-labelledby="latency-title latency-desc" {
                title id="latency-title" { "How long the answers took" }
                desc id="latency-desc" {
                    @for (place, answers) in shown.iter().filter(|(_, answers)| *answers > 0) {
                        (latency_words(*place)) ": " (answers) "; "
                    }
                }
                (grid(top))
                @for (n, (place, answers)) in (0_u64..).zip(&shown) {
                    @let x = LEFT + float(n) * slot;
                    rect.e-ok x=(at(x + slot * 0.12)) width=(at(slot * 0.76)) y=(at(height(*answers, top)))
                        height=(at(BOTTOM - height(*answers, top))) { title { (latency_words(*place)) ": " (answers) } }
                    text.tick x=(at(x + slot / 2.0)) y=(at(BOTTOM + 16.0)) text-anchor="middle" { (latency_words(*place)) }
                }
                line.axis x1=(at(LEFT)) x2=(at(RIGHT)) y1=(at(BOTTOM)) y2=(at(BOTTOM)) {}
                text.tick x=(at(LEFT)) y=(at(HEIGHT - 2.0)) { "answers by the time they took" }
            }
        }
    }
}

/// The figures of [`latencies`].
pub(super) fn latencies_table(work: &Work) -> Markup {
    html! {
        table.figures {
            caption { "Complete answers by the time they took" }
            thead { tr { th scope="col" { "Time" } th scope="col" { "Answers" } } }
            tbody {
                @for (place, answers) in work.latencies.iter().enumerate().filter(|(_, answers)| **answers > 0) {
                    tr { th scope="row" { (latency_words(place)) } td { (grouped(*answers)) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outcome;

    #[test]
    fn the_bar_is_full_whatever_the_shares() {
        for of in [
            &[(Outcome::Detached, 1)][..],
            &[(Outcome::Detached, 999_999), (Outcome::Failed, 1), (Outcome::Unknown, 1)],
        ] {
            let mut counts = Counts::default();
            for (outcome, rows) in of {
                counts.add(*outcome, *rows);
            }
            let svg = outcomes(&counts).into_string();
            let number = |rect: &str, name: &str| {
                rect.split_once(&format!("{name}=\"")).unwrap().1.split('"').next().unwrap().parse::<f64>().unwrap()
            };
            let rects: Vec<&str> = svg.split("<rect").skip(1).collect();
            assert_eq!(rects.len(), of.len());
            let last = rects.last().unwrap();
            assert!((number(last, " x") + number(last, " width") - 1_000.0).abs() < 2.0, "{svg}");
            assert!(rects.iter().all(|rect| number(rect, " width") >= 1.0), "{svg}");
        }
        assert!(!outcomes(&Counts::default()).into_string().contains("<rect"));
    }

    #[test]
    fn the_grid_has_few_round_steps() {
        for (max, expected) in
            [(1, 1), (4, 1), (9, 2), (24, 5), (49, 10), (1_000, 500), (u64::MAX / 4, 1_000_000_000_000_000_000)]
        {
            assert_eq!(step(max), expected, "{max}");
        }
    }

    #[test]
    fn parts_of_a_bar_stand_on_each_other() {
        let parts: Vec<_> = stacked(&[3, 0, 2, 0, 0, 1]).collect();
        assert_eq!(parts, [(ENDS[0], 3, 0), (ENDS[2], 2, 3), (ENDS[5], 1, 5)]);
        assert_eq!(said(&[3, 0, 2, 0, 0, 0]), "3 answered, 2 throttled (429)");
        assert_eq!(said(&[0; 6]), "none");
    }
}
