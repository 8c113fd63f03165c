//! Rows that wait for their day: what is not due yet stands in no request, and on its day it is done.

use std::collections::BTreeSet;

use batch_detach::testing::model::{Bound, Kind};
use batch_detach::testing::sim::{Scenario, Seat, World};

use super::service::{id, named_in, seat};
use super::stage::{Record, Stage};

const SAMPLE: &str = include_str!("../../samples/leavers.csv");
/// Of the sample's three last days.
const SECOND_DAY: &str = "2025-12-01";
const THIRD_DAY: &str = "2025-12-05";

fn rows_of(text: &str) -> Vec<Record> {
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect()
}

/// The sample, and a service where everybody on it is bound.
fn sample() -> Stage {
    let seats = rows_of(SAMPLE).into_iter().map(|row| {
        let kind = Kind::parse(&row["type"]).unwrap();
        let bound = Bound { kind, user_name: row["user_name"].clone(), user_id: None, user_group: None, domain: None };
        Seat { desktop: id(&row["desktop_id"]), name: row["desktop_name"].clone(), bound }
    });
    let stage = Stage::new(seats, Scenario::default());
    stage.write("leavers.csv", SAMPLE);
    stage
}

/// Two desktops, one of them to be left on a day that is far away.
fn stage() -> Stage {
    let stage = Stage::with(World::from_seats([seat("d-1", "ann"), seat("d-2", "bob")], 1), Scenario::default());
    stage.write("leavers.csv", "desktop_id,user_name,last_day\nd-1,ann,2020-01-31\nd-2,bob,9000-01-31\n");
    stage
}

#[test]
fn p05_rows_that_are_not_due_stand_in_no_body_and_no_query_and_are_done_on_their_day() {
    let stage = sample();
    let before = stage.service.bindings();
    let of_day = |day: &str| -> BTreeSet<_> {
        let rows = rows_of(SAMPLE).into_iter().filter(|row| row["last_day"] == day);
        rows.map(|row| (row["desktop_id"].clone(), Kind::parse(&row["type"]).unwrap(), row["user_name"].clone()))
            .collect()
    };
    let later = of_day(THIRD_DAY);
    assert!(later.len() > 10);
    let words = |day| ["run", "leavers.csv", "--yes", "--fresh", "--due-column", "last_day", "--as-of", day];
    let ended = stage.run(&words(SECOND_DAY)).expect(0);
    assert!(ended.stdout.contains("17 not due on 2025-12-01"), "{}", ended.stdout);
    assert!(ended.stdout.contains("+ 17 not_due"), "{}", ended.stdout);
    let of_later = stage.results().into_iter().filter(|row| row["outcome"] == "not_due").collect::<Vec<_>>();
    assert!(of_later.iter().all(|row| row["last_day"] == THIRD_DAY && row["error_code"].is_empty()));
    assert_eq!((of_later.len(), &stage.service.bindings()), (17, &later));
    let sent: BTreeSet<_> = stage.service.writes().iter().flat_map(named_in).collect();
    assert!(sent.is_disjoint(&later));
    let only_later: BTreeSet<_> = later.iter().map(|(desktop, ..)| desktop.clone()).collect();
    let due: BTreeSet<_> = before.difference(&later).map(|(desktop, ..)| desktop.clone()).collect();
    for desktop in only_later.difference(&due) {
        let asked = stage.service.app.log().into_iter().any(|entry| format!("{entry:?}").contains(desktop.as_str()));
        assert!(!asked, "{desktop} is nobody's business before its day");
    }

    let first_writes = stage.service.writes().len();
    stage.run(&words(THIRD_DAY)).expect(0);
    let sent: BTreeSet<_> = stage.service.writes()[first_writes..].iter().flat_map(named_in).collect();
    assert_eq!((sent, stage.service.bindings().len()), (later, 0), "exactly those");
}

#[test]
fn a_list_with_days_to_come_is_refused_before_anything_is_read_until_it_is_said_what_they_mean() {
    let stage = stage();
    for command in ["run", "plan"] {
        let ended = stage.run(&[command, "leavers.csv", "--results=r.csv"]).expect(2);
        for word in ["\"last_day\"", "line 3: 9000-01-31", "--due-column last_day", "--due-column -"] {
            assert!(ended.stderr.contains(word), "{word}: {}", ended.stderr);
        }
    }
    assert_eq!(stage.service.received(), 0);
    let ended = stage.run(&["plan", "leavers.csv", "--due-column", "last_day"]).expect(0);
    assert!(ended.stdout.contains("1 to detach, 0 already detached, 1 not due on "), "{}", ended.stdout);
    assert_eq!(ended.next(), ["run", "leavers.csv", "--due-column", "last_day"]);
    let ended = stage.run(&["plan", "leavers.csv", "--due-column=-"]).expect(0);
    assert!(ended.stdout.contains("2 to detach"), "{}", ended.stdout);
    assert_eq!(ended.next(), ["run", "leavers.csv", "--due-column", "-"]);
    // A row that was done had been due: to try it again, nothing has to be said.
    let results = "line,desktop_id,user_name,outcome,finished_at,last_day\n2,d-1,ann,failed,,9000-01-31\n";
    stage.write("old.results.csv", results);
    stage.run(&["plan", "old.results.csv", "--only", "failed"]).expect(0);
}

#[test]
fn a_day_without_a_column_and_a_time_zone_that_is_none_are_refused() {
    let stage = stage();
    for words in [&["plan", "leavers.csv", "--as-of", "2026-11-30"][..], &["plan", "leavers.csv", "--as-of=today"]] {
        assert!(stage.run(words).expect(2).stderr.contains("--as-of"));
    }
    let stage = stage.variable("TZ", "Nowhere/Atlantis");
    let ended = stage.run(&["plan", "leavers.csv", "--due-column", "last_day"]).expect(2);
    assert!(ended.stderr.contains("TZ") && ended.stderr.contains("--as-of"), "{}", ended.stderr);
    stage.run(&["plan", "leavers.csv", "--due-column", "last_day", "--as-of", "2026-11-30"]).expect(0);
    assert_eq!(stage.service.writes().len(), 0);
}

#[test]
fn p16_a_resumed_run_keeps_its_day_and_another_day_is_another_run() {
    let stage = stage();
    let due = ["--due-column", "last_day"];
    let with = |words: &[&'static str], more: &[&'static str]| stage.run(&[&["run"], words, &due[..], more].concat());
    let words = [&["run", "leavers.csv", "--as-of", "2021-05-05", "--yes"], &due[..]].concat();
    let running = stage.start(&words);
    stage.service.wait_for("it has sent something", |log| log.iter().any(|entry| entry.op.is_write()));
    running.kill();
    let ended = with(&["leavers.csv"], &["--as-of", "2021-05-06", "--yes"]).expect(2);
    assert!(ended.stderr.contains("`as-of` was 2021-05-05, and is 2021-05-06 now"), "{}", ended.stderr);
    with(&["leavers.csv"], &["--yes"]).expect(0);
    assert_eq!(stage.outcomes(), [("2".to_owned(), "detached".to_owned()), ("3".to_owned(), "not_due".to_owned())]);
    // Finished: today is another day.
    let ended = with(&["leavers.csv"], &["--yes"]).expect(0);
    assert!(ended.stdout.contains("1 already_detached"), "{}", ended.stdout);
}

#[test]
fn rows_that_are_not_due_are_no_failure_in_summary_metrics_and_report() {
    let stage = stage();
    let words = ["run", "leavers.csv", "--yes", "--due-column=last_day", "--format=json", "--metrics=m.prom"];
    let ended = stage.run(&words).expect(0);
    let summary: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&summary["outcomes"]["not_due"], &summary["exit_code"]), (&1.into(), &0.into()));
    let metrics = stage.read("m.prom");
    let samples: Vec<&str> = metrics.lines().filter(|line| line.contains("outcome=\"not_due\"")).collect();
    assert!(samples.len() == 1 && samples[0].ends_with(" 1"), "{metrics}");
    assert!(metrics.contains("last_success"), "nothing is wrong");
    stage.run(&["report", "leavers.results.csv.journal"]).expect(0);
    let page = stage.read("leavers.report.html");
    assert!(page.contains("data-o=\"not_due\""), "{page}");
    // Nothing of it can be taken back.
    let ended = stage.run(&["undo", "leavers.results.csv.journal", "--dry-run"]).expect(0);
    assert!(ended.stdout.contains("1 to attach"), "{}", ended.stdout);
}
