//! Plan against reality, and proof of every row: the program itself against the simulator over TCP, and the library
//! against it in process under paused time.

mod guards;
mod looks;
mod never_somebody_else;
mod outcomes;
mod overlap;
mod paused;
mod plans;
mod still;
mod stops;
mod unanswered;
mod without_a_look;

use std::time::Duration;

use batch_detach::testing::build;
use batch_detach::testing::sim::{Physics, Scenario, Seat};

fn seat(desktop: &str, name: &str, who: &str) -> Seat {
    Seat { name: name.to_owned(), ..build::seat(desktop, who) }
}

/// A physics in which everything happens at once.
fn at_once() -> Scenario {
    Scenario { world: Physics { job_time: Duration::from_millis(100), ..Physics::default() }, ..Scenario::default() }
}
