//! Credentials that end: renewed before their end, or when told to, by one task for everyone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

/// After a renewal that failed while the old credentials still hold, the next try waits this long.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// After a renewal that failed with nothing left to hold on to, others get its failure for so long.
const SAME_FAILURE: Duration = Duration::from_secs(5);

/// Where new credentials come from.
pub(crate) trait Source: Send + Sync {
    type Item: Send + Sync;

    fn fetch(&self) -> BoxFuture<'_, Result<Fresh<Self::Item>, Failure>>;
}

impl<S: Source + ?Sized> Source for Box<S> {
    type Item = S::Item;

    fn fetch(&self) -> BoxFuture<'_, Result<Fresh<Self::Item>, Failure>> {
        self.as_ref().fetch()
    }
}

/// Why there are no credentials, in plain words, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Asking again would be refused again, and in the end lock the user out.
    Refused(String),
    /// May pass.
    Unavailable(String),
}

impl Failure {
    pub(crate) fn into_words(self) -> String {
        match self {
            Self::Refused(words) | Self::Unavailable(words) => words,
        }
    }
}

/// Credentials as they came.
pub(crate) struct Fresh<T> {
    pub item: T,
    /// How long they hold; `None` where nobody said.
    pub lifetime: Option<Duration>,
    /// How long before their end they are renewed.
    pub ahead: Duration,
}

struct Lease<T> {
    item: Arc<T>,
    /// Counts the renewals, so that whoever waited for one does not start another.
    generation: u64,
    renew_at: Option<Instant>,
    ends_at: Option<Instant>,
    /// Of the latest try to renew these, and its time.
    failed: Option<(Instant, Failure)>,
}

/// Holds the newest credentials.
///
/// Times are taken on the runtime's clock, from the moment the credentials came: a jump of the wall clock ends nothing.
pub(crate) struct Renewing<S: Source> {
    source: S,
    lease: Mutex<Lease<S::Item>>,
    turn: tokio::sync::Mutex<()>,
}

impl<S: Source> Renewing<S> {
    /// Fetches the first ones.
    pub(crate) async fn start(source: S) -> Result<Self, String> {
        let fresh = source.fetch().await.map_err(Failure::into_words)?;
        Ok(Self { lease: Mutex::new(Lease::new(fresh, 0)), source, turn: tokio::sync::Mutex::new(()) })
    }

    /// Credentials that hold now, renewed first where their end is near.
    ///
    /// # Errors
    /// Where they have ended and new ones could not be had.
    pub(crate) async fn current(&self) -> Result<Arc<S::Item>, String> {
        let due = |lease: &Lease<S::Item>| lease.renew_at.is_some_and(|at| Instant::now() >= at);
        if let Some(item) = self.read(|lease| (!due(lease)).then(|| Arc::clone(&lease.item))) {
            return Ok(item);
        }
        let _turn = self.turn.lock().await;
        if let Some(item) = self.read(|lease| (!due(lease)).then(|| Arc::clone(&lease.item))) {
            return Ok(item); // another task has renewed them meanwhile
        }
        if let Err(failure) = self.fetch().await {
            let still_holds = self.read(|lease| lease.ends_at.is_some_and(|end| Instant::now() < end));
            if !still_holds {
                return Err(failure.into_words());
            }
            tracing::warn!(
                problem = failure.into_words(),
                "the credentials can't be renewed yet; the old ones still hold"
            );
            self.write(|lease| lease.renew_at = Some(Instant::now() + TRY_AGAIN));
        }
        Ok(self.read(|lease| Arc::clone(&lease.item)))
    }

    /// New credentials in any case, as after a refusal. Whoever calls while another renews gets that one's.
    pub(crate) async fn renew(&self) -> Result<(), String> {
        let before = self.read(|lease| lease.generation);
        let _turn = self.turn.lock().await;
        if self.read(|lease| lease.generation) == before {
            self.fetch().await.map_err(Failure::into_words)?;
        }
        Ok(())
    }

    /// Called by whoever has the turn. What was refused once is not asked again (P11), and what failed a moment ago not
    /// at once by everyone who waited.
    async fn fetch(&self) -> Result<(), Failure> {
        let known = self.read(|lease| match &lease.failed {
            Some((_, failure @ Failure::Refused(_))) => Some(failure.clone()),
            Some((at, failure)) if at.elapsed() < SAME_FAILURE => Some(failure.clone()),
            _ => None,
        });
        if let Some(failure) = known {
            return Err(failure);
        }
        match self.source.fetch().await {
            Ok(fresh) => {
                self.replace(fresh);
                Ok(())
            }
            Err(failure) => {
                self.write(|lease| lease.failed = Some((Instant::now(), failure.clone())));
                Err(failure)
            }
        }
    }

    fn replace(&self, fresh: Fresh<S::Item>) {
        self.write(|lease| *lease = Lease::new(fresh, lease.generation + 1));
    }

    fn read<T>(&self, look: impl FnOnce(&Lease<S::Item>) -> T) -> T {
        look(&self.lease.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Lease<S::Item>)) {
        change(&mut self.lease.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl<T> Lease<T> {
    fn new(fresh: Fresh<T>, generation: u64) -> Self {
        let now = Instant::now();
        // Credentials that are short-lived are not renewed all the time: half of their life is used at least.
        let renew_in = fresh.lifetime.map(|life| life.saturating_sub(fresh.ahead).max(life / 2));
        Self {
            item: Arc::new(fresh.item),
            generation,
            renew_at: renew_in.and_then(|time| now.checked_add(time)),
            ends_at: fresh.lifetime.and_then(|time| now.checked_add(time)),
            failed: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::future::join_all;
    use tokio::time::{advance, sleep};

    use super::*;

    /// Gives 1, 2, 3, …, each holding for an hour; fails from `fails_from` on.
    struct Counter {
        given: AtomicU64,
        fails_from: u64,
        refused: bool,
    }

    impl Source for Counter {
        type Item = u64;

        fn fetch(&self) -> BoxFuture<'_, Result<Fresh<u64>, Failure>> {
            Box::pin(async {
                sleep(Duration::from_millis(50)).await;
                let item = self.given.fetch_add(1, Ordering::SeqCst) + 1;
                if item >= self.fails_from {
                    let words = "no more".to_owned();
                    return Err(if self.refused { Failure::Refused(words) } else { Failure::Unavailable(words) });
                }
                Ok(Fresh { item, lifetime: Some(Duration::from_secs(3_600)), ahead: Duration::from_secs(600) })
            })
        }
    }

    async fn counter(fails_from: u64) -> Renewing<Counter> {
        Renewing::start(Counter { given: AtomicU64::new(0), fails_from, refused: false }).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn p11_eight_tasks_that_were_refused_renew_once() {
        let renewing = counter(u64::MAX).await;
        assert!(join_all((0..8).map(|_| renewing.renew())).await.iter().all(Result::is_ok));
        assert_eq!(*renewing.current().await.unwrap(), 2);
        renewing.renew().await.unwrap();
        assert_eq!(*renewing.current().await.unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_forestalled_by_one_task_for_everyone() {
        let renewing = counter(u64::MAX).await;
        advance(Duration::from_secs(2_990)).await;
        assert_eq!(*renewing.current().await.unwrap(), 1);
        advance(Duration::from_secs(20)).await;
        let all = join_all((0..8).map(|_| renewing.current())).await;
        assert!(all.into_iter().all(|item| *item.unwrap() == 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewal_that_fails_early_leaves_the_old_ones_to_their_end() {
        let renewing = counter(2).await;
        advance(Duration::from_secs(3_010)).await;
        assert_eq!(*renewing.current().await.unwrap(), 1);
        assert_eq!(*renewing.current().await.unwrap(), 1);
        assert_eq!(renewing.source.given.load(Ordering::SeqCst), 2, "tried again without waiting");
        advance(Duration::from_secs(600)).await;
        assert_eq!(renewing.current().await.unwrap_err(), "no more");
        assert!(renewing.renew().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn p11_what_was_refused_once_is_not_asked_again() {
        let renewing =
            Renewing::start(Counter { given: AtomicU64::new(0), fails_from: 2, refused: true }).await.unwrap();
        advance(Duration::from_secs(3_700)).await;
        for _ in 0..8 {
            assert_eq!(renewing.current().await.unwrap_err(), "no more");
            assert!(renewing.renew().await.is_err());
            advance(Duration::from_secs(60)).await;
        }
        assert_eq!(renewing.source.given.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_shared_by_all_who_waited_for_it() {
        let renewing = counter(2).await;
        advance(Duration::from_secs(3_700)).await;
        assert!(join_all((0..8).map(|_| renewing.current())).await.iter().all(Result::is_err));
        assert_eq!(renewing.source.given.load(Ordering::SeqCst), 2);
    }
}
