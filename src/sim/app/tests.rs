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
        let told: Vec<_> = app.log().into_iter().map(|entry| (entry.request_id, entry.status, entry.applied)).collect();
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
    assert_eq!((log[1].path.as_str(), log[1].query.as_str()), ("/v2/p/desktops/detail", "limit=5&user_name=%E6%A1%8C"));
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
