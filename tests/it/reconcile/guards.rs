//! Guards: what is refused before anything is sent, each with a sentence of its own.

use std::fmt::Write as _;

use batch_detach::testing::sim::{Op, World};

use super::binary::{Stage, assert_tally, at_once, seat, world};

fn small() -> Stage {
    Stage::new(world(&[("d1", &["ann", "ceo"]), ("d2", &["bob"]), ("d3", &["cara"])]), at_once())
}

#[test]
fn p05_an_empty_user_is_never_read_as_everybody() {
    let stage = small();
    stage.sheet("desktop_id,user_name\nd1,ann\nd1,\nd2,\u{a0}\n");
    let refused = stage.run(&[]).exits(2).says("INVALID_USER_MISSING").says("line 3").says("line 4");
    refused.says("nothing was sent");
    stage.run(&["--allow-detach-all", "--on-invalid", "skip"]).exits(1);
    assert_eq!(stage.column("outcome"), ["detached", "invalid", "invalid"]);
    assert_eq!(stage.bound("d1"), ["ceo"]);
}

#[test]
fn p05_an_all_row_needs_its_option() {
    let stage = small();
    stage.sheet("desktop_id,user_name,type\nd1,,ALL\n");
    stage.run(&[]).exits(2).says("INVALID_ALL_NOT_ALLOWED").says("--allow-detach-all");
    stage.nothing_was_sent();
}

#[test]
fn p05_protection_wins_over_everything() {
    let stage = small();
    stage.sheet("desktop_id,user_name,type\nd1,,ALL\nd1,CEO,\nd2,bob,\nd3,cara,\n");
    let all = ["--allow-detach-all", "--protect", "ceo,D3"];
    stage.run(&all).exits(2).says("INVALID_PROTECTED").says("line 2").says("line 3").says("line 5");
    stage.nothing_was_sent();
    stage.run(&[&all[..], &["--on-invalid", "skip"]].concat()).exits(1);
    assert_eq!(stage.column("outcome"), ["invalid", "invalid", "detached", "invalid"]);
    assert_eq!((stage.bound("d1").len(), stage.bound("d3").len()), (2, 1));
}

/// 100 desktops, of which 3 more are assigned to nobody.
fn hundred() -> (Stage, String) {
    let seats = (0..100).map(|n| seat(&format!("d-{n:02}"), &format!("PC-{n:02}"), &format!("u-{n}")));
    let mut world = World::from_seats(seats, 1);
    for n in 0..3 {
        world.add(&super::binary::id(&format!("spare-{n}")));
    }
    let csv = (0..31).fold("desktop_id,user_name\n".to_owned(), |mut csv, n| {
        _ = writeln!(csv, "d-{n:02},u-{n}");
        csv
    });
    (Stage::new(world, at_once()), csv)
}

#[test]
fn a_plan_over_its_share_of_the_estate_is_refused_with_number_limit_and_option() {
    let (stage, csv) = hundred();
    stage.sheet(&csv);
    let refused = stage.run(&["--max-percent", "30"]).exits(3);
    refused.says("this would touch 31 of 100 assigned desktops (31.0 %), more than the 30% that --max-percent allows");
    stage.nothing_was_sent();
    stage.plan(&["--max-percent", "30"]).exits(3).says("31 to detach").says("--max-percent");
    stage.run(&["--max-percent", "31"]).exits(0);
}

#[test]
fn too_many_desktops_are_refused_with_number_limit_and_option() {
    let (stage, csv) = hundred();
    stage.sheet(&csv);
    let refused = stage.run(&["--max-desktops", "30"]).exits(3);
    refused.says("this would touch 31 desktops, and --max-desktops allows 30");
    stage.nothing_was_sent();
    stage.run(&["--max-desktops", "31"]).exits(0);
    assert_tally(stage.column("outcome"), &[("detached", 31)]);
}

#[test]
fn without_a_terminal_a_run_that_would_write_is_refused() {
    let stage = small();
    stage.sheet("desktop_id,user_name\nd1,ann\n");
    stage.call(&["run", "leavers.csv"]).exits(3).says("--yes");
    stage.nothing_was_sent();
    assert!(!stage.requests(Op::ListDesktops).is_empty(), "the plan was made, and then asked about");
    stage.sheet("desktop_id,user_name\nd1,nobody\n");
    stage.call(&["run", "leavers.csv"]).exits(0);
    stage.nothing_was_sent();
}
