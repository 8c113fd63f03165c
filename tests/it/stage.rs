//! One test's directory, its service, and the program run in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use batch_detach::testing::sim::{App, Op, Scenario, Seat, World};

use super::service::{Binding, PATIENCE, PROJECT, Service, TOKEN};

/// Waits that keep a run short, and ceilings that are never reached.
const SETTINGS: [(&str, &str); 9] = [
    ("SETTLE_TIME", "50ms"),
    ("POLL_INTERVAL", "50ms"),
    ("DOUBT_WAIT", "300ms"),
    ("BUSY_WAIT", "100ms"),
    ("RETRY_BASE", "20ms"),
    ("READ_BACK_DEADLINE", "10s"),
    ("DRAIN_TIME", "10s"),
    ("WRITE_RATE", "500/s"),
    ("READ_RATE", "500/s"),
];

/// A record of the results, by column.
pub(crate) type Record = BTreeMap<String, String>;

pub(crate) struct Stage {
    pub(crate) service: Service,
    directory: tempfile::TempDir,
    /// Outside of the directory, so that a listing of that shows the program's files alone.
    streams: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Ended {
    pub(crate) fn last_line(&self) -> &str {
        self.stderr.lines().next_back().unwrap_or_default()
    }

    /// Fails, with all that the program said, where it ended otherwise.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Both streams, their lines joined.
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.stdout, self.stderr).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        let is_said = self.text().contains(words);
        assert!(is_said, "`{words}` is missing:\n--- stdout\n{}--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// The command that the last line names, as its words; quoted words are none of a test's.
    #[track_caller]
    pub(crate) fn next(&self) -> Vec<String> {
        let (_, command) = self.last_line().split_once("; next: ").unwrap_or_else(|| panic!("{}", self.stderr));
        let mut words = command.split(' ').map(str::to_owned);
        assert_eq!(words.next().as_deref(), Some("batch-detach"));
        words.collect()
    }
}

/// A command that is going on; killed with its value.
pub(crate) struct Running {
    child: Child,
    began: Instant,
    stdout: PathBuf,
    stderr: PathBuf,
    service: Arc<App>,
}

impl Running {
    /// Sends a signal by its name: `INT`, `TERM`, `HUP`, `STOP`, `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.child.id())).status().unwrap();
        assert!(sent.success(), "signal {name}");
    }

    pub(crate) fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.wait()
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    pub(crate) fn wait(mut self) -> Ended {
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None if self.began.elapsed() > PATIENCE => {
                    let log = self.service.log();
                    let open: Vec<_> =
                        log.iter().filter(|entry| entry.status.is_none()).map(|entry| entry.op).collect();
                    panic!("still running; {} requests, without an answer {open:?}:\n{}", log.len(), self.stderr())
                }
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        let text = |path: &Path| String::from_utf8(fs::read(path).unwrap()).unwrap();
        Ended {
            code: status.code(),
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
            took: self.began.elapsed(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

impl Stage {
    pub(crate) fn new(seats: impl IntoIterator<Item = Seat>, scenario: Scenario) -> Self {
        Self::with(World::from_seats(seats, 1), scenario)
    }

    pub(crate) fn with(world: World, scenario: Scenario) -> Self {
        let service = Service::start(world, scenario);
        let mut environment: BTreeMap<String, String> = [("USER", "tester"), ("HW_AUTH_TOKEN", TOKEN), ("TZ", "UTC")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let address =
            [("ENDPOINT", service.url()), ("IAM_ENDPOINT", service.url()), ("PROJECT_ID", PROJECT.to_owned())];
        let settings = SETTINGS.map(|(name, value)| (name, value.to_owned()));
        for (name, value) in address.into_iter().chain(settings) {
            environment.insert(format!("BATCH_DETACH_{name}"), value);
        }
        let (directory, streams) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        environment.insert("HOME".to_owned(), streams.path().display().to_string());
        Self { service, directory, streams, environment }
    }

    /// Sets a setting (`WRITE_RATE`) for all commands from now on.
    #[must_use]
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(format!("BATCH_DETACH_{name}"), value.to_owned());
        self
    }

    /// Sets any variable for all commands from now on.
    #[must_use]
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    #[must_use]
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes the input `leavers.csv`.
    pub(crate) fn sheet(&self, csv: &str) -> &Self {
        self.write("leavers.csv", csv);
        self
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// The directory's files, by name.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Writes `leavers.csv` with these rows of desktop and user.
    pub(crate) fn leavers(&self, rows: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>) {
        let mut text = "desktop_id,user_name\n".to_owned();
        for (desktop, user) in rows {
            writeln!(text, "{},{}", desktop.as_ref(), user.as_ref()).unwrap();
        }
        self.write("leavers.csv", &text);
    }

    /// The program with these words, in the directory, with nothing on standard input.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("batch-detach"));
        command.args(words).current_dir(self.directory.path()).env_clear().envs(&self.environment);
        command.stdin(Stdio::null());
        command
    }

    /// A line typed into a POSIX shell, in the directory; the program is on the path.
    pub(crate) fn sh(&self, line: &str) -> Ended {
        let program = self.command(&[]).get_program().to_owned();
        let folder = Path::new(&program).parent().unwrap().display().to_string();
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).current_dir(self.directory.path()).env_clear().envs(&self.environment);
        shell.env("PATH", format!("{folder}:/usr/bin:/bin")).stdin(Stdio::null());
        self.spawn(shell).wait()
    }

    /// Runs the program to its end.
    #[track_caller]
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        self.start(words).wait()
    }

    /// Runs `run leavers.csv --yes` and these words.
    pub(crate) fn run_leavers(&self, words: &[&str]) -> Ended {
        self.run(&[&["run", "leavers.csv", "--yes"], words].concat())
    }

    /// Runs `plan leavers.csv` and these words.
    pub(crate) fn plan_leavers(&self, words: &[&str]) -> Ended {
        self.run(&[&["plan", "leavers.csv"], words].concat())
    }

    /// Runs the program with this on standard input.
    pub(crate) fn run_with(&self, words: &[&str], stdin: &str) -> Ended {
        let began = Instant::now();
        let mut command = assert_cmd::Command::from_std(self.command(words));
        let output = command.write_stdin(stdin).timeout(PATIENCE).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            took: began.elapsed(),
        }
    }

    /// Starts the program and comes back at once.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        self.spawn(self.command(words))
    }

    /// As [`Stage::start`], with one setting (`DOUBT_WAIT`) of its own.
    pub(crate) fn start_under(&self, (name, value): (&str, &str), words: &[&str]) -> Running {
        let mut command = self.command(words);
        command.env(format!("BATCH_DETACH_{name}"), value);
        self.spawn(command)
    }

    pub(crate) fn spawn(&self, mut command: Command) -> Running {
        let place = tempfile::Builder::new().disable_cleanup(true).tempdir_in(self.streams.path()).unwrap();
        let (stdout, stderr) = (place.path().join("stdout"), place.path().join("stderr"));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let began = Instant::now();
        Running { child: command.spawn().unwrap(), began, stdout, stderr, service: Arc::clone(&self.service.app) }
    }

    /// The records of `leavers.results.csv`.
    pub(crate) fn results(&self) -> Vec<Record> {
        self.records("leavers.results.csv")
    }

    pub(crate) fn records(&self, name: &str) -> Vec<Record> {
        let text = self.read(name);
        csv::Reader::from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect()
    }

    /// One column of `leavers.results.csv`, in its order.
    pub(crate) fn column(&self, name: &str) -> Vec<String> {
        self.results().into_iter().map(|mut row| row.remove(name).unwrap()).collect()
    }

    /// Bodies of the detaches so far.
    pub(crate) fn detaches(&self) -> Vec<serde_json::Value> {
        let writes = self.service.requests(Op::BatchDetach);
        writes.iter().map(|entry| serde_json::from_slice(&entry.body).unwrap()).collect()
    }

    #[track_caller]
    pub(crate) fn nothing_was_sent(&self) {
        assert_eq!(self.detaches(), Vec::<serde_json::Value>::new());
    }

    /// P2: no row is called gone whose binding is there in truth, and none failed whose binding is not.
    #[track_caller]
    pub(crate) fn every_outcome_is_true(&self) {
        for row in self.results() {
            let bound = self.service.names(&row["desktop_id"]);
            let is_bound = bound.iter().any(|user| user.to_lowercase() == row["user_name"].to_lowercase());
            match row["outcome"].as_str() {
                "detached" | "already_detached" => assert!(!is_bound, "{row:?}"),
                "failed" | "not_sent" => assert!(is_bound, "{row:?}"),
                other => assert!(matches!(other, "unknown" | "invalid"), "{row:?}"),
            }
        }
    }

    /// Rows of a results file by outcome.
    pub(crate) fn tally(&self, name: &str) -> BTreeMap<String, usize> {
        tally(self.records(name).into_iter().map(|row| row["outcome"].clone()))
    }

    /// Line and outcome of each record of `leavers.results.csv`.
    pub(crate) fn outcomes(&self) -> Vec<(String, String)> {
        self.results().into_iter().map(|row| (row["line"].clone(), row["outcome"].clone())).collect()
    }

    /// Checks P1, P2 and P5 for `leavers.results.csv`: one record for each row of the input, in its order, and the
    /// service's bindings are those from before, less the ones that the results call detached.
    #[track_caller]
    pub(crate) fn check(&self, before: &BTreeSet<Binding>) {
        let input = self.records("leavers.csv");
        let results = self.results();
        let named = |rows: &[Record]| {
            rows.iter().map(|row| (row["desktop_id"].clone(), row["user_name"].clone())).collect::<Vec<_>>()
        };
        assert_eq!(named(&results), named(&input), "a record for each row, in the order of the input");
        let mut lines = results.iter().map(|row| row["line"].parse::<usize>().unwrap());
        assert!(lines.by_ref().eq(2..input.len() + 2), "every record has its line");
        let mut expected = before.clone();
        for row in &results {
            match row["outcome"].as_str() {
                "detached" | "already_detached" => {
                    let user = row["user_name"].to_lowercase();
                    expected.retain(|(desktop, _, name)| *desktop != row["desktop_id"] || name.to_lowercase() != user);
                }
                "failed" | "invalid" | "not_sent" => {}
                other => panic!("line {}: {other}", row["line"]),
            }
        }
        let now = self.service.bindings();
        let lost: Vec<_> = expected.difference(&now).collect();
        let left: Vec<_> = now.difference(&expected).collect();
        assert!(lost.is_empty() && left.is_empty(), "gone, but not by the results: {lost:?}; still there: {left:?}");
    }
}

/// A [`Stage::tally`] to compare with.
pub(crate) fn counts<const N: usize>(of: [(&str, usize); N]) -> BTreeMap<String, usize> {
    of.into_iter().map(|(outcome, rows)| (outcome.to_owned(), rows)).collect()
}

/// How many of each there are.
pub(crate) fn tally(words: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    words.into_iter().fold(BTreeMap::new(), |mut counts, word| {
        *counts.entry(word).or_default() += 1;
        counts
    })
}

/// `tally` as pairs, to compare with.
#[track_caller]
pub(crate) fn assert_tally(words: impl IntoIterator<Item = String>, wanted: &[(&str, usize)]) {
    let wanted: BTreeMap<String, usize> = wanted.iter().map(|(word, count)| ((*word).to_owned(), *count)).collect();
    assert_eq!(tally(words), wanted);
}
