//! Results, journals and older runs' files.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use batch_detach::testing::journal::RunLock;
use batch_detach::testing::sim::{Effect, Fate, FateOf, Fault, Op, Scenario};

use super::service::{id, seat};
use super::stage::Stage;

const RUN: [&str; 3] = ["run", "leavers.csv", "--yes"];

/// Three rows; the third fails.
fn stage() -> Stage {
    let fates = vec![FateOf { desktops: vec![id("d-3")], fate: Fate::Hibernated }];
    let seats = ["1", "2", "3"].map(|n| seat(&format!("d-{n}"), &format!("leaver-{n}")));
    let stage = Stage::new(seats, Scenario { fates, ..Scenario::default() });
    stage.leavers(["1", "2", "3"].map(|n| (format!("d-{n}"), format!("leaver-{n}"))));
    stage
}

#[test]
fn a_finished_run_given_again_does_nothing_says_so_and_exits_as_then() {
    let stage = stage();
    let first = stage.run(&RUN).expect(1);
    let (results, received) = (stage.read("leavers.results.csv"), stage.service.received());
    for words in [&RUN[..], &["run", "leavers.results.csv.journal"], &["run", "leavers.csv"]] {
        let again = stage.run(words).expect(1);
        assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
        assert_eq!(again.last_line(), first.last_line());
    }
    assert_eq!((stage.read("leavers.results.csv"), stage.service.received()), (results, received));
}

#[test]
fn p14_deleted_results_are_rebuilt_from_the_journal_with_no_request_sent() {
    let stage = stage();
    stage.run(&RUN).expect(1);
    let (results, received) = (stage.read("leavers.results.csv"), stage.service.received());
    for words in [&RUN[..], &["run", "leavers.results.csv.journal"]] {
        std::fs::remove_file(stage.path("leavers.results.csv")).unwrap();
        stage.run(words).expect(1);
        assert_eq!(stage.read("leavers.results.csv"), results);
    }
    // The input may be gone, too.
    std::fs::remove_file(stage.path("leavers.csv")).unwrap();
    std::fs::remove_file(stage.path("leavers.results.csv")).unwrap();
    stage.run(&["run", "leavers.results.csv.journal"]).expect(1);
    assert_eq!((stage.read("leavers.results.csv"), stage.service.received()), (results, received));
}

#[test]
fn p14_fresh_moves_the_older_run_aside_under_its_id() {
    let stage = stage();
    stage.run(&RUN).expect(1);
    let older = stage.read("leavers.results.csv");
    let status = stage.run(&["status", "leavers.results.csv.journal", "--format=json"]).expect(0);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap();
    let run_id = status["run_id"].as_str().unwrap();

    stage.run(&["run", "leavers.csv", "--yes", "--fresh"]).expect(1);
    let aside = format!("leavers.results.{run_id}.csv");
    assert_eq!(stage.read(&aside), older);
    let outcomes: Vec<_> = stage.results().into_iter().map(|row| row["outcome"].clone()).collect();
    assert_eq!(outcomes, ["already_detached", "already_detached", "failed"]);
    let told = stage.run(&["status", &format!("{aside}.journal")]).expect(0);
    assert!(told.stdout.contains(run_id), "{}", told.stdout);
    // And once more: nothing is ever overwritten.
    stage.run(&["run", "leavers.csv", "--yes", "--fresh"]).expect(1);
    assert_eq!(stage.read(&aside), older);
    assert_eq!(stage.files().len(), 1 + 3 * 2, "{:?}", stage.files());
}

#[test]
fn p14_a_fresh_start_that_is_refused_leaves_the_older_run_in_its_place() {
    let stage = stage();
    stage.run(&RUN).expect(1);
    let files = stage.files();
    let results = stage.read("leavers.results.csv");
    stage.run(&["run", "leavers.csv", "--fresh"]).expect(3);
    stage.run(&["run", "leavers.csv", "--fresh", "--yes", "--max-desktops=0"]).code.unwrap();
    assert_eq!((stage.files(), stage.read("leavers.results.csv")), (files, results));
}

#[test]
fn a_finished_run_is_no_obstacle_to_another_input_of_that_name() {
    let stage = stage();
    stage.run(&RUN).expect(1);
    stage.leavers([("d-1", "leaver-1")]);
    stage.run(&RUN).expect(0);
    assert_eq!(stage.results().len(), 1);
    assert_eq!(stage.files().len(), 5, "{:?}", stage.files());
}

/// Twelve desktops, and what writes a list of the first of them.
fn twelve_and_a_list() -> (Stage, fn(&Stage, usize)) {
    let seats = (0..12).map(|n| seat(&format!("d-{n}"), &format!("leaver-{n}")));
    let stage = Stage::new(seats, Scenario::default());
    (stage, |stage, rows| stage.leavers((0..rows).map(|n| (format!("d-{n}"), format!("leaver-{n}")))))
}

#[test]
fn a_list_half_as_long_as_the_last_is_told_in_plan_summary_and_log_and_no_obstacle() {
    const NOTE: &str = "this list has 6 rows, and the last one (run ";
    let (stage, list) = twelve_and_a_list();
    let list = |rows: usize| list(&stage, rows);
    list(12);
    stage.run(&RUN).expect(0);
    // A row more than half of it is a list like any other.
    list(7);
    assert!(!stage.run(&["plan", "leavers.csv"]).expect(0).stdout.contains("the last one"));
    list(6);
    let words = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let plan = words(stage.run(&["plan", "leavers.csv"]).expect(0).stdout);
    assert!(plan.contains(NOTE) && plan.contains(") had 12 rows: check that it is complete"), "{plan}");
    // A choice of rows is no shorter list.
    let some: Vec<String> = stage.read("leavers.results.csv").lines().take(4).map(str::to_owned).collect();
    stage.write("leavers.csv", &(some.join("\n") + "\n"));
    let plan = stage.run(&["plan", "leavers.csv", "--only=failed,detached"]).expect(0).stdout;
    assert!(plan.contains("3 rows") && !words(plan.clone()).contains("the last one"), "{plan}");
    list(6);

    let words_of_night =
        ["run", "leavers.csv", "--yes", "--fresh", "--format=json", "--log-format=json", "--metrics=m.prom"];
    let night = stage.run(&words_of_night).expect(0);
    let summary: serde_json::Value = serde_json::from_str(&night.stdout).unwrap();
    assert!(summary["warnings"].to_string().contains(NOTE), "{summary}");
    // The rows that are not there are in doubt, so it is no success that ends an alert.
    assert_eq!((&summary["doubts"][0]["kind"], &summary["doubts"][0]["rows"]), (&"shorter_list".into(), &6.into()));
    let metrics = stage.read("m.prom");
    assert!(metrics.lines().any(|line| line.contains("kind=\"shorter_list\"") && line.ends_with(" 6")), "{metrics}");
    assert!(!metrics.contains("last_success"), "{metrics}");
    stage.run(&["report", "leavers.results.csv.journal"]).expect(0);
    assert!(stage.read("leavers.report.html").contains("but the list is much shorter than the last one"));
    assert!(night.stderr.lines().any(|line| line.contains("WARN") && line.contains(NOTE)), "{}", night.stderr);
    // Now this is the last one.
    let again = stage.run(&["run", "leavers.csv", "--yes", "--fresh"]).expect(0);
    assert!(!again.stdout.contains("the last one"), "{}", again.stdout);

    // A log that is kept says it as well as the plan that a person is shown.
    list(12);
    stage.run(&["run", "leavers.csv", "--yes", "--fresh"]).expect(0);
    list(6);
    let night = stage.run(&["run", "leavers.csv", "--yes", "--log-file=run.log"]).expect(0);
    assert!(words(night.stdout.clone()).contains(NOTE), "{}", night.stdout);
    assert!(!night.stderr.contains(NOTE), "{}", night.stderr);
    let log = stage.read("run.log");
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains(NOTE)), "{log}");
}

#[test]
fn a_list_is_compared_with_no_other_list_and_with_no_rehearsal() {
    let (stage, list) = twelve_and_a_list();
    list(&stage, 12);
    stage.run(&["run", "leavers.csv", "--yes", "--simulate"]).expect(1);
    list(&stage, 6);
    let plan = |words: &[&str]| stage.run(&[&["plan"], words].concat()).expect(0).stdout;
    assert!(!plan(&["leavers.csv"]).contains("the last one"));
    assert!(plan(&["leavers.csv", "--simulate"]).contains("the last one"));
    stage.write("others.csv", &stage.read("leavers.csv"));
    // The results of a run are never replaced by a plan's rows.
    let over = stage.run(&["plan", "others.csv", "--simulate", "--results=leavers.results.csv"]).expect(2);
    assert!(over.stderr.contains("results of a run"), "{}", over.stderr);
}

#[test]
fn a_plan_does_not_look_into_the_journal_of_a_run_that_is_going_on() {
    let (stage, list) = twelve_and_a_list();
    list(&stage, 12);
    stage.run(&RUN).expect(0);
    list(&stage, 6);
    let plan = || stage.run(&["plan", "leavers.csv"]).expect(0).stdout;
    let lock = RunLock::acquire(&stage.path("leavers.results.csv.journal")).unwrap();
    assert!(!plan().contains("the last one"));
    drop(lock);
    assert!(plan().contains("the last one"));
}

#[test]
fn just_the_rows_that_failed_are_run_again_from_the_results() {
    let stage = stage();
    let first = stage.run(&RUN).expect(1);
    assert_eq!(first.next(), ["run", "leavers.results.csv", "--only", "failed"]);
    stage.service.app.world().desktop_mut(&id("d-3")).unwrap().live.status = "ACTIVE".into();

    let mut words = first.next();
    words.push("--yes".to_owned());
    stage.run(&words.iter().map(String::as_str).collect::<Vec<_>>()).expect(0);
    let rows = stage.records("leavers.results.retry.results.csv".replace(".results.retry", ".retry").as_str());
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0]["user_name"].as_str(), rows[0]["outcome"].as_str()), ("leaver-3", "detached"));
    assert_eq!(stage.results().len(), 3, "the first results are as they were");
    assert!(stage.service.bindings().is_empty());

    let none = stage.run(&["run", "leavers.results.csv", "--only", "unknown", "--results", "n.csv", "--yes"]).expect(0);
    assert!(none.stderr.contains("nothing to do") && !stage.has("n.csv"), "{}", none.stderr);
    let no_column = stage.run(&["run", "leavers.csv", "--only", "failed", "--results", "n.csv", "--yes"]).expect(2);
    assert!(no_column.stderr.contains("outcome"), "{}", no_column.stderr);
}

#[test]
fn other_columns_travel_through_and_cells_stay_as_they_were() {
    let stage = stage();
    let rows = "Ticket;User Name;desktop_id;note\nCHG-1; leaver-1 ;d-1;=1+1\nCHG-2;LEAVER-2;d-2;\"a;b\"\n";
    stage.write("leavers.csv", rows);
    stage.run(&RUN).expect(0);
    let rows = stage.results();
    let cells = |column: &str| rows.iter().map(|row| row[column].clone()).collect::<Vec<_>>();
    assert_eq!(cells("Ticket"), ["CHG-1", "CHG-2"]);
    assert_eq!(cells("note"), ["'=1+1", "a;b"]);
    assert_eq!(cells("user_name"), ["leaver-1", "LEAVER-2"]);
    assert_eq!(cells("outcome"), ["detached", "detached"]);
    assert_eq!(cells("line"), ["2", "3"]);
    assert!(cells("user_id").iter().all(|id| !id.is_empty()), "empty cells are filled with what was found");
}

#[test]
fn standard_input_is_an_input() {
    let stage = stage();
    let rows = "desktop_id,user_name\nd-1,leaver-1\nd-2,leaver-2\n";
    let words = ["run", "-", "--yes", "--results", "out.csv"];
    assert_eq!(stage.run_with(&["run", "-", "--yes"], rows).code, Some(2), "it needs a name for the results");
    assert_eq!(stage.run_with(&["run", "-", "--results", "out.csv"], rows).code, Some(2));
    let ended = stage.run_with(&words, rows).expect(0);
    assert_eq!(stage.records("out.csv").len(), 2);
    assert!(ended.stdout.contains("2 detached") || ended.stdout.contains("detached"), "{}", ended.stdout);
    assert_eq!(stage.run_with(&["plan", "-"], rows).code, Some(0));
    let again = stage.run_with(&words, rows).expect(0);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
}

#[test]
fn p14_results_that_can_not_be_written_are_found_out_before_anything_is_sent() {
    let stage = stage();
    std::fs::create_dir(stage.path("folder")).unwrap();
    for results in ["no/such/folder/r.csv", "folder", "leavers.csv/r.csv"] {
        let ended = stage.run(&["run", "leavers.csv", "--yes", "--results", results]).expect(2);
        assert!(ended.stderr.contains(results), "{}", ended.stderr);
    }
    assert_eq!((stage.service.received(), stage.files()), (0, vec!["folder".to_owned(), "leavers.csv".to_owned()]));
}

#[test]
fn p14_results_that_can_not_be_written_at_the_end_stop_the_run_and_are_rebuilt_by_the_next() {
    let stage = stage();
    std::fs::create_dir(stage.path("out")).unwrap();
    let slow = Fault::new(Op::BatchDetach, Effect::Delay(Duration::from_millis(500)));
    stage.service.app.add_fault(slow);
    let words = ["run", "leavers.csv", "--yes", "--results", "out/r.csv"];
    let running = stage.start(&words);
    stage.service.wait_for("a write came", |log| log.iter().any(|entry| entry.op.is_write()));
    // A directory of that name can't be replaced by a file, whoever asks.
    std::fs::create_dir(stage.path("out/r.csv")).unwrap();
    let ended = running.wait().expect(5);
    assert!(ended.stderr.contains("r.csv"), "{}", ended.stderr);
    assert!(ended.next().starts_with(&["run".to_owned(), "out/r.csv.journal".to_owned()]), "{}", ended.stderr);
    let left: Vec<_> = std::fs::read_dir(stage.path("out")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name.to_str().unwrap().starts_with("r.csv")), "no part of a file: {left:?}");

    std::fs::remove_dir(stage.path("out/r.csv")).unwrap();
    let received = stage.service.received();
    stage.run(&words).expect(1);
    assert_eq!((stage.records("out/r.csv").len(), stage.service.received()), (3, received));
}

#[test]
fn p14_a_folder_that_can_not_be_written_to_refuses_the_run() {
    let stage = stage();
    let folder = stage.path("sealed");
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(folder.join("probe"), "").is_ok() {
        return; // the superuser writes everywhere
    }
    stage.run(&["run", "leavers.csv", "--yes", "--results", "sealed/r.csv"]).expect(2);
    assert_eq!(stage.service.received(), 0);
}

/// As if a version with another format of journals had made it.
fn set_format(stage: &Stage, journal: &str, format: u8) {
    let mut bytes = std::fs::read(stage.path(journal)).unwrap();
    bytes[60..64].copy_from_slice(&[0, 0, 0, format]); // user_version of the database header
    std::fs::write(stage.path(journal), bytes).unwrap();
}

#[test]
fn p14_a_run_of_another_version_is_no_obstacle_to_a_fresh_start_and_is_moved_aside_whole() {
    for format in [1, 9] {
        let stage = stage();
        stage.run(&RUN).expect(1);
        let older = stage.read("leavers.results.csv");
        set_format(&stage, "leavers.results.csv.journal", format);
        let journal = std::fs::read(stage.path("leavers.results.csv.journal")).unwrap();
        stage.run(&["plan", "leavers.csv"]).expect(0);

        let refused = stage.run(&RUN).expect(2);
        let words = format!("another version of batch-detach (format {format};");
        assert!(refused.stderr.contains(&words), "{}", refused.stderr);
        assert_eq!(refused.next(), ["run", "leavers.csv", "--yes", "--fresh"]);
        // What the last line says works.
        stage.run(&refused.next().iter().map(String::as_str).collect::<Vec<_>>()).expect(1);
        assert_eq!(stage.files().len(), 1 + 2 * 2, "{:?}", stage.files());
        let aside = stage.files().into_iter().find(|name| name.ends_with(".csv.journal") && name.len() > 30).unwrap();
        assert_eq!(std::fs::read(stage.path(&aside)).unwrap(), journal);
        assert_eq!(stage.read(aside.trim_end_matches(".journal")), older);
        stage.run(&["status", "leavers.results.csv.journal"]).expect(0);
        // And it goes on so every night.
        stage.run(&["run", "leavers.csv", "--yes", "--fresh"]).expect(1);
    }
}

#[test]
fn a_command_on_a_journal_of_another_version_names_that_version_and_no_command_that_would_fail() {
    let stage = stage();
    stage.run(&RUN).expect(1);
    let journal = "leavers.results.csv.journal";
    set_format(&stage, journal, 1);
    for words in [["status", journal], ["report", journal], ["undo", journal], ["run", journal]] {
        let refused = stage.run(&words).expect(2);
        assert!(refused.stderr.contains("finish, undo or report that run with that version"), "{}", refused.stderr);
        assert!(!refused.stderr.contains("--fresh") && !refused.stderr.contains("next:"), "{}", refused.stderr);
    }
}

#[test]
fn a_damaged_journal_is_moved_aside_by_a_fresh_start_alone() {
    let stage = stage();
    stage.run(&RUN).expect(1);
    let journal = "leavers.results.csv.journal";
    let mut bytes = std::fs::read(stage.path(journal)).unwrap();
    bytes[100..].fill(0x5a);
    std::fs::write(stage.path(journal), &bytes).unwrap();
    let told = stage.run(&["status", journal]).expect(2);
    assert!(told.stderr.contains("damaged") && !told.stderr.contains("--fresh"), "{}", told.stderr);
    let refused = stage.run(&RUN).expect(2);
    assert!(refused.stderr.contains("damaged"), "{}", refused.stderr);
    assert_eq!(std::fs::read(stage.path(journal)).unwrap(), bytes);
    stage.run(&refused.next().iter().map(String::as_str).collect::<Vec<_>>()).expect(1);
    assert_eq!(std::fs::read(stage.path("leavers.results.older.csv.journal")).unwrap(), bytes);
    assert!(stage.has("leavers.results.older.csv"));
}

#[test]
fn a_foreign_file_in_the_journal_s_place_is_refused_and_left_as_it_is() {
    let stage = stage();
    for text in ["", "not a journal", "SQLite format 3\0 but not really, and too short"] {
        stage.write("leavers.results.csv.journal", text);
        for words in [&RUN[..], &["run", "leavers.csv", "--yes", "--fresh"], &["status", "leavers.results.csv.journal"]]
        {
            stage.run(words).expect(2);
            assert_eq!(stage.read("leavers.results.csv.journal"), text);
        }
    }
    assert_eq!(stage.service.received(), 0);
}
