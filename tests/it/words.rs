//! What the program says: the last line, the summary, `status`, logs.

use std::time::Duration;

use batch_detach::testing::sim::{Effect, Fate, FateOf, Fault, Op, Scenario};
use serde_json::Value;

use super::service::{self, seat};
use super::stage::Stage;

const RUN: [&str; 3] = ["run", "leavers.csv", "--yes"];

/// Four rows: two are detached, one was gone before, one fails.
fn stage() -> Stage {
    let fates = vec![FateOf { desktops: vec![service::id("d-3")], fate: Fate::Hibernated }];
    let seats = (0..4).map(|n| seat(&format!("d-{n}"), &format!("leaver-{n}")));
    let stage = Stage::new(seats, Scenario { fates, ..Scenario::default() }).set("UNKNOWN_USERS", "gone");
    stage.leavers((0..4).map(|n| (format!("d-{n}"), format!("leaver-{}", if n == 1 { 9 } else { n }))));
    stage
}

/// Numbers and names that differ from run to run are replaced.
fn steady(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(steady),
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "run_id" | "duration_s" | "created_at" | "plan_hash" | "endpoint" | "timestamp" => {
                        *value = format!("[{name}]").into();
                    }
                    // How often a desktop is read depends on the time that requests take.
                    "count" => *value = "[count]".into(),
                    "next" => {
                        let Some(line) = value.as_str() else { continue };
                        let address = |word| if str::starts_with(word, "http:") { "[endpoint]" } else { word };
                        *value = line.split(' ').map(address).collect::<Vec<_>>().join(" ").into();
                    }
                    _ => steady(value),
                }
            }
        }
        _ => {}
    }
}

fn json(text: &str) -> Value {
    let mut value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    steady(&mut value);
    value
}

#[test]
fn the_summary_in_json_keeps_its_shape() {
    let stage = stage();
    let ended = stage.run(&["run", "leavers.csv", "--yes", "--format=json", "--ticket", "CHG-1"]).expect(1);
    let mut summary = json(&ended.stdout);
    // Which reads there are depends on the time, too.
    summary["requests"].as_array_mut().unwrap().retain(|each| each["class"] == "batch-detach");
    insta::assert_snapshot!(serde_json::to_string_pretty(&summary).unwrap());
}

#[test]
fn the_status_of_a_finished_run_in_json_keeps_its_shape() {
    let stage = stage();
    stage.run(&RUN).expect(1);
    let ended = stage.run(&["status", "leavers.results.csv.journal", "--format=json"]).expect(0);
    insta::assert_snapshot!(serde_json::to_string_pretty(&json(&ended.stdout)).unwrap());
}

#[test]
fn the_summary_tells_rows_causes_files_and_what_comes_next() {
    let stage = stage();
    let ended = stage.run(&RUN).expect(1);
    let summary = ended.stdout.split_once("\nRun ").map(|(_, summary)| format!("Run {summary}")).unwrap();
    let lines = summary.lines().filter(|line| !line.starts_with("Requests") && !line.starts_with("Time"));
    let text: Vec<String> = lines.map(without_id).collect();
    insta::assert_snapshot!(text.join("\n"));
    let last = stage.run(&["status", "leavers.results.csv.journal"]).expect(0);
    assert!(last.stdout.contains("finished, 4 of 4 rows have their outcome"), "{}", last.stdout);
}

/// The line with the run's id replaced: eight hexadecimal digits after `Run `.
fn without_id(line: &str) -> String {
    match line.strip_prefix("Run ") {
        Some(rest) => format!("Run [id]{}", &rest[8..]),
        None => line.to_owned(),
    }
}

/// `id -un`, or what it prints with these words.
fn id(word: &str) -> String {
    let told = std::process::Command::new("id").arg(word).output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_operator_is_named_by_the_environment_else_by_the_system_else_by_number() {
    let operator = |stage: Stage| {
        stage.run(&RUN).expect(1);
        let status = stage.run(&["status", "leavers.results.csv.journal"]).expect(0).stdout;
        let (_, begun) = status.split_once("  begun  ").unwrap();
        begun.split_once(" by ").unwrap().1.split_once(" on ").unwrap().0.to_owned()
    };
    assert_eq!(operator(stage()), "tester");
    assert_eq!(operator(stage().variable("USER", "").variable("LOGNAME", "logged")), "logged");
    assert_eq!(operator(stage().without("USER").variable("PATH", "/usr/bin:/bin")), id("-un"));
    assert_eq!(operator(stage().without("USER").variable("PATH", "/nowhere")), format!("uid {}", id("-u")));
}

#[test]
fn status_follows_a_run_while_it_goes_on() {
    let stage = stage();
    stage.service.app.add_fault(Fault::new(Op::BatchDetach, Effect::Delay(Duration::from_millis(1_500))));
    let running = stage.start(&RUN);
    stage.service.wait_for("the write is open", |log| log.iter().any(|entry| entry.op.is_write()));
    let status = stage.run(&["status", "leavers.results.csv.journal", "--format=json"]).expect(0);
    let status = json(&status.stdout);
    assert_eq!((&status["state"], &status["rows"], &status["open"]), (&"running".into(), &4.into(), &3.into()));
    assert_eq!(status["outcomes"]["unknown"], 3, "sent, and nothing known yet: {status}");
    assert_eq!(status["next"], "batch-detach status leavers.results.csv.journal");
    running.wait().expect(1);
    let status = stage.run(&["status", "leavers.results.csv.journal", "--format=json"]).expect(0);
    assert_eq!(json(&status.stdout)["state"], "finished");
}

#[test]
fn the_last_line_names_the_code_and_the_command_that_comes_next() {
    let stage = stage();
    let cases: [(&[&str], i32, &str); 7] = [
        (&["plan", "leavers.csv"], 0, "run leavers.csv"),
        (&["run", "leavers.csv"], 3, "run leavers.csv --yes"),
        (
            &["run", "leavers.csv", "--yes", "--max-desktops", "1"],
            3,
            "run leavers.csv --yes --max-desktops 1 --dry-run",
        ),
        (&["run", "leavers.csv", "--yes"], 1, "run leavers.results.csv --only failed"),
        (
            &["run", "leavers.csv", "--yes", "--fresh", "--project-id", "other"],
            4,
            "run leavers.csv --yes --fresh --project-id other",
        ),
        (&["run", "leavers.csv", "--no-such-option"], 2, "run --help"),
        (&["walk"], 2, "--help"),
    ];
    // What can only fail again is not told to be repeated.
    let wrong = stage.run(&["run", "leavers.csv", "--write-rate", "no"]).expect(2);
    assert!(!wrong.last_line().contains("next:"), "{}", wrong.stderr);
    for (words, code, next) in cases {
        let ended = stage.run(words).expect(code);
        assert!(ended.last_line().starts_with(&format!("exit code {code}: ")), "{words:?}: {}", ended.stderr);
        assert_eq!(ended.next().join(" "), next, "{words:?}");
    }
    // A plan does nothing, whatever comes of it.
    for words in [&["plan", "leavers.csv"][..], &["run", "leavers.csv", "--dry-run"]] {
        let planned = stage.run(words).expect(0);
        assert!(planned.last_line().starts_with("exit code 0: the plan is made, nothing was changed; next: "));
    }
    // Nothing is left to do, so no command is named.
    stage.leavers([("d-0", "leaver-0")]);
    let done = stage.run(&["run", "leavers.csv", "--yes"]).expect(0);
    assert_eq!(done.last_line(), "exit code 0: all is as requested");
}

#[test]
fn the_first_thing_that_is_wrong_decides_the_exit_code() {
    let stage = stage();
    stage.run(&RUN).expect(1);
    // Each command has all the faults of those after it.
    stage.write("bad.csv", "desktop_id,user_name\nd-1,\n");
    stage.write("bad.results.csv.journal", "no journal");
    stage.leavers([("d-9", "nobody"), ("d-0", "leaver-0")]);
    let no_token = stage.without("HW_AUTH_TOKEN");
    let ended = no_token.run(&["run", "bad.csv", "--write-rate", "fast"]).expect(2);
    assert!(ended.stderr.contains("write-rate") && !ended.stderr.contains("line 2,"), "{}", ended.stderr);
    let ended = no_token.run(&["run", "bad.csv"]).expect(2);
    assert!(ended.stderr.contains("line 2,") && !ended.stderr.contains("journal"), "{}", ended.stderr);
    no_token.write("bad.csv", "desktop_id,user_name\nd-1,leaver-1\n");
    let ended = no_token.run(&["run", "bad.csv"]).expect(2);
    assert!(ended.stderr.contains("bad.results.csv.journal"), "{}", ended.stderr);
    no_token.run(&["run", "leavers.csv", "--max-desktops=0"]).expect(4);
    let stage = no_token.variable("HW_AUTH_TOKEN", super::service::TOKEN);
    let ended = stage.run(&["run", "leavers.csv", "--max-desktops=1"]).expect(2);
    assert!(ended.stderr.contains("line 2, column \"desktop_id\""), "{}", ended.stderr);
    stage.leavers([("d-0", "leaver-0"), ("d-2", "leaver-2"), ("d-3", "leaver-3")]);
    stage.service.app.world().bind(seat("d-0", "leaver-0"));
    stage.service.app.world().bind(seat("d-2", "leaver-2"));
    let ended = stage.run(&["run", "leavers.csv", "--max-desktops=1"]).expect(3);
    assert!(ended.stderr.contains("--max-desktops") && !ended.stderr.contains("--yes"), "{}", ended.stderr);
    let ended = stage.run(&["run", "leavers.csv"]).expect(3);
    assert!(ended.stderr.contains("--yes"), "{}", ended.stderr);
    assert_eq!(stage.service.bindings().len(), 4);
}

#[test]
fn logs_in_json_are_records_from_the_first_line_to_the_last() {
    let stage = stage();
    stage.service.app.add_fault(Fault::new(Op::ListDesktops, Effect::Html { status: 502 }).count(1));
    let ended = stage.run(&["run", "leavers.csv", "--yes", "--log-format=json", "-vv"]).expect(1);
    let records: Vec<Value> = ended.stderr.lines().map(json).collect();
    let events: Vec<_> = records.iter().filter_map(|record| record["event"].as_str()).collect();
    for event in ["begun", "sent", "answered", "settled"] {
        assert!(events.contains(&event), "{events:?}");
    }
    let last = records.last().unwrap();
    assert_eq!((&last["event"], &last["exit_code"]), (&"exit".into(), &1.into()));
    assert_eq!(last["next"], "batch-detach run leavers.results.csv --only failed --log-format json");

    for (words, code) in [
        (&["run", "leavers.csv", "--yes", "--log-format=json"][..], 1),
        (&["run", "leavers.csv", "--fresh", "--log-format=json"], 3),
        (&["run", "not-there.csv", "--yes", "--log-format=json"], 2),
    ] {
        let ended = stage.run(words).expect(code);
        let records: Vec<_> = ended.stderr.lines().map(json).collect();
        assert!(records.last().is_some_and(|last| last["exit_code"] == code), "{words:?}");
    }
}

#[test]
fn standard_output_carries_what_was_asked_for_alone() {
    let stage = stage();
    let ended = stage.run(&["run", "leavers.csv", "--yes", "--format=json", "-vv"]).expect(1);
    assert_eq!(json(&ended.stdout)["exit_code"], 1, "one object and nothing beside it");
    let quiet = stage.run(&["run", "leavers.csv", "--yes", "--fresh", "-q", "--progress=off"]).expect(1);
    assert_eq!(quiet.stderr.lines().count(), 1, "the last line alone: {}", quiet.stderr);
}

#[test]
fn help_version_completions_and_man_need_nothing() {
    let stage = stage();
    for words in [&["--help"][..], &["run", "--help"], &["--version"], &["completions", "bash"], &["man"]] {
        let ended = stage.run(words).expect(0);
        assert!(!ended.stdout.is_empty() && ended.stderr.is_empty(), "{words:?}: {}", ended.stderr);
    }
    assert_eq!(stage.service.received(), 0);
}
