//! What must not send a single write.

use batch_detach::testing::sim::Scenario;

use super::service::seat;
use super::stage::Stage;

fn stage() -> Stage {
    let stage = Stage::new([seat("d-1", "ann"), seat("d-2", "bob")], Scenario::default());
    stage.leavers([("d-1", "ann"), ("d-2", "bob")]);
    stage
}

#[track_caller]
fn check_untouched(stage: &Stage, files: &[&str]) {
    assert_eq!(stage.service.writes().len(), 0);
    assert_eq!(stage.service.bindings().len(), 2);
    assert_eq!(stage.files(), files);
}

#[test]
fn a_plan_and_a_dry_run_write_nothing_and_leave_no_files() {
    let stage = stage();
    for words in [&["plan", "leavers.csv"][..], &["run", "leavers.csv", "--dry-run", "--yes"]] {
        let ended = stage.run(words).expect(0);
        assert!(ended.stdout.contains("2 to detach"), "{}", ended.stdout);
        assert_eq!(ended.next()[..2], ["run", "leavers.csv"]);
        check_untouched(&stage, &["leavers.csv"]);
    }
}

#[test]
fn without_a_terminal_a_run_that_is_not_confirmed_is_refused() {
    let stage = stage();
    let ended = stage.run(&["run", "leavers.csv"]).expect(3);
    assert!(ended.stderr.contains("--yes"), "{}", ended.stderr);
    assert!(ended.last_line().starts_with("exit code 3: "), "{}", ended.stderr);
    check_untouched(&stage, &["leavers.csv"]);
}

#[test]
fn an_answer_that_comes_through_a_pipe_is_none() {
    let stage = stage();
    assert_eq!(stage.run_with(&["run", "leavers.csv"], "yes\n").code, Some(3));
    check_untouched(&stage, &["leavers.csv"]);
}

#[test]
fn every_fault_of_an_invalid_input_is_told_at_once_and_nothing_is_sent() {
    let stage = stage();
    stage.write("leavers.csv", "desktop_id,user_name,type\nd-1,ann,USER\nd-2,,USER\n1.9E+18,bob,USER\nd-2,bob,ROBOT\n");
    let ended = stage.run(&["run", "leavers.csv", "--yes"]).expect(2);
    for line in [
        "leavers.csv: 3 invalid",
        "line 3, column \"user_name\"",
        "line 4, column \"desktop_id\"",
        "line 5, column \"type\"",
    ] {
        assert!(ended.stderr.contains(line), "{line} is missing:\n{}", ended.stderr);
    }
    assert!(!ended.stderr.contains("line 2,"), "{}", ended.stderr);
    check_untouched(&stage, &["leavers.csv"]);
    assert_eq!(stage.service.received(), 0, "a faulty file needs no look at the service");
}

#[test]
fn a_guard_that_is_passed_refuses_the_plan_and_names_number_limit_and_option() {
    let stage = stage();
    let ended = stage.run(&["run", "leavers.csv", "--yes", "--max-desktops", "1"]).expect(3);
    for word in ["2", "1", "--max-desktops"] {
        assert!(ended.stderr.contains(word), "{}", ended.stderr);
    }
    check_untouched(&stage, &["leavers.csv"]);
}

#[test]
fn credentials_that_are_refused_end_the_run_before_its_first_write() {
    let stage = stage().variable("HW_AUTH_TOKEN", "somebody-elses");
    let ended = stage.run(&["run", "leavers.csv", "--yes"]).expect(4);
    assert!(!ended.stderr.contains("somebody-elses"));
    check_untouched(&stage, &["leavers.csv"]);
    assert!(stage.service.received() <= 2, "no more than two refused authentications in a row (P11)");

    let stage = stage.without("HW_AUTH_TOKEN");
    stage.run(&["run", "leavers.csv", "--yes"]).expect(4);
    check_untouched(&stage, &["leavers.csv"]);
}

#[test]
fn a_service_that_is_not_there_ends_the_run_before_its_first_write() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let stage = stage().set("ENDPOINT", &format!("http://127.0.0.1:{port}"));
    let ended = stage.run(&["run", "leavers.csv", "--yes"]).expect(4);
    assert!(ended.stderr.contains(&port.to_string()), "{}", ended.stderr);
    check_untouched(&stage, &["leavers.csv"]);
}

#[test]
fn a_command_line_that_can_not_be_is_refused_whatever_else_is_wrong() {
    let stage = stage().without("HW_AUTH_TOKEN");
    for words in [
        &["run", "leavers.csv", "--no-such-option"][..],
        &["run"],
        &["dance"],
        &["run", "-"],
        &["run", "leavers.csv", "--write-rate", "fast"],
        &["run", "leavers.csv", "--concurrency", "0"],
        &["run", "leavers.csv", "--max-desktops-per-request", "101"],
        &["run", "leavers.csv", "--results", "leavers.csv"],
        &["run", "leavers.csv", "--requests", "r"],
        &["run", "leavers.csv", "--preflight", "off", "--in-use", "skip"],
        &["run", "leavers.csv", "--config", "not-there.toml"],
        &["status", "leavers.csv"],
        &["status", "not-there.journal"],
        &["run", "not-there.csv", "--yes"],
        &["run", "not-there.results.csv.journal", "--yes"],
    ] {
        let ended = stage.run(words);
        assert_eq!(ended.code, Some(2), "{words:?}: {}", ended.stderr);
        assert!(ended.stdout.is_empty(), "{words:?}");
        assert!(ended.last_line().starts_with("exit code 2: "), "{words:?}: {}", ended.stderr);
    }
    check_untouched(&stage, &["leavers.csv"]);
    assert_eq!(stage.service.received(), 0);
}

#[test]
fn rows_that_an_option_forbids_are_told_with_the_faults_of_the_file_and_without_a_look() {
    let stage = stage();
    stage.write(
        "leavers.csv",
        "desktop_id,user_name,type\nd-1,ann,USER\nd-2,,USER\nd-1,Boss,USER\nd-2,,ALL\nvip-1,bob,\n",
    );
    let ended = stage.run(&["run", "leavers.csv", "--yes", "--protect", "boss,vip-*"]).expect(2);
    for told in [
        "line 3, column \"user_name\"",
        "line 4, column \"user_name\": this user or group is protected",
        "line 5, column \"type\"",
        "line 6, column \"desktop_id\": this desktop is protected",
        "4 invalid",
    ] {
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
    assert_eq!(stage.service.received(), 0);
}
