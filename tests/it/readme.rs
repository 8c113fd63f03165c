//! What README.md shows is what the program does: its transcripts are run, its tables compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use batch_detach::Exit;
use batch_detach::testing::api::explain::action;
use batch_detach::testing::api::unreachable::SENTENCES;
use batch_detach::testing::cli::args::Cli;
use batch_detach::testing::config::DECLARED;
use batch_detach::testing::model::Class;
use batch_detach::testing::model::Outcome;
use clap::CommandFactory as _;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn readme() -> String {
    fs::read_to_string(format!("{ROOT}/README.md")).unwrap()
}

/// Lines of a transcript that no two runs have in common, up to where they are alike.
const VARYING: [&str; 4] = ["Run ", "Time ", "  reads made ", "  begun "];

/// The README as trycmd reads it: with the exit code that a transcript's last line tells, and without what varies.
fn as_cases(readme: &str) -> String {
    let mut cases = String::new();
    let mut lines = readme.lines().peekable();
    let mut inside = false;
    while let Some(line) = lines.next() {
        if line.starts_with("```") {
            inside = line == "```console";
        }
        // How often something was looked at depends on the machine's pace.
        if inside && line.starts_with("Requests  ") {
            if !cases.ends_with("...\n") {
                cases.push_str("...\n");
            }
            continue;
        }
        let varies = VARYING.iter().find(|start| inside && line.starts_with(**start));
        match varies {
            Some(start) => {
                let rest = line.find(" of ").filter(|_| *start == "Run ").map_or("", |at| &line[at..]);
                cases.extend([start, "[..]", rest]);
            }
            None => cases.push_str(line),
        }
        cases.push('\n');
        if inside && line.starts_with("$ ") {
            let told = lines.clone().take_while(|line| !line.starts_with("$ ") && !line.starts_with("```"));
            let code = told.filter_map(|line| line.strip_prefix("exit code ")?.split_once(':')).last();
            cases.extend(["? ", code.map_or("0", |(code, _)| code), "\n"]);
        }
    }
    cases
}

/// A directory as somebody has it who follows the README.
fn working_directory(case: &Path) -> PathBuf {
    let directory = case.with_extension("in");
    _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(directory.join("samples")).unwrap();
    for sample in ["leavers.csv", "nightly.csv", "filtered.xlsx"] {
        fs::copy(format!("{ROOT}/samples/{sample}"), directory.join("samples").join(sample)).unwrap();
    }
    let damaged = "desktop_id,user_name,type\nd-1,,USER\nd-2,zhang.san,ALL\n1.9E+18,li.si,USER\nd-4,wang.wu,PERSON\n";
    fs::write(directory.join("damaged.csv"), damaged).unwrap();
    directory
}

/// Runs the transcripts of a file; where they ran.
fn run_transcripts(name: &str, text: &str) -> PathBuf {
    let case = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme").join(name);
    let directory = working_directory(&case);
    fs::write(&case, as_cases(text)).unwrap();
    let cases = trycmd::TestCases::new();
    cases.case(&case).timeout(Duration::from_secs(120)).env("HOME", directory.display().to_string());
    cases.run();
    directory
}

#[test]
fn every_transcript_of_the_samples_is_what_the_program_prints() {
    run_transcripts("samples.md", &fs::read_to_string(format!("{ROOT}/samples/README.md")).unwrap());
}

#[test]
fn every_transcript_of_the_readme_is_what_the_program_prints() {
    let directory = run_transcripts("README.md", &readme());
    let results = fs::read_to_string(directory.join("samples/leavers.results.csv")).unwrap();
    for line in readme().lines().filter(|line| line.contains(",…,detached,") || line.contains(",…,failed,")) {
        // A shortened line of the README: all that is left of it stands in the results, in this order.
        let pieces: Vec<&str> = line.split('…').collect();
        let stands = |record: &str| {
            let mut rest = record;
            pieces.iter().all(|piece| rest.split_once(piece).map(|(_, after)| rest = after).is_some())
        };
        assert!(results.lines().any(stands), "{line}");
    }
}

#[test]
fn a_transcript_takes_its_exit_code_from_its_last_line() {
    let readme = "```console\n$ a\nx\nexit code 3: no\n$ b\nRequests  1\nRequests  2\nTime  1 s\n```\nTime flies\n";
    let cases = "```console\n$ a\n? 3\nx\nexit code 3: no\n$ b\n? 0\n...\nTime [..]\n```\nTime flies\n";
    assert_eq!(as_cases(readme), cases);
}

fn section<'a>(readme: &'a str, title: &str) -> &'a str {
    readme.split("\n## ").find(|section| section.starts_with(title)).unwrap()
}

/// The tables of options and settings.
fn settings(readme: &str) -> &str {
    section(readme, "Settings\n")
}

/// First cells of the tables' rows.
fn cells(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).collect()
}

#[test]
fn every_option_and_every_setting_stands_in_one_table_once() {
    let readme = readme();
    let cells = cells(settings(&readme));
    let times = |name: &str| {
        let names = |cell: &&&str| {
            cell.split(['`', ' ']).any(|word| word == format!("--{name}"))
                || cell.strip_prefix('`').and_then(|cell| cell.strip_suffix('`')) == Some(name)
        };
        cells.iter().filter(names).count()
    };
    let mut command = Cli::command();
    command.build();
    let options = command.get_subcommands().flat_map(clap::Command::get_arguments).filter_map(clap::Arg::get_long);
    for name in
        options.chain(DECLARED.iter().map(|setting| setting.name)).filter(|name| !matches!(*name, "help" | "version"))
    {
        assert_eq!(times(name), 1, "--{name}");
    }
}

#[test]
fn the_readme_shows_the_true_defaults() {
    let readme = readme();
    for (name, value) in DECLARED.iter().filter_map(|setting| Some((setting.name, setting.default?))) {
        let row = settings(&readme).lines().find(|line| {
            let cell = line.split(" | ").next().unwrap_or_default();
            line.starts_with("| `") && cell.split(['`', ' ']).any(|word| word.trim_start_matches("--") == name)
        });
        let row = row.unwrap_or_else(|| panic!("{name} is missing"));
        if !matches!(name, "verbose" | "quiet" | "sheet") {
            let cell = row.replace("\\|", "/").split('|').nth(2).map(|cell| cell.trim().to_owned());
            assert_eq!(cell.as_deref(), Some(value), "{row}");
        }
    }
}

#[test]
fn every_outcome_exit_code_and_iam_action_is_in_the_readme() {
    let readme = readme();
    let outcomes = cells(section(&readme, "Outcomes\n"));
    let codes = cells(section(&readme, "Exit codes\n"));
    for outcome in Outcome::ALL.map(Outcome::as_str) {
        assert!(outcomes.iter().any(|cell| cell.contains(&format!("`{outcome}`"))), "{outcome}");
    }
    for exit in [
        Exit::Done,
        Exit::SomeRows,
        Exit::Rejected,
        Exit::Refused,
        Exit::NoAccess,
        Exit::Stopped,
        Exit::Held,
        Exit::Fault,
    ] {
        assert!(codes.contains(&exit.code().to_string().as_str()), "{exit:?}");
    }
    for class in Class::ALL {
        assert!(readme.contains(&format!("\"{}\"", action(class))), "{}", action(class));
    }
}

/// All Rust files of a folder, as one text whose lines are not broken within a string.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = entries.map(|path| match path.extension() {
        None => sources(&path),
        Some(ending) if ending == "rs" => fs::read_to_string(path).unwrap(),
        Some(_) => String::new(),
    });
    let text = text.collect::<String>();
    let mut lines = text.split("\\\n");
    lines.next().into_iter().chain(lines.map(str::trim_start)).collect()
}

#[test]
fn every_message_that_the_readme_explains_is_one_of_the_program() {
    let (readme, sources) = (readme(), sources(&Path::new(ROOT).join("src")));
    let rows = cells(section(&readme, "What can go wrong"));
    let quoted = rows.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2));
    // Numbers stand for what is filled in.
    let pieces = quoted.flat_map(|text| text.split(|c: char| c.is_ascii_digit()).filter(|piece| piece.len() > 3));
    let pieces: Vec<&str> = pieces.collect();
    assert!(pieces.len() > 15);
    for piece in pieces {
        assert!(sources.contains(piece.trim()), "{piece}");
    }
}

#[test]
fn every_way_a_connection_can_fail_stands_in_the_readme_with_what_to_type() {
    let readme = readme();
    let rows: Vec<&str> = section(&readme, "What can go wrong").lines().collect();
    for (way, what, to_do) in SENTENCES {
        let stands = |row: &&str| row.starts_with(&format!("| `{what}` |")) && row.ends_with(&format!("| {to_do} |"));
        assert!(rows.iter().any(stands), "{way:?}");
    }
}

#[test]
fn every_file_that_the_documentation_links_to_is_there() {
    for (file, folder) in [("README.md", ""), ("samples/README.md", "samples/"), ("tests/README.md", "tests/")] {
        let text = fs::read_to_string(format!("{ROOT}/{file}")).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") {
                assert!(Path::new(&format!("{ROOT}/{folder}{target}")).exists(), "{file}: {target}");
            }
        }
    }
}
