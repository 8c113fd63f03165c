//! The look at who still gets in, once the rows of a run have their outcomes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::planning;
use super::target::Place;
use super::task::Task;
use crate::dispatch::StopReason;
use crate::error::Error;
use crate::journal::record::Record;
use crate::journal::{Handle, Journal as _, View};
use crate::model::{LiveDesktop, StillAccess, leaver};
use crate::pace::Gates;
use crate::plan::Draft;
use crate::reconcile::preflight::Preflight;
use crate::reconcile::still::{Doors, Look};
use crate::text::counted;

/// How often a person sees how far it is.
const TICK: Duration = Duration::from_millis(500);

/// What a journal's rows leave open, after its run.
pub(super) struct Wanted<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) place: &'a Place,
    pub(super) gates: &'a Arc<Gates>,
    pub(super) handle: &'a Handle,
}

impl Wanted<'_> {
    /// Finds out who still gets in, and makes it durable. Why it stopped before that, if it did; then a resume looks again.
    ///
    /// What can't be read, or not within the time that a read-back has, leaves a mark: the rows of the run are done, and
    /// their results don't wait for longer.
    ///
    /// # Errors
    /// Those of the journal.
    pub(super) async fn look(&self) -> Result<Option<String>, Error> {
        let stopped = |why: StopReason| {
            let why = why.in_words();
            Ok(Some(format!("{why}; every row has its outcome, but it is not checked yet who still gets in")))
        };
        let settings = &self.task.session.settings;
        if !self.task.looks_who_gets_in() {
            let records = vec![Record::StillAccess { found: None, rows: Vec::new() }];
            self.handle.commit(records).await.map_err(Error::from)?;
            return Ok(None);
        }
        let asks = self.handle.with_view(has_leavers).await.map_err(Error::from)??;
        let preflight = planning::preflight(self.task.session, self.place, self.gates, &self.task.signals.stop);
        let (found, rows) = if asks {
            let busy = self.task.session.screen.busy("checking who still gets in");
            let until = Instant::now() + settings.read_back_deadline;
            let left = settings.max_runtime.map(|most| most.saturating_sub(self.task.began.elapsed()));
            let deadline = left.map(|left| Instant::now() + left);
            let mut reading = std::pin::pin!(self.read(&preflight, until));
            let mut tick = tokio::time::interval(TICK);
            let look = loop {
                tokio::select! {
                    biased;
                    () = self.task.signals.stop.cancelled() => return stopped(StopReason::Signal),
                    () = at(deadline) => return stopped(StopReason::Deadline),
                    look = &mut reading => break look?,
                    _ = tick.tick() => busy.say(&format!(
                        "checking who still gets in: {} made",
                        counted(preflight.reads(), "read", "reads")
                    )),
                }
            };
            self.handle.with_view(move |view| judged(view, look)).await.map_err(Error::from)??
        } else {
            (StillAccess::default(), Vec::new())
        };
        tracing::info!(reads = preflight.reads(), "checked who still gets in");
        let counts =
            self.gates.counts().into_iter().map(|(class, what, count)| (class, what.to_owned(), count)).collect();
        let records = vec![Record::StillAccess { found: Some(found), rows }, Record::Requests { counts }];
        self.handle.commit(records).await.map_err(Error::from)?;
        Ok(None)
    }

    async fn read(&self, preflight: &Preflight, until: Instant) -> Result<Look, Error> {
        let mut doors = Doors::default();
        in_time(until, &mut doors, async |doors| preflight.all_desktops(doors).await).await?;
        doors = self.handle.with_view(move |view| without_detached(view, doors)).await.map_err(Error::from)??;
        in_time(until, &mut doors, async |doors| preflight.all_pools(doors).await).await?;
        in_time(until, &mut doors, async |doors| preflight.all_members(doors).await).await?;
        Ok(doors.into_look())
    }
}

/// What a plan leaves open, if all its writes go well; and the records of the results of which something is to be told.
pub(super) struct Forecast {
    pub(super) found: StillAccess,
    pub(super) rows: Vec<(u64, String)>,
    /// Requests that it took.
    pub(super) reads: u64,
}

/// Finds out who would still get in after a plan.
///
/// * `desktops`: all of the project, where the plan's own look has proved that it saw them all.
///
/// # Errors
/// [`Error::Stopped`] where a signal came.
pub(super) async fn forecast(
    task: &Task<'_>,
    place: &Place,
    gates: &Arc<Gates>,
    desktops: Option<Vec<LiveDesktop>>,
    made: &dyn Draft,
) -> Result<Forecast, Error> {
    let preflight = planning::preflight(task.session, place, gates, &task.signals.stop);
    let _busy = task.session.screen.busy("checking who would still get in");
    let until = Instant::now() + task.session.settings.read_back_deadline;
    let mut doors = Doors::default();
    match desktops {
        Some(desktops) => doors = Doors::of_desktops(desktops.into_iter()),
        None => in_time(until, &mut doors, async |doors| preflight.all_desktops(doors).await).await?,
    }
    for item in made.items() {
        item.slots.iter().for_each(|slot| doors.forget(&item.desktop, &slot.person()));
    }
    in_time(until, &mut doors, async |doors| preflight.all_pools(doors).await).await?;
    in_time(until, &mut doors, async |doors| preflight.all_members(doors).await).await?;
    let mut look = doors.into_look();
    made.for_each_entry(&mut |entry| {
        look.record(entry.line, &entry.cells, entry.fate.outcome());
        Ok(())
    })?;
    let (found, rows) = look.finish();
    Ok(Forecast { found, rows, reads: preflight.reads() })
}

/// Reads for as long as there is time; what was read until then counts.
async fn in_time(
    until: Instant,
    doors: &mut Doors,
    read: impl AsyncFnOnce(&mut Doors) -> Result<(), Error>,
) -> Result<(), Error> {
    // What has no time left must not begin: a quick answer would come in all the same, now and then.
    if Instant::now() < until
        && let Ok(result) = timeout_at(until, read(doors)).await
    {
        return result;
    }
    doors.note("the reads took longer than the setting read-back-deadline allows".to_owned());
    Ok(())
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Whether any row names somebody who is meant to leave.
fn has_leavers(view: &View) -> Result<bool, Error> {
    let mut found = false;
    view.for_each_result(|row| {
        found |= leaver(&row.cells, row.result.outcome).is_some();
        Ok(())
    })?;
    Ok(found)
}

/// What this run detached counts no more, by its own evidence: a list may lag behind.
fn without_detached(view: &View, mut doors: Doors) -> Result<Doors, Error> {
    view.for_each_item(|item, outcomes| {
        for (slot, _) in item.slots.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_success()) {
            doors.forget(&item.desktop, &slot.person());
        }
        Ok(())
    })?;
    Ok(doors)
}

fn judged(view: &View, mut look: Look) -> Result<(StillAccess, Vec<(u64, String)>), Error> {
    view.for_each_result(|row| {
        look.record(row.line, &row.cells, row.result.outcome);
        Ok(())
    })?;
    Ok(look.finish())
}
