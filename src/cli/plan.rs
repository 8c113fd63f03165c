//! `plan`: everything that a run does before it writes. The client that could write does not exist here (P5).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use super::args::{Format, RunArgs};
use super::outputs::{Outputs, keep_results};
use super::planning::{self, shown};
use super::run::journal_of;
use super::session::{Session, limit_to};
use super::shorter_list;
use super::signals::Signals;
use super::target::{self, Place};
use super::{Closing, Failure, note, say, width};
use crate::error::Error;
use crate::files;
use crate::journal::{Label, ResultRow, RowOutcome, RunLock};
use crate::model::Outcome;
use crate::outcome::next::{Situation, next};
use crate::outcome::{Counts, ResultsWriter, exit_of};
use crate::plan::{EntryFate, Fixed, HashFacts, Plan, compare, plan, show};
use crate::text::escape_untrusted;

/// `plan`, and `run --dry-run`.
pub(super) fn command(args: &RunArgs) -> Result<Closing, Failure> {
    args.check(false)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Error::Internal(format!("no runtime: {error}")))?;
    let result = runtime.block_on(make(args));
    runtime.shutdown_background();
    result
}

async fn make(args: &RunArgs) -> Result<Closing, Failure> {
    let input_path = (args.input.as_os_str() != "-").then_some(args.input.as_path());
    let mut outputs = Outputs::default();
    outputs.keep("the input", input_path);
    outputs.write("--results", args.options.output.results.as_deref());
    let mut session = Session::begin(&args.options, args.layer()?, None, outputs)?;
    limit_to(&mut session.repeat, args);
    let records = session.records;
    let failed = |error: Error| Failure::new(error, None, records);
    if let Some(results) = &args.options.output.results {
        keep_results(results).map_err(failed)?;
    }
    let signals = Signals::watch().map_err(failed)?;
    let mut input = planning::read(args, &session, &signals).await.map_err(failed)?;
    planning::accept(&input, &session.settings).map_err(failed)?;
    let shaping = args.plan_shaping(&session.settings, None);
    let earlier = args.results_path().map(|results| journal_of(&results));
    // A run that is going on is not to be held up by a reader of its journal, as on a network file system it would be.
    if let Some(journal) = earlier.filter(|journal| !RunLock::is_held(journal)) {
        let path = shown(&args.input);
        let list = shorter_list::List { path: &path, simulated: args.options.api.simulate, shaping: &shaping };
        shorter_list::note(&mut input, &list, &journal);
    }
    let place = if args.options.api.simulate {
        Place::simulated(target::seats(&input))
    } else if session.settings.preflight {
        signals.unless_stopped(Place::find(&session.settings)).await.map_err(failed)?
    } else {
        // Without a look a plan needs no credentials and no network.
        Place::unasked(&session.settings)
    };
    let gates = target::gates(&session, false);
    let policy = planning::policy(&args.options, &session.settings);
    let looked = planning::look(&input, &policy, &session, &place, &gates, &signals.stop);
    let (snapshot, reads) = signals.unless_stopped(looked).await.map_err(failed)?;
    let made = session.screen.while_busy("planning", || plan(&input, snapshot.as_ref(), &policy));
    planning::accept_plan(&made, &session.settings).map_err(failed)?;
    let covered = planning::covered(&place, &shaping);
    let (hash, to_stdout) = match &args.options.output.requests {
        Some(path) => {
            let (hash, to_stdout) = write_requests(path, |out| made.write_requests(covered, out)).map_err(failed)?;
            (hash.unwrap_or_else(|| made.hash(covered)), to_stdout)
        }
        None => (made.hash(covered), false),
    };
    let facts = Shown { session: &session, place: &place, hash: &hash, reads, shaping: &shaping };
    let text = show_plan(&made, &facts, args.options.output.format).map_err(failed)?;
    let guarded = made.guard(&policy);
    if to_stdout {
        note(records, text.trim_end());
    } else {
        say(&text).map_err(failed)?;
    }
    let mut counts = Counts::default();
    for entry in made.entries() {
        counts.add(entry.outcome(), 1);
    }
    if let Some(results) = &args.options.output.results {
        write_results(&made, results).map_err(failed)?;
    }
    guarded.map_err(|why| failed(Error::Refused(why)))?;
    // As the run would end if all writes went well.
    let mut wished = Counts::default();
    for (outcome, rows) in counts.iter() {
        wished.add(if outcome == Outcome::Planned { Outcome::Detached } else { outcome }, rows);
    }
    let exit = exit_of(&wished);
    let results = args.options.output.results.as_deref().map(shown);
    let next = next(&Situation {
        exit,
        counts: &counts,
        planned: true,
        canary_failed: false,
        input: &shown(&args.input),
        undo: false,
        results: results.as_deref(),
        journal: None,
        repeat: &session.repeat,
    });
    Ok(Closing { exit, next: Some(next), records })
}

/// What a plan is shown with.
pub(super) struct Shown<'a> {
    pub(super) session: &'a Session,
    pub(super) place: &'a Place,
    pub(super) hash: &'a str,
    /// Requests that the preflight took.
    pub(super) reads: u64,
    pub(super) shaping: &'a BTreeMap<String, String>,
}

impl<'a> Shown<'a> {
    /// Lines for people beside the plan: label and value.
    pub(super) fn context(&self) -> Vec<(&'static str, String)> {
        let settings = &self.session.settings;
        let mut context = vec![("credentials", self.place.credentials.clone())];
        context.extend(self.place.proxy.iter().map(|proxy| ("proxy", proxy.clone())));
        context.extend(self.session.config.iter().map(|path| ("config", path.display().to_string())));
        if self.reads > 0 {
            context.push(("reads made", self.reads.to_string()));
        }
        if settings.verbose > 0 {
            context
                .extend(settings.origins().iter().map(|line| (line.name, format!("{} ({})", line.value, line.origin))));
        }
        context
    }

    pub(super) fn covered(&self) -> HashFacts<'a> {
        HashFacts { endpoint: self.place.endpoint(), project: self.place.project(), settings: self.shaping }
    }
}

/// How a plan differs from an approved one.
pub(super) fn differences(approved: &serde_json::Value, made: &Plan<'_>, shown: &Shown<'_>) -> Vec<String> {
    let facts = show::Facts {
        hash: shown.hash,
        covered: shown.covered(),
        context: &[],
        write_per_s: shown.session.settings.write_rate.per_second(),
        skip_invalid: false,
    };
    compare(approved, made, &facts)
}

/// The plan as text, for people or as JSON.
pub(super) fn show_plan(made: &Plan<'_>, shown: &Shown<'_>, format: Format) -> Result<String, Error> {
    let settings = &shown.session.settings;
    let context = shown.context();
    let facts = show::Facts {
        hash: shown.hash,
        covered: shown.covered(),
        context: &context,
        write_per_s: settings.write_rate.per_second(),
        skip_invalid: settings.on_invalid == crate::config::OnInvalid::Skip,
    };
    match format {
        Format::Human => Ok(show::human(made, &facts, width())),
        Format::Json => serde_json::to_string(&show::json(made, &facts))
            .map(|text| text + "\n")
            .map_err(|error| Error::Internal(format!("the plan is no JSON: {error}"))),
    }
}

/// Writes every body, one a line, and returns what `write` does: `None` where whoever reads them had seen enough.
/// `true`: to standard output, so that the plan goes elsewhere.
///
/// * `write`: writes them to what it is given.
pub(super) fn write_requests<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<T>,
) -> Result<(Option<T>, bool), Error> {
    let trouble = |source: std::io::Error| Error::File { verb: "write the requests to", path: path.to_owned(), source };
    if path.as_os_str() == "-" {
        let mut out = BufWriter::with_capacity(1 << 16, std::io::stdout().lock());
        let written = write(&mut out).and_then(|value| out.flush().map(|()| value));
        return match written {
            Ok(value) => Ok((Some(value), true)),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok((None, true)),
            Err(error) => Err(trouble(error)),
        };
    }
    let file = files::create_private(path).or_else(|_| File::create(path)).map_err(trouble)?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    let value = write(&mut out).and_then(|value| out.flush().map(|()| value)).map_err(trouble)?;
    Ok((Some(value), false))
}

/// Writes results with `planned` rows: only where `--results` asks for them.
fn write_results(made: &Plan<'_>, path: &Path) -> Result<(), Error> {
    let trouble = |source: std::io::Error| Error::File { verb: "write the results to", path: path.to_owned(), source };
    let input = made.input();
    files::write_atomically(path, |out| {
        let mut writer = ResultsWriter::new(out, input.table.extra_columns(), input.had_bom_or_not_utf8);
        let writer = writer.as_mut().map_err(|error| trouble(std::io::Error::new(error.kind(), error.to_string())))?;
        for entry in made.entries() {
            let extras: Vec<&str> = entry.extras().collect();
            let (code, message) = match entry.fate() {
                EntryFate::Fixed(Fixed { code, message, .. }) => (code.into(), message.into()),
                EntryFate::Send { .. } => <(String, String)>::default(),
            };
            let result = &RowOutcome::new(entry.outcome(), code, message);
            let row = ResultRow { line: entry.line(), cells: entry.cells(), result, extras: &extras };
            writer.write(&row).map_err(trouble)?;
        }
        Ok(())
    })
}

/// `--approved`: the plan made now must be that one, and it must not have been done before.
///
/// * `differences`: how the plan made now differs from the approved one; asked only where it does.
///
/// # Errors
/// [`Error::Refused`] with the differing rows, or with the run that did it.
pub(super) fn check_approved(
    approved: &str,
    hash: &str,
    journal: &Path,
    differences: impl FnOnce(&serde_json::Value) -> Vec<String>,
) -> Result<(), Error> {
    if is_hash(approved) {
        if !approved.eq_ignore_ascii_case(hash) {
            return Err(Error::Refused(format!(
                "the plan made now is another one ({hash}) than the approved one ({approved}); nothing was sent. The list, \
                 the settings or the bindings have changed, or another version of this program made the approved plan. A \
                 bare hash can't tell which: give the file that `plan --format json` wrote"
            )));
        }
    } else {
        let value = read_approved(approved)?;
        // The hash in the file proves nothing about its rows: whoever approved it read those.
        let mut differences = differences(&value);
        let is_other = value.get("hash").and_then(serde_json::Value::as_str) != Some(hash);
        if is_other && differences.is_empty() {
            differences.push("the requests would be divided otherwise, though every row has the same fate".to_owned());
        }
        if !differences.is_empty() {
            let what = if is_other {
                "the plan made now is not the approved one"
            } else {
                "the approved file was changed: its rows are not those of its hash, which is that of the plan made now"
            };
            return Err(Error::Refused(format!("{what}; nothing was sent:\n  - {}", differences.join("\n  - "))));
        }
    }
    match done_by(hash, journal) {
        Some(run_id) => Err(Error::Refused(format!(
            "the approved plan was done already, by run {run_id}; an approval holds once. Plan again and have that approved"
        ))),
        None => Ok(()),
    }
}

fn is_hash(approved: &str) -> bool {
    approved.len() == 64 && approved.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The approved plan in a file: UTF-8, or what PowerShell makes of it (a byte order mark, UTF-16).
fn read_approved(approved: &str) -> Result<serde_json::Value, Error> {
    let path = PathBuf::from(approved);
    let bytes = std::fs::read(&path).map_err(|source| Error::File { verb: "read the approved plan", path, source })?;
    let (text, ..) = encoding_rs::UTF_8.decode(&bytes);
    serde_json::from_str(&text).map_err(|error| Error::Input {
        path: escape_untrusted(approved, 1_000),
        problem: format!("this is no plan as `plan --format json` writes it: {error}"),
    })
}

/// `--approved` for a run that goes on: it must be the plan that the journal holds.
///
/// # Errors
/// [`Error::Refused`] where it is another.
pub(super) fn check_approved_again(approved: &str, planned: &str) -> Result<(), Error> {
    let hash = if is_hash(approved) {
        approved.to_ascii_lowercase()
    } else {
        let value = read_approved(approved)?;
        value.get("hash").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
    };
    if hash == planned {
        return Ok(());
    }
    Err(Error::Refused(format!(
        "the run that stands unfinished here has another plan ({planned}) than the approved one ({}); nothing was sent. \
         Go on with it without --approved, or start over with --fresh",
        escape_untrusted(&hash, 64)
    )))
}

/// The run that has this plan, among the journals beside the results, moved aside or not.
fn done_by(hash: &str, journal: &Path) -> Option<String> {
    let directory = journal.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let journals = std::fs::read_dir(directory).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    journals
        .filter(|path| path.extension().is_some_and(|ending| ending == "journal"))
        .filter_map(|path| Label::read(&path).ok())
        .find(|label| label.plan_hash == hash)
        .map(|label| label.run_id)
}

#[cfg(test)]
mod tests {
    use super::super::run::journal_of;
    use super::*;

    #[test]
    fn a_journal_stands_beside_its_results() {
        assert_eq!(journal_of(Path::new("d/x.results.csv")), Path::new("d/x.results.csv.journal"));
    }
}
