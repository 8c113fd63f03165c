//! Does what [`State`] decides: waits at the gates, makes intents durable, sends, reads, journals, tells.
//!
//! One task owns the state, the journal's order and the observer. What takes time runs in tasks of its own, which
//! only bring back what came of it; an answer is durable before the task that fetched it gives its slot free.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::rules::{Rules, StopReason};
use super::state::{Done, Op, Output, Start, State};
use super::write::Write;
use crate::api::lenient::List;
use crate::api::{Reader, Writer};
use crate::error::Error;
use crate::journal::record::{ItemId, Record};
use crate::journal::{Journal, JournalError, Progress, Resume};
use crate::model::{Class, Event, Observer, Outcome};
use crate::pace::{Ceiling, Gates, Held};
use crate::reconcile::evidence::ReadSpan;
use crate::reconcile::reads::{self, JobWord, ReadFault, SubJobs, judge_job};
use crate::text::timestamp_now;

/// Everything that a run needs once its plan is durable.
pub struct Drive {
    pub journal: Arc<dyn Journal>,
    pub reader: Reader,
    pub writer: Writer,
    pub gates: Arc<Gates>,
    pub rules: Rules,
    /// The ceiling of the write class: what the budget of repeats grows with.
    pub write_ceiling: Ceiling,
    /// Whether an earlier process drove this journal.
    pub resumed: bool,
    /// Whether the credentials were answered already (the preflight's reads were).
    pub proved: bool,
    pub seed: u64,
    /// Fires at the first signal: nothing new starts, open writes may answer.
    pub stop: CancellationToken,
    /// Fires at the second: everything is dropped at once; the journal covers it.
    pub abandon: CancellationToken,
}

/// How a drive ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Every row has its word, or could not be read in time.
    Complete,
    /// Before its end; `no_access` where nothing ever got through and nothing was written.
    Stopped { reason: StopReason, no_access: bool },
    /// Dropped by a second signal: no results are written.
    Abandoned,
}

/// Drives the journal's run to its end, or to a stop.
///
/// # Errors
/// [`Error::Disk`] where the journal could not be written: nothing was sent after that (P13).
pub async fn drive(run: Drive, observer: &mut dyn Observer) -> Result<Ended, Error> {
    let (telling, mut told) = mpsc::unbounded_channel();
    let (mut out, began) = (Output::default(), Instant::now());
    let (start, progress) = start_of(&run, run.journal.resume().await.map_err(broken)?);
    let mut state = State::new(run.rules.clone(), start, began, &mut out);
    observer.on_event(&Event::Begun {
        rows: progress.rows,
        settled: progress.rows - progress.open(),
        chunks: progress.chunks,
        chunks_open: progress.chunks_open,
        ceiling_per_s: run.write_ceiling.per_s(),
        resumed: run.resumed,
    });
    tracing::info!(chunks = progress.chunks, open = progress.chunks_open, resumed = run.resumed, "the run begins");
    let version = env!("CARGO_PKG_VERSION").to_owned();
    out.records
        .insert(0, Record::Started { at: timestamp_now(), version, write_period: Some(run.write_ceiling.period) });
    let deadline = run.rules.max_runtime.map(|limit| began + limit);
    let context = Arc::new(Context {
        journal: Arc::clone(&run.journal),
        reader: run.reader,
        writer: run.writer,
        gates: Arc::clone(&run.gates),
        class: run.rules.class,
        telling,
    });
    let mut hold = CancellationToken::new();
    let mut epoch = state.epoch();
    let mut ops: JoinSet<Result<Done, JournalError>> = JoinSet::new();
    let mut drain_until: Option<Instant> = None;
    let mut probing = false;
    loop {
        flush(&run.journal, &mut out, observer).await?;
        // One instant for all questions: what comes due between two would be neither begun nor waited for.
        let now = Instant::now();
        // Before anything is begun: where the time was over already, nothing may leave.
        if deadline.is_some_and(|at| at <= now) && state.stop_reason().is_none() && state.has_work() {
            state.stop(StopReason::Deadline, &mut out);
            flush(&run.journal, &mut out, observer).await?;
        }
        if state.stop_reason().is_some() && drain_until.is_none() {
            drain_until = Some(Instant::now() + run.rules.drain_time);
            hold.cancel();
        }
        if state.epoch() != epoch {
            epoch = state.epoch();
            hold.cancel();
            hold = CancellationToken::new();
        }
        while let Some(op) = state.next_op(now) {
            spawn(&mut ops, &context, &state, op, &hold);
        }
        if state.is_finished() {
            break;
        }
        if !probing && state.stop_reason().is_none() && run.gates.breaker_wait().is_some() {
            // Reads that are due would probe by themselves; where none is, somebody has to ask.
            probing = true;
            ops.spawn(probe(Arc::clone(&context), state.generation(), hold.clone()));
        }
        let wake = state.wake_at(now).into_iter().chain(deadline.filter(|at| *at > now && drain_until.is_none())).min();
        tokio::select! {
            biased;
            () = run.abandon.cancelled() => return Ok(Ended::Abandoned),
            () = run.stop.cancelled(), if state.stop_reason().is_none() => state.stop(StopReason::Signal, &mut out),
            () = sleep_to(drain_until) => break,
            Some(event) = told.recv() => observer.on_event(&event),
            Some(done) = ops.join_next(), if !ops.is_empty() => {
                let mut next = Some(done);
                while let Some(done) = next {
                    let done = done.map_err(|panic| Error::Internal(format!("a task of the engine broke: {panic}")))?;
                    match done.map_err(broken)? {
                        Done::Turn { turn } => take_turn(&mut ops, &context, &mut state, turn, &mut out),
                        done => {
                            probing &= !matches!(done, Done::Probed { .. });
                            state.absorb(done, Instant::now(), &mut out);
                        }
                    }
                    next = ops.try_join_next();
                }
            }
            () = sleep_to(wake) => {}
        }
    }
    ops.abort_all();
    let counts = run.gates.counts().into_iter().map(|(class, what, count)| (class, what.to_owned(), count)).collect();
    out.records.push(Record::Requests { counts });
    flush(&run.journal, &mut out, observer).await?;
    if state.unchecked() > 0 {
        tracing::warn!(desktops = state.unchecked(), "could not be read once more at the end of the run");
    }
    Ok(match state.stop_reason() {
        Some(reason) => Ended::Stopped { reason: reason.clone(), no_access: state.is_no_access() },
        None => Ended::Complete,
    })
}

/// What the state starts from, and where the run stands.
fn start_of(run: &Drive, resume: Resume) -> (Start, Progress) {
    let Resume { progress, open_chunks, in_flight, next_attempt } = resume;
    let start = Start {
        chunks: open_chunks,
        next_attempt,
        in_flight,
        resumed: run.resumed,
        canary: progress.canary,
        failed_before: progress.outcomes.contains_key(&Outcome::Failed),
        proved: run.proved,
        write_ceiling: run.write_ceiling,
        seed: run.seed,
    };
    (start, progress)
}

/// First durable, then told.
async fn flush(journal: &Arc<dyn Journal>, out: &mut Output, observer: &mut dyn Observer) -> Result<(), Error> {
    if !out.records.is_empty() {
        journal.commit(std::mem::take(&mut out.records)).await.map_err(broken)?;
    }
    for event in out.events.drain(..) {
        observer.on_event(&event);
    }
    Ok(())
}

fn broken(error: JournalError) -> Error {
    error.into()
}

async fn sleep_to(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn spawn(
    ops: &mut JoinSet<Result<Done, JournalError>>,
    context: &Arc<Context>,
    state: &State,
    op: Op,
    hold: &CancellationToken,
) {
    let (context, hold) = (Arc::clone(context), hold.clone());
    match op {
        Op::Load(chunks) => {
            ops.spawn(async move {
                // Asked for together: between two of them the journal would make others wait for a sync of their own.
                let loads = chunks.into_iter().map(|chunk| {
                    let journal = &context.journal;
                    async move { Ok((chunk, journal.chunk(chunk).await?)) }
                });
                Ok(Done::Loaded { chunks: futures::future::try_join_all(loads).await? })
            });
        }
        Op::LoadRechecks => {
            ops.spawn(async move { Ok(Done::Rechecks(context.journal.rechecks().await?)) });
        }
        Op::Write { part, mut attempt, desktops, users, generation } => {
            let items = state.items_of(&attempt);
            let carried: Vec<_> = items.iter().map(|(item, slots)| (*item, slots.as_slice())).collect();
            let mut body = Vec::new();
            match context.class {
                Class::BatchAttach => crate::plan::attach_body(&carried, &mut body),
                _ => crate::plan::detach_body(&carried, &mut body),
            }
            attempt.body_sha256 = hex::encode(Sha256::digest(&body));
            attempt.body_bytes = body.len() as u64;
            let alls = items.iter().filter(|(item, _)| item.all).map(|(item, _)| (*item).clone()).collect();
            let write = Write { part, attempt, desktops, users, generation, alls, body: Bytes::from(body) };
            ops.spawn(write.go(context, hold));
        }
        Op::ReadTurn => {
            ops.spawn(async move {
                Ok(match context.gates.hold(Class::ListDesktops, &hold).await {
                    Some(turn) => Done::Turn { turn },
                    None => Done::TurnLost,
                })
            });
        }
        Op::Show { item, desktop, generation } => {
            ops.spawn(async move {
                let Some(mut pass) = context.gates.pass(Class::ShowDesktop, &hold).await else {
                    return Ok(Done::ShowLost { item });
                };
                let began = Instant::now();
                let reply = context.reader.show_desktop(desktop.as_str()).await;
                let result = context.heard_read(&mut pass, &reply, |reply| reads::desktop(reply, &desktop));
                Ok(Done::Shown { item, result, span: ReadSpan { began, ended: Instant::now() }, generation })
            });
        }
        Op::Job { job_id, generation } => {
            ops.spawn(async move {
                let result = ask_job(&context, &job_id, &hold).await;
                Ok(match result {
                    Some(result) => Done::JobTold { job_id, result, generation },
                    None => Done::JobLost { job_id },
                })
            });
        }
        Op::Renew => {
            ops.spawn(async move {
                let auth = Arc::clone(&context.reader.target().auth);
                Ok(Done::Renewed(auth.renew().await))
            });
        }
    }
}

/// The turn of a read has come: what is due now goes into it.
fn take_turn(
    ops: &mut JoinSet<Result<Done, JournalError>>,
    context: &Arc<Context>,
    state: &mut State,
    turn: Held,
    out: &mut Output,
) {
    // Now, and not when the turn came: a commit may have been in between.
    let Some(mut pass) = turn.begin(&context.gates) else {
        return state.absorb(Done::TurnLost, Instant::now(), out);
    };
    let (batch, generation) = state.read_turn(Instant::now());
    if batch.is_empty() {
        return;
    }
    let context = Arc::clone(context);
    ops.spawn(async move {
        let asked: Vec<ItemId> = batch.iter().map(|(item, _)| *item).collect();
        let limit = batch.len().to_string();
        let mut query: Vec<(&str, &str)> = batch.iter().map(|(_, id)| ("desktop_id", id.as_str())).collect();
        query.push(("limit", &limit));
        let began = Instant::now();
        let reply = context.reader.list_desktops(&query).await;
        let result = context.heard_read(&mut pass, &reply, reads::desktops).map(|page| page.entries);
        Ok(Done::Read { asked, result, span: ReadSpan { began, ended: Instant::now() }, generation })
    });
}

async fn probe(context: Arc<Context>, generation: u32, hold: CancellationToken) -> Result<Done, JournalError> {
    let Some(mut pass) = context.gates.pass(Class::ListDesktops, &hold).await else {
        return Ok(Done::Probed { result: Ok(()), generation, lost: true });
    };
    let reply = context.reader.list_desktops(&[("limit", "1")]).await;
    let result = context.heard_read(&mut pass, &reply, reads::desktops).map(|_| ());
    Ok(Done::Probed { result, generation, lost: false })
}

/// Asks a job, and for its sub jobs where its own answer does not hold them all. `None`: stopped first.
async fn ask_job(
    context: &Context,
    job_id: &str,
    hold: &CancellationToken,
) -> Option<Result<Option<JobWord>, ReadFault>> {
    let mut pass = context.gates.pass(Class::ShowJob, hold).await?;
    let reply = context.reader.show_job(job_id).await;
    let result = context.heard_read(&mut pass, &reply, reads::job);
    drop(pass);
    let parent = match result {
        Ok(Some(parent)) => parent,
        Ok(None) => return Some(Ok(None)),
        Err(fault) => return Some(Err(fault)),
    };
    if let pending @ JobWord::Pending(_) = judge_job(&parent, &[], None) {
        return Some(Ok(Some(pending)));
    }
    let List { entries, received } = &parent.sub_jobs;
    let in_answer = u64::try_from(*received).unwrap_or(u64::MAX);
    if *received > 0 && parent.sub_jobs_total == Some(in_answer) {
        return Some(Ok(Some(judge_job(&parent, entries, parent.sub_jobs_total))));
    }
    Some(match sub_jobs(context, job_id, parent.sub_jobs_total, hold).await? {
        Ok(subs) => Ok(Some(judge_job(&parent, subs.found(), subs.total()))),
        Err(fault) => Err(fault),
    })
}

/// Reads the sub jobs of a job. `None`: stopped first.
///
/// * `total`: how many there are, as far as the job itself tells it.
async fn sub_jobs(
    context: &Context,
    job_id: &str,
    total: Option<u64>,
    hold: &CancellationToken,
) -> Option<Result<SubJobs, ReadFault>> {
    let mut subs = SubJobs::new(total);
    while let Some(offset) = subs.next_offset() {
        let mut pass = context.gates.pass(Class::ListSubJobs, hold).await?;
        let reply = context.reader.list_sub_jobs(job_id, offset).await;
        match context.heard_read(&mut pass, &reply, reads::sub_jobs) {
            Ok(page) => subs.add(page),
            Err(fault) => return Some(Err(fault)),
        }
    }
    Some(Ok(subs))
}
