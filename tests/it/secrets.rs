//! Nothing that is secret is ever written, and what is written is for the owner alone (P19).

use std::os::unix::fs::PermissionsExt as _;

use batch_detach::testing::sim::{Effect, Fate, FateOf, Fault, Op, Refused, Scenario};

use super::service::{TOKEN, id, seat};
use super::stage::{Ended, Stage};

fn stage() -> Stage {
    // The service itself repeats the token to us, as gateways do in their messages.
    let told = Refused::new(400, "WKS.0003", format!("X-Auth-Token {TOKEN} is not enough; X-Auth-Token: {TOKEN}"));
    let scenario = Scenario {
        fates: vec![FateOf { desktops: vec![id("d-3")], fate: Fate::Hibernated }],
        faults: vec![
            Fault::new(Op::BatchDetach, Effect::ExecuteThenDrop).count(1),
            Fault::new(Op::BatchDetach, Effect::Refuse(told)).naming([id("d-2")]),
            Fault::new(Op::ListDesktops, Effect::Refuse(Refused::new(502, "", "Bad gateway"))).after(2).count(1),
        ],
        ..Scenario::default()
    };
    let stage = Stage::new(["1", "2", "3"].map(|n| seat(&format!("d-{n}"), &format!("leaver-{n}"))), scenario);
    stage.leavers(["1", "2", "3"].map(|n| (format!("d-{n}"), format!("leaver-{n}"))));
    stage
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[track_caller]
fn check_free_of(stage: &Stage, ended: &Ended, secret: &str) {
    let secret = &secret[..24]; // a part of it is too much, too
    for stream in [&ended.stdout, &ended.stderr] {
        assert!(!stream.contains(secret), "{stream}");
    }
    for name in stage.files() {
        let bytes = std::fs::read(stage.path(&name)).unwrap();
        assert!(!holds(&bytes, secret), "{name} holds the secret");
    }
}

#[test]
fn p19_the_token_is_in_no_byte_that_is_written() {
    for format in ["text", "json"] {
        for file in [&[][..], &["--log-file", "run.log"]] {
            let stage = stage().variable("RUST_LOG", "trace");
            let words = ["run", "leavers.csv", "--yes", "-vvv", "--log-format", format, "--metrics", "m.prom"];
            let words = [&words[..], &["--max-desktops-per-request=1", "--ticket=CHG-1"], file].concat();
            let ended = stage.run(&words).expect(1);
            check_free_of(&stage, &ended, TOKEN);
            let log = if file.is_empty() { ended.stderr.clone() } else { stage.read("run.log") };
            assert!(log.lines().count() > 10, "tracing says something: {log}");
            check_free_of(&stage, &stage.run(&["status", "leavers.results.csv.journal"]), TOKEN);
            check_free_of(&stage, &stage.run(&["plan", "leavers.csv", "--format=json", "-vvv", "--requests=r"]), TOKEN);
            // The same run once more: the results' messages are shown again.
            check_free_of(&stage, &stage.run(&words), TOKEN);
        }
    }
}

#[test]
fn p19_the_token_is_in_no_message_about_what_is_wrong() {
    for value in [format!("{TOKEN}-that-ended"), format!("{TOKEN}\n"), format!("{TOKEN}\u{e9}")] {
        let stage = stage().variable("RUST_LOG", "trace").variable("HW_AUTH_TOKEN", &value);
        let ended = stage.run(&["run", "leavers.csv", "--yes", "-vvv"]);
        assert_ne!(ended.code, Some(70), "{}", ended.stderr);
        check_free_of(&stage, &ended, TOKEN);
    }
    // Somebody gives the token where it does not belong.
    let stage = stage().set("AUTH_TOKEN", TOKEN).variable("RUST_LOG", "trace");
    let ended = stage.run(&["plan", "leavers.csv", "-vvv"]).expect(0);
    check_free_of(&stage, &ended, TOKEN);
    let outside = tempfile::tempdir().unwrap();
    let config = outside.path().join("config.toml");
    std::fs::write(&config, format!("auth-token = \"{TOKEN}\"\n")).unwrap();
    let ended = stage.run(&["plan", "leavers.csv", "--config", config.to_str().unwrap()]).expect(2);
    check_free_of(&stage, &ended, TOKEN);
}

#[test]
fn p19_users_are_named_in_logs_only_where_that_is_asked_for() {
    let stage = stage();
    stage.run(&["run", "leavers.csv", "--yes", "--log-file", "run.log", "--log-format=json"]).expect(1);
    let log = stage.read("run.log");
    assert!(log.lines().count() > 2 && !log.contains("leaver-"), "{log}");
}

#[test]
fn p19_every_file_is_for_its_owner_alone() {
    let stage = stage();
    let words = ["run", "leavers.csv", "--yes", "--log-file", "run.log", "--metrics", "m.prom"];
    stage.run(&words).expect(1);
    stage.run(&["plan", "leavers.csv", "--requests", "bodies.jsonl", "--results", "planned.csv"]).expect(0);
    stage.run(&["run", "leavers.csv", "--yes", "--fresh"]).expect(1);
    let files = stage.files();
    assert!(files.len() >= 8, "{files:?}");
    for name in files.iter().filter(|name| *name != "leavers.csv") {
        let mode = std::fs::metadata(stage.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn p19_files_of_a_killed_run_are_for_their_owner_alone() {
    let stage = stage();
    let running = stage.start(&["run", "leavers.csv", "--yes"]);
    stage.service.wait_for("a write came", |log| log.iter().any(|entry| entry.op.is_write()));
    running.kill();
    assert!(stage.files().len() >= 3, "{:?}", stage.files());
    for name in stage.files().iter().filter(|name| *name != "leavers.csv") {
        let mode = std::fs::metadata(stage.path(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}
