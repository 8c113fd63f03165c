//! One run from its plan to its end: processes that begin, die and resume against one world and one journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use batch_detach::Error;
use batch_detach::input::{self, ReadOptions, RowRef, Source};
use batch_detach::plan::{plan, questions};
use batch_detach::testing::api::auth::Nobody;
use batch_detach::testing::api::{Reader, Target, Transport, Writer};
use batch_detach::testing::build;
use batch_detach::testing::config::Percent;
use batch_detach::testing::dispatch::{Drive, Ended, Rules, StopReason, drive};
use batch_detach::testing::journal::{Entry, Identity, Item, Journal, MemoryJournal, Record};
use batch_detach::testing::model::{Bound, Class, DesktopId, Outcome};
use batch_detach::testing::pace::{Ceiling, Gates, Waits};
use batch_detach::testing::reconcile::preflight::Preflight;
use batch_detach::testing::sim::{App, Auth, Change, Fate, Matching};
use batch_detach::testing::undo::plan as plan_undo;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::history::{self, History, Life, Promised, Request, ResultLine, Stop};
use crate::oddity::Oddity;
use crate::script::{Death, Deed, Script, TakeBack};
use crate::witness::{OneAnswerEach, Tokens, Witness, WitnessJournal, WitnessTransport};

/// No process needs so long; one that does hangs.
const HANGS_AFTER: Duration = Duration::from_secs(72 * 3_600);
/// Processes without a death, once the faults are over.
const CALM_LIVES: usize = 24;

/// What came of a seed.
#[derive(Debug, Default, Clone)]
pub(crate) struct Report {
    /// Promises that were not kept, and whatever else must not be.
    pub(crate) broken: Vec<String>,
    /// How many processes drove the run, and how many of them died.
    pub(crate) lives: usize,
    pub(crate) deaths: usize,
    pub(crate) requests: usize,
    pub(crate) rows: usize,
    /// The misbehaviours that came to effect.
    pub(crate) met: BTreeSet<Oddity>,
    /// Rows by their outcome at the end.
    pub(crate) outcomes: BTreeMap<&'static str, usize>,
    /// The undo, where the run was taken back.
    pub(crate) undo: Option<Box<History>>,
    /// One line for each thing that happened, for people who look for a fault.
    pub(crate) trace: Vec<String>,
}

/// Runs a script, and checks what came of it.
pub(crate) fn run(script: &Script) -> Report {
    let (history, mut report) = record(script);
    if let Some(history) = history {
        judge(&history, &mut report);
    }
    report.undo = None; // it is judged, and large
    report
}

/// Checks the history of a run, and that of its undo.
pub(crate) fn judge(history: &History, report: &mut Report) {
    report.broken.extend(history::check(history).iter().map(ToString::to_string));
    let undo = report.undo.take();
    report.broken.extend(undo.iter().flat_map(|undo| history::check(undo)).map(|what| format!("undo: {what}")));
    for history in [history].into_iter().chain(undo.as_deref()) {
        report.requests += history.requests.len();
        report.lives += history.lives.len();
        if let Some(end) = history.stops.last() {
            report.rows += end.rows.len();
            for row in &end.rows {
                *report.outcomes.entry(row.outcome.as_str()).or_default() += 1;
            }
        }
    }
    report.undo = undo;
}

/// Runs a script. `None`: nothing came of it that could be checked, because no plan could be made.
pub(crate) fn record(script: &Script) -> (Option<History>, Report) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return (None, Report { broken: vec![format!("no runtime: {error}")], ..Report::default() }),
    };
    runtime.block_on(simulate(script))
}

/// How a process ended.
#[derive(Debug)]
enum End {
    Ended(Ended),
    Error(Error),
    Killed,
    Hung,
}

/// A journal, and the processes that drive it.
struct Simulation<'s> {
    script: &'s Script,
    service: Service,
    class: Class,
    /// How its processes end, but for the calm ones at last.
    deaths: &'s [Death],
    /// It is over once so many processes and one are gone.
    only: Option<usize>,
    witness: Arc<Witness>,
    journal: MemoryJournal,
    canary_chunks: u32,
    lives: Vec<Life>,
    stops: Vec<Stop>,
    report: Report,
}

/// The service, and the way to it.
#[derive(Clone)]
struct Service {
    app: Arc<App>,
    way: Arc<dyn Transport>,
}

fn target(script: &Script, service: &Service, witness: &Arc<Witness>, no_renewal: bool) -> Target {
    let transport: Arc<dyn Transport> =
        Arc::new(WitnessTransport { witness: Arc::clone(witness), service: Arc::clone(&service.way) });
    let tokens =
        || Tokens { transport: Arc::clone(&transport), token: Mutex::new("first".to_owned()), spent: no_renewal };
    let has_tokens = matches!(script.scenario.auth, Auth::Token { .. });
    Target {
        auth: if has_tokens { Arc::new(tokens()) } else { Arc::new(Nobody) },
        transport,
        endpoint: "http://sim".to_owned(),
        project_id: "p".to_owned(),
    }
}

fn gates(script: &Script, seed: u64, resumed: bool) -> Arc<Gates> {
    let of = |class: Class| Ceiling { period: if class.is_write() { script.write_period } else { script.read_period } };
    Gates::new(of, script.concurrency, seed, resumed)
}

fn preflight(script: &Script, target: &Target, gates: &Arc<Gates>, stop: &CancellationToken) -> Preflight {
    let seed = script.scenario.seed;
    let reader = Reader::new(target.clone());
    Preflight::new(reader, Arc::clone(gates), script.concurrency, Waits::default(), seed, stop.clone())
}

fn identity(script: &Script, class: Class, canary_chunks: u32) -> Identity {
    Identity {
        run_id: "51300000".to_owned(),
        class,
        preflight: script.preflight || class == Class::BatchAttach,
        canary_chunks,
        ..build::identity()
    }
}

async fn deeds(app: Arc<App>, deeds: Vec<(Duration, Deed)>) {
    let began = Instant::now();
    for (at, deed) in deeds {
        sleep_until(began + at).await;
        if let Deed::Sleep(length) = deed {
            tokio::time::advance(length).await;
            continue;
        }
        let mut world = app.world();
        match deed {
            Deed::Bind(seat) => {
                if world.desktop(&seat.desktop).is_some() {
                    world.bind(seat);
                }
            }
            Deed::Unbind(desktop) => {
                if let Some(bound) = world.bound(&desktop).first() {
                    world.unbind(&desktop, bound);
                }
            }
            Deed::Delete(desktop) => world.delete(&desktop),
            Deed::Sleep(_) => {}
        }
    }
}

/// What a process starts with, and how many requests the service had received before.
type Process = (Target, Arc<Gates>, usize);

/// Looks until a look comes to its end: each time in a process of its own. The process that it was, too; `None` where
/// nobody's patience lasts so long.
async fn look<T>(
    (script, service, witness): (&Script, &Service, &Arc<Witness>),
    (lives, trace): (&mut Vec<Life>, &mut Vec<String>),
    at: impl AsyncFn(&Preflight) -> Result<T, Error>,
) -> Option<(T, Process)> {
    let stop = CancellationToken::new();
    _ = witness.begin(None);
    for attempt in 0..12 {
        let (began, requests) = (Instant::now(), service.app.received());
        let process = (target(script, service, witness, false), gates(script, script.scenario.seed, false), requests);
        match at(&preflight(script, &process.0, &process.1, &stop)).await {
            Ok(seen) => return Some((seen, process)),
            Err(error) => trace.push(format!("the preflight fails: {error}")),
        }
        if attempt > 2 {
            service.app.clear_faults();
        }
        lives.push(Life { began, requests });
        sleep(Duration::from_secs(1_200)).await;
    }
    None
}

/// What a journal begins with.
struct Planned {
    entries: Vec<Entry>,
    items: Vec<Item>,
    canary_chunks: u32,
}

/// What is known of a journal and its processes; the service's log is still to come.
struct Recorded {
    class: Class,
    lines: Vec<u64>,
    entries: Vec<Entry>,
    items: Vec<Item>,
    /// Who was bound at first, before any run.
    first: BTreeMap<DesktopId, Vec<Bound>>,
    /// How many requests the service had received at its begin.
    from: usize,
    witness: Arc<Witness>,
    lives: Vec<Life>,
    stops: Vec<Stop>,
}

impl Recorded {
    /// * `until`: of the service's requests, the first that is not this journal's any more.
    fn history(self, script: &Script, app: &App, until: usize, report: &mut Report) -> Option<History> {
        report.broken.extend(self.witness.broken());
        let witnessed = self.witness.requests();
        if witnessed.len().max(self.from) != until {
            report.broken.push(format!("{until} requests were logged, {} seen", witnessed.len()));
            return None;
        }
        let requests = app.log().into_iter().zip(witnessed).take(until).skip(self.from);
        let requests = requests.map(|(entry, (durable, reply))| Request { entry, durable: Some(durable), reply });
        let rules = Rules::default();
        let never = script.scenario.fates.iter().filter(|of| matches!(of.fate, Fate::NeverUnbinds));
        let promised = Promised {
            class: self.class,
            write_period: script.write_period,
            read_period: script.read_period,
            max_tries: usize::try_from(rules.max_tries).unwrap_or(usize::MAX),
            settle_time: rules.waits.settle_time,
            doubt_wait: rules.waits.doubt_wait,
            heard_after: script.commit_takes,
            verify: script.verify,
            looked: script.preflight,
            may_detach_all: script.policy.allow_detach_all,
            ids_in_any_case: script.scenario.world.matching == Matching::AnyCase,
            never_done: never.flat_map(|of| of.desktops.clone()).collect(),
            read_lag: script.scenario.world.read_lag,
        };
        Some(History {
            promised,
            lines: self.lines,
            entries: self.entries,
            items: self.items,
            first: self.first,
            changes: app.world().changes().to_vec(),
            requests: requests.collect(),
            records: self.witness.stamped(),
            lives: self.lives,
            stops: self.stops,
        })
    }
}

async fn simulate(script: &Script) -> (Option<History>, Report) {
    let mut report = Report::default();
    let app = App::new(script.world(), script.scenario.clone());
    let balancer = OneAnswerEach::new(app.transport());
    let way: Arc<dyn Transport> = if script.one_answer_each { balancer.clone() } else { Arc::new(app.transport()) };
    let service = Service { app: Arc::clone(&app), way };
    let first = app.world().snapshot_bindings();
    let witness = Witness::new(Arc::clone(&app));
    let work = tokio::spawn(deeds(Arc::clone(&app), script.deeds.clone()));

    let source = Source::Bytes { name: "leavers.csv".to_owned(), bytes: script.csv.clone().into_bytes() };
    let input = match input::read(source, &ReadOptions { empty_desktop_is_every: true, ..ReadOptions::default() }) {
        Ok(input) => input,
        Err(error) => {
            report.broken.push(format!("the input can't be read: {error}"));
            return (None, report);
        }
    };
    let mut lives = Vec::new();
    let looked = look((script, &service, &witness), (&mut lives, &mut report.trace), async |looker: &Preflight| {
        let asked = questions(&input, &script.policy, None);
        if script.preflight { looker.look(&asked).await.map(Some) } else { Ok(None) }
    });
    let Some((snapshot, process)) = looked.await else {
        // The outage outlasts everybody's patience, or the token can't be renewed twice: exit 4, and nothing was written.
        return (None, report);
    };
    let made = plan(&input, snapshot.as_ref(), &script.policy);
    let entries: Vec<Entry> = made.entries().map(|entry| entry.to_journal()).collect();
    let items: Vec<Item> = made.items().collect();
    let of_input = input.table.rows().map(RowRef::line).collect();
    let canary_chunks = u32::try_from(made.canary_chunks()).unwrap_or(u32::MAX);
    let only = script.undo.as_ref().and_then(|undo| undo.after_process);
    let planned = Planned { entries: entries.clone(), items: items.clone(), canary_chunks };
    let mut run =
        Simulation::new(script, &service, &witness, Class::BatchDetach, &script.deaths, only, (lives, planned, report));
    run.processes(process).await;
    work.abort();
    let (ended, until) = (Instant::now(), app.received());
    let undo = match &script.undo {
        Some(undo) => Box::pin(take_back(&mut run, undo, first.clone())).await,
        None => None,
    };
    let Simulation { lives, stops, mut report, .. } = run;
    // Whatever is late comes now.
    sleep(Duration::from_secs(6 * 3_600)).await;
    report.met = script.met(&app);
    report.met.extend((balancer.dropped() > 0).then_some(Oddity::OneAnswerEach));
    report.met.extend(undo.is_some().then_some(Oddity::TakenBack));
    let is_other = |change: &&Change| change.attached && change.request.is_none() && change.at >= ended;
    let others = undo.is_some() && app.world().changes().iter().any(|change| is_other(&change));
    report.met.extend(others.then_some(Oddity::OthersBeforeUndo));
    let class = Class::BatchDetach;
    let recorded =
        Recorded { class, lines: of_input, entries, items, first: first.clone(), from: 0, witness, lives, stops };
    let Some(history) = recorded.history(script, &app, until, &mut report) else {
        return (None, report);
    };
    if let Some(undo) = undo {
        let undo = undo.history(script, &app, app.received(), &mut report);
        report.undo = undo.map(Box::new);
    }
    let by_name = [&history].into_iter().chain(report.undo.as_deref()).any(History::takes_by_name);
    report.met.extend(by_name.then_some(Oddity::ByName));
    (Some(history), report)
}

/// Takes a run back. `None`: no look came to its end.
///
/// * `first`: who was bound before the run.
async fn take_back(
    run: &mut Simulation<'_>,
    undo: &TakeBack,
    first: BTreeMap<DesktopId, Vec<Bound>>,
) -> Option<Recorded> {
    let (script, service) = (run.script, run.service.clone());
    let app = &service.app;
    let work = tokio::spawn(deeds(Arc::clone(app), script.undo_deeds.clone()));
    sleep(undo.pause).await;
    let from = app.received();
    let witness = Witness::new(Arc::clone(app));
    let mut lives = Vec::new();
    let of = &run.journal;
    let looked = look((script, &service, &witness), (&mut lives, &mut run.report.trace), async |looker: &Preflight| {
        plan_undo(of, looker, &script.policy).await
    });
    let ((entries, items, canary_chunks), process) = looked.await?;
    let mut of_run: Vec<u64> = entries.iter().map(|entry| entry.line).collect();
    of_run.dedup();
    let canary_chunks = u32::try_from(canary_chunks).unwrap_or(u32::MAX);
    let planned = Planned { entries: entries.clone(), items: items.clone(), canary_chunks };
    let report = std::mem::take(&mut run.report);
    let (class, deaths) = (Class::BatchAttach, &undo.deaths);
    let mut back = Simulation::new(script, &service, &witness, class, deaths, None, (lives, planned, report));
    back.processes(process).await;
    work.abort();
    let Simulation { lives, stops, report, .. } = back;
    run.report = report;
    Some(Recorded { class, lines: of_run, entries, items, first, from, witness, lives, stops })
}

impl<'s> Simulation<'s> {
    fn new(
        script: &'s Script,
        service: &Service,
        witness: &Arc<Witness>,
        class: Class,
        deaths: &'s [Death],
        only: Option<usize>,
        (lives, planned, report): (Vec<Life>, Planned, Report),
    ) -> Self {
        let Planned { entries, items, canary_chunks } = planned;
        let journal = MemoryJournal::new(identity(script, class, canary_chunks), entries, items);
        journal.set_latency(script.commit_takes);
        witness.keep(&journal);
        let (service, witness, stops) = (service.clone(), Arc::clone(witness), Vec::new());
        Self { script, service, class, deaths, only, witness, journal, canary_chunks, lives, stops, report }
    }

    /// Whether somebody looked before the plan was made.
    fn has_looked(&self) -> bool {
        self.script.preflight || self.class == Class::BatchAttach
    }

    async fn processes(&mut self, (target, gates, first_request): Process) {
        let deaths: Vec<Death> = self.deaths.iter().copied().chain([Death::NEVER; CALM_LIVES]).collect();
        let mut first = Some((target, gates));
        for (n, death) in deaths.into_iter().enumerate() {
            let is_calm = n >= self.deaths.len();
            if n > self.deaths.len() {
                self.service.app.clear_faults();
            }
            let end = {
                let requests = if n == 0 { first_request } else { self.service.app.received() };
                self.lives.push(Life { began: Instant::now(), requests });
                self.life(n, death, is_calm, first.take()).await
            };
            self.report.trace.push(format!("process {n} ended: {end:?}"));
            self.report.deaths += usize::from(matches!(end, End::Killed));
            match &end {
                End::Hung => self.report.broken.push(format!("process {n} does not come to an end")),
                End::Error(Error::Internal(why)) => self.report.broken.push(format!("process {n}: {why}")),
                End::Error(error @ Error::Disk { source, .. }) if !format!("{source:?}").contains("no space left") => {
                    self.report.broken.push(format!("process {n}: {error}: {source:?}"));
                }
                _ => {}
            }
            let progress = self.journal.progress();
            if progress.finished || progress.canary == Some(false) || self.only == Some(n) {
                return;
            }
            sleep(death.pause).await;
        }
        let stuck = self.script.busy_for_ever();
        let rows = self.stops.last().map_or(&[][..], |stop| stop.rows.as_slice());
        let is_open = |row: &&ResultLine| matches!(row.outcome, Outcome::Unknown | Outcome::NotSent);
        let is_stuck = |row: &ResultLine| stuck.iter().any(|id| id.as_str().eq_ignore_ascii_case(&row.desktop));
        // Of a desktop that is busy for ever nobody can say more.
        if rows.is_empty() || !rows.iter().filter(is_open).all(is_stuck) {
            let progress = self.journal.progress();
            self.report.broken.push(format!("it never comes to its end: {progress:?}"));
        }
    }

    /// One process, from its begin to its end or death; then what is left of it is put in order.
    async fn life(&mut self, n: usize, death: Death, is_calm: bool, first: Option<(Target, Arc<Gates>)>) -> End {
        let seed = self.script.scenario.seed.wrapping_add(n as u64);
        let resumed = first.is_none();
        let (target, gates) = first.unwrap_or_else(|| {
            let target = target(self.script, &self.service, &self.witness, death.no_renewal && !is_calm);
            (target, gates(self.script, seed, true))
        });
        let crashed = self.witness.begin(death.at_event);
        if let Some(n) = death.disk_fails_at {
            self.journal.fail_at(n);
        }
        let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
        let began = Instant::now();
        let rules = self.rules(is_calm);
        let proved = self.has_looked() || self.script.verify;
        let process = async {
            if resumed && proved {
                preflight(self.script, &target, &gates, &stop).probe().await?;
            }
            let run = Drive {
                journal: Arc::new(WitnessJournal { witness: Arc::clone(&self.witness), journal: self.journal.clone() }),
                reader: Reader::new(target.clone()),
                writer: Writer::new(target.clone()),
                gates: Arc::clone(&gates),
                write_ceiling: Ceiling { period: self.script.write_period },
                rules,
                resumed,
                proved: if resumed { proved } else { self.has_looked() },
                seed,
                stop: stop.clone(),
                abandon: abandon.clone(),
            };
            drive(run, &mut ()).await
        };
        let kill_at = death.after.map(|after| began + after);
        let signal_at = death.signal.map(|(after, _)| began + after);
        let second_at = death.signal.and_then(|(after, second)| Some(began + after + second?));
        let end = {
            tokio::pin!(process);
            loop {
                tokio::select! {
                    biased;
                    () = crashed.cancelled() => break End::Killed,
                    ended = &mut process => break ended.map_or_else(End::Error, End::Ended),
                    () = reached(kill_at) => self.witness.kill(),
                    () = reached(signal_at), if !stop.is_cancelled() => stop.cancel(),
                    () = reached(second_at), if !abandon.is_cancelled() => abandon.cancel(),
                    () = sleep_until(began + HANGS_AFTER) => break End::Hung,
                }
            }
        };
        self.witness.kill();
        // What the process had under way is dropped when its tasks are next looked at.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        self.journal.crash_keeping(death.kept);
        if let End::Ended(ended @ (Ended::Complete | Ended::Stopped { .. })) = &end {
            let reason = match ended {
                Ended::Stopped { reason, .. } => reason.in_words(),
                _ => String::new(),
            };
            let at = "2026-11-24T05:00:00Z".to_owned();
            _ = self.journal.commit(vec![Record::Stopped { at, exit: 0, reason }]).await;
        }
        self.witness.sync();
        self.take_results();
        if let End::Ended(Ended::Stopped { reason: StopReason::Canary(_), .. }) = &end
            && self.journal.progress().canary != Some(false)
        {
            self.report.broken.push("a failed canary is not on record".to_owned());
        }
        end
    }

    fn rules(&self, is_calm: bool) -> Rules {
        Rules {
            class: self.class,
            verify: self.script.verify,
            preflight: self.has_looked(),
            concurrency: self.script.concurrency,
            canary_chunks: self.canary_chunks,
            stop_at: self.script.stop_at.filter(|_| !is_calm).and_then(|text| Percent::read(text).ok()),
            max_runtime: self.script.max_runtime.filter(|_| !is_calm),
            ..Rules::default()
        }
    }

    fn take_results(&mut self) {
        let mut rows = Vec::new();
        let read = self.journal.for_each_result(|row| {
            rows.push(ResultLine {
                line: row.line,
                desktop: row.cells[0].to_owned(),
                user: row.cells[2].to_owned(),
                outcome: row.result.outcome,
                code: row.result.code.clone(),
                attempts: row.result.attempts,
            });
            Ok(())
        });
        if let Err(error) = read {
            self.report.broken.push(format!("the results can't be read: {error}"));
        }
        self.stops.push(Stop { requests: self.service.app.received(), records: self.journal.len(), rows });
    }
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
