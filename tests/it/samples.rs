//! What `samples/` promises: its own README, the documentation, and runs on a schedule rely on it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/samples");

fn read(name: &str) -> String {
    std::fs::read_to_string(format!("{FOLDER}/{name}")).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn records(text: &str) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect()
}

fn is_uuid(text: &str) -> bool {
    text.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && text.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

#[test]
fn the_list_of_leavers_is_what_a_personnel_department_sends() {
    let rows = records(&read("leavers.csv"));
    let of = |column: &str| rows.iter().map(|row| row[column].clone()).collect::<Vec<_>>();
    assert_eq!(rows.len(), 61);
    assert!(of("desktop_id").iter().all(|id| is_uuid(id)));
    assert!(of("user_name").iter().all(|name| (1..=64).contains(&name.chars().count())));
    assert_eq!(of("desktop_id").into_iter().collect::<BTreeSet<_>>().len(), 45);
    assert_eq!(of("type").iter().filter(|kind| *kind == "GROUP").count(), 4);
    assert!(of("type").iter().all(|kind| kind == "USER" || kind == "GROUP"));
    assert_eq!(of("desktop_name").iter().filter(|name| *name == "WS-TRAIN-01").count(), 14);
    assert!(of("user_name").contains(&"欧阳修文".to_owned()));
    for column in ["department", "last_day", "ticket"] {
        assert!(of(column).iter().all(|cell| !cell.is_empty()), "{column}");
    }
}

#[test]
fn one_leaver_is_named_twice_and_no_desktop_has_two_names() {
    let rows = records(&read("leavers.csv"));
    let bindings: BTreeSet<_> = rows.iter().map(|row| (&row["desktop_id"], &row["user_name"], &row["type"])).collect();
    assert_eq!(bindings.len(), rows.len() - 1);
    let ids: BTreeSet<_> = rows.iter().map(|row| &row["desktop_id"]).collect();
    let named: BTreeSet<_> = rows.iter().map(|row| (&row["desktop_id"], &row["desktop_name"])).collect();
    assert_eq!(named.len(), ids.len());
}

/// What stood on the screen of a recording, line by line, without colours; a line that was drawn anew counts anew.
fn on_screen(recording: &str) -> Vec<String> {
    let events = recording.lines().skip(1).map(|event| serde_json::from_str::<(f64, String, String)>(event).unwrap());
    let text: String = events.filter(|(_, kind, _)| kind == "o").map(|(.., text)| text).collect();
    let text = anstream::adapter::strip_str(&text).to_string();
    text.split(['\r', '\n']).map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn the_recording_shows_the_run_of_the_readme_in_80_columns() {
    let recording = read("leavers.cast");
    let header: serde_json::Value = serde_json::from_str(recording.lines().next().unwrap()).unwrap();
    assert_eq!((header["version"].as_u64(), header["width"].as_u64()), (Some(2), Some(80)));
    let seen = on_screen(&recording);
    let readme = read("../README.md");
    let part = |from: &str, to: &str| {
        let start = readme.find(from).unwrap();
        readme[start..].split_inclusive(to).next().unwrap().to_owned()
    };
    let plan = part("samples/leavers.csv: 61 rows\n", "\nPlan ");
    let summary = part("  59  detached", "\n61 rows = 59 detached + 1 already_detached + 1 failed");
    let varies =
        |line: &str| ["Time ", "Requests ", "  reads made", "Plan "].iter().any(|start| line.starts_with(start));
    for line in plan.lines().chain(summary.lines()).filter(|line| !varies(line)) {
        assert!(seen.iter().any(|shown| shown == line), "make the recording anew: it has no line {line:?}");
    }
}

fn make_large(arguments: &[&str]) -> Output {
    Command::new("sh").arg(format!("{FOLDER}/make-large.sh")).args(arguments).output().unwrap()
}

#[test]
fn a_large_input_has_as_many_rows_and_users_as_asked_for() {
    let made = make_large(&["1000", "8"]);
    assert!(made.status.success());
    let rows = records(std::str::from_utf8(&made.stdout).unwrap());
    assert_eq!(rows.len(), 1000);
    let mut users: BTreeMap<&str, usize> = BTreeMap::new();
    for row in &rows {
        *users.entry(&row["desktop_id"]).or_default() += 1;
    }
    assert!(users.len() == 125 && users.keys().all(|id| is_uuid(id)) && users.values().all(|count| *count == 8));
    let bindings: BTreeSet<_> = rows.iter().map(|row| (&row["desktop_id"], &row["user_name"])).collect();
    assert_eq!(bindings.len(), 1000);
    assert_eq!(rows.iter().filter(|row| row["type"] == "GROUP").count(), 20);
    assert_eq!(made.stdout, make_large(&["1000", "8"]).stdout, "the same numbers give the same file");
}

#[test]
fn a_large_input_without_a_size_is_refused() {
    for arguments in [&[][..], &["0"], &["ten"], &["10", "-1"]] {
        let made = make_large(arguments);
        assert_eq!(made.status.code(), Some(2), "{arguments:?}");
        assert!(made.stdout.is_empty() && made.stderr.starts_with(b"usage: "), "{arguments:?}");
    }
}

#[test]
fn every_scheduled_run_asks_nothing_starts_anew_and_is_guarded() {
    for name in ["cron/crontab", "cron/batch-detach.service", "cron/kubernetes-cronjob.yaml"] {
        // A command of one word a line (YAML) reads as one line.
        let text = read(name);
        let words = text.split_whitespace().filter(|word| *word != "-").map(|word| word.trim_matches('"'));
        let command = words.collect::<Vec<_>>().join(" ");
        let wanted = "run leavers.csv --yes --fresh --due-column last_day --on-invalid skip --max-percent 20 --max-runtime 1h \
                      --progress off --format json --log-format json";
        assert!(command.contains(wanted), "{name}");
        assert!(command.contains("--metrics /"), "{name}");
        assert!(command.contains("leavers.results.*.csv*"), "{name} removes old files");
        assert!(!command.contains("HUAWEICLOUD_SDK_SK="), "{name} has no secret in it");
    }
}

#[test]
fn cron_has_one_line_for_each_command_and_no_percent_sign_in_it() {
    let text = read("cron/crontab");
    let commands: Vec<&str> = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())).collect();
    assert_eq!(commands.len(), 2);
    assert!(commands.iter().all(|line| !line.contains('%') && !line.ends_with('\\')));
}

#[test]
fn the_cluster_never_runs_two_keeps_its_files_and_repeats_exit_code_5_alone() {
    let text = read("cron/kubernetes-cronjob.yaml");
    for line in [
        "concurrencyPolicy: Forbid",
        "claimName: batch-detach",
        "operator: NotIn",
        "values: [5]",
        "restartPolicy: Never",
        "terminationGracePeriodSeconds: 90",
    ] {
        assert!(text.contains(line), "{line}");
    }
}

#[test]
fn systemd_repeats_exit_code_5_alone_and_waits_longer_than_the_drain() {
    let text = read("cron/batch-detach.service");
    let timeout = text.lines().find_map(|line| line.strip_prefix("TimeoutStopSec="));
    assert!(timeout.is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|seconds| seconds > 35)));
    assert!(text.lines().any(|line| line == "RestartForceExitStatus=5"));
    assert!(!text.lines().any(|line| line.starts_with("Restart=")));
    assert!(text.lines().any(|line| line == "Type=exec"), "with oneshot systemd refuses the unit");
    let timer = read("cron/batch-detach.timer");
    assert!(timer.contains("Persistent=false"), "in the morning those whose last day it is still work");
}

#[test]
fn alerts_speak_only_of_metrics_that_exist() {
    use batch_detach::Exit;
    use batch_detach::testing::model::StillAccess;
    use batch_detach::testing::outcome::{Counts, Metrics};
    let metrics = Metrics {
        labels: Vec::new(),
        version: String::new(),
        outcomes: Counts::default(),
        doubts: Vec::new(),
        still: Some(StillAccess::default()),
        requests: Vec::new(),
        waits: Vec::new(),
        duration: std::time::Duration::ZERO,
        exit: Exit::Done,
        ended_at: 0.0,
        last_success_at: Some(0.0),
    };
    let mut rendered = Vec::new();
    metrics.render(&mut rendered).unwrap();
    let known = String::from_utf8(rendered).unwrap();
    let rules = read("cron/prometheus-alerts.yaml");
    let named: BTreeSet<&str> = rules
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with("batch_detach_"))
        .collect();
    assert_eq!(named.len(), 6);
    for name in named {
        assert!(known.contains(&format!("# TYPE {name} gauge\n")), "{name}");
    }
}

#[test]
fn credentials_of_the_sample_are_none() {
    let text = read("cron/credentials.example");
    let secrets = text.lines().filter_map(|line| line.strip_prefix("HUAWEICLOUD_SDK_"));
    assert!(secrets.clone().count() == 2 && secrets.into_iter().all(|line| line.ends_with("=replace-me")));
}
