//! Whole undos: of a run, of a part of it, of an undo.

use std::fmt::Write as _;
use std::time::Duration;

use batch_detach::testing::build::seat;
use batch_detach::testing::model::Bound;
use batch_detach::testing::sim::{Op, Physics, Scenario, Seat, World};
use serde_json::Value;

use super::stage;
use crate::service::id;
use crate::stage::{Stage, counts};

const RUN: &[&str] = &["run", "leavers.csv", "--yes"];
const JOURNAL: &str = "leavers.results.csv.journal";
const UNDO_JOURNAL: &str = "leavers.undo.csv.journal";

/// 300 bindings on 260 desktops: single ones, shared ones with a group among the holders, two domains.
fn estate() -> (World, String) {
    let group = |n: usize| ["users", "administrators", "sudo"][n % 3].to_owned();
    let of = |desktop: &str, who: &str, group: String| {
        let seat = seat(desktop, who);
        Seat { bound: Bound { user_group: Some(group), ..seat.bound }, ..seat }
    };
    let mut seats: Vec<Seat> = (0..240).map(|n| of(&format!("d-{n}"), &format!("u-{n}"), group(n))).collect();
    for n in 240..260 {
        let desktop = format!("d-{n}");
        seats.push(of(&desktop, &format!("u-{n}@east"), group(n)));
        seats.push(of(&desktop, &format!("x-{n}"), group(n + 1)));
        seats.push(seat(&desktop, &format!("%team-{n}")));
    }
    let mut text = "desktop_id,user_name,type,ticket\n".to_owned();
    for Seat { desktop, bound, .. } in &seats {
        _ = writeln!(text, "{desktop},{},{},T-{desktop}", bound.user_name.to_uppercase(), bound.kind);
    }
    // Somebody who stays, and a desktop that the sheet does not name.
    seats.push(seat("d-259", "stays"));
    seats.push(seat("other", "nobody's business"));
    (World::from_seats(seats, 7), text)
}

#[test]
fn after_the_undo_of_300_bindings_the_world_is_as_before_and_no_data_is_cleared() {
    let (world, sheet) = estate();
    let slow =
        Physics { detach_lag: Duration::from_millis(300), latency: Duration::from_millis(5), ..Physics::default() };
    let stage = Stage::with(world, Scenario { world: slow, ..Scenario::default() });
    stage.write("leavers.csv", &sheet);
    let before = stage.service.holders();
    stage.run(RUN).expect(0);
    assert_eq!(stage.tally("leavers.results.csv"), counts([("detached", 300)]));
    let gone = stage.service.holders();
    assert_eq!(gone.values().map(Vec::len).sum::<usize>(), 2);
    let reads_before = stage.service.requests(Op::ListDesktops).len();

    let told = stage.run(&["undo", JOURNAL, "--yes"]).expect(0);
    assert_eq!(stage.service.holders(), before);
    for desktop in before.keys() {
        assert_eq!(stage.service.app.world().data_cleared(desktop), 0);
    }
    let attaches = stage.service.requests(Op::BatchAttach);
    assert_eq!(attaches.len(), 3);
    for attach in &attaches {
        let body: Value = serde_json::from_slice(&attach.body).unwrap();
        let desktops = body["desktops"].as_array().unwrap();
        assert!(desktops.len() <= 100);
        assert!(desktops.iter().all(|desktop| desktop["is_clear_data"] == Value::Bool(false)), "{body}");
    }
    // The estate in a page or three before, two rounds after, and a few for desktops that took their time.
    let reads = stage.service.requests(Op::ListDesktops).len() - reads_before;
    assert!((7..=20).contains(&reads), "{reads} reads");
    let said = ["300 to attach", "What does not come back", "300  attached", "Nothing is left to do."];
    assert!(said.iter().all(|words| told.stdout.contains(words)), "{}", told.stdout);

    let rows = stage.records("leavers.undo.csv");
    assert_eq!(stage.tally("leavers.undo.csv"), counts([("attached", 300)]));
    let was = stage.records("leavers.results.csv");
    for (now, was) in rows.iter().zip(&was) {
        for column in ["line", "desktop_id", "user_name", "user_id", "user_group", "type", "domain", "ticket"] {
            assert_eq!(now[column], was[column], "{column}");
        }
    }
}

#[test]
fn an_undo_of_an_undo_detaches_again_just_what_it_attached() {
    let (world, sheet) = estate();
    let stage = Stage::with(world, Scenario::default());
    stage.write("leavers.csv", &sheet);
    let before = stage.service.holders();
    stage.run(RUN).expect(0);
    let gone = stage.service.holders();
    stage.run(&["undo", JOURNAL, "--yes"]).expect(0);
    assert_eq!(stage.service.holders(), before);

    let told = stage.run(&["undo", UNDO_JOURNAL, "--yes"]).expect(0);
    assert_eq!(stage.service.holders(), gone);
    assert_eq!(stage.tally("leavers.undo.undo.csv"), counts([("detached", 300)]));
    assert!(told.stdout.contains("300 to detach"), "{}", told.stdout);
    assert!(stage.service.requests(Op::BatchDetach).iter().all(|entry| {
        let body = String::from_utf8_lossy(&entry.body).into_owned();
        !body.contains("\"is_detach_all_users\":true")
    }));

    stage.run(&["undo", "leavers.undo.undo.csv.journal", "--yes"]).expect(0);
    assert_eq!(stage.service.holders(), before);
}

#[test]
fn one_person_who_was_not_leaving_after_all_comes_back_alone() {
    let stage = stage(12);
    stage.run(RUN).expect(0);
    let told = stage.run(&["undo", JOURNAL, "--yes", "--only-user", "U-3"]).expect(0);
    assert_eq!(
        (stage.service.names("d-3"), stage.service.holders().values().flatten().count()),
        (vec!["u-3".to_owned()], 1)
    );
    assert!(told.stdout.contains("11 other rows of that run stay out"), "{}", told.stdout);
    assert_eq!(stage.records("leavers.undo.csv")[0]["line"], "5");

    // Later another one: the first undo's files are kept.
    stage.run(&["undo", JOURNAL, "--yes", "--only-desktop", "d-5,d-6", "--only-user", "u-5,u-6,u-7"]).expect(0);
    assert_eq!(stage.service.holders().values().flatten().count(), 3);
    assert_eq!(stage.tally("leavers.undo.csv"), counts([("attached", 2)]));
    let older = stage.files().into_iter().filter(|name| name.starts_with("leavers.undo."));
    assert_eq!(older.count(), 4, "two journals and two results");

    // A typo is no "nothing to do".
    for wrong in [["--only-user", "u-99"], ["--only-desktop", "d-99"]] {
        let writes = stage.service.writes().len();
        let told = stage.run(&[&["undo", JOURNAL, "--yes"], &wrong[..]].concat()).expect(2);
        assert!(told.stderr.contains(wrong[1]), "{}", told.stderr);
        assert_eq!(stage.service.writes().len(), writes);
    }
    stage.run(&["undo", JOURNAL, "--yes", "--fresh"]).expect(0);
    assert_eq!(stage.service.holders().values().flatten().count(), 12);
    assert_eq!(stage.tally("leavers.undo.csv"), counts([("attached", 9), ("already_attached", 3)]));
}

#[test]
fn whom_a_row_of_type_all_detached_comes_back_each_with_a_record() {
    let mut world = World::new(1);
    for name in ["ann", "bob", "cy"] {
        world.bind(seat("d-1", name));
    }
    world.bind(seat("d-1", "%staff"));
    let stage = Stage::with(world, Scenario::default());
    stage.write("leavers.csv", "desktop_id,user_name,type\nd-1,,ALL\nd-1,bob,USER\n");
    let before = stage.service.holders();
    stage.run(&["run", "leavers.csv", "--yes", "--allow-detach-all"]).expect(0);
    assert!(stage.service.names("d-1").is_empty());
    stage.run(&["undo", JOURNAL, "--yes"]).expect(0);
    assert_eq!(stage.service.holders(), before);
    let rows = stage.records("leavers.undo.csv");
    let mut rows: Vec<_> = rows.iter().map(|row| ["line", "user_name", "type"].map(|at| row[at].as_str())).collect();
    rows.sort_unstable();
    let expected = [["2", "ann", "USER"], ["2", "cy", "USER"], ["2", "staff", "GROUP"], ["3", "bob", "USER"]];
    assert_eq!(rows, expected);
}

#[test]
fn an_undo_that_is_done_says_so_and_its_run_too() {
    let stage = stage(3);
    stage.run(RUN).expect(0);
    stage.run(&["undo", JOURNAL, "--yes"]).expect(0);
    let writes = stage.service.writes().len();
    let told = stage.run(&["undo", JOURNAL, "--yes"]).expect(0);
    assert!(told.stderr.contains("nothing to do: undo"), "{}", told.stderr);
    let told = stage.run(RUN).expect(0);
    assert!(told.stderr.contains("undone") && told.stderr.contains(UNDO_JOURNAL), "{}", told.stderr);
    assert_eq!(stage.service.writes().len(), writes);
}

#[test]
fn a_plan_of_an_undo_writes_nothing_and_can_be_approved_once() {
    let stage = stage(4);
    stage.run(RUN).expect(0);
    let writes = stage.service.writes().len();
    let plan = ["undo", JOURNAL, "--dry-run", "--format", "json"];
    let told = stage.run(&plan).expect(0);
    stage.write("plan.json", &told.stdout);
    let value: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&value["counts"]["to_attach"], value["rows"].as_array().map(Vec::len)), (&Value::from(4), Some(4)));
    assert!(!stage.has(UNDO_JOURNAL));
    let told = stage.run(&["undo", JOURNAL, "--dry-run", "--requests", "-"]).expect(0);
    assert!(
        told.last_line().starts_with("exit code 0: the plan is made, nothing was changed; "),
        "{}",
        told.last_line()
    );
    assert!(told.stdout.starts_with("{\"assign_model\":") && told.stdout.lines().count() == 1, "{}", told.stdout);

    // Without --yes and a terminal nothing is done.
    stage.run(&["undo", JOURNAL]).expect(3);
    let stranger = stage.service.app.world().bind(seat("d-2", "u-2"));
    let told = stage.run(&["undo", JOURNAL, "--approved", "plan.json"]).expect(3);
    assert!(told.stderr.contains("line 4 (desktop d-2)") && !told.stderr.contains("line 3"), "{}", told.stderr);
    assert_eq!(stage.service.writes().len(), writes);
    stage.service.app.world().unbind(&id("d-2"), &stranger);
    stage.run(&["undo", JOURNAL, "--approved", "plan.json"]).expect(0);
    assert_eq!(stage.service.holders().values().flatten().count(), 4);
    stage.run(&["undo", UNDO_JOURNAL, "--yes"]).expect(0);
    let told = stage.run(&["undo", JOURNAL, "--approved", "plan.json", "--fresh"]).expect(3);
    assert!(told.stderr.contains("an approval holds once"), "{}", told.stderr);
}

#[test]
fn a_rehearsed_run_is_taken_back_in_the_simulator() {
    let stage = Stage::with(World::new(1), Scenario::default());
    stage.leavers((0..12).map(|n| (format!("d-{n}"), format!("u-{n}"))));
    stage.run(&["run", "leavers.csv", "--yes", "--simulate"]).expect(1);
    let detached = stage.tally("leavers.results.csv")["detached"];
    assert!(detached >= 9, "{detached}");
    stage.run(&["undo", JOURNAL, "--yes", "--max-percent", "100"]).expect(0);
    assert_eq!(stage.tally("leavers.undo.csv"), counts([("attached", detached)]));
    stage.run(&["undo", UNDO_JOURNAL, "--yes"]).expect(0);
    assert_eq!(stage.tally("leavers.undo.undo.csv"), counts([("detached", detached)]));
    assert_eq!(stage.service.app.log().len(), 0);
}
