//! From a durable plan to its results: drives the journal, writes what it left, says what happened. A run, a resume
//! and an undo end here alike.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::args::Format;
use super::planning::{shown, waits};
use super::session::Session;
use super::still::Wanted;
use super::target::{Place, ceiling};
use super::task::{Files, Task};
use super::{Closing, Failure, colour, note, say, width};
use crate::api::{Reader, Writer, action_on};
use crate::config::StillAccess as Asked;
use crate::dispatch::{Drive, Ended, Rules, StopReason, drive};
use crate::error::{Error, Exit};
use crate::files;
use crate::journal::record::Record;
use crate::journal::{Identity, Journal as _, Progress, Store, View, beside};
use crate::model::{Class, Doubt, Given, Observer, Outcome, StillAccess};
use crate::outcome::metrics::last_success_in;
use crate::outcome::next::{Next, Situation, next};
use crate::outcome::{Counts, Metrics, ResultsWriter, Summary, SummaryFacts, exit_of};
use crate::pace::Gates;
use crate::report::{Tee, Waited, observer};
use crate::text::{counted, escape_untrusted, timestamp_now};

/// A run whose plan is in its journal.
pub(super) struct Job<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) files: Files,
    pub(super) store: Store,
    pub(super) place: Place,
    pub(super) gates: Arc<Gates>,
    pub(super) resumed: bool,
    /// Whether a read was answered already.
    pub(super) proved: bool,
    /// As the next command names it.
    pub(super) input: PathBuf,
}

/// The rules of a run, from its settings.
///
/// * `began`: when the process did. The time before the first write counts for `--max-runtime`, too.
pub(super) fn rules(session: &Session, identity: &Identity, began: Instant) -> Rules {
    let settings = &session.settings;
    Rules {
        class: identity.class,
        verify: settings.verify,
        preflight: identity.preflight,
        concurrency: settings.concurrency.get(),
        waits: waits(settings),
        busy_wait: settings.busy_wait,
        outage_limit: settings.outage_limit,
        drain_time: settings.drain_time,
        stop_at: settings.stop_at,
        canary_chunks: identity.canary_chunks,
        max_runtime: settings.max_runtime.map(|most| most.saturating_sub(began.elapsed())),
        ..Rules::default()
    }
}

/// What is known when the end is told.
struct End {
    exit: Exit,
    stopped: Option<String>,
    canary_failed: bool,
}

/// Drives a journal to its end, or to a stop, and writes its results.
pub(super) async fn execute(job: Job<'_>) -> Result<Closing, Failure> {
    let Job { task, files, store, place, gates, resumed, proved, input } = job;
    let Task { session, signals, began, .. } = task;
    let Files { results, journal, lock } = files;
    let began = *began;
    let identity = store.identity().clone();
    let handle = store.handle();
    let waits = Waited::default();
    let watching = observer(session.shape, &session.screen, session.logged);
    let mut watching = Tee(vec![watching, Box::new(waits.clone())]);
    let resume = |exit| {
        let is_fault = exit == Exit::Fault;
        let start = ["batch-detach", if is_fault { "status" } else { "run" }].map(OsString::from).into_iter();
        let place = session.repeat.place.iter().filter(|_| !is_fault).flat_map(Given::words);
        let command = start.chain([journal.clone().into_os_string()]).chain(place).collect();
        Next { words: "To go on where it stopped:".to_owned(), command: Some(command) }
    };
    let fail = |error: Error| {
        // With a damaged journal nothing goes on.
        let next = (!matches!(error, Error::Damaged { .. })).then(|| resume(error.exit()));
        Failure::new(error, next)
    };
    let run = Drive {
        journal: Arc::new(handle.clone()),
        reader: Reader::new(place.target.clone()),
        writer: Writer::new(place.target.clone()),
        gates: Arc::clone(&gates),
        rules: rules(session, &identity, began),
        write_ceiling: ceiling(session.settings.write_rate.period()),
        resumed,
        proved,
        seed: fastrand::u64(..),
        stop: signals.stop.clone(),
        abandon: signals.abandon.clone(),
    };
    let ended = drive(run, &mut watching as &mut dyn Observer).await;
    drop(watching);
    let ended = match ended {
        Ok(ended) => ended,
        Err(error) => return Err(fail(error)),
    };
    let (mut stopped, no_access, canary_failed) = match ended {
        Ended::Complete => (None, false, false),
        Ended::Stopped { reason, no_access } => {
            let canary = matches!(reason, StopReason::Canary(_));
            (Some(reason.in_words()), no_access, canary)
        }
        Ended::Abandoned => {
            let error = Error::Stopped("stopped at once by a second signal; no results were written".to_owned());
            return Err(fail(error));
        }
    };
    if stopped.is_none() && identity.undo_of.is_none() {
        let wanted = Wanted { task, place: &place, gates: &gates, handle: &handle };
        stopped = wanted.look().await.map_err(&fail)?;
    }
    // The results are written on the journal's own connection: a second one would drop its locks.
    let (target, bom, columns) = (results.clone(), identity.results_bom, identity.extra_columns.clone());
    let exported = handle.with_view(move |view| export(view, &target, &columns, bom)).await;
    let (summary, totals) = match exported.map_err(Error::from).and_then(|exported| exported) {
        Ok(exported) => exported,
        Err(error) => return Err(fail(error)),
    };
    let exit = match (&stopped, no_access) {
        (Some(_), true) => Exit::NoAccess,
        (Some(_), false) => Exit::Stopped,
        (None, _) => exit_of(summary.counts(), is_open(task, totals.still.as_ref())),
    };
    let reason = stopped.clone().unwrap_or_default();
    let closing = Record::Stopped { at: timestamp_now(), exit: exit.code(), reason };
    handle.commit(vec![closing]).await.map_err(|error| fail(error.into()))?;
    drop(handle);
    store.close().map_err(&fail)?;
    log_doubts(&summary, &identity);
    log_still(totals.still.as_ref());
    let end = End { exit, stopped, canary_failed };
    if let Some(path) = &session.settings.metrics {
        write_metrics(path, &identity, &summary, &totals, waits.sums(), began.elapsed(), exit).map_err(&fail)?;
    }
    let requests = requests_of(&totals);
    let told = Told {
        identity: &identity,
        input: &input,
        results: &results,
        journal: &journal,
        expected: totals.rows,
        still: totals.still.as_ref(),
        requests: &requests,
        took: began.elapsed(),
    };
    let next = tell(task, &summary, &end, &told)?;
    drop(lock);
    Ok(Closing { exit, why: why(end.stopped, summary.counts(), totals.still.as_ref()), next: Some(next) })
}

/// The log has the number of rows in doubt; names of people only where more is asked for.
fn log_doubts(summary: &Summary, identity: &Identity) {
    if let Some(note) = identity.notes.last().filter(|_| summary.missing() > 0) {
        tracing::warn!(rows = summary.missing(), code = Doubt::ShorterList.code(), "{note}");
    }
    for cause in summary.doubts() {
        tracing::warn!(
            rows = cause.rows,
            code = cause.code,
            "rows count as done but are in doubt: see error_msg in the results"
        );
        for place in &cause.examples {
            tracing::debug!(code = cause.code, line = place.line, user = place.user_name, "{}", cause.message);
        }
    }
}

/// As [`log_doubts`], for who still gets in.
fn log_still(still: Option<&StillAccess>) {
    let Some(still) = still.filter(|still| still.is_open()) else { return };
    let StillAccess { people, rows, unknown, .. } = *still;
    tracing::info!(people, rows, unknown, "people still get in, or may: see still_via in the results");
    for why in &still.why {
        tracing::info!("it is not fully known who still gets in: {why}");
    }
    for one in &still.examples {
        tracing::debug!(line = one.line, user = one.user_name, still_via = one.still_via, "still gets in");
    }
}

/// Whether the exit code has to tell that somebody still gets in, or might.
fn is_open(task: &Task<'_>, still: Option<&StillAccess>) -> bool {
    task.session.settings.still_access == Asked::Fail && still.is_some_and(StillAccess::is_open)
}

/// What the last line adds to what the exit code means.
fn why(stopped: Option<String>, counts: &Counts, still: Option<&StillAccess>) -> Option<String> {
    let unknown = counts.get(Outcome::Unknown);
    let undone = counts.total() - counts.successes() - unknown;
    let parts = [
        (undone > 0).then(|| counted(undone, "row is not done", "rows are not done")),
        (unknown > 0).then(|| format!("of {} it is not known", counted(unknown, "row", "rows"))),
        still.filter(|still| still.is_open()).map(StillAccess::in_words),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    stopped.or_else(|| (!parts.is_empty()).then(|| parts.join("; ")))
}

/// What the summary names.
pub(super) struct Told<'a> {
    pub(super) identity: &'a Identity,
    pub(super) input: &'a Path,
    pub(super) results: &'a Path,
    pub(super) journal: &'a Path,
    pub(super) expected: u64,
    pub(super) still: Option<&'a StillAccess>,
    pub(super) requests: &'a [(Class, String, u64)],
    pub(super) took: Duration,
}

/// Prints the summary and returns what comes next.
fn tell(task: &Task<'_>, summary: &Summary, end: &End, told: &Told<'_>) -> Result<Next, Error> {
    let (results, journal) = (told.results.display().to_string(), told.journal.display().to_string());
    let undo = told.identity.undo_of.is_some();
    let session = task.session;
    let next = next(&Situation {
        exit: end.exit,
        counts: summary.counts(),
        planned: false,
        canary_failed: end.canary_failed,
        still: told.still,
        input: told.input.as_os_str(),
        undo,
        results: Some(told.results.as_os_str()),
        journal: Some(told.journal.as_os_str()),
        repeat: &session.repeat,
    });
    let warnings: Vec<String> = told.identity.notes.iter().chain(&told.identity.warnings).cloned().collect();
    let facts = SummaryFacts {
        identity: told.identity,
        input: &shown(told.input),
        results: Some(&results),
        journal: Some(&journal),
        exit: end.exit,
        stopped: end.stopped.as_deref(),
        expected_rows: Some(told.expected),
        still: told.still,
        details: session.settings.verbose > 0,
        requests: told.requests,
        took: told.took,
        warnings: &warnings,
        next: &next,
        advice: &|code, message| action_on(code, message).map(str::to_owned),
    };
    match task.options.output.format {
        Format::Human => say(&summary.human(&facts, width(), colour()))?,
        Format::Json => say(&summary.json(&facts).map_err(|error| Error::Internal(error.to_string()))?)?,
    }
    Ok(next)
}

/// Writes the results file whole or not at all, and sums up what is in it. The caller holds the run's lock.
pub(super) fn export(view: &View, path: &Path, columns: &[String], bom: bool) -> Result<(Summary, Progress), Error> {
    let progress = view.progress()?;
    let trouble = |source: std::io::Error| Error::Disk { verb: "write", path: path.to_owned(), source: source.into() };
    let summary = files::write_atomically(path, |out| {
        let mut writer = ResultsWriter::new(out, columns, bom).map_err(trouble)?;
        let mut summary = Summary::of(view.identity());
        view.for_each_result(|row| {
            summary.absorb(&row);
            writer.write(&row).map_err(trouble)
        })?;
        writer.finish().map_err(trouble)?;
        Ok(summary)
    })?;
    Ok((summary, progress))
}

/// Requests of the whole run by class and by what became of them.
fn requests_of(progress: &Progress) -> Vec<(Class, String, u64)> {
    progress.requests.iter().map(|((class, what), count)| (*class, what.clone(), *count)).collect()
}

fn write_metrics(
    path: &Path,
    identity: &Identity,
    summary: &Summary,
    totals: &Progress,
    waits: Vec<(String, Duration)>,
    duration: Duration,
    exit: Exit,
) -> Result<(), Error> {
    let ended_at = jiff::Timestamp::now().as_duration().as_secs_f64();
    let older = std::fs::read_to_string(path).ok().and_then(|older| last_success_in(&older));
    let doubts = summary.rows_in_doubt();
    let in_doubt: u64 = doubts.iter().map(|(_, rows)| rows).sum();
    let metrics = Metrics {
        labels: vec![("input", identity.input_path.clone())],
        version: env!("CARGO_PKG_VERSION").to_owned(),
        outcomes: *summary.counts(),
        doubts,
        still: totals.still.clone(),
        requests: requests_of(totals),
        waits,
        duration,
        exit,
        ended_at,
        last_success_at: if exit == Exit::Done && in_doubt == 0 { Some(ended_at) } else { older },
    };
    files::write_atomically(path, |out| {
        metrics.render(out).map_err(|source| Error::Disk {
            verb: "write the metrics",
            path: path.to_owned(),
            source: source.into(),
        })
    })
}

/// What a kill or a full disk kept a finished run from: its results, the record of its end, one file that stands alone.
/// The caller holds the lock.
///
/// Results that stand there are not to be trusted then: they may be those of an earlier stop.
pub(super) async fn finish_up(task: &Task<'_>, results: &Path, journal: &Path) -> Result<(), Error> {
    let last = View::open(journal)?.progress()?.last;
    let ended = last.is_some_and(|last| last.stopped.is_some());
    if ended && !beside(journal, "-wal").exists() {
        return Ok(());
    }
    let store = Store::open(journal)?;
    if !ended {
        let (handle, identity, target) = (store.handle(), store.identity().clone(), results.to_owned());
        let written = move |view: &View| export(view, &target, &identity.extra_columns, identity.results_bom);
        let (summary, totals) = handle.with_view(written).await.map_err(Error::from)??;
        let exit = exit_of(summary.counts(), is_open(task, totals.still.as_ref())).code();
        let end = Record::Stopped { at: timestamp_now(), exit, reason: String::new() };
        handle.commit(vec![end]).await?;
    }
    store.close()
}

/// A finished run, asked for again: nothing to do, the same exit code as then.
pub(super) fn nothing_to_do(task: &Task<'_>, view: &View, input: &Path, files: &Files) -> Result<Closing, Error> {
    let Files { results, journal, .. } = files;
    let identity = view.identity().clone();
    let mut summary = Summary::of(&identity);
    let (columns, bom) = (&identity.extra_columns, identity.results_bom);
    let progress = if results.exists() {
        view.for_each_result(|row| {
            summary.absorb(&row);
            Ok(())
        })?;
        view.progress()?
    } else {
        // Results that are gone are rebuilt from the journal, with no request sent.
        let rebuilt = export(view, results, columns, bom)?;
        summary = rebuilt.0;
        rebuilt.1
    };
    let exit = exit_of(summary.counts(), is_open(task, progress.still.as_ref()));
    let end = End { exit, stopped: None, canary_failed: false };
    let requests = requests_of(&progress);
    let what = identity.command();
    let undone = progress.undone_by.as_ref().map_or_else(String::new, |undo| {
        format!(" (and was undone since then, at least in part, by the undo {})", escape_untrusted(undo, 500))
    });
    let text = format!(
        "nothing to do: {what} {} of this input is finished{undone}; --fresh starts a new one",
        identity.run_id
    );
    note(&text);
    let told = Told {
        identity: &identity,
        input,
        results,
        journal,
        expected: progress.rows,
        still: progress.still.as_ref(),
        requests: &requests,
        took: Duration::ZERO,
    };
    let next = tell(task, &summary, &end, &told)?;
    Ok(Closing { exit, why: why(end.stopped, summary.counts(), progress.still.as_ref()), next: Some(next) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_names_all_that_is_left() {
        let mut counts = Counts::default();
        counts.add(Outcome::Detached, 5);
        assert_eq!(why(None, &counts, None), None);
        counts.add(Outcome::Failed, 1);
        counts.add(Outcome::Invalid, 1);
        counts.add(Outcome::Unknown, 1);
        let still = StillAccess { people: 3, ..StillAccess::default() };
        assert_eq!(
            why(None, &counts, Some(&still)).as_deref(),
            Some("2 rows are not done; of 1 row it is not known; 3 people still get in by something else")
        );
        assert_eq!(why(Some("a signal".to_owned()), &counts, Some(&still)).as_deref(), Some("a signal"));
    }
}
