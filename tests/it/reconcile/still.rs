//! Who still gets in, in a world of a usual size: against the simulator's truth, at the default ceilings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use batch_detach::testing::api::Reader;
use batch_detach::testing::model::{Bound, DesktopId, Kind, Outcome, StillAccess};
use batch_detach::testing::pace::{Ceiling, Gates, Waits};
use batch_detach::testing::reconcile::preflight::Preflight;
use batch_detach::testing::reconcile::still::Doors;
use batch_detach::testing::sim::{App, Effect, Fault, Op, Refused, Scenario, Seat, World};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::paused::target;

const DESKTOPS: usize = 3_000;
const POOLS: usize = 40;
const GROUPS: usize = 120;
const LEAVERS: usize = 500;

fn who(kind: Kind, name: String) -> Bound {
    Bound { kind, user_name: name, user_id: None, user_group: None, domain: None }
}

fn user(n: usize) -> Bound {
    who(Kind::User, format!("user.{n}"))
}

fn seat(world: &mut World, desktop: usize, bound: Bound) -> Bound {
    let id = DesktopId::parse(&format!("d-{desktop:04}")).unwrap();
    world.bind(Seat { desktop: id, name: format!("PC-{desktop:04}"), bound })
}

/// Leaver n had desktop n, which the run has detached. Every third has another one, every seventh is authorised for a
/// pool. A third of the groups is bound to a desktop, a third authorised for a pool, a third lets nobody in.
fn world() -> World {
    let mut world = World::new(7);
    for n in 0..DESKTOPS {
        let empty = DesktopId::parse(&format!("d-{n:04}")).unwrap();
        world.add(&empty).name = format!("PC-{n:04}");
        if n >= LEAVERS {
            seat(&mut world, n, user(n));
        }
    }
    for n in (0..LEAVERS).step_by(3) {
        seat(&mut world, LEAVERS + n, user(n));
    }
    // Somebody else of the same name, in another domain: none of his.
    let namesake = Bound { domain: Some("west".to_owned()), ..user(1) };
    seat(&mut world, 2_999, namesake);
    for pool in 0..POOLS {
        for n in (pool..LEAVERS).step_by(7 * POOLS) {
            world.authorise(&format!("pool-{pool:02}"), user(n));
        }
    }
    for group in 0..GROUPS {
        let bound = who(Kind::Group, format!("Group {group}"));
        let others = (0..5_000 / (1 + group % 24)).map(|n| LEAVERS + n);
        for n in others.chain((0..LEAVERS).filter(|n| n % 80 == group / 3)) {
            world.enrol(bound.clone(), user(n));
        }
        match group % 3 {
            0 => _ = seat(&mut world, 1_000 + group, bound),
            1 => _ = world.authorise(&format!("pool-{:02}", group % POOLS), bound),
            _ => {}
        }
    }
    world
}

struct Looked {
    still: StillAccess,
    /// The cells, by the number of the record.
    rows: BTreeMap<u64, String>,
    reads: BTreeMap<&'static str, usize>,
    took: Duration,
}

async fn look(app: &Arc<App>) -> Looked {
    let ceiling = |_| Ceiling { period: Duration::from_millis(300) };
    let gates = Gates::new(ceiling, 8, 1, false);
    let reader = Reader::new(target(app));
    let preflight = Preflight::new(reader, gates, 8, Waits::default(), 1, CancellationToken::new());
    let began = Instant::now();
    let mut doors = Doors::default();
    preflight.all_desktops(&mut doors).await.unwrap();
    preflight.all_pools(&mut doors).await.unwrap();
    preflight.all_members(&mut doors).await.unwrap();
    let took = began.elapsed();
    let mut look = doors.into_look();
    for n in 0..LEAVERS {
        let (desktop, name, id) = (format!("d-{n:04}"), format!("User.{n}"), id_of(n));
        look.record(n as u64 + 2, &[&desktop, "", &name, &id, "", "USER", ""], Outcome::Detached);
    }
    let (still, rows) = look.finish();
    let mut reads = BTreeMap::new();
    for entry in app.log() {
        *reads.entry(entry.op.as_str()).or_default() += 1;
    }
    Looked { still, rows: rows.into_iter().collect(), reads, took }
}

fn id_of(n: usize) -> String {
    World::new(7).enrol(who(Kind::Group, "any".to_owned()), user(n)).1.user_id.unwrap()
}

fn slow(scenario: Scenario) -> Scenario {
    let mut scenario = scenario;
    scenario.world.latency = Duration::from_millis(80);
    scenario
}

#[tokio::test(start_paused = true)]
async fn each_of_500_leavers_still_gets_in_by_what_the_services_own_truth_says() {
    let app = App::new(world(), slow(Scenario::default()));
    let Looked { still, rows, reads, took } = look(&app).await;
    let mut people = 0;
    for n in 0..LEAVERS {
        let mut truth: BTreeSet<String> = app.world().lets_in(&id_of(n));
        truth.remove(&format!("desktop:PC-{n:04}"));
        people += u64::from(!truth.is_empty());
        let told = rows.get(&(n as u64)).map_or("", String::as_str);
        let told: BTreeSet<String> = told.split(';').filter(|way| !way.is_empty()).map(str::to_owned).collect();
        assert_eq!(told, truth, "leaver {n}");
    }
    assert_eq!((still.people, still.rows, still.unknown, still.why.len()), (people, people, 0, 0));
    assert!((200..500).contains(&people), "{people}");
    // Each list is read to its proved end; groups that let nobody in are not asked for.
    let most = [("list-desktops", 8), ("list-pools", 2), ("list-pool-users", 2 * POOLS), ("list-group-users", 200)];
    assert!(most.iter().all(|(op, most)| reads[op] <= *most) && reads.len() == most.len(), "{reads:?}");
    assert!(took < Duration::from_secs(90), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_permission_what_is_known_is_told_with_a_mark_and_the_action_is_named_once() {
    for (op, action, untold) in [
        (Op::ListGroupUsers, "workspace:userGroups:getUsers", "group:"),
        (Op::ListPoolUsers, "workspace:desktopPools:listUsers", "pool:"),
        (Op::ListPools, "workspace:desktopPools:list", "pool:"),
        (Op::ListDesktops, "workspace:desktops:list", "desktop:"),
    ] {
        let refused = Refused::new(403, "WKS.00000403", "Forbidden.");
        let faults = vec![Fault::new(op, Effect::Refuse(refused))];
        let app = App::new(world(), Scenario { faults, ..slow(Scenario::default()) });
        let Looked { still, rows, reads, .. } = look(&app).await;
        assert_eq!((still.unknown, still.incomplete), (LEAVERS as u64, true), "{op:?}");
        assert_eq!(still.why.iter().filter(|why| why.contains(action)).count(), 1, "{:?}", still.why);
        assert!(reads[op.as_str()] <= 8, "the others would be refused alike: {reads:?}");
        for n in 0..LEAVERS {
            let mut truth: BTreeSet<String> = app.world().lets_in(&id_of(n));
            truth.remove(&format!("desktop:PC-{n:04}"));
            let told = rows.get(&(n as u64)).map_or("?", String::as_str);
            let told = told.strip_suffix('?').unwrap().split(';').filter(|way| !way.is_empty());
            let told: BTreeSet<String> = told.map(str::to_owned).collect();
            // Groups that matter by what could not be read are not known, either.
            let is_known = |way: &&String| !way.starts_with(untold) && !way.starts_with("group:");
            assert!(
                told.is_subset(&truth) && truth.iter().filter(is_known).all(|way| told.contains(way)),
                "{op:?} {n}: {told:?}"
            );
            assert!(!told.iter().any(|way| way.starts_with(untold)), "{op:?} {n}: {told:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_never_steady_is_no_list() {
    let faults = vec![Fault::new(Op::ListGroupUsers, Effect::RepeatedEntry)];
    let app = App::new(world(), Scenario { faults, ..slow(Scenario::default()) });
    let Looked { still, .. } = look(&app).await;
    assert!(still.incomplete && still.why.iter().any(|why| why.contains("contradicts itself")), "{:?}", still.why);
}
