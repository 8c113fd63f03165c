//! What the tests of this module share.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

pub(super) use crate::testing::build::{bound as user, id, seat};

use super::{App, Scenario, World};
use crate::api::{Reply, Transport};

/// Desktops `d-0`, `d-1`, … of `users` users `u-0`, `u-1`, … each.
pub(super) fn world(desktops: usize, users: usize) -> World {
    let seats = (0..desktops).flat_map(|d| (0..users).map(move |u| seat(&format!("d-{d}"), &format!("u-{u}"))));
    World::from_seats(seats, 1)
}

/// What came back: a status (0 where nothing did) and the body, if it is JSON.
pub(super) async fn call(app: &Arc<App>, method: &str, path: &str, body: impl Into<Bytes>) -> (u16, Value) {
    let request = http::Request::builder().method(method).uri(format!("http://sim{path}"));
    let request = request.header("Content-Type", "application/json").body(body.into()).unwrap();
    match app.transport().call(request, 32 << 20).await {
        Reply::Answer(answer) => (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default()),
        Reply::Lost { .. } => (0, json!("lost")),
        Reply::NotSent { .. } => (0, json!("not sent")),
    }
}

pub(super) async fn read(app: &Arc<App>, path: &str) -> Value {
    let (status, body) = call(app, "GET", &format!("/v2/p{path}"), "").await;
    assert_eq!(status, 200, "{body}");
    body
}

/// Detaches `u-0` from each desktop.
pub(super) fn body(desktops: &[&str]) -> Value {
    let of = |id: &&str| json!({"desktop_id": id, "is_detach_all_users": false, "detach_user_infos": [{"user_name": "u-0"}]});
    json!({"desktops": desktops.iter().map(of).collect::<Vec<_>>()})
}

pub(super) async fn send(app: &Arc<App>, body: &Value) -> (u16, Value) {
    call(app, "POST", "/v2/p/desktops/batch-detach", body.to_string()).await
}

pub(super) async fn detach(app: &Arc<App>, desktops: &[&str]) -> (u16, Value) {
    send(app, &body(desktops)).await
}

pub(super) fn app(world: World, toml: &str) -> Arc<App> {
    App::new(world, toml::from_str::<Scenario>(toml).unwrap())
}

pub(super) fn names(app: &Arc<App>, desktop: &str) -> Vec<String> {
    app.world().bound(&id(desktop)).into_iter().map(|bound| bound.user_name).collect()
}
