//! `--preflight off` and `--verify off`: what can't be known is not claimed, and what needs a look is refused.

use batch_detach::testing::build::{id, world};
use batch_detach::testing::sim::{Effect, Fate, Fault, Op, Scenario};

use super::at_once;
use crate::stage::{Stage, assert_tally};

fn stage() -> Stage {
    let people: Vec<(&str, &[&str])> = vec![("d1", &["ann", "bob"]), ("d2", &["cara"]), ("d3", &["dan"])];
    Stage::with(world(&people), at_once())
}

#[test]
fn a_plan_without_a_look_needs_no_credentials_and_no_network() {
    let stage = stage();
    stage.sheet("desktop_id,user_name\nd1,ann\nd2,whoever\n");
    let mut command = stage.command(&["plan", "leavers.csv", "--preflight", "off"]);
    command.env_remove("HW_AUTH_TOKEN").env("BATCH_DETACH_ENDPOINT", "http://127.0.0.1:1");
    stage.spawn(command).wait().expect(0).says("2 to detach").says("--preflight off");
    assert_eq!(stage.service.app.log().len(), 0);
}

#[test]
fn p05_rows_that_only_a_look_could_resolve_are_invalid_without_one() {
    let stage = stage();
    stage.sheet("desktop_id,desktop_name,user_name,type\nd1,,ann,\n,D2,cara,\n,,dan,\nd3,,,ALL\n");
    let words = ["--preflight", "off", "--allow-detach-all", "--empty-desktop", "every"];
    let refused = stage.run_leavers(&words).expect(2).says("INVALID_NEEDS_PREFLIGHT");
    refused.says("line 3").says("line 4").says("line 5");
    stage.nothing_was_sent();
    stage.run_leavers(&[&words[..], &["--on-invalid", "skip"]].concat()).expect(1);
    assert_tally(stage.column("outcome"), &[("detached", 1), ("invalid", 3)]);
}

#[test]
fn what_needs_a_look_is_refused_beside_its_being_off() {
    let stage = stage();
    stage.sheet("desktop_id,user_name\nd1,ann\n");
    for words in [
        ["--preflight", "off", "--in-use", "skip"],
        ["--preflight", "off", "--max-percent", "30"],
        ["--verify", "off", "--canary", "1"],
    ] {
        stage.run_leavers(&words).expect(2).says(&format!("`{}`", words[2].trim_start_matches('-')));
    }
    assert_eq!(stage.service.app.log().len(), 0);
}

#[test]
fn p02_without_a_preflight_detached_says_only_that_the_binding_is_not_there_now() {
    let stage = stage();
    stage.sheet("desktop_id,user_name\nd1,ANN\nd2,nobody\nnowhere,ann\n");
    stage.run_leavers(&["--preflight", "off"]).expect(1);
    assert_eq!(stage.column("outcome"), ["detached", "detached", "failed"], "a typo is no success");
    assert_eq!(stage.column("error_code")[2], "WKS.0202");
    assert_eq!(stage.service.names("d1"), ["bob"]);
    let sent = &stage.detaches()[0]["desktops"];
    assert_eq!(sent[0]["detach_user_infos"][0]["user_name"], "ANN", "as given: nobody looked");
}

#[test]
fn without_any_look_nothing_is_read() {
    let stage = stage();
    stage.sheet("desktop_id,user_name\nd1,ann\nd2,cara\n");
    stage.run_leavers(&["--preflight", "off", "--verify", "off"]).expect(0).says("not read back: --verify off");
    assert_tally(stage.column("outcome"), &[("detached", 2)]);
    let reads: Vec<Op> = stage.service.app.log().iter().map(|entry| entry.op).filter(|op| !op.is_write()).collect();
    assert_eq!(reads, [], "none at all");
}

#[test]
fn p02_without_verification_the_services_word_is_taken_its_jobs_word_included() {
    let mut world = world(&[("d1", &["ann"]), ("d2", &["bob"]), ("d3", &["cara"]), ("d4", &["dan"])]);
    world.doom(&id("d1"), Fate::FailsWith { code: "WKS.00010042".into(), message: "no".into(), times: None });
    world.doom(&id("d2"), Fate::JobFails { code: "WKS.1403".into(), message: "no agent".into() });
    world.doom(&id("d3"), Fate::Pooled);
    let stage = Stage::with(world, at_once());
    stage.sheet("desktop_id,user_name\nd1,ann\nd2,bob\nd3,cara\nd4,dan\n");
    let before = 2; // The preflight: how many there are, and those asked for.
    stage.run_leavers(&["--verify", "off", "--still-access", "off"]).expect(1);
    assert_eq!(stage.column("outcome"), ["failed", "failed", "detached", "detached"]);
    assert_eq!(stage.column("error_code"), ["WKS.00010042", "WKS.1403", "", ""]);
    assert_eq!(stage.service.requests(Op::ListDesktops).len(), before, "no read after the writes");
    assert!(!stage.service.requests(Op::ShowJob).is_empty(), "the job was followed");
    stage.every_outcome_is_true();
}

#[test]
fn p07_a_lost_answer_is_read_back_even_without_verification() {
    for (effect, writes) in [(Effect::ExecuteThenDrop, 1), (Effect::DropBefore, 2)] {
        let faults = vec![Fault::new(Op::BatchDetach, effect).count(1)];
        let stage = Stage::with(world(&[("d1", &["ann"])]), Scenario { faults, ..at_once() });
        stage.sheet("desktop_id,user_name\nd1,ann\n");
        stage.run_leavers(&["--preflight", "off", "--verify", "off"]).expect(0);
        assert_tally(stage.column("outcome"), &[("detached", 1)]);
        assert_eq!(stage.detaches().len(), writes);
        let log = stage.service.app.log();
        assert!(log.iter().any(|entry| entry.op == Op::ListDesktops), "read back before anything else");
        stage.every_outcome_is_true();
    }
}
