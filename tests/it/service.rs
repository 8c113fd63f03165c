//! The simulated service on a loopback port, and questions about what it saw.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use batch_detach::testing::build;
pub(crate) use batch_detach::testing::build::id;
use batch_detach::testing::model::{Bound, DesktopId, Kind};
use batch_detach::testing::sim::{App, Auth, LogEntry, Op, Scenario, Seat, World, serve};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// The only token that the service takes. It must turn up nowhere (P19).
pub(crate) const TOKEN: &str =
    "MIIcanary7uDW0lHaQxRZcvJ3p9sT1kFbNgE6yLqXoVtIrPe8A4hCwSzGm5KdUjYnOfBiQaM2l-W7xHvT0pRk3JcEsZgLbNd9uFyAoX";
pub(crate) const PROJECT: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";

/// How long a test waits for something that must come; only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// One binding as people speak of it: desktop, kind, user.
pub(crate) type Binding = (String, Kind, String);

/// Somebody's place on a desktop that is named `PC-` and its id.
pub(crate) fn seat(desktop: &str, user: &str) -> Seat {
    Seat { name: format!("PC-{desktop}"), ..build::seat(desktop, user) }
}

/// A service that ends with its value.
pub(crate) struct Service {
    pub(crate) app: Arc<App>,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    runtime: Option<Runtime>,
}

impl Service {
    /// A service that takes [`TOKEN`] and [`PROJECT`] alone.
    pub(crate) fn start(world: World, scenario: Scenario) -> Self {
        let auth = Auth::Token { valid: vec![TOKEN.to_owned()], login: None };
        let scenario = Scenario { auth, project_id: Some(PROJECT.to_owned()), ..scenario };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (app, stop) = (App::new(world, scenario), CancellationToken::new());
        runtime.spawn(serve(Arc::clone(&app), listener, stop.clone().cancelled_owned()));
        Self { app, address, stop, runtime: Some(runtime) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The writes received so far, in order.
    pub(crate) fn writes(&self) -> Vec<LogEntry> {
        self.app.log().into_iter().filter(|entry| entry.op.is_write()).collect()
    }

    /// Requests of one operation so far.
    pub(crate) fn requests(&self, op: Op) -> Vec<LogEntry> {
        self.app.log().into_iter().filter(|entry| entry.op == op).collect()
    }

    /// Who is bound to a desktop, by name.
    pub(crate) fn names(&self, desktop: &str) -> Vec<String> {
        self.app.world().bound(&id(desktop)).into_iter().map(|bound| bound.user_name).collect()
    }

    /// Who is bound, with all that the service knows of it; each desktop's in an order of their own, because what comes
    /// back comes last.
    pub(crate) fn holders(&self) -> BTreeMap<DesktopId, Vec<Bound>> {
        let mut all = self.app.world().snapshot_bindings();
        for bound in all.values_mut() {
            bound.sort_by(|a, b| (a.kind, &a.user_name, &a.domain).cmp(&(b.kind, &b.user_name, &b.domain)));
        }
        all
    }

    /// Requests received so far.
    pub(crate) fn received(&self) -> usize {
        self.app.log().len()
    }

    /// Everybody who is bound now.
    pub(crate) fn bindings(&self) -> BTreeSet<Binding> {
        let bound = self.app.world().snapshot_bindings();
        let of = |(desktop, bound): (DesktopId, Vec<Bound>)| {
            bound.into_iter().map(move |bound| (desktop.to_string(), bound.kind, bound.user_name))
        };
        bound.into_iter().flat_map(of).collect()
    }

    /// Waits until the log, looked at again and again, shows it.
    pub(crate) fn wait_for(&self, what: &str, wanted: impl Fn(&[LogEntry]) -> bool) {
        let told = || {
            let log = self.app.log();
            let ends = log.iter().map(|entry| format!("{} {:?}", entry.op.as_str(), entry.status));
            ends.collect::<Vec<_>>().join(", ")
        };
        wait_or(what, || wanted(&self.app.log()), told);
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Looks again and again until `is_so`.
pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    wait_or(what, is_so, String::new);
}

fn wait_or(what: &str, is_so: impl Fn() -> bool, told: impl Fn() -> String) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}: {}", told());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The bindings that a batch-detach names, in its order.
pub(crate) fn named_in(write: &LogEntry) -> Vec<Binding> {
    let body: Value = serde_json::from_slice(&write.body).unwrap();
    let desktops = body["desktops"].as_array().unwrap();
    let of = |desktop: &Value| {
        let id = desktop["desktop_id"].as_str().unwrap().to_owned();
        let infos = desktop["detach_user_infos"].as_array().cloned().unwrap_or_default();
        let bindings = infos.into_iter().map(move |info| {
            let kind = Kind::parse(info["type"].as_str().unwrap_or_default()).unwrap();
            (id.clone(), kind, info["user_name"].as_str().unwrap().to_owned())
        });
        bindings.collect::<Vec<_>>()
    };
    desktops.iter().flat_map(of).collect()
}

/// The desktops that a write names.
pub(crate) fn desktops_in(write: &LogEntry) -> Vec<String> {
    let body: Value = serde_json::from_slice(&write.body).unwrap();
    let desktops = body["desktops"].as_array().unwrap();
    desktops.iter().map(|desktop| desktop["desktop_id"].as_str().unwrap().to_owned()).collect()
}
