//! A simulated service on a loopback port, and the program that is pointed at it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

pub(crate) use batch_detach::testing::build::{bound as user, id};
use batch_detach::testing::model::{Bound, DesktopId};
use batch_detach::testing::sim::{App, LogEntry, Op, Scenario, Seat, World, serve};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub(crate) struct Rig {
    pub(crate) app: Arc<App>,
    pub(crate) directory: tempfile::TempDir,
    endpoint: String,
    _runtime: Runtime,
}

/// How the program ended.
pub(crate) struct Told {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn seat(desktop: &str, bound: Bound) -> Seat {
    Seat { desktop: id(desktop), name: String::new(), bound }
}

/// `d-0` with `u-0`, `d-1` with `u-1`, …
pub(crate) fn single(count: usize) -> World {
    World::from_seats((0..count).map(|n| seat(&format!("d-{n}"), user(&format!("u-{n}")))), 1)
}

/// A sheet of [`single`].
pub(crate) fn sheet(count: usize) -> String {
    let rows = (0..count).map(|n| format!("d-{n},u-{n}\n"));
    std::iter::once("desktop_id,user_name\n".to_owned()).chain(rows).collect()
}

impl Rig {
    pub(crate) fn new(world: World, scenario: &str) -> Self {
        let app = App::new(world, toml::from_str::<Scenario>(scenario).unwrap());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(serve(Arc::clone(&app), listener, std::future::pending()));
        Self { app, directory: tempfile::tempdir().unwrap(), endpoint, _runtime: runtime }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_batch-detach"));
        command.args(words).current_dir(self.directory.path()).env_clear().stdin(Stdio::null());
        let settings = [
            ("BATCH_DETACH_ENDPOINT", self.endpoint.as_str()),
            ("BATCH_DETACH_IAM_ENDPOINT", &self.endpoint),
            ("BATCH_DETACH_PROJECT_ID", "project-1"),
            ("HW_AUTH_TOKEN", "simulator"),
            ("BATCH_DETACH_WRITE_RATE", "100/s"),
            ("BATCH_DETACH_READ_RATE", "100/s"),
            ("BATCH_DETACH_SETTLE_TIME", "200ms"),
            ("BATCH_DETACH_POLL_INTERVAL", "200ms"),
            ("BATCH_DETACH_DOUBT_WAIT", "500ms"),
            ("BATCH_DETACH_BUSY_WAIT", "300ms"),
            ("BATCH_DETACH_PROGRESS", "off"),
        ];
        command.envs(settings);
        command
    }

    pub(crate) fn call(&self, words: &[&str]) -> Told {
        told(&self.command(words).output().unwrap())
    }

    /// As [`Rig::call`]; it must end with this code.
    pub(crate) fn ends(&self, code: i32, words: &[&str]) -> Told {
        let told = self.call(words);
        assert_eq!(told.code, code, "{words:?}\n{}\n{}", told.out, told.err);
        told
    }

    /// Who is bound, each desktop's in an order of their own: what comes back comes last.
    pub(crate) fn bindings(&self) -> BTreeMap<DesktopId, Vec<Bound>> {
        let mut all = self.app.world().snapshot_bindings();
        for bound in all.values_mut() {
            bound.sort_by(|a, b| (a.kind, &a.user_name, &a.domain).cmp(&(b.kind, &b.user_name, &b.domain)));
        }
        all
    }

    pub(crate) fn names(&self, desktop: &str) -> Vec<String> {
        self.app.world().bound(&id(desktop)).into_iter().map(|bound| bound.user_name).collect()
    }

    pub(crate) fn requests(&self, op: Op) -> Vec<LogEntry> {
        self.app.log().into_iter().filter(|entry| entry.op == op).collect()
    }

    pub(crate) fn writes(&self) -> usize {
        self.app.log().into_iter().filter(|entry| entry.op.is_write()).count()
    }

    /// The records of a results file.
    pub(crate) fn results(&self, name: &str) -> Vec<BTreeMap<String, String>> {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        csv::Reader::from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect()
    }

    /// Rows of a results file by outcome.
    pub(crate) fn outcomes(&self, name: &str) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for row in self.results(name) {
            *counts.entry(row["outcome"].clone()).or_default() += 1;
        }
        counts
    }
}

pub(crate) fn counts<const N: usize>(of: [(&str, usize); N]) -> BTreeMap<String, usize> {
    of.into_iter().map(|(outcome, rows)| (outcome.to_owned(), rows)).collect()
}

pub(crate) fn told(output: &Output) -> Told {
    Told {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
