//! Every outcome is true: what is called gone is gone, and what is called failed is there.

use std::sync::Arc;
use std::time::Duration;

use batch_detach::plan::{Bounds, Policy};
use batch_detach::testing::build::{bound, id, world};
use batch_detach::testing::sim::{App, Blame, Effect, Executed, Fate, Fault, Op, Physics, Refused, Scenario, World};

use super::paused::{Go, Ran};
use super::{at_once, seat};
use crate::stage::{Stage, assert_tally};

/// P1 and P2 at the end of a run: one word for each row, and none that the world gives the lie.
#[track_caller]
fn every_word_is_true(ran: &Ran, app: &Arc<App>, rows: usize) {
    assert_eq!(ran.rows.len(), rows);
    for row in &ran.rows {
        let bound = app.world().bound(&id(&row.desktop));
        let is_bound = bound.iter().any(|one| one.user_name.to_lowercase() == row.user.to_lowercase());
        match row.outcome {
            "detached" | "already_detached" => assert!(!is_bound, "{row:?}"),
            "failed" => assert!(is_bound && !row.code.is_empty() && !row.message.is_empty(), "{row:?}"),
            other => panic!("{other}: {row:?}"),
        }
    }
}

#[test]
fn p02_of_a_desktop_listed_as_failed_each_user_is_judged_for_himself() {
    let mut world = world(&[("d1", &["ann", "bob", "cara", "dan", "eve"])]);
    let refusal = Fate::FailsWith { code: "WKS.00010042".into(), message: "detach failed".into(), times: None };
    world.doom(&id("d1"), refusal);
    let stage = Stage::with(world, at_once());
    stage.sheet("desktop_id,user_name\nd1,ann\nd1,bob\n");
    // The service lists the desktop as failed, though one of the two does go.
    let app = Arc::clone(&stage.service.app);
    let half = std::thread::spawn(move || {
        while !app.log().iter().any(|entry| entry.op == Op::BatchDetach) {
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut world = app.world();
        let ann = world.bound(&id("d1")).into_iter().find(|one| one.user_name == "ann").unwrap();
        world.unbind(&id("d1"), &ann);
    });
    stage.run_leavers(&[]).expect(1).says("WKS.00010042");
    half.join().unwrap();
    assert_eq!(stage.column("outcome"), ["detached", "failed"]);
    assert_eq!(stage.column("error_code"), ["", "WKS.00010042"]);
    assert_eq!(stage.service.names("d1"), ["bob", "cara", "dan", "eve"]);
}

fn people(desktops: usize) -> Vec<(String, String)> {
    (0..desktops).map(|n| (format!("d-{n:03}"), format!("u-{n}"))).collect()
}

fn of(people: &[(String, String)]) -> (World, String) {
    let world = World::from_seats(people.iter().map(|(desktop, user)| seat(desktop, "", user)), 1);
    let head = "desktop_id,user_name\n".to_owned();
    let csv = people.iter().fold(head, |csv, (desktop, user)| csv + desktop + "," + user + "\n");
    (world, csv)
}

#[tokio::test(start_paused = true)]
async fn p02_slow_desktops_and_jobs_that_hide_a_failure_under_complete_end_as_the_world_says() {
    let people = people(240);
    let (mut world, csv) = of(&people);
    for (n, (desktop, _)) in people.iter().enumerate() {
        match n % 6 {
            0 => world.doom(&id(desktop), Fate::Pooled),
            1 => world.doom(&id(desktop), Fate::JobFails { code: "WKS.1403".into(), message: "no agent".into() }),
            _ => {}
        }
    }
    let physics = Physics { detach_lag: Duration::from_secs(3), ..Physics::default() };
    let app = App::new(world, Scenario { world: physics, ..Scenario::default() });
    let ran = Go::default().run(&app, &csv, |_| ()).await;
    every_word_is_true(&ran, &app, 240);
    assert_eq!(ran.outcomes(), [("detached", 200), ("failed", 40)].into());
    let failed: Vec<_> = ran.rows.iter().filter(|row| row.outcome == "failed").collect();
    assert!(
        failed.iter().all(|row| (row.code.as_str(), row.message.as_str()) == ("WKS.1403", "no agent")),
        "{failed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn p02_lagging_reads_make_nothing_gone_that_is_not() {
    let people = people(30);
    let (mut world, csv) = of(&people);
    for (desktop, _) in people.iter().step_by(3) {
        world.doom(&id(desktop), Fate::NeverUnbinds);
    }
    let physics =
        Physics { read_lag: Duration::from_secs(12), detach_lag: Duration::from_secs(2), ..Physics::default() };
    let app = App::new(world, Scenario { world: physics, ..Scenario::default() });
    let ran = Go::default().run(&app, &csv, |_| ()).await;
    every_word_is_true(&ran, &app, 30);
    assert!(ran.rows.iter().step_by(3).all(|row| row.code == "STILL_BOUND"), "{:?}", ran.rows);
    assert!(ran.rows[0].message.contains("sent 5 times"), "{}", ran.rows[0].message);
}

#[tokio::test(start_paused = true)]
async fn p02_a_desktop_that_goes_away_meanwhile_takes_its_bindings_with_it() {
    let (mut world, csv) = of(&people(3));
    world.doom(&id("d-001"), Fate::Slow(Duration::from_secs(60)));
    world.doom(&id("d-001"), Fate::GoneAfter(Duration::from_secs(20)));
    let app = App::new(world, Scenario::default());
    let ran = Go::default().run(&app, &csv, |_| ()).await;
    assert_eq!(ran.outcomes(), [("detached", 3)].into());
}

#[tokio::test(start_paused = true)]
async fn p02_whoever_is_bound_again_by_somebody_is_not_called_gone() {
    let (mut world, csv) = of(&people(2));
    world.doom(&id("d-000"), Fate::Rebound { after: Duration::from_millis(3_500), by: None });
    let app = App::new(world, Scenario::default());
    let ran = Go::default().run(&app, &csv, |_| ()).await;
    // Sent again once it is proved to be bound: nobody but this leaver is touched.
    every_word_is_true(&ran, &app, 2);
}

#[tokio::test(start_paused = true)]
async fn the_last_look_at_what_was_in_doubt_is_told_when_all_rows_have_their_word() {
    for (faults, doubts) in [(vec![Fault::new(Op::BatchDetach, Effect::ExecuteThenDrop).count(1)], 1), (vec![], 0)] {
        let (world, csv) = of(&people(3));
        let app = App::new(world, Scenario { faults, ..Scenario::default() });
        let bounds = Bounds { max_desktops: 1, ..Bounds::default() };
        let go = Go { policy: Policy { bounds, ..Policy::default() }, ..Go::default() };
        let ran = go.run(&app, &csv, |_| ()).await;
        assert_eq!(ran.outcomes(), [("detached", 3)].into());
        let looks: Vec<_> = ran.told.iter().skip_while(|told| !told.starts_with("Rechecking")).collect();
        let wanted = vec!["Rechecking { open: 1 }"; doubts];
        assert_eq!(looks, wanted, "nothing is settled after it: {:?}", ran.told);
    }
}

/// All that a service may do to a request or a desktop, in one run: seeds decide which it is.
#[tokio::test(start_paused = true)]
async fn p02_whatever_goes_wrong_every_word_is_true() {
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let people = people(120);
        let (mut world, csv) = of(&people);
        for (desktop, _) in &people {
            let desktop = id(desktop);
            let (code, message) = ("WKS.00010042".to_owned(), "no".to_owned());
            match random.u32(0..24) {
                0 => world.doom(&desktop, Fate::Pooled),
                1 => world.doom(&desktop, Fate::JobFails { code, message }),
                2 => world.doom(&desktop, Fate::FailsWith { code, message, times: None }),
                3 => world.doom(&desktop, Fate::ListedThoughGone { code, message }),
                4 => world.doom(&desktop, Fate::FailsFirst { times: 1 }),
                5 => world.doom(&desktop, Fate::NeverUnbinds),
                6 => world.doom(&desktop, Fate::Busy { lasts: Duration::from_secs(random.u64(1..60)) }),
                7 => world.doom(&desktop, Fate::Hibernated),
                8 => world.doom(&desktop, Fate::Frozen),
                9 => world.doom(&desktop, Fate::Slow(Duration::from_secs(random.u64(1..90)))),
                10 => world.doom(&desktop, Fate::Poison(Refused::new(400, "WKS.0001", "bad"))),
                _ => {}
            }
        }
        let broken = Refused::new(500, "", "broken");
        let faults = vec![
            Fault::new(Op::BatchDetach, Effect::ExecuteThenDrop).probability(0.05),
            Fault::new(Op::BatchDetach, Effect::DropBefore).probability(0.05),
            Fault::new(Op::BatchDetach, Effect::HalfThen(broken.clone())).probability(0.05),
            Fault::new(Op::ListDesktops, Effect::Refuse(broken)).after(3).probability(0.1),
            Fault::new(Op::ListDesktops, Effect::ShortPage).after(3).probability(0.1),
            Fault::new(Op::ListDesktops, Effect::NoBindings).after(3).probability(0.1),
        ];
        let physics = Physics {
            detach_lag: Duration::from_millis(random.u64(0..4_000)),
            read_lag: Duration::from_millis(random.u64(0..3_000)),
            busy: if random.bool() { Blame::Request } else { Blame::Desktop },
            hibernated: if random.bool() { Blame::Request } else { Blame::Desktop },
            ..Physics::default()
        };
        let app = App::new(world, Scenario { seed, world: physics, faults, ..Scenario::default() });
        let bounds = Bounds { max_desktops: 20, ..Bounds::default() };
        let go = Go { policy: Policy { bounds, ..Policy::default() }, ..Go::default() };
        let ran = go.run(&app, &csv, |_| ()).await;
        every_word_is_true(&ran, &app, 120);
    }
}

/// Six users of one desktop in requests of two: each request only after the one before is settled.
#[tokio::test(start_paused = true)]
async fn p06_parts_of_one_desktop_go_one_after_another() {
    let users = ["a", "b", "c", "d", "e", "f"];
    let seats = users.iter().map(|user| seat("d", "PC", user));
    let csv = users.iter().fold("desktop_id,user_name\n".to_owned(), |csv, user| csv + "d," + user + "\n");
    let physics = Physics { detach_lag: Duration::from_secs(3), ..Physics::default() };
    let app = App::new(World::from_seats(seats, 1), Scenario { world: physics, ..Scenario::default() });
    let bounds = Bounds { max_users_per_desktop: 2, ..Bounds::default() };
    let go = Go { policy: Policy { bounds, ..Policy::default() }, ..Go::default() };
    let ran = go.run(&app, &csv, |_| ()).await;
    assert_eq!(ran.outcomes(), [("detached", 6)].into());
    let log = app.log();
    let writes: Vec<_> = log.iter().filter(|entry| entry.op == Op::BatchDetach).collect();
    assert_eq!(
        writes.iter().map(|write| (write.executed, write.applied.len())).collect::<Vec<_>>(),
        [(Executed::Whole, 2); 3]
    );
    for pair in writes.windows(2) {
        // 3 s until they are gone, and 5 s between the two reads that prove it.
        assert!(pair[1].at - pair[0].at >= Duration::from_secs(8), "{:?}", pair[1].at - pair[0].at);
    }
}

#[test]
fn the_same_binding_twice_is_sent_once_and_each_row_has_the_outcome() {
    let stage = Stage::with(world(&[("d1", &["ann", "bob"])]), at_once());
    stage.sheet("desktop_id,desktop_name,user_name\nd1,,ann\n,D1,ANN\nd1,,bob\n,,ann\n");
    stage.run_leavers(&["--empty-desktop", "every"]).expect(0);
    assert_tally(stage.column("outcome"), &[("detached", 4)]);
    let sent = &stage.detaches()[0]["desktops"];
    assert_eq!((sent.as_array().unwrap().len(), sent[0]["detach_user_infos"].as_array().unwrap().len()), (1, 2));
}

#[test]
fn pool_desktops_go_in_requests_of_their_own() {
    let mut world = world(&[("d1", &["ann"]), ("d2", &["bob"]), ("d3", &["cara"])]);
    world.doom(&id("d2"), Fate::JobFails { code: "WKS.1403".into(), message: "no agent".into() });
    world.doom(&id("d3"), Fate::Pooled);
    let stage = Stage::with(world, at_once());
    stage.sheet("desktop_id,user_name\nd1,ann\nd2,bob\nd3,cara\n");
    stage.run_leavers(&[]).expect(1).says("WKS.1403");
    assert_eq!(stage.column("outcome"), ["detached", "failed", "detached"]);
    assert!(stage.column("job_id").iter().all(|job| !job.is_empty()), "{:?}", stage.column("job_id"));
    // The two requests go at the same time: which comes first is chance.
    let mut desktops: Vec<usize> =
        stage.detaches().iter().map(|body| body["desktops"].as_array().unwrap().len()).collect();
    desktops.sort_unstable();
    assert_eq!(desktops, [1, 2]);
    stage.every_outcome_is_true();
    assert_eq!(stage.service.names("d2"), [bound("bob").user_name]);
}
