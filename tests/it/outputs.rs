//! Nothing is overwritten: every output option of every command, as the command line itself declares them, pointed at
//! every file that must stay as it is, by every kind of path that leads there.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use batch_detach::testing::cli::args::Cli;
use batch_detach::testing::sim::{Effect, Fault, Op, Scenario};
use clap::CommandFactory as _;

use super::service::seat;
use super::stage::Stage;

/// What a command is given besides its output: all that it reads.
const READ: [&str; 4] = ["--config=conf.toml", "--ca-file=ca.pem", "--approved=plan.json", "--yes"];

/// Command lines that write something.
const LINES: [&[&str]; 7] = [
    &["plan", "leavers.csv"],
    &["run", "leavers.csv"],
    &["run", "leavers.csv", "--dry-run"],
    &["run", "killed.results.csv.journal"],
    &["undo", "leavers.results.csv.journal"],
    &["undo", "leavers.results.csv.journal", "--dry-run"],
    &["report", "leavers.results.csv.journal"],
];

/// The options of a command that name a file to be written.
fn outputs(command: &str) -> Vec<String> {
    let mut cli = Cli::command();
    cli.build();
    let of = cli.find_subcommand(command).unwrap();
    let is_output = |arg: &&clap::Arg| {
        let is_file = arg.get_value_names().is_some_and(|names| names.iter().any(|name| name == "FILE"));
        is_file && matches!(arg.get_help_heading(), None | Some("Output"))
    };
    let names = of.get_arguments().filter(is_output).filter_map(|arg| arg.get_long());
    names.map(|name| format!("--{name}")).collect()
}

/// A list with a finished run and its undo, another list whose run was killed, and the files that are read.
fn stage() -> (Stage, Vec<&'static str>) {
    let seats = ["d-1", "d-2"].map(|desktop| seat(desktop, "li.si"));
    let stage = Stage::new(seats, Scenario::default());
    let home = stage.path("home");
    let stage = stage.variable("HOME", home.to_str().unwrap());
    for folder in ["x", "home/.huaweicloud", "home/.hcloud"] {
        fs::create_dir_all(stage.path(folder)).unwrap();
    }
    stage.leavers([("d-1", "li.si")]);
    stage.write("conf.toml", "read-rate = \"500/s\"\n");
    let certificate = rcgen::generate_simple_self_signed(["service.example".to_owned()]).unwrap();
    stage.write("ca.pem", &certificate.cert.pem());
    stage.write("home/.huaweicloud/credentials", "[basic]\n");
    stage.write("home/.hcloud/config.json", "{}\n");
    stage.write("plan.json", &stage.run(&["plan", "leavers.csv", "--format=json"]).expect(0).stdout);
    stage.run(&["run", "leavers.csv", "--yes", "--config=conf.toml", "--ca-file=ca.pem"]).expect(0);
    stage.write("killed.csv", "desktop_id,user_name\nd-2,li.si\n");
    stage.service.app.add_fault(Fault::new(Op::BatchDetach, Effect::Delay(Duration::from_secs(30))));
    let words = ["run", "killed.csv", "--yes", "--config=conf.toml", "--ca-file=ca.pem"];
    let running = stage.start(&words);
    stage.service.wait_for("its write is open", |log| log.iter().filter(|entry| entry.op.is_write()).count() == 2);
    running.kill();
    let kept = vec![
        "conf.toml",
        "ca.pem",
        "plan.json",
        "home/.huaweicloud/credentials",
        "home/.hcloud/config.json",
        "leavers.csv",
        "leavers.results.csv",
        "leavers.results.csv.journal",
        // Not there yet, and its own all the same.
        "leavers.results.csv.journal-wal",
        "leavers.results.csv.journal-shm",
        "leavers.results.csv.journal-journal",
        "leavers.results.csv.journal.lock",
        "killed.csv",
        "killed.results.csv.journal",
        "killed.results.csv.journal-wal",
        "killed.results.csv.journal-shm",
        "killed.results.csv.journal.lock",
    ];
    (stage, kept)
}

/// Every file beneath a directory, with its bytes; links by where they lead. The index of a journal's log is made anew by
/// whoever reads it.
fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else if let Ok(target) = fs::read_link(&path) {
            found.insert(path, target.into_os_string().into_encoded_bytes());
        } else if !path.to_str().unwrap().ends_with("-shm") {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

/// The paths that lead to a file: as it is, by a detour, by a symbolic link, and by a hard link where there is one.
fn ways(stage: &Stage, file: &str) -> Vec<(&'static str, String)> {
    let mut ways = vec![("plain", file.to_owned()), ("detour", format!("./x/../{file}"))];
    symlink(stage.path(file), stage.path("soft")).unwrap();
    ways.push(("symbolic link", "soft".to_owned()));
    if fs::hard_link(stage.path(file), stage.path("hard")).is_ok() {
        ways.push(("hard link", "hard".to_owned()));
    }
    ways
}

/// Whether a file is no obstacle to this output of this command.
fn is_free(line: &[&str], option: &str, file: &str, way: &str) -> bool {
    // It is asked for what its run has anyway.
    let is_own = line == ["run", "leavers.csv"] && option == "--results" && file == "leavers.results.csv";
    // Somebody else's list, which this command does not read: a log is added to it, and nothing of it is lost.
    let others = if line[1].starts_with("killed") { "leavers.csv" } else { "killed.csv" };
    let is_foreign = file == others;
    (is_own && matches!(way, "plain" | "detour")) || (is_foreign && option == "--log-file")
}

/// Points each output of one command line at each kept file, and at each other output. How many were refused.
fn refusals(line: &[&str]) -> usize {
    let (stage, kept) = stage();
    let mut refused = 0;
    let reads: &[&str] = if line[0] == "report" { &[] } else { &READ };
    let writes = !line.contains(&"--dry-run") && line[0] != "plan";
    let options: Vec<String> = outputs(line[0])
        .into_iter()
        // What a plan alone writes is refused with anything else, whatever it names; a plan writes no metrics.
        .filter(|option| !writes || !matches!(option.as_str(), "--requests" | "--html"))
        .filter(|option| !line.contains(&"--dry-run") || option != "--metrics")
        .collect();
    assert!(!options.is_empty(), "{line:?}");
    let refuse = |option: &str, path: &str, others: &[String], what: &str| {
        let (before, received) = (contents(&stage.path("")), stage.service.received());
        let given = format!("{option}={path}");
        let words: Vec<&str> = line
            .iter()
            .chain(reads)
            .copied()
            .chain([given.as_str()])
            .chain(others.iter().map(String::as_str))
            .collect();
        let ended = stage.run(&words);
        let said = format!("{words:?} ({what}): {:?} {}", ended.code, ended.stderr);
        assert_eq!(ended.code, Some(2), "{said}");
        assert_eq!(stage.service.received(), received, "{said}");
        assert!(contents(&stage.path("")) == before, "{said}");
    };
    for file in kept {
        for (way, path) in ways(&stage, file) {
            for option in options.iter().filter(|option| !is_free(line, option, file, way)) {
                refuse(option, &path, &[], &format!("{way} to {file}"));
                refused += 1;
            }
        }
        for link in ["soft", "hard"] {
            _ = fs::remove_file(stage.path(link));
        }
    }
    // Two outputs are never one file, there or not.
    for (n, option) in options.iter().enumerate() {
        for other in options.iter().skip(n + 1) {
            for is_there in [false, true] {
                if is_there {
                    stage.write("out", "");
                }
                for (way, path) in ways(&stage, "out") {
                    refuse(option, "out", &[format!("{other}={path}")], &format!("{way}, and {other}"));
                    refuse(option, &path, &[format!("{other}=out")], &format!("{way}, and {other}"));
                    refused += 2;
                }
                for link in ["soft", "hard", "out"] {
                    _ = fs::remove_file(stage.path(link));
                }
            }
        }
    }
    refused
}

#[test]
fn p14_no_output_option_writes_over_what_is_kept_by_any_path_or_link() {
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = LINES.iter().map(|line| scope.spawn(|| refusals(line))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(counts.iter().sum::<usize>(), 1_880, "{counts:?}; tests/README.md tells the number");
}

/// An output that is given in a settings file is an output.
#[test]
fn p14_an_output_of_the_settings_is_checked_like_one_of_the_command_line() {
    let (stage, _) = stage();
    for setting in ["metrics", "log-file"] {
        stage.write("over.toml", &format!("{setting} = \"leavers.csv\"\n"));
        let before = contents(&stage.path(""));
        let ended = stage.run(&["run", "leavers.csv", "--yes", "--config=over.toml"]).expect(2);
        assert!(ended.stderr.contains(setting), "{}", ended.stderr);
        assert!(contents(&stage.path("")) == before);
    }
}
