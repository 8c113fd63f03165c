//! A journal without a disk, for simulations: what is durable and what is not yet are kept apart, so that a crash can
//! happen between any two commits.

use std::collections::{BTreeMap, VecDeque};
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
        Self { identity: identity.into(), entries: entries.into(), inner: Mutex::new(inner).into() }
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
        let open = self.read(|history| {
            let of_chunk = history.items.values().filter(|item| item.chunk == number);
            of_chunk.filter_map(|item| history.open_item(item.id)).collect()
        });
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
mod tests {
    use proptest::prelude::*;

    use crate::journal::record::{AnswerKind, AnswerRecord, ItemId, SlotNo};
    use crate::journal::sample::{AT, answer, build, identity, intent, line, plan, refusal, settled};
    use crate::journal::{Store, View};
    use crate::model::Outcome;

    use super::*;

    const CHUNKS: u32 = 3;

    /// Numbers that [`records`] turns into a record; all of them make sense.
    type Seed = (u8, ItemId, ItemId, usize, u64, bool);

    fn seeds(most: usize) -> impl Strategy<Value = Vec<Seed>> {
        let items = CHUNKS * 2;
        let seed = (0..12_u8, 1..=items, 1..=items, 0..4_usize, any::<u64>(), any::<bool>());
        prop::collection::vec(seed, 0..most)
    }

    fn records(seeds: &[Seed]) -> Vec<Record> {
        let slots: [&[SlotNo]; 4] = [&[0], &[1], &[0, 1], &[1, 0]];
        let outcomes =
            [Outcome::Detached, Outcome::AlreadyDetached, Outcome::Failed, Outcome::NotSent, Outcome::Unknown];
        let mut attempts = 0;
        let mut record = |(what, item, other, slot, n, flag): &Seed| {
            let slots = slots[*slot];
            match what {
                3..=5 if attempts > 0 => {
                    let kind = AnswerKind::ALL[usize::try_from(n % 5).unwrap()];
                    let refused = if *flag { vec![(*item, refusal("WKS.1"))] } else { vec![] };
                    let code = if kind == AnswerKind::Doubt { "timeout".to_owned() } else { String::new() };
                    Record::Answer(AnswerRecord { code, refused, ..answer(n / 5 % attempts + 1, kind) })
                }
                6 => {
                    let job_id = format!("job-{}", n % 4);
                    Record::Job { item: *item, job_id, refusal: flag.then(|| refusal("WKS.2")) }
                }
                7 => Record::Seen { item: *item, slots: slots.to_vec() },
                8 | 9 => {
                    let outcome = outcomes[usize::try_from(n % 5).unwrap()];
                    let mut settled = settled(*item, slots, outcome);
                    settled.result.recheck = *flag;
                    Record::Settled(settled)
                }
                10 => Record::Rechecked { item: *item },
                11 => match n % 4 {
                    0 => Record::Started {
                        at: AT.to_owned(),
                        version: "1".to_owned(),
                        write_period: Some(Duration::from_millis(600)),
                    },
                    1 => Record::Stopped { at: AT.to_owned(), exit: 5, reason: "signal".to_owned() },
                    2 => Record::Canary { passed: *flag },
                    _ => Record::Requests { counts: vec![(crate::model::Class::ShowJob, "ok.x".to_owned(), n % 3)] },
                },
                _ => {
                    attempts += 1;
                    let (a, b) = (*item.min(other), *item.max(other));
                    let carries: &[(ItemId, &[SlotNo])] = if a == b { &[(a, slots)] } else { &[(a, slots), (b, &[0])] };
                    intent(attempts, a.div_ceil(2), carries)
                }
            }
        };
        seeds.iter().map(&mut record).collect()
    }

    /// All that a journal tells, in words.
    async fn told(journal: &dyn Journal) -> Vec<String> {
        let mut told = Vec::new();
        for chunk in 0..=CHUNKS + 1 {
            told.push(format!("{:?}", journal.chunk(chunk).await.unwrap()));
        }
        told.push(format!("{:?}", journal.resume().await.unwrap()));
        told.push(format!("{:?}", journal.rechecks().await.unwrap()));
        told
    }

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
    }

    fn results(view: &View) -> Vec<String> {
        let mut lines = Vec::new();
        view.for_each_result(|row| {
            lines.push(line(&row));
            Ok(())
        })
        .unwrap();
        lines
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn memory_and_disk_tell_the_same(seeds in seeds(40), size in 1..6_usize) {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a.journal");
            let memory = build(&path, CHUNKS);
            let store = Store::open(&path).unwrap();
            let handle = store.handle();
            run(async {
                for records in records(&seeds).chunks(size) {
                    memory.commit(records.to_vec()).await.unwrap();
                    handle.commit(records.to_vec()).await.unwrap();
                    assert_eq!(told(&memory).await, told(&handle).await);
                }
                let mut lines = Vec::new();
                memory
                    .for_each_result(|row| {
                        lines.push(line(&row));
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(handle.with_view(results).await.unwrap(), lines);
                memory.crash();
                assert_eq!(memory.resume().await, handle.resume().await);
            });
            store.close().unwrap();
            let view = View::open(&path).unwrap();
            assert_eq!(view.progress().unwrap(), memory.progress());
            let mut writes = 0;
            view.for_each_attempt(|_| {
                writes += 1;
                Ok(())
            })
            .unwrap();
            prop_assert_eq!(memory.progress().attempts.values().sum::<u64>(), writes);
        }
    }

    proptest! {
        #[test]
        fn p01_p03_every_prefix_of_the_records_replays_to_a_state_that_is_allowed(seeds in seeds(30)) {
            let (entries, items) = plan(CHUNKS);
            let journal = MemoryJournal::new(identity(), entries, items);
            run(async {
                for record in records(&seeds) {
                    journal.commit(vec![record]).await.unwrap();
                    journal.crash();
                    check(&journal).await;
                }
            });
        }
    }

    async fn check(journal: &MemoryJournal) {
        let progress = journal.progress();
        let mut rows = BTreeMap::new();
        let mut words = BTreeMap::new();
        journal
            .for_each_result(|row| {
                *rows.entry(row.result.outcome).or_insert(0) += 1;
                let binding = (row.cells[0].to_owned(), row.cells[2].to_lowercase());
                // Rows of the same binding share one outcome.
                assert_eq!(*words.entry(binding).or_insert(row.result.outcome), row.result.outcome);
                Ok(())
            })
            .unwrap();
        // P1: every row has one outcome, and the counts are those of the rows.
        assert_eq!(rows.values().sum::<u64>(), progress.rows);
        let mut counted = progress.outcomes.clone();
        *counted.entry(Outcome::Unknown).or_default() += progress.open_unknown;
        *counted.entry(Outcome::NotSent).or_default() += progress.open_not_sent;
        counted.retain(|_, rows| *rows > 0);
        assert_eq!(rows, counted);

        let (records, in_flight) = (journal.records(), journal.resume().await.unwrap().in_flight);
        let mut open = Vec::new();
        for chunk in 1..=CHUNKS {
            open.extend(journal.chunk(chunk).await.unwrap());
        }
        for item in 1..=CHUNKS * 2 {
            let found = open.iter().find(|open| open.item.id == item);
            for slot in [0, 1] {
                let of_slot = |record: &&Record| matches!(record, Record::Settled(s) if s.item == item && s.slots.contains(&slot));
                let word = records.iter().rev().find(of_slot);
                let is_final = matches!(word, Some(Record::Settled(s)) if s.result.outcome != Outcome::Unknown);
                // P3: what is settled is never handed out to be sent again, and all else is.
                assert_eq!(found.is_none_or(|open| open.settled.contains(&slot)), is_final);
                // P4: a write of an open slot that may have been sent is in flight.
                let sent = records.iter().any(|record| match record {
                    Record::Intent(attempt) => {
                        let answer = records.iter().rev().find_map(|record| match record {
                            Record::Answer(answer) if answer.attempt == attempt.id => Some(answer.kind),
                            _ => None,
                        });
                        let carries = attempt.carries.iter().any(|(id, slots)| *id == item && slots.contains(&slot));
                        carries && answer.is_none_or(|kind| !kind.is_not_executed())
                    }
                    _ => false,
                });
                if sent && !is_final {
                    assert!(in_flight.iter().any(|open| open.item.id == item));
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_loses_what_was_under_way_and_nothing_that_was_told() {
        let (entries, items) = plan(1);
        let journal = MemoryJournal::new(identity(), entries, items);
        journal.set_latency(Duration::from_millis(10));
        journal.commit(vec![intent(1, 1, &[(1, &[0])])]).await.unwrap();
        let waiting = tokio::spawn({
            let journal = journal.clone();
            async move { journal.commit(vec![intent(2, 1, &[(2, &[0])])]).await }
        });
        tokio::task::yield_now().await;
        assert_eq!((journal.pending(), journal.records().len()), (1, 1));
        journal.crash();
        assert!(waiting.await.unwrap().is_err());
        assert_eq!((journal.pending(), journal.records().len()), (0, 1));
        assert_eq!(journal.resume().await.unwrap().next_attempt, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn p13_the_commit_that_fails_is_the_last() {
        let (entries, items) = plan(1);
        let journal = MemoryJournal::new(identity(), entries, items);
        journal.commit(vec![intent(1, 1, &[(1, &[0])])]).await.unwrap();
        journal.fail_at(2);
        journal.commit(vec![intent(2, 1, &[(1, &[0])])]).await.unwrap();
        for id in 3..5 {
            assert!(journal.commit(vec![intent(id, 1, &[(1, &[0])])]).await.is_err());
            assert!(journal.has_failed());
        }
        assert_eq!(journal.records().len(), 2);
        journal.crash();
        journal.commit(vec![intent(3, 1, &[(1, &[0])])]).await.unwrap();
    }

    #[tokio::test]
    async fn a_record_that_makes_no_sense_is_not_kept_nor_what_came_with_it() {
        let (entries, items) = plan(1);
        let journal = MemoryJournal::new(identity(), entries, items);
        assert!(journal.commit(vec![intent(1, 1, &[(1, &[0])]), intent(2, 1, &[(9, &[0])])]).await.is_err());
        assert!(journal.resume().await.unwrap().in_flight.is_empty());
        assert!(journal.records().is_empty());
    }
}
