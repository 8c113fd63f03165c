//! The page of a run, by the program itself.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use assert_cmd::Command;

fn program(directory: &Path) -> Command {
    let mut command = Command::cargo_bin("batch-detach").unwrap();
    command.current_dir(directory).timeout(std::time::Duration::from_secs(60));
    for (name, value) in [
        ("SETTLE_TIME", "20ms"),
        ("POLL_INTERVAL", "50ms"),
        ("DOUBT_WAIT", "100ms"),
        ("WRITE_RATE", "40/s"),
        ("READ_RATE", "100/s"),
    ] {
        command.env(format!("BATCH_DETACH_{name}"), value);
    }
    command
}

/// A directory with the run of `samples/leavers.csv` against the simulator.
fn run() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report");
        _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/leavers.csv");
        std::fs::copy(sample, directory.join("leavers.csv")).unwrap();
        program(&directory).args(["run", "leavers.csv", "--simulate", "--yes", "--ticket", "HR-4711"]).assert().code(1);
        directory
    })
}

const JOURNAL: &str = "leavers.results.csv.journal";

fn results() -> Vec<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(run().join("leavers.results.csv")).unwrap();
    let mut reader = csv::Reader::from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

fn page(words: &[&str]) -> String {
    static PAGES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{}.html", PAGES.fetch_add(1, Ordering::Relaxed));
    let output =
        program(run()).args(["report", JOURNAL, "--output", &name]).args(words).assert().code(0).get_output().clone();
    assert!(String::from_utf8(output.stdout).unwrap().contains("61 rows"));
    std::fs::read_to_string(run().join(name)).unwrap()
}

#[test]
fn the_page_stands_beside_the_journal_for_its_owner_alone() {
    program(run()).args(["report", JOURNAL]).assert().code(0);
    let path = run().join("leavers.report.html");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(path).unwrap().ends_with("</html>\n"));
}

#[test]
fn every_row_of_the_results_is_in_the_page_with_its_outcome() {
    let page = page(&[]);
    let results = results();
    assert_eq!(page.matches("<tr data-o=").count(), results.len());
    for row in &results {
        let (line, outcome) = (&row["line"], &row["outcome"]);
        let start = format!("<tr data-o=\"{outcome}\"><th scope=\"row\">{line}</th>");
        let at = page.find(&start).unwrap_or_else(|| panic!("{start}"));
        let (of_row, _) = page[at..].split_once("</tr>").unwrap();
        for cell in ["desktop_id", "user_name", "error_code", "request_id", "job_id"] {
            assert!(of_row.contains(&row[cell]), "{cell} of line {line}");
        }
    }
}

#[test]
fn a_line_to_copy_keeps_a_rehearsal_a_rehearsal() {
    assert!(page(&[]).contains("batch-detach run leavers.results.csv --only failed --simulate"));
    let status = program(run()).args(["status", JOURNAL]).assert().code(0).get_output().stdout.clone();
    assert!(String::from_utf8(status).unwrap().contains("--only failed --simulate"));
}

#[test]
fn a_redacted_page_names_nobody() {
    let (one, other) = (page(&["--redact"]).to_lowercase(), page(&["--redact"]).to_lowercase());
    for row in results() {
        for cell in ["user_name", "user_id"] {
            let name = row[cell].to_lowercase();
            assert!(name.is_empty() || !one.contains(&name), "{name}");
        }
    }
    let hash = |page: &str| page.split("user-").nth(1).unwrap()[..12].to_owned();
    assert_ne!(hash(&one), hash(&other), "each page has a salt of its own");
}

#[test]
fn the_runs_own_files_are_never_replaced() {
    for file in ["leavers.results.csv", JOURNAL, "../report/leavers.results.csv"] {
        let before = std::fs::read(run().join(file)).unwrap();
        program(run()).args(["report", JOURNAL, "--output", file]).assert().code(2);
        assert_eq!(std::fs::read(run().join(file)).unwrap(), before, "{file}");
    }
}

#[test]
fn what_is_no_journal_is_refused_and_what_cannot_be_written_is_said() {
    program(run()).args(["report", "leavers.csv"]).assert().code(2);
    program(run()).args(["report", "nothing.journal"]).assert().code(2);
    program(run()).args(["report", JOURNAL, "--output", "no/such/directory.html"]).assert().code(2);
}
