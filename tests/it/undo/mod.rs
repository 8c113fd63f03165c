//! `undo`, through the program itself: what a run detached is attached again, and nothing else.

mod doubts;
mod refusals;
mod whole;

use batch_detach::testing::build::seat;
use batch_detach::testing::sim::Scenario;

use crate::stage::Stage;

/// Desktops `d-0`, `d-1`, … of `u-0`, `u-1`, …, all of whom leave.
fn stage(count: usize) -> Stage {
    let names = || (0..count).map(|n| (format!("d-{n}"), format!("u-{n}")));
    let stage = Stage::new(names().map(|(desktop, user)| seat(&desktop, &user)), Scenario::default());
    stage.leavers(names());
    stage
}
