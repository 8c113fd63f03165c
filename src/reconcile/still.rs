//! Reads by what people get in, and says of whom: who is bound to which desktops, authorised for which pools, and a
//! member of which groups that are one of both.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use futures::stream::{self, StreamExt as _};

use super::evidence::{Listed, Whole};
use super::preflight::{Preflight, count, show};
use super::reads::{self, Page, ReadFault};
use crate::api::Reply;
use crate::api::wire::{Authorised, RawUser};
use crate::error::Error;
use crate::model::{
    Bound, Class, DesktopId, Kind, LiveDesktop, Outcome, Person, StillAccess, StillPerson, WayKind, fold, leaver,
    still_via,
};
use crate::plan::{Directory, Snapshot};
use crate::text::bytes::to_usize;
use crate::text::{counted, escape_untrusted};

/// Entries of a list that one answer brings at most, by the API's definitions.
const POOLS: &str = "1000";
const AUTHORISED: &str = "100";
const MEMBERS: &str = "2000";
/// A desktop that does not tell who is bound is asked for by itself so long.
const UNTOLD: Duration = Duration::from_secs(60);
/// So many lists of one kind that could not be read, and no further one is asked for.
const ENOUGH: usize = 3;

/// A user of a group, or a pool.
impl Listed for RawUser {
    fn key(&self) -> &str {
        if self.id.is_empty() { &self.user_name } else { &self.id }
    }
}

impl Listed for Authorised {
    fn key(&self) -> &str {
        self.0.user_id.as_deref().unwrap_or(&self.0.user_name)
    }
}

/// By what people get in, as far as it was read. Whatever could not be read is a sentence in `why`: then of nobody it is
/// sure that there is nothing else.
#[derive(Debug, Default)]
pub struct Doors {
    desktops: Vec<(DesktopId, String, Vec<Bound>)>,
    /// The desktops by what all spellings of their ids have in common.
    by_id: HashMap<String, usize>,
    pools: Vec<(String, Vec<Bound>)>,
    groups: Vec<(Bound, Vec<RawUser>)>,
    why: Vec<String>,
}

impl Doors {
    /// Those of a list that was proved whole, as a look before the plan has seen them.
    pub(crate) fn of_desktops(desktops: impl Iterator<Item = LiveDesktop>) -> Self {
        let (mut doors, mut untold) = (Self::default(), 0);
        for desktop in desktops {
            untold += u64::from(!tells(&desktop));
            doors.add(desktop);
        }
        doors.note_untold(untold);
        doors
    }

    fn add(&mut self, desktop: LiveDesktop) {
        let LiveDesktop { id, name, bound, .. } = desktop;
        self.by_id.insert(id.folded(), self.desktops.len());
        self.desktops.push((id, name, bound.unwrap_or_default()));
    }

    fn note_untold(&mut self, desktops: u64) {
        if desktops > 0 {
            let verb = if desktops == 1 { "does" } else { "do" };
            self.note(format!("{} {verb} not tell who is bound", counted(desktops, "desktop", "desktops")));
        }
    }

    /// Something could not be read.
    pub(crate) fn note(&mut self, why: String) {
        if !self.why.contains(&why) {
            self.why.push(why);
        }
    }

    /// A binding that is gone, or shall be, lets nobody in: a list may lag behind.
    pub(crate) fn forget(&mut self, desktop: &DesktopId, person: &Person<'_>) {
        let Some((.., bound)) = self.by_id.get(&desktop.folded()).and_then(|&at| self.desktops.get_mut(at)) else {
            return;
        };
        bound.retain(|one| person.kind != Kind::All && !person.is(&Person::from(one)));
    }

    /// The groups that are bound to a desktop or authorised for a pool, each once.
    fn groups_that_matter(&self) -> Vec<Bound> {
        let bound = self.desktops.iter().map(|(.., bound)| bound).chain(self.pools.iter().map(|(_, who)| who));
        let (mut seen, mut groups) = (HashSet::new(), Vec::new());
        for group in bound.flatten().filter(|one| one.kind == Kind::Group) {
            if seen.insert(group.user_id.clone().unwrap_or_else(|| fold(&group.user_name).into_owned())) {
                groups.push(group.clone());
            }
        }
        groups
    }

    /// Closes the reading: from now on it is asked who gets in by what.
    pub fn into_look(self) -> Look {
        let Self { desktops, pools, groups, why, .. } = self;
        let mut look = Look {
            still: StillAccess { incomplete: !why.is_empty(), why, ..StillAccess::default() },
            ..Look::default()
        };
        for (id, name, bound) in desktops {
            let name = if name.is_empty() { id.as_str().to_owned() } else { name };
            look.way(WayKind::Desktop, name, Some(id), bound.into_iter().map(Holder::from));
        }
        for (name, who) in pools {
            look.way(WayKind::Pool, name, None, who.into_iter().map(Holder::from));
        }
        for (group, members) in groups {
            let name = if group.user_name.is_empty() { group.user_id.unwrap_or_default() } else { group.user_name };
            look.way(WayKind::Group, name, None, members.into_iter().map(Holder::from));
        }
        look.by_id.sort_unstable();
        look.by_name.sort_unstable();
        look
    }
}

/// Whether this read says who is bound, and nobody is about to be bound or unbound. A task that has to do with the power
/// alone changes nothing of that.
fn tells(desktop: &LiveDesktop) -> bool {
    desktop.bound.is_some() && !matches!(desktop.attach_state.as_str(), "WAITING" | "ATTACHING" | "DEATTACHING")
}

/// One user and one thing that lets him in.
#[derive(Debug)]
struct Holder {
    /// Its place in [`Look::ways`].
    way: u32,
    id: Box<str>,
    name: Box<str>,
    domain: Box<str>,
}

impl From<Bound> for Holder {
    fn from(one: Bound) -> Self {
        let (id, domain) = (one.user_id.unwrap_or_default(), one.domain.unwrap_or_default());
        Self { way: 0, id: id.into(), name: one.user_name.into(), domain: domain.into() }
    }
}

impl From<RawUser> for Holder {
    fn from(one: RawUser) -> Self {
        Self { way: 0, id: one.id.into(), name: one.user_name.into(), domain: one.domain.into() }
    }
}

impl Holder {
    fn person(&self) -> Person<'_> {
        Person { kind: Kind::User, name: &self.name, id: Some(&self.id), domain: Some(&self.domain) }
    }
}

/// Who gets in by what. Is asked for every record of the results, and counts as it answers.
#[derive(Debug, Default)]
pub struct Look {
    ways: Vec<(WayKind, String, Option<DesktopId>)>,
    holders: Vec<Holder>,
    /// Holders by a digest of their id, and of their name; sorted.
    by_id: Vec<(u64, u32)>,
    by_name: Vec<(u64, u32)>,
    still: StillAccess,
    people: HashSet<u64>,
    unsure: HashSet<u64>,
    rows: Vec<(u64, String)>,
    records: u64,
}

fn digest(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Look {
    fn way(&mut self, kind: WayKind, name: String, desktop: Option<DesktopId>, holders: impl Iterator<Item = Holder>) {
        let way = place(self.ways.len());
        self.ways.push((kind, name, desktop));
        for holder in holders {
            let at = place(self.holders.len());
            if !holder.id.is_empty() {
                self.by_id.push((digest(&holder.id), at));
            }
            self.by_name.push((digest(&fold(&holder.name)), at));
            self.holders.push(Holder { way, ..holder });
        }
    }

    /// All that lets this person in.
    fn holders_of(&self, person: &Person<'_>) -> Vec<&Holder> {
        let found = |index: &[(u64, u32)], text: &str| {
            let wanted = digest(text);
            let from = index.partition_point(|(digest, _)| *digest < wanted);
            index[from..].iter().take_while(|(digest, _)| *digest == wanted).map(|(_, at)| *at).collect::<Vec<_>>()
        };
        let mut places = found(&self.by_name, &fold(person.name));
        if let Some(id) = person.id.filter(|id| !id.is_empty()) {
            places.extend(found(&self.by_id, id));
        }
        places.sort_unstable();
        places.dedup();
        let holders = places.into_iter().filter_map(|at| self.holders.get(to_usize(at)));
        holders.filter(|holder| holder.person().is(person)).collect()
    }

    /// The next record of the results, in order.
    ///
    /// * `cells`: as [`leaver`] takes them.
    pub fn record(&mut self, line: u64, cells: &[&str; 7], outcome: Outcome) {
        let record = self.records;
        self.records += 1;
        let Some(person) = leaver(cells, outcome) else { return };
        let mut holders = self.holders_of(&person);
        let ids: HashSet<&str> = holders.iter().map(|holder| &*holder.id).filter(|id| !id.is_empty()).collect();
        // A name that two people have says of neither that it is him.
        let is_one = person.id.is_some_and(|id| !id.is_empty()) || ids.len() <= 1;
        if !is_one {
            holders.clear();
        }
        let id = person.id.filter(|id| !id.is_empty()).or_else(|| ids.into_iter().next().filter(|_| is_one));
        let key = id.map_or_else(|| digest(&format!("name {}", fold(person.name))), digest);
        let ways = holders.iter().filter_map(|holder| self.ways.get(to_usize(holder.way)));
        let ways = ways.filter(|(.., desktop)| desktop.as_ref().is_none_or(|desktop| !desktop.is_spelled(cells[0])));
        let ways: Vec<_> = ways.map(|(kind, name, _)| (*kind, name.as_str())).collect();
        let (is_known, is_told) = (!ways.is_empty(), is_one && !self.still.incomplete);
        if !is_told && self.unsure.insert(key) {
            self.still.unknown += 1;
        }
        let via = still_via(ways, is_told);
        if is_known {
            self.still.rows += 1;
            if self.people.insert(key) {
                self.still.people += 1;
                if self.still.examples.len() < StillAccess::NAMED {
                    let user_name = if person.name.is_empty() { cells[3] } else { person.name };
                    self.still.examples.push(StillPerson {
                        line,
                        user_name: user_name.to_owned(),
                        still_via: via.clone(),
                    });
                }
            }
        } else if !is_one {
            let why = format!(
                "more than one person is called {}, and the row does not say by a user_id who is meant",
                escape_untrusted(person.name, 64)
            );
            if !self.still.why.contains(&why) && self.still.why.len() < StillAccess::NAMED {
                self.still.why.push(why);
            }
        }
        // Where of nobody it is sure, a lone mark goes without saying.
        if is_known || !is_one {
            self.rows.push((record, via));
        }
    }

    /// What came of it, and the records of the results of which something is to be told: by number, from 0.
    pub fn finish(self) -> (StillAccess, Vec<(u64, String)>) {
        (self.still, self.rows)
    }
}

/// A place among what was read: memory ends before 2³² of them.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Why a list could not be read.
enum Unread {
    /// A signal came.
    Stopped(Error),
    /// In words.
    Because(String),
}

impl From<Error> for Unread {
    fn from(error: Error) -> Self {
        match error {
            Error::Stopped(_) => Self::Stopped(error),
            error => Self::Because(error.to_string()),
        }
    }
}

impl Preflight {
    /// Every desktop and who is bound to it.
    ///
    /// # Errors
    /// [`Error::Stopped`] where a signal came; all else is noted.
    pub async fn all_desktops(&self, doors: &mut Doors) -> Result<(), Error> {
        let census = match self.census().await.map_err(Unread::from) {
            Ok(Some(census)) => census,
            Ok(None) => {
                doors.note("the list of desktops contradicts itself each time it is read".to_owned());
                return Ok(());
            }
            Err(Unread::Stopped(error)) => return Err(error),
            Err(Unread::Because(why)) => {
                doors.note(format!("the list of desktops could not be read: {why}"));
                return Ok(());
            }
        };
        let mut seen = Snapshot::default();
        show(&mut seen, census.into_entries());
        let untold: Vec<_> =
            seen.desktops.values().flatten().filter(|one| !tells(one)).map(|one| one.id.clone()).collect();
        match self.ask_until(tells, untold, &mut seen, UNTOLD).await.map_err(Unread::from) {
            Ok(_) => {}
            Err(Unread::Stopped(error)) => return Err(error),
            Err(Unread::Because(why)) => doors.note(format!("not every desktop could be read: {why}")),
        }
        doors.note_untold(count(seen.desktops.values().flatten().filter(|one| !tells(one)).count()));
        seen.desktops.into_values().flatten().for_each(|desktop| doors.add(desktop));
        Ok(())
    }

    /// Every pool and who is authorised for it.
    ///
    /// # Errors
    /// [`Error::Stopped`] where a signal came; all else is noted.
    pub async fn all_pools(&self, doors: &mut Doors) -> Result<(), Error> {
        let read = |offset| async move {
            let from = u64::to_string(&offset);
            let query = [("limit", POOLS), ("offset", from.as_str())];
            self.listed(Class::ListPools, || self.reader.list_pools(&query), reads::pools).await
        };
        let pools = match self.whole_or_why("the list of pools", read).await {
            Ok(pools) => pools.into_entries(),
            Err(Unread::Stopped(error)) => return Err(error),
            Err(Unread::Because(why)) => {
                doors.note(why);
                return Ok(());
            }
        };
        let of_pool = |pool: RawUser| async move {
            let id = &pool.id;
            let read = |offset: u64| async move {
                let from = offset.to_string();
                let query = [("limit", AUTHORISED), ("offset", from.as_str())];
                self.listed(Class::ListPoolUsers, || self.reader.list_pool_users(id, &query), reads::pool_users).await
            };
            let who = self.whole_or_why("the list of who is authorised for pools", read).await?;
            let who = who.into_entries().into_iter().map(|Authorised(one)| one).collect();
            let name = if pool.user_name.is_empty() { pool.id } else { pool.user_name };
            Ok((name, who))
        };
        self.each(pools.into_iter().map(of_pool), doors, |doors, pool| doors.pools.push(pool)).await
    }

    /// The members of every group that lets somebody in.
    ///
    /// # Errors
    /// [`Error::Stopped`] where a signal came; all else is noted.
    pub async fn all_members(&self, doors: &mut Doors) -> Result<(), Error> {
        let mut groups = doors.groups_that_matter();
        // A service that does not tell a group's id: the list of groups has it.
        if groups.iter().any(|group| group.user_id.is_none()) {
            let listed = match self.directory(Kind::Group).await.map_err(Unread::from) {
                Ok(Ok(listed)) => listed,
                Err(Unread::Stopped(error)) => return Err(error),
                Ok(Err(why)) | Err(Unread::Because(why)) => {
                    doors.note(format!("the list of groups could not be read: {why}"));
                    Directory::default()
                }
            };
            for group in groups.iter_mut().filter(|group| group.user_id.is_none()) {
                let mut named = listed.named(&group.user_name).filter(|one| !one.id.is_empty());
                match (named.next(), named.next()) {
                    (Some(one), None) => group.user_id = Some(one.id.clone()),
                    _ => {
                        doors.note(format!("the group {} can't be identified", escape_untrusted(&group.user_name, 64)));
                    }
                }
            }
            groups.retain(|group| group.user_id.is_some());
        }
        let of_group = |group: Bound| async move {
            let id = group.user_id.as_deref().unwrap_or_default();
            let read = |offset: u64| async move {
                let from = offset.to_string();
                let query = [("limit", MEMBERS), ("offset", from.as_str())];
                self.listed(Class::ListGroupUsers, || self.reader.list_group_users(id, &query), reads::users).await
            };
            let members = self.whole_or_why("the list of a group's members", read).await?;
            Ok((group, members.into_entries()))
        };
        self.each(groups.into_iter().map(of_group), doors, |doors, group| doors.groups.push(group)).await
    }

    /// Several lists of one kind. Where the first is not to be had, or several are not, the others are left: it is the
    /// same with them.
    async fn each<T>(
        &self,
        lists: impl Iterator<Item = impl Future<Output = Result<T, Unread>>>,
        doors: &mut Doors,
        take: impl Fn(&mut Doors, T),
    ) -> Result<(), Error> {
        let mut lists = std::pin::pin!(stream::iter(lists).buffer_unordered(self.concurrency));
        let (mut read, mut unread) = (0_usize, 0);
        while let Some(list) = lists.next().await {
            match list {
                Ok(list) => {
                    read += 1;
                    take(doors, list);
                }
                Err(Unread::Stopped(error)) => return Err(error),
                Err(Unread::Because(why)) => {
                    doors.note(why);
                    unread += 1;
                    if read == 0 || unread >= ENOUGH {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    async fn whole_or_why<T: Listed, F: Future<Output = Result<Page<T>, Unread>>>(
        &self,
        what: &str,
        page: impl Fn(u64) -> F,
    ) -> Result<Whole<T>, Unread> {
        match self.whole(what, page).await {
            Ok(Some(whole)) => Ok(whole),
            Ok(None) => Err(Unread::Because(format!("{what} contradicts itself each time it is read"))),
            Err(Unread::Because(why)) => Err(Unread::Because(format!("{what} could not be read: {why}"))),
            Err(stopped) => Err(stopped),
        }
    }

    /// One page of a list that nothing but this look needs.
    async fn listed<T, F: Future<Output = Reply>>(
        &self,
        class: Class,
        call: impl Fn() -> F,
        read: impl Fn(&Reply) -> Result<Page<T>, ReadFault>,
    ) -> Result<Page<T>, Unread> {
        self.patiently(class, call, read, false).await?.map_err(|refused| Unread::Because(refused.explained))
    }
}
