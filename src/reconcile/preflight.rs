//! Looks at the live bindings before anything is planned: what the rows name, in as few reads as the API allows.
//!
//! Filters of the API are fuzzy, or ignored by older installations, so nothing is "not there" because a filtered list
//! lacks it: an id is asked for by itself, a name counts as missing only when every page of the whole list lacks it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::evidence::{Census, Pages};
use super::reads::{self, Page, ReadFault};
use crate::api::{Asked, Reader, Reply, explain};
use crate::error::Error;
use crate::model::Class;
use crate::model::{DesktopId, LiveDesktop, fold};
use crate::pace::{FIRST_TRIES, Gates, Heard, MAX_GATE, backoff};
use crate::plan::{Questions, Snapshot, UserKey};

/// Ids or names in one filter at most.
const PER_FILTER: usize = 100;
/// Desktops in one page of the whole list.
const PAGE: u64 = 500;
/// Desktops that no list shows are asked for one by one up to here.
const ASKED_ONE_BY_ONE: usize = 200;
/// Pages of 1,000 users that are read for hints at most.
const USER_PAGES: usize = 20;
/// A broken answer (5xx, cut short, without its list) is asked for again so often.
const TRIES: u32 = 6;
/// A list that contradicts itself is read anew so often.
const CENSUS_AGAIN: u32 = 5;

/// Reads before the first write. Every failure that does not pass is [`Error::NoAccess`], with what to do.
pub struct Preflight {
    reader: Reader,
    gates: Arc<Gates>,
    concurrency: usize,
    retry_base: Duration,
    stop: CancellationToken,
    /// Renewals of the credentials so far; the mutex makes it one task for everybody.
    renewals: Mutex<u32>,
    answered: AtomicU32,
    reads: AtomicU64,
    random: std::sync::Mutex<fastrand::Rng>,
}

impl Preflight {
    pub fn new(
        reader: Reader,
        gates: Arc<Gates>,
        concurrency: usize,
        retry_base: Duration,
        seed: u64,
        stop: CancellationToken,
    ) -> Self {
        Self {
            reader,
            gates,
            concurrency: concurrency.max(1),
            retry_base,
            stop,
            renewals: Mutex::new(0),
            answered: AtomicU32::new(0),
            reads: AtomicU64::new(0),
            random: std::sync::Mutex::new(fastrand::Rng::with_seed(seed)),
        }
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
        let estate = self.page(&[("limit", "1")]).await?.total;
        let mut found: HashMap<DesktopId, Option<LiveDesktop>> = HashMap::new();
        let mut all = |list: Vec<LiveDesktop>| found.extend(list.into_iter().map(|one| (one.id.clone(), Some(one))));

        // One name may stand for two desktops and one user may hold several: whether a filtered list told all of
        // them nobody knows, so where names are asked for the whole list alone has the word. Where ids are a large
        // part of the estate, reading all of it takes fewer requests than asking for each hundred.
        let by_names = !asked.names.is_empty() || !asked.users.is_empty();
        let by_ids = count(asked.ids.len().div_ceil(PER_FILTER));
        let is_whole = by_names || (estate > 0 && estate.div_ceil(PAGE) < by_ids);
        let (mut assigned, mut is_proved) = (None, false);
        if is_whole && let Some(census) = self.census().await? {
            let whole = census.into_desktops();
            assigned = Some(count(whole.iter().filter(|desktop| is_assigned(desktop)).count()));
            all(whole);
            // Whoever is bound nowhere is so on every desktop: one that does not tell could be his.
            is_proved = asked.users.is_empty() || self.ask_untold(&mut found).await?;
        } else if asked.needs_assigned_total {
            assigned = Some(self.assigned_total(estate).await?);
        }
        self.ids(&asked.ids, is_proved, &mut found).await?;

        let by_name = by_name(found.values().flatten());
        let by_user = by_user(&asked.users, found.values().flatten());
        let known_users = if asked.users.is_empty() { None } else { self.known_users().await? };
        Ok(Snapshot { desktops: found, by_name, by_user, known_users, assigned_desktops: assigned, is_proved })
    }

    /// Asks by itself for each desktop whose bindings the list did not tell, until all are told. Whether they are.
    async fn ask_untold(&self, found: &mut HashMap<DesktopId, Option<LiveDesktop>>) -> Result<bool, Error> {
        for round in 0..TRIES {
            let is_untold = |one: &Option<LiveDesktop>| one.as_ref().is_some_and(|one| one.bound.is_none());
            let mut untold: Vec<DesktopId> =
                found.iter().filter(|(_, one)| is_untold(one)).map(|(id, _)| id.clone()).collect();
            if untold.is_empty() {
                return Ok(true);
            }
            untold.sort_unstable();
            if round > 0 {
                tokio::select! {
                    () = self.stop.cancelled() => {
                        return Err(Error::Stopped("stopped by a signal before anything was sent".to_owned()));
                    }
                    () = tokio::time::sleep(self.retry_base * 2_u32.pow(round - 1)) => {}
                }
            }
            let shows: Vec<_> = untold.into_iter().map(|id| async { Ok((self.show(&id).await?, id)) }).collect();
            for (desktop, id) in self.together(shows).await? {
                // Not found here: the list has shown it, and one word against another proves nothing.
                if let Some(desktop) = desktop {
                    found.insert(id, Some(desktop));
                }
            }
        }
        Ok(false)
    }

    /// Finds out about each of these ids that is not found yet; no list alone says that a desktop is not there.
    async fn ids(
        &self,
        ids: &[DesktopId],
        mut is_whole: bool,
        found: &mut HashMap<DesktopId, Option<LiveDesktop>>,
    ) -> Result<(), Error> {
        let missing = |found: &HashMap<DesktopId, Option<LiveDesktop>>| -> Vec<DesktopId> {
            ids.iter().filter(|id| !found.contains_key(*id)).cloned().collect()
        };
        let asked = missing(found);
        let lists: Vec<_> = asked.chunks(PER_FILTER).map(|ids| self.by_ids(ids)).collect();
        for list in self.together(lists).await? {
            found.extend(list.into_iter().map(|desktop| (desktop.id.clone(), Some(desktop))));
        }
        let mut left = missing(found);
        if left.len() > ASKED_ONE_BY_ONE {
            // A filter that is ignored, or a sheet of another project: to ask for each would take hours.
            if !is_whole && let Some(census) = self.census().await? {
                let whole = census.into_desktops();
                is_whole = true;
                found.extend(whole.into_iter().map(|desktop| (desktop.id.clone(), Some(desktop))));
                left = missing(found);
            }
            // Without a census each is asked for all the same: no list has told that it is not there.
            let known_to_lack = if is_whole { left.len().min(ASKED_ONE_BY_ONE) } else { left.len() };
            let unknown = left.split_off(known_to_lack);
            found.extend(unknown.into_iter().map(|id| (id, None)));
        }
        let shows: Vec<_> = left.into_iter().map(|id| async { Ok((self.show(&id).await?, id)) }).collect();
        for (desktop, id) in self.together(shows).await? {
            found.insert(id, desktop);
        }
        Ok(())
    }

    /// Several reads at once, as many as may be in flight; the first failure ends them all.
    async fn together<T>(&self, reads: Vec<impl Future<Output = Result<T, Error>>>) -> Result<Vec<T>, Error> {
        stream::iter(reads).buffer_unordered(self.concurrency).try_collect().await
    }

    async fn by_ids(&self, ids: &[DesktopId]) -> Result<Vec<LiveDesktop>, Error> {
        let limit = PER_FILTER.to_string();
        let mut query: Vec<_> = ids.iter().map(|id| ("desktop_id", id.as_str())).collect();
        query.push(("limit", &limit));
        let wanted: HashSet<&DesktopId> = ids.iter().collect();
        let page = self.page(&query).await?;
        Ok(page.desktops.into_iter().filter(|desktop| wanted.contains(&desktop.id)).collect())
    }

    /// Every desktop of the project; `None` where the list contradicts itself each time it is read.
    async fn census(&self) -> Result<Option<Census>, Error> {
        for again in 0..=CENSUS_AGAIN {
            match self.whole_list().await? {
                Ok(census) => return Ok(Some(census)),
                Err(why) if again < CENSUS_AGAIN => tracing::info!(why, "the list of desktops is read anew"),
                Err(why) => tracing::warn!(why, "the list of desktops can't be trusted; nothing is concluded from it"),
            }
        }
        Ok(None)
    }

    /// Reads the list once, from the first entry to the end. The pages that the total promises are read several at a
    /// time, and no further than they agree: a total may be of any size.
    async fn whole_list(&self) -> Result<Result<Census, &'static str>, Error> {
        let first = self.page_from(0).await?;
        let (step, total) = (count(first.received).saturating_sub(1), first.total);
        let last = total.saturating_sub(1);
        let mut pages = Pages::default();
        if let Err(why) = pages.add(first) {
            return Ok(Err(why));
        }
        if step > 0 {
            let promised = (1..).map(|n: u64| n.saturating_mul(step)).take_while(|offset| *offset < last);
            let offsets = promised.chain((last > 0).then_some(last));
            let mut reads =
                std::pin::pin!(stream::iter(offsets).map(|at| self.page_from(at)).buffered(self.concurrency));
            while let Some(page) = reads.next().await {
                match pages.add(page?) {
                    Ok(false) => {}
                    Ok(true) => break,
                    Err(why) => return Ok(Err(why)),
                }
            }
        }
        // Where no total is told, or it is too low: one after another.
        while let Some(offset) = pages.next_offset() {
            if let Err(why) = pages.add(self.page_from(offset).await?) {
                return Ok(Err(why));
            }
        }
        Ok(pages.into_census())
    }

    async fn page_from(&self, offset: u64) -> Result<Page, Error> {
        let (limit, from) = (PAGE.to_string(), offset.to_string());
        let query = [("limit", limit.as_str()), ("offset", &from), ("sort_field", "created"), ("sort_type", "ASC")];
        self.page(&query).await
    }

    /// * `estate`: how many desktops there are in all, as far as the service says so.
    async fn assigned_total(&self, estate: u64) -> Result<u64, Error> {
        let page = self.page(&[("user_attached", "true"), ("limit", "1")]).await?;
        if page.total > 0 && page.total < estate && page.desktops.iter().all(is_assigned) {
            return Ok(page.total);
        }
        // The filter was ignored (or everything is assigned), or there is no total: count them. Too high a number
        // would let a plan pass that is not allowed.
        let Some(census) = self.census().await? else {
            return Err(Error::NoAccess(
                "how many desktops are assigned can't be told: the list of desktops contradicts itself each time it is \
                 read; run again later, or leave out --max-percent"
                    .to_owned(),
            ));
        };
        Ok(count(census.into_desktops().iter().filter(|desktop| is_assigned(desktop)).count()))
    }

    /// Names that the service knows, for hints alone: not to be had, or too many, is no failure, unless it is for the
    /// credentials.
    pub async fn known_users(&self) -> Result<Option<HashSet<String>>, Error> {
        let (mut known, mut offset) = (HashSet::new(), 0_u64);
        for _ in 0..USER_PAGES {
            let from = offset.to_string();
            let query = [("limit", "1000"), ("offset", from.as_str())];
            let seen_renewals = *self.renewals.lock().await;
            let Some(mut pass) = self.gates.pass(Class::ListUsers, &self.stop).await else { return Ok(None) };
            self.reads.fetch_add(1, Ordering::Relaxed);
            let reply = self.reader.list_users(&query).await;
            let result = reads::users(&reply);
            self.heard(&mut pass, &result);
            drop(pass);
            let (users, total) = match result {
                Ok(page) => page,
                // Whoever comes next would be refused, too (P11).
                Err(ReadFault::Unauthorized { .. }) => {
                    self.renew(seen_renewals, &self.explained(Class::ListUsers, &reply)).await?;
                    continue;
                }
                Err(_) => return Ok(None),
            };
            if users.is_empty() {
                return Ok(Some(known));
            }
            offset += count(users.len());
            known.extend(users.into_iter().map(|user| fold(&user.user_name).into_owned()));
            if offset >= total {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// What a refusal means and what to do about it.
    fn explained(&self, class: Class, reply: &Reply) -> String {
        let target = self.reader.target();
        let who = target.auth.describe();
        explain(reply, &Asked::of(class, &who, &target.endpoint), jiff::Timestamp::now())
    }

    async fn page(&self, query: &[(&str, &str)]) -> Result<Page, Error> {
        self.patiently(Class::ListDesktops, || self.reader.list_desktops(query), reads::desktops).await
    }

    async fn show(&self, id: &DesktopId) -> Result<Option<LiveDesktop>, Error> {
        let read = |reply: &Reply| reads::desktop(reply, id.as_str());
        self.patiently(Class::ShowDesktop, || self.reader.show_desktop(id.as_str()), read).await
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

    /// One read, repeated as long as that can help.
    async fn patiently<T, F: Future<Output = Reply>>(
        &self,
        class: Class,
        call: impl Fn() -> F,
        read: impl Fn(&Reply) -> Result<T, ReadFault>,
    ) -> Result<T, Error> {
        let (mut failures, began) = (0, Instant::now());
        loop {
            let seen_renewals = *self.renewals.lock().await;
            let Some(mut pass) = self.gates.pass(class, &self.stop).await else {
                return Err(Error::Stopped("stopped by a signal before anything was sent".to_owned()));
            };
            self.reads.fetch_add(1, Ordering::Relaxed);
            let reply = tokio::select! {
                biased;
                () = self.stop.cancelled() => {
                    return Err(Error::Stopped("stopped by a signal before anything was sent".to_owned()));
                }
                reply = call() => reply,
            };
            let result = read(&reply);
            let closed = self.heard(&mut pass, &result);
            drop(pass);
            let fault = match result {
                Ok(value) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(fault) => fault,
            };
            let explained = || self.explained(class, &reply);
            match &fault {
                ReadFault::Throttled { .. } if closed <= MAX_GATE => {} // its gate holds the next try
                ReadFault::Throttled { .. } => {
                    let minutes = closed.as_secs() / 60;
                    return Err(Error::NoAccess(format!("the service asks to stay away for {minutes} minutes")));
                }
                ReadFault::Unauthorized { .. } => self.renew(seen_renewals, &explained()).await?,
                ReadFault::NotSent { .. } | ReadFault::Lost { .. } | ReadFault::Trouble { .. } => {
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
                    let wait = backoff(failures, self.retry_base, chance);
                    tracing::warn!(tries = failures, cause = %fault.in_words(), "a read failed; it is tried again");
                    tokio::select! {
                        () = self.stop.cancelled() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
                ReadFault::Forbidden { .. } | ReadFault::Halt { .. } | ReadFault::Refused { .. } => {
                    return Err(Error::NoAccess(explained()));
                }
            }
        }
    }

    /// After a 401: new credentials, once, by whoever comes first.
    async fn renew(&self, seen: u32, explained: &str) -> Result<(), Error> {
        let mut renewals = self.renewals.lock().await;
        if *renewals > seen {
            return Ok(()); // somebody else did while this one was out
        }
        let auth = &self.reader.target().auth;
        let refused = |more: &str| Error::NoAccess(format!("{explained}{more}"));
        if *renewals > 0 {
            return Err(refused("; renewing them did not help"));
        }
        match auth.renew().await {
            Ok(true) => {
                *renewals += 1;
                // Proved by one request before the others go on: a second refusal is the last (P11).
                let Some(mut pass) = self.gates.pass(Class::ListDesktops, &self.stop).await else { return Ok(()) };
                self.reads.fetch_add(1, Ordering::Relaxed);
                let result = reads::desktops(&self.reader.list_desktops(&[("limit", "1")]).await);
                self.heard(&mut pass, &result);
                match result {
                    Err(ReadFault::Unauthorized { .. }) => Err(refused("; renewing them did not help")),
                    _ => Ok(()),
                }
            }
            Ok(false) => Err(refused("")),
            Err(why) => Err(refused(&format!("; they could not be renewed: {why}"))),
        }
    }
}

fn count(len: usize) -> u64 {
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
