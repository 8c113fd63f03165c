//! The one writer of a journal, and how the rest of the program reaches it.

use std::path::Path;
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::JoinHandle;

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::files;

use super::lock;
use super::record::{Identity, OpenItem, Recheck, Record, Resume};
use super::schema::{self, Fault};
use super::seam::{Journal, JournalError};
use super::view::View;
use super::whole;
use super::writer::{Job, Medium, OPENING, Shared, Writer, connect};

/// A journal that this process drives: the only way to change it.
///
/// Take the [`super::RunLock`] first: this does not keep other processes away.
#[derive(Debug)]
pub struct Store {
    handle: Handle,
    thread: Option<JoinHandle<Result<(), Error>>>,
    /// The file itself, locked; given back after the thread has closed its connection.
    _hold: Option<lock::Hold>,
}

/// Reaches the [`Store`] from anywhere; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
}

impl Store {
    /// Opens a journal to go on with it.
    ///
    /// # Errors
    /// [`Error::NotOurJournal`] where it is no journal, a newer one or a damaged one: the file is then untouched.
    /// [`Error::File`] where the disk says no.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let path = &files::real(path);
        schema::check_header(path)?;
        let medium = if files::is_network(path) { Medium::Network } else { Medium::Local };
        Self::open_on(path, medium)
    }

    fn open_on(path: &Path, medium: Medium) -> Result<Self, Error> {
        // Before `SQLite` opens the file, and given back after it has closed it.
        let hold = lock::hold_file(path)?;
        let look = whole::Look::at(path)?;
        let (connection, identity, medium) =
            connect(path, medium, &look).map_err(|fault| fault.before(OPENING, path))?;
        look.check(&connection, path, &identity.run_id)?;
        if medium == Medium::Local {
            let marked = whole::mark_driven(&connection, path, &identity.run_id, !look.has_log());
            marked.map_err(|fault| fault.before(OPENING, path))?;
        }
        let view = View::over(connection, path, identity.clone());
        let shared = Arc::new(Shared { path: path.to_owned(), identity, failed: OnceLock::new() });
        let (jobs, queue) = mpsc::channel();
        // The log is there since the first read; that its name is durable, too, is not left to `SQLite`, which does not
        // mind a directory that can't be synced.
        files::sync_dir_of(path).map_err(|error| Fault::Io(error).before(OPENING, path))?;
        let writer = Writer::new(view, Arc::clone(&shared), medium);
        let writer = writer.map_err(|fault| fault.before(OPENING, path))?;
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || writer.work(&queue));
        let thread = thread.map_err(|error| Fault::Io(error).before(OPENING, path))?;
        Ok(Self { handle: Handle { shared, jobs }, thread: Some(thread), _hold: hold })
    }

    pub fn identity(&self) -> &Identity {
        &self.handle.shared.identity
    }

    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends the writer after what is queued. The log goes into the file, and the file stands alone; after a failed
    /// commit nothing of that is tried (P13).
    ///
    /// # Errors
    /// [`Error::Disk`] where a commit had failed, or this does.
    pub fn close(mut self) -> Result<(), Error> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        _ = self.handle.jobs.send(Job::Close);
        thread.join().map_err(|_| Error::Internal("the journal's thread panicked".to_owned()))?
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        _ = self.end();
    }
}

impl Handle {
    pub fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Runs `read` on the writer's own connection, after what was queued before it; commits wait meanwhile.
    /// What it sees is durable; after a failed commit it is the last state before that. `read` must not wait for this
    /// journal itself.
    pub async fn with_view<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View) -> T + Send + 'static,
    ) -> Result<T, JournalError> {
        let (done, answer) = oneshot::channel();
        let job = Job::Read(Box::new(move |view| _ = done.send(read(view))));
        self.jobs.send(job).map_err(|_| self.shared.closed())?;
        answer.await.map_err(|_| self.shared.closed())
    }

    async fn ask<T: Send + 'static>(
        &self,
        read: impl FnOnce(&View) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.with_view(read).await?.map_err(|error| {
            use std::error::Error as _;
            let cause = error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"));
            JournalError::Unreadable { path: self.shared.path.clone(), cause: cause.into() }
        })
    }
}

impl Journal for Handle {
    fn commit(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            self.shared.check()?;
            if records.is_empty() {
                return Ok(());
            }
            let (done, answer) = oneshot::channel();
            self.jobs.send(Job::Commit { records, done }).map_err(|_| self.shared.closed())?;
            answer.await.unwrap_or_else(|_| Err(self.shared.closed()))
        })
    }

    fn has_failed(&self) -> bool {
        self.shared.failed.get().is_some()
    }

    fn resume(&self) -> BoxFuture<'_, Result<Resume, JournalError>> {
        Box::pin(self.ask(View::resume))
    }

    fn chunk(&self, number: u32) -> BoxFuture<'_, Result<Vec<OpenItem>, JournalError>> {
        Box::pin(self.ask(move |view| view.chunk(number)))
    }

    fn rechecks(&self) -> BoxFuture<'_, Result<Vec<Recheck>, JournalError>> {
        Box::pin(self.ask(View::rechecks))
    }
}

#[cfg(test)]
mod tests {
    use crate::journal::record::AnswerKind;
    use crate::journal::sample::{answer, build, identity, intent, names, settled};
    use crate::journal::schema::beside;
    use crate::journal::writer::{pragma, stand_alone};
    use crate::model::Outcome;

    use super::*;

    #[tokio::test]
    async fn a_built_journal_is_driven_closed_and_stands_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.csv.journal");
        build(&path, 2);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.identity(), &identity());
        let handle = store.handle();
        assert_eq!(handle.resume().await.unwrap().next_attempt, 1);
        handle.commit(vec![intent(1, 1, &[(1, &[0, 1]), (2, &[0, 1])])]).await.unwrap();
        assert_eq!(handle.resume().await.unwrap().in_flight.len(), 2);
        handle.commit(vec![Record::Answer(answer(1, AnswerKind::Answered))]).await.unwrap();
        handle.commit(vec![Record::Settled(settled(1, &[0, 1], Outcome::Detached))]).await.unwrap();
        assert_eq!(names(directory.path()), ["r.csv.journal", "r.csv.journal-shm", "r.csv.journal-wal"]);
        store.close().unwrap();
        assert_eq!(names(directory.path()), ["r.csv.journal"]);

        let view = View::open(&path).unwrap();
        let progress = view.progress().unwrap();
        assert_eq!(progress.outcomes, [(Outcome::Detached, 3), (Outcome::Invalid, 2)].into());
        assert_eq!((progress.open_unknown, progress.open_not_sent), (3, 6));
        assert_eq!((progress.chunks, progress.chunks_open, progress.finished), (2, 2, false));
        assert_eq!(progress.attempts, [(Some(AnswerKind::Answered), 1)].into());
        let mut outcomes = Vec::new();
        view.for_each_result(|row| {
            outcomes.push(row.result.outcome.as_str());
            Ok(())
        })
        .unwrap();
        let (d, u, i, n) = ("detached", "unknown", "invalid", "not_sent");
        assert_eq!(outcomes, [d, d, d, u, u, u, i, n, n, n, n, n, n, i]);
        assert_eq!(names(directory.path()), ["r.csv.journal"]);
        assert_eq!(handle.commit(vec![]).await, Ok(()));
        assert!(handle.chunk(1).await.is_err());
    }
    /// What a kill leaves: the files as they are, but not the shared memory.
    fn killed(path: &Path, to: &Path) {
        for ending in ["", "-wal", "-journal"] {
            if let Ok(bytes) = std::fs::read(beside(path, ending)) {
                std::fs::write(beside(to, ending), bytes).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn p03_p04_what_was_told_to_be_durable_is_there_after_a_kill() {
        let directory = tempfile::tempdir().unwrap();
        let (path, copy) = (directory.path().join("a.journal"), directory.path().join("b.journal"));
        build(&path, 2);
        let store = Store::open(&path).unwrap();
        store.handle().commit(vec![intent(1, 1, &[(1, &[0, 1])])]).await.unwrap();
        killed(&path, &copy);

        let progress = View::open(&copy).unwrap().progress().unwrap();
        assert_eq!((progress.attempts, progress.open_unknown), ([(None, 1)].into(), 3));
        let resumed = Store::open(&copy).unwrap();
        let open = resumed.handle().chunk(1).await.unwrap();
        assert_eq!(open[0].last.as_ref().map(|last| (last.id, last.kind)), Some((1, None)));
        assert!(open[0].ever_doubt);
        assert_eq!(open[1].last, None);
        assert_eq!(resumed.handle().resume().await.unwrap().next_attempt, 2);
        resumed.close().unwrap();
        assert_eq!(View::open(&copy).unwrap().progress().unwrap().open_unknown, 3);
    }

    #[tokio::test]
    async fn p03_a_log_that_is_torn_anywhere_holds_a_prefix_of_the_commits() {
        let directory = tempfile::tempdir().unwrap();
        let (path, copy) = (directory.path().join("a.journal"), directory.path().join("b.journal"));
        build(&path, 3);
        let store = Store::open(&path).unwrap();
        for id in 1..=6_u32 {
            store.handle().commit(vec![intent(id.into(), id.div_ceil(2), &[(id, &[0])])]).await.unwrap();
        }
        let log = std::fs::read(beside(&path, "-wal")).unwrap();
        let mut most = 0;
        // Its beginning was synced as the journal was opened: a log without that is a loss.
        for cut in (1_111..=log.len()).step_by(1_111).chain([log.len()]) {
            std::fs::copy(&path, &copy).unwrap();
            std::fs::write(beside(&copy, "-wal"), &log[..cut]).unwrap();
            _ = files::remove_if_there(&beside(&copy, "-shm"));
            let view = View::open(&copy).unwrap();
            let mut ids = Vec::new();
            view.for_each_attempt(|sent| {
                ids.push(sent.attempt.id);
                Ok(())
            })
            .unwrap();
            assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
            assert!(ids.len() >= most, "a longer log holds no less");
            most = ids.len();
        }
        assert_eq!(most, 6);
    }

    #[tokio::test]
    async fn commits_that_wait_together_are_all_kept_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        build(&path, 50);
        let store = Store::open(&path).unwrap();
        let handle = store.handle();
        let commits = (1..=100_u32).map(|id| handle.commit(vec![intent(id.into(), id.div_ceil(2), &[(id, &[0, 1])])]));
        for result in futures::future::join_all(commits).await {
            result.unwrap();
        }
        let ids = handle.with_view(|view| {
            let mut ids = Vec::new();
            view.for_each_attempt(|sent| {
                ids.push(sent.attempt.id);
                Ok(())
            })?;
            Ok::<_, Error>(ids)
        });
        assert_eq!(ids.await.unwrap().unwrap(), (1..=100).collect::<Vec<_>>());
        assert_eq!(handle.resume().await.unwrap().in_flight.len(), 100);
    }

    #[tokio::test]
    async fn an_answer_concerns_every_chunk_that_the_write_carried() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        build(&path, 2);
        let store = Store::open(&path).unwrap();
        let handle = store.handle();
        handle.commit(vec![intent(1, 1, &[(2, &[0]), (3, &[0])])]).await.unwrap();
        for (kind, in_flight) in [(AnswerKind::Throttled, 0), (AnswerKind::Doubt, 2)] {
            handle.commit(vec![Record::Answer(answer(1, kind))]).await.unwrap();
            assert_eq!(handle.resume().await.unwrap().in_flight.len(), in_flight);
        }
    }

    #[tokio::test]
    async fn p04_every_commit_is_synced_before_it_is_told_on_either_medium() {
        for (medium, mode, synchronous) in [(Medium::Local, "wal", "2"), (Medium::Network, "delete", "3")] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a.journal");
            build(&path, 1);
            let store = Store::open_on(&path, medium).unwrap();
            let handle = store.handle();
            let told = handle
                .with_view(|view| ["journal_mode", "synchronous"].map(|name| pragma(view.connection(), name).unwrap()));
            assert_eq!(
                told.await.unwrap(),
                [mode, synchronous],
                "2 is FULL, 3 is EXTRA: 1 loses what was told to be durable"
            );
            store.close().unwrap();
        }
    }

    #[tokio::test]
    async fn p13_after_a_full_disk_every_commit_fails_and_nothing_is_checkpointed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        build(&path, 300);
        let store = Store::open(&path).unwrap();
        let handle = store.handle();
        handle.commit(vec![intent(1, 1, &[(1, &[0])])]).await.unwrap();
        handle.with_view(|view| pragma(view.connection(), "max_page_count = 1").unwrap()).await.unwrap();
        let many: Vec<_> = (2..600).map(|id| intent(id, 1, &[(1, &[0])])).collect();
        let failed = handle.commit(many).await;
        assert!(matches!(&failed, Err(JournalError::Failed { .. })), "{failed:?}");
        assert!(handle.has_failed());
        assert_eq!(handle.commit(vec![intent(600, 1, &[(1, &[0])])]).await, failed);
        assert_eq!(
            handle.resume().await.unwrap().progress.attempts,
            [(None, 1)].into(),
            "the results can still be written"
        );
        let before = std::fs::read(&path).unwrap();
        assert!(store.close().is_err());
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert!(std::fs::metadata(beside(&path, "-wal")).unwrap().len() > 0);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.handle().resume().await.unwrap().progress.attempts, [(None, 1)].into());
        store
            .handle()
            .with_view(|view| assert_eq!(pragma(view.connection(), "integrity_check").unwrap(), "ok"))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn p13_a_commit_that_was_queued_behind_the_failed_one_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        build(&path, 1);
        let store = Store::open(&path).unwrap();
        let handle = store.handle();
        // More than one transaction takes in, so that the next commit gets one of its own.
        let senseless = vec![Record::Answer(answer(7, AnswerKind::Doubt)); 5_000];
        let both = tokio::join!(handle.commit(senseless), handle.commit(vec![intent(2, 1, &[(1, &[0])])]));
        assert!(both.0.is_err() && both.1.is_err(), "{both:?}");
        assert!(handle.resume().await.unwrap().progress.attempts.is_empty());
    }

    #[tokio::test]
    async fn p13_a_file_removed_or_cut_under_us_is_a_failure() {
        type Harm = fn(&Path);
        let harms: [Harm; 3] = [
            |path| std::fs::remove_file(path).unwrap(),
            |path| std::fs::remove_file(beside(path, "-wal")).unwrap(),
            |path| {
                std::fs::copy(path, beside(path, ".x")).unwrap();
                std::fs::rename(beside(path, ".x"), path).unwrap();
            },
        ];
        for harm in harms {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("a.journal");
            build(&path, 1);
            let store = Store::open(&path).unwrap();
            store.handle().commit(vec![intent(1, 1, &[(1, &[0])])]).await.unwrap();
            harm(&path);
            assert!(store.handle().commit(vec![intent(2, 1, &[(1, &[0])])]).await.is_err());
            assert!(store.handle().has_failed());
        }
    }

    #[tokio::test]
    async fn a_record_that_makes_no_sense_stops_the_journal_and_is_not_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        build(&path, 1);
        let store = Store::open(&path).unwrap();
        let records = vec![intent(1, 1, &[(1, &[0])]), Record::Answer(answer(2, AnswerKind::Doubt))];
        assert!(store.handle().commit(records).await.is_err());
        assert!(store.handle().resume().await.unwrap().progress.attempts.is_empty());
    }

    #[tokio::test]
    async fn the_log_does_not_grow_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        build(&path, 1);
        let store = Store::open(&path).unwrap();
        for id in 1..=300 {
            store.handle().commit(vec![intent(id, 1, &[(1, &[0])])]).await.unwrap();
        }
        assert!(std::fs::metadata(beside(&path, "-wal")).unwrap().len() < 4 << 20);
        store.close().unwrap();
        assert_eq!(View::open(&path).unwrap().progress().unwrap().attempts, [(None, 300)].into());
    }

    #[tokio::test]
    async fn on_a_network_file_system_it_works_without_shared_memory() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        build(&path, 1);
        let store = Store::open_on(&path, Medium::Network).unwrap();
        store.handle().commit(vec![intent(1, 1, &[(1, &[0])])]).await.unwrap();
        assert_eq!(names(directory.path()), ["a.journal"]);
        store.close().unwrap();
        assert_eq!(View::open(&path).unwrap().progress().unwrap().attempts, [(None, 1)].into());
    }

    #[test]
    fn p16_garbage_foreign_and_newer_files_are_refused_and_untouched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        build(&path, 200);
        let good = std::fs::read(&path).unwrap();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        let mut scrambled = good.clone();
        scrambled[100..].fill(0x5a);
        let files = [
            vec![],
            b"line,desktop_id\n".repeat(100),
            with(63, 9),    // user_version
            with(68, b'x'), // application_id
            good[..100].to_vec(),
            good[..5_000].to_vec(),
            scrambled,
        ];
        for (n, bytes) in files.iter().enumerate() {
            std::fs::write(&path, bytes).unwrap();
            assert!(matches!(Store::open(&path), Err(Error::NotOurJournal { .. })), "file {n}");
            assert!(matches!(View::open(&path), Err(Error::NotOurJournal { .. })), "file {n}");
            // What another version made can be moved aside.
            assert_eq!(stand_alone(&path).is_ok(), n == 2, "file {n}");
            assert_eq!(&std::fs::read(&path).unwrap(), bytes, "file {n}");
            assert_eq!(names(directory.path()), ["a.journal"], "file {n}");
        }
        std::fs::write(&path, with(63, 9)).unwrap();
        assert!(Store::open(&path).unwrap_err().to_string().contains("format 9"));
        assert!(matches!(Store::open(&directory.path().join("none")), Err(Error::File { .. })));
    }
}
