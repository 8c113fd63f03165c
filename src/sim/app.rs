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
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::body::Write;
use super::doorman;
use super::gateway::{Call, Ending, Gateway, LogEntry, request_id};
use super::limiter::throttled;
use super::op::{Op, Refused};
use super::query::Query;
use super::read;
use super::scenario::{Effect, Fault, Matching, OutageKind, Scenario};
use super::tamper;
use super::world::{Event, World};
use crate::model::{Bound, DesktopId};

/// Largest body that the gateway takes, in bytes.
const MAX_BODY: usize = 12 << 20;

/// The service: a world, a scenario, a log.
pub struct App {
    scenario: Scenario,
    epoch: Instant,
    keeps_log: bool,
    world: Mutex<World>,
    gateway: Mutex<Gateway>,
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
        let gateway = Mutex::new(Gateway::new(std::mem::take(&mut scenario.faults)));
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

    /// How many requests were received so far: the number of the next one.
    pub fn received(&self) -> usize {
        self.gateway().received()
    }

    /// One more rule, after those that are there.
    pub fn add_fault(&self, fault: Fault) {
        self.gateway().faults.push((fault, 0));
    }

    /// The effects that hit a request so far, each once.
    pub fn effects_met(&self) -> Vec<Effect> {
        self.gateway().met.clone()
    }

    /// Takes every rule away.
    pub fn clear_faults(&self) {
        self.gateway().faults.clear();
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
            .route("/v2/{project_id}/groups/{id}/users", getting(Op::ListGroupUsers))
            .route("/v2/{project_id}/desktop-pools", getting(Op::ListPools))
            .route("/v2/{project_id}/desktop-pools/{id}/users", getting(Op::ListPoolUsers))
            .route("/v2/{project_id}/workspaces", getting(Op::ListWorkspaces))
            .route("/v3/auth/tokens", posting(Op::IssueToken))
            .route("/v3.0/OS-CREDENTIAL/securitytokens", posting(Op::IssueKey))
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
        let mut call = Call {
            op,
            id: part("id").unwrap_or_default(),
            project: part("project_id").unwrap_or_default(),
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            write: op.is_write().then(|| Write::parse(op, &body)),
            now: Instant::now(),
            parts,
            body,
        };
        if self.scenario.world.matching == Matching::AnyCase {
            let world = self.world();
            call.respell(|id| world.spelled(id));
        }
        let decision = self.decide(&call, too_large);
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
        let ahead = Duration::from_secs(self.scenario.clock_ahead_s.unsigned_abs().min(315_360_000)); // a date must have 4 digits
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
    fn decide(&self, call: &Call, too_large: bool) -> Decision {
        let elapsed = call.now.saturating_duration_since(self.epoch);
        let ended = |ending| Decision { ending, answered: None, wait: Duration::ZERO, number: None };
        let outage = self.scenario.outages.iter().find(|outage| outage.from <= elapsed && elapsed < outage.until);
        let outage = outage.map(|outage| outage.kind);
        let mut gateway = self.gateway();
        let effect = gateway.effect(call, self.scenario.seed, elapsed);
        if outage == Some(OutageKind::NotSent) || (outage.is_none() && effect == Some(Effect::NotSent)) {
            return ended(Ending::NotSent);
        }
        let number = gateway.receive(call, self.keeps_log, self.scenario.seed);
        let refused = match outage {
            Some(OutageKind::Lost) => return ended(Ending::Cut),
            Some(_) => Some(Refused::new(503, "", "Service Unavailable")),
            None => gateway.refusal(&self.scenario, self.epoch, call, too_large),
        };
        let mut wait = self.scenario.world.latency;
        let answered = match refused {
            Some(refused) => Some(self.refuse(refused, number)),
            None => self.answer(&mut gateway, call, effect.as_ref(), number),
        };
        if let Some(Effect::Delay(by)) = effect {
            wait += by;
        }
        Decision { ending: Ending::Cut, answered, wait, number: Some(number) }
    }

    /// Does what the request asks and what its effect makes of it; `None`: the connection is cut.
    fn answer(&self, gateway: &mut Gateway, call: &Call, effect: Option<&Effect>, number: usize) -> Option<Answered> {
        let mut world = self.world();
        let unfiltered = (effect == Some(&Effect::IgnoreFilter)).then(|| call.query.unfiltered());
        let query = unfiltered.as_ref().unwrap_or(&call.query);
        let mut work = |world: &mut World, most: usize| self.work(gateway, world, call, query, most, number);
        let later = |world: &mut World, by: Duration| {
            if let Some(write) = call.good_write() {
                let write = Arc::new(write.clone());
                world.schedule(call.now + by, Event::Execute { write, request: number });
            }
        };
        match effect {
            None | Some(Effect::Delay(_)) => Some(work(&mut world, usize::MAX).0),
            Some(Effect::NotSent | Effect::DropBefore) => None,
            Some(Effect::Refuse(refused)) => Some(self.refuse(refused.clone(), number)),
            Some(Effect::Throttle { limit, window, retry_after }) => {
                let refused = Refused { retry_after: retry_after.clone(), ..throttled(*limit, *window) };
                Some(self.refuse(refused, number))
            }
            Some(Effect::ExecuteThenDrop) => {
                work(&mut world, usize::MAX);
                None
            }
            Some(Effect::ExecuteThen(refused)) => {
                work(&mut world, usize::MAX);
                Some(self.refuse(refused.clone(), number))
            }
            Some(Effect::HalfThen(refused)) => {
                let desktops = call.good_write().map_or(0, |write| write.ids().count());
                work(&mut world, desktops.div_ceil(2));
                Some(self.refuse(refused.clone(), number))
            }
            Some(Effect::Late { by, answer }) => {
                later(&mut world, *by);
                answer.clone().map(|refused| self.refuse(refused, number))
            }
            Some(Effect::Twice { again }) => {
                let (answered, done) = work(&mut world, usize::MAX);
                if done.is_some() {
                    later(&mut world, *again); // what was refused is not done later either
                }
                Some(answered)
            }
            Some(Effect::CutJson) => {
                let answered = work(&mut world, usize::MAX).0;
                Some(Answered { body: tamper::cut(&answered.body), ..answered })
            }
            Some(Effect::Html { status }) => {
                if (200..300).contains(status) {
                    work(&mut world, usize::MAX);
                }
                Some(Answered { status: *status, body: tamper::HTML.into(), html: true, headers: Vec::new() })
            }
            Some(Effect::ShiftedPage) if call.query.offset() > 0 => {
                let query = call.query.shifted();
                let (mut answered, value) = self.work(gateway, &mut world, call, &query, usize::MAX, number);
                if let Some(mut value) = value {
                    tamper::tamper(call.op, &Effect::ClaimedTotal(-1), &mut value);
                    answered.body = value.to_string().into();
                }
                Some(answered)
            }
            Some(effect) => {
                let (mut answered, value) = work(&mut world, usize::MAX);
                if let Some(mut value) = value {
                    tamper::tamper(call.op, effect, &mut value);
                    answered.body = value.to_string().into();
                }
                Some(answered)
            }
        }
    }

    fn refuse(&self, refused: Refused, number: usize) -> Answered {
        let shaped = || {
            let mut body = serde_json::json!({"error_code": refused.code, "error_msg": refused.message});
            if refused.code.starts_with("APIGW.") {
                body["request_id"] = request_id(self.scenario.seed, number).into(); // the gateway says it twice
            }
            body.to_string()
        };
        let body = refused.body.clone().unwrap_or_else(shaped);
        let headers = [("Retry-After", refused.retry_after), ("Location", refused.location.map(String::from))];
        let headers = headers.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        Answered { status: refused.status, body: body.into(), html: false, headers }
    }

    /// The work itself: the answer, and its JSON where it is a success.
    fn work(
        &self,
        gateway: &mut Gateway,
        world: &mut World,
        call: &Call,
        query: &Query,
        most: usize,
        number: usize,
    ) -> (Answered, Option<Value>) {
        let now = call.now;
        let mut headers = Vec::new();
        let mut status = 200;
        let result = match call.op {
            Op::BatchDetach | Op::BatchAttach => match &call.write {
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
            Op::ListGroupUsers => world.list_group_users(&call.id, query),
            Op::ListPools => world.list_pools(query),
            Op::ListPoolUsers => world.list_pool_users(&call.id, query),
            Op::ListWorkspaces => Ok(read::workspaces()),
            Op::ListProjects => Ok(doorman::projects(&self.scenario, query.all("name").first().copied())),
            Op::IssueToken => {
                gateway.doorman.issue(&self.scenario, &call.body, &world.make_id(), now).map(|(token, body)| {
                    status = 201;
                    headers.push(("X-Subject-Token", token));
                    body
                })
            }
            Op::IssueKey => {
                status = 201;
                gateway.doorman.issue_key(&self.scenario, &call.body, &world.make_id(), now)
            }
            Op::Elsewhere => Err(Refused::new(
                404,
                "APIGW.0101",
                "The API does not exist or has not been published in the environment.",
            )),
        };
        match result {
            Ok(value) => (Answered { headers, ..Answered::json(status, &value) }, Some(value)),
            Err(refused) => (self.refuse(refused, number), None),
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

#[cfg(test)]
mod tests;
