//! A journal without a disk, for simulations: what is durable and what is not yet are kept apart, so that a crash can
//! happen between any two commits.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;

use crate::error::Error;
use crate::model::Outcome;

use super::record::{
    Entry, Fate, Identity, Item, ItemId, OpenItem, Process, Progress, Recheck, Record, ResultRow, Resume, RowOutcome,
    SlotNo, Stopped,
};
use super::replay::History;
use super::seam::{Journal, JournalError, Past};

/// Behaves as [`Handle`](super::store::Handle) does. A clone is the same journal.
#[derive(Debug, Clone)]
pub struct MemoryJournal {
    identity: Arc<Identity>,
    entries: Arc<Vec<Entry>>,
    /// The items of each chunk.
    chunks: Arc<HashMap<u32, Vec<ItemId>>>,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    durable: Durable,
    /// Every durable record, in order.
    log: Vec<Record>,
    pending: VecDeque<Vec<Record>>,
    /// Commits that were queued, and those of them that are durable: a commit's ticket lies between.
    queued: u64,
    done: u64,
    failed: Option<Arc<str>>,
    /// The commit that fails, counted from the process's first.
    fail_at: Option<u64>,
    /// Of this process.
    commits: u64,
    /// Rises with every crash: what waits from before it never comes back.
    life: u64,
    latency: Duration,
}

/// What a process finds that starts now.
#[derive(Debug, Clone, Default)]
struct Durable {
    history: History,
    processes: Vec<Process>,
    canary: Option<bool>,
    undone_by: Option<String>,
    requests: BTreeMap<(crate::model::Class, String), u64>,
}

impl Durable {
    fn apply(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Started { at, version, write_period } => {
                let (started_at, version) = (at.clone(), version.clone());
                self.processes.push(Process { started_at, version, write_period: *write_period, stopped: None });
            }
            Record::Stopped { at, exit, reason } => {
                if self.processes.last().is_none_or(|last| last.stopped.is_some()) {
                    self.processes.push(Process::default());
                }
                if let Some(last) = self.processes.last_mut() {
                    last.stopped = Some(Stopped { at: at.clone(), exit: *exit, reason: reason.clone() });
                }
            }
            Record::Canary { passed } => self.canary = Some(*passed),
            Record::Undone { by } => self.undone_by = Some(by.clone()),
            Record::Requests { counts } => {
                for (class, word, n) in counts.iter().filter(|(_, _, n)| *n > 0) {
                    *self.requests.entry((*class, word.clone())).or_default() += n;
                }
            }
            _ => self.history.apply(record)?,
        }
        Ok(())
    }
}

impl MemoryJournal {
    /// The plan is durable from the start.
    pub fn new(identity: Identity, entries: Vec<Entry>, items: Vec<Item>) -> Self {
        let mut chunks: HashMap<u32, Vec<ItemId>> = HashMap::new();
        for item in &items {
            chunks.entry(item.chunk).or_default().push(item.id);
        }
        let durable = Durable { history: History::new(items), ..Durable::default() };
        let inner = Inner {
            durable,
            log: Vec::new(),
            pending: VecDeque::new(),
            queued: 0,
            done: 0,
            failed: None,
            fail_at: None,
            commits: 0,
            life: 0,
            latency: Duration::ZERO,
        };
        let (identity, entries) = (identity.into(), entries.into());
        Self { identity, entries, chunks: chunks.into(), inner: Mutex::new(inner).into() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic of a simulated process leaves the disk as it is.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// How long a commit takes, on tokio's clock; at zero it yields once.
    pub fn set_latency(&self, latency: Duration) {
        self.inner().latency = latency;
    }

    /// Lets this process's `n`-th commit from now on fail (1: the next), and with it every later one (P13).
    pub fn fail_at(&self, n: u64) {
        let mut inner = self.inner();
        inner.fail_at = Some(inner.commits + n);
    }

    /// The process is gone: what was not durable is lost, waiting commits never succeed, and the next process starts
    /// without a failure.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// As [`MemoryJournal::crash`], but the first `kept` of the commits that were under way did reach the disk, though
    /// nobody was told.
    pub fn crash_keeping(&self, kept: usize) {
        let mut inner = self.inner();
        for _ in 0..kept {
            let Some(records) = inner.pending.pop_front() else { break };
            // A record that makes no sense is not on the disk of a real journal either.
            if inner.make_durable(records).is_err() {
                break;
            }
        }
        inner.pending.clear();
        inner.done = inner.queued;
        inner.failed = None;
        inner.fail_at = None;
        inner.commits = 0;
        inner.life += 1;
    }

    /// Every durable record, in order.
    pub fn records(&self) -> Vec<Record> {
        self.inner().log.clone()
    }

    /// How many records are durable.
    pub fn len(&self) -> usize {
        self.inner().log.len()
    }

    /// Whether nothing is durable but the plan.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The durable records after the first `n`, in order.
    pub fn records_since(&self, n: usize) -> Vec<Record> {
        self.inner().log.get(n..).unwrap_or_default().to_vec()
    }

    /// Commits under way.
    pub fn pending(&self) -> usize {
        self.inner().pending.len()
    }

    /// See [`super::View::for_each_result`].
    pub fn for_each_result(&self, mut f: impl FnMut(ResultRow<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let inner = self.inner();
        for entry in &*self.entries {
            let extras: Vec<&str> = entry.extras.iter().map(String::as_str).collect();
            let cells = entry.cells.each_ref().map(String::as_str);
            let result = match &entry.fate {
                Fate::Send { item, slot } => inner.durable.history.outcome(*item, *slot),
                Fate::Fixed { outcome, code, message } => {
                    let finished_at = self.identity.created_at.clone();
                    Some(RowOutcome { finished_at, ..RowOutcome::new(*outcome, code.to_string(), message.to_string()) })
                }
            };
            let result = result.ok_or_else(|| Error::Internal(format!("line {}: no such slot", entry.line)))?;
            f(ResultRow { line: entry.line, cells, result: &result, still_via: "", extras: &extras })?;
        }
        Ok(())
    }

    /// Where the run stands.
    pub fn progress(&self) -> Progress {
        let inner = self.inner();
        let Durable { history, processes, canary, undone_by, requests } = &inner.durable;
        let mut progress = Progress {
            rows: self.entries.len() as u64,
            requests: requests.clone(),
            rechecks_open: history.rechecks.len() as u64,
            canary: *canary,
            undone_by: undone_by.clone(),
            last: processes.last().cloned(),
            ..Progress::default()
        };
        for entry in &*self.entries {
            let outcome = match &entry.fate {
                Fate::Fixed { outcome, .. } => Some(*outcome),
                Fate::Send { item, slot } => history.outcome(*item, *slot).map(|result| result.outcome).filter(|_| {
                    let finals = history.items.get(item).map(|item| history.finals(item)).unwrap_or_default();
                    finals.get(usize::from(*slot)).copied().unwrap_or_default()
                }),
            };
            if let Some(outcome) = outcome {
                *progress.outcomes.entry(outcome).or_default() += 1;
            }
        }
        let mut chunks: BTreeMap<u32, bool> = BTreeMap::new();
        for item in history.items.values() {
            *chunks.entry(item.chunk).or_default() |= history.finals(item).contains(&false);
            progress.open_unknown += history.unknown_rows(item);
        }
        for sent in history.sent() {
            *progress.attempts.entry(sent.kind()).or_default() += 1;
        }
        let open = progress.rows - progress.outcomes.values().sum::<u64>();
        progress.open_not_sent = open.saturating_sub(progress.open_unknown);
        progress.chunks = chunks.len() as u64;
        progress.chunks_open = chunks.values().filter(|open| **open).count() as u64;
        progress.finished = open == 0 && progress.chunks_open == 0 && progress.rechecks_open == 0;
        progress
    }

    fn failed(cause: &Arc<str>) -> JournalError {
        JournalError::Failed { path: PathBuf::from("memory"), cause: Arc::clone(cause) }
    }

    fn read<T>(&self, read: impl FnOnce(&History) -> T) -> T {
        read(&self.inner().durable.history)
    }

    async fn write(&self, records: Vec<Record>) -> Result<(), JournalError> {
        if records.is_empty() {
            return self.inner().failed.as_ref().map_or(Ok(()), |cause| Err(Self::failed(cause)));
        }
        let (ticket, life, latency) = {
            let mut inner = self.inner();
            if let Some(cause) = &inner.failed {
                return Err(Self::failed(cause));
            }
            inner.pending.push_back(records);
            inner.queued += 1;
            (inner.queued, inner.life, inner.latency)
        };
        if latency.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(latency).await;
        }
        let mut inner = self.inner();
        if inner.life != life {
            return Err(JournalError::Closed { path: PathBuf::from("memory") });
        }
        if inner.done < ticket {
            inner.commit_all();
        }
        match &inner.failed {
            Some(cause) if inner.done < ticket => Err(Self::failed(cause)),
            _ => Ok(()),
        }
    }
}

impl Inner {
    /// What is queued becomes durable in one go, as at the writer of the real one.
    fn commit_all(&mut self) {
        if self.failed.is_some() {
            return;
        }
        let batches = std::mem::take(&mut self.pending);
        let count = batches.len() as u64;
        self.commits += count;
        if self.fail_at.is_some_and(|n| n <= self.commits) {
            self.failed = Some("no space left on the simulated disk".into());
            return;
        }
        match self.make_durable(batches.into_iter().flatten().collect()) {
            Ok(()) => self.done += count,
            Err(what) => self.failed = Some(what.into()),
        }
    }

    /// All or nothing.
    fn make_durable(&mut self, records: Vec<Record>) -> Result<(), String> {
        let applied = records.iter().try_for_each(|record| self.durable.apply(record));
        if applied.is_ok() {
            self.log.extend(records);
        } else {
            let items = std::mem::take(&mut self.durable.history.items);
            self.durable = Durable { history: History::new(items.into_values()), ..Durable::default() };
            for record in &self.log {
                self.durable.apply(record)?;
            }
        }
        applied
    }
}

impl Journal for MemoryJournal {
    fn commit(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(self.write(records))
    }

    fn has_failed(&self) -> bool {
        self.inner().failed.is_some()
    }

    fn resume(&self) -> BoxFuture<'_, Result<Resume, JournalError>> {
        let progress = self.progress();
        let resume = self.read(|history| {
            let open = history.items.values().filter(|item| history.finals(item).contains(&false));
            let mut open_chunks: Vec<u32> = open.map(|item| item.chunk).collect();
            open_chunks.sort_unstable();
            open_chunks.dedup();
            let (in_flight, next_attempt) = (history.in_flight().collect(), history.next_attempt());
            Resume { progress, open_chunks, in_flight, next_attempt }
        });
        Box::pin(std::future::ready(Ok(resume)))
    }

    fn chunk(&self, number: u32) -> BoxFuture<'_, Result<Vec<OpenItem>, JournalError>> {
        let items = self.chunks.get(&number).map_or(&[][..], Vec::as_slice);
        let open = self.read(|history| items.iter().filter_map(|id| history.open_item(*id)).collect());
        Box::pin(std::future::ready(Ok(open)))
    }

    fn rechecks(&self) -> BoxFuture<'_, Result<Vec<Recheck>, JournalError>> {
        let wanted = self.read(|history| {
            let items = history.rechecks.iter().filter_map(|id| history.items.get(id));
            items.map(|item| (item.clone(), history.to_recheck(item.id))).collect()
        });
        Box::pin(std::future::ready(Ok(wanted)))
    }
}

impl Past for MemoryJournal {
    fn identity(&self) -> &Identity {
        self.identity()
    }

    fn rows(&self) -> Result<u64, Error> {
        Ok(self.entries.len() as u64)
    }

    fn for_each_item(&self, mut f: impl FnMut(&Item, &[Outcome]) -> Result<(), Error>) -> Result<(), Error> {
        let inner = self.inner();
        let history = &inner.durable.history;
        history.items.values().try_for_each(|item| {
            let of_slots = (0..).zip(&item.slots).filter_map(|(slot, _)| history.outcome(item.id, slot));
            f(item, &of_slots.map(|result| result.outcome).collect::<Vec<_>>())
        })
    }

    fn for_each_sent(
        &self,
        mut f: impl FnMut(u64, [&str; 7], &[&str], (ItemId, SlotNo)) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.entries.iter().try_for_each(|entry| match &entry.fate {
            Fate::Send { item, slot } => {
                let extras: Vec<&str> = entry.extras.iter().map(String::as_str).collect();
                f(entry.line, entry.cells.each_ref().map(String::as_str), &extras, (*item, *slot))
            }
            Fate::Fixed { .. } => Ok(()),
        })
    }
}

#[cfg(test)]
mod tests;
