//! The main job, end to end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use batch_detach::testing::sim::{
    Effect, Executed, Fate, FateOf, Fault, LogEntry, Op, Physics, Refused, Scenario, Seat,
};
use serde_json::Value;

use super::service::{Service, desktops_in, id, named_in, seat};
use super::stage::Stage;

const DESKTOPS: usize = 500;
const LEAVERS: usize = 4;

fn desktop(n: usize) -> String {
    format!("desk-{n:04}")
}

/// Four leavers and two who stay on each desktop, and desktops that no row names.
fn seats() -> impl Iterator<Item = Seat> {
    let of = |n: usize| {
        let leavers = (0..LEAVERS).map(move |user| seat(&desktop(n), &format!("leaver-{n}-{user}")));
        leavers.chain((0..2).map(move |user| seat(&desktop(n), &format!("stays-{n}-{user}"))))
    };
    (0..DESKTOPS + 20).flat_map(of)
}

/// The rows of one desktop stand far apart.
fn rows() -> impl Iterator<Item = (String, String)> {
    (0..LEAVERS).flat_map(|user| {
        (0..DESKTOPS).map(move |n| (desktop(n * 7 % DESKTOPS), format!("leaver-{}-{user}", n * 7 % DESKTOPS)))
    })
}

fn fate(desktops: impl Iterator<Item = usize>, fate: Fate) -> FateOf {
    FateOf { desktops: desktops.map(|n| id(&desktop(n))).collect(), fate }
}

fn physics() -> Physics {
    Physics {
        detach_lag: Duration::from_millis(40),
        job_time: Duration::from_millis(150),
        latency: Duration::from_millis(15),
        ..Physics::default()
    }
}

/// P6 by the service's own log: from its arrival until the last of its bindings went, no other write names one of its
/// desktops.
fn check_one_at_a_time(service: &Service) {
    let ends: BTreeMap<usize, _> = {
        let world = service.app.world();
        let ends = world.changes().iter().filter_map(|change| Some((change.request?, change.at)));
        ends.collect() // the last one of a request stays
    };
    let mut open: BTreeMap<String, &LogEntry> = BTreeMap::new();
    let writes = service.writes();
    for write in &writes {
        for desktop in desktops_in(write) {
            if let Some(before) = open.insert(desktop.clone(), write) {
                let end = ends.get(&before.number).copied().unwrap_or(before.at);
                let end = end.max(before.at + physics().latency);
                assert!(end <= write.at, "{desktop}: write {} came into write {}", write.number, before.number);
            }
        }
    }
}

/// The limits of the API's definition, for every request received.
fn check_limits(service: &Service) {
    for entry in service.app.log() {
        if entry.op.is_write() {
            let body: Value = serde_json::from_slice(&entry.body).unwrap();
            let desktops = body["desktops"].as_array().unwrap();
            assert!((1..=100).contains(&desktops.len()) && entry.body.len() <= 1 << 20);
            for desktop in desktops {
                assert!(desktop["detach_user_infos"].as_array().unwrap().len() <= 500);
                assert_eq!(desktop["is_detach_all_users"], false);
            }
        }
        let limit = entry.query.split('&').find_map(|pair| pair.strip_prefix("limit=")?.parse::<u32>().ok());
        assert!(limit.is_none_or(|limit| limit <= 1_000), "{}", entry.query);
        assert!(entry.query.matches("desktop_id=").count() <= 100, "{}", entry.query);
    }
}

#[test]
fn p01_two_thousand_rows_over_five_hundred_desktops_are_detached_and_nobody_else_is() {
    let fates = vec![fate((0..DESKTOPS).step_by(10), Fate::Pooled)];
    let stage = Stage::new(seats(), Scenario { fates, world: physics(), ..Scenario::default() });
    stage.leavers(rows());
    let before = stage.service.bindings();

    stage.run(&["run", "leavers.csv", "--yes", "--max-users-per-request", "150"]).expect(0);

    let results = stage.results();
    assert_eq!(results.len(), DESKTOPS * LEAVERS);
    assert!(results.iter().all(|row| row["outcome"] == "detached" && !row["finished_at"].is_empty()));
    stage.check(&before);
    assert_eq!(before.len() - stage.service.bindings().len(), DESKTOPS * LEAVERS);
    check_one_at_a_time(&stage.service);
    check_limits(&stage.service);

    let writes = stage.service.writes();
    assert_eq!(writes.len(), 15, "37 whole desktops are below 150 users; those of pools go by themselves");
    let mut sent: Vec<_> = writes.iter().flat_map(named_in).collect();
    sent.sort();
    sent.dedup();
    assert_eq!(sent.len(), DESKTOPS * LEAVERS, "each binding once");
}

#[test]
fn p06_the_parts_of_a_desktop_of_many_users_go_one_after_another() {
    let user = |n: usize| format!("user-{n:04}");
    let seats = (0..1_203).flat_map(|n| [seat(&desktop(1), &user(n)), seat(&desktop(2), &user(n))]);
    let stage = Stage::new(seats, Scenario { world: physics(), ..Scenario::default() });
    stage.leavers((0..1_200).flat_map(|n| [(desktop(1), user(n)), (desktop(2), user(n))]));
    let before = stage.service.bindings();
    stage.run(&["run", "leavers.csv", "--yes"]).expect(0);
    stage.check(&before);
    check_one_at_a_time(&stage.service);
    check_limits(&stage.service);
    let parts = stage.service.writes().iter().flat_map(desktops_in).filter(|id| *id == desktop(1)).count();
    assert_eq!((parts, stage.service.bindings().len()), (3, 6));
}

#[test]
fn p02_rows_that_fail_in_the_ways_of_the_api_end_as_the_world_says() {
    let refused = |status, code: &str, message: &str| Refused::new(status, code, message);
    let lost = refused(500, "WKS.0001", "Internal error.");
    let scenario = Scenario {
        world: Physics { busy: batch_detach::testing::sim::Blame::Request, ..physics() },
        fates: vec![
            fate((0..DESKTOPS).step_by(10), Fate::Pooled),
            // 75 desktops, 300 rows.
            fate(1..21, Fate::Hibernated),
            fate(101..116, Fate::Busy { lasts: Duration::from_millis(900) }),
            fate([201, 301, 401].into_iter(), Fate::Poison(refused(400, "WKS.0003", "Parameter error."))),
            fate(
                211..228,
                Fate::FailsWith { code: "WKS.00020009".into(), message: "The agent is offline.".into(), times: None },
            ),
            fate((240..340).step_by(10), Fate::JobFails { code: "WKS.0509".into(), message: "Detach failed.".into() }),
            fate(341..351, Fate::FailsFirst { times: 1 }),
        ],
        faults: vec![
            // The chunk of this desktop holds no busy and no poisoned one, so that it is taken, and done by half; which
            // requests the next rule meets is chance, and one that changes nothing can't be done by half.
            Fault::new(Op::BatchDetach, Effect::HalfThen(lost.clone())).naming([id(&desktop(169))]).count(1),
            Fault::new(Op::BatchDetach, Effect::HalfThen(lost)).after(3).count(2),
            Fault::new(Op::BatchDetach, Effect::ExecuteThenDrop).after(6).count(1),
            Fault::new(Op::BatchDetach, Effect::DropBefore).after(8).count(1),
        ],
        ..Scenario::default()
    };
    let stage = Stage::new(seats(), scenario);
    let unknown = (0..5).map(|n| (format!("nowhere-{n}"), "somebody".to_owned()));
    stage.leavers(rows().chain(unknown));
    let before = stage.service.bindings();

    let refused = stage.run(&["run", "leavers.csv", "--yes"]).expect(2);
    assert!((2_002..2_007).all(|line| refused.stderr.contains(&format!("line {line},"))), "{}", refused.stderr);
    assert_eq!((stage.service.writes().len(), stage.files()), (0, vec!["leavers.csv".to_owned()]));

    stage.run(&["run", "leavers.csv", "--yes", "--on-invalid", "skip", "--max-desktops-per-request", "50"]).expect(1);

    stage.check(&before);
    check_one_at_a_time(&stage.service);
    check_limits(&stage.service);
    let results = stage.results();
    let count = |outcome: &str| results.iter().filter(|row| row["outcome"] == outcome).count();
    // Hibernated, poisoned, offline, and failed jobs of pools; whoever was busy or in half a request is gone.
    assert_eq!((count("failed"), count("invalid")), ((20 + 3 + 17 + 10) * LEAVERS, 5));
    assert_eq!(count("detached"), (DESKTOPS - 50) * LEAVERS);
    for row in &results {
        let told = !row["error_code"].is_empty() && !row["error_msg"].is_empty();
        assert_eq!(told, row["outcome"] != "detached", "line {}: {row:?}", row["line"]);
    }
    let codes: BTreeSet<_> =
        results.iter().filter(|row| row["outcome"] == "failed").map(|row| row["error_code"].as_str()).collect();
    assert!(codes.is_superset(&["WKS.0003", "WKS.00010032", "WKS.00020009", "WKS.0509"].into()), "{codes:?}");
    let writes = stage.service.writes();
    assert!(writes.iter().any(|write| write.executed == Executed::Partly), "no request was done by half");
    let splits = writes.iter().filter(|write| write.status == Some(400)).count();
    assert!(splits <= 3 * 7, "{splits} refused requests for three guilty desktops");
}
