//! What stands before the service: the log, the rules of a scenario, credentials and limits.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::request::Parts;
use tokio::time::Instant;

use super::body::Write;
use super::doorman::Doorman;
use super::limiter::Limiter;
use super::op::{Op, Refused};
use super::query::Query;
use super::scenario::{Effect, Fault, Scenario};
use super::signature::access_key;
use super::world::Executed;
use super::world::{hash, uuid};
use crate::model::{Bound, DesktopId};

/// One request that the service received, and what it did about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// From 0, in the order they came.
    pub number: usize,
    pub at: Instant,
    pub op: Op,
    pub method: Method,
    pub path: String,
    pub query: String,
    /// The access key that it names as its signer.
    pub access_key: Option<String>,
    pub body: Bytes,
    /// In hexadecimal.
    pub body_sha256: String,
    /// `X-Request-Id` of the answer.
    pub request_id: String,
    /// `None` while it is not answered, and where the answer never went out.
    pub status: Option<u16>,
    /// Up to now: it may be done later, or twice.
    pub executed: Executed,
    /// The bindings that went (detach) or came (attach) because of it, up to now.
    pub applied: Vec<(DesktopId, Bound)>,
}

/// A mark on a response that must not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The connection never came about.
    NotSent,
    /// The connection is cut.
    Cut,
}

/// What the gateway remembers between requests.
#[derive(Default)]
pub(super) struct Gateway {
    pub(super) log: Vec<LogEntry>,
    received: usize,
    limiter: Limiter,
    pub(super) doorman: Doorman,
    pub(super) faults: Vec<(Fault, u64)>,
    /// The effects that hit a request, each once.
    pub(super) met: Vec<Effect>,
}

/// A request, taken apart.
pub(super) struct Call {
    pub(super) op: Op,
    pub(super) parts: Parts,
    /// The last part of the path, where it is an id.
    pub(super) id: String,
    pub(super) project: String,
    pub(super) query: Query,
    pub(super) body: Bytes,
    /// The body of a write, or why it is none.
    pub(super) write: Option<Result<Write, Refused>>,
    pub(super) now: Instant,
}

impl Call {
    /// Gives every id in it the spelling that `spelled` has for it.
    pub(super) fn respell<'w>(&mut self, spelled: impl Fn(&str) -> Option<&'w str>) {
        let respell = |id: &mut String| {
            if let Some(ours) = spelled(id) {
                ours.clone_into(id);
            }
        };
        respell(&mut self.id);
        self.query.0.iter_mut().filter(|(name, _)| name == "desktop_id").for_each(|(_, id)| respell(id));
        if let Some(Ok(write)) = &mut self.write {
            write.ids_mut().for_each(respell);
        }
    }

    /// The body of a write that is well-formed.
    pub(super) fn good_write(&self) -> Option<&Write> {
        self.write.as_ref()?.as_ref().ok()
    }
}

impl Gateway {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self { faults: faults.into_iter().map(|fault| (fault, 0)).collect(), ..Self::default() }
    }

    pub(super) fn received(&self) -> usize {
        self.received
    }

    /// Writes a request into the log and gives it its number.
    pub(super) fn receive(&mut self, call: &Call, keeps_log: bool, seed: u64) -> usize {
        let number = self.received;
        self.received += 1;
        if keeps_log {
            self.log.push(LogEntry {
                number,
                at: call.now,
                op: call.op,
                method: call.parts.method.clone(),
                path: call.parts.uri.path().to_owned(),
                query: call.parts.uri.query().unwrap_or_default().to_owned(),
                access_key: access_key(&call.parts).map(str::to_owned),
                body: call.body.clone(),
                body_sha256: String::new(),
                request_id: request_id(seed, number),
                status: None,
                executed: Executed::None,
                applied: Vec::new(),
            });
        }
        number
    }

    /// The first rule that hits this request; every rule counts it.
    pub(super) fn effect(&mut self, call: &Call, seed: u64, elapsed: Duration) -> Option<Effect> {
        let mut effect = None;
        for (n, (fault, seen)) in self.faults.iter_mut().enumerate() {
            let in_time = fault.from <= elapsed && fault.until.is_none_or(|until| elapsed < until);
            let names = |id: &DesktopId| match call.good_write() {
                Some(write) => write.ids().any(|named| named == id.as_str()),
                None => call.id == id.as_str() || call.query.all("desktop_id").contains(&id.as_str()),
            };
            let query = call.parts.uri.query().map_or(0, str::len);
            let ours = fault.op.is_none_or(|op| op == call.op)
                && fault.query_over.is_none_or(|bytes| query > bytes)
                && (fault.desktops.is_empty() || fault.desktops.iter().any(names));
            if !ours || !in_time {
                continue;
            }
            let ordinal = *seen;
            *seen += 1;
            let in_range = ordinal >= fault.after && fault.count.is_none_or(|count| ordinal - fault.after < count);
            let mut rng = fastrand::Rng::with_seed(hash(seed, &format!("fault {n} {ordinal}")));
            if effect.is_none() && in_range && rng.f64() < fault.probability {
                effect = Some(fault.effect.clone());
            }
        }
        self.met.extend(effect.clone().filter(|effect| !self.met.contains(effect)));
        effect
    }

    /// What the gateway refuses before the service sees it.
    pub(super) fn refusal(
        &mut self,
        scenario: &Scenario,
        epoch: Instant,
        call: &Call,
        too_large: bool,
    ) -> Option<Refused> {
        if too_large {
            return Some(Refused::new(413, "APIGW.0201", "Request entity too large."));
        }
        let is_open = matches!(call.op, Op::IssueToken | Op::Elsewhere);
        if !is_open && let Err(refused) = self.doorman.check(scenario, (&call.parts, &call.body), epoch, call.now) {
            return Some(refused);
        }
        let known = scenario.project_id.as_ref().is_none_or(|known| *known == call.project || call.project.is_empty());
        if !known {
            return Some(Refused::new(403, "APIGW.0310", "The project is unavailable."));
        }
        let json = call.parts.headers.get("Content-Type").and_then(|value| value.to_str().ok());
        if call.op.is_write() && !json.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/json")) {
            return Some(Refused::new(
                400,
                "APIGW.0106",
                "Orchestration error: Content-Type must be application/json.",
            ));
        }
        self.limiter.check(&scenario.limits, call.op, epoch, call.now)
    }
}

pub(super) fn request_id(seed: u64, number: usize) -> String {
    uuid(seed, &format!("request {number}")).replace('-', "")
}
