//! What looking before and after costs: in requests, and in time.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use batch_detach::plan::{Bounds, Policy};
use batch_detach::testing::build::{bound, id};
use batch_detach::testing::dispatch::{Ended, Rules};
use batch_detach::testing::model::Class;
use batch_detach::testing::sim::{App, Fate, Physics, Scenario, Seat, World};

use super::paused::{Go, Ran};

fn seats(desktops: usize) -> impl Iterator<Item = Seat> {
    (0..desktops).map(|n| Seat {
        desktop: id(&format!("d-{n:06}")),
        name: format!("PC-{n:06}"),
        bound: bound(&format!("user-{n}")),
    })
}

fn sheet(desktops: usize) -> String {
    (0..desktops).fold("desktop_id,user_name\n".to_owned(), |mut csv, n| {
        _ = writeln!(csv, "d-{n:06},USER-{n}");
        csv
    })
}

fn service(desktops: usize, lag: Duration) -> Arc<App> {
    let physics = Physics { detach_lag: lag, latency: Duration::from_millis(200), ..Physics::default() };
    App::without_log(World::from_seats(seats(desktops), 1), Scenario { world: physics, ..Scenario::default() })
}

fn reads(ran: &Ran) -> u64 {
    [Class::ListDesktops, Class::ShowDesktop].into_iter().map(|class| ran.started(class)).sum()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_desktops_take_a_read_for_each_hundred_before_and_two_after() {
    for lag in [Duration::ZERO, Duration::from_millis(800)] {
        let ran = Go::default().run(&service(1_000, lag), &sheet(1_000), |_| ()).await;
        assert_eq!(ran.outcomes(), [("detached", 1_000)].into());
        assert!(
            ran.started(Class::ListDesktops) <= 34,
            "{} reads at a lag of {lag:?}",
            ran.started(Class::ListDesktops)
        );
        assert_eq!(ran.started(Class::ShowDesktop), 0);
        assert_eq!(ran.started(Class::BatchDetach), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_takes_20_s_costs_few_more_reads_than_a_quick_one() {
    let ran = Go::default().run(&service(5_000, Duration::from_secs(20)), &sheet(5_000), |_| ()).await;
    assert_eq!(ran.outcomes(), [("detached", 5_000)].into());
    // Reads are 150 at best; a poll every 5 s would make it 350.
    assert!(reads(&ran) <= 220, "{} reads", reads(&ran));
}

#[tokio::test(start_paused = true)]
async fn stragglers_of_many_chunks_are_read_together() {
    let app = service(3_000, Duration::from_millis(800));
    for n in (0..3_000).step_by(100) {
        app.world().doom(&id(&format!("d-{n:06}")), Fate::Slow(Duration::from_secs(90)));
    }
    let ran = Go::default().run(&app, &sheet(3_000), |_| ()).await;
    assert_eq!(ran.outcomes(), [("detached", 3_000)].into());
    // 90 without them. Each by itself, every 5 s, would take 500 more.
    assert!(reads(&ran) <= 155, "{} reads", reads(&ran));
}

#[tokio::test(start_paused = true)]
async fn one_desktop_a_request_does_not_make_one_read_for_each() {
    let bounds = Bounds { max_desktops: 1, ..Bounds::default() };
    let go = Go { policy: Policy { bounds, ..Policy::default() }, ..Go::default() };
    let ran = go.run(&service(300, Duration::from_millis(800)), &sheet(300), |_| ()).await;
    assert_eq!((ran.outcomes(), ran.started(Class::BatchDetach)), ([("detached", 300)].into(), 300));
    assert!(reads(&ran) <= 320, "{} reads", reads(&ran));
}

/// A run of 500 chunks of `size` desktops.
async fn of_500_chunks(size: usize, lag: Duration, rules: Rules) -> Ran {
    let desktops = 500 * size;
    let policy = Policy { bounds: Bounds { max_desktops: size, ..Bounds::default() }, ..Policy::default() };
    let ran = Go { policy, rules, ..Go::default() }.run(&service(desktops, lag), &sheet(desktops), |_| ()).await;
    assert_eq!(ran.ended, Ended::Complete);
    assert_eq!(ran.outcomes(), [("detached", desktops)].into());
    assert_eq!(ran.started(Class::BatchDetach), 500);
    ran
}

/// The same without any look. How many desktops a request carries makes no difference to its length.
async fn without_a_look() -> Duration {
    let rules = Rules { verify: false, preflight: false, ..Rules::default() };
    let ran = of_500_chunks(5, Duration::from_millis(800), rules).await;
    assert!(ran.took >= Duration::from_secs(299), "{:?}: not paced", ran.took);
    ran.took
}

#[tokio::test(start_paused = true)]
async fn looking_before_and_after_makes_500_full_chunks_take_at_most_15_percent_longer() {
    let without = without_a_look().await;
    let with = of_500_chunks(100, Duration::from_millis(800), Rules::default()).await;
    let ratio = with.took.as_secs_f64() / without.as_secs_f64();
    assert!(ratio <= 1.15, "{ratio:.3}: {:?} with, {:?} of it driven; {without:?} without", with.took, with.drove);
    assert!(reads(&with) <= 1_110, "{} reads", reads(&with));
}

#[tokio::test(start_paused = true)]
async fn verification_goes_along_with_the_writes_however_slow_the_service() {
    let without = without_a_look().await;
    for lag in [3, 20] {
        let with = of_500_chunks(10, Duration::from_secs(lag), Rules::default()).await;
        let ratio = with.drove.as_secs_f64() / without.as_secs_f64();
        assert!(ratio <= 1.15, "{ratio:.3} at a lag of {lag} s: {:?} with, {without:?} without", with.drove);
    }
}

#[tokio::test(start_paused = true)]
async fn full_chunks_are_settled_as_soon_as_two_reads_that_far_apart_can_tell() {
    let (write_period, read_period) = (Duration::from_millis(100), Duration::from_millis(50));
    let go = Go { write_period, read_period, ..Go::default() };
    let ran = go.run(&service(6_000, Duration::from_millis(800)), &sheet(6_000), |_| ()).await;
    assert_eq!(ran.outcomes(), [("detached", 6_000)].into());
    // 60 writes, the last one's answer, a look a second later, another one five seconds after that.
    let least = 59 * write_period + Duration::from_millis(200 + 1_000 + 200 + 5_000 + 200);
    assert!(ran.drove <= least + Duration::from_millis(300), "{:?}, not {least:?}", ran.drove);
}
