//! The looks before anything is planned, where the service is hard to reach.

use std::sync::Arc;
use std::time::Duration;

use batch_detach::testing::api::Reader;
use batch_detach::testing::build::world;
use batch_detach::testing::model::Class;
use batch_detach::testing::pace::{Ceiling, Gates, Heard, Waits};
use batch_detach::testing::reconcile::preflight::Preflight;
use batch_detach::testing::sim::{App, Effect, Fault, Op, Scenario};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::paused::target;

#[tokio::test(start_paused = true)]
async fn p10_a_look_that_is_cut_off_does_not_end_the_pause_of_an_outage() {
    let faults = vec![Fault::new(Op::ListDesktops, Effect::DropBefore).count(1)];
    let app = App::new(world(&[("d1", &["ann"])]), Scenario { faults, ..Scenario::default() });
    let gates = Gates::new(|_| Ceiling { period: Duration::from_millis(300) }, 8, 1, false);
    let stop = CancellationToken::new();
    for _ in 0..5 {
        let mut pass = gates.pass(Class::ShowDesktop, &stop).await.unwrap();
        gates.heard(&mut pass, Heard::NoConnection);
    }
    let began = Instant::now();
    let look = Preflight::new(Reader::new(target(&app)), Arc::clone(&gates), 8, Waits::default(), 1, stop);
    look.probe().await.unwrap();
    // Half a minute until the look, and twice that because it found nobody either.
    assert!(began.elapsed() >= Duration::from_secs(90), "{:?}", began.elapsed());
    assert_eq!((look.reads(), gates.breaker_wait()), (2, None));
}
