use std::sync::LazyLock;

use super::*;
use crate::journal::RowOutcome;
use crate::testing::build::identity;
use crate::text::columns;

const ID: &str = "5f0c2a7e-9d41-4c1b-8a53-0d6b7f2e9c10";

fn row<'a>(line: u64, user: &'a str, outcome: Outcome, code: &str, message: &str) -> ResultRow<'a> {
    let result = RowOutcome {
        attempts: 1,
        part: "1".to_owned(),
        ..RowOutcome::new(outcome, code.to_owned(), message.to_owned())
    };
    // Kept for the rest of the test, so that it can be borrowed like one of a journal.
    let result = Box::leak(Box::new(result));
    ResultRow { line, cells: [ID, "WIN-FIN-01", user, "", "", "USER", ""], result, still_via: "", extras: &[] }
}

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| Identity {
    run_id: "3f2a9c1e".to_owned(),
    endpoint: "https://workspace.cn-north-4.myhuaweicloud.com".to_owned(),
    region: Some("cn-north-4".to_owned()),
    project_id: "p1".to_owned(),
    ticket: Some("CHG-4711".to_owned()),
    ..identity()
});

fn no_advice(_: &str, _: &str) -> Option<String> {
    None
}

fn facts<'a>(
    exit: Exit,
    next: &'a Next,
    requests: &'a [(Class, String, u64)],
    warnings: &'a [String],
) -> SummaryFacts<'a> {
    SummaryFacts {
        identity: &IDENTITY,
        input: "leavers.csv",
        results: Some("leavers.results.csv"),
        journal: Some("leavers.results.csv.journal"),
        exit,
        stopped: None,
        expected_rows: None,
        details: true,
        requests,
        took: Duration::from_secs(750),
        still: None,
        warnings,
        next,
        advice: &no_advice,
    }
}

fn mixed() -> Summary {
    let mut summary = Summary::default();
    for line in 0..1696 {
        summary.absorb(&row(line, "li.na", Outcome::Detached, "", ""));
    }
    for line in 0..4 {
        summary.absorb(&row(line, "li.na", Outcome::AlreadyDetached, "", ""));
    }
    for line in 0..296 {
        let state = if line % 2 == 0 { "HIBERNATED" } else { "ERROR" };
        let message = format!(
            "Operation conflict. The desktop current instance status is [{state}] and deny operation [detach], resource id [{ID}]."
        );
        summary.absorb(&row(2000 + line, "zhang.san", Outcome::Failed, "WKS.00010032", &message));
    }
    for line in [7, 9] {
        summary.absorb(&row(line, "王芳", Outcome::Failed, "STILL_BOUND", "still bound after 5 attempts"));
        summary.absorb(&row(line, "", Outcome::Invalid, "INVALID_USER_MISSING", "user_name is empty"));
    }
    summary
}

fn retry() -> Next {
    let words = ["batch-detach", "run", "leavers.results.csv", "--only", "failed"];
    Next {
        words: "When the causes are gone, to try just these rows again:".to_owned(),
        command: Some(words.map(Into::into).to_vec()),
    }
}

#[test]
fn a_summary_tells_a_stranger_what_happened_why_and_what_to_do() {
    let requests = [
        (Class::BatchDetach, "ok".to_owned(), 118),
        (Class::BatchDetach, "throttled".to_owned(), 2),
        (Class::ListDesktops, "ok".to_owned(), 44),
    ];
    let warnings = ["2 desktops stay bound to the group Contractors: its members may still get in.".to_owned()];
    let next = retry();
    let text = mixed().human(&facts(Exit::SomeRows, &next, &requests, &warnings), 80, false);
    insta::assert_snapshot!(text);
    assert!(text.lines().all(|line| columns(line) <= 80));
}

#[test]
fn what_to_do_follows_the_state_only_where_all_rows_name_the_same() {
    let advice = |states: [&str; 2]| {
        let mut summary = Summary::default();
        for (line, state) in (1..).zip(states) {
            let message = format!("status is [{state}] and deny operation [detach], resource id [{line}]");
            summary.absorb(&row(line, "li.na", Outcome::Failed, "WKS.00010032", &message));
        }
        summary.causes()[0].advice(&|_, message| Some(message.to_owned())).unwrap()
    };
    assert!(advice(["HIBERNATED", "HIBERNATED"]).contains("[HIBERNATED]"), "the ids differ, the states do not");
    assert_eq!(advice(["HIBERNATED", "ERROR"]), "");
}

#[test]
fn colour_is_there_only_where_it_is_asked_for() {
    let next = retry();
    let facts = facts(Exit::SomeRows, &next, &[], &[]);
    let (plain, coloured) = (mixed().human(&facts, 80, false), mixed().human(&facts, 80, true));
    assert!(!plain.contains('\x1b') && coloured.contains('\x1b'));
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
}

#[test]
fn a_clean_run_needs_few_words() {
    let mut summary = Summary::default();
    summary.absorb(&row(2, "li.na", Outcome::Detached, "", ""));
    let next = Next { words: "Nothing is left to do.".to_owned(), command: None };
    insta::assert_snapshot!(summary.human(&facts(Exit::Done, &next, &[], &[]), 80, false), @"
    Run 3f2a9c1e of leavers.csv: all is as requested.

      1  detached          was bound, is not bound now

    Results   leavers.results.csv
    Journal   leavers.results.csv.journal
    Ticket    CHG-4711
    Time      12 min 30 s

    Nothing is left to do.

    1 row = 1 detached
    ");
}

#[test]
fn p01_a_lost_row_is_told_as_a_fault() {
    let next = Next { words: String::new(), command: None };
    let facts = SummaryFacts { expected_rows: Some(2001), ..facts(Exit::SomeRows, &next, &[], &[]) };
    assert!(mixed().human(&facts, 80, false).contains("The input has 2,001 rows, but these are accounted for."));
}

#[test]
fn the_json_summary_has_the_documented_keys() {
    let requests = [(Class::BatchDetach, "ok".to_owned(), 118)];
    let next = retry();
    let text = mixed().json(&facts(Exit::SomeRows, &next, &requests, &[])).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["format"], 1);
    assert_eq!(json["rows"], 2000);
    assert_eq!(
        json["outcomes"],
        serde_json::json!({"detached": 1696, "already_detached": 4, "failed": 298, "unknown": 0, "invalid": 2, "not_sent": 0, "not_due": 0})
    );
    assert_eq!(json["exit_code"], 1);
    assert_eq!(json["next"], "batch-detach run leavers.results.csv --only failed");
    assert_eq!(json["failures"][0]["error_code"], "WKS.00010032");
    assert_eq!(json["failures"][0]["rows"], 296);
    assert_eq!(json["failures"][0]["examples"][0]["line"], 2000);
    assert_eq!(json["requests"][0], serde_json::json!({"class": "batch-detach", "result": "ok", "count": 118}));
    for key in ["run_id", "results", "journal", "stopped", "warnings", "duration_s"] {
        assert!(json.get(key).is_some(), "{key}");
    }
}

#[test]
fn p21_hostile_names_do_not_reach_the_screen() {
    let mut summary = Summary::default();
    summary.absorb(&row(2, "a\x1b[2J\u{202e}b", Outcome::Failed, "X\x07", "m\x1b]0;t\x07\nm"));
    let next = Next { words: String::new(), command: None };
    let text = summary.human(&facts(Exit::SomeRows, &next, &[], &[]), 80, false);
    assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
}

#[test]
fn p18_an_endless_variety_of_codes_stays_in_bounds() {
    let mut summary = Summary::default();
    for line in 0..1000 {
        summary.absorb(&row(line, "u", Outcome::Failed, &format!("X.{line}"), "m"));
    }
    assert!(summary.causes().len() <= MAX_CAUSES + Outcome::ALL.len());
    assert_eq!(summary.causes().iter().map(|cause| cause.rows).sum::<u64>(), 1000);
}

#[test]
fn rows_in_doubt_are_told_though_they_count_as_done() {
    let mut summary = Summary::default();
    summary.absorb(&row(2, "li.na", Outcome::Detached, "WKS.1", "refused at first"));
    let words = "taken as already detached, but `ana.k` is not bound to d1; the nearest name is `anna.k`";
    summary.absorb(&row(3, "ana.k", Outcome::AlreadyDetached, "DOUBT_NEAR_NAME", words));
    assert_eq!(summary.rows_in_doubt(), [(Doubt::NearName, 1)]);
    assert!(summary.causes().is_empty());
    let next = Next { words: String::new(), command: None };
    let facts = facts(Exit::Done, &next, &[], &[]);
    let text = summary.human(&facts, 120, false);
    assert!(text.contains("1 row already_detached, but in doubt: DOUBT_NEAR_NAME"), "{text}");
    assert!(text.contains("the nearest name is `anna.k`"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&summary.json(&facts).unwrap()).unwrap();
    assert_eq!((&json["doubts"][0]["kind"], &json["doubts"][0]["rows"]), (&"near_name".into(), &1.into()));
    assert_eq!(json["doubts"][0]["examples"][0]["line"], 3);
}

#[test]
fn a_summary_is_verified_by_what_its_rows_rest_on() {
    let (mut read, mut told) = (Summary::default(), Summary::default());
    read.absorb(&row(2, "li.na", Outcome::Detached, "", ""));
    let taken = RowOutcome {
        evidence: RowOutcome::AT_ITS_WORD.to_owned(),
        ..RowOutcome::new(Outcome::Detached, String::new(), String::new())
    };
    told.absorb(&ResultRow { result: &taken, ..row(2, "li.na", Outcome::Detached, "", "") });
    assert_eq!((read.is_verified(), told.is_verified()), (true, false));
}
