//! Whole undos: of a run, of a part of it, of an undo.

use batch_detach::testing::model::{Bound, Kind};
use batch_detach::testing::sim::{Op, Seat, World};
use serde_json::Value;
use std::fmt::Write as _;

use super::rig::{Rig, counts, exists, id, seat, sheet, single, user};

const RUN: &[&str] = &["run", "leavers.csv", "--yes"];
const JOURNAL: &str = "leavers.results.csv.journal";
const UNDO_JOURNAL: &str = "leavers.undo.csv.journal";

/// 300 bindings on 260 desktops: single ones, shared ones with a group among the holders, two domains.
fn estate() -> (World, String) {
    let group = |n: usize| ["users", "administrators", "sudo"][n % 3].to_owned();
    let mut seats: Vec<Seat> = (0..240)
        .map(|n| {
            let bound = Bound { user_group: Some(group(n)), ..user(&format!("u-{n}")) };
            seat(&format!("d-{n}"), bound)
        })
        .collect();
    for n in 240..260 {
        let desktop = format!("d-{n}");
        let east = Bound { domain: Some("east".to_owned()), user_group: Some(group(n)), ..user(&format!("u-{n}")) };
        seats.push(seat(&desktop, east));
        seats.push(seat(&desktop, Bound { user_group: Some(group(n + 1)), ..user(&format!("x-{n}")) }));
        seats.push(seat(&desktop, Bound { kind: Kind::Group, ..user(&format!("team-{n}")) }));
    }
    let mut text = "desktop_id,user_name,type,ticket\n".to_owned();
    for Seat { desktop, bound, .. } in &seats {
        _ = writeln!(text, "{desktop},{},{},T-{desktop}", bound.user_name.to_uppercase(), bound.kind);
    }
    // Somebody who stays, and a desktop that the sheet does not name.
    seats.push(seat("d-259", user("stays")));
    seats.push(seat("other", user("nobody's business")));
    (World::from_seats(seats, 7), text)
}

#[test]
fn after_the_undo_of_300_bindings_the_world_is_as_before_and_no_data_is_cleared() {
    let (world, sheet) = estate();
    let rig = Rig::new(world, "world = { detach-lag = \"300ms\", latency = \"5ms\" }");
    rig.write("leavers.csv", &sheet);
    let before = rig.bindings();
    rig.ends(0, RUN);
    assert_eq!(rig.outcomes("leavers.results.csv"), counts([("detached", 300)]));
    let gone = rig.bindings();
    assert_eq!(gone.values().map(Vec::len).sum::<usize>(), 2);
    let reads_before = rig.requests(Op::ListDesktops).len();

    let told = rig.ends(0, &["undo", JOURNAL, "--yes"]);
    assert_eq!(rig.bindings(), before);
    for desktop in before.keys() {
        assert_eq!(rig.app.world().data_cleared(desktop), 0);
    }
    let attaches = rig.requests(Op::BatchAttach);
    assert_eq!(attaches.len(), 3);
    for attach in &attaches {
        let body: Value = serde_json::from_slice(&attach.body).unwrap();
        let desktops = body["desktops"].as_array().unwrap();
        assert!(desktops.len() <= 100);
        assert!(desktops.iter().all(|desktop| desktop["is_clear_data"] == Value::Bool(false)), "{body}");
    }
    // The estate in a page or three before, two rounds after, and a few for desktops that took their time.
    let reads = rig.requests(Op::ListDesktops).len() - reads_before;
    assert!((7..=20).contains(&reads), "{reads} reads");
    let said = ["300 to attach", "What does not come back", "300  attached", "Nothing is left to do."];
    assert!(said.iter().all(|words| told.out.contains(words)), "{}", told.out);

    let rows = rig.results("leavers.undo.csv");
    assert_eq!(rig.outcomes("leavers.undo.csv"), counts([("attached", 300)]));
    let was = rig.results("leavers.results.csv");
    for (now, was) in rows.iter().zip(&was) {
        for column in ["line", "desktop_id", "user_name", "user_id", "user_group", "type", "domain", "ticket"] {
            assert_eq!(now[column], was[column], "{column}");
        }
    }
}

#[test]
fn an_undo_of_an_undo_detaches_again_just_what_it_attached() {
    let (world, sheet) = estate();
    let rig = Rig::new(world, "");
    rig.write("leavers.csv", &sheet);
    let before = rig.bindings();
    rig.ends(0, RUN);
    let gone = rig.bindings();
    rig.ends(0, &["undo", JOURNAL, "--yes"]);
    assert_eq!(rig.bindings(), before);

    let told = rig.ends(0, &["undo", UNDO_JOURNAL, "--yes"]);
    assert_eq!(rig.bindings(), gone);
    assert_eq!(rig.outcomes("leavers.undo.undo.csv"), counts([("detached", 300)]));
    assert!(told.out.contains("300 to detach"), "{}", told.out);
    assert!(rig.requests(Op::BatchDetach).iter().all(|entry| {
        let body = String::from_utf8_lossy(&entry.body).into_owned();
        !body.contains("\"is_detach_all_users\":true")
    }));

    rig.ends(0, &["undo", "leavers.undo.undo.csv.journal", "--yes"]);
    assert_eq!(rig.bindings(), before);
}

#[test]
fn one_person_who_was_not_leaving_after_all_comes_back_alone() {
    let rig = Rig::new(single(12), "");
    rig.write("leavers.csv", &sheet(12));
    rig.ends(0, RUN);
    let told = rig.ends(0, &["undo", JOURNAL, "--yes", "--only-user", "U-3"]);
    assert_eq!((rig.names("d-3"), rig.bindings().values().flatten().count()), (vec!["u-3".to_owned()], 1));
    assert!(told.out.contains("11 other rows of that run stay out"), "{}", told.out);
    assert_eq!(rig.results("leavers.undo.csv")[0]["line"], "5");

    // Later another one: the first undo's files are kept.
    rig.ends(0, &["undo", JOURNAL, "--yes", "--only-desktop", "d-5,d-6", "--only-user", "u-5,u-6,u-7"]);
    assert_eq!(rig.bindings().values().flatten().count(), 3);
    assert_eq!(rig.outcomes("leavers.undo.csv"), counts([("attached", 2)]));
    let older = std::fs::read_dir(rig.directory.path()).unwrap().filter_map(Result::ok);
    let older = older.filter(|file| file.file_name().to_string_lossy().starts_with("leavers.undo.")).count();
    assert_eq!(older, 4, "two journals and two results");

    // A typo is no "nothing to do".
    for wrong in [["--only-user", "u-99"], ["--only-desktop", "d-99"]] {
        let writes = rig.writes();
        let told = rig.ends(2, &[&["undo", JOURNAL, "--yes"], &wrong[..]].concat());
        assert!(told.err.contains(wrong[1]), "{}", told.err);
        assert_eq!(rig.writes(), writes);
    }
    rig.ends(0, &["undo", JOURNAL, "--yes", "--fresh"]);
    assert_eq!(rig.bindings().values().flatten().count(), 12);
    assert_eq!(rig.outcomes("leavers.undo.csv"), counts([("attached", 9), ("already_attached", 3)]));
}

#[test]
fn whom_a_row_of_type_all_detached_comes_back_each_with_a_record() {
    let mut world = World::new(1);
    for name in ["ann", "bob", "cy"] {
        world.bind(seat("d-1", user(name)));
    }
    world.bind(seat("d-1", Bound { kind: Kind::Group, ..user("staff") }));
    let rig = Rig::new(world, "");
    rig.write("leavers.csv", "desktop_id,user_name,type\nd-1,,ALL\nd-1,bob,USER\n");
    let before = rig.bindings();
    rig.ends(0, &["run", "leavers.csv", "--yes", "--allow-detach-all"]);
    assert!(rig.names("d-1").is_empty());
    rig.ends(0, &["undo", JOURNAL, "--yes"]);
    assert_eq!(rig.bindings(), before);
    let rows = rig.results("leavers.undo.csv");
    let mut rows: Vec<_> = rows.iter().map(|row| ["line", "user_name", "type"].map(|at| row[at].as_str())).collect();
    rows.sort_unstable();
    let expected = [["2", "ann", "USER"], ["2", "cy", "USER"], ["2", "staff", "GROUP"], ["3", "bob", "USER"]];
    assert_eq!(rows, expected);
}

#[test]
fn an_undo_that_is_done_says_so_and_its_run_too() {
    let rig = Rig::new(single(3), "");
    rig.write("leavers.csv", &sheet(3));
    rig.ends(0, RUN);
    rig.ends(0, &["undo", JOURNAL, "--yes"]);
    let writes = rig.writes();
    let told = rig.ends(0, &["undo", JOURNAL, "--yes"]);
    assert!(told.err.contains("nothing to do: undo"), "{}", told.err);
    let told = rig.ends(0, RUN);
    assert!(told.err.contains("taken back") && told.err.contains(UNDO_JOURNAL), "{}", told.err);
    assert_eq!(rig.writes(), writes);
}

#[test]
fn a_plan_of_an_undo_writes_nothing_and_can_be_approved_once() {
    let rig = Rig::new(single(4), "");
    rig.write("leavers.csv", &sheet(4));
    rig.ends(0, RUN);
    let writes = rig.writes();
    let plan = ["undo", JOURNAL, "--dry-run", "--format", "json"];
    let told = rig.ends(0, &plan);
    rig.write("plan.json", &told.out);
    let value: Value = serde_json::from_str(&told.out).unwrap();
    assert_eq!((&value["counts"]["to_attach"], value["rows"].as_array().map(Vec::len)), (&Value::from(4), Some(4)));
    assert!(!exists(&rig.path(UNDO_JOURNAL)));
    let told = rig.ends(0, &["undo", JOURNAL, "--dry-run", "--requests", "-"]);
    assert!(told.out.starts_with("{\"assign_model\":") && told.out.lines().count() == 1, "{}", told.out);

    // Without --yes and a terminal nothing is done.
    rig.ends(3, &["undo", JOURNAL]);
    let stranger = rig.app.world().bind(seat("d-2", user("u-2")));
    let told = rig.ends(3, &["undo", JOURNAL, "--approved", "plan.json"]);
    assert!(told.err.contains("line 4 (desktop d-2)") && !told.err.contains("line 3"), "{}", told.err);
    assert_eq!(rig.writes(), writes);
    rig.app.world().unbind(&id("d-2"), &stranger);
    rig.ends(0, &["undo", JOURNAL, "--approved", "plan.json"]);
    assert_eq!(rig.bindings().values().flatten().count(), 4);
    rig.ends(0, &["undo", UNDO_JOURNAL, "--yes"]);
    let told = rig.ends(3, &["undo", JOURNAL, "--approved", "plan.json", "--fresh"]);
    assert!(told.err.contains("an approval holds once"), "{}", told.err);
}

#[test]
fn a_rehearsed_run_is_taken_back_in_the_simulator() {
    let rig = Rig::new(World::new(1), "");
    rig.write("leavers.csv", &sheet(12));
    rig.ends(1, &["run", "leavers.csv", "--yes", "--simulate"]);
    let detached = rig.outcomes("leavers.results.csv")["detached"];
    assert!(detached >= 9, "{detached}");
    rig.ends(0, &["undo", JOURNAL, "--yes", "--max-percent", "100"]);
    assert_eq!(rig.outcomes("leavers.undo.csv"), counts([("attached", detached)]));
    rig.ends(0, &["undo", UNDO_JOURNAL, "--yes"]);
    assert_eq!(rig.outcomes("leavers.undo.undo.csv"), counts([("detached", detached)]));
    assert_eq!(rig.app.log().len(), 0);
}
