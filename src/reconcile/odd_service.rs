//! Tests of looks at services that refuse a read for one id, spell ids in their own way, or do not tell everything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::preflight::Preflight;
use crate::api::auth::Nobody;
use crate::api::{Answer, Reader, Reply, Target, Transport};
use crate::error::Error;
use crate::model::{DesktopId, Kind};
use crate::pace::{Ceiling, Gates, Waits};
use crate::plan::{Questions, Snapshot, UserKey};

/// Answers for desktops, and is bent by each test: a request (path and query, decoded as far as these tests need), the
/// ids it asks for, and how many requests came before. `None`: as any service would.
type Bend = dyn Fn(&str, &[String], usize) -> Option<(u16, Value)> + Send + Sync;

struct Service {
    desktops: BTreeMap<String, Value>,
    bend: Box<Bend>,
    seen: Mutex<Vec<String>>,
}

fn desktop(id: &str, user: &str) -> Value {
    let bound = if user.is_empty() { Vec::new() } else { vec![json!({"user_name": user})] };
    let state = if bound.is_empty() { "UNATTACH" } else { "ATTACHED" };
    json!({"desktop_id": id, "computer_name": format!("PC-{id}"), "attach_state": state, "attach_user_infos": bound})
}

impl Service {
    fn new(ids: impl IntoIterator<Item = String>, bend: Box<Bend>) -> Arc<Self> {
        let desktops = ids.into_iter().map(|id| (id.clone(), desktop(&id, "alice"))).collect();
        Arc::new(Self { desktops, bend, seen: Mutex::default() })
    }

    fn answer(&self, line: &str) -> (u16, Value) {
        let (path, query) = line.split_once('?').unwrap_or((line, ""));
        let pairs: Vec<_> = query.split('&').filter_map(|pair| pair.split_once('=')).collect();
        let of = |name| pairs.iter().filter(move |(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let mut ids: Vec<String> = of("desktop_id").collect();
        let shown = path.rsplit_once("/desktops/").map(|(_, id)| id).filter(|id| *id != "detail");
        ids.extend(shown.map(str::to_owned));
        let before = self.seen.lock().unwrap().len();
        self.seen.lock().unwrap().push(line.to_owned());
        if let Some(bent) = (self.bend)(line, &ids, before) {
            return bent;
        }
        let number = |name, default| of(name).next().and_then(|text| text.parse().ok()).unwrap_or(default);
        if let Some(id) = shown {
            let not_found = || (404, json!({"error_code": "WKS.0202", "error_msg": "not found"}));
            return self.desktops.get(id).map_or_else(not_found, |desktop| (200, json!({"desktop": desktop})));
        }
        let all: Vec<_> = self.desktops.iter().filter(|(id, _)| ids.is_empty() || ids.contains(id)).collect();
        let page = all.iter().skip(number("offset", 0)).take(number("limit", 500)).map(|(_, desktop)| *desktop);
        (200, json!({"desktops": page.collect::<Vec<_>>(), "total_count": all.len()}))
    }
}

impl Transport for Service {
    fn call(&self, request: http::Request<Bytes>, _: usize) -> BoxFuture<'_, Reply> {
        let (status, body) = self.answer(&request.uri().to_string());
        let answer = Answer { status, body: Bytes::from(body.to_string()), ..Answer::default() };
        Box::pin(std::future::ready(Reply::Answer(answer)))
    }
}

async fn look(service: &Arc<Service>, asked: &Questions) -> Result<Snapshot, Error> {
    let target = Target {
        transport: service.clone(),
        auth: Arc::new(Nobody),
        endpoint: "http://127.0.0.1".to_owned(),
        project_id: "p".to_owned(),
    };
    let gates = Gates::new(|_| Ceiling { period: Duration::from_millis(1) }, 8, 1, false);
    let look = Preflight::new(Reader::new(target), gates, 8, Waits::default(), 1, CancellationToken::new());
    look.look(asked).await
}

fn id(text: &str) -> DesktopId {
    DesktopId::parse(text).unwrap()
}

fn by_ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> Questions {
    Questions { ids: ids.into_iter().map(id).collect(), ..Questions::default() }
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("d{n:04}")).collect()
}

#[tokio::test(start_paused = true)]
async fn p02_one_id_that_a_read_is_refused_for_stops_no_other_and_shows_up_as_no_missing_permission() {
    for (status, code, is_unreadable) in [
        (400, "WKS.00000002", true),
        (403, "WKS.00000403", true),
        (404, "WKS.00010001", false),
        (500, "WKS.0999", true),
    ] {
        let refused = move |_: &str, ids: &[String], _| {
            let body = json!({"error_code": code, "error_msg": "not this one"});
            ids.iter().any(|id| id == "bad").then_some((status, body))
        };
        let service = Service::new(names(0..1_300), Box::new(refused));
        let mut ids = names(0..99);
        ids.push("bad".to_owned());
        let seen = look(&service, &by_ids(ids.iter().map(String::as_str))).await.unwrap();
        assert!(names(0..99).iter().all(|name| seen.live(&id(name)).is_some()), "{status}");
        assert_eq!(
            (seen.live(&id("bad")), seen.unreadable.contains_key(&id("bad"))),
            (None, is_unreadable),
            "{status}"
        );
        if is_unreadable {
            let said = &seen.unreadable[&id("bad")];
            assert!(said.contains(code) && said.contains("not this one") && !said.contains("permission"), "{said}");
        }
        let reads = service.seen.lock().unwrap().len();
        assert!(reads <= 1 + 15 * if status == 500 { 3 } else { 1 } + 4 + 3, "{status}: {reads} reads");
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_desktops_refused_alike_and_none_shown_are_no_matter_of_one_id() {
    let refused = |_: &str, ids: &[String], _| {
        let body = json!({"error_code": "WKS.00000403", "error_msg": "workspace:desktops:get is missing"});
        (!ids.is_empty()).then_some((403, body))
    };
    let service = Service::new(Vec::new(), Box::new(refused));
    let ids = names(0..100);
    let error = look(&service, &by_ids(ids.iter().map(String::as_str))).await.unwrap_err();
    assert!(matches!(&error, Error::NoAccess(why) if why.contains("workspace:desktops:get")), "{error}");
}

#[tokio::test(start_paused = true)]
async fn p02_an_id_in_another_case_is_the_desktop_that_the_service_spells_otherwise() {
    for compares_with_case in [true, false] {
        let bend = move |line: &str, ids: &[String], _| {
            let asks = !compares_with_case && ids == ["D00AF"];
            let alone = line.contains("/desktops/D00AF");
            let found = desktop("d00af", "alice");
            asks.then(|| (200, if alone { json!({"desktop": found}) } else { json!({"desktops": [found]}) }))
        };
        let service = Service::new(["d00af".to_owned(), "d00b0".to_owned()], Box::new(bend));
        let seen = look(&service, &by_ids(["D00AF", "d00b0"])).await.unwrap();
        assert_eq!(seen.spelled.get(&id("D00AF")), Some(&id("d00af")), "{compares_with_case}");
        assert_eq!(seen.live(&id("D00AF")).map(|live| &live.id), Some(&id("d00af")));
    }
}

#[tokio::test(start_paused = true)]
async fn p02_one_404_is_not_gone_and_two_are_some_time_apart() {
    for times in [1, 2] {
        let lost = Arc::new(Mutex::new(0));
        let bend = move |_: &str, ids: &[String], _| {
            if ids != ["d0001"] {
                return None;
            }
            *lost.lock().unwrap() += 1;
            let asked = *lost.lock().unwrap();
            // In no list by ids; and asked for by itself not found, so many times.
            (asked <= 1 + times).then(|| match asked {
                1 => (200, json!({"desktops": []})),
                _ => (404, json!({"error_code": "WKS.0202"})),
            })
        };
        let whole = |line: &str| line.contains("offset");
        let service = Service::new(
            ["d0001".to_owned()],
            Box::new(
                move |line, ids, before| {
                    if whole(line) { Some((200, json!({"desktops": []}))) } else { bend(line, ids, before) }
                },
            ),
        );
        let began = Instant::now();
        let seen = look(&service, &by_ids(["d0001"])).await.unwrap();
        assert_eq!(seen.live(&id("d0001")).is_some(), times == 1, "{times} times");
        assert!(seen.desktops.contains_key(&id("d0001")));
        assert!(began.elapsed() >= Waits::default().settle_time);
    }
}

#[tokio::test(start_paused = true)]
async fn p02_a_desktop_that_does_not_tell_who_is_bound_is_asked_until_it_does_or_the_deadline() {
    for told_from in [4, usize::MAX] {
        let bend = move |_: &str, ids: &[String], before: usize| {
            let mut untold = desktop("d0001", "");
            untold["attach_state"] = "ATTACHED".into();
            let is_alone = ids == ["d0001"];
            let whole = json!({"desktops": [untold.clone()], "total_count": 1});
            (before < told_from).then(|| (200, if is_alone && before > 1 { json!({"desktop": untold}) } else { whole }))
        };
        let service = Service::new(["d0001".to_owned()], Box::new(bend));
        let began = Instant::now();
        let seen = look(&service, &by_ids(["d0001"])).await.unwrap();
        let is_told = seen.live(&id("d0001")).is_some_and(|live| live.bound.is_some());
        assert_eq!((is_told, began.elapsed() >= Waits::default().read_back_deadline), (told_from == 4, told_from != 4));
        let reads = service.seen.lock().unwrap().len();
        assert!(reads < 40, "{reads} reads");
    }
}

#[tokio::test(start_paused = true)]
async fn p02_nobody_is_absent_everywhere_by_a_list_that_is_empty_after_one_that_was_not() {
    let user = UserKey { kind: Kind::User, name: "bob".to_owned(), id: String::new(), domain: String::new() };
    let asked = Questions { users: vec![user], ..Questions::default() };
    let bend = |line: &str, _: &[String], _| line.contains("offset").then(|| (200, json!({"desktops": []})));
    for (desktops, is_proved) in [(names(0..3), false), (Vec::new(), true)] {
        let service = Service::new(desktops, Box::new(bend));
        let seen = look(&service, &asked).await.unwrap();
        assert_eq!((seen.is_whole, seen.is_proved), (is_proved, is_proved));
    }
}

#[tokio::test(start_paused = true)]
async fn p02_nobody_is_absent_everywhere_where_one_desktop_never_tells() {
    let bend = |line: &str, _: &[String], _| {
        let mut untold = desktop("d0001", "");
        untold["attach_state"] = "ATTACHING".into();
        line.contains("/desktops/d0001")
            .then(|| (200, json!({"desktop": untold.clone()})))
            .or_else(|| Some((200, json!({"desktops": [untold], "total_count": 1}))))
    };
    let service = Service::new(["d0001".to_owned()], Box::new(bend));
    let user = UserKey { kind: Kind::User, name: "bob".to_owned(), id: String::new(), domain: String::new() };
    let asked = Questions { users: vec![user], ..Questions::default() };
    assert!(!look(&service, &asked).await.unwrap().is_proved);
}
