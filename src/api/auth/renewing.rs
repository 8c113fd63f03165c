//! Credentials that end: renewed before their end, or when told to, by one task for everyone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

/// After a renewal that failed while the old credentials still hold, the next try waits this long.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// Where new credentials come from.
pub trait Source: Send + Sync {
    type Item: Send + Sync;

    /// `Err` says in plain words, without secrets, why there are none.
    fn fetch(&self) -> BoxFuture<'_, Result<Fresh<Self::Item>, String>>;
}

/// Credentials as they came.
pub struct Fresh<T> {
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
}

/// Holds the newest credentials.
///
/// Times are taken on the runtime's clock, from the moment the credentials came: a jump of the wall clock ends nothing.
pub struct Renewing<S: Source> {
    source: S,
    lease: Mutex<Lease<S::Item>>,
    turn: tokio::sync::Mutex<()>,
}

impl<S: Source> Renewing<S> {
    /// Fetches the first ones.
    pub async fn start(source: S) -> Result<Self, String> {
        let fresh = source.fetch().await?;
        Ok(Self { lease: Mutex::new(Lease::new(fresh, 0)), source, turn: tokio::sync::Mutex::new(()) })
    }

    pub fn source(&self) -> &S {
        &self.source
    }

    /// Credentials that hold now, renewed first where their end is near.
    ///
    /// # Errors
    /// Where they have ended and new ones could not be had.
    pub async fn current(&self) -> Result<Arc<S::Item>, String> {
        let due = |lease: &Lease<S::Item>| lease.renew_at.is_some_and(|at| Instant::now() >= at);
        if let Some(item) = self.read(|lease| (!due(lease)).then(|| Arc::clone(&lease.item))) {
            return Ok(item);
        }
        let _turn = self.turn.lock().await;
        if let Some(item) = self.read(|lease| (!due(lease)).then(|| Arc::clone(&lease.item))) {
            return Ok(item); // another task has renewed them meanwhile
        }
        match self.source.fetch().await {
            Ok(fresh) => self.replace(fresh),
            Err(problem) => {
                let still_holds = self.read(|lease| lease.ends_at.is_some_and(|end| Instant::now() < end));
                if !still_holds {
                    return Err(problem);
                }
                tracing::warn!(problem, "the credentials could not be renewed yet; the old ones still hold");
                self.write(|lease| lease.renew_at = Some(Instant::now() + TRY_AGAIN));
            }
        }
        Ok(self.read(|lease| Arc::clone(&lease.item)))
    }

    /// New credentials in any case, as after a refusal. Whoever calls while another renews gets that one's.
    pub async fn renew(&self) -> Result<(), String> {
        let before = self.read(|lease| lease.generation);
        let _turn = self.turn.lock().await;
        if self.read(|lease| lease.generation) == before {
            let fresh = self.source.fetch().await?;
            self.replace(fresh);
        }
        Ok(())
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
    }

    impl Source for Counter {
        type Item = u64;

        fn fetch(&self) -> BoxFuture<'_, Result<Fresh<u64>, String>> {
            Box::pin(async {
                sleep(Duration::from_millis(50)).await;
                let item = self.given.fetch_add(1, Ordering::SeqCst) + 1;
                if item >= self.fails_from {
                    return Err("no more".to_owned());
                }
                Ok(Fresh { item, lifetime: Some(Duration::from_secs(3_600)), ahead: Duration::from_secs(600) })
            })
        }
    }

    async fn counter(fails_from: u64) -> Renewing<Counter> {
        Renewing::start(Counter { given: AtomicU64::new(0), fails_from }).await.unwrap()
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
        assert_eq!(renewing.source().given.load(Ordering::SeqCst), 2, "tried again without waiting");
        advance(Duration::from_secs(600)).await;
        assert_eq!(renewing.current().await.unwrap_err(), "no more");
        assert!(renewing.renew().await.is_err());
    }
}
