//! The one way from what was asked for to its end, for `plan`, `run` and `undo` alike:
//!
//! ```text
//! prepare → look → plan → guard → approve → show → confirm → journal → execute
//! ```
//!
//! What differs between the commands is their [`Subject`]. What only looks ends after `show`: it has no [`Files`].

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::args::{AS_OF, Format};
use super::confirm::confirm;
use super::execute::{Job, execute, finish_up, nothing_to_do};
use super::outputs::{Stands, keep_results, move_aside_by_time, stands};
use super::planning::{self, shown};
use super::session::Session;
use super::standing::{Asked, Standing, same_place, stand};
use super::still::{self, Forecast};
use super::target::{self, Place, SIMULATOR};
use super::task::{Files, Task, started_with, to_keep};
use super::{Closing, Failure, approval, note, say, width};
use crate::config::{DECLARED, Group, OnInvalid};
use crate::error::{Error, Exit};
use crate::files;
use crate::input::Input;
use crate::journal::{Builder, Identity, Progress, ResultRow, Store, View, move_aside, remains};
use crate::model::{Class, LiveDesktop, Ways};
use crate::outcome::next::{Next, Situation, approve, next};
use crate::outcome::{Counts, ResultsWriter, exit_of};
use crate::pace::Gates;
use crate::plan::show::Facts;
use crate::plan::{Draft, HashFacts, Policy};
use crate::report::page::plan as plan_page;
use crate::text::{counted, escape_untrusted, grouped, timestamp_now};

/// What is to be done: bindings of a list to detach, or a run to take back.
pub(super) trait Subject {
    /// The file that it is read from, as the next command names it.
    fn path(&self) -> &Path;

    /// The same for people.
    fn name(&self) -> String {
        shown(self.path())
    }

    /// Tells its contents from others.
    fn digest(&self) -> String;

    /// Whether it is for the simulator.
    fn is_rehearsal(&self) -> bool;

    /// The list of those who are bound in the world of a rehearsal.
    fn people(&self) -> Option<&Input>;

    /// Why there is nothing to do, where that is known before a look.
    fn nothing(&self) -> Option<&'static str>;

    /// Where its requests go. Credentials may have to be asked for.
    async fn place(&mut self, task: &Task<'_>, writes: bool) -> Result<Place, Error>;

    /// Reads all that its plan needs to know. How many requests that took.
    async fn look(&mut self, look: &Look<'_>) -> Result<u64, Error>;

    /// All desktops of the project, where the look has proved that it saw them all.
    fn all_desktops(&self) -> Option<Vec<LiveDesktop>> {
        None
    }

    /// Its plan, by what was seen.
    fn plan(&self, policy: &Policy) -> Box<dyn Draft + '_>;

    /// Fills in what the identity of its journal says of it.
    fn identify(&self, identity: &mut Identity);

    /// Makes durable that it is worked on, before anything is.
    async fn claim(&self, journal: &Path) -> Result<(), Error>;
}

/// What a subject looks with.
pub(super) struct Look<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) place: &'a Place,
    pub(super) gates: &'a Arc<Gates>,
    pub(super) policy: &'a Policy,
    /// The journal of an earlier run of the same place, with which this one may be compared.
    pub(super) earlier: Option<&'a Path>,
    /// Whether something is written afterwards.
    pub(super) writes: bool,
}

/// Goes on with what stands in the journal, or starts.
///
/// * `subject`: `None` for `run JOURNAL`, which can only go on.
pub(super) async fn go(task: &Task<'_>, subject: Option<impl Subject>, files: Files) -> Result<Closing, Failure> {
    let Files { results, journal, .. } = &files;
    let standing = {
        let of_subject = subject.as_ref().map(|subject| (subject.name(), subject.digest(), subject.is_rehearsal()));
        let asked =
            of_subject.as_ref().map(|(name, digest, simulated)| Asked { input: (name, digest), simulated: *simulated });
        stand(task, asked, journal, results)?
    };
    match (standing, subject) {
        (Standing::CanaryFailed(identity), subject) => {
            Err(canary_failed(task, &identity, &named(subject.as_ref(), &identity)))
        }
        (Standing::Finished, subject) => {
            finish_up(task, results, journal).await?;
            let view = View::open(journal)?;
            let input = named(subject.as_ref(), view.identity());
            Ok(nothing_to_do(task, &view, &input, &files)?)
        }
        (Standing::Resume(found), subject) => {
            let (identity, progress) = *found;
            let place = rehearse_again(&identity, journal, subject.as_ref().and_then(Subject::people))?;
            let input = named(subject.as_ref(), &identity);
            if let Some(subject) = subject {
                // It may have been killed before this was durable. All else of it is in the journal.
                subject.claim(journal).await?;
            }
            resume(task, files, (&identity, &progress), input, place).await
        }
        (Standing::New { aside }, Some(subject)) => {
            if aside.is_none() && !task.options.safety.fresh {
                keep_results(results)?;
            }
            let earlier = aside.as_ref().map(|_| journal.clone());
            start(task, subject, earlier.as_deref(), Some((files, aside))).await
        }
        (Standing::New { .. }, None) => Err(Error::Internal("a journal without its run".to_owned()).into()),
    }
}

/// What a run works on, as the next command names it.
fn named(subject: Option<&impl Subject>, identity: &Identity) -> PathBuf {
    subject.map_or_else(|| started_with(identity).0.into(), |subject| subject.path().to_owned())
}

/// A failed canary is final for its journal.
fn canary_failed(task: &Task<'_>, identity: &Identity, input: &Path) -> Failure {
    let next = next(&Situation {
        exit: Exit::Stopped,
        counts: &Counts::default(),
        planned: false,
        canary_failed: true,
        still: None,
        input: input.as_os_str(),
        undo: identity.undo_of.is_some(),
        results: None,
        journal: None,
        repeat: &task.session.repeat,
    });
    let error = Error::Stopped(format!(
        "the canary of run {} failed, so nothing more of it is sent; find out why, then start over with --fresh",
        identity.run_id
    ));
    Failure::new(error, Some(next))
}

/// The simulator, for a journal that began there: with the input's bindings, or with those of the journal's plan.
fn rehearse_again(identity: &Identity, journal: &Path, input: Option<&Input>) -> Result<Option<Place>, Error> {
    if identity.endpoint != SIMULATOR {
        return Ok(None);
    }
    Ok(Some(match input {
        Some(input) => Place::rehearsed(input),
        None if identity.undo_of.is_some() => Place::simulated_after(&View::open(journal)?)?,
        None => Place::simulated(target::seats_of(&View::open(journal)?)?),
    }))
}

/// A run, or an undo, that goes on.
///
/// * `place`: `None` where it is still to be found.
async fn resume(
    task: &Task<'_>,
    files: Files,
    (identity, progress): (&Identity, &Progress),
    input: PathBuf,
    place: Option<Place>,
) -> Result<Closing, Failure> {
    let Task { options, session, signals, .. } = task;
    let place = match place {
        Some(place) => place,
        None => signals.unless_stopped(Place::find(&session.settings)).await?,
    };
    same_place(identity, &place, &files.journal)?;
    if let Some(approved) = &options.safety.approved {
        approval::check_again(approved, &identity.plan_hash)?;
    }
    let gates = target::gates(session, true);
    let proved = identity.preflight || session.settings.verify;
    if proved {
        let preflight = planning::preflight(session, &place, &gates, &signals.stop);
        signals.unless_stopped(preflight.probe()).await?;
    }
    note(&format!(
        "resuming {} {} of {}: {} of {} rows have their outcome",
        if identity.undo_of.is_some() { "undo" } else { "run" },
        identity.run_id,
        escape_untrusted(&identity.input_path, 200),
        grouped(progress.rows - progress.open()),
        grouped(progress.rows)
    ));
    // Reads alone need no word of anybody.
    if !progress.finished {
        let question = format!("Go on with {}?", counted(progress.open(), "open row", "open rows"));
        confirm(&options.safety, &(question + &place.in_words()), signals).await?;
    }
    let store = Store::open(&files.journal)?;
    execute(Job { task, files, store, place, gates, resumed: true, proved, input }).await
}

/// There is nothing to do, and why.
pub(super) fn nothing(why: &str) -> Closing {
    note(why);
    let next = Next { words: "Nothing is left to do.".to_owned(), command: None };
    Closing { exit: Exit::Done, why: None, next: Some(next) }
}

/// The whole way, for what has no journal yet.
///
/// * `earlier`: as [`Look::earlier`].
/// * `files`: where it is to be written, and the id of an older run whose files are in the way. `None` for what only
///   looks.
pub(super) async fn start(
    task: &Task<'_>,
    mut subject: impl Subject,
    earlier: Option<&Path>,
    files: Option<(Files, Option<String>)>,
) -> Result<Closing, Failure> {
    let Task { options, session, signals, .. } = task;
    if let Some(why) = subject.nothing() {
        return Ok(nothing(why));
    }
    let (writes, policy) = (files.is_some(), task.policy());
    let place = signals.unless_stopped(subject.place(task, writes)).await?;
    let resumed = files.as_ref().is_some_and(|(_, aside)| aside.is_some());
    let gates = target::gates(session, resumed);
    let look = Look { task, place: &place, gates: &gates, policy: &policy, earlier, writes };
    let reads = signals.unless_stopped(subject.look(&look)).await?;
    let name = subject.name();
    let made = session.screen.while_busy("planning", || subject.plan(&policy));
    planning::refuse_invalid(&name, &made.faults(), &session.settings)?;
    let mut sight = Sight { task, place: &place, reads, forecast: None };
    let Some((files, aside)) = files else {
        // What takes something back lets people in.
        if session.settings.preflight && task.looks_who_gets_in() && subject.people().is_some() {
            let forecast = still::forecast(task, &place, &gates, subject.all_desktops(), made.as_ref());
            let forecast = signals.unless_stopped(forecast).await?;
            sight.reads += forecast.reads;
            sight.forecast = Some(forecast);
        }
        return Ok(preview(task, &subject, made.as_ref(), &sight)?);
    };
    let hash = made.write_requests(sight.covered(), &mut std::io::sink()).map_err(unwritten)?;
    made.guard(&policy).map_err(Error::Refused)?;
    if let Some(approved) = &options.safety.approved {
        approval::check(approved, made.as_ref(), &hash, sight.covered(), &files.journal)?;
    }
    if options.output.format == Format::Human {
        say(&sight.show(made.as_ref(), &hash, Format::Human)?)?;
    }
    if let Some(question) = made.question() {
        confirm(&options.safety, &(question + &place.in_words()), signals).await?;
    }
    if signals.stop.is_cancelled() {
        return Err(Error::Stopped("stopped by a signal before anything was sent".to_owned()).into());
    }
    // Before its own journal: once that stands, whatever works against it must not go on.
    subject.claim(&files.journal).await?;
    let identity = identity(task, &subject, made.as_ref(), &place, hash);
    if let Some(older) = &aside {
        let moved = move_aside(&files.journal, &files.results, older)?;
        tracing::info!(journal = %moved.journal.display(), "the older run was moved aside");
    } else if stands(&files.results) != Stands::Free || remains(&files.journal).is_some() {
        move_aside_by_time(&files.results, &files.journal)?;
    }
    build(made.as_ref(), &identity, &files.journal)?;
    // From here on the journal is all there is to know, and a run may take hours.
    drop(made);
    let input = subject.path().to_owned();
    drop(subject);
    let store = Store::open(&files.journal)?;
    let proved = identity.preflight || session.settings.verify;
    execute(Job { task, files, store, place, gates, resumed: false, proved, input }).await
}

/// What a journal says of the run that it begins with.
fn identity(task: &Task<'_>, subject: &impl Subject, made: &dyn Draft, place: &Place, plan_hash: String) -> Identity {
    let session = task.session;
    let mut identity = Identity {
        run_id: format!("{:08x}", fastrand::u32(..)),
        class: Class::BatchDetach,
        created_at: timestamp_now(),
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        operator: operator(),
        host: host(),
        ticket: task.options.output.ticket.clone(),
        input_path: subject.name(),
        input_sha256: subject.digest(),
        plan_hash,
        endpoint: place.endpoint().to_owned(),
        project_id: place.project().to_owned(),
        region: place.region.clone(),
        caller: place.caller.clone(),
        plan_settings: task.shaping.clone(),
        preflight: session.settings.preflight,
        notes: Vec::new(),
        results_bom: false,
        extra_columns: Vec::new(),
        undo_of: None,
        canary_chunks: u32::try_from(made.canary_chunks()).unwrap_or(u32::MAX),
        warnings: made.warnings(),
        missing_rows: 0,
        typed: Some(to_keep(&session.repeat, &session.settings, session.config.as_deref(), subject.path(), place)),
        still_access: task.looks_who_gets_in(),
    };
    subject.identify(&mut identity);
    identity.still_access &= identity.undo_of.is_none();
    identity
}

/// The person, as far as the system knows: by the environment, which a job may lack; by the system's own name of the
/// user, which only `id` knows where users are kept in a directory; else by the user's number.
fn operator() -> String {
    let set = |name: &&str| std::env::var(name).ok().filter(|name| !name.is_empty());
    let by_system = || {
        let told = Command::new("id").arg("-un").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
        let name = String::from_utf8_lossy(&told.stdout).trim().to_owned();
        (told.status.success() && !name.is_empty()).then_some(name)
    };
    let name = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(set).or_else(by_system);
    escape_untrusted(&name.unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw())), 100)
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
    escape_untrusted(name.unwrap_or_default().trim(), 255)
}

/// Writes the whole plan as a journal: there whole, or not at all.
fn build(made: &dyn Draft, identity: &Identity, path: &Path) -> Result<(), Error> {
    let mut builder = Builder::create(path, identity)?;
    made.for_each_entry(&mut |entry| builder.entry(entry))?;
    for item in made.items() {
        builder.item(item)?;
    }
    builder.finish()
}

/// What a plan is shown with.
struct Sight<'a> {
    task: &'a Task<'a>,
    place: &'a Place,
    /// Requests that the look took.
    reads: u64,
    /// Who would still get in, where that was looked for.
    forecast: Option<Forecast>,
}

impl<'a> Sight<'a> {
    fn covered(&self) -> HashFacts<'a> {
        HashFacts { endpoint: self.place.endpoint(), project: self.place.project(), settings: self.task.shaping }
    }

    /// Lines for people beside the plan: label and value.
    fn context(&self) -> Vec<(&'static str, String)> {
        let Session { settings, config, .. } = self.task.session;
        let Place { region, caller, .. } = self.place;
        let mut context = vec![("endpoint", self.place.endpoint().to_owned())];
        context.extend(region.iter().map(|region| ("region", region.clone())));
        context.push(("project", caller.project(self.place.project())));
        context.push(("credentials", caller.credentials.clone()));
        let agency = caller.agency.as_ref();
        context.extend(agency.map(|agency| ("agency", format!("{} of account {}", agency.name, agency.account))));
        context.extend(self.place.proxy.iter().map(|proxy| ("proxy", proxy.clone())));
        context.extend(config.iter().map(|path| ("config", path.display().to_string())));
        if self.reads > 0 {
            context.push(("reads made", self.reads.to_string()));
        }
        if settings.verbose > 0 {
            let origins = settings.origins().iter();
            context.extend(origins.map(|line| (line.name, format!("{} ({})", line.value, line.origin))));
        }
        context
    }

    fn facts<'f>(&'f self, hash: &'f str, context: &'f [(&'f str, String)]) -> Facts<'f> {
        let settings = &self.task.session.settings;
        Facts {
            hash,
            covered: self.covered(),
            region: self.place.region.as_deref(),
            caller: &self.place.caller,
            context,
            write_per_s: settings.write_rate.per_second(),
            skip_invalid: settings.on_invalid == OnInvalid::Skip,
            still: self.forecast.as_ref().map(|forecast| &forecast.found),
        }
    }

    /// The plan as text, for people or as JSON.
    fn show(&self, made: &dyn Draft, hash: &str, format: Format) -> Result<String, Error> {
        let context = self.context();
        let facts = self.facts(hash, &context);
        match format {
            Format::Human => Ok(made.human(&facts, width())),
            Format::Json => {
                let text = made.json(&facts);
                text.map(|text| text + "\n").map_err(|error| Error::Internal(format!("the plan is no JSON: {error}")))
            }
        }
    }

    /// Writes the plan as a page.
    ///
    /// * `refused`: what a guard says.
    /// * `next`: how it is approved.
    fn write_page(
        &self,
        made: &dyn Draft,
        about: &Identity,
        refused: Option<&str>,
        next: &Next,
        path: &Path,
    ) -> Result<(), Error> {
        let (settings, context) = (&self.task.session.settings, self.context());
        let holds_back = |name| {
            let group = DECLARED.iter().find(|setting| setting.name == name).map(|setting| setting.group);
            matches!(group, Some(Group::Safety | Group::Pace))
        };
        let lines = settings.origins().iter().filter(|line| holds_back(line.name));
        let limits: Vec<_> = lines.map(|line| (line.name, line.value.as_str(), line.origin.to_string())).collect();
        let about = plan_page::About {
            identity: about,
            facts: &self.facts(&about.plan_hash, &context),
            limits: &limits,
            protected: &settings.protect.patterns().collect::<Vec<_>>(),
            refused,
            next,
            ways: ways(self.forecast.as_ref()),
            redact: self.task.options.output.redact,
        };
        let trouble = |source| Error::File { verb: "write the page to", path: path.to_owned(), source };
        files::write_atomically(path, |out| plan_page::write(made, &about, out, &trouble))
    }
}

/// Shows the plan, and writes what is asked for of it.
fn preview(task: &Task<'_>, subject: &impl Subject, made: &dyn Draft, sight: &Sight<'_>) -> Result<Closing, Error> {
    let output = &task.options.output;
    let (hash, to_stdout) = write_requests(output.requests.as_deref(), made, sight.covered())?;
    let text = sight.show(made, &hash, output.format)?;
    if to_stdout {
        note(text.trim_end());
    } else {
        say(&text)?;
    }
    let about = identity(task, subject, made, sight.place, hash);
    let is_undo = about.undo_of.is_some();
    let mut counts = Counts::default();
    made.outcomes().for_each(|outcome| counts.add(outcome, 1));
    if let Some(results) = &output.results {
        write_results(made, &about, sight.forecast.as_ref(), results)?;
    }
    // As the run would end if all writes went well.
    let exit = exit_of(&counts, false);
    // The rows of an undo must never be given to `run`, which would detach them.
    let results = output.results.as_deref().filter(|_| !is_undo);
    let situation = Situation {
        exit,
        counts: &counts,
        planned: true,
        canary_failed: false,
        still: None,
        input: subject.path().as_os_str(),
        undo: is_undo,
        results: results.map(Path::as_os_str),
        journal: None,
        repeat: &task.session.repeat,
    };
    let refused = made.guard(&task.policy()).err();
    if let Some(path) = &output.html {
        let next = how_to_approve(made, &situation, &about, refused.is_some());
        sight.write_page(made, &about, refused.as_deref(), &next, path)?;
    }
    match refused {
        Some(refused) => Err(Error::Refused(refused)),
        None => Ok(Closing { exit, why: None, next: Some(next(&situation)) }),
    }
}

/// What the page of a plan says to the person who approves it.
fn how_to_approve(made: &dyn Draft, situation: &Situation<'_>, about: &Identity, is_refused: bool) -> Next {
    let nobody_can = |words: &str| Next { words: words.to_owned(), command: None };
    if is_refused {
        nobody_can("It can't be approved as it is.")
    } else if made.question().is_none() {
        nobody_can("Nothing would be sent, so there is nothing to approve.")
    } else {
        approve(situation, &about.plan_hash, about.plan_settings.get(AS_OF).map(String::as_str))
    }
}

/// Writes the bodies where `--requests` wants them. The plan's hash, and whether standard output carries the bodies.
fn write_requests(path: Option<&Path>, made: &dyn Draft, covered: HashFacts<'_>) -> Result<(String, bool), Error> {
    let buffered = |out: &mut dyn Write| {
        let mut out = BufWriter::with_capacity(1 << 16, out);
        made.write_requests(covered, &mut out)
    };
    let Some(path) = path else {
        return Ok((made.write_requests(covered, &mut std::io::sink()).map_err(unwritten)?, false));
    };
    if path.as_os_str() == "-" {
        return match buffered(&mut std::io::stdout().lock()) {
            Ok(hash) => Ok((hash, true)),
            // A reader that has seen enough is no fault, and the plan is still to be told.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                Ok((made.write_requests(covered, &mut std::io::sink()).map_err(unwritten)?, true))
            }
            Err(source) => Err(Error::File { verb: "write the requests to", path: path.to_owned(), source }),
        };
    }
    let trouble = |source| Error::File { verb: "write the requests to", path: path.to_owned(), source };
    let mut file = files::create_private(path).or_else(|_| File::create(path)).map_err(trouble)?;
    Ok((buffered(&mut file).map_err(trouble)?, false))
}

/// Writing to nowhere does not fail; a thread that makes bodies may have ended early.
fn unwritten(error: std::io::Error) -> Error {
    Error::Internal(format!("the plan's requests could not be made: {error}"))
}

/// By what each record's person would still get in.
fn ways(forecast: Option<&Forecast>) -> Ways<'_> {
    forecast.map_or(Ways::new(&[], false), |forecast| Ways::new(&forecast.rows, forecast.found.incomplete))
}

/// Writes results with `planned` rows: only where `--results` asks for them.
fn write_results(made: &dyn Draft, about: &Identity, forecast: Option<&Forecast>, path: &Path) -> Result<(), Error> {
    let trouble = |source: std::io::Error| Error::File { verb: "write the results to", path: path.to_owned(), source };
    files::write_atomically(path, |out| {
        let mut writer = ResultsWriter::new(out, &about.extra_columns, about.results_bom).map_err(trouble)?;
        let mut ways = ways(forecast);
        made.for_each_entry(&mut |entry| {
            let result = entry.fate.foreseen();
            let still_via = ways.next(&entry.cells, result.outcome);
            let row =
                ResultRow { line: entry.line, cells: entry.cells, result: &result, still_via, extras: entry.extras };
            writer.write(&row).map_err(trouble)
        })?;
        writer.finish().map(drop).map_err(trouble)
    })
}
