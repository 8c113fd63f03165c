//! A world for trying out: mostly successes, and one of each thing that a real run meets.

use std::collections::BTreeMap;
use std::time::Duration;

use super::scenario::{Fate, POOL, Physics, Scenario};
use super::world::{Seat, World, hash, uuid};
use crate::model::{Bound, DesktopId, Kind};

impl Scenario {
    /// The pace of the real service, as far as a rehearsal needs it, and nothing that takes long to settle.
    pub fn rehearsal(seed: u64) -> Self {
        let world = Physics {
            detach_lag: Duration::from_millis(800),
            job_time: Duration::from_millis(2_500),
            latency: Duration::from_millis(60),
            ..Physics::default()
        };
        Self { seed, world, ..Self::default() }
    }
}

impl World {
    /// A world that holds `seats`, some of their desktops hibernated, pooled or in use, some bindings gone already; and
    /// some of their users get in by something else: a pool, a group that is authorised for it, another desktop.
    ///
    /// The choice depends on the ids and the seed alone. From six desktops on there is at least one of each; no
    /// desktop is unknown, since that would make the input invalid.
    pub fn rehearse(seats: impl IntoIterator<Item = Seat>, seed: u64) -> (Self, Scenario) {
        let mut world = Self::new(seed);
        let mut first: BTreeMap<DesktopId, Bound> = BTreeMap::new();
        for seat in seats {
            let id = seat.desktop.clone();
            let bound = world.bind(seat);
            first.entry(id).or_insert(bound);
        }
        let mut ranked: Vec<&DesktopId> = first.keys().collect();
        ranked.sort_by_key(|id| hash(seed, id.as_str()));
        let count = ranked.len();
        let some = |share: usize, from: usize| if count < from { 0 } else { (count / share).max(1) };
        let mut next = ranked.into_iter();
        for id in next.by_ref().take(some(25, 3)) {
            world.doom(id, Fate::Hibernated);
        }
        for (n, id) in next.by_ref().take(some(12, 4)).enumerate() {
            world.doom(id, Fate::Pooled);
            let is_user = first[id].kind == Kind::User;
            if n % 2 == 0 && is_user {
                world.authorise(POOL, first[id].clone());
            }
        }
        for id in next.by_ref().take(some(25, 5)) {
            world.unbind(id, &first[id]);
        }
        for id in next.by_ref().take(some(12, 6)) {
            world.doom(id, Fate::Connected);
        }
        let mut users = next.filter(|id| first[*id].kind == Kind::User);
        for id in users.by_ref().take(some(40, 8)) {
            let other = DesktopId::parse(&uuid(seed, &format!("other {id}")));
            if let Some(desktop) = other.filter(|other| !first.contains_key(other)) {
                world.bind(Seat { desktop, name: String::new(), bound: first[id].clone() });
            }
        }
        let group = Bound {
            kind: Kind::Group,
            user_name: "Remote work".to_owned(),
            user_id: None,
            user_group: None,
            domain: None,
        };
        let enrolled: Vec<_> = users.take(some(40, 9)).collect();
        for id in &enrolled {
            world.enrol(group.clone(), first[*id].clone());
        }
        if !enrolled.is_empty() {
            world.authorise(POOL, group);
        }
        (world, Scenario::rehearsal(seed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::App;
    use super::super::testing::{detach, id, read, seat};
    use super::*;

    fn seats(count: usize) -> impl Iterator<Item = Seat> {
        (0..count).map(|n| seat(&format!("d-{n}"), "u-0"))
    }

    #[tokio::test(start_paused = true)]
    async fn from_six_desktops_on_a_rehearsal_meets_one_of_each_and_mostly_succeeds() {
        for (count, seed) in [(6, 1), (6, 2), (13, 3), (40, 4), (40, 5), (100, 6)] {
            let (world, scenario) = World::rehearse(seats(count), seed);
            let gone = world.snapshot_bindings().values().filter(|bound| bound.is_empty()).count();
            let app = App::new(world, scenario);
            let ids: Vec<String> = (0..count).map(|n| format!("d-{n}")).collect();
            let (status, answer) = detach(&app, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
            let failed = answer["failed_operation_list"].as_array().unwrap().len();
            let job = answer["job_id"].as_str().unwrap().to_owned();
            assert!(status == 200 && gone >= 1 && failed >= 1, "{count} {seed}: {gone} gone, {failed} failed");
            assert!(failed * 5 <= count, "{count} {seed}: {failed} failed");
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(read(&app, &format!("/workspace-jobs/{job}")).await["status"], "COMPLETE");
            let listed = |id: &DesktopId| ids.iter().any(|listed| id.is_spelled(listed));
            let left = app.world().snapshot_bindings();
            let left = left.iter().filter(|(id, bound)| listed(id) && !bound.is_empty()).count();
            assert_eq!(left, failed, "{count} {seed}: whoever was not refused is gone");
        }
    }

    #[test]
    fn a_rehearsal_depends_on_ids_and_seed_alone() {
        let world = |order: Vec<Seat>, seed| World::rehearse(order, seed).0.snapshot_bindings();
        let backwards: Vec<Seat> = seats(40).collect::<Vec<_>>().into_iter().rev().collect();
        assert_eq!(world(seats(40).collect(), 7), world(backwards, 7));
        assert_ne!(world(seats(40).collect(), 7), world(seats(40).collect(), 8));
        assert!(!world(seats(1).collect(), 7)[&id("d-0")].is_empty());
    }
}
