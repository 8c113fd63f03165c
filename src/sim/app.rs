//! The service as a whole: what a gateway does first, the work itself, and the log.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use bytes::Bytes;
use http::Method;
use http::request::Parts;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::auth::{self, Doorman};
use super::limiter::{Limiter, throttled};
use super::read::{self, Query};
use super::scenario::{Effect, Fault, Op, OutageKind, Refused, Scenario};
use super::tamper;
use super::transport::{Ending, SimTransport};
use super::world::{Event, World, hash, uuid};
use super::write::Write;
use crate::model::{Bound, DesktopId};

/// Largest body that the gateway takes, in bytes.
const MAX_BODY: usize = 12 << 20;

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

/// What the gateway remembers between requests.
#[derive(Default)]
struct Gateway {
    log: Vec<LogEntry>,
    received: usize,
    limiter: Limiter,
    doorman: Doorman,
    faults: Vec<(Fault, u64)>,
}

/// The service: a world, a scenario, a log.
pub struct App {
    scenario: Scenario,
    epoch: Instant,
    keeps_log: bool,
    world: Mutex<World>,
    gateway: Mutex<Gateway>,
}

/// A request, taken apart.
struct Call {
    op: Op,
    parts: Parts,
    /// The last part of the path, where it is an id.
    id: String,
    project: String,
    query: Query,
    body: Bytes,
}

/// An answer before it goes out.
struct Answered {
    status: u16,
    body: Bytes,
    html: bool,
    headers: Vec<(&'static str, String)>,
}

impl Answered {
    fn json(status: u16, body: &Value) -> Self {
        Self { status, body: body.to_string().into(), html: false, headers: Vec::new() }
    }
}

/// What becomes of a request.
struct Decision {
    ending: Ending,
    answered: Option<Answered>,
    wait: Duration,
    number: Option<usize>,
}

impl App {
    /// The service starts now: the scenario's times count from here.
    pub fn new(world: World, scenario: Scenario) -> Arc<Self> {
        Self::build(world, scenario, true)
    }

    /// The same without a log, for a service that runs for long: nothing grows with the requests.
    pub fn without_log(world: World, scenario: Scenario) -> Arc<Self> {
        Self::build(world, scenario, false)
    }

    fn build(mut world: World, mut scenario: Scenario, keeps_log: bool) -> Arc<Self> {
        world.remembers = keeps_log;
        for of in std::mem::take(&mut scenario.fates) {
            for id in &of.desktops {
                world.doom(id, of.fate.clone());
            }
        }
        world.forget_changes();
        world.physics = scenario.world.clone(); // last: how things stand at the start is seen without a lag
        let faults = std::mem::take(&mut scenario.faults).into_iter().map(|fault| (fault, 0)).collect();
        let gateway = Mutex::new(Gateway { faults, ..Gateway::default() });
        Arc::new(Self { scenario, epoch: Instant::now(), keeps_log, world: Mutex::new(world), gateway })
    }

    /// The world as it is now; the service waits for as long as the guard lives.
    pub fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance(Instant::now());
        world
    }

    fn gateway(&self) -> MutexGuard<'_, Gateway> {
        self.gateway.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every request received so far, in order; one whose connection never came about is none.
    pub fn log(&self) -> Vec<LogEntry> {
        let mut log = self.gateway().log.clone(); // before the world: requests lock in this order, too
        let world = self.world();
        let mut applied: BTreeMap<usize, Vec<(DesktopId, Bound)>> = BTreeMap::new();
        for change in world.changes() {
            if let Some(number) = change.request {
                applied.entry(number).or_default().push((change.desktop.clone(), change.bound.clone()));
            }
        }
        for entry in &mut log {
            entry.applied = applied.remove(&entry.number).unwrap_or_default();
            entry.executed = world.executed.get(&entry.number).copied().unwrap_or_default();
            entry.body_sha256 = hex::encode(Sha256::digest(&entry.body));
        }
        log
    }

    /// One more rule, after those that are there.
    pub fn add_fault(&self, fault: Fault) {
        self.gateway().faults.push((fault, 0));
    }

    /// Takes every rule away.
    pub fn clear_faults(&self) {
        self.gateway().faults.clear();
    }

    /// Calls the service in the caller's own task.
    pub fn transport(self: &Arc<Self>) -> SimTransport {
        SimTransport::new(self.router())
    }

    pub fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/v2/{project_id}/desktops/batch-detach", posting(Op::BatchDetach))
            .route("/v2/{project_id}/desktops/batch-attach", posting(Op::BatchAttach))
            .route("/v2/{project_id}/desktops/detail", getting(Op::ListDesktops))
            .route("/v2/{project_id}/desktops", getting(Op::ListDesktopsShort))
            .route("/v2/{project_id}/desktops/{id}", getting(Op::ShowDesktop))
            .route("/v2/{project_id}/workspace-jobs/{id}", getting(Op::ShowJob))
            .route("/v2/{project_id}/workspace-sub-jobs", getting(Op::ListSubJobs))
            .route("/v2/{project_id}/users", getting(Op::ListUsers))
            .route("/v2/{project_id}/groups", getting(Op::ListGroups))
            .route("/v2/{project_id}/desktop-pools", getting(Op::ListPools))
            .route("/v2/{project_id}/workspaces", getting(Op::ListWorkspaces))
            .route("/v3/auth/tokens", posting(Op::IssueToken))
            .route("/v3/projects", getting(Op::ListProjects))
            .route("/v3/auth/projects", getting(Op::ListProjects))
            .fallback(|State(app): State<Arc<Self>>, request: Request| app.handle(Op::Elsewhere, Vec::new(), request))
            .method_not_allowed_fallback(|State(app): State<Arc<Self>>, request: Request| {
                app.handle(Op::Elsewhere, Vec::new(), request)
            })
            .with_state(Arc::clone(self))
    }

    async fn handle(self: Arc<Self>, op: Op, path: Vec<(String, String)>, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let (body, too_large) = match axum::body::to_bytes(body, MAX_BODY).await {
            Ok(body) => (body, false),
            Err(_) => (Bytes::new(), true),
        };
        let part = |name: &str| path.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        let call = Call {
            op,
            id: part("id").unwrap_or_default(),
            project: part("project_id").unwrap_or_default(),
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            parts,
            body,
        };
        let decision = self.decide(&call, too_large, Instant::now());
        if !decision.wait.is_zero() {
            tokio::time::sleep(decision.wait).await;
        }
        self.respond(decision)
    }

    fn respond(&self, decision: Decision) -> Response {
        let Some(answered) = decision.answered else {
            let mut response = Response::new(Body::empty());
            response.extensions_mut().insert(decision.ending);
            return response;
        };
        let number = decision.number.unwrap_or_default();
        if self.keeps_log
            && let Some(entry) = self.gateway().log.get_mut(number)
        {
            entry.status = Some(answered.status);
        }
        let ahead = Duration::from_secs(self.scenario.clock_ahead_s.unsigned_abs());
        let now = SystemTime::now();
        let clock = if self.scenario.clock_ahead_s < 0 { now.checked_sub(ahead) } else { now.checked_add(ahead) };
        let mut response = Response::builder()
            .status(answered.status)
            .header("Content-Type", if answered.html { "text/html" } else { "application/json" })
            .header("X-Request-Id", request_id(self.scenario.seed, number))
            .header("Date", httpdate::fmt_http_date(clock.unwrap_or(now)));
        for (name, value) in answered.headers {
            response = response.header(name, value);
        }
        // A scenario can ask for a status or a header that HTTP does not have.
        response.body(Body::from(answered.body)).unwrap_or_else(|error| {
            let mut response = Response::new(Body::from(format!("the scenario's answer can't be built: {error}")));
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }

    /// Everything that happens at once: nothing in here waits.
    fn decide(&self, call: &Call, too_large: bool, now: Instant) -> Decision {
        let elapsed = now.saturating_duration_since(self.epoch);
        let ended = |ending| Decision { ending, answered: None, wait: Duration::ZERO, number: None };
        let outage = self.scenario.outages.iter().find(|outage| outage.from <= elapsed && elapsed < outage.until);
        let outage = outage.map(|outage| outage.kind);
        let mut gateway = self.gateway();
        let write = call.op.is_write().then(|| Write::parse(call.op, &call.body));
        let effect = gateway.effect(call, write.as_ref(), self.scenario.seed, elapsed);
        if outage == Some(OutageKind::NotSent) || (outage.is_none() && effect == Some(Effect::NotSent)) {
            return ended(Ending::NotSent);
        }
        let number = gateway.receive(call, self.keeps_log, self.scenario.seed, now);
        let refused = match outage {
            Some(OutageKind::Lost) => return ended(Ending::Cut),
            Some(_) => Some(Refused::new(503, "", "Service Unavailable")),
            None => gateway.refusal(self, call, too_large, now),
        };
        let mut wait = self.scenario.world.latency;
        let answered = match refused {
            Some(refused) => Some(refuse(refused)),
            None => self.answer(&mut gateway, call, write, effect.as_ref(), number, now),
        };
        if let Some(Effect::Delay(by)) = effect {
            wait += by;
        }
        Decision { ending: Ending::Cut, answered, wait, number: Some(number) }
    }

    /// Does what the request asks and what its effect makes of it; `None`: the connection is cut.
    fn answer(
        &self,
        gateway: &mut Gateway,
        call: &Call,
        write: Option<Result<Write, Refused>>,
        effect: Option<&Effect>,
        number: usize,
        now: Instant,
    ) -> Option<Answered> {
        let mut world = self.world();
        let mut work = |most: usize| self.work(gateway, &mut world, call, write.as_ref(), most, number, now);
        let later = |world: &mut World, by: Duration| {
            if let Some(Ok(write)) = &write {
                world.schedule(now + by, Event::Execute { write: Arc::new(write.clone()), request: number });
            }
        };
        match effect {
            None | Some(Effect::Delay(_)) => Some(work(usize::MAX).0),
            Some(Effect::NotSent | Effect::DropBefore) => None,
            Some(Effect::Refuse(refused)) => Some(refuse(refused.clone())),
            Some(Effect::Throttle { limit, window, retry_after }) => {
                Some(refuse(Refused { retry_after: retry_after.clone(), ..throttled(*limit, *window) }))
            }
            Some(Effect::ExecuteThenDrop) => {
                work(usize::MAX);
                None
            }
            Some(Effect::ExecuteThen(refused)) => {
                work(usize::MAX);
                Some(refuse(refused.clone()))
            }
            Some(Effect::HalfThen(refused)) => {
                let desktops =
                    write.as_ref().and_then(|write| write.as_ref().ok()).map_or(0, |write| write.ids().count());
                work(desktops.div_ceil(2));
                Some(refuse(refused.clone()))
            }
            Some(Effect::Late { by, answer }) => {
                later(&mut world, *by);
                answer.clone().map(refuse)
            }
            Some(Effect::Twice { again }) => {
                let answered = work(usize::MAX).0;
                later(&mut world, *again);
                Some(answered)
            }
            Some(Effect::CutJson) => {
                let answered = work(usize::MAX).0;
                Some(Answered { body: tamper::cut(&answered.body), ..answered })
            }
            Some(Effect::Html { status }) => {
                if (200..300).contains(status) {
                    work(usize::MAX);
                }
                Some(Answered { status: *status, body: tamper::HTML.into(), html: true, headers: Vec::new() })
            }
            Some(effect) => {
                let (mut answered, value) = work(usize::MAX);
                if let Some(mut value) = value {
                    tamper::tamper(call.op, effect, &mut value);
                    answered.body = value.to_string().into();
                }
                Some(answered)
            }
        }
    }

    /// The work itself: the answer, and its JSON where it is a success.
    #[expect(clippy::too_many_arguments, reason = "one place that joins all the service has")]
    fn work(
        &self,
        gateway: &mut Gateway,
        world: &mut World,
        call: &Call,
        write: Option<&Result<Write, Refused>>,
        most: usize,
        number: usize,
        now: Instant,
    ) -> (Answered, Option<Value>) {
        let mut headers = Vec::new();
        let mut status = 200;
        let query = &call.query;
        let result = match call.op {
            Op::BatchDetach | Op::BatchAttach => match write {
                Some(Ok(write)) => world.execute(write, most, number, now).map(|(answer, _)| answer),
                Some(Err(refused)) => Err(refused.clone()),
                None => Err(Refused::new(400, "WKS.0001", "The request message input by the interface is empty.")),
            },
            Op::ListDesktops | Op::ListDesktopsShort => {
                world.list_desktops(query, call.op == Op::ListDesktopsShort, now)
            }
            Op::ShowDesktop => world.show_desktop(&call.id, now),
            Op::ShowJob => world.show_job(&call.id, now),
            Op::ListSubJobs => world.list_sub_jobs(query, now),
            Op::ListUsers => world.list_users(query),
            Op::ListGroups => world.list_groups(query),
            Op::ListPools => world.list_pools(query),
            Op::ListWorkspaces => Ok(read::workspaces()),
            Op::ListProjects => Ok(auth::projects(&self.scenario, query.all("name").first().copied())),
            Op::IssueToken => {
                gateway.doorman.issue(&self.scenario, &call.body, &world.make_id(), now).map(|(token, body)| {
                    status = 201;
                    headers.push(("X-Subject-Token", token));
                    body
                })
            }
            Op::Elsewhere => Err(Refused::new(
                404,
                "APIGW.0101",
                "The API does not exist or has not been published in the environment.",
            )),
        };
        match result {
            Ok(value) => (Answered { headers, ..Answered::json(status, &value) }, Some(value)),
            Err(refused) => (refuse(refused), None),
        }
    }
}

fn getting(op: Op) -> MethodRouter<Arc<App>> {
    get(move |State(app): State<Arc<App>>, path: RawPathParams, request: Request| app.handle(op, owned(&path), request))
}

fn posting(op: Op) -> MethodRouter<Arc<App>> {
    post(move |State(app): State<Arc<App>>, path: RawPathParams, request: Request| {
        app.handle(op, owned(&path), request)
    })
}

fn owned(path: &RawPathParams) -> Vec<(String, String)> {
    path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Gateway {
    /// Writes a request into the log and gives it its number.
    fn receive(&mut self, call: &Call, keeps_log: bool, seed: u64, now: Instant) -> usize {
        let number = self.received;
        self.received += 1;
        if keeps_log {
            self.log.push(LogEntry {
                number,
                at: now,
                op: call.op,
                method: call.parts.method.clone(),
                path: call.parts.uri.path().to_owned(),
                query: call.parts.uri.query().unwrap_or_default().to_owned(),
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
    fn effect(
        &mut self,
        call: &Call,
        write: Option<&Result<Write, Refused>>,
        seed: u64,
        elapsed: Duration,
    ) -> Option<Effect> {
        let mut effect = None;
        for (n, (fault, seen)) in self.faults.iter_mut().enumerate() {
            let in_time = fault.from <= elapsed && fault.until.is_none_or(|until| elapsed < until);
            let names = |id: &DesktopId| match write {
                Some(Ok(write)) => write.ids().any(|named| named == id.as_str()),
                _ => call.id == id.as_str() || call.query.all("desktop_id").contains(&id.as_str()),
            };
            let ours = fault.op.is_none_or(|op| op == call.op)
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
        effect
    }

    /// What the gateway refuses before the service sees it.
    fn refusal(&mut self, app: &App, call: &Call, too_large: bool, now: Instant) -> Option<Refused> {
        if too_large {
            return Some(Refused::new(413, "APIGW.0201", "Request entity too large."));
        }
        let is_open = matches!(call.op, Op::IssueToken | Op::Elsewhere);
        if !is_open && let Err(refused) = self.doorman.check(&app.scenario, (&call.parts, &call.body), app.epoch, now) {
            return Some(refused);
        }
        let known =
            app.scenario.project_id.as_ref().is_none_or(|known| *known == call.project || call.project.is_empty());
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
        self.limiter.check(&app.scenario.limits, call.op, app.epoch, now)
    }
}

fn request_id(seed: u64, number: usize) -> String {
    uuid(seed, &format!("request {number}")).replace('-', "")
}

fn refuse(refused: Refused) -> Answered {
    let shaped = || serde_json::json!({"error_code": refused.code, "error_msg": refused.message}).to_string();
    let body = refused.body.clone().unwrap_or_else(shaped);
    let headers = [("Retry-After", refused.retry_after), ("Location", refused.location)];
    let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    Answered { status: refused.status, body: body.into(), html: false, headers }
}
