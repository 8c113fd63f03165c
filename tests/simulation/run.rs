//! One run from its plan to its end: processes that begin, die and resume against one world and one journal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use batch_detach::Error;
use batch_detach::input::{self, Input, ReadOptions, RowRef, Source};
use batch_detach::plan::{plan, questions};
use batch_detach::testing::api::auth::Nobody;
use batch_detach::testing::api::{Reader, Target, Transport, Writer};
use batch_detach::testing::config::Percent;
use batch_detach::testing::dispatch::{Drive, Ended, Rules, StopReason, drive};
use batch_detach::testing::journal::{Entry, Identity, Item, Journal, MemoryJournal, Record};
use batch_detach::testing::model::Bound;
use batch_detach::testing::model::DesktopId;
use batch_detach::testing::model::{Caller, Class};
use batch_detach::testing::pace::{Ceiling, Gates};
use batch_detach::testing::reconcile::preflight::{Preflight, Waits};
use batch_detach::testing::sim::{App, Auth};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::history::{self, History, Life, Promised, Request, ResultLine, Stop};
use crate::oddity::{Oddity, is_namesake};
use crate::script::{Death, Deed, Script};
use crate::witness::{Tokens, Witness, WitnessJournal, WitnessTransport};

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
    /// One line for each thing that happened, for people who look for a fault.
    pub(crate) trace: Vec<String>,
}

/// Runs a script, and checks what came of it.
pub(crate) fn run(script: &Script) -> Report {
    let (history, mut report) = record(script);
    if let Some(history) = history {
        judge(&history, &mut report);
    }
    report
}

/// Checks a history.
pub(crate) fn judge(history: &History, report: &mut Report) {
    report.broken.extend(history::check(history).iter().map(ToString::to_string));
    report.requests = history.requests.len();
    report.lives = history.lives.len();
    if let Some(end) = history.stops.last() {
        report.rows = end.rows.len();
        for row in &end.rows {
            *report.outcomes.entry(row.outcome.as_str()).or_default() += 1;
        }
    }
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

struct Simulation<'s> {
    script: &'s Script,
    app: Arc<App>,
    witness: Arc<Witness>,
    journal: MemoryJournal,
    canary_chunks: u32,
    lives: Vec<Life>,
    stops: Vec<Stop>,
    report: Report,
}

fn target(script: &Script, app: &Arc<App>, witness: &Arc<Witness>, no_renewal: bool) -> Target {
    let transport: Arc<dyn Transport> =
        Arc::new(WitnessTransport { witness: Arc::clone(witness), service: app.transport() });
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

fn identity(input: &Input, script: &Script, canary_chunks: u32) -> Identity {
    Identity {
        run_id: "51300000".to_owned(),
        class: Class::BatchDetach,
        created_at: "2026-11-24T05:00:00Z".to_owned(),
        program_version: String::new(),
        operator: String::new(),
        host: String::new(),
        ticket: None,
        input_path: input.name.clone(),
        input_sha256: input.sha256.clone(),
        plan_hash: String::new(),
        endpoint: "http://sim".to_owned(),
        project_id: "p".to_owned(),
        region: None,
        caller: Caller::default(),
        plan_settings: BTreeMap::new(),
        preflight: script.preflight,
        notes: Vec::new(),
        results_bom: false,
        extra_columns: Vec::new(),
        undo_of: None,
        canary_chunks,
        warnings: Vec::new(),
        typed: None,
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

async fn simulate(script: &Script) -> (Option<History>, Report) {
    let mut report = Report::default();
    let app = App::new(script.world(), script.scenario.clone());
    let first: BTreeMap<DesktopId, Vec<Bound>> = app.world().snapshot_bindings();
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
    let stop = CancellationToken::new();
    _ = witness.begin(None);
    let begin = || (target(script, &app, &witness, false), gates(script, script.scenario.seed, false));
    let mut first_process = begin();
    let (mut lives, mut first_request, mut snapshot) = (Vec::new(), app.received(), None);
    for attempt in 0..12 {
        if !script.preflight {
            break;
        }
        let looker = preflight(script, &first_process.0, &first_process.1, &stop);
        match looker.look(&questions(&input, &script.policy, None)).await {
            Ok(seen) => {
                snapshot = Some(seen);
                break;
            }
            Err(error) => report.trace.push(format!("the preflight fails: {error}")),
        }
        if attempt > 2 {
            app.clear_faults();
        }
        // A process of its own, that came to nothing.
        lives.push(Life { began: Instant::now(), requests: first_request });
        sleep(Duration::from_secs(1_200)).await;
        (first_process, first_request) = (begin(), app.received());
    }
    if script.preflight && snapshot.is_none() {
        // The outage outlasts everybody's patience, or the token can't be renewed twice: exit 4, and nothing was written.
        return (None, report);
    }
    let made = plan(&input, snapshot.as_ref(), &script.policy);
    let entries: Vec<Entry> = made.entries().map(|entry| entry.to_journal()).collect();
    let items: Vec<Item> = made.items().collect();
    let rows = input.table.rows().map(RowRef::line).collect();
    let canary_chunks = u32::try_from(made.canary_chunks()).unwrap_or(u32::MAX);
    let journal = MemoryJournal::new(identity(&input, script, canary_chunks), entries.clone(), items.clone());
    journal.set_latency(script.commit_takes);
    witness.keep(&journal);

    let mut simulation = Simulation { script, app, witness, journal, canary_chunks, lives, stops: Vec::new(), report };
    simulation.processes(first_process, first_request).await;
    work.abort();
    let Simulation { app, witness, lives, stops, mut report, .. } = simulation;
    // Whatever is late comes now.
    sleep(Duration::from_secs(6 * 3_600)).await;
    report.broken.extend(witness.broken());
    let log = app.log();
    let witnessed = witness.requests();
    if log.len() != witnessed.len() {
        report.broken.push(format!("{} requests were logged, {} seen", log.len(), witnessed.len()));
        return (None, report);
    }
    let requests = log.into_iter().zip(witnessed);
    let changes = app.world().changes().to_vec();
    report.met = app.effects_met().iter().filter_map(Oddity::of).collect();
    if changes.iter().any(|change| change.attached && is_namesake(&change.bound)) {
        report.met.insert(Oddity::Namesakes);
    }
    let rules = Rules::default();
    let history = History {
        promised: Promised {
            write_period: script.write_period,
            read_period: script.read_period,
            max_tries: usize::try_from(rules.max_tries).unwrap_or(usize::MAX),
            settle_time: rules.settle_time,
            doubt_wait: rules.doubt_wait,
            heard_after: script.commit_takes,
            verify: script.verify,
            may_detach_all: script.policy.allow_detach_all,
            read_lag: script.scenario.world.read_lag,
        },
        lines: rows,
        entries,
        items,
        first,
        changes,
        requests: requests.map(|(entry, (durable, reply))| Request { entry, durable: Some(durable), reply }).collect(),
        records: witness.stamped(),
        lives,
        stops,
    };
    (Some(history), report)
}

impl Simulation<'_> {
    async fn processes(&mut self, first: (Target, Arc<Gates>), first_request: usize) {
        let deaths: Vec<Death> = self.script.deaths.iter().copied().chain([Death::NEVER; CALM_LIVES]).collect();
        let mut first = Some(first);
        for (n, death) in deaths.into_iter().enumerate() {
            let is_calm = n >= self.script.deaths.len();
            if n > self.script.deaths.len() {
                self.app.clear_faults();
            }
            let end = {
                let requests = if n == 0 { first_request } else { self.app.received() };
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
            if progress.finished || progress.canary == Some(false) {
                return;
            }
            sleep(death.pause).await;
        }
        let progress = self.journal.progress();
        self.report.broken.push(format!("it never comes to its end: {progress:?}"));
    }

    /// One process, from its begin to its end or death; then what is left of it is put in order.
    async fn life(&mut self, n: usize, death: Death, is_calm: bool, first: Option<(Target, Arc<Gates>)>) -> End {
        let seed = self.script.scenario.seed.wrapping_add(n as u64);
        let resumed = first.is_none();
        let (target, gates) = first.unwrap_or_else(|| {
            let target = target(self.script, &self.app, &self.witness, death.no_renewal && !is_calm);
            (target, gates(self.script, seed, true))
        });
        let crashed = self.witness.begin(death.at_event);
        if let Some(n) = death.disk_fails_at {
            self.journal.fail_at(n);
        }
        let (stop, abandon) = (CancellationToken::new(), CancellationToken::new());
        let began = Instant::now();
        let rules = self.rules(is_calm);
        let proved = self.script.preflight || self.script.verify;
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
                proved: if resumed { proved } else { self.script.preflight },
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
            verify: self.script.verify,
            preflight: self.script.preflight,
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
        self.stops.push(Stop { requests: self.app.received(), records: self.journal.len(), rows });
    }
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
