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
mod tests {
    use serde_json::json;
    use tokio::time::sleep;

    use super::super::testing::{app, call, detach, id, names, read, world};
    use super::super::{Executed, Fate, Limit};
    use super::*;

    /// An app whose only rule hits the first batch-detach.
    fn hit_once(desktops: usize, effect: Effect) -> Arc<App> {
        let scenario = Scenario { faults: vec![Fault::new(Op::BatchDetach, effect).count(1)], ..Scenario::default() };
        App::new(world(desktops, 1), scenario)
    }

    fn gateway_timeout() -> Refused {
        Refused::new(504, "APIGW.0201", "Backend timeout.")
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lost_was_done_or_not_as_the_rule_says() {
        let cases = [
            (Effect::NotSent, json!("not sent"), 2, 0),
            (Effect::DropBefore, json!("lost"), 2, 1),
            (Effect::ExecuteThenDrop, json!("lost"), 0, 1),
        ];
        for (effect, reply, left, received) in cases {
            let app = hit_once(2, effect);
            assert_eq!(detach(&app, &["d-0", "d-1"]).await, (0, reply));
            assert_eq!(names(&app, "d-0").len() + names(&app, "d-1").len(), left);
            assert_eq!(app.log().len(), received);
            assert!(app.log().iter().all(|entry| entry.status.is_none()));
            assert_eq!(detach(&app, &["d-0", "d-1"]).await.0, 200);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_can_come_after_all_half_or_nothing_was_done() {
        let cases = [
            (Effect::Refuse(gateway_timeout()), 3, Executed::None),
            (Effect::HalfThen(gateway_timeout()), 1, Executed::Partly),
            (Effect::ExecuteThen(gateway_timeout()), 0, Executed::Whole),
        ];
        for (effect, left, executed) in cases {
            let app = hit_once(3, effect);
            let (status, answer) = detach(&app, &["d-0", "d-1", "d-2"]).await;
            assert_eq!((status, &answer["error_code"]), (504, &json!("APIGW.0201")));
            assert_eq!(app.world().snapshot_bindings().values().flatten().count(), left);
            let log = app.log();
            assert_eq!((log[0].executed, log[0].applied.len()), (executed, 3 - left));
            assert_eq!(answer["request_id"], json!(log[0].request_id));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_gateway_executes_long_after_its_answer_was_lost() {
        let app = hit_once(1, Effect::Late { by: Duration::from_secs(20), answer: None });
        assert_eq!(detach(&app, &["d-0"]).await.0, 0);
        sleep(Duration::from_secs(19)).await;
        assert_eq!((names(&app, "d-0").len(), app.log()[0].executed), (1, Executed::None));
        sleep(Duration::from_secs(1)).await;
        let log = app.log();
        assert_eq!((names(&app, "d-0").len(), log[0].executed, log[0].applied.len()), (0, Executed::Whole, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_executed_twice_takes_away_who_was_bound_again_in_between() {
        let app = hit_once(1, Effect::Twice { again: Duration::from_secs(5) });
        let rebound = Fate::Rebound { after: Duration::from_secs(2), by: None };
        app.world().doom(&id("d-0"), rebound);
        assert_eq!(detach(&app, &["d-0"]).await.0, 200);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(names(&app, "d-0"), ["u-0"]);
        sleep(Duration::from_secs(3)).await;
        assert!(names(&app, "d-0").is_empty());
        assert_eq!(app.log()[0].applied.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_answer_was_done_at_once_even_if_nobody_waits_for_it() {
        let app = hit_once(1, Effect::Delay(Duration::from_secs(90)));
        let answer = tokio::time::timeout(Duration::from_secs(75), detach(&app, &["d-0"])).await;
        assert!(answer.is_err());
        assert!(names(&app, "d-0").is_empty());
        assert_eq!((app.log()[0].status, app.log()[0].executed), (None, Executed::Whole));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_can_be_cut_or_html_or_speak_of_others_or_say_nothing() {
        let cut = hit_once(1, Effect::CutJson);
        assert_eq!(detach(&cut, &["d-0"]).await, (200, Value::Null));
        let html = hit_once(1, Effect::Html { status: 502 });
        assert_eq!(detach(&html, &["d-0"]).await, (502, Value::Null));
        assert_eq!((names(&cut, "d-0").len(), names(&html, "d-0").len()), (0, 1));
        let foreign = detach(&hit_once(1, Effect::ForeignId), &["d-0"]).await.1;
        assert_eq!(foreign["failed_operation_list"][0]["desktop_id"], "somebody-elses");
        let null = detach(&hit_once(1, Effect::NullList), &["d-0"]).await.1;
        assert!(null["failed_operation_list"].is_null());
    }

    #[tokio::test(start_paused = true)]
    async fn reads_can_lack_bindings_lists_entries_or_their_filter() {
        let toml = r#"faults = [
            { op = "list-desktops", count = 1, effect = "null-list" },
            { op = "list-desktops", after = 1, count = 1, effect = "no-bindings" },
            { op = "list-desktops", after = 2, count = 1, effect = "short-page" },
            { op = "list-desktops", after = 3, count = 1, effect = "ignore-filter" },
        ]"#;
        let app = app(world(4, 1), toml);
        let list = "/desktops/detail?desktop_id=d-1&desktop_id=d-2";
        assert!(read(&app, list).await["desktops"].is_null());
        assert!(read(&app, list).await["desktops"][1]["attach_user_infos"].is_null());
        let count = |answer: Value| answer["desktops"].as_array().unwrap().len();
        assert_eq!((count(read(&app, list).await), count(read(&app, list).await)), (1, 4));
        assert_eq!(count(read(&app, list).await), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn rules_go_by_order_range_desktop_time_and_chance() {
        let toml = r#"
            seed = 3
            faults = [
                { op = "batch-detach", desktops = ["d-1"], count = 1, effect = { refuse = { status = 400 } } },
                { op = "batch-detach", after = 1, count = 1, effect = { throttle = { limit = 6, window = "10s", retry-after = "x" } } },
                { op = "show-desktop", from = "10s", until = "20s", effect = "drop-before" },
                { op = "list-users", probability = 0.5, effect = "drop-before" },
            ]"#;
        let app = app(world(2, 1), toml);
        assert_eq!(detach(&app, &["d-0"]).await.0, 200);
        assert_eq!(detach(&app, &["d-1"]).await.0, 400, "the first rule that hits decides");
        assert_eq!(detach(&app, &["d-1"]).await.0, 200);
        app.clear_faults();
        app.add_fault(
            Fault::new(Op::ShowDesktop, Effect::DropBefore).between(Duration::from_secs(10), Duration::from_secs(20)),
        );
        app.add_fault(Fault::new(Op::ListUsers, Effect::DropBefore).probability(0.5));
        let show = || async { call(&app, "GET", "/v2/p/desktops/d-0", "").await.0 };
        assert_eq!(show().await, 200);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(show().await, 0);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(show().await, 200);
        let mut lost = 0;
        for _ in 0..100 {
            lost += usize::from(call(&app, "GET", "/v2/p/users", "").await.0 == 0);
        }
        assert!((30..70).contains(&lost), "{lost}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_over_when_it_is_over() {
        let toml = r#"outages = [{ from = "0s", until = "10s" }, { from = "10s", until = "20s", kind = "lost" }, { from = "20s", until = "30s", kind = "unavailable" }]"#;
        let app = app(world(1, 1), toml);
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(detach(&app, &["d-0"]).await);
            sleep(Duration::from_secs(10)).await;
        }
        assert_eq!((&seen[0], &seen[1]), (&(0, json!("not sent")), &(0, json!("lost"))));
        assert_eq!((seen[2].0, seen[3].0), (503, 200));
        assert_eq!(app.log().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_refuses_by_itself_and_what_it_refuses_is_not_done() {
        let limit = Limit { retry_after: Some("window".to_owned()), ..Limit::per_minute(Op::BatchDetach, 1) };
        let app = App::new(world(2, 1), Scenario { limits: vec![limit], ..Scenario::default() });
        assert_eq!(detach(&app, &["d-0"]).await.0, 200);
        let (status, answer) = detach(&app, &["d-1"]).await;
        assert_eq!((status, &answer["error_code"]), (429, &json!("APIGW.0308")));
        assert_eq!(names(&app, "d-1"), ["u-0"]);
        assert_eq!(call(&app, "GET", "/v2/p/users", "").await.0, 200, "each operation for itself");
        sleep(Duration::from_secs(60)).await;
        assert_eq!(detach(&app, &["d-1"]).await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_seed_and_the_same_requests_give_the_same_answers() {
        let mut runs = Vec::new();
        for _ in 0..2 {
            let toml = "seed = 9\nfaults = [{ probability = 0.4, effect = { refuse = { status = 500 } } }]";
            let app = app(world(3, 2), toml);
            let mut answers = Vec::new();
            for n in 0..30 {
                answers.push(detach(&app, &[&format!("d-{}", n % 3)]).await);
            }
            let told: Vec<_> =
                app.log().into_iter().map(|entry| (entry.request_id, entry.status, entry.applied)).collect();
            runs.push((answers, told, app.world().snapshot_bindings()));
        }
        assert_eq!(runs[0], runs[1]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_holds_every_request_as_it_came() {
        let app = app(world(1, 1), "");
        detach(&app, &["d-0"]).await;
        read(&app, "/desktops/detail?limit=5&user_name=%E6%A1%8C").await;
        call(&app, "DELETE", "/v2/p/desktops/d-0", "").await;
        assert_eq!(call(&app, "GET", "/v9/x", "").await.1["error_code"], "APIGW.0101");
        let log = app.log();
        let ops: Vec<_> = log.iter().map(|entry| (entry.number, entry.op.as_str(), entry.status)).collect();
        let expected = [
            (0, "batch-detach", Some(200)),
            (1, "list-desktops", Some(200)),
            (2, "elsewhere", Some(404)),
            (3, "elsewhere", Some(404)),
        ];
        assert_eq!(ops, expected);
        assert_eq!(
            (log[1].path.as_str(), log[1].query.as_str()),
            ("/v2/p/desktops/detail", "limit=5&user_name=%E6%A1%8C")
        );
        assert_eq!(log[0].body_sha256, hex::encode(Sha256::digest(&log[0].body)));
        assert!(App::without_log(world(1, 1), Scenario::default()).log().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn every_answer_names_its_request_and_another_project_is_refused() {
        let app = App::new(world(1, 1), Scenario { project_id: Some("mine".to_owned()), ..Scenario::default() });
        assert_eq!(call(&app, "GET", "/v2/other/users", "").await.1["error_code"], "APIGW.0310");
        assert_eq!(call(&app, "GET", "/v2/mine/users", "").await.0, 200);
        let ids: std::collections::BTreeSet<_> = app.log().into_iter().map(|entry| entry.request_id).collect();
        assert_eq!(ids.len(), 2);
    }
}
