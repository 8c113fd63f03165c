//! What everybody who sends waits at.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::adaptive::{Adaptive, ThrottleHint};
use super::breaker::{Breaker, Verdict};
use super::limiter::{Ceiling, Limiter, sleep_finely};
use crate::model::Class;

/// A server that wants a class closed for longer than this ends the run, resumably.
pub(crate) const MAX_GATE: Duration = Duration::from_secs(15 * 60);
/// Callers whose turn is less than this away may be past their approach.
const AHEAD: Duration = Duration::from_millis(100);

/// What became of a request, apart from 429 ([`Gates::throttled`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A complete answer that the service did as asked.
    Success,
    /// A complete answer that the service, or the gateway, would not: 4xx.
    Refused,
    /// A complete answer that something broke: 5xx but 503.
    Failed,
    /// 503: an answer, and a wish for less.
    Unavailable,
    /// No answer in time.
    TimedOut,
    /// Sent, and cut off without a complete answer.
    Lost,
    /// No connection came about.
    NoConnection,
}

/// Names in [`Gates::counts`], in the order of the counters.
const COUNTED: [&str; 9] =
    ["started", "ok", "refused", "failed", "unavailable", "timed_out", "lost", "no_connection", "throttled"];
const STARTED: usize = 0;
const THROTTLED: usize = 8;

impl Heard {
    const fn counter(self) -> usize {
        match self {
            Self::Success => 1,
            Self::Refused => 2,
            Self::Failed => 3,
            Self::Unavailable => 4,
            Self::TimedOut => 5,
            Self::Lost => 6,
            Self::NoConnection => 7,
        }
    }
}

/// Decides when requests start: for each class its ceiling (P8), its pace and its gate (P9); over all of them the slots
/// (`--concurrency`) and the breaker.
#[derive(Debug)]
pub struct Gates {
    lanes: [Lane; Class::ALL.len()],
    slots: Arc<Semaphore>,
    breaker: Mutex<Breaker>,
    /// Bumped where somebody who waits has to look again: a gate has closed, a rate or the breaker has changed.
    changed: watch::Sender<()>,
    chance: Mutex<fastrand::Rng>,
}

/// One class of requests.
#[derive(Debug)]
struct Lane {
    ceiling: Ceiling,
    /// Whoever holds it is next; the mutex is fair, so turns come in the order asked.
    turn: Arc<tokio::sync::Mutex<()>>,
    approach: Arc<Semaphore>,
    /// Built once and never replaced, so nothing that adapts can ever pass it.
    hard: Limiter,
    pacing: Mutex<Pacing>,
    counts: [AtomicU64; COUNTED.len()],
}

#[derive(Debug)]
struct Pacing {
    adaptive: Adaptive,
    soft: Limiter,
    /// A cell of `soft` was taken and its start has not come yet, because `hard` had none.
    soft_taken: bool,
    /// The last start.
    started: Option<Instant>,
    closed_until: Option<Instant>,
}

impl Pacing {
    /// Makes the rate that was decided the one that counts, from one period after now on.
    fn apply(&mut self, ceiling: Ceiling) {
        self.soft = Limiter::spent(self.adaptive.period(ceiling));
        self.soft_taken = false;
    }

    fn closed_for(&self, now: Instant) -> Option<Duration> {
        self.closed_until.map(|until| until.saturating_duration_since(now)).filter(|wait| !wait.is_zero())
    }
}

/// The right to make one request now; holds a slot until it is dropped, so drop it when the answer is in (and durable).
#[derive(Debug)]
pub struct Pass {
    class: Class,
    generation: u64,
    started: Instant,
    /// Set where the request is the breaker's probe: given back if nothing is ever heard of it.
    probe: Option<Arc<Gates>>,
    _slot: Slot,
}

/// One of the requests in flight at most. `None` never comes to be: their semaphore is not closed.
type Slot = Option<OwnedSemaphorePermit>;

impl Pass {
    pub fn class(&self) -> Class {
        self.class
    }

    /// When its turn came.
    pub fn started(&self) -> Instant {
        self.started
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(gates) = self.probe.take() {
            lock(&gates.breaker).probe_dropped();
            gates.changed.send_replace(());
        }
    }
}

/// A turn that has come, of a request that has not begun; see [`Gates::hold`].
#[derive(Debug)]
pub struct Held {
    pass: Pass,
    _turn: OwnedMutexGuard<()>,
}

impl Held {
    /// The request starts now, and the next turn counts from here (P8). `None` where its class was closed meanwhile (P9).
    pub fn begin(mut self, gates: &Gates) -> Option<Pass> {
        let (class, now) = (self.pass.class, Instant::now());
        let pacing = &mut *lock(&gates.lane(class).pacing);
        if pacing.closed_for(now).is_some() {
            return None;
        }
        pacing.started = Some(now);
        self.pass.started = now;
        Some(self.pass)
    }
}

/// What became of waiting for a turn that may come too late.
#[derive(Debug)]
pub enum Turn {
    Now(Pass),
    /// It came after the time until which it was of use; nothing of it was used up.
    TooLate,
    Stopped,
}

/// A place close to the gate of a class, see [`Gates::approach`].
#[derive(Debug)]
pub struct Approach {
    class: Class,
    _place: OwnedSemaphorePermit,
}

/// Why somebody can't start yet.
enum NotYet {
    /// The next cell comes free after that; they are a `period` apart.
    Cell {
        wait: Duration,
        period: Duration,
    },
    ClosedFor(Duration),
    /// Closed until something else has happened.
    Closed,
}

impl NotYet {
    /// Waits it out, or until something has changed.
    async fn over(self, changes: &mut watch::Receiver<()>) {
        let wait = async {
            match self {
                Self::Cell { wait, period } => sleep_finely(wait, period).await,
                Self::ClosedFor(wait) => tokio::time::sleep(wait).await,
                Self::Closed => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            // An error would mean that the sender is gone, and it lives in what `self` borrows.
            _ = changes.changed() => {}
            () = wait => {}
        }
    }
}

impl Gates {
    /// * `ceilings`: of each class, settled for good.
    /// * `slots`: requests in flight at most, all classes together; from 1.
    /// * `seed`: of the jitter.
    /// * `resumed`: the process before may have sent a moment ago, so that the first start waits 1/R (P8).
    pub fn new(ceilings: impl Fn(Class) -> Ceiling, slots: usize, seed: u64, resumed: bool) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            lanes: Class::ALL.map(|class| Lane::new(ceilings(class), now, resumed)),
            slots: Arc::new(Semaphore::new(slots.clamp(1, Semaphore::MAX_PERMITS))),
            breaker: Mutex::default(),
            changed: watch::Sender::new(()),
            chance: Mutex::new(fastrand::Rng::with_seed(seed)),
        })
    }

    /// Waits for this class's turn, in the order asked; `None` when `stop` fired first.
    ///
    /// Neither that nor dropping the future uses up a turn of those who come after.
    pub async fn pass(self: &Arc<Self>, class: Class, stop: &CancellationToken) -> Option<Pass> {
        self.hold(class, stop).await.map(|turn| turn.pass)
    }

    /// As [`Gates::pass`], for a request that may have to wait for its contents once its turn has come: nobody else of
    /// the class starts until it has begun, or is dropped.
    pub async fn hold(self: &Arc<Self>, class: Class, stop: &CancellationToken) -> Option<Held> {
        stop.run_until_cancelled(self.wait_for_turn(class, None)).await.flatten().filter(|_| !stop.is_cancelled())
    }

    /// As [`Gates::pass`], from a place taken before; it is free again when the turn has come.
    ///
    /// `until`: a turn that comes later is of no use, and is left to those who come after.
    pub async fn pass_from(
        self: &Arc<Self>,
        approach: Approach,
        stop: &CancellationToken,
        until: Option<Instant>,
    ) -> Turn {
        let turn = stop.run_until_cancelled(self.wait_for_turn(approach.class, until)).await;
        match turn.filter(|_| !stop.is_cancelled()) {
            Some(Some(turn)) => Turn::Now(turn.pass),
            Some(None) => Turn::TooLate,
            None => Turn::Stopped,
        }
    }

    /// Waits until the turn is near, so that what has to be done before it (an intent made durable) is done neither
    /// late nor for many at once: at most max(2, what the ceiling allows in 0.1 s) callers of a class hold such a place,
    /// and none gets one while the class is closed. Hand it to [`Gates::pass_from`], or drop it.
    pub async fn approach(self: &Arc<Self>, class: Class, stop: &CancellationToken) -> Option<Approach> {
        let near = async {
            let mut changes = self.changed.subscribe();
            let place = Arc::clone(&self.lane(class).approach).acquire_owned().await.ok()?;
            loop {
                changes.mark_unchanged();
                match self.closed(class, Instant::now()) {
                    None => return Some(Approach { class, _place: place }),
                    Some(not_yet) => not_yet.over(&mut changes).await,
                }
            }
        };
        stop.run_until_cancelled(near).await.flatten().filter(|_| !stop.is_cancelled())
    }

    /// `None` where the turn comes after `until`: then it is not taken.
    async fn wait_for_turn(self: &Arc<Self>, class: Class, until: Option<Instant>) -> Option<Held> {
        let lane = self.lane(class);
        let turn = Arc::clone(&lane.turn).lock_owned().await;
        let mut changes = self.changed.subscribe();
        let mut waited = false;
        loop {
            changes.mark_unchanged();
            // Asked before a slot is taken: whoever waits for a gate must not keep others from sending.
            let not_yet = if let Some(not_yet) = self.closed(class, Instant::now()) {
                not_yet
            } else {
                let slot = self.slot().await;
                if until.is_some_and(|until| until < Instant::now()) && lane.is_ready(Instant::now()) {
                    return None;
                }
                match self.start(class, waited, slot) {
                    Ok(pass) => return Some(Held { pass, _turn: turn }),
                    Err(not_yet) => not_yet,
                }
            };
            waited |= matches!(not_yet, NotYet::Cell { .. });
            not_yet.over(&mut changes).await;
        }
    }

    async fn slot(&self) -> Slot {
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Starts a request if gate, pace and ceiling allow it at this instant. The slot is free again if they don't.
    fn start(self: &Arc<Self>, class: Class, waited: bool, slot: Slot) -> Result<Pass, NotYet> {
        let (lane, now) = (self.lane(class), Instant::now());
        let mut breaker = lock(&self.breaker);
        let is_probe = match breaker.verdict(now, !class.is_write()) {
            Verdict::Go => false,
            Verdict::Probe => true,
            Verdict::WaitFor(wait) => return Err(NotYet::ClosedFor(wait)),
            Verdict::Wait => return Err(NotYet::Closed),
        };
        let pacing = &mut *lock(&lane.pacing);
        if let Some(wait) = pacing.closed_for(now) {
            return Err(NotYet::ClosedFor(wait));
        }
        let cell = |wait| NotYet::Cell { wait, period: pacing.adaptive.period(lane.ceiling) };
        // The last start may have come later than its cell.
        let since = pacing.started.map(|started| now.saturating_duration_since(started));
        if let Some(early) =
            since.and_then(|since| lane.ceiling.period.checked_sub(since)).filter(|wait| !wait.is_zero())
        {
            return Err(cell(early));
        }
        if !pacing.soft_taken {
            pacing.soft.take().map_err(cell)?;
            pacing.soft_taken = true;
        }
        lane.hard.take().map_err(cell)?;
        pacing.soft_taken = false;
        pacing.started = Some(now);
        if pacing.adaptive.started(now, waited) {
            pacing.apply(lane.ceiling); // this start is the first cell of the new rate
        }
        if is_probe {
            breaker.probe();
        }
        lane.count(STARTED);
        let probe = is_probe.then(|| Arc::clone(self));
        Ok(Pass { class, generation: pacing.adaptive.generation(), started: now, probe, _slot: slot })
    }

    /// Why the class is closed, whatever the time of its next cell; `None` where it is open.
    fn closed(&self, class: Class, now: Instant) -> Option<NotYet> {
        match lock(&self.breaker).verdict(now, !class.is_write()) {
            Verdict::Go | Verdict::Probe => self.closed_for(class).map(NotYet::ClosedFor),
            Verdict::WaitFor(wait) => Some(NotYet::ClosedFor(wait)),
            Verdict::Wait => Some(NotYet::Closed),
        }
    }

    /// Takes note of what became of a request; once for each, 429 goes to [`Gates::throttled`].
    pub fn heard(&self, pass: &mut Pass, heard: Heard) {
        let (lane, now) = (self.lane(pass.class), Instant::now());
        lane.count(heard.counter());
        let was_probe = pass.probe.take().is_some();
        let goes_on = {
            let mut breaker = lock(&self.breaker);
            match heard {
                Heard::Success | Heard::Refused | Heard::Failed | Heard::Unavailable => breaker.answered(),
                Heard::TimedOut | Heard::Lost | Heard::NoConnection => {
                    breaker.unanswered(now, was_probe);
                    was_probe
                }
            }
        };
        let slower = match heard {
            Heard::Success => {
                lock(&lane.pacing).adaptive.succeeded(now, pass.generation);
                false
            }
            Heard::Unavailable | Heard::TimedOut => {
                let pacing = &mut *lock(&lane.pacing);
                let slower = pacing.adaptive.slowed(now, pass.generation);
                if slower {
                    pacing.apply(lane.ceiling);
                }
                slower
            }
            Heard::Refused | Heard::Failed | Heard::Lost | Heard::NoConnection => false,
        };
        if goes_on || slower {
            self.changed.send_replace(());
        }
    }

    /// A 429: closes the class, and lowers its pace unless that was done since the request was sent. Returns how long
    /// the class is closed from now; more than [`MAX_GATE`] is a reason to stop.
    pub fn throttled(&self, pass: &mut Pass, hint: ThrottleHint) -> Duration {
        let (lane, now) = (self.lane(pass.class), Instant::now());
        lane.count(THROTTLED);
        pass.probe = None;
        lock(&self.breaker).answered();
        let jitter = lock(&self.chance).f64() / 10.0;
        let closed_for = {
            let pacing = &mut *lock(&lane.pacing);
            let generation = pacing.adaptive.generation();
            if let Some(wait) = pacing.adaptive.throttled(now, pass.generation, hint) {
                let until = now + wait + wait.mul_f64(jitter);
                pacing.closed_until = pacing.closed_until.max(Some(until));
            }
            if pacing.adaptive.generation() != generation {
                pacing.apply(lane.ceiling);
            }
            pacing.closed_for(now).unwrap_or_default()
        };
        self.changed.send_replace(());
        closed_for
    }

    /// How long a 429 keeps the class closed from now; `None` where it does not.
    pub fn closed_for(&self, class: Class) -> Option<Duration> {
        lock(&self.lane(class).pacing).closed_for(Instant::now())
    }

    /// The class's present pace, in starts per second.
    pub fn pace(&self, class: Class) -> f64 {
        lock(&self.lane(class).pacing).adaptive.rate()
    }

    /// `None` while all may send. Else the time until a read may probe whether anybody answers; zero from then on.
    ///
    /// The next read that asks for its [`Gates::pass`] is the probe; where none would, make one.
    pub fn breaker_wait(&self) -> Option<Duration> {
        lock(&self.breaker).wait(Instant::now())
    }

    /// What there was since the last call, for the journal's `Requests`: `started`, and by what became of them `ok`,
    /// `throttled`, `refused`, … Zeros are left out.
    pub fn counts(&self) -> Vec<(Class, &'static str, u64)> {
        let of_lane = |(class, lane): (Class, &Lane)| {
            let counts = COUNTED.iter().zip(&lane.counts);
            let taken: Vec<_> = counts.map(|(name, count)| (class, *name, count.swap(0, Ordering::Relaxed))).collect();
            taken
        };
        Class::ALL.into_iter().zip(&self.lanes).flat_map(of_lane).filter(|(_, _, count)| *count > 0).collect()
    }

    fn lane(&self, class: Class) -> &Lane {
        &self.lanes[class as usize] // the lanes are made from `Class::ALL`, which is in the order of the variants
    }
}

impl Lane {
    fn new(ceiling: Ceiling, now: Instant, resumed: bool) -> Self {
        let limiter = if resumed { Limiter::spent } else { Limiter::new };
        // At least two: one goes through as the next one is made ready.
        let ahead = usize::try_from(AHEAD.as_nanos().div_ceil(ceiling.period.as_nanos().max(1))).unwrap_or(usize::MAX);
        Self {
            ceiling,
            turn: Arc::default(),
            approach: Arc::new(Semaphore::new(ahead.clamp(2, Semaphore::MAX_PERMITS))),
            hard: limiter(ceiling.period),
            pacing: Mutex::new(Pacing {
                adaptive: Adaptive::new(ceiling.per_s(), now),
                soft: limiter(ceiling.period),
                soft_taken: false,
                started: None,
                closed_until: None,
            }),
            counts: Default::default(),
        }
    }

    /// Whether a start now would come a whole period after the last one.
    fn is_ready(&self, now: Instant) -> bool {
        let pacing = lock(&self.pacing);
        let period = pacing.adaptive.period(self.ceiling);
        pacing.started.is_none_or(|started| now.saturating_duration_since(started) >= period)
    }

    fn count(&self, counter: usize) {
        self.counts[counter].fetch_add(1, Ordering::Relaxed);
    }
}

/// A panic elsewhere leaves no half-made state behind these locks: each holds plain values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
