//! Guards: what is refused before anything is sent, each with a sentence of its own.

use std::fmt::Write as _;

use batch_detach::testing::build::{id, world};
use batch_detach::testing::sim::{Op, World};

use super::{at_once, seat};
use crate::stage::{Stage, assert_tally};

fn small() -> Stage {
    Stage::with(world(&[("d1", &["ann", "ceo"]), ("d2", &["bob"]), ("d3", &["cara"])]), at_once())
}

#[test]
fn p05_an_empty_user_is_never_read_as_everybody() {
    let stage = small();
    stage.sheet("desktop_id,user_name\nd1,ann\nd1,\nd2,\u{a0}\n");
    let refused = stage.run_leavers(&[]).expect(2).says("INVALID_USER_MISSING").says("line 3").says("line 4");
    refused.says("nothing was sent");
    stage.run_leavers(&["--allow-detach-all", "--on-invalid", "skip"]).expect(1);
    assert_eq!(stage.column("outcome"), ["detached", "invalid", "invalid"]);
    assert_eq!(stage.service.names("d1"), ["ceo"]);
}

#[test]
fn p05_an_all_row_needs_its_option() {
    let stage = small();
    stage.sheet("desktop_id,user_name,type\nd1,,ALL\n");
    stage.run_leavers(&[]).expect(2).says("INVALID_ALL_NOT_ALLOWED").says("--allow-detach-all");
    stage.nothing_was_sent();
}

#[test]
fn p05_protection_wins_over_everything() {
    let stage = small();
    stage.sheet("desktop_id,user_name,type\nd1,,ALL\nd1,CEO,\nd2,bob,\nd3,cara,\n");
    let all = ["--allow-detach-all", "--protect", "ceo,D3"];
    stage.run_leavers(&all).expect(2).says("INVALID_PROTECTED").says("line 2").says("line 3").says("line 5");
    stage.nothing_was_sent();
    stage.run_leavers(&[&all[..], &["--on-invalid", "skip"]].concat()).expect(1);
    assert_eq!(stage.column("outcome"), ["invalid", "invalid", "detached", "invalid"]);
    assert_eq!((stage.service.names("d1").len(), stage.service.names("d3").len()), (2, 1));
}

/// 100 desktops, of which 3 more are assigned to nobody.
fn hundred() -> (Stage, String) {
    let seats = (0..100).map(|n| seat(&format!("d-{n:02}"), &format!("PC-{n:02}"), &format!("u-{n}")));
    let mut world = World::from_seats(seats, 1);
    for n in 0..3 {
        world.add(&id(&format!("spare-{n}")));
    }
    let csv = (0..31).fold("desktop_id,user_name\n".to_owned(), |mut csv, n| {
        _ = writeln!(csv, "d-{n:02},u-{n}");
        csv
    });
    (Stage::with(world, at_once()), csv)
}

#[test]
fn a_plan_over_its_share_of_the_estate_is_refused_with_number_limit_and_option() {
    let (stage, csv) = hundred();
    stage.sheet(&csv);
    let refused = stage.run_leavers(&["--max-percent", "30"]).expect(3);
    refused.says("this would touch 31 of 100 assigned desktops (31.0 %), more than the 30% that --max-percent allows");
    stage.nothing_was_sent();
    stage.plan_leavers(&["--max-percent", "30"]).expect(3).says("31 to detach").says("--max-percent");
    stage.run_leavers(&["--max-percent", "31"]).expect(0);
}

#[test]
fn too_many_desktops_are_refused_with_number_limit_and_option() {
    let (stage, csv) = hundred();
    stage.sheet(&csv);
    let refused = stage.run_leavers(&["--max-desktops", "30"]).expect(3);
    refused.says("this would touch 31 desktops, and --max-desktops allows 30");
    stage.nothing_was_sent();
    stage.run_leavers(&["--max-desktops", "31"]).expect(0);
    assert_tally(stage.column("outcome"), &[("detached", 31)]);
}

#[test]
fn without_a_terminal_a_run_that_would_write_is_refused() {
    let stage = small();
    stage.sheet("desktop_id,user_name\nd1,ann\n");
    stage.run(&["run", "leavers.csv"]).expect(3).says("--yes");
    stage.nothing_was_sent();
    assert!(!stage.service.requests(Op::ListDesktops).is_empty(), "the plan was made, and then asked about");
    stage.sheet("desktop_id,user_name\nd1,nobody\n");
    stage.run(&["run", "leavers.csv"]).expect(0);
    stage.nothing_was_sent();
}
