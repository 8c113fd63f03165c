//! The program itself, against the simulator on a loopback port, in a directory of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use batch_detach::testing::build;
pub(crate) use batch_detach::testing::build::{bound, id, world};
use batch_detach::testing::sim::{App, LogEntry, Op, Physics, Scenario, Seat, World, serve};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// Nothing that these tests start takes longer, however busy the machine is.
const LIMIT: Duration = Duration::from_secs(60);

/// Settings under which a whole run takes a moment: waits that are short, and rates that nobody reaches.
const QUICK: [(&str, &str); 8] = [
    ("WRITE_RATE", "200/s"),
    ("READ_RATE", "400/s"),
    ("SETTLE_TIME", "100ms"),
    ("POLL_INTERVAL", "100ms"),
    ("DOUBT_WAIT", "400ms"),
    ("BUSY_WAIT", "100ms"),
    ("RETRY_BASE", "20ms"),
    ("READ_BACK_DEADLINE", "20s"),
];

pub(crate) fn seat(desktop: &str, name: &str, who: &str) -> Seat {
    Seat { name: name.to_owned(), ..build::seat(desktop, who) }
}

/// A physics in which everything happens at once.
pub(crate) fn at_once() -> Scenario {
    Scenario { world: Physics { job_time: Duration::from_millis(100), ..Physics::default() }, ..Scenario::default() }
}

/// A world that is served, and a directory to run the program in.
pub(crate) struct Stage {
    pub(crate) app: Arc<App>,
    directory: TempDir,
    address: String,
    _server: Runtime,
}

/// What became of a run of the program.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "--- standard output\n{}--- standard error\n{}", self.out, self.err);
        self
    }

    /// Both streams, their lines joined.
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.out, self.err).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(self.text().contains(words), "`{words}` is missing:\n--- out\n{}--- err\n{}", self.out, self.err);
        self
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// One record of the results, by column.
pub(crate) type Row = BTreeMap<String, String>;

impl Stage {
    pub(crate) fn new(world: World, scenario: Scenario) -> Self {
        let server = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let app = App::new(world, scenario);
        let listener = server.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        server.spawn(serve(Arc::clone(&app), listener, std::future::pending()));
        Self { app, directory: tempfile::tempdir().unwrap(), address, _server: server }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes the input `leavers.csv`.
    pub(crate) fn sheet(&self, csv: &str) -> &Self {
        self.write("leavers.csv", csv);
        self
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn command(&self, words: &[&str]) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::cargo_bin("batch-detach").unwrap();
        command.args(words).current_dir(self.directory.path()).env_clear().timeout(LIMIT);
        for (name, value) in QUICK {
            command.env(format!("BATCH_DETACH_{name}"), value);
        }
        command.env("BATCH_DETACH_ENDPOINT", &self.address).env("BATCH_DETACH_PROJECT_ID", "project-1");
        command.env("HW_AUTH_TOKEN", "token");
        command
    }

    pub(crate) fn call(&self, words: &[&str]) -> Ran {
        done(&mut self.command(words))
    }

    /// `run leavers.csv --yes` and these words.
    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        self.call(&[&["run", "leavers.csv", "--yes"], words].concat())
    }

    /// `plan leavers.csv` and these words.
    pub(crate) fn plan(&self, words: &[&str]) -> Ran {
        self.call(&[&["plan", "leavers.csv"], words].concat())
    }

    pub(crate) fn results(&self) -> Vec<Row> {
        rows_of(&self.path("leavers.results.csv"))
    }

    /// One column of the results, in their order.
    pub(crate) fn column(&self, name: &str) -> Vec<String> {
        self.results().into_iter().map(|mut row| row.remove(name).unwrap()).collect()
    }

    /// Requests of one operation so far.
    pub(crate) fn requests(&self, op: Op) -> Vec<LogEntry> {
        self.app.log().into_iter().filter(|entry| entry.op == op).collect()
    }

    /// Bodies of the detaches so far.
    pub(crate) fn detaches(&self) -> Vec<serde_json::Value> {
        let writes = self.requests(Op::BatchDetach);
        writes.iter().map(|entry| serde_json::from_slice(&entry.body).unwrap()).collect()
    }

    #[track_caller]
    pub(crate) fn nothing_was_sent(&self) {
        assert_eq!(self.detaches(), Vec::<serde_json::Value>::new());
    }

    /// Who is bound, by name.
    pub(crate) fn bound(&self, desktop: &str) -> Vec<String> {
        self.app.world().bound(&id(desktop)).into_iter().map(|one| one.user_name).collect()
    }

    /// P2: no row is called gone whose binding is there in truth, and none failed whose binding is not.
    #[track_caller]
    pub(crate) fn every_outcome_is_true(&self) {
        for row in self.results() {
            let is_bound = self
                .bound(&row["desktop_id"])
                .iter()
                .any(|user| user.to_lowercase() == row["user_name"].to_lowercase());
            match row["outcome"].as_str() {
                "detached" | "already_detached" => assert!(!is_bound, "{row:?}"),
                "failed" | "not_sent" => assert!(is_bound, "{row:?}"),
                other => assert!(matches!(other, "unknown" | "invalid"), "{row:?}"),
            }
        }
    }
}

pub(crate) fn rows_of(path: &Path) -> Vec<Row> {
    csv::Reader::from_path(path).unwrap().deserialize().map(Result::unwrap).collect()
}

pub(crate) fn done(command: &mut assert_cmd::Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
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
