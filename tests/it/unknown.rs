//! Unknown is not gone: whoever the service does not know is told, and nobody is done for them.

use batch_detach::testing::sim::{Effect, Fault, Op, Refused, Scenario, World};

use super::service::seat;
use super::stage::Stage;

/// `ann` is bound, and so is `cara`; `bob` is known, and bound nowhere.
fn world() -> World {
    let mut world = World::from_seats([seat("d-01", "anna.k"), seat("d-02", "cara")], 1);
    world.introduce("bob", "Bob@example.com");
    world.introduce("anna.k", "anna@example.com");
    world
}

fn stage() -> Stage {
    Stage::with(world(), Scenario::default())
}

#[test]
fn a_name_that_the_service_does_not_know_is_refused_with_the_nearest_and_one_that_it_knows_is_gone() {
    let stage = stage();
    stage.leavers([("d-01", "bob"), ("d-02", "ana.k")]);
    let ended = stage.run(&["run", "leavers.csv", "--yes"]).expect(2);
    for word in ["line 3", "INVALID_USER_UNKNOWN", "`anna.k`", "--unknown-users gone"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("line 2"), "{}", ended.stderr);
    assert_eq!((stage.service.writes().len(), stage.files()), (0, vec!["leavers.csv".to_owned()]));
    stage.leavers([("d-01", "bob")]);
    stage.run(&["run", "leavers.csv", "--yes"]).expect(0);
    assert_eq!(stage.outcomes()[0].1, "already_detached");
}

#[test]
fn a_list_that_is_kept_for_ever_takes_the_unknown_as_gone_and_doubts_it() {
    let stage = stage();
    stage.write("leavers.csv", "user_name\nwho.else\nana.k@example.com\n");
    let words = ["run", "leavers.csv", "--yes", "--unknown-users", "gone", "--on-invalid=skip", "--format=json"];
    let ended = stage.run(&words).expect(1);
    let rows = stage.results();
    let of = |at: usize| (rows[at]["outcome"].as_str(), rows[at]["error_code"].as_str());
    assert_eq!(of(0), ("already_detached", "DOUBT_UNKNOWN_USER"));
    assert_eq!(of(1), ("invalid", "INVALID_USER_UNKNOWN"), "an address is no name");
    assert!(rows[1]["error_msg"].contains("`user_email`"), "{:?}", rows[1]);
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&summary["doubts"][0]["kind"], &summary["doubts"][0]["rows"]), (&"unknown_user".into(), &1.into()));
}

#[test]
fn the_people_of_another_place_are_refused_with_that_guess_and_nothing_is_written() {
    let stage = stage();
    let mut names: Vec<String> = include_str!("../../samples/leavers.csv")
        .lines()
        .skip(1)
        .filter(|line| line.contains(",USER,"))
        .map(|line| line.split(',').nth(2).unwrap().to_owned())
        .collect();
    names.insert(0, "user_name".to_owned());
    stage.write("leavers.csv", &names.join("\n"));
    let ended = stage.run(&["run", "leavers.csv", "--yes"]).expect(2);
    assert!(ended.stderr.contains("perhaps another region, project or account"), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("INVALID_USER_UNKNOWN").count(), names.len() - 1);
    assert_eq!((stage.service.writes().len(), stage.files()), (0, vec!["leavers.csv".to_owned()]));
}

#[test]
fn who_may_not_list_the_users_is_told_the_permission_and_the_option() {
    let refusal = Refused::new(403, "WKS.00000403", "no permission");
    let fault = Fault::new(Op::ListUsers, Effect::Refuse(refusal));
    let stage = Stage::with(world(), Scenario { faults: vec![fault], ..Scenario::default() });
    stage.leavers([("d-01", "anna.k"), ("d-02", "anna.k"), ("d-02", "bob")]);
    let ended = stage.run(&["run", "leavers.csv", "--yes"]).expect(4);
    for word in ["1 row names a user that is bound nowhere", "workspace:users:list", "--unknown-users gone"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
    assert_eq!(stage.service.writes().len(), 0);
    stage.run(&["run", "leavers.csv", "--yes", "--unknown-users=gone"]).expect(0);
    let codes: Vec<_> = stage.results().iter().map(|row| row["error_code"].clone()).collect();
    assert_eq!(codes, ["", "", "DOUBT_UNKNOWN_USER"]);
}

#[test]
fn an_address_names_its_user_and_nobody_else() {
    let stage = stage();
    stage.write("leavers.csv", "desktop_id,email,note\nd-01, ANNA@example.com ,x\nd-02,bob@example.com,y\n");
    stage.run(&["run", "leavers.csv", "--yes"]).expect(0);
    let rows = stage.results();
    let of = |at: usize| ["user_name", "outcome", "email", "note"].map(|column| rows[at][column].as_str());
    assert_eq!(of(0), ["anna.k", "detached", " ANNA@example.com ", "x"]);
    assert_eq!(of(1), ["bob", "already_detached", "bob@example.com", "y"]);
    // Of another than the name beside it, or of nobody.
    stage.write("leavers.csv", "user_name,email\ncara,bob@example.com\n,who@example.com\n");
    let ended = stage.run(&["plan", "leavers.csv"]).expect(2);
    for word in ["line 2, column \"user_email\"", "`bob`", "line 3", "--column user_email=-"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
    }
}

#[test]
fn a_list_whose_desktops_stand_in_a_column_that_nobody_read_is_refused_by_its_cells() {
    let stage = stage();
    stage.write("leavers.csv", "user_name,where\nanna.k,d-01\ncara,PC-d-02\n");
    let ended = stage.run(&["run", "leavers.csv", "--yes"]).expect(2);
    assert!(ended.stderr.contains("\"where\"") && ended.stderr.contains("--column desktop_id=-"), "{}", ended.stderr);
    assert_eq!(stage.service.writes().len(), 0);
    stage.run(&["plan", "leavers.csv", "--column", "desktop_id=-"]).expect(0);
}
