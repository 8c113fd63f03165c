//! `undo`: takes back what a run changed. Itself a run, and carried out like one.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::args::{Format, UndoArgs};
use super::execute::{Job, carry, finish_up, nothing_to_do};
use super::outputs::{Outputs, Stands, keep_results, move_aside_by_time, stands};
use super::plan::{Shown, check_approved, write_requests};
use super::planning::{self, shown};
use super::run::{
    Asked, Resume, Standing, canary_failed, confirm, find_place, host, journal_of, lock, operator, same_place, stand,
};
use super::session::{Session, push_each};
use super::signals::Signals;
use super::target::{self, Place, SIMULATOR};
use super::{Closing, Failure, say, width};
use crate::config::OnInvalid;
use crate::error::{Error, Exit};
use crate::files;
use crate::journal::record::Record;
use crate::journal::{Builder, Fate, Identity, Journal as _, ResultRow, RowOutcome, RunLock, Store, View, move_aside};
use crate::model::Class;
use crate::model::Outcome;
use crate::outcome::next::{Next, Situation, next};
use crate::outcome::{Counts, ResultsWriter, exit_of};
use crate::pace::Gates;
use crate::plan::{HashFacts, Policy};
use crate::reconcile::judge::ReadSpan;
use crate::reconcile::preflight::Preflight;
use crate::reconcile::undo::{self, Changed, Doubts, Only, UndoPlan};
use crate::text::counted;
use crate::text::timestamp_now;

/// `undo`.
pub(super) fn command(args: &UndoArgs) -> Result<Closing, Failure> {
    args.check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Error::Internal(format!("no runtime: {error}")))?;
    let result = runtime.block_on(take_back(args));
    runtime.shutdown_background(); // a question that nobody answers must not hold the end
    result
}

async fn take_back(args: &UndoArgs) -> Result<Closing, Failure> {
    let began = Instant::now();
    let options = &args.options;
    let results = args.results_path();
    let journal = journal_of(&results);
    let mut outputs = Outputs::default();
    outputs.keep_run(&args.journal);
    if options.safety.dry_run {
        outputs.write("--results", options.output.results.as_deref());
    } else {
        outputs.write_run(&results);
    }
    let mut session = Session::begin(options, options.layer()?, None, outputs)?;
    push_each(&mut session.repeat.scope, "only-user", args.only_user.iter().map(String::as_str));
    push_each(&mut session.repeat.scope, "only-desktop", args.only_desktop.iter().map(String::as_str));
    let records = session.records;
    let failed = |error: Error| Failure::new(error, None, records);
    if !session.settings.preflight {
        return Err(failed(Error::Usage {
            problem: "an undo has to look at who holds the desktops now: leave out `--preflight off`".to_owned(),
        }));
    }
    let signals = Signals::watch().map_err(failed)?;
    let writes = !options.safety.dry_run;
    if let Some(results) = options.output.results.as_deref().filter(|_| !writes) {
        keep_results(results).map_err(failed)?;
    }
    if !args.journal.is_file() {
        let problem = "there is no such journal; give the one that stands beside the run's results".to_owned();
        return Err(failed(Error::NotOurJournal { path: shown(&args.journal), problem }));
    }
    // Held to the end: a run that goes on can't be taken back, and one that is being taken back can't go on.
    let of_run = lock(&args.journal).map_err(failed)?;
    let own = if writes { Some(lock(&journal).map_err(failed)?) } else { None };
    let only = Only { users: args.only_user.clone(), desktops: args.only_desktop.clone() };
    let (changed, simulated) = {
        let view = View::open(&args.journal).map_err(failed)?;
        let changed = Changed::read(&view, &only).map_err(failed)?;
        let simulated = changed.run.endpoint == SIMULATOR;
        (changed, simulated.then(|| Place::simulated_after(&view)).transpose().map_err(failed)?)
    };
    if options.api.simulate && simulated.is_none() {
        let problem = "this run was no rehearsal, so its undo is none either: leave out `--simulate`".to_owned();
        return Err(failed(Error::Usage { problem }));
    }
    let shaping = args.plan_shaping(&session.settings);
    let digest = changed.digest();
    let name = shown(&args.journal);
    let asked = Asked {
        options,
        session: &session,
        simulated: simulated.is_some(),
        input: Some((&name, &digest)),
        shaping: &shaping,
    };
    let undo = Undo { args, session: &session, changed: &changed, shaping: &shaping, simulated, signals };
    let Some(lock) = own else {
        return undo.only_plan().await.map_err(failed);
    };
    match stand(&asked, &journal, &results).map_err(failed)? {
        Standing::CanaryFailed(identity) => Err(canary_failed(&session, &identity)),
        Standing::Finished => {
            finish_up(&results, &journal).await.map_err(failed)?;
            let view = View::open(&journal).map_err(failed)?;
            nothing_to_do(&session, &view, &name, &results, &journal, options.output.format).map_err(failed)
        }
        Standing::Resume(found) => {
            // It may have been killed before this was durable.
            bar(&args.journal, &journal).await.map_err(failed)?;
            let place = match undo.simulated {
                Some(_) => Some(Place::simulated_after(&View::open(&journal).map_err(failed)?).map_err(failed)?),
                None => None,
            };
            let signals = undo.signals;
            let (session, found) = (&session, *found);
            let resume = Resume { options, session, found, place, results, journal, lock, signals, began };
            let closing = resume.go().await;
            drop(of_run);
            closing
        }
        Standing::New { aside } => {
            if aside.is_none() && !options.safety.fresh {
                keep_results(&results).map_err(failed)?;
            }
            let files = Files { results, journal, aside, lock, began };
            let closing = undo.go(files).await;
            drop(of_run);
            closing
        }
    }
}

/// Makes it durable in the journal of the run that it is taken back, so that it is not resumed any more.
async fn bar(of_run: &Path, by: &Path) -> Result<(), Error> {
    let by = std::path::absolute(by).map_or_else(|_| shown(by), |by| shown(&by));
    let store = Store::open(of_run)?;
    store.handle().commit(vec![Record::Undone { by }]).await?;
    store.close()
}

/// An undo that has no journal yet.
struct Undo<'a> {
    args: &'a UndoArgs,
    session: &'a Session,
    changed: &'a Changed,
    shaping: &'a BTreeMap<String, String>,
    /// Where the run was a rehearsal.
    simulated: Option<Place>,
    signals: Signals,
}

/// Where the undo's own files are.
struct Files {
    results: PathBuf,
    journal: PathBuf,
    /// The id of an older undo whose files are in the way.
    aside: Option<String>,
    lock: RunLock,
    began: Instant,
}

/// What was seen before the plan.
struct Seen {
    place: Place,
    gates: Arc<Gates>,
    look: crate::plan::Snapshot,
    unsettled: HashSet<(usize, usize)>,
    reads: u64,
}

impl Undo<'_> {
    /// Finds the place, reads back what is in doubt, and looks at the desktops.
    async fn look(&mut self, resumed: bool, policy: &Policy) -> Result<Seen, Error> {
        let (session, stop) = (self.session, &self.signals.stop);
        let place = match self.simulated.take() {
            Some(place) => place,
            None => find_place(session, &self.signals).await?,
        };
        same_place(&self.changed.run, &place, &self.args.journal)?;
        let gates = target::gates(session, resumed || !self.changed.in_doubt.is_empty());
        let preflight = planning::preflight(session, &place, &gates, stop);
        let unsettled = self.read_back(&preflight).await?;
        let look = preflight.look(&self.changed.questions(policy.max_percent.is_some())).await?;
        tracing::info!(reads = preflight.reads(), desktops = look.desktops.len(), "the live bindings were read");
        let reads = preflight.reads();
        Ok(Seen { place, gates, look, unsettled, reads })
    }

    /// What the run may have changed is read until it is known, or for as long as a read-back may take.
    async fn read_back(&self, preflight: &Preflight) -> Result<HashSet<(usize, usize)>, Error> {
        let waits = &self.session.settings;
        let now = tokio::time::Instant::now;
        let (began, open) = (now(), self.changed.in_doubt.len());
        let mut doubts = Doubts::new(self.changed, began + waits.doubt_wait, waits.settle_time)?;
        if open > 0 {
            super::complain(&format!(
                "reading back {} that the run may have changed before it stopped",
                counted(u64::try_from(open).unwrap_or(u64::MAX), "binding", "bindings")
            ));
        }
        while let Some(questions) = doubts.questions() {
            let asked = now();
            let look = preflight.look(&questions).await?;
            doubts.see(&look, ReadSpan { began: asked, ended: now() });
            if doubts.questions().is_none() || now() >= began + waits.read_back_deadline {
                break;
            }
            let wait = if doubts.is_half_proved() { waits.settle_time } else { waits.poll_interval };
            tokio::select! {
                () = self.signals.stop.cancelled() => {
                    return Err(Error::Stopped("stopped by a signal before anything was sent".to_owned()));
                }
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(doubts.unsettled())
    }

    fn policy(&self) -> Policy {
        planning::policy(&self.args.options, &self.session.settings)
    }

    fn facts<'f>(&'f self, seen: &'f Seen, hash: &'f str) -> Shown<'f> {
        Shown { session: self.session, place: &seen.place, hash, reads: seen.reads, shaping: self.shaping }
    }

    fn hash(&self, made: &UndoPlan<'_>, place: &Place) -> String {
        made.hash(HashFacts { endpoint: place.endpoint(), project: place.project(), settings: self.shaping })
    }

    fn show(&self, made: &UndoPlan<'_>, shown: &Shown<'_>, format: Format) -> Result<String, Error> {
        let (context, journal) = (shown.context(), self.args.journal.display().to_string());
        let facts = self.plan_facts(shown, &context, &journal);
        match format {
            Format::Human => Ok(undo::human(made, &facts, width())),
            Format::Json => serde_json::to_string(&undo::json(made, &facts))
                .map(|text| text + "\n")
                .map_err(|error| Error::Internal(format!("the plan is no JSON: {error}"))),
        }
    }

    fn plan_facts<'f>(&self, shown: &Shown<'f>, context: &'f [(&'f str, String)], journal: &'f str) -> undo::Facts<'f> {
        undo::Facts {
            hash: shown.hash,
            covered: shown.covered(),
            journal,
            context,
            write_per_s: self.session.settings.write_rate.per_second(),
            skip_invalid: self.session.settings.on_invalid == OnInvalid::Skip,
        }
    }

    fn nothing(&self) -> Option<Closing> {
        if !self.changed.rows.is_empty() {
            return None;
        }
        super::complain("nothing to undo: the run changed no binding of those asked for");
        let next = Next { words: "Nothing is left to do.".to_owned(), command: None };
        Some(Closing { exit: Exit::Done, next: Some(next), records: self.session.records })
    }

    /// `--dry-run`: everything that the undo does before it writes.
    async fn only_plan(mut self) -> Result<Closing, Error> {
        if let Some(closing) = self.nothing() {
            return Ok(closing);
        }
        let (options, policy) = (&self.args.options, self.policy());
        let signals = self.signals.clone();
        let seen = signals.unless_stopped(self.look(false, &policy)).await?;
        let made = UndoPlan::new(self.changed, &seen.look, &seen.unsettled, &policy);
        planning::refuse(&shown(&self.args.journal), &made.faults(), &self.session.settings)?;
        let hash = self.hash(&made, &seen.place);
        let text = self.show(&made, &self.facts(&seen, &hash), options.output.format)?;
        let to_stdout = match &options.output.requests {
            Some(path) => write_requests(path, |out| made.requests(out))?.1,
            None => false,
        };
        if to_stdout {
            super::complain(text.trim_end());
        } else {
            say(&text)?;
        }
        if let Some(results) = &options.output.results {
            write_planned(&made, results)?;
        }
        made.guard(&policy).map_err(Error::Refused)?;
        let mut wished = Counts::default();
        let mut counts = Counts::default();
        for (_, fate) in made.rows() {
            let (planned, wish) = match fate {
                Fate::Send { .. } => (Outcome::Planned, Outcome::Attached),
                Fate::Fixed { outcome, .. } => (*outcome, *outcome),
            };
            counts.add(planned, 1);
            wished.add(wish, 1);
        }
        let exit = exit_of(&wished);
        let next = next(&Situation {
            exit,
            counts: &counts,
            planned: true,
            canary_failed: false,
            input: &shown(&self.args.journal),
            undo: true,
            results: None,
            journal: None,
            repeat: &self.session.repeat,
        });
        Ok(Closing { exit, next: Some(next), records: self.session.records })
    }

    async fn go(mut self, files: Files) -> Result<Closing, Failure> {
        if let Some(closing) = self.nothing() {
            return Ok(closing);
        }
        let records = self.session.records;
        let failed = |error: Error| Failure::new(error, None, records);
        let (options, policy) = (&self.args.options, self.policy());
        let signals = self.signals.clone();
        let looked = self.look(files.aside.is_some(), &policy);
        let seen = signals.unless_stopped(looked).await.map_err(failed)?;
        let made = UndoPlan::new(self.changed, &seen.look, &seen.unsettled, &policy);
        let name = shown(&self.args.journal);
        planning::refuse(&name, &made.faults(), &self.session.settings).map_err(failed)?;
        let hash = self.hash(&made, &seen.place);
        made.guard(&policy).map_err(|why| failed(Error::Refused(why)))?;
        if let Some(approved) = &options.safety.approved {
            let facts = self.facts(&seen, &hash);
            let differences =
                |value: &serde_json::Value| undo::compare(value, &made, &self.plan_facts(&facts, &[], &name));
            check_approved(approved, &hash, &files.journal, differences).map_err(failed)?;
        }
        if options.output.format == Format::Human {
            say(&self.show(&made, &self.facts(&seen, &hash), Format::Human)?)?;
        }
        let stats = made.stats();
        if stats.to_send > 0 {
            let (verb, to) =
                if self.changed.class == Class::BatchAttach { ("Attach", "to") } else { ("Detach", "from") };
            let question = format!(
                "{verb} {} {to} {} again?",
                counted(stats.bindings, "binding", "bindings"),
                counted(stats.desktops, "desktop", "desktops")
            );
            confirm(options, &question, &self.signals).await.map_err(failed)?;
        }
        if self.signals.stop.is_cancelled() {
            return Err(failed(Error::Stopped("stopped by a signal before anything was sent".to_owned())));
        }
        // Before the undo's own journal: once that stands, a resume of the run would work against it.
        bar(&self.args.journal, &files.journal).await.map_err(failed)?;
        let identity = self.identity(&made, &seen.place, hash);
        if let Some(older) = &files.aside {
            let moved = move_aside(&files.journal, &files.results, older).map_err(failed)?;
            tracing::info!(journal = %moved.journal.display(), "the older undo was moved aside");
        } else if stands(&files.results) != Stands::Free {
            move_aside_by_time(&files.results).map_err(failed)?;
        }
        build(&made, &identity, &files.journal).map_err(failed)?;
        let Seen { place, gates, .. } = seen;
        let job = Job {
            session: self.session,
            store: Store::open(&files.journal).map_err(failed)?,
            lock: files.lock,
            place,
            gates,
            resumed: false,
            proved: true,
            input: name,
            results: files.results,
            journal: files.journal,
            format: options.output.format,
            began: files.began,
            signals: self.signals,
        };
        carry(job).await
    }

    fn identity(&self, made: &UndoPlan<'_>, place: &Place, plan_hash: String) -> Identity {
        let (run, journal) = (&self.changed.run, shown(&self.args.journal));
        let stats = made.stats();
        let mut warnings = Vec::new();
        if stats.pooled > 0 {
            warnings.push(format!(
                "{} of a pool: whom the pool gave another desktop since then keeps that one, too",
                counted(stats.pooled, "desktop is", "desktops are")
            ));
        }
        Identity {
            run_id: format!("{:08x}", fastrand::u32(..)),
            class: self.changed.class,
            created_at: timestamp_now(),
            program_version: env!("CARGO_PKG_VERSION").to_owned(),
            operator: operator(),
            host: host(),
            ticket: self.args.options.output.ticket.clone(),
            input_path: journal.clone(),
            input_sha256: self.changed.digest(),
            plan_hash,
            endpoint: place.endpoint().to_owned(),
            project_id: place.project().to_owned(),
            region: place.region.clone(),
            plan_settings: self.shaping.clone(),
            preflight: true,
            notes: Vec::new(),
            results_bom: run.results_bom,
            extra_columns: run.extra_columns.clone(),
            undo_of: Some(journal),
            canary_chunks: u32::try_from(made.canary_chunks()).unwrap_or(u32::MAX),
            warnings,
        }
    }
}

/// Writes the whole plan as a journal: there whole, or not at all.
fn build(made: &UndoPlan<'_>, identity: &Identity, path: &Path) -> Result<(), Error> {
    let mut builder = Builder::create(path, identity)?;
    made.for_each_entry(|entry| builder.entry(entry))?;
    for item in &made.items {
        builder.item(item.clone())?;
    }
    builder.finish()
}

/// Writes results with `planned` rows: only where `--results` asks for them.
fn write_planned(made: &UndoPlan<'_>, path: &Path) -> Result<(), Error> {
    let trouble = |source: std::io::Error| Error::File { verb: "write the results to", path: path.to_owned(), source };
    let run = &made.changed.run;
    files::write_atomically(path, |out| {
        let mut writer = ResultsWriter::new(out, &run.extra_columns, run.results_bom).map_err(trouble)?;
        made.for_each_entry(|entry| {
            let result = match entry.fate {
                Fate::Send { .. } => RowOutcome::new(Outcome::Planned, String::new(), String::new()),
                Fate::Fixed { outcome, code, message } => RowOutcome::new(*outcome, code.clone(), message.clone()),
            };
            let row = ResultRow { line: entry.line, cells: entry.cells, result: &result, extras: entry.extras };
            writer.write(&row).map_err(trouble)
        })?;
        writer.finish().map(drop).map_err(trouble)
    })
}
