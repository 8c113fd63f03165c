//! The plan tells the truth, and an approval is of that plan alone.

use std::fmt::Write as _;

use batch_detach::testing::build::{bound, id, world};
use batch_detach::testing::sim::{Effect, Fate, Fault, Op, Refused, Scenario, World};

use super::{at_once, seat};
use crate::stage::{Stage, assert_tally};

/// Desktops `d-000` … named `PC-000` …, each held by `User-000` …; 100 more, `e-000` …, by `Solo-000` ….
fn estate() -> World {
    let named = (0..400).map(|n| seat(&format!("d-{n:03}"), &format!("PC-{n:03}"), &format!("User-{n:03}")));
    let alone = (0..100).map(|n| seat(&format!("e-{n:03}"), &format!("EXT-{n:03}"), &format!("Solo-{n:03}")));
    World::from_seats(named.chain(alone), 1)
}

fn sheet_by_names() -> String {
    let mut csv = "computer_name,user_name\n".to_owned();
    for n in 0..400 {
        _ = writeln!(csv, "pc-{n:03},USER-{n:03}");
    }
    for n in 0..100 {
        _ = writeln!(csv, ",solo-{n:03}");
    }
    csv
}

#[test]
fn a_sheet_of_names_in_other_case_finds_the_right_desktops_and_sends_what_the_service_spells() {
    let stage = Stage::with(estate(), at_once());
    stage.sheet(&sheet_by_names());
    let plan = stage.plan_leavers(&["--format", "json", "--empty-desktop", "every"]).expect(0).json();
    let counts = &plan["counts"];
    assert_eq!((&counts["rows"], &counts["to_detach"], &counts["desktops"]), (&500.into(), &500.into(), &500.into()));
    assert_eq!((&counts["requests"], &counts["invalid"]), (&5.into(), &0.into()));
    stage.nothing_was_sent();

    stage.run_leavers(&["--empty-desktop", "every"]).expect(0);
    for (n, row) in stage.results().into_iter().enumerate() {
        let desktop = if n < 400 { format!("d-{n:03}") } else { format!("e-{:03}", n - 400) };
        assert_eq!((row["desktop_id"].as_str(), row["outcome"].as_str()), (desktop.as_str(), "detached"), "{row:?}");
    }
    let sent: Vec<String> = stage
        .detaches()
        .iter()
        .flat_map(|body| body["desktops"].as_array().unwrap().clone())
        .map(|desktop| {
            let user = &desktop["detach_user_infos"][0];
            format!("{} {}", desktop["desktop_id"].as_str().unwrap(), user["user_name"].as_str().unwrap())
        })
        .collect();
    assert_eq!(sent.len(), 500);
    assert!(sent.contains(&"d-007 User-007".to_owned()) && sent.contains(&"e-099 Solo-099".to_owned()), "{sent:?}");
    assert!(stage.service.app.world().snapshot_bindings().values().all(Vec::is_empty));
}

#[test]
fn two_desktops_of_one_name_are_refused_and_the_rest_may_go() {
    let mut world = estate();
    world.bind(seat("z-1", "pc-007", "somebody"));
    let stage = Stage::with(world, at_once());
    stage.sheet(&sheet_by_names());
    stage
        .run_leavers(&["--empty-desktop", "every"])
        .expect(2)
        .says("INVALID_DESKTOP_AMBIGUOUS")
        .says("line 9, column \"desktop_name\"");
    stage.nothing_was_sent();
    stage.run_leavers(&["--on-invalid", "skip", "--empty-desktop", "every"]).expect(1);
    assert_tally(stage.column("outcome"), &[("detached", 499), ("invalid", 1)]);
    assert_eq!((stage.service.names("d-007").len(), stage.service.names("z-1").len()), (1, 1));
}

#[test]
fn the_same_sheet_afresh_is_already_detached_and_nothing_is_written() {
    let stage = Stage::with(estate(), at_once());
    stage.sheet(&sheet_by_names());
    stage.run_leavers(&["--empty-desktop", "every"]).expect(0);
    let sent = stage.detaches().len();
    stage.run_leavers(&["--fresh", "--empty-desktop", "every"]).expect(0).says("500 already_detached");
    assert_eq!(stage.detaches().len(), sent);
    assert_tally(stage.column("outcome"), &[("already_detached", 500)]);
}

#[test]
fn a_thousand_desktops_take_three_reads_a_hundred_by_the_runs_own_counts() {
    let desktops = 1_000;
    let seats = (0..desktops).map(|n| seat(&format!("d-{n:04}"), &format!("PC-{n:04}"), &format!("u-{n}")));
    let stage = Stage::with(World::from_seats(seats, 1), at_once());
    let csv = (0..desktops).fold("desktop_id,user_name\n".to_owned(), |mut csv, n| {
        _ = writeln!(csv, "d-{n:04},u-{n}");
        csv
    });
    stage.sheet(&csv);
    let summary = stage.run_leavers(&["--format", "json"]).expect(0).json();
    let requests = summary["requests"].as_array().unwrap();
    let of = |class: &str| {
        let one = requests.iter().find(|one| one["class"] == class && one["result"] == "started");
        one.map_or(0, |one| one["count"].as_u64().unwrap())
    };
    assert!(of("list-desktops") <= 34, "{requests:?}");
    assert_eq!((of("show-desktop"), of("batch-detach")), (0, 10));
    assert_eq!(of("list-desktops"), stage.service.requests(Op::ListDesktops).len() as u64, "what the service counted");
}

const THREE: &str = "desktop_id,user_name\nd1,ann\nd2,bob\nd3,cara\n";

fn three() -> World {
    world(&[("d1", &["ann"]), ("d2", &["bob", "bea"]), ("d3", &["cara"])])
}

#[test]
fn an_approved_plan_is_refused_once_somebody_is_bound_and_the_row_is_named() {
    let stage = Stage::with(three(), at_once());
    stage.sheet(THREE);
    let approved = stage.plan_leavers(&["--format", "json"]).expect(0);
    stage.write("plan.json", &approved.stdout);
    stage.service.app.world().bind(seat("d2", "", "new.comer"));
    let refused = stage.run(&["run", "leavers.csv", "--approved", "plan.json"]).expect(3);
    let refused = refused.says("line 3 (desktop d2): who is bound to this desktop").says("nothing was sent");
    assert!(!refused.text().contains("desktop d1"), "{}", refused.text());
    stage.nothing_was_sent();
    assert!(!stage.path("leavers.results.csv").exists(), "it must not leave anything");
}

#[test]
fn an_approval_does_that_plan_once() {
    let stage = Stage::with(three(), at_once());
    stage.sheet(THREE);
    let approved = stage.plan_leavers(&["--format", "json"]).expect(0);
    stage.write("plan.json", &approved.stdout);
    let hash = approved.json()["hash"].as_str().unwrap().to_owned();
    stage.run(&["run", "leavers.csv", "--approved", "plan.json"]).expect(0);
    assert_tally(stage.column("outcome"), &[("detached", 3)]);
    // Everything as it was, so that the very same plan comes out again.
    for (desktop, who) in [("d1", "ann"), ("d2", "bob"), ("d3", "cara")] {
        stage.service.app.world().bind(seat(desktop, "", who));
    }
    let sent = stage.detaches().len();
    let again = stage.run(&["run", "leavers.csv", "--approved", &hash, "--fresh"]).expect(3);
    again.says("was done already");
    assert_eq!(stage.detaches().len(), sent);
}

#[test]
fn another_hash_is_refused() {
    let stage = Stage::with(three(), at_once());
    stage.sheet(THREE);
    stage.run(&["run", "leavers.csv", "--approved", &"0".repeat(64)]).expect(3).says("is another one");
    stage.nothing_was_sent();
}

#[test]
fn p05_a_plan_writes_nothing_and_leaves_nothing() {
    let stage = Stage::with(three(), at_once());
    stage.sheet(THREE);
    stage.plan_leavers(&[]).expect(0).says("3 to detach");
    stage.run_leavers(&["--dry-run"]).expect(0).says("3 to detach");
    stage.nothing_was_sent();
    let left: Vec<_> = std::fs::read_dir(stage.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["leavers.csv"]);
}

#[test]
fn p04_the_bodies_that_a_plan_shows_are_those_that_its_run_sends() {
    let stage = Stage::with(three(), at_once());
    stage.sheet(THREE);
    let shown = stage.plan_leavers(&["--requests", "-"]).expect(0).stdout;
    stage.run_leavers(&[]).expect(0);
    let sent: Vec<String> = stage
        .service
        .requests(Op::BatchDetach)
        .iter()
        .map(|entry| String::from_utf8(entry.body.to_vec()).unwrap())
        .collect();
    assert_eq!(shown.lines().collect::<Vec<_>>(), sent);
}

#[test]
fn the_plan_names_what_is_in_use_and_what_the_service_may_refuse() {
    let people: Vec<(&str, &[&str])> =
        vec![("d1", &["ann"]), ("d2", &["bob"]), ("d3", &["cara"]), ("d4", &["dan"]), ("d5", &["eve"])];
    let mut world = world(&people);
    world.introduce("gone", "");
    world.doom(&id("d1"), Fate::Connected);
    world.doom(&id("d2"), Fate::Hibernated);
    world.doom(&id("d3"), Fate::Frozen);
    world.doom(&id("d4"), Fate::Pooled);
    let stage = Stage::with(world, at_once());
    stage.sheet("desktop_id,user_name\nd1,ann\nd2,bob\nd3,cara\nd4,dan\nd5,eve\nd5,gone\n");
    let plan = stage.plan_leavers(&[]).expect(0);
    let plan = plan.says("5 to detach, 1 already detached").says("1 of the 5 desktops touched is in use now: D1");
    let plan = plan.says("1 is hibernated: the service may refuse it").says("1 is frozen: the service may refuse it");
    plan.says("may be refused: D2, D3").says("1 belongs to a pool");
    stage.run_leavers(&[]).expect(1);
    let outcome = |line: usize| stage.column("outcome")[line].clone();
    assert_eq!([outcome(1), outcome(2)], ["failed", "failed"], "hibernated and frozen");
    assert_tally(stage.column("outcome"), &[("detached", 3), ("failed", 2), ("already_detached", 1)]);
    stage.every_outcome_is_true();
}

#[test]
fn a_name_that_the_service_does_not_know_is_hinted_at_with_the_nearest() {
    let stage = Stage::with(world(&[("d1", &["zhang.san"]), ("d2", &["li.si"])]), at_once());
    stage.sheet("desktop_id,user_name\nd1,zhang.sann\nd2,li.si\n,wang.wu\nd2,zhang.san\n");
    let plan = stage
        .plan_leavers(&["--empty-desktop=every", "--unknown-users=gone"])
        .expect(0)
        .says("1 to detach, 3 already detached");
    let plan = plan.says("line 2: `zhang.sann` is not bound to d1, and the service knows no user of this name");
    let plan = plan.says("the nearest name is `zhang.san`");
    let plan = plan.says("line 4: `wang.wu` holds no desktop, and the service knows no user of this name");
    assert!(!plan.text().contains("line 5: `"), "known to the service, and bound elsewhere: {}", plan.text());
}

#[test]
fn a_user_alone_stands_for_every_desktop_that_he_holds() {
    let stage = Stage::with(world(&[("d3", &["ann"]), ("d1", &["Ann", "bob"]), ("d2", &["bob"])]), at_once());
    stage.sheet("user_name,ticket\nANN,T-1\nnobody,T-2\n");
    stage.run_leavers(&[]).expect(0);
    let rows: Vec<[String; 4]> = stage
        .results()
        .into_iter()
        .map(|row| ["line", "desktop_id", "outcome", "ticket"].map(|column| row[column].clone()))
        .collect();
    assert_eq!(
        rows,
        [["2", "d1", "detached", "T-1"], ["2", "d3", "detached", "T-1"], ["3", "", "already_detached", "T-2"]]
    );
    assert_eq!(
        (stage.service.names("d1"), stage.service.names("d2")),
        (vec!["bob".to_owned()], vec!["bob".to_owned()])
    );
}

#[test]
fn without_the_permission_to_read_nothing_is_sent_and_the_action_is_named() {
    let forbidden = Refused::new(403, "WKS.00000403", "Policy doesn't allow workspace:desktops:list to be performed.");
    for words in [&[][..], &["--preflight", "off"]] {
        let scenario =
            Scenario { faults: vec![Fault::new(Op::ListDesktops, Effect::Refuse(forbidden.clone()))], ..at_once() };
        let stage = Stage::with(three(), scenario);
        stage.sheet(THREE);
        stage.run_leavers(words).expect(4).says("workspace:desktops:list").says("--preflight off");
        stage.nothing_was_sent();
        assert!(!stage.path("leavers.results.csv.journal").exists());
    }
}

#[test]
fn a_filter_that_is_ignored_finds_every_desktop_all_the_same() {
    let seats = (0..250).map(|n| seat(&format!("d-{n:03}"), &format!("PC-{n:03}"), &format!("u-{n}")));
    let scenario = Scenario { faults: vec![Fault::new(Op::ListDesktops, Effect::IgnoreFilter)], ..at_once() };
    let mut world = World::from_seats(seats, 1);
    world.bind(seat("d-249", "", "other"));
    let stage = Stage::with(world, scenario);
    let csv = (100..250).fold("desktop_id,user_name\n".to_owned(), |mut csv, n| {
        _ = writeln!(csv, "d-{n:03},u-{n}");
        csv
    });
    stage.sheet(&csv);
    stage.run_leavers(&[]).expect(0);
    assert_tally(stage.column("outcome"), &[("detached", 150)]);
    assert_eq!(stage.service.names("d-249"), [bound("other").user_name]);
}

#[test]
fn p01_a_short_page_loses_no_desktop() {
    let seats = (0..30).map(|n| seat(&format!("d-{n:02}"), &format!("PC-{n:02}"), "ann"));
    let scenario =
        Scenario { faults: vec![Fault::new(Op::ListDesktops, Effect::ShortPage).after(1).count(1)], ..at_once() };
    let stage = Stage::with(World::from_seats(seats, 1), scenario);
    stage.sheet("user_name\nann\n");
    let plan = stage.plan_leavers(&["--format", "json"]).expect(0).json();
    assert_eq!(plan["counts"]["to_detach"], 30);
}
