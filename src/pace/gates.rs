//! What everybody who sends waits at.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::adaptive::{Adaptive, ThrottleHint};
use super::breaker::{Breaker, Verdict};
use super::limiter::{Ceiling, Limiter, sleep_finely};
use crate::api::Class;

/// A server that wants a class closed for longer than this ends the run, resumably (RELIABILITY.md section 5.5).
pub const MAX_GATE: Duration = Duration::from_secs(15 * 60);
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
    turn: tokio::sync::Mutex<()>,
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
            Some(Some(pass)) => Turn::Now(pass),
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
    async fn wait_for_turn(self: &Arc<Self>, class: Class, until: Option<Instant>) -> Option<Pass> {
        let lane = self.lane(class);
        let _turn = lane.turn.lock().await;
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
                    Ok(pass) => return Some(pass),
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
                Heard::Success | Heard::Refused => breaker.healthy(),
                Heard::Failed | Heard::Unavailable => breaker.troubled(now),
                Heard::TimedOut | Heard::Lost | Heard::NoConnection => breaker.unanswered(now, was_probe),
            }
            match heard {
                Heard::Success | Heard::Refused | Heard::Failed | Heard::Unavailable => breaker.answered(),
                Heard::TimedOut | Heard::Lost | Heard::NoConnection => was_probe,
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
        {
            let mut breaker = lock(&self.breaker);
            breaker.troubled(now);
            breaker.answered();
        }
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

    /// How long there has been trouble without a success of any class; zero after a success.
    pub fn outage(&self) -> Duration {
        lock(&self.breaker).outage(Instant::now())
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
            turn: tokio::sync::Mutex::new(()),
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
mod tests {
    use futures::FutureExt as _;
    use futures::future::join_all;
    use tokio::time::{advance, sleep, timeout};

    use super::*;

    const WRITE: Class = Class::BatchDetach;
    const READ: Class = Class::ListDesktops;
    /// One start each 600 ms, as `100/min`.
    const PERIOD: Duration = Duration::from_millis(600);

    fn gates(period: Duration, slots: usize) -> (Arc<Gates>, CancellationToken) {
        (Gates::new(|_| Ceiling { period }, slots, 1, false), CancellationToken::new())
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_requests_at_ten_a_second_take_99_9_virtual_seconds() {
        let (gates, stop) = gates(Duration::from_millis(100), 4);
        let start = Instant::now();
        join_all((0..1_000).map(|_| gates.pass(WRITE, &stop).map(drop))).await;
        assert_eq!(start.elapsed(), Duration::from_millis(99_900));
        assert_eq!(gates.counts(), [(WRITE, "started", 1_000)]);
        assert_eq!(gates.counts(), [], "what was told once is not told again");
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_in_the_order_asked_and_classes_do_not_wait_for_each_other() {
        let (gates, stop) = gates(PERIOD, 8);
        let order = Mutex::new(Vec::new());
        join_all((0..6_u8).map(|n| {
            let (gates, stop, order) = (&gates, &stop, &order);
            async move {
                let class = if n < 3 { WRITE } else { READ };
                let pass = gates.pass(class, stop).await.unwrap();
                order.lock().unwrap().push((pass.started(), n));
            }
        }))
        .await;
        let mut order = order.into_inner().unwrap();
        order.sort_by_key(|(at, n)| (*at, *n));
        assert_eq!(order.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [0, 3, 1, 4, 2, 5]);
    }

    #[tokio::test(start_paused = true)]
    async fn p12_a_stop_ends_the_wait_at_once_and_uses_up_no_turn() {
        let (gates, stop) = gates(s(10), 8);
        let start = Instant::now();
        assert!(gates.pass(WRITE, &stop).await.is_some());
        let late = async {
            sleep(s(4)).await;
            stop.cancel();
        };
        let (stopped, ()) = tokio::join!(gates.pass(WRITE, &stop), late);
        assert!(stopped.is_none());
        assert_eq!(start.elapsed(), s(4));
        assert!(gates.pass(WRITE, &stop).await.is_none(), "nor does anything start later");
        assert!(gates.approach(WRITE, &stop).await.is_none());
        assert!(gates.pass(WRITE, &CancellationToken::new()).await.is_some());
        assert_eq!(start.elapsed(), s(10), "the next turn is where it was");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_takes_no_turn_and_no_slot() {
        let (gates, stop) = gates(s(10), 1);
        let start = Instant::now();
        drop(gates.pass(WRITE, &stop).await);
        assert!(timeout(s(3), gates.pass(WRITE, &stop)).await.is_err());
        drop(gates.pass(READ, &stop).await);
        assert_eq!(start.elapsed(), s(3), "the only slot is free");
        assert!(gates.pass(WRITE, &stop).await.is_some());
        assert_eq!(start.elapsed(), s(10));
    }

    #[tokio::test(start_paused = true)]
    async fn slots_bound_what_is_in_flight_over_all_classes() {
        let (gates, stop) = gates(Duration::from_millis(1), 2);
        let (first, _second) = (gates.pass(WRITE, &stop).await, gates.pass(READ, &stop).await);
        let third = gates.pass(Class::ShowJob, &stop);
        tokio::pin!(third);
        assert!(timeout(s(5), &mut third).await.is_err());
        drop(first);
        assert!(third.await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn p08_a_resume_waits_one_period_first() {
        let gates = Gates::new(|_| Ceiling { period: s(7) }, 8, 1, true);
        let start = Instant::now();
        gates.pass(WRITE, &CancellationToken::new()).await;
        assert_eq!(start.elapsed(), s(7));
    }

    #[tokio::test(start_paused = true)]
    async fn p09_a_429_closes_its_class_even_for_those_who_wait_already() {
        let (gates, stop) = gates(PERIOD, 8);
        let mut pass = gates.pass(WRITE, &stop).await.unwrap();
        let waiter = gates.pass(WRITE, &stop);
        tokio::pin!(waiter);
        assert!(waiter.as_mut().now_or_never().is_none());
        let hint = ThrottleHint { retry_after: Some(s(20)), limit: None };
        let (start, closed) = (Instant::now(), gates.throttled(&mut pass, hint));
        assert!(s(20) <= closed && closed <= s(22), "jitter only adds: {closed:?}");
        assert!(gates.pass(READ, &stop).await.is_some(), "other classes go on");
        waiter.await.unwrap();
        assert!(start.elapsed() >= closed && start.elapsed() < closed + s(1));
    }

    #[tokio::test(start_paused = true)]
    async fn p09_requests_sent_before_a_cut_do_not_cut_again() {
        let (gates, stop) = gates(Duration::from_millis(10), 8);
        let mut passes = Vec::new();
        for _ in 0..8 {
            passes.push(gates.pass(WRITE, &stop).await.unwrap());
        }
        gates.throttled(&mut passes[0], ThrottleHint::default());
        let (pace, closed) = (gates.pace(WRITE), gates.closed_for(WRITE));
        for pass in &mut passes[1..4] {
            gates.throttled(pass, ThrottleHint::default());
        }
        for pass in &mut passes[4..] {
            gates.heard(pass, Heard::TimedOut);
        }
        assert_eq!((gates.pace(WRITE).to_bits(), gates.closed_for(WRITE)), (pace.to_bits(), closed));
        assert_eq!(gates.counts(), [(WRITE, "started", 8), (WRITE, "timed_out", 4), (WRITE, "throttled", 4)]);
    }

    #[tokio::test(start_paused = true)]
    async fn p09_without_a_hint_the_gate_closes_for_5_s_doubling_to_60_s_until_a_success() {
        let (gates, stop) = gates(PERIOD, 8);
        let mut closed = Vec::new();
        for n in 0..7 {
            let mut pass = gates.pass(WRITE, &stop).await.unwrap();
            if n == 5 {
                gates.heard(&mut pass, Heard::Success);
            } else {
                closed.push(gates.throttled(&mut pass, ThrottleHint::default()).as_secs_f64());
            }
        }
        for (closed, least) in closed.iter().zip([5.0, 10.0, 20.0, 40.0, 60.0, 5.0]) {
            assert!((least..=least * 1.1).contains(closed), "{closed} for {least}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn p09_an_absurd_wait_is_told_so_that_the_run_can_stop() {
        let (gates, stop) = gates(PERIOD, 8);
        let mut pass = gates.pass(WRITE, &stop).await.unwrap();
        let retry_after = crate::pace::parse_retry_after("1000000000", None);
        assert!(gates.throttled(&mut pass, ThrottleHint { retry_after, limit: None }) > MAX_GATE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_named_limit_sets_the_pace_just_below_it() {
        let (gates, stop) = gates(Duration::from_millis(100), 8);
        let mut pass = gates.pass(WRITE, &stop).await.unwrap();
        let closed = gates.throttled(&mut pass, ThrottleHint { retry_after: None, limit: Some((60, s(60))) });
        assert!((10.0..=11.0).contains(&closed.as_secs_f64()), "a sixth of the window: {closed:?}");
        assert!((gates.pace(WRITE) - 0.9).abs() < 1e-9);
        assert!((gates.pace(READ) - 10.0).abs() < 1e-9, "each class for itself");
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_slows_down_and_the_pace_is_soon_back() {
        let (gates, stop) = gates(Duration::from_millis(100), 8);
        let mut pass = gates.pass(WRITE, &stop).await.unwrap();
        gates.heard(&mut pass, Heard::TimedOut);
        assert!((gates.pace(WRITE) - 7.0).abs() < 1e-9);
        let start = Instant::now();
        while start.elapsed() < s(8) {
            gates.pass(WRITE, &stop).await;
        }
        assert!((gates.pace(WRITE) - 10.0).abs() < 1e-9);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_stops_all_classes_until_one_read_has_an_answer() {
        let (gates, stop) = gates(Duration::from_millis(100), 8);
        for _ in 0..5 {
            let mut pass = gates.pass(WRITE, &stop).await.unwrap();
            gates.heard(&mut pass, Heard::NoConnection);
        }
        assert_eq!(gates.breaker_wait(), Some(s(30)));
        let start = Instant::now();
        let write = gates.pass(WRITE, &stop);
        tokio::pin!(write);
        assert!(timeout(s(60), &mut write).await.is_err(), "a write does not probe");
        let mut probe = gates.pass(READ, &stop).await.unwrap();
        assert!(timeout(s(1), gates.pass(READ, &stop)).await.is_err(), "one probe at a time");
        gates.heard(&mut probe, Heard::Lost);
        drop(probe);
        assert_eq!(gates.breaker_wait(), Some(s(60)));
        let probe = gates.pass(READ, &stop).await.unwrap();
        drop(probe); // given up unheard: the next one may
        let mut probe = gates.pass(READ, &stop).await.unwrap();
        assert_eq!(start.elapsed(), s(121) + Duration::from_millis(100));
        gates.heard(&mut probe, Heard::Success);
        assert!(write.await.is_some());
        assert_eq!((gates.breaker_wait(), gates.outage()), (None, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_timed_from_the_first_trouble() {
        let (gates, stop) = gates(PERIOD, 8);
        let mut pass = gates.pass(READ, &stop).await.unwrap();
        gates.heard(&mut pass, Heard::Failed);
        advance(s(100)).await;
        assert_eq!(gates.outage(), s(100));
    }

    #[tokio::test(start_paused = true)]
    async fn few_callers_come_near_and_none_while_the_class_is_closed() {
        let near = |period| async move {
            let (gates, stop) = gates(period, 64);
            let places: Vec<_> =
                (0..64).filter_map(|_| gates.approach(WRITE, &stop).now_or_never().flatten()).collect();
            places.len()
        };
        assert_eq!(near(PERIOD).await, 2);
        assert_eq!(near(Duration::from_millis(20)).await, 5);

        let (gates, stop) = gates(PERIOD, 8);
        let place = gates.approach(WRITE, &stop).await.unwrap();
        let Turn::Now(mut pass) = gates.pass_from(place, &stop, None).await else { panic!("no turn") };
        let (start, closed) = (Instant::now(), gates.throttled(&mut pass, ThrottleHint::default()));
        assert!(gates.approach(WRITE, &stop).await.is_some());
        assert!(start.elapsed() >= closed);
    }

    #[tokio::test(start_paused = true)]
    async fn p07_a_turn_that_comes_too_late_is_left_to_whoever_comes_next() {
        let (gates, stop) = gates(s(60), 8);
        drop(gates.pass(WRITE, &stop).await);
        let place = gates.approach(WRITE, &stop).await.unwrap();
        let (start, until) = (Instant::now(), Instant::now() + s(10));
        assert!(matches!(gates.pass_from(place, &stop, Some(until)).await, Turn::TooLate));
        assert_eq!(start.elapsed(), s(60), "it is known only when the turn has come");
        let place = gates.approach(WRITE, &stop).await.unwrap();
        let turn = gates.pass_from(place, &stop, Some(Instant::now() + s(10))).await;
        assert!(matches!(turn, Turn::Now(_)));
        assert_eq!(start.elapsed(), s(60), "and is still there a moment later");
    }
}
