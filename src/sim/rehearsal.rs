//! A world for trying out: mostly successes, and one of each thing that a real run meets.

use std::collections::BTreeMap;
use std::time::Duration;

use super::scenario::{Fate, Physics, Scenario};
use super::world::{Seat, World, hash};
use crate::model::DesktopId;

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
    /// A world that holds `seats`, some of their desktops hibernated, pooled or in use, some bindings gone already.
    ///
    /// The choice depends on the ids and the seed alone. From six desktops on there is at least one of each; no
    /// desktop is unknown, since that would make the input invalid.
    pub fn rehearse(seats: impl IntoIterator<Item = Seat>, seed: u64) -> (Self, Scenario) {
        let mut world = Self::new(seed);
        let mut first: BTreeMap<DesktopId, (usize, super::world::Seat)> = BTreeMap::new();
        for seat in seats {
            let bound = world.bind(seat.clone());
            first.entry(seat.desktop.clone()).or_insert((0, Seat { bound, ..seat })).0 += 1;
        }
        let mut ranked: Vec<&DesktopId> = first.keys().collect();
        ranked.sort_by_key(|id| hash(seed, id.as_str()));
        let count = ranked.len();
        let some = |share: usize, from: usize| if count < from { 0 } else { (count / share).max(1) };
        let mut next = ranked.into_iter();
        for id in next.by_ref().take(some(25, 3)) {
            world.doom(id, Fate::Hibernated);
        }
        for id in next.by_ref().take(some(12, 4)) {
            world.doom(id, Fate::Pooled);
        }
        for id in next.by_ref().take(some(25, 5)) {
            world.unbind(id, &first[id].1.bound);
        }
        for id in next.by_ref().take(some(12, 6)) {
            world.doom(id, Fate::Connected);
        }
        (world, Scenario::rehearsal(seed))
    }
}
