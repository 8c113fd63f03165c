//! `run`: plan, confirm, make the plan durable, carry it out. Running again is the recovery.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::args::{Format, RunArgs, RunOptions, Source, plan_differences, resumed_undo_shaping};
use super::execute::{Job, carry, finish_up, nothing_to_do};
use super::outputs::{Outputs, Stands, keep_results, move_aside_by_time, stands};
use super::plan::{Shown, check_approved, check_approved_again, differences, show_plan};
use super::planning::{self, shown};
use super::session::{Session, limit_to};
use super::shorter_list;
use super::signals::Signals;
use super::target::{self, Place, SIMULATOR};
use super::{Closing, Failure, note, say};
use crate::error::{Error, Exit};
use crate::input::Input;
use crate::journal::{Builder, EntryRef, Identity, Label, Progress, RunLock, Store, View, move_aside};
use crate::model::Class;
use crate::outcome::Counts;
use crate::outcome::next::{Next, Situation, next};
use crate::plan::{Plan, plan};
use crate::text::{counted, grouped};
use crate::text::{escape_untrusted, timestamp_now};

/// `run`.
pub(super) fn command(args: &RunArgs) -> Result<Closing, Failure> {
    args.check(true)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Error::Internal(format!("no runtime: {error}")))?;
    let result = runtime.block_on(run(args));
    runtime.shutdown_background(); // a question that nobody answers must not hold the end
    result
}

/// What the journal at its place says about this run.
pub(super) enum Standing {
    /// There is none, or a finished one that is no obstacle.
    New { aside: Option<String> },
    /// It goes on from here.
    Resume(Box<(Identity, Progress)>),
    /// It is this run, and finished.
    Finished,
    /// It is this run, and its canary failed: it never goes on.
    CanaryFailed(Box<Identity>),
}

async fn run(args: &RunArgs) -> Result<Closing, Failure> {
    let began = Instant::now();
    let Some(results) = args.results_path() else {
        return Err(Error::Internal("no results path".to_owned()).into());
    };
    let journal = journal_of(&results);
    let mut outputs = Outputs::default();
    outputs.write_run(&results);
    let (mut session, of_journal) = match args.source() {
        Source::Journal(path) => {
            // Its holder's files are another process's matter, whatever state they are in.
            drop(lock(path)?);
            let identity = View::open(path)?.identity().clone();
            let planned = (shown(path), identity.plan_settings.clone());
            (Session::begin(&args.options, args.layer()?, Some((&planned.0, &planned.1)), outputs)?, Some(identity))
        }
        Source::File(input) => {
            outputs.keep("the input", Some(input));
            (Session::begin(&args.options, args.layer()?, None, outputs)?, None)
        }
        Source::Stdin => (Session::begin(&args.options, args.layer()?, None, outputs)?, None),
    };
    limit_to(&mut session.repeat, args);
    let records = session.records;
    let failed = |error: Error| Failure::new(error, None, records);
    let signals = Signals::watch().map_err(failed)?;
    let mut input = match of_journal {
        Some(_) => None,
        None => Some(planning::read(args, &session, &signals).await.map_err(failed)?),
    };
    if let Some(input) = &input {
        planning::accept(input, &session.settings).map_err(failed)?;
        if input.table.is_empty() {
            note(records, "nothing to do: no row has one of these outcomes");
            let next = Next { words: "Nothing is left to do.".to_owned(), command: None };
            return Ok(Closing { exit: Exit::Done, next: Some(next), records });
        }
    }
    let shaping = match &of_journal {
        Some(undo) if undo.undo_of.is_some() => resumed_undo_shaping(&session.settings, &undo.plan_settings),
        of_journal => args.plan_shaping(&session.settings, of_journal.as_ref().map(|identity| &identity.plan_settings)),
    };
    let lock = lock(&journal).map_err(failed)?;
    let asked = Asked {
        options: &args.options,
        session: &session,
        simulated: args.options.api.simulate,
        input: input.as_ref().map(|input| (input.name.as_str(), input.sha256.as_str())),
        shaping: &shaping,
    };
    let standing = stand(&asked, &journal, &results).map_err(failed)?;
    if matches!(standing, Standing::New { aside: None }) && !args.options.safety.fresh {
        keep_results(&results).map_err(failed)?;
    }
    if let (Standing::New { aside: Some(_) }, Some(input)) = (&standing, &mut input) {
        let path = shown(&args.input);
        let list = shorter_list::List { path: &path, simulated: args.options.api.simulate, shaping: &shaping };
        let shorter = shorter_list::note(input, &list, &journal);
        // A person who is shown the plan has it there, and a log that is kept has it, too.
        if let Some(shorter) = shorter.filter(|_| session.logged || args.options.output.format == Format::Json) {
            tracing::warn!("{shorter}");
        }
    }
    match standing {
        Standing::Finished => {
            finish_up(&results, &journal).await.map_err(failed)?;
            let view = View::open(&journal).map_err(failed)?;
            let name = view.identity().input_path.clone();
            let format = args.options.output.format;
            nothing_to_do(&session, &view, &name, &results, &journal, format).map_err(failed)
        }
        Standing::CanaryFailed(identity) => Err(canary_failed(&session, &identity)),
        Standing::Resume(found) => {
            let place = simulated_again(&found.0, &journal, input.as_ref()).map_err(failed)?;
            drop(input); // all of it is in the journal
            let resume = Resume {
                options: &args.options,
                session: &session,
                found: *found,
                place,
                results,
                journal,
                lock,
                signals,
                began,
            };
            resume.go().await
        }
        Standing::New { aside } => {
            let Some(input) = input else {
                return Err(failed(Error::Internal("a journal without its run".to_owned())));
            };
            let start =
                Start { args, session: &session, input, shaping, results, journal, aside, lock, signals, began };
            start.go().await
        }
    }
}

/// A failed canary is final for its journal.
pub(super) fn canary_failed(session: &Session, identity: &Identity) -> Failure {
    let next = next(&Situation {
        exit: Exit::Stopped,
        counts: &Counts::default(),
        planned: false,
        canary_failed: true,
        input: identity.undo_of.as_deref().unwrap_or(&identity.input_path),
        undo: identity.undo_of.is_some(),
        results: None,
        journal: None,
        repeat: &session.repeat,
    });
    let error = Error::Stopped(format!(
        "the canary of run {} failed, so nothing more of it is sent; find out why, then start over with --fresh",
        identity.run_id
    ));
    Failure::new(error, Some(next), session.records)
}

/// The simulator, for a journal that began there: with the input's bindings, or with those of the journal's plan.
pub(super) fn simulated_again(
    identity: &Identity,
    journal: &Path,
    input: Option<&Input>,
) -> Result<Option<Place>, Error> {
    if identity.endpoint != SIMULATOR {
        return Ok(None);
    }
    Ok(Some(match input {
        Some(input) => Place::simulated(target::seats(input)),
        None if identity.undo_of.is_some() => Place::simulated_after(&View::open(journal)?)?,
        None => Place::simulated(target::seats_of(&View::open(journal)?)?),
    }))
}

/// A run, or an undo, that goes on.
pub(super) struct Resume<'a> {
    pub(super) options: &'a RunOptions,
    pub(super) session: &'a Session,
    pub(super) found: (Identity, Progress),
    /// `None`: it is still to be found.
    pub(super) place: Option<Place>,
    pub(super) results: PathBuf,
    pub(super) journal: PathBuf,
    pub(super) lock: RunLock,
    pub(super) signals: Signals,
    pub(super) began: Instant,
}

impl Resume<'_> {
    pub(super) async fn go(self) -> Result<Closing, Failure> {
        let (session, journal, signals) = (self.session, self.journal, self.signals);
        let (identity, progress) = self.found;
        let records = session.records;
        let failed = |error: Error| Failure::new(error, None, records);
        let place = match self.place {
            Some(place) => place,
            None => find_place(session, &signals).await.map_err(failed)?,
        };
        same_place(&identity, &place, &journal).map_err(failed)?;
        if let Some(approved) = &self.options.safety.approved {
            check_approved_again(approved, &identity.plan_hash).map_err(failed)?;
        }
        let gates = target::gates(session, true);
        let proved = identity.preflight || session.settings.verify;
        if proved {
            let preflight = planning::preflight(session, &place, &gates, &signals.stop);
            signals.unless_stopped(preflight.probe()).await.map_err(failed)?;
        }
        super::complain(&format!(
            "resuming {} {} of {}: {} of {} rows have their outcome",
            if identity.undo_of.is_some() { "undo" } else { "run" },
            identity.run_id,
            escape_untrusted(&identity.input_path, 200),
            grouped(progress.rows - progress.open()),
            grouped(progress.rows)
        ));
        let question = format!("Go on with {}?", counted(progress.open(), "open row", "open rows"));
        confirm(self.options, &question, &signals).await.map_err(failed)?;
        let store = Store::open(&journal).map_err(failed)?;
        let job = Job {
            session,
            store,
            lock: self.lock,
            place,
            gates,
            resumed: true,
            proved,
            input: identity.input_path.clone(),
            results: self.results,
            journal,
            format: self.options.output.format,
            began: self.began,
            signals,
        };
        carry(job).await
    }
}

/// A run that has no journal yet.
struct Start<'a> {
    args: &'a RunArgs,
    session: &'a Session,
    input: Input,
    shaping: BTreeMap<String, String>,
    results: PathBuf,
    journal: PathBuf,
    /// The id of an older run whose files are in the way.
    aside: Option<String>,
    lock: RunLock,
    signals: Signals,
    began: Instant,
}

impl Start<'_> {
    async fn go(self) -> Result<Closing, Failure> {
        let (args, session) = (self.args, self.session);
        let records = session.records;
        let failed = |error: Error| Failure::new(error, None, records);
        let place = if args.options.api.simulate {
            Place::simulated(target::seats(&self.input))
        } else {
            find_place(session, &self.signals).await.map_err(failed)?
        };
        let gates = target::gates(session, self.aside.is_some());
        let policy = planning::policy(&args.options, &session.settings);
        let looked = planning::look(&self.input, &policy, session, &place, &gates, &self.signals.stop);
        let (snapshot, reads) = self.signals.unless_stopped(looked).await.map_err(failed)?;
        if !session.settings.preflight && session.settings.verify {
            // Nothing was read yet, and after the writes it must be possible: else every row would end `unknown`.
            let preflight = planning::preflight(session, &place, &gates, &self.signals.stop);
            self.signals.unless_stopped(preflight.probe()).await.map_err(failed)?;
        }
        let made = session.screen.while_busy("planning", || plan(&self.input, snapshot.as_ref(), &policy));
        planning::accept_plan(&made, &session.settings).map_err(failed)?;
        let hash = planning::hash(&made, &place, &self.shaping);
        let facts = Shown { session, place: &place, hash: &hash, reads, shaping: &self.shaping };
        made.guard(&policy).map_err(|why| failed(Error::Refused(why)))?;
        if let Some(approved) = &args.options.safety.approved {
            let differences = |value: &serde_json::Value| differences(value, &made, &facts);
            check_approved(approved, &hash, &self.journal, differences).map_err(failed)?;
        }
        if args.options.output.format == Format::Human {
            say(&show_plan(&made, &facts, Format::Human)?)?;
        }
        let stats = made.stats();
        if stats.to_send() > 0 {
            let question = format!(
                "Detach {} from {}?",
                counted(stats.bindings, "binding", "bindings"),
                counted(stats.desktops, "desktop", "desktops")
            );
            confirm(&args.options, &question, &self.signals).await.map_err(failed)?;
        }
        if self.signals.stop.is_cancelled() {
            return Err(failed(Error::Stopped("stopped by a signal before anything was sent".to_owned())));
        }
        let identity = self.identity(&made, &place, hash.clone());
        let warnings = stats.warnings();
        let identity = Identity { warnings, ..identity };
        if let Some(older) = &self.aside {
            let moved = move_aside(&self.journal, &self.results, older).map_err(failed)?;
            tracing::info!(journal = %moved.journal.display(), "the older run was moved aside");
        } else if stands(&self.results) != Stands::Free {
            move_aside_by_time(&self.results).map_err(failed)?;
        }
        build(&made, &identity, &self.journal).map_err(failed)?;
        // From here on the journal is all there is to know, and a run may take hours.
        drop(made);
        drop((snapshot, self.input));
        let store = Store::open(&self.journal).map_err(failed)?;
        let job = Job {
            session,
            store,
            lock: self.lock,
            place,
            gates,
            resumed: false,
            proved: session.settings.preflight || session.settings.verify,
            input: shown(&args.input),
            results: self.results,
            journal: self.journal,
            format: args.options.output.format,
            began: self.began,
            signals: self.signals,
        };
        carry(job).await
    }

    fn identity(&self, made: &Plan<'_>, place: &Place, plan_hash: String) -> Identity {
        Identity {
            run_id: format!("{:08x}", fastrand::u32(..)),
            class: Class::BatchDetach,
            created_at: timestamp_now(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            operator: operator(),
            host: host(),
            ticket: self.args.options.output.ticket.clone(),
            input_path: shown(&self.args.input),
            input_sha256: self.input.sha256.clone(),
            plan_hash,
            endpoint: place.endpoint().to_owned(),
            project_id: place.project().to_owned(),
            region: place.region.clone(),
            plan_settings: self.shaping.clone(),
            preflight: self.session.settings.preflight,
            notes: self.input.notes.clone(),
            results_bom: self.input.had_bom_or_not_utf8,
            extra_columns: self.input.table.extra_columns().to_vec(),
            undo_of: None,
            canary_chunks: u32::try_from(made.canary_chunks()).unwrap_or(u32::MAX),
            warnings: Vec::new(),
        }
    }
}

/// Writes the whole plan as a journal: there whole, or not at all.
fn build(made: &Plan<'_>, identity: &Identity, path: &Path) -> Result<(), Error> {
    let mut builder = Builder::create(path, identity)?;
    let mut extras = Vec::new();
    for entry in made.entries() {
        extras.clear();
        extras.extend(entry.extras());
        let fate = entry.journal_fate();
        builder.entry(EntryRef { line: entry.line(), cells: entry.cells(), extras: &extras, fate: &fate })?;
    }
    for item in made.items() {
        builder.item(item)?;
    }
    builder.finish()
}

/// What is asked for now, to be compared with a journal.
pub(super) struct Asked<'a> {
    pub(super) options: &'a RunOptions,
    pub(super) session: &'a Session,
    /// Whether it is for the simulator.
    pub(super) simulated: bool,
    /// The input's name and digest; `None` for `run JOURNAL`.
    pub(super) input: Option<(&'a str, &'a str)>,
    pub(super) shaping: &'a BTreeMap<String, String>,
}

/// Compares the journal at its place with what was asked (P16).
pub(super) fn stand(asked: &Asked<'_>, journal: &Path, results: &Path) -> Result<Standing, Error> {
    let Asked { options, session, simulated: simulate, input, shaping } = *asked;
    if !journal.exists() {
        return match input {
            Some(_) => Ok(Standing::New { aside: None }),
            None => Err(Error::NotOurJournal { path: shown(journal), problem: "there is no such journal".to_owned() }),
        };
    }
    if options.safety.fresh {
        // Whatever it says of its run, and though another version made it.
        return Ok(Standing::New { aside: Some(Label::read(journal)?.run_id) });
    }
    let opened = View::open(journal).and_then(|view| Ok((view.identity().clone(), view.progress()?)));
    let (identity, progress) = opened.map_err(|error| match error {
        Error::NotOurJournal { path, problem } if input.is_some() && Label::read(journal).is_ok() => {
            Error::NotOurJournal {
                path,
                problem: format!("{problem}, or start over with --fresh, which moves it aside"),
            }
        }
        error => error,
    })?;
    let older = || Some(identity.run_id.clone());
    let mut differences = Vec::new();
    if let Some((name, digest)) = input
        && digest != identity.input_sha256
    {
        differences.push(format!("the input {name} has other contents than the one it was planned from"));
    }
    let wanted = if simulate { Some(SIMULATOR) } else { session.settings.endpoint.as_deref() };
    let simulated = identity.endpoint == SIMULATOR;
    if wanted.is_some_and(|wanted| wanted != identity.endpoint) || (wanted.is_none() && simulated && input.is_some()) {
        let now = wanted.unwrap_or("a real endpoint");
        differences.push(format!(
            "`endpoint` was {}, and is {} now",
            escape_untrusted(&identity.endpoint, 200),
            escape_untrusted(now, 200)
        ));
    }
    let project = session.settings.project_id.as_deref().filter(|_| !simulated);
    if let Some(project) = project.filter(|project| *project != identity.project_id) {
        differences
            .push(format!("`project-id` was {}, and is {project} now", escape_untrusted(&identity.project_id, 100)));
    }
    differences.extend(plan_differences(&identity.plan_settings, shaping));
    if differences.is_empty() {
        if progress.finished {
            return Ok(Standing::Finished);
        }
        if let Some(undo) = &progress.undone_by {
            return Err(Error::NotOurJournal {
                path: shown(journal),
                problem: format!(
                    "run {} is being taken back, or was, by the undo {}, so nothing more of it is sent; `batch-detach \
                     status` of that journal shows where the undo stands. To do what the input says after all, start \
                     over with --fresh",
                    identity.run_id,
                    escape_untrusted(undo, 500)
                ),
            });
        }
        if progress.canary == Some(false) {
            return Ok(Standing::CanaryFailed(Box::new(identity)));
        }
        return Ok(Standing::Resume(Box::new((identity, progress))));
    }
    if (progress.finished || progress.undone_by.is_some()) && input.is_some() {
        return Ok(Standing::New { aside: older() });
    }
    let mut problem = format!("this journal belongs to another run ({}), which is not finished:", identity.run_id);
    for difference in &differences {
        problem.push_str("\n  - ");
        problem.push_str(difference);
    }
    _ = write!(
        problem,
        "\nfinish that run with `batch-detach run {}`, name another file with --results, or start over with --fresh \
         (the older run's files are kept beside {})",
        crate::text::shell_quote(&shown(journal)),
        shown(results)
    );
    Err(Error::NotOurJournal { path: shown(journal), problem })
}

/// Credentials may have to be asked for; a signal ends that.
pub(super) async fn find_place(session: &Session, signals: &Signals) -> Result<Place, Error> {
    signals.unless_stopped(Place::find(&session.settings)).await
}

/// The lock, or that another process has it. Somebody who only looks (`status`) holds it for a moment.
pub(super) fn lock(journal: &Path) -> Result<RunLock, Error> {
    for _ in 0..LOOKS {
        match RunLock::acquire(journal) {
            Err(Error::Locked(_)) => std::thread::sleep(LOOK),
            other => return other,
        }
    }
    RunLock::acquire(journal)
}

/// How often, and how far apart, a lock that is held is tried again.
const LOOKS: u32 = 4;
const LOOK: std::time::Duration = std::time::Duration::from_millis(50);

/// A journal goes on where it began, and nowhere else.
pub(super) fn same_place(identity: &Identity, place: &Place, journal: &Path) -> Result<(), Error> {
    let mut differences = Vec::new();
    for (name, was, is) in [
        ("endpoint", identity.endpoint.as_str(), place.endpoint()),
        ("project-id", &identity.project_id, place.project()),
    ] {
        if was != is {
            differences.push(format!(
                "`{name}` was {}, and is {} now",
                escape_untrusted(was, 200),
                escape_untrusted(is, 200)
            ));
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    let problem = format!(
        "this run was planned elsewhere: {}; use that again, or start over with --fresh",
        differences.join("; ")
    );
    Err(Error::NotOurJournal { path: shown(journal), problem })
}

/// The journal that goes with a results file.
pub(super) fn journal_of(results: &Path) -> PathBuf {
    let mut name = results.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

/// Asks, unless that was answered on the command line.
///
/// # Errors
/// [`Error::Refused`] for a "no", [`Error::Unconfirmed`] where there is nobody to ask.
pub(super) async fn confirm(options: &RunOptions, question: &str, signals: &Signals) -> Result<(), Error> {
    if options.safety.yes || options.safety.approved.is_some() {
        return Ok(());
    }
    ask(question, signals).await
}

pub(super) async fn ask(question: &str, signals: &Signals) -> Result<(), Error> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Error::Unconfirmed);
    }
    {
        let mut out = anstream::stderr().lock();
        _ = write!(out, "{question} Type \"yes\" to do it: ");
        _ = out.flush();
    }
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    tokio::select! {
        () = signals.stop.cancelled() => {
            Err(Error::Refused("stopped by a signal at the question; nothing was sent".to_owned()))
        }
        answer = answer => match answer {
            Ok(Ok(line)) if line.trim().eq_ignore_ascii_case("yes") => Ok(()),
            Ok(Ok(line)) if line.trim().eq_ignore_ascii_case("y") => {
                let why = "not confirmed: it takes the whole word \"yes\"; nothing was sent";
                Err(Error::Refused(why.to_owned()))
            }
            _ => Err(Error::Refused("not confirmed; nothing was sent".to_owned())),
        }
    }
}

/// The person, as far as the system knows.
pub(super) fn operator() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|name| std::env::var(name).ok());
    escape_untrusted(&name.filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned()), 100)
}

pub(super) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    escape_untrusted(name.unwrap_or_default().trim(), 255)
}
