//! The truth behind the API: desktops, who is bound to them, jobs, and what is still to happen.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::body::Write;
use super::scenario::{Fate, POOL, Physics};
use crate::model::{Bound, DesktopId, Kind};

/// How much of a write was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Executed {
    /// Nothing; of a read, always.
    #[default]
    None,
    /// Every desktop was taken on.
    Whole,
    /// Only the first half of the desktops.
    Partly,
    /// Some desktops were refused, the others taken on.
    PerDesktop,
}

/// One binding that the world shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    pub desktop: DesktopId,
    /// The desktop's name, as it is; if empty, one is made up, in upper case.
    pub name: String,
    /// What is missing of id and privilege group is made up.
    pub bound: Bound,
}

/// What a read shows of a desktop, and what changes over its life.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    pub status: Cow<'static, str>,
    /// Empty while nothing is under way.
    pub task_status: Cow<'static, str>,
    pub attach_state: Cow<'static, str>,
    pub login_status: Cow<'static, str>,
    pub(super) bound: Vec<Bound>,
    pub(super) deleted: bool,
}

/// One desktop.
#[derive(Debug, Clone, Default)]
pub struct SimDesktop {
    pub name: String,
    /// `DEDICATED`, `SHARED` or `POOLED`.
    pub desktop_type: Cow<'static, str>,
    pub pool_id: Option<String>,
    pub frozen: bool,
    pub live: View,
    /// Detaches and attaches of it that are under way.
    pub(super) open: u32,
    pub(super) fates: Vec<Fate>,
    /// What it looked like before, each up to a time: for reads that lag.
    past: VecDeque<(Instant, View)>,
    former: Vec<Bound>,
    /// How often a user's data was wiped as the same user was bound again.
    cleared: u32,
}

impl SimDesktop {
    fn view(&self, lag: Duration, now: Instant) -> &View {
        self.past.iter().find(|(until, _)| *until + lag > now).map_or(&self.live, |(_, view)| view)
    }

    pub(super) fn fate<T>(&self, pick: impl Fn(&Fate) -> Option<T>) -> Option<T> {
        self.fates.iter().find_map(pick)
    }

    pub fn bound(&self) -> &[Bound] {
        &self.live.bound
    }

    pub(super) fn is_pooled(&self) -> bool {
        self.pool_id.is_some()
    }
}

/// A binding that came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub at: Instant,
    /// The number of the request behind it ([`super::LogEntry::number`]); `None` for the world's own doing.
    pub request: Option<usize>,
    pub desktop: DesktopId,
    pub bound: Bound,
    /// Whether it came.
    pub attached: bool,
}

/// A user or group that the service knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) domain: Option<String>,
    pub(super) email: Option<String>,
    /// Rises with every person that comes to be known.
    pub(super) number: usize,
}

/// A desktop pool: its desktops say that they are in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pool {
    pub(super) name: String,
    /// Users and groups that may use it.
    pub(super) authorised: Vec<Bound>,
}

/// A job of pool desktops (a detach) or of any (an attach).
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) kind: &'static str,
    pub(super) request: usize,
    pub(super) begun: Instant,
    pub(super) ends: Instant,
    pub(super) done: bool,
    pub(super) subs: Vec<SubWork>,
}

impl Job {
    /// The desktops that change hands in it. An attach that fails never begins.
    pub(super) fn works_on(&self) -> BTreeSet<DesktopId> {
        let detaches = self.kind == "detachDesktops";
        self.subs.iter().filter(|sub| detaches || sub.failure.is_none()).map(|sub| sub.desktop.clone()).collect()
    }
}

/// One desktop and one binding of it that a job works on.
#[derive(Debug, Clone)]
pub(super) struct SubWork {
    pub(super) desktop: DesktopId,
    pub(super) bound: Bound,
    /// Code and reason, if it shall fail.
    pub(super) failure: Option<(String, String)>,
}

/// What is still to happen.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// `who` leaves; `failed`: it comes to nothing, and says so.
    Detach {
        desktop: DesktopId,
        who: Vec<Bound>,
        request: usize,
        failed: bool,
    },
    JobEnds {
        job: String,
    },
    /// A task that ran for its own sake ends.
    Idle {
        desktop: DesktopId,
    },
    Bind {
        desktop: DesktopId,
        bound: Bound,
    },
    Delete {
        desktop: DesktopId,
    },
    Execute {
        write: Arc<Write>,
        request: usize,
    },
}

/// Desktops, users, groups, pools and jobs.
///
/// What depends on chance depends on the seed alone. Everything is found by id; a list of all desktops is in the
/// order of their ids.
#[derive(Debug)]
pub struct World {
    pub(super) seed: u64,
    pub(super) physics: Physics,
    pub(super) desktops: BTreeMap<DesktopId, SimDesktop>,
    /// Lower-case user name → every desktop that ever held it: a superset to look through.
    pub(super) by_user: BTreeMap<String, BTreeSet<DesktopId>>,
    pub(super) people: BTreeMap<String, Person>,
    pub(super) pools: BTreeMap<String, Pool>,
    /// The users of each group, by their ids.
    pub(super) members: BTreeMap<String, BTreeSet<String>>,
    pub(super) jobs: BTreeMap<String, Job>,
    pub(super) executed: BTreeMap<usize, Executed>,
    pub(super) start: Instant,
    /// Whether changes are kept; the log and the tests need them.
    pub(super) remembers: bool,
    agenda: BTreeMap<(Instant, u64), Event>,
    changes: Vec<Change>,
    made: u64,
}

impl World {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            physics: Physics::default(),
            desktops: BTreeMap::new(),
            by_user: BTreeMap::new(),
            people: BTreeMap::new(),
            pools: BTreeMap::new(),
            members: BTreeMap::new(),
            jobs: BTreeMap::new(),
            executed: BTreeMap::new(),
            start: Instant::now(),
            remembers: true,
            agenda: BTreeMap::new(),
            changes: Vec::new(),
            made: 0,
        }
    }

    pub fn from_seats(seats: impl IntoIterator<Item = Seat>, seed: u64) -> Self {
        let mut world = Self::new(seed);
        for seat in seats {
            world.bind(seat);
        }
        world
    }

    /// Binds as the world's own doing: somebody in the console, or how things stood at the start. Returns the
    /// binding as the service has it now, with the id and the privilege group that it was given.
    pub fn bind(&mut self, seat: Seat) -> Bound {
        let Seat { desktop, name, mut bound } = seat;
        self.complete(&mut bound);
        let entry = self.add(&desktop);
        if !name.is_empty() {
            entry.name = name;
        }
        let now = Instant::now();
        self.attach(&desktop, &bound, None, now);
        bound
    }

    /// A desktop to which nobody is bound; does nothing to one that is there.
    pub fn add(&mut self, id: &DesktopId) -> &mut SimDesktop {
        let number = self.desktops.len() + 1;
        self.desktops.entry(id.clone()).or_insert_with(|| SimDesktop {
            name: format!("DESK{number:07}"),
            desktop_type: "DEDICATED".into(),
            live: View {
                status: "ACTIVE".into(),
                attach_state: "UNATTACH".into(),
                login_status: "REGISTERED".into(),
                ..View::default()
            },
            ..SimDesktop::default()
        })
    }

    /// Gives `id` a fate, from now on. A desktop that is not there has none.
    pub fn doom(&mut self, id: &DesktopId, fate: Fate) {
        let now = Instant::now();
        let Some(desktop) = self.desktops.get_mut(id.as_str()) else { return };
        match &fate {
            Fate::Hibernated => desktop.live.status = "HIBERNATED".into(),
            Fate::Frozen => desktop.frozen = true,
            Fate::Connected => desktop.live.login_status = "CONNECTED".into(),
            Fate::Pooled | Fate::JobFails { .. } => self.set_pooled(id, POOL),
            Fate::Busy { lasts } => {
                desktop.live.task_status = "rebooting".into();
                self.schedule(now + *lasts, Event::Idle { desktop: id.clone() });
            }
            Fate::Gone => self.delete(id),
            Fate::GoneAfter(after) => self.schedule(now + *after, Event::Delete { desktop: id.clone() }),
            _ => {}
        }
        if let Some(desktop) = self.desktops.get_mut(id.as_str()) {
            desktop.fates.push(fate);
        }
    }

    /// Deletes a desktop, its bindings with it.
    pub fn delete(&mut self, id: &DesktopId) {
        let now = Instant::now();
        for bound in self.bound(id) {
            self.remember(now, None, id, &bound, false);
        }
        self.change(id, now, |view| *view = View { deleted: true, ..View::default() });
    }

    /// Takes a binding away as the world's own doing; its id must be given as the world has it.
    pub fn unbind(&mut self, id: &DesktopId, bound: &Bound) {
        self.detach(id, std::slice::from_ref(bound), None, Instant::now());
    }

    /// `None` for a desktop that is not there, or not any more.
    pub fn desktop(&self, id: &DesktopId) -> Option<&SimDesktop> {
        self.find(id.as_str())
    }

    /// For changes that no request and no fate makes.
    pub fn desktop_mut(&mut self, id: &DesktopId) -> Option<&mut SimDesktop> {
        self.desktops.get_mut(id.as_str()).filter(|desktop| !desktop.live.deleted)
    }

    /// Who is bound, in truth; nobody to a desktop that is not there.
    pub fn bound(&self, id: &DesktopId) -> Vec<Bound> {
        self.desktop(id).map(|desktop| desktop.live.bound.clone()).unwrap_or_default()
    }

    /// Every desktop that is there and who is bound to it.
    pub fn snapshot_bindings(&self) -> BTreeMap<DesktopId, Vec<Bound>> {
        self.desktops
            .iter()
            .filter(|(_, desktop)| !desktop.live.deleted)
            .map(|(id, desktop)| (id.clone(), desktop.live.bound.clone()))
            .collect()
    }

    /// How often data on this desktop was wiped as the same user was bound again.
    pub fn data_cleared(&self, id: &DesktopId) -> u32 {
        self.desktop(id).map_or(0, |desktop| desktop.cleared)
    }

    /// Every binding that came or went since the start, in order.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    pub(super) fn forget_changes(&mut self) {
        self.changes.clear();
    }

    /// How the service spells the id of a desktop or a person that somebody gives in other case.
    pub(super) fn spelled(&self, id: &str) -> Option<&str> {
        let desktops = self.desktops.keys().map(DesktopId::as_str);
        desktops.chain(self.people.keys().map(String::as_str)).find(|ours| ours.eq_ignore_ascii_case(id))
    }

    pub(super) fn find(&self, id: &str) -> Option<&SimDesktop> {
        self.desktops.get(id).filter(|desktop| !desktop.live.deleted)
    }

    /// What a read shows of a desktop now; `None` where it shows none.
    pub(super) fn shown<'a>(&self, desktop: &'a SimDesktop, now: Instant) -> Option<&'a View> {
        Some(desktop.view(self.physics.read_lag, now)).filter(|view| !view.deleted)
    }

    pub(super) fn schedule(&mut self, at: Instant, event: Event) {
        self.made += 1;
        self.agenda.insert((at, self.made), event);
    }

    /// Lets everything happen that is due.
    pub(super) fn advance(&mut self, now: Instant) {
        while let Some(entry) = self.agenda.first_entry().filter(|entry| entry.key().0 <= now) {
            let at = entry.key().0;
            match entry.remove() {
                Event::Detach { desktop, who, request, failed } => {
                    self.finish_detach(&desktop, &who, Some(request), failed, at);
                }
                Event::JobEnds { job } => self.finish_job(&job, at),
                Event::Idle { desktop } => self.change(&desktop, at, |view| view.task_status = "".into()),
                Event::Bind { desktop, bound } => self.attach(&desktop, &bound, None, at),
                Event::Delete { desktop } => self.delete(&desktop),
                Event::Execute { write, request } => {
                    _ = self.execute(&write, usize::MAX, request, at); // nobody waits for this answer any more
                }
            }
        }
    }

    /// Changes what reads show of a desktop, keeping what they showed before for as long as they lag.
    pub(super) fn change(&mut self, id: &DesktopId, at: Instant, change: impl FnOnce(&mut View)) {
        let lag = self.physics.read_lag;
        let Some(desktop) = self.desktops.get_mut(id.as_str()) else { return };
        if !lag.is_zero() {
            while desktop.past.front().is_some_and(|(until, _)| *until + lag <= at) {
                desktop.past.pop_front();
            }
            desktop.past.push_back((at, desktop.live.clone()));
        }
        change(&mut desktop.live);
    }

    fn remember(&mut self, at: Instant, request: Option<usize>, id: &DesktopId, bound: &Bound, attached: bool) {
        if self.remembers {
            self.changes.push(Change { at, request, desktop: id.clone(), bound: bound.clone(), attached });
        }
    }

    /// Ends a detach of an ordinary desktop: lag over.
    pub(super) fn finish_detach(
        &mut self,
        id: &DesktopId,
        who: &[Bound],
        request: Option<usize>,
        failed: bool,
        at: Instant,
    ) {
        if failed {
            // Whoever went meanwhile left nobody behind that the detach could have failed for.
            self.change(id, at, |view| {
                let is_free = view.bound.is_empty();
                view.attach_state = if is_free { "DEATTACHED" } else { "DEATTACH_FAIL_CAN_DEATTACH_AGAIN" }.into();
            });
        } else {
            self.detach(id, who, request, at);
        }
        self.close(id, at);
        if failed && let Some(desktop) = self.desktops.get_mut(id.as_str()) {
            for fate in &mut desktop.fates {
                if let Fate::FailsFirst { times } = fate {
                    *times = times.saturating_sub(1);
                }
            }
        }
    }

    /// One thing that was under way on a desktop is over.
    pub(super) fn close(&mut self, id: &DesktopId, at: Instant) {
        let Some(desktop) = self.desktops.get_mut(id.as_str()) else { return };
        desktop.open = desktop.open.saturating_sub(1);
        if desktop.open == 0 {
            self.change(id, at, |view| {
                view.task_status = "".into();
                if matches!(view.attach_state.as_ref(), "ATTACHING" | "DEATTACHING") {
                    view.attach_state = if view.bound.is_empty() { "DEATTACHED" } else { "ATTACHED" }.into();
                }
            });
        }
    }

    /// Something begins on a desktop.
    pub(super) fn begin(&mut self, id: &DesktopId, attach_state: &'static str, task: &'static str, at: Instant) {
        if let Some(desktop) = self.desktops.get_mut(id.as_str()) {
            desktop.open += 1;
        }
        self.change(id, at, |view| {
            view.attach_state = attach_state.into();
            view.task_status = task.into();
        });
    }

    fn finish_job(&mut self, id: &str, at: Instant) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.done = true;
        let job = job.clone();
        for sub in job.subs.iter().filter(|sub| sub.failure.is_none()) {
            let stays = |fate: &Fate| matches!(fate, Fate::NeverUnbinds).then_some(());
            if job.kind == "attachDesktops" {
                self.attach(&sub.desktop, &sub.bound, Some(job.request), at);
            } else if self.desktop(&sub.desktop).is_some_and(|desktop| desktop.fate(stays).is_none()) {
                self.detach(&sub.desktop, std::slice::from_ref(&sub.bound), Some(job.request), at);
            }
        }
        for desktop in job.works_on() {
            self.close(&desktop, at);
        }
    }

    /// Takes bindings away; those that are not there any more are passed over.
    fn detach(&mut self, id: &DesktopId, who: &[Bound], request: Option<usize>, at: Instant) {
        let Some(desktop) = self.find(id.as_str()) else { return };
        let gone: Vec<Bound> = desktop.live.bound.iter().filter(|bound| who.contains(bound)).cloned().collect();
        if gone.is_empty() {
            return;
        }
        // Unbinding a single-user desktop shuts it down; one for several users stays on.
        let shuts_down = desktop.desktop_type != "SHARED";
        let rebound = desktop.fate(|fate| match fate {
            Fate::Rebound { after, by } => Some((*after, by.clone())),
            _ => None,
        });
        self.change(id, at, |view| {
            view.bound.retain(|bound| !gone.contains(bound));
            if view.bound.is_empty() {
                view.attach_state = "DEATTACHED".into();
                if shuts_down {
                    view.status = "SHUTOFF".into();
                    view.login_status = "UNREGISTER".into();
                }
            }
        });
        for bound in &gone {
            self.remember(at, request, id, bound, false);
        }
        if let Some((after, by)) = rebound {
            let mut bound = by.unwrap_or_else(|| gone[0].clone());
            self.complete(&mut bound);
            self.schedule(at + after, Event::Bind { desktop: id.clone(), bound });
        }
        if let Some(desktop) = self.desktops.get_mut(id.as_str()) {
            desktop.former.extend(gone);
            desktop.fates.retain(|fate| !matches!(fate, Fate::Rebound { .. }));
        }
    }

    /// Adds a binding; one that is there is passed over.
    fn attach(&mut self, id: &DesktopId, bound: &Bound, request: Option<usize>, at: Instant) {
        let Some(desktop) = self.desktops.get_mut(id.as_str()).filter(|desktop| !desktop.live.deleted) else { return };
        if desktop.live.bound.iter().any(|there| there.kind == bound.kind && there.user_id == bound.user_id) {
            return;
        }
        if !desktop.live.bound.is_empty() && desktop.pool_id.is_none() {
            desktop.desktop_type = "SHARED".into();
        }
        self.change(id, at, |view| {
            view.bound.push(bound.clone());
            view.attach_state = "ATTACHED".into();
        });
        let name = bound.user_name.to_lowercase();
        self.by_user.entry(name).or_default().insert(id.clone());
        self.remember(at, request, id, bound, true);
    }

    /// Counts a wiped desktop, if `bound` was there before.
    pub(super) fn clear_data(&mut self, id: &DesktopId, bound: &Bound) {
        if let Some(desktop) = self.desktops.get_mut(id.as_str())
            && desktop.former.iter().any(|former| former.kind == bound.kind && former.user_id == bound.user_id)
        {
            desktop.cleared += 1;
        }
    }

    /// An id as the service makes them.
    pub(super) fn make_id(&mut self) -> String {
        self.made += 1;
        uuid(self.seed, &self.made.to_string())
    }
}

/// An id like a UUID that depends on `seed` and `text` alone.
pub(super) fn uuid(seed: u64, text: &str) -> String {
    let hex = format!("{:032x}", fastrand::Rng::with_seed(hash(seed, text)).u128(..));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// FNV-1a, stirred: the same on every machine and in every version.
pub(super) fn hash(seed: u64, text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ (hash >> 31)
}
