//! Looks at the live bindings before anything is planned: what the rows name, in as few reads as the API allows.
//!
//! Filters of the API are fuzzy, or ignored by older installations, so nothing is "not there" because a filtered list
//! lacks it: an id is asked for by itself, a name counts as missing only when every page of the whole list lacks it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::RwLock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::evidence::Census;
use super::reads::{self, Page, ReadFault};
use crate::api::auth::renewals::{Refused as Renewal, Renewals};
use crate::api::{Asked, Reader, Reply, explain};
use crate::error::Error;
use crate::model::Class;
use crate::model::{DesktopId, LiveDesktop, fold};
use crate::pace::{FIRST_TRIES, Gates, Heard, MAX_GATE, Waits, backoff};
use crate::plan::{Questions, Snapshot, UserKey};

/// Ids or names in one filter at most.
const PER_FILTER: usize = 100;
/// Desktops in one page of the whole list.
const PAGE: u64 = 500;
/// Desktops that no list shows are asked for one by one up to here.
const ASKED_ONE_BY_ONE: usize = 200;
/// A broken answer (5xx, cut short, without its list) is asked for again so often.
const TRIES: u32 = 6;
/// So many desktops refused, each by itself, and none shown: then it is no matter of one id.
const REFUSED_ALIKE: u32 = 20;
/// Longest wait before a desktop that does not tell who is bound is asked again.
const MAX_UNTOLD_WAIT: Duration = Duration::from_secs(30);

/// Reads before the first write. Every failure that does not pass is [`Error::NoAccess`], with what to do.
pub struct Preflight {
    pub(super) reader: Reader,
    gates: Arc<Gates>,
    pub(super) concurrency: usize,
    waits: Waits,
    stop: CancellationToken,
    renewals: std::sync::Mutex<Renewals>,
    /// Written by the task that gets new credentials for everybody, until they are proved.
    renewing: RwLock<()>,
    answered: AtomicU32,
    /// Why the credentials are refused for good: whatever else waits for its turn would be refused, too (P11).
    no_access: OnceLock<String>,
    /// Desktops that were refused, each by itself, until the first one was shown.
    refused: AtomicU32,
    shown: AtomicBool,
    /// Any list had a desktop.
    listed: AtomicBool,
    reads: AtomicU64,
    random: std::sync::Mutex<fastrand::Rng>,
}

impl Preflight {
    pub fn new(
        reader: Reader,
        gates: Arc<Gates>,
        concurrency: usize,
        waits: Waits,
        seed: u64,
        stop: CancellationToken,
    ) -> Self {
        Self {
            reader,
            gates,
            concurrency: concurrency.max(1),
            waits,
            stop,
            renewals: std::sync::Mutex::default(),
            renewing: RwLock::new(()),
            answered: AtomicU32::new(0),
            no_access: OnceLock::new(),
            refused: AtomicU32::new(0),
            shown: AtomicBool::new(false),
            listed: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            random: std::sync::Mutex::new(fastrand::Rng::with_seed(seed)),
        }
    }

    pub(super) fn waits(&self) -> &Waits {
        &self.waits
    }

    /// Requests made so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// One cheap read that proves credentials, project, region and the permission to read.
    pub async fn probe(&self) -> Result<(), Error> {
        self.page(&[("limit", "1")]).await.map(|_| ())
    }

    /// Everything that `asked` wants to know.
    ///
    /// # Errors
    /// [`Error::NoAccess`]; [`Error::Stopped`] where a signal came first.
    pub async fn look(&self, asked: &Questions) -> Result<Snapshot, Error> {
        if asked.ids.is_empty() && asked.names.is_empty() && asked.users.is_empty() && !asked.needs_assigned_total {
            return Ok(Snapshot::default());
        }
        let estate = self.page(&[("limit", "1")]).await?.total.unwrap_or_default();
        let mut seen = Snapshot::default();

        // One name may stand for two desktops and one user may hold several: whether a filtered list told all of
        // them nobody knows, so where names are asked for the whole list alone has the word. Where ids are a large
        // part of the estate, reading all of it takes fewer requests than asking for each hundred.
        let by_names = !asked.names.is_empty() || !asked.users.is_empty();
        let by_ids = count(asked.ids.len().div_ceil(PER_FILTER));
        let is_whole = by_names || (estate > 0 && estate.div_ceil(PAGE) < by_ids);
        let (mut was_listed, mut is_proved) = (false, false);
        if is_whole && let Some(census) = self.census().await? {
            (was_listed, seen.is_whole) = (true, true);
            let whole = census.into_entries();
            seen.assigned_desktops = Some(count(whole.iter().filter(|desktop| is_assigned(desktop)).count()));
            let ids: Vec<_> = whole.iter().map(|desktop| desktop.id.clone()).collect();
            show(&mut seen, whole);
            // Whoever is bound nowhere is so on every desktop: one without a good read could be his.
            let is_good = |desktop: &LiveDesktop| desktop.good().is_some();
            let within = self.waits.read_back_deadline;
            is_proved = asked.users.is_empty() || self.ask_until(is_good, ids, &mut seen, within).await?;
        } else if asked.needs_assigned_total {
            seen.assigned_desktops = Some(self.assigned_total(estate).await?);
        }
        self.ids(&asked.ids, was_listed, &mut seen).await?;

        let by_name = by_name(seen.desktops.values().flatten());
        let by_user = by_user(&asked.users, seen.desktops.values().flatten());
        Ok(Snapshot { by_name, by_user, is_proved, ..seen })
    }

    /// Asks for each of these desktops by itself until what is shown of it is good enough, or the deadline is over.
    /// Whether all came to be.
    pub(super) async fn ask_until(
        &self,
        is_enough: impl Fn(&LiveDesktop) -> bool,
        ids: Vec<DesktopId>,
        seen: &mut Snapshot,
        within: Duration,
    ) -> Result<bool, Error> {
        let deadline = Instant::now() + within;
        let mut wait = self.waits.retry_base;
        let mut left = ids;
        for round in 0_u32.. {
            left.retain(|id| seen.live(id).is_some_and(|one| !is_enough(one)));
            if left.is_empty() || Instant::now() >= deadline {
                break;
            }
            if round > 0 {
                self.pause(wait.min(deadline.saturating_duration_since(Instant::now()))).await?;
                wait = (wait * 2).min(MAX_UNTOLD_WAIT);
            }
            let shows: Vec<_> = left.iter().map(|id| self.show(id)).collect();
            for desktop in self.together(shows).await? {
                // Not found here: the list has shown it, and one word against another proves nothing.
                if let Shown::Desktop(desktop) = desktop {
                    show(seen, [desktop]);
                }
            }
        }
        Ok(left.is_empty())
    }

    /// Finds out about each of these ids that is not found yet; no list alone says that a desktop is not there.
    async fn ids(&self, ids: &[DesktopId], was_listed: bool, seen: &mut Snapshot) -> Result<(), Error> {
        let asked = missing(ids, seen);
        let lists: Vec<_> = asked.chunks(PER_FILTER).map(|ids| self.by_ids(ids)).collect();
        for list in self.together(lists).await? {
            show(seen, list);
        }
        let mut left = missing(ids, seen);
        // A filter may be ignored, or compare with case what an inventory wrote in another: the whole list tells.
        let mut is_whole = was_listed;
        if !left.is_empty()
            && !is_whole
            && let Some(census) = self.census().await?
        {
            (is_whole, seen.is_whole) = (true, true);
            show(seen, census.into_entries());
            left = missing(ids, seen);
        }
        // A sheet of another project: to ask for each would take hours. Without a census each is asked for all the
        // same: no list has told that it is not there.
        let unknown = left.split_off(if is_whole { left.len().min(ASKED_ONE_BY_ONE) } else { left.len() });
        seen.desktops.extend(unknown.into_iter().map(|id| (id, None)));
        let nowhere = self.shown(left, seen).await?;
        if !nowhere.is_empty() {
            // A replica that lags looks just so: it takes a second "not found", some time later.
            self.pause(self.waits.settle_time).await?;
            let gone = self.shown(nowhere, seen).await?;
            seen.desktops.extend(gone.into_iter().map(|id| (id, None)));
        }
        let tells = |desktop: &LiveDesktop| desktop.bound.is_some();
        let untold = ids.iter().filter_map(|id| seen.live(id)).filter(|desktop| !tells(desktop));
        let untold = untold.map(|desktop| desktop.id.clone()).collect();
        self.ask_until(tells, untold, seen, self.waits.read_back_deadline).await?;
        Ok(())
    }

    /// Asks for each of these by itself. Those that the service does not know.
    async fn shown(&self, ids: Vec<DesktopId>, seen: &mut Snapshot) -> Result<Vec<DesktopId>, Error> {
        let mut nowhere = Vec::new();
        let shows: Vec<_> = ids.into_iter().map(|id| async { Ok((self.show(&id).await?, id)) }).collect();
        for (shown, id) in self.together(shows).await? {
            match shown {
                Shown::Desktop(desktop) => {
                    if desktop.id != id {
                        seen.spelled.insert(id, desktop.id.clone());
                    }
                    show(seen, [desktop]);
                }
                Shown::Nowhere => nowhere.push(id),
                Shown::Refused(cause) => _ = seen.unreadable.insert(id, cause),
            }
        }
        Ok(nowhere)
    }

    /// Waits, unless a signal comes first.
    async fn pause(&self, wait: Duration) -> Result<(), Error> {
        tokio::select! {
            () = self.stop.cancelled() => Err(stopped()),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// Several reads at once, as many as may be in flight; the first failure ends them all.
    async fn together<T>(&self, reads: Vec<impl Future<Output = Result<T, Error>>>) -> Result<Vec<T>, Error> {
        stream::iter(reads).buffer_unordered(self.concurrency).try_collect().await
    }

    /// Those of these desktops that a list shows. Where the read is refused, each half is asked for by itself, down to the
    /// one id that is not to be read in a list.
    fn by_ids<'a>(&'a self, ids: &'a [DesktopId]) -> BoxFuture<'a, Result<Vec<LiveDesktop>, Error>> {
        Box::pin(async move {
            let limit = PER_FILTER.to_string();
            let mut query: Vec<_> = ids.iter().map(|id| ("desktop_id", id.as_str())).collect();
            query.push(("limit", &limit));
            let call = || self.reader.list_desktops(&query);
            match self.patiently(Class::ListDesktops, call, reads::desktops, true).await? {
                Ok(page) => {
                    self.listed.fetch_or(page.received > 0, Ordering::Relaxed);
                    let wanted: HashSet<_> = ids.iter().map(DesktopId::folded).collect();
                    let is_wanted = |desktop: &LiveDesktop| wanted.contains(&desktop.id.folded());
                    Ok(page.entries.into_iter().filter(is_wanted).collect())
                }
                Err(_) if ids.len() == 1 => Ok(Vec::new()),
                Err(_) => {
                    let (first, second) = ids.split_at(ids.len().div_ceil(2));
                    let mut found = self.by_ids(first).await?;
                    found.extend(self.by_ids(second).await?);
                    Ok(found)
                }
            }
        })
    }

    /// Every desktop of the project; `None` where the list contradicts itself each time it is read.
    pub(super) async fn census(&self) -> Result<Option<Census>, Error> {
        let census = self.whole("the list of desktops", |offset| self.page_from(offset)).await?;
        if census.as_ref().is_some_and(|census| !census.is_empty()) || !self.listed.load(Ordering::Relaxed) {
            return Ok(census);
        }
        tracing::warn!("a list of desktops that is empty contradicts the one before; nothing is concluded from it");
        Ok(None)
    }

    async fn page_from(&self, offset: u64) -> Result<Page<LiveDesktop>, Error> {
        let (limit, from) = (PAGE.to_string(), offset.to_string());
        let query = [("limit", limit.as_str()), ("offset", &from), ("sort_field", "created"), ("sort_type", "ASC")];
        self.page(&query).await
    }

    /// * `estate`: how many desktops there are in all, as far as the service says so.
    async fn assigned_total(&self, estate: u64) -> Result<u64, Error> {
        let page = self.page(&[("user_attached", "true"), ("limit", "1")]).await?;
        if let Some(total) = page.total.filter(|total| *total < estate)
            && page.entries.iter().all(is_assigned)
        {
            return Ok(total);
        }
        // The filter was ignored (or everything is assigned), or there is no total: count them. Too high a number
        // would let a plan pass that is not allowed.
        let Some(census) = self.census().await? else {
            return Err(Error::NoAccess(
                "the number of assigned desktops is not known: the list of desktops contradicts itself each time it is \
                 read; run again later, or leave out --max-percent"
                    .to_owned(),
            ));
        };
        Ok(count(census.into_entries().iter().filter(|desktop| is_assigned(desktop)).count()))
    }

    /// What a refusal means and what to do about it.
    fn explained(&self, class: Class, reply: &Reply) -> String {
        let target = self.reader.target();
        let who = target.auth.describe();
        explain(reply, &Asked::of(class, &who, &target.endpoint), jiff::Timestamp::now())
    }

    async fn page(&self, query: &[(&str, &str)]) -> Result<Page<LiveDesktop>, Error> {
        let page = self.patiently(Class::ListDesktops, || self.reader.list_desktops(query), reads::desktops, false);
        let page = page.await?.map_err(|refused| Error::NoAccess(refused.explained))?;
        self.listed.fetch_or(page.received > 0, Ordering::Relaxed);
        Ok(page)
    }

    async fn show(&self, id: &DesktopId) -> Result<Shown, Error> {
        let read = |reply: &Reply| reads::desktop(reply, id);
        match self.patiently(Class::ShowDesktop, || self.reader.show_desktop(id.as_str()), read, true).await? {
            Ok(desktop) => {
                self.shown.store(true, Ordering::Relaxed);
                Ok(desktop.map_or(Shown::Nowhere, Shown::Desktop))
            }
            Err(refused) => {
                let alike = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
                if alike >= REFUSED_ALIKE && !self.shown.load(Ordering::Relaxed) {
                    return Err(Error::NoAccess(refused.explained));
                }
                Ok(Shown::Refused(refused.said))
            }
        }
    }

    fn heard<T>(&self, pass: &mut crate::pace::Pass, result: &Result<T, ReadFault>) -> Duration {
        let heard = match result {
            Ok(_) => Heard::Success,
            Err(ReadFault::Throttled { hint, .. }) => return self.gates.throttled(pass, *hint),
            Err(fault) => fault.heard(),
        };
        self.gates.heard(pass, heard);
        Duration::ZERO
    }

    /// One read, repeated as long as that can help; where it is refused for good, what that means.
    ///
    /// * `names_ids`: whether one of the things that it asks for may be why it is refused, again and again.
    pub(super) async fn patiently<T, F: Future<Output = Reply>>(
        &self,
        class: Class,
        call: impl Fn() -> F,
        read: impl Fn(&Reply) -> Result<T, ReadFault>,
        names_ids: bool,
    ) -> Result<Result<T, Refused>, Error> {
        let (mut failures, began) = (0, Instant::now());
        loop {
            drop(self.renewing.read().await); // meanwhile nothing goes out
            let Some(mut pass) = self.gates.pass(class, &self.stop).await else { return Err(stopped()) };
            if self.renewing.try_read().is_err() {
                continue; // nor does what was waiting for its turn as it began: the turn is lost
            }
            let generation = self.renewals().generation();
            if let Some(why) = self.no_access.get() {
                return Err(Error::NoAccess(why.clone()));
            }
            self.reads.fetch_add(1, Ordering::Relaxed);
            let reply = tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(stopped()),
                reply = call() => reply,
            };
            let result = read(&reply);
            let closed = self.heard(&mut pass, &result);
            drop(pass);
            let fault = match result {
                Ok(value) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    self.renewals().proved(generation);
                    return Ok(Ok(value));
                }
                Err(fault) => fault,
            };
            let explained = || self.explained(class, &reply);
            if names_ids && fault.may_be_of_one(failures + 1) {
                return Ok(Err(Refused { said: fault.in_words(), explained: explained() }));
            }
            match &fault {
                ReadFault::Throttled { .. } if closed <= MAX_GATE => {} // its gate holds the next try
                ReadFault::Throttled { .. } => {
                    let minutes = closed.as_secs() / 60;
                    return Err(Error::NoAccess(format!("the service asks for a pause of {minutes} minutes")));
                }
                ReadFault::Unauthorized { .. } => self.renew(generation, &explained()).await?,
                ReadFault::NotSent { .. }
                | ReadFault::Lost { .. }
                | ReadFault::Trouble { .. }
                | ReadFault::Broken { .. } => {
                    failures += 1;
                    let silent = self.answered.load(Ordering::Relaxed) == 0;
                    let limit = if silent && matches!(fault, ReadFault::NotSent { .. }) { FIRST_TRIES } else { TRIES };
                    if failures >= limit {
                        return Err(Error::NoAccess(format!(
                            "no usable answer from {} in {failures} tries over {} s: {}",
                            self.reader.target().endpoint,
                            began.elapsed().as_secs(),
                            explained()
                        )));
                    }
                    let chance = self.random.lock().map_or(0.5, |mut random| random.f64());
                    let wait = backoff(failures, self.waits.retry_base, chance);
                    tracing::warn!(tries = failures, cause = %fault.in_words(), "a read failed; it is tried again");
                    tokio::select! {
                        () = self.stop.cancelled() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
                ReadFault::Forbidden { .. } | ReadFault::Halt { .. } | ReadFault::Refused { .. } => {
                    let refused = Refused { said: fault.in_words(), explained: explained() };
                    return if names_ids { Err(Error::NoAccess(refused.explained)) } else { Ok(Err(refused)) };
                }
            }
        }
    }

    fn renewals(&self) -> std::sync::MutexGuard<'_, Renewals> {
        self.renewals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// After a 401: new credentials, by whoever comes first.
    async fn renew(&self, generation: u32, explained: &str) -> Result<(), Error> {
        let _turn = self.renewing.write().await;
        let refused = |more: &str| Error::NoAccess(self.no_access.get_or_init(|| format!("{explained}{more}")).clone());
        let verdict = self.renewals().refused(generation);
        match verdict {
            Renewal::Outdated => return Ok(()), // somebody else did while this one was out
            Renewal::Again => return Err(refused("; renewing them did not help")),
            Renewal::Renew => {}
        }
        match self.reader.target().auth.renew().await {
            Ok(true) => self.renewals().renewed(),
            Ok(false) => return Err(refused("")),
            Err(why) => return Err(refused(&format!("; they could not be renewed: {why}"))),
        }
        // Proved by one request before the others go on: a second refusal is the last (P11).
        let Some(mut pass) = self.gates.pass(Class::ListDesktops, &self.stop).await else { return Ok(()) };
        self.reads.fetch_add(1, Ordering::Relaxed);
        let result = reads::desktops(&self.reader.list_desktops(&[("limit", "1")]).await);
        self.heard(&mut pass, &result);
        match result {
            Ok(_) => self.renewals().proved(generation + 1),
            Err(ReadFault::Unauthorized { .. }) => return Err(refused("; renewing them did not help")),
            Err(_) => {}
        }
        Ok(())
    }
}

/// What came of asking for one desktop by itself.
enum Shown {
    Desktop(LiveDesktop),
    /// The service says that there is no such desktop.
    Nowhere,
    /// The service refuses to tell, in these words.
    Refused(String),
}

/// A read that is refused for what it asks for.
pub(super) struct Refused {
    /// In the service's words.
    said: String,
    /// With what to do about it, where all is refused alike.
    pub(super) explained: String,
}

fn stopped() -> Error {
    Error::Stopped("stopped by a signal before anything was sent".to_owned())
}

/// Takes in what was shown.
pub(super) fn show(seen: &mut Snapshot, desktops: impl IntoIterator<Item = LiveDesktop>) {
    seen.desktops.extend(desktops.into_iter().map(|desktop| (desktop.id.clone(), Some(desktop))));
}

/// Those of these ids that were not found yet. What was found in another spelling is noted as such, where that is clear.
fn missing(ids: &[DesktopId], seen: &mut Snapshot) -> Vec<DesktopId> {
    let is_found = |id: &&DesktopId| seen.desktops.contains_key(*id) || seen.spelled.contains_key(*id);
    let missing: Vec<_> = ids.iter().filter(|id| !is_found(id)).cloned().collect();
    if missing.is_empty() {
        return missing;
    }
    let mut spellings: HashMap<String, Option<DesktopId>> = HashMap::new();
    for id in seen.desktops.keys() {
        match spellings.entry(id.folded()) {
            Entry::Vacant(free) => _ = free.insert(Some(id.clone())),
            Entry::Occupied(mut taken) => _ = taken.insert(None),
        }
    }
    let spelled = missing.iter().filter_map(|id| Some((id.clone(), spellings.get(&id.folded())?.clone()?)));
    seen.spelled.extend(spelled);
    missing.into_iter().filter(|id| !seen.spelled.contains_key(id)).collect()
}

pub(super) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Desktops by name, without case; the ids of each in order.
fn by_name<'a>(desktops: impl Iterator<Item = &'a LiveDesktop>) -> HashMap<String, Vec<DesktopId>> {
    let mut by_name: HashMap<String, Vec<DesktopId>> = HashMap::new();
    for desktop in desktops.filter(|desktop| !desktop.name.is_empty()) {
        by_name.entry(fold(&desktop.name).into_owned()).or_default().push(desktop.id.clone());
    }
    for ids in by_name.values_mut() {
        ids.sort();
    }
    by_name
}

/// The desktops that each of `users` may hold, in order.
fn by_user<'a>(users: &[UserKey], desktops: impl Iterator<Item = &'a LiveDesktop>) -> HashMap<UserKey, Vec<DesktopId>> {
    let (mut names, mut ids): (HashMap<_, Vec<&UserKey>>, HashMap<_, Vec<&UserKey>>) = Default::default();
    for user in users {
        names.entry(fold(&user.name)).or_default().push(user);
        if !user.id.is_empty() {
            ids.entry(user.id.as_str()).or_default().push(user);
        }
    }
    let mut by_user: HashMap<UserKey, BTreeSet<DesktopId>> = HashMap::new();
    for desktop in desktops {
        for bound in desktop.bound.iter().flatten() {
            let by_their_name = names.get(&fold(&bound.user_name)).into_iter().flatten();
            let by_their_id = bound.user_id.as_deref().and_then(|id| ids.get(id)).into_iter().flatten();
            for user in by_their_name.chain(by_their_id).filter(|user| user.may_mean(bound)) {
                by_user.entry((*user).clone()).or_default().insert(desktop.id.clone());
            }
        }
    }
    by_user.into_iter().map(|(user, ids)| (user, ids.into_iter().collect())).collect()
}

fn is_assigned(desktop: &LiveDesktop) -> bool {
    desktop.bound.as_ref().is_none_or(|bound| !bound.is_empty())
        && !matches!(desktop.attach_state.as_str(), "UNATTACH" | "DEATTACHED")
}
