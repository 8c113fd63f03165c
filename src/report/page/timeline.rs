//! The writes of a run over time: how many, how fast against the ceiling, how they ended, and where a 429 held them.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use jiff::Timestamp;

use crate::error::Error;
use crate::journal::{AnswerKind, Process, Sent};

/// Ends of a write, in the order in which a picture stacks them; `None`: no answer is on record.
pub(super) const ENDS: [Option<AnswerKind>; 6] = [
    Some(AnswerKind::Answered),
    Some(AnswerKind::Refused),
    Some(AnswerKind::Throttled),
    Some(AnswerKind::Doubt),
    Some(AnswerKind::NotSent),
    None,
];
/// Bars of one picture at most.
const MAX_BARS: u64 = 60;
/// Widths of a bar in seconds; wider ones are whole days.
const WIDTHS: [u64; 16] = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200];
const DAY: u64 = 86_400;
/// Upper ends of the classes of latencies, in milliseconds; the last class is open.
pub(super) const LATENCIES: [u64; 12] = [10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000];

/// A place in [`ENDS`].
pub(super) fn end_of(kind: Option<AnswerKind>) -> usize {
    ENDS.iter().position(|end| *end == kind).unwrap_or(ENDS.len() - 1)
}

/// One write request. Times are milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
struct Write {
    at: i64,
    kind: Option<AnswerKind>,
    answered: i64,
}

/// Every write of a run.
#[derive(Debug)]
pub(super) struct Work {
    writes: Vec<Write>,
    /// Of complete answers, in milliseconds.
    pub(super) latency: Histogram<u64>,
    /// Complete answers by [`LATENCIES`].
    pub(super) latencies: [u64; LATENCIES.len() + 1],
    pub(super) statuses: BTreeMap<Option<u16>, u64>,
    pub(super) ends: [u64; ENDS.len()],
    pub(super) bytes: u64,
}

impl Work {
    pub(super) fn new() -> Result<Self, Error> {
        let latency = Histogram::new_with_bounds(1, 24 * 3_600 * 1_000, 3);
        Ok(Self {
            writes: Vec::new(),
            latency: latency.map_err(|error| Error::Internal(format!("latencies: {error}")))?,
            latencies: [0; LATENCIES.len() + 1],
            statuses: BTreeMap::new(),
            ends: [0; ENDS.len()],
            bytes: 0,
        })
    }

    pub(super) fn absorb(&mut self, sent: &Sent) {
        let at = millis(&sent.attempt.at).or_else(|| self.writes.last().map(|write| write.at)).unwrap_or_default();
        let answered = sent.answer.as_ref().and_then(|answer| millis(&answer.at)).unwrap_or(at);
        let kind = sent.kind();
        self.writes.push(Write { at, kind, answered });
        self.ends[end_of(kind)] += 1;
        self.bytes += sent.attempt.body_bytes;
        let complete = [AnswerKind::Answered, AnswerKind::Refused, AnswerKind::Throttled];
        if let Some(answer) = sent.answer.as_ref().filter(|answer| complete.contains(&answer.kind)) {
            self.latency.saturating_record(answer.took_ms);
            self.latencies[LATENCIES.partition_point(|end| *end < answer.took_ms)] += 1;
            *self.statuses.entry(answer.status).or_default() += 1;
        } else if sent.answer.is_some() {
            *self.statuses.entry(None).or_default() += 1;
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.ends.iter().sum()
    }

    /// One strip for each process that wrote, in their order.
    pub(super) fn strips(&self, processes: &[Process]) -> Vec<Strip> {
        let starts: Vec<i64> =
            processes.iter().map(|process| millis(&process.started_at).unwrap_or(i64::MIN)).collect();
        let mut parts: BTreeMap<usize, Vec<Write>> = BTreeMap::new();
        for write in &self.writes {
            let process = starts.iter().rposition(|start| *start <= write.at).unwrap_or_default();
            parts.entry(process).or_default().push(*write);
        }
        let strip = |(process, writes): (usize, Vec<Write>)| {
            let period = processes.get(process).and_then(|process| process.write_period);
            Strip::new(process, &writes, period)
        };
        parts.into_iter().filter_map(strip).collect()
    }
}

/// The writes of one process, in bars of equal width.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Strip {
    /// Its place among the processes of the run, from 0.
    pub(super) process: usize,
    /// Where the first bar begins: milliseconds since 1970.
    pub(super) from: i64,
    /// Seconds that one bar stands for.
    pub(super) width: u64,
    /// Writes by their end, see [`ENDS`].
    pub(super) bars: Vec<[u64; ENDS.len()]>,
    /// Writes that may start within one bar at most: `1 + T × R` (P8).
    pub(super) ceiling: Option<u64>,
    /// The most that one minute may see, for words.
    pub(super) per_minute: Option<f64>,
    /// Between a 429 and the next write: milliseconds since 1970.
    pub(super) pauses: Vec<(i64, i64)>,
}

impl Strip {
    fn new(process: usize, writes: &[Write], period: Option<Duration>) -> Option<Self> {
        let first = writes.iter().map(|write| write.at).min()?;
        let last = writes.iter().map(|write| write.at).max()?;
        let from = first.div_euclid(1_000) * 1_000;
        let seconds = u64::try_from(last - from).unwrap_or_default() / 1_000 + 1;
        let wanted = seconds.div_ceil(MAX_BARS);
        let width = WIDTHS.into_iter().find(|width| *width >= wanted).unwrap_or(wanted.div_ceil(DAY) * DAY);
        let place = |at: i64| usize::try_from((at - from).div_euclid(1_000)).unwrap_or_default() / to_usize(width);
        let mut bars = vec![[0; ENDS.len()]; place(last) + 1];
        for write in writes {
            if let Some(bar) = bars.get_mut(place(write.at)) {
                bar[end_of(write.kind)] += 1;
            }
        }
        let period = period.filter(|period| !period.is_zero());
        let in_one_bar = |period: Duration| {
            1 + u64::try_from(u128::from(width) * 1_000_000_000 / period.as_nanos()).unwrap_or(u64::MAX - 1)
        };
        Some(Self {
            process,
            from,
            width,
            bars,
            ceiling: period.map(in_one_bar),
            per_minute: period.map(|period| 60.0 / period.as_secs_f64()),
            pauses: pauses(writes),
        })
    }

    /// Where a bar begins, milliseconds since 1970.
    pub(super) fn start(&self, bar: usize) -> i64 {
        self.from.saturating_add(
            i64::try_from(bar).unwrap_or_default() * i64::try_from(self.width).unwrap_or_default() * 1_000,
        )
    }

    /// Time without a write after a 429, in all and at most.
    pub(super) fn held(&self) -> (Duration, Duration) {
        let length = |(from, to): &(i64, i64)| Duration::from_millis(u64::try_from(to - from).unwrap_or_default());
        (self.pauses.iter().map(length).sum(), self.pauses.iter().map(length).max().unwrap_or_default())
    }

    /// The fullest bar.
    pub(super) fn peak(&self) -> u64 {
        self.bars.iter().map(|bar| bar.iter().sum()).max().unwrap_or_default()
    }
}

/// The time from each 429 to the next write; the last one has none. Those that overlap are one.
fn pauses(writes: &[Write]) -> Vec<(i64, i64)> {
    let mut starts: Vec<i64> = writes.iter().map(|write| write.at).collect();
    starts.sort_unstable();
    let refused = writes.iter().filter(|write| write.kind == Some(AnswerKind::Throttled));
    let mut found: Vec<(i64, i64)> = refused
        .filter_map(|write| {
            let next = starts.get(starts.partition_point(|start| *start <= write.answered))?;
            Some((write.answered, *next))
        })
        .collect();
    found.sort_unstable();
    let mut pauses: Vec<(i64, i64)> = Vec::new();
    for (from, to) in found {
        match pauses.last_mut().filter(|last| from <= last.1) {
            Some(last) => last.1 = last.1.max(to),
            None => pauses.push((from, to)),
        }
    }
    pauses
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Milliseconds since 1970 of an RFC 3339 time.
pub(super) fn millis(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// `05:16:02` of a time in milliseconds since 1970, UTC.
pub(super) fn clock(at: i64) -> String {
    Timestamp::from_millisecond(at).map_or_else(|_| "?".to_owned(), |at| at.strftime("%H:%M:%S").to_string())
}

/// `05:16:02` of an RFC 3339 time; the text itself where it is none.
pub(super) fn clock_of(text: &str) -> String {
    millis(text).map_or_else(|| text.to_owned(), clock)
}

/// `2026-11-24 05:16:02 UTC` of an RFC 3339 time; the text itself where it is none.
pub(super) fn date_of(text: &str) -> String {
    let time = text.parse::<Timestamp>();
    time.map_or_else(|_| text.to_owned(), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{AnswerRecord, Attempt};
    use crate::model::PartLabel;

    const BASE: i64 = 1_795_493_640_000;

    fn at(ms: i64) -> String {
        Timestamp::from_millisecond(BASE + ms).unwrap().to_string()
    }

    fn sent(ms: i64, kind: Option<AnswerKind>, took_ms: u64) -> Sent {
        let answer = kind.map(|kind| AnswerRecord {
            attempt: 1,
            kind,
            status: Some(if kind == AnswerKind::Throttled { 429 } else { 200 }),
            code: String::new(),
            message: String::new(),
            request_id: String::new(),
            job_id: String::new(),
            refused: vec![],
            at: at(ms + i64::try_from(took_ms).unwrap()),
            took_ms,
        });
        let part = PartLabel { chunk: 1, part: 0 };
        let attempt = Attempt { id: 1, part, carries: vec![], body_sha256: String::new(), body_bytes: 10, at: at(ms) };
        Sent { attempt, answer }
    }

    fn work(of: &[(i64, Option<AnswerKind>, u64)]) -> Work {
        let mut work = Work::new().unwrap();
        for (ms, kind, took) in of {
            work.absorb(&sent(*ms, *kind, *took));
        }
        work
    }

    fn process(ms: i64) -> Process {
        let write_period = Some(Duration::from_millis(600));
        Process { started_at: at(ms), version: "1".to_owned(), write_period, stopped: None }
    }

    const OK: Option<AnswerKind> = Some(AnswerKind::Answered);
    const BUSY: Option<AnswerKind> = Some(AnswerKind::Throttled);

    #[test]
    fn every_write_is_in_one_bar_of_its_process() {
        let work = work(&[(0, OK, 5), (600, OK, 5), (1_200, None, 0), (3_600_000, OK, 5)]);
        let strips = work.strips(&[process(-10), process(3_599_000)]);
        let shape: Vec<_> = strips.iter().map(|strip| (strip.process, strip.width, strip.bars.len())).collect();
        assert_eq!(shape, [(0, 1, 2), (1, 1, 1)]);
        let all: u64 = strips.iter().flat_map(|strip| &strip.bars).flatten().sum();
        assert_eq!(all, work.count());
        assert_eq!(strips[0].bars[1][end_of(None)], 1);
        // 100 a minute: two within a second, one with no time at all between them.
        assert_eq!((strips[0].ceiling, strips[0].per_minute.map(f64::round)), (Some(2), Some(100.0)));
    }

    #[test]
    fn long_runs_and_clocks_that_jump_keep_the_picture_small() {
        for last in [59_999, 60_000, 86_400_000, 400 * 86_400_000, -86_400_000] {
            let strips = work(&[(0, OK, 5), (last, OK, 5)]).strips(&[process(0)]);
            assert_eq!(strips.len(), 1);
            assert!(strips[0].bars.len() <= 61, "{last}: {}", strips[0].bars.len());
            assert_eq!(strips[0].bars.iter().flatten().sum::<u64>(), 2);
        }
        assert!(work(&[]).strips(&[process(0)]).is_empty());
        assert_eq!(work(&[(0, OK, 5)]).strips(&[])[0].ceiling, None);
    }

    #[test]
    fn a_pause_lasts_from_a_429_to_the_next_write() {
        let work = work(&[(0, BUSY, 100), (50, BUSY, 200), (10_000, OK, 5), (11_000, BUSY, 100)]);
        let strip = &work.strips(&[process(0)])[0];
        assert_eq!(strip.pauses, [(BASE + 100, BASE + 10_000)]);
        assert_eq!(strip.held(), (Duration::from_millis(9_900), Duration::from_millis(9_900)));
    }

    #[test]
    fn latencies_are_those_of_complete_answers() {
        let work =
            work(&[(0, OK, 10), (0, OK, 11), (0, BUSY, 60_000), (0, Some(AnswerKind::Doubt), 75_000), (0, None, 0)]);
        assert_eq!(work.latency.len(), 3);
        assert_eq!((work.latencies[0], work.latencies[1], work.latencies[12]), (1, 1, 1));
        assert_eq!(work.statuses, [(None, 1), (Some(200), 2), (Some(429), 1)].into());
        assert_eq!(work.bytes, 50);
    }
}
