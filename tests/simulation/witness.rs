//! What stands between the engine and its simulated surroundings: it counts events, lets the process die at one of them,
//! and remembers in which order records became durable and requests left.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use batch_detach::testing::api::auth::Authenticator;
use batch_detach::testing::api::{Reply, Transport};
use batch_detach::testing::journal::{Journal, JournalError, MemoryJournal, OpenItem, Recheck, Record, Resume};
use batch_detach::testing::pace::parse_retry_after;
use batch_detach::testing::sim::{App, SimTransport};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::poll;
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::history::{Replied, Stamped};

/// The longest that a request may take; the HTTP client of the real program keeps it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(75);
/// More events than any run needs: something goes round in circles.
const MAX_EVENTS: u64 = 200_000;

/// See the module.
pub(crate) struct Witness {
    app: Arc<App>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    journal: Option<MemoryJournal>,
    stamped: Vec<Stamped>,
    /// By request number: the durable records as it left, and what came back.
    requests: Vec<(usize, Option<Replied>)>,
    /// Events of this process, and the one at which it dies.
    events: u64,
    crash_at: Option<u64>,
    crashed: CancellationToken,
    broken: Vec<String>,
}

impl Witness {
    pub(crate) fn new(app: Arc<App>) -> Arc<Self> {
        Arc::new(Self { app, inner: Mutex::default() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A process begins; it dies at its event number `crash_at`, if it comes to that.
    pub(crate) fn begin(&self, crash_at: Option<u64>) -> CancellationToken {
        let mut inner = self.inner();
        inner.events = 0;
        inner.crash_at = crash_at;
        inner.crashed = CancellationToken::new();
        inner.crashed.clone()
    }

    pub(crate) fn keep(&self, journal: &MemoryJournal) {
        self.inner().journal = Some(journal.clone());
    }

    /// Everything in the process stands still from now on.
    pub(crate) fn kill(&self) {
        self.inner().crashed.cancel();
    }

    /// Takes note of what has become durable.
    pub(crate) fn sync(&self) {
        let mut inner = self.inner();
        let Some(journal) = &inner.journal else { return };
        let more = journal.records_since(inner.stamped.len());
        let at = Instant::now();
        inner.stamped.extend(more.into_iter().map(|record| Stamped { at, record }));
    }

    pub(crate) fn stamped(&self) -> Vec<Stamped> {
        self.inner().stamped.clone()
    }

    pub(crate) fn requests(&self) -> Vec<(usize, Option<Replied>)> {
        self.inner().requests.clone()
    }

    /// What was seen that must never happen, whatever the history.
    pub(crate) fn broken(&self) -> Vec<String> {
        self.inner().broken.clone()
    }

    /// One event. Pending for good where the process is dead, or dies at this one.
    async fn event(&self) {
        let dead = {
            let mut inner = self.inner();
            inner.events += 1;
            if inner.events == MAX_EVENTS {
                inner.broken.push(format!("{MAX_EVENTS} events in one process, and no end"));
            }
            if inner.crash_at == Some(inner.events) || inner.events >= MAX_EVENTS {
                inner.crashed.cancel();
            }
            inner.crashed.is_cancelled()
        };
        if dead {
            std::future::pending::<()>().await;
        }
    }

    /// A request leaves. Returns how many records are durable as it does.
    fn leaves(&self, request: &http::Request<Bytes>) -> usize {
        let is_write = request.uri().path().contains("/desktops/batch-");
        let mut inner = self.inner();
        let Some(journal) = inner.journal.clone() else { return 0 };
        if is_write && journal.has_failed() {
            inner.broken.push("P13: a write left after the journal had failed".to_owned());
        }
        journal.len()
    }

    fn received(&self, number: usize, durable: usize) {
        let mut inner = self.inner();
        inner.requests.resize(number + 1, (0, None));
        inner.requests[number] = (durable, None);
    }

    fn replied(&self, number: usize, reply: &Reply) {
        let Reply::Answer(answer) = reply else { return };
        let wait = answer.retry_after.as_deref().and_then(|value| parse_retry_after(value, answer.date.as_deref()));
        let replied = Replied { at: Instant::now(), status: answer.status, retry_after: wait };
        self.inner().requests[number].1 = Some(replied);
    }
}

/// A journal whose commits are events: one as it is asked for, one as it is durable and nobody knows.
pub(crate) struct WitnessJournal {
    pub(crate) witness: Arc<Witness>,
    pub(crate) journal: MemoryJournal,
}

impl Journal for WitnessJournal {
    fn commit(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(async move {
            let mut commit = pin!(self.journal.commit(records));
            // On its way to the disk before the event, so that a crash may keep it or lose it.
            let first = poll!(&mut commit);
            self.witness.event().await;
            let result = match first {
                Poll::Ready(result) => result,
                Poll::Pending => commit.await,
            };
            self.witness.sync();
            self.witness.event().await;
            result
        })
    }

    fn has_failed(&self) -> bool {
        self.journal.has_failed()
    }

    fn resume(&self) -> BoxFuture<'_, Result<Resume, JournalError>> {
        self.journal.resume()
    }

    fn chunk(&self, number: u32) -> BoxFuture<'_, Result<Vec<OpenItem>, JournalError>> {
        self.journal.chunk(number)
    }

    fn rechecks(&self) -> BoxFuture<'_, Result<Vec<Recheck>, JournalError>> {
        self.journal.rechecks()
    }
}

/// A service behind a balancer that answers one request of each connection and drops the next one unread, and the HTTP
/// client in front of it, which keeps connections, and none for a while after a loss.
pub(crate) struct OneAnswerEach {
    service: SimTransport,
    /// Connections that have had their answer, and requests that are still to take one of their own.
    kept: Mutex<(u32, u32)>,
    dropped: AtomicUsize,
}

impl OneAnswerEach {
    /// As the real client has it.
    const FRESH_AFTER_LOSS: u32 = 20;

    pub(crate) fn new(service: SimTransport) -> Arc<Self> {
        Arc::new(Self { service, kept: Mutex::default(), dropped: AtomicUsize::new(0) })
    }

    /// How many requests were dropped.
    pub(crate) fn dropped(&self) -> usize {
        self.dropped.load(Ordering::Relaxed)
    }

    fn kept(&self) -> MutexGuard<'_, (u32, u32)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for OneAnswerEach {
    fn call(&self, request: http::Request<Bytes>, max_answer: usize) -> BoxFuture<'_, Reply> {
        let is_fresh = {
            let mut kept = self.kept();
            let (used, fresh) = &mut *kept;
            if *fresh > 0 {
                *fresh -= 1;
                true
            } else if *used > 0 {
                *kept = (*used - 1, Self::FRESH_AFTER_LOSS);
                self.dropped.fetch_add(1, Ordering::Relaxed);
                let lost = Reply::Lost { cause: "the balancer dropped the connection".to_owned() };
                return Box::pin(std::future::ready(lost));
            } else {
                false
            }
        };
        Box::pin(async move {
            let reply = self.service.call(request, max_answer).await;
            let mut kept = self.kept();
            match reply {
                Reply::Lost { .. } => kept.1 = Self::FRESH_AFTER_LOSS,
                _ => kept.0 += u32::from(!is_fresh),
            }
            reply
        })
    }
}

/// A connection whose requests are three events each: it leaves, it was received, its answer is here.
pub(crate) struct WitnessTransport {
    pub(crate) witness: Arc<Witness>,
    pub(crate) service: Arc<dyn Transport>,
}

impl Transport for WitnessTransport {
    fn call(&self, request: http::Request<Bytes>, max_answer: usize) -> BoxFuture<'_, Reply> {
        Box::pin(async move {
            let (witness, app) = (&self.witness, &self.witness.app);
            witness.event().await;
            let durable = witness.leaves(&request);
            let number = app.received();
            let mut call = pin!(timeout(REQUEST_TIMEOUT, self.service.call(request, max_answer)));
            // The service takes a request in as soon as it is asked, and answers later.
            let first = poll!(&mut call);
            let was_received = app.received() > number;
            if was_received {
                witness.received(number, durable);
            }
            witness.event().await;
            let reply = match first {
                Poll::Ready(reply) => reply,
                Poll::Pending => call.await,
            };
            let reply = reply.unwrap_or_else(|_| Reply::Lost { cause: "no answer in time".to_owned() });
            witness.event().await;
            if was_received {
                witness.replied(number, &reply);
            }
            reply
        })
    }
}

/// Credentials that end, and that the simulated IAM renews.
pub(crate) struct Tokens {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) token: Mutex<String>,
    /// Whether a renewal is refused.
    pub(crate) spent: bool,
}

impl Authenticator for Tokens {
    fn authorize<'a>(&'a self, request: &'a mut http::Request<Bytes>) -> BoxFuture<'a, Result<(), String>> {
        let token = self
            .token
            .lock()
            .map_err(|_| "poisoned".to_owned())
            .and_then(|token| http::HeaderValue::from_str(&token).map_err(|error| error.to_string()));
        let result = token.map(|token| {
            request.headers_mut().insert("X-Auth-Token", token);
        });
        Box::pin(std::future::ready(result))
    }

    fn renew(&self) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(async move {
            if self.spent {
                return Ok(false);
            }
            let user = serde_json::json!({"name": "ops", "password": "secret", "domain": {"name": "acme"}});
            let body = serde_json::json!({"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}});
            let request = http::Request::post("http://sim/v3/auth/tokens").body(Bytes::from(body.to_string()));
            let request = request.map_err(|error| error.to_string())?;
            match self.transport.call(request, 1 << 20).await {
                Reply::Answer(answer) => match (answer.subject_token, self.token.lock()) {
                    (Some(fresh), Ok(mut token)) => {
                        fresh.0.expose_secret().clone_into(&mut token);
                        Ok(true)
                    }
                    _ => Err(format!("status {}", answer.status)),
                },
                Reply::NotSent { cause } | Reply::Lost { cause } => Err(cause),
            }
        })
    }

    fn describe(&self) -> String {
        "a token of the simulation".to_owned()
    }
}
