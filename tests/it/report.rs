//! The page of a run, by the program itself.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

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

/// A directory of its own, with the run of `samples/leavers.csv` against the simulator.
struct Ran(tempfile::TempDir);

const JOURNAL: &str = "leavers.results.csv.journal";

impl Ran {
    fn new() -> Self {
        let ran = Self(tempfile::tempdir().unwrap());
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/samples/leavers.csv");
        std::fs::copy(sample, ran.path().join("leavers.csv")).unwrap();
        ran.program().args(["run", "leavers.csv", "--simulate", "--yes", "--ticket", "HR-4711"]).assert().code(1);
        ran
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn program(&self) -> Command {
        program(self.path())
    }

    fn text(&self, file: &str) -> String {
        std::fs::read_to_string(self.path().join(file)).unwrap()
    }

    fn results(&self) -> Vec<BTreeMap<String, String>> {
        rows(&self.text("leavers.results.csv"))
    }

    fn sample(&self) -> Vec<BTreeMap<String, String>> {
        rows(&self.text("leavers.csv"))
    }

    /// The page of the run, by `report` with these options.
    fn page(&self, words: &[&str]) -> String {
        let told = self.program().args(["report", JOURNAL, "--output", "page.html"]).args(words).assert().code(0);
        assert!(String::from_utf8_lossy(&told.get_output().stdout).contains("61 rows"));
        self.text("page.html")
    }

    /// The page of the sample's plan, by `plan` with these options.
    fn plan_page(&self, words: &[&str]) -> String {
        self.program()
            .args(["plan", "leavers.csv", "--simulate", "--html", "plan.html"])
            .args(words)
            .assert()
            .success();
        assert_eq!(self.path().join("plan.html").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        self.text("plan.html")
    }
}

fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_reader(text.trim_start_matches('\u{feff}').as_bytes());
    reader.deserialize().map(Result::unwrap).collect()
}

#[test]
fn the_page_stands_beside_the_journal_for_its_owner_alone() {
    let ran = Ran::new();
    ran.program().args(["report", JOURNAL]).assert().code(0);
    let path = ran.path().join("leavers.report.html");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(path).unwrap().ends_with("</html>\n"));
}

#[test]
fn every_row_of_the_results_is_in_the_page_with_its_outcome_and_the_lists_own_columns() {
    let ran = Ran::new();
    let page = ran.page(&[]);
    let results = ran.results();
    assert_eq!(page.matches("<tr data-o=").count(), results.len());
    for row in &results {
        let (line, outcome) = (&row["line"], &row["outcome"]);
        let at = page.find(&format!("<th scope=\"row\">{line}</th>")).unwrap_or_else(|| panic!("line {line}"));
        let marks = page[..at].rsplit_once("<tr data-o=\"").unwrap().1;
        assert!(marks.starts_with(outcome.as_str()), "line {line}: {marks}");
        assert_eq!(marks.contains(" still"), !row["still_via"].is_empty(), "line {line}: {marks}");
        let (of_row, _) = page[at..].split_once("</tr>").unwrap();
        for cell in ["desktop_id", "user_name", "error_code", "request_id", "job_id", "still_via", "last_day", "ticket"]
        {
            assert!(of_row.contains(&row[cell]), "{cell} of line {line}");
        }
    }
    assert!(page.contains("50 out, 4 still in"), "the picture of the people");
    assert!(page.contains("4 people still get in: 3 by something else, and 1 because their own row is not done."));
    let named = page.split_once("<table class=\"people\">").unwrap().1.split_once("</table>").unwrap().0;
    assert_eq!(named.matches("<tr><td>").count(), 4, "all whom the picture counts, each with a reason: {named}");
    for reason in
        ["another desktop: ", "a pool: ", "a group: ", "their own row is not done: desktop WS-FSS-015, failed"]
    {
        assert!(named.contains(reason), "{reason}: {named}");
    }
    assert!(named.contains("Wake the desktop, then run again."), "{named}");
    assert!(page.contains("This was a simulation: nothing real was changed."));
}

#[test]
fn a_plan_has_the_rows_that_need_a_look_first_and_says_once_what_all_have() {
    let directory = tempfile::tempdir().unwrap();
    let csv = format!("{}/samples/leavers.csv", env!("CARGO_MANIFEST_DIR"));
    program(directory.path()).args(["plan", &csv, "--simulate", "--html", "plan.html"]).assert().code(0);
    let page = std::fs::read_to_string(directory.path().join("plan.html")).unwrap();
    let groups: Vec<_> = page.split("<section aria-labelledby=\"").filter(|part| part.contains(" data-all=")).collect();
    let ids: Vec<_> = groups.iter().map(|part| part.split('"').next().unwrap()).collect();
    assert_eq!(ids, ["still-rows", "may-be-refused", "in-use", "no-user", "done"]);
    for (group, rows) in groups.iter().zip([3, 1, 3, 53, 1]) {
        assert_eq!(group.matches("<tr data-o=").count(), rows);
        assert!(group.matches("shuts down immediately").count() <= 1, "{group}");
        assert!(page.contains(&format!("<a href=\"#{}\">", group.split('"').next().unwrap())));
    }
    for said in [
        "3 of the 44 desktops touched are in use now: WS-RND-001, WS-FIN-003, WS-RND-009.",
        "May be refused: WS-FSS-015.",
    ] {
        assert!(page.contains(said), "{said}");
    }
    assert!(page.contains("nothing real was changed, and nothing real will be changed."));
}

#[test]
fn a_line_to_copy_keeps_a_rehearsal_a_rehearsal() {
    let ran = Ran::new();
    assert!(ran.page(&[]).contains("batch-detach run leavers.results.csv --only failed --simulate"));
    let status = ran.program().args(["status", JOURNAL]).assert().code(0).get_output().stdout.clone();
    assert!(String::from_utf8(status).unwrap().contains("--only failed --simulate"));
}

#[test]
fn a_redacted_page_names_nobody() {
    let ran = Ran::new();
    let (one, other) = (ran.page(&["--redact"]).to_lowercase(), ran.page(&["--redact"]).to_lowercase());
    for row in ran.results() {
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
    let ran = Ran::new();
    let roundabout = format!("../{}/leavers.results.csv", ran.path().file_name().unwrap().display());
    for file in ["leavers.results.csv", JOURNAL, &roundabout] {
        let before = std::fs::read(ran.path().join(file)).unwrap();
        ran.program().args(["report", JOURNAL, "--output", file]).assert().code(2);
        assert_eq!(std::fs::read(ran.path().join(file)).unwrap(), before, "{file}");
    }
}

#[test]
fn what_is_no_journal_is_refused_and_what_cannot_be_written_is_said() {
    let ran = Ran::new();
    ran.program().args(["report", "leavers.csv"]).assert().code(2);
    ran.program().args(["report", "nothing.journal"]).assert().code(2);
    ran.program().args(["report", JOURNAL, "--output", "no/such/directory.html"]).assert().code(2);
}

#[test]
fn every_row_of_a_plan_is_in_its_page_with_its_own_columns_and_what_asks_for_a_decision_comes_first() {
    let ran = Ran::new();
    let page = ran.plan_page(&[]);
    assert_eq!(page.matches("<tr data-o=").count(), ran.sample().len());
    for (row, line) in ran.sample().iter().zip(2..) {
        let at = page.find(&format!("<th scope=\"row\">{line}</th>")).unwrap_or_else(|| panic!("line {line}"));
        let (of_row, _) = page[at..].split_once("</tr>").unwrap();
        for cell in ["desktop_id", "desktop_name", "user_name", "department", "last_day", "ticket"] {
            assert!(of_row.contains(&row[cell].replace('&', "&amp;")), "{cell} of line {line}: {of_row}");
        }
    }
    let places = ["id=\"in-use\"", "id=\"no-user\"", "id=\"done\""].map(|id| page.find(id).unwrap());
    assert!(places.is_sorted(), "{places:?}");
    assert!(page.ends_with("</html>\n") && page.matches("<script").count() == 2);
}

#[test]
fn the_command_of_a_plans_page_approves_just_that_plan() {
    let ran = Ran::new();
    let words = ["plan", "leavers.csv", "--simulate", "--format", "json", "--html", "both.html"];
    let json = ran.program().args(words).assert().success().get_output().stdout.clone();
    let plan: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let hash = plan["hash"].as_str().unwrap();
    let page = ran.text("both.html");
    let (_, command) = page.split_once("<code>batch-detach ").unwrap();
    let (command, _) = command.split_once("</code>").unwrap();
    assert!(command.contains(hash), "{command}");
    // It is done, as far as the simulator lets it, and a second time it is refused.
    let fresh = ran.path().join("approved");
    std::fs::create_dir_all(&fresh).unwrap();
    std::fs::copy(ran.path().join("leavers.csv"), fresh.join("leavers.csv")).unwrap();
    program(&fresh).args(command.split(' ')).assert().code(1);
    program(&fresh).args(command.split(' ')).arg("--fresh").assert().code(3);
}

#[test]
fn a_redacted_plan_names_nobody() {
    let ran = Ran::new();
    let page = ran.plan_page(&["--redact", "--protect", "ceo.secret"]).to_lowercase();
    for row in ran.sample() {
        let name = row["user_name"].to_lowercase();
        assert!(name.is_empty() || !page.contains(&name), "{name}");
    }
    assert!(page.contains("user-") && !page.contains("ceo.secret"));
}

#[test]
fn a_plans_page_is_never_written_over_the_list_and_goes_with_a_plan_alone() {
    let ran = Ran::new();
    let before = std::fs::read(ran.path().join("leavers.csv")).unwrap();
    for words in [
        &["plan", "leavers.csv", "--simulate", "--html", "./leavers.csv"][..],
        &["plan", "leavers.csv", "--simulate", "--html", JOURNAL],
        &["plan", "leavers.csv", "--simulate", "--html", "same", "--results", "same"],
        &["plan", "leavers.csv", "--simulate", "--html", "-"],
        &["plan", "leavers.csv", "--simulate", "--redact"],
        &["run", "leavers.csv", "--simulate", "--html", "page.html", "--fresh", "--yes"],
    ] {
        ran.program().args(words).assert().code(2);
    }
    assert_eq!(std::fs::read(ran.path().join("leavers.csv")).unwrap(), before);
    assert!(!ran.path().join("page.html").exists());
}

#[test]
fn the_plan_of_an_undo_has_its_page_too() {
    let ran = Ran::new();
    let words = ["undo", JOURNAL, "--dry-run", "--html", "undo.html"];
    ran.program().args(words).assert().success();
    let page = ran.text("undo.html");
    let attached = ran.results().iter().filter(|row| row["outcome"] == "detached").count();
    assert_eq!(page.matches("to be attached</span>").count(), attached);
    assert!(page.contains("batch-detach undo leavers.results.csv.journal --approved "), "the command");
}
