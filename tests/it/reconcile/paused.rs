//! The library under paused time: read, look, plan, drive, against the simulator in the same task.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use batch_detach::input::{self, ReadOptions};
use batch_detach::plan::{Policy, plan, questions};
use batch_detach::testing::api::auth::Nobody;
use batch_detach::testing::api::{Reader, Target, Writer};
use batch_detach::testing::build;
use batch_detach::testing::dispatch::{Drive, Ended, Rules, drive};
use batch_detach::testing::journal::{Entry, Item, MemoryJournal, Progress};
use batch_detach::testing::model::Class;
use batch_detach::testing::pace::{Ceiling, Gates, Waits};
use batch_detach::testing::reconcile::preflight::Preflight;
use batch_detach::testing::sim::App;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How a run goes.
pub(crate) struct Go {
    pub(crate) policy: Policy,
    pub(crate) rules: Rules,
    /// Between two writes, and between two reads of a kind.
    pub(crate) write_period: Duration,
    pub(crate) read_period: Duration,
}

impl Default for Go {
    /// As the program does it by default.
    fn default() -> Self {
        Self {
            policy: Policy::default(),
            rules: Rules::default(),
            write_period: Duration::from_millis(600),
            read_period: Duration::from_millis(300),
        }
    }
}

/// One record of the results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) line: u64,
    pub(crate) desktop: String,
    pub(crate) user: String,
    pub(crate) outcome: &'static str,
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) ended: Ended,
    pub(crate) rows: Vec<Row>,
    pub(crate) progress: Progress,
    /// What observers were told, in words.
    pub(crate) told: Vec<String>,
    /// From the preflight's first read to the end.
    pub(crate) took: Duration,
    /// Of that, the driving alone.
    pub(crate) drove: Duration,
}

impl Ran {
    /// Requests of a class that started.
    pub(crate) fn started(&self, class: Class) -> u64 {
        self.progress.requests.get(&(class, "started".to_owned())).copied().unwrap_or_default()
    }

    pub(crate) fn outcomes(&self) -> BTreeMap<&'static str, usize> {
        self.rows.iter().fold(BTreeMap::new(), |mut counts, row| {
            *counts.entry(row.outcome).or_default() += 1;
            counts
        })
    }
}

impl Go {
    /// Reads, looks (if `rules.preflight`), plans, and drives the plan to its end. `meanwhile` runs once the plan is
    /// made, before anything is sent.
    pub(crate) async fn run(&self, app: &Arc<App>, csv: &str, meanwhile: impl FnOnce(&Arc<App>)) -> Ran {
        let target = target(app);
        let ceiling =
            |class: Class| Ceiling { period: if class.is_write() { self.write_period } else { self.read_period } };
        let gates = Gates::new(ceiling, self.rules.concurrency, 1, false);
        let source = input::Source::Bytes { name: "leavers.csv".to_owned(), bytes: csv.as_bytes().to_vec() };
        let input =
            input::read(source, &ReadOptions { empty_desktop_is_every: true, ..ReadOptions::default() }).unwrap();
        let began = Instant::now();
        let reader = Reader::new(target.clone());
        let stop = CancellationToken::new();
        let snapshot = if self.rules.preflight {
            let look = Preflight::new(reader.clone(), Arc::clone(&gates), 8, Waits::default(), 1, stop.clone());
            Some(look.look(&questions(&input, &self.policy, None)).await.unwrap())
        } else {
            None
        };
        let made = plan(&input, snapshot.as_ref(), &self.policy);
        meanwhile(app);
        let entries: Vec<Entry> = made.entries().map(|entry| entry.to_journal()).collect();
        let items: Vec<Item> = made.items().collect();
        let journal = MemoryJournal::new(build::identity(), entries, items);
        let drove = Instant::now();
        let run = Drive {
            journal: Arc::new(journal.clone()),
            reader,
            writer: Writer::new(target),
            gates,
            rules: Rules { canary_chunks: u32::try_from(made.canary_chunks()).unwrap(), ..self.rules.clone() },
            write_ceiling: Ceiling { period: self.write_period },
            resumed: false,
            proved: true,
            seed: 1,
            stop,
            abandon: CancellationToken::new(),
        };
        let mut told = Vec::new();
        let ended = drive(run, &mut told).await.unwrap();
        let mut rows = Vec::new();
        let kept = journal.for_each_result(|row| {
            rows.push(Row {
                line: row.line,
                desktop: row.desktop_id().to_owned(),
                user: row.user_name().to_owned(),
                outcome: row.result.outcome.as_str(),
                code: row.result.code.clone(),
                message: row.result.message.clone(),
            });
            Ok(())
        });
        kept.unwrap();
        Ran { ended, rows, progress: journal.progress(), told, took: began.elapsed(), drove: drove.elapsed() }
    }
}

pub(crate) fn target(app: &Arc<App>) -> Target {
    Target {
        transport: Arc::new(app.transport()),
        auth: Arc::new(Nobody),
        endpoint: "http://simulator.invalid".to_owned(),
        project_id: "p".to_owned(),
    }
}
