//! What nobody answered, what nobody understands, and where it is told.

use std::time::Duration;

use batch_detach::testing::build::{id, world};
use batch_detach::testing::dispatch::{Ended, Rules, StopReason};
use batch_detach::testing::sim::{App, Effect, Fate, Fault, Op, Refused, Scenario};

use super::paused::Go;

fn scenario(op: Op, effect: Effect) -> Scenario {
    Scenario { faults: vec![Fault::new(op, effect)], ..Scenario::default() }
}

fn off() -> Go {
    Go { rules: Rules { verify: false, ..Rules::default() }, ..Go::default() }
}

const ONE: &str = "desktop_id,user_name\nd1,ann\n";

#[tokio::test(start_paused = true)]
async fn p02_what_no_write_was_ever_answered_for_has_not_failed() {
    let app = App::new(world(&[("d1", &["ann"])]), scenario(Op::BatchDetach, Effect::DropBefore));
    let ran = Go::default().run(&app, ONE, |_| ()).await;
    assert_eq!(ran.rows[0].outcome, "unknown", "{:?}", ran.rows);
    assert!(ran.rows[0].code == "NO_ANSWER" && ran.rows[0].message.contains("no good read"), "{:?}", ran.rows);
    assert_eq!(app.log().iter().filter(|entry| entry.op == Op::BatchDetach).count(), 5, "P10");
}

#[tokio::test(start_paused = true)]
async fn p02_an_error_inside_a_200_is_no_consent_and_its_words_stand_in_the_row() {
    for verify in [true, false] {
        let refused = Refused::new(200, "WKS.00010088", "rejected by the policy");
        let app = App::new(world(&[("d1", &["ann"])]), scenario(Op::BatchDetach, Effect::Refuse(refused)));
        let go = if verify { Go::default() } else { off() };
        let ran = go.run(&app, ONE, |_| ()).await;
        assert_eq!((ran.rows[0].outcome, ran.rows[0].code.as_str()), ("failed", "STILL_BOUND"));
        assert!(ran.rows[0].message.contains("WKS.00010088: rejected by the policy"), "{:?}", ran.rows);
    }
}

#[tokio::test(start_paused = true)]
async fn p10_a_gateway_that_puts_off_every_write_ends_in_a_stop_whatever_the_reads_hear() {
    let busy = Refused::new(503, "APIGW.0613", "IAM is busy");
    let app = App::new(world(&[("d1", &["ann"])]), scenario(Op::BatchDetach, Effect::Refuse(busy)));
    let ran = Go::default().run(&app, ONE, |_| ()).await;
    let Ended::Stopped { reason: StopReason::Outage(why), .. } = &ran.ended else { panic!("{:?}", ran.ended) };
    assert!(why.contains("batch-detach") && why.contains("IAM is busy"), "{why}");
    assert!(ran.took < Duration::from_secs(3_600), "{:?}", ran.took);
    assert_eq!(ran.rows[0].outcome, "not_sent");
}

#[tokio::test(start_paused = true)]
async fn p11_the_words_of_a_401_and_how_far_the_clock_is_off_stand_in_the_rows_that_it_leaves_open() {
    for (op, clock_ahead_s, words) in [
        (Op::ListDesktops, 0, "security token expired"),
        (Op::ListDesktops, 20 * 60 + 30, "clock is 20 min"),
        (Op::BatchDetach, 20 * 60 + 30, "clock is 20 min"),
    ] {
        let expired = Refused::new(401, "APIGW.0301", "security token expired");
        let after = if op == Op::ListDesktops { 2 } else { 0 };
        let faults = vec![Fault::new(op, Effect::Refuse(expired)).after(after)];
        let app = App::new(world(&[("d1", &["ann"])]), Scenario { faults, clock_ahead_s, ..Scenario::default() });
        let ran = Go::default().run(&app, ONE, |_| ()).await;
        let Ended::Stopped { reason: StopReason::Credentials(why), .. } = &ran.ended else { panic!("{:?}", ran.ended) };
        assert!(why.contains("security token expired") && why.contains(words), "{why}");
        assert_eq!(ran.rows[0].outcome, if op == Op::ListDesktops { "unknown" } else { "not_sent" });
        assert!(ran.rows[0].message.contains(words), "{:?}", ran.rows);
    }
}

/// A pool desktop, whose detach comes with a job.
fn pooled() -> batch_detach::testing::sim::World {
    let mut world = world(&[("d1", &["ann"])]);
    world.doom(&id("d1"), Fate::Pooled);
    world
}

#[tokio::test(start_paused = true)]
async fn p02_without_verification_a_job_has_to_come_to_a_good_end() {
    let nowhere = Refused::new(404, "WKS.0203", "no such job");
    for (effect, outcome, words) in [
        (Effect::JobWord("CANCELED".to_owned()), "unknown", "CANCELED"),
        (Effect::Refuse(nowhere), "unknown", "never found"),
        (Effect::Delay(Duration::ZERO), "detached", ""),
    ] {
        let app = App::new(pooled(), scenario(Op::ShowJob, effect.clone()));
        let ran = off().run(&app, ONE, |_| ()).await;
        assert_eq!(ran.rows[0].outcome, outcome, "{effect:?}: {:?}", ran.rows);
        assert!(ran.rows[0].message.contains(words), "{effect:?}: {:?}", ran.rows);
    }
}

#[tokio::test(start_paused = true)]
async fn p02_a_word_of_a_job_that_nobody_knows_leaves_the_judging_to_reads() {
    let app = App::new(pooled(), scenario(Op::ShowJob, Effect::JobWord("CANCELED".to_owned())));
    let ran = Go::default().run(&app, ONE, |_| ()).await;
    assert_eq!(ran.rows[0].outcome, "detached", "{:?}", ran.rows);
    let mut stays = pooled();
    stays.doom(&id("d1"), Fate::NeverUnbinds);
    let app = App::new(stays, scenario(Op::ShowJob, Effect::JobWord("CANCELED".to_owned())));
    let ran = Go::default().run(&app, ONE, |_| ()).await;
    assert_eq!((ran.rows[0].outcome, ran.rows[0].code.as_str()), ("failed", "STILL_BOUND"), "{:?}", ran.rows);
    assert!(ran.rows[0].message.contains("CANCELED"), "{:?}", ran.rows);
}

#[tokio::test(start_paused = true)]
async fn p02_a_read_back_that_is_refused_for_one_id_is_divided_and_tells_of_all_others() {
    let people: Vec<(String, String)> = (0..40).map(|n| (format!("d{n}"), format!("u{n}"))).collect();
    let all: Vec<(&str, Vec<&str>)> = people.iter().map(|(d, u)| (d.as_str(), vec![u.as_str()])).collect();
    let all: Vec<(&str, &[&str])> = all.iter().map(|(desktop, users)| (*desktop, users.as_slice())).collect();
    let csv = people.iter().fold("desktop_id,user_name\n".to_owned(), |csv, (d, u)| csv + d + "," + u + "\n");
    let refused = Refused::new(403, "WKS.0403", "one of the ids is not yours");
    let bad = || Fault::new(Op::ListDesktops, Effect::Refuse(refused.clone())).after(2).naming([id("d7")]);
    for alone in [true, false] {
        let mut faults = vec![bad()];
        if !alone {
            faults.push(Fault::new(Op::ShowDesktop, Effect::Refuse(refused.clone())).naming([id("d7")]));
        }
        let app = App::new(world(&all), Scenario { faults, ..Scenario::default() });
        let ran = Go::default().run(&app, &csv, |_| ()).await;
        let expected = if alone { "detached" } else { "unknown" };
        for row in &ran.rows {
            let outcome = if row.desktop == "d7" { expected } else { "detached" };
            assert_eq!(row.outcome, outcome, "{row:?}");
            assert!(outcome == "detached" || row.message.contains("not yours"), "{row:?}");
        }
    }
}
