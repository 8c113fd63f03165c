//! Never somebody else: who a row means, and who is left alone.

use std::sync::Arc;
use std::time::Duration;

use batch_detach::plan::Policy;
use batch_detach::testing::build::{bound, id, world};
use batch_detach::testing::model::Class;
use batch_detach::testing::sim::{App, Effect, Fate, Fault, Op, Scenario, World};
use serde_json::json;

use super::paused::Go;
use super::{at_once, seat};
use crate::stage::{Stage, assert_tally};

#[test]
fn a_user_in_other_case_is_sent_as_the_service_spells_him_with_his_id() {
    let stage = Stage::with(world(&[("d1", &["Zhang.San#77"]), ("d2", &["ΝΙΚΟΣ"])]), at_once());
    stage.sheet("desktop_id,user_name\nd1,ZHANG.san\nd2,νικος\n");
    stage.run_leavers(&[]).expect(0);
    let sent = &stage.detaches()[0]["desktops"];
    let user = json!({"user_id": "77", "user_name": "Zhang.San", "type": "USER"});
    assert_eq!(sent[0]["detach_user_infos"], json!([user]));
    assert_eq!(sent[1]["detach_user_infos"][0]["user_name"], "ΝΙΚΟΣ");
    assert_eq!(stage.column("user_name"), ["ZHANG.san", "νικος"], "cells stay as given");
    assert_eq!(stage.column("user_id")[0], "77", "empty ones are filled");
}

/// Each sheet is wrong in one way; alone it stops the run, and skipped it is never sent.
#[test]
fn p05_one_who_was_renamed_or_is_in_two_domains_or_has_anothers_id_is_invalid_and_nothing_is_sent() {
    let people = || {
        let mut world = world(&[("d1", &["ann#1", "bob#2"]), ("d2", &["eve@east", "eve@west"]), ("d3", &["carl#3"])]);
        world.rename_user("3", "carlos");
        world
    };
    for (row, code) in [
        ("d1,ann,2,", "INVALID_ID_MISMATCH"),
        ("d1,ann,99,", "INVALID_ID_MISMATCH"),
        ("d3,carl,3,", "INVALID_ID_MISMATCH"),
        (",carl,3,", "INVALID_ID_MISMATCH"),
        (",ann,2,", "INVALID_ID_MISMATCH"),
        ("d2,eve,,", "INVALID_AMBIGUOUS_USER"),
        (",eve,,", "INVALID_AMBIGUOUS_USER"),
    ] {
        let stage = Stage::with(people(), at_once());
        stage.sheet(&format!("desktop_id,user_name,user_id,domain\n{row}\n"));
        stage.run_leavers(&["--empty-desktop", "every"]).expect(2).says(code).says("nothing was sent");
        stage.run_leavers(&["--on-invalid", "skip", "--empty-desktop", "every"]).expect(1);
        stage.nothing_was_sent();
        assert!(stage.column("error_code").iter().all(|found| found == code), "{row}: {:?}", stage.results());
    }
    let stage = Stage::with(people(), at_once());
    stage.sheet("desktop_id,user_name,user_id,domain\nd2,EVE,,WEST\nd3,Carlos,3,\n");
    stage.run_leavers(&[]).expect(0);
    assert_eq!((stage.service.names("d2").len(), stage.service.names("d3").len()), (1, 0));
    assert_eq!(stage.service.app.world().bound(&id("d2"))[0].domain.as_deref(), Some("east"));
}

#[test]
fn a_group_and_a_user_of_one_name_are_two() {
    let stage = Stage::with(world(&[("d1", &["sales", "%sales"]), ("d2", &["sales", "%sales"])]), at_once());
    stage.sheet("desktop_id,user_name,type\nd1,SALES,group\nd2,sales,\n");
    stage.run_leavers(&[]).expect(0).says("1 keeps a user group bound");
    let left = |desktop| {
        stage.service.app.world().bound(&id(desktop)).into_iter().map(|one| one.kind.as_str()).collect::<Vec<_>>()
    };
    assert_eq!((left("d1"), left("d2")), (vec!["USER"], vec!["GROUP"]));
}

#[test]
fn others_on_the_desktop_stay() {
    let stage = Stage::with(world(&[("d1", &["ann", "bob", "%staff"])]), at_once());
    stage.sheet("desktop_id,user_name\nd1,ann\n");
    stage.run_leavers(&[]).expect(0);
    assert_eq!(stage.service.names("d1"), ["bob", "staff"]);
}

#[test]
fn p05_all_detaches_everybody_only_under_its_option() {
    let stage = Stage::with(world(&[("d1", &["ann", "bob", "%staff"]), ("d2", &["cara"])]), at_once());
    stage.sheet("desktop_id,user_name,type\nd1,,ALL\nd1,bob,\nd1,nobody,\nd2,cara,\n");
    stage.run_leavers(&["--allow-detach-all"]).expect(0);
    assert_eq!(stage.column("outcome"), ["detached", "detached", "already_detached", "detached"]);
    let sent = stage.detaches()[0]["desktops"].clone();
    assert_eq!(sent[0], json!({"desktop_id": "d1", "is_detach_all_users": true}));
    assert_eq!(sent[1]["is_detach_all_users"], false);
}

fn allowing_all() -> Go {
    Go { policy: Policy { allow_detach_all: true, ..Policy::default() }, ..Go::default() }
}

const ALL: &str = "desktop_id,user_name,type\nd1,,ALL\nd2,,ALL\n";

#[tokio::test(start_paused = true)]
async fn p07_somebody_bound_to_an_all_desktop_after_the_plan_keeps_it_from_being_sent() {
    let app = App::new(world(&[("d1", &["ann"]), ("d2", &["bob"])]), Scenario::default());
    let bind = |app: &Arc<App>| _ = app.world().bind(seat("d1", "", "new.comer"));
    let ran = allowing_all().run(&app, ALL, bind).await;
    assert_eq!((ran.rows[0].outcome, ran.rows[0].code.as_str()), ("failed", "STILL_BOUND"));
    assert!(ran.rows[0].message.contains("new.comer"), "{}", ran.rows[0].message);
    assert_eq!(ran.rows[1].outcome, "detached");
    let bodies: Vec<String> = app
        .log()
        .iter()
        .filter(|entry| entry.op == Op::BatchDetach)
        .map(|entry| String::from_utf8_lossy(&entry.body).into_owned())
        .collect();
    assert!(bodies.iter().all(|body| !body.contains("d1")), "{bodies:?}");
    assert_eq!(app.world().bound(&id("d1")).len(), 2);
}

/// The first attempt is put off for a minute by a 429; somebody is bound in that minute.
#[tokio::test(start_paused = true)]
async fn p07_an_all_that_waited_at_a_closed_gate_is_looked_at_again() {
    let throttle = Effect::Throttle { limit: 60, window: Duration::from_secs(60), retry_after: Some("60".to_owned()) };
    let scenario = Scenario { faults: vec![Fault::new(Op::BatchDetach, throttle).count(1)], ..Scenario::default() };
    let mut world = world(&[("d1", &["ann"]), ("d2", &["bob"])]);
    world.add(&id("elsewhere"));
    let app = App::new(world, scenario);
    let late = Arc::clone(&app);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(30)).await;
        late.world().bind(seat("d1", "", "new.comer"));
    });
    let ran = allowing_all().run(&app, ALL, |_| ()).await;
    assert_eq!((ran.rows[0].outcome, ran.rows[1].outcome), ("failed", "detached"), "{:?}", ran.rows);
    assert!(ran.rows[0].message.contains("new.comer"));
    assert_eq!(app.world().bound(&id("d1")).len(), 2);
}

/// Every desktop is looked at less than so long before the write that detaches everybody from it.
#[tokio::test(start_paused = true)]
async fn p07_at_a_slow_pace_each_all_is_read_right_before_it_is_sent() {
    let people: Vec<(String, String)> = (0..12).map(|n| (format!("d-{n:02}"), format!("u-{n}"))).collect();
    let world = World::from_seats(people.iter().map(|(desktop, user)| seat(desktop, "", user)), 1);
    let app = App::new(world, Scenario::default());
    let csv =
        people.iter().fold("desktop_id,user_name,type\n".to_owned(), |csv, (desktop, _)| csv + desktop + ",,ALL\n");
    let mut go = allowing_all();
    go.policy.bounds.max_desktops = 1;
    go.write_period = Duration::from_secs(8);
    let ran = go.run(&app, &csv, |_| ()).await;
    assert_eq!(ran.outcomes(), [("detached", 12)].into());
    assert_eq!(ran.started(Class::BatchDetach), 12, "no turn is given away");
    let log = app.log();
    for write in log.iter().filter(|entry| entry.op == Op::BatchDetach) {
        let body = String::from_utf8_lossy(&write.body).into_owned();
        let desktop = &people.iter().find(|(desktop, _)| body.contains(desktop)).unwrap().0;
        let reads =
            log[..write.number].iter().filter(|entry| entry.op == Op::ListDesktops && entry.query.contains(desktop));
        let ago = write.at - reads.last().unwrap().at;
        assert!(ago <= Duration::from_secs(27), "{desktop}: read {ago:?} before it was sent");
    }
}

#[tokio::test(start_paused = true)]
async fn p07_an_all_that_stays_bound_is_not_sent_blindly_again() {
    let mut world = world(&[("d1", &["ann"])]);
    world.doom(&id("d1"), Fate::Rebound { after: Duration::from_secs(1), by: Some(bound("new.comer")) });
    let app = App::new(world, Scenario::default());
    let ran = allowing_all().run(&app, "desktop_id,user_name,type\nd1,,ALL\n", |_| ()).await;
    assert_eq!((ran.rows[0].outcome, ran.rows[0].code.as_str()), ("failed", "STILL_BOUND"), "{:?}", ran.rows);
    assert!(ran.rows[0].message.contains("new.comer"), "{}", ran.rows[0].message);
    assert_eq!(app.log().iter().filter(|entry| entry.op == Op::BatchDetach).count(), 1);
    assert_eq!(app.world().bound(&id("d1")).len(), 1);
}

#[test]
fn a_row_by_name_beside_anothers_id_is_invalid() {
    let stage = Stage::with(world(&[("d1", &["ann"]), ("d2", &["ann"])]), at_once());
    stage.sheet("desktop_id,desktop_name,user_name\nd1,D2,ann\nd2,d2,ann\n");
    stage.run_leavers(&["--on-invalid", "skip"]).expect(1);
    assert_eq!(stage.column("error_code"), ["INVALID_DESKTOP_MISMATCH", ""]);
    assert_tally(stage.column("outcome"), &[("invalid", 1), ("detached", 1)]);
    assert_eq!(stage.service.names("d1"), ["ann"]);
}
