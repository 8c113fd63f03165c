//! Runs the program against a [`Proxy`] and judges what it said by what the simulator did.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use batch_detach::testing::build::seat;
use batch_detach::testing::model::DesktopId;
use batch_detach::testing::sim::{App, Scenario, Seat, World};

use super::proxy::{Prey, Proxy, Step};

/// In the environment of every run, and in no byte that it writes (P19).
const CANARY: &str = "canary-token-8e17c35d0b";
pub(super) const DOUBT_WAIT: Duration = Duration::from_millis(400);
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(1);
/// More than a run takes at its worst; what is not over by then hangs.
const PATIENCE: Duration = Duration::from_secs(150);
/// Resident memory that no answer may cost, over what a run needs by itself: the largest answer that is read at all, which
/// is 32 MiB, and half of that again.
const MEMORY: u64 = 48 << 20;

/// Resident memory of a run whose service behaves. How much of the program's file counts as resident is up to the machine.
static OWN_NEED: LazyLock<u64> = LazyLock::new(|| {
    let need = play(Prey::Write(usize::MAX), Vec::new()).memory;
    assert!(need > 0, "p18: the memory was never measured");
    need
});

pub(super) static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());

/// What became of one run.
pub(super) struct Played {
    pub(super) code: i32,
    pub(super) stderr: String,
    /// Desktop and user → outcome.
    pub(super) outcomes: BTreeMap<(String, String), String>,
    pub(super) proxy: Proxy,
    /// Whether an answer proved that nothing was done: then what it carried may go again without a look.
    proved: bool,
    pub(super) app: Arc<App>,
    /// Bytes of memory at most, as the kernel counted them.
    pub(super) memory: u64,
    pub(super) took: Duration,
}

pub(super) fn seats(desktops: usize, users: usize) -> Vec<Seat> {
    let of = |n: usize| (0..users).map(move |user| seat(&format!("d-{n:04}"), &format!("u-{user}")));
    (0..desktops).flat_map(of).collect()
}

pub(super) fn input_of(seats: &[Seat]) -> String {
    let rows = seats.iter().map(|seat| format!("{},{}\n", seat.desktop, seat.bound.user_name));
    "desktop_id,user_name\n".to_owned() + &rows.collect::<String>()
}

/// Short waits, so that a doubt takes half a second instead of half a minute.
pub(super) fn command(directory: &Path, endpoint: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_batch-detach"));
    command.current_dir(directory).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.args(["run", "leavers.csv", "--yes", "-vvv", "--log-file", "run.log"]);
    let settings = [
        ("ENDPOINT", endpoint),
        ("PROJECT_ID", "project-1"),
        ("WRITE_RATE", "40/s"),
        ("READ_RATE", "100/s"),
        ("SETTLE_TIME", "100ms"),
        ("POLL_INTERVAL", "50ms"),
        ("DOUBT_WAIT", "400ms"),
        ("BUSY_WAIT", "200ms"),
        ("RETRY_BASE", "30ms"),
        ("REQUEST_TIMEOUT", "1s"),
        ("READ_BACK_DEADLINE", "4s"),
        ("OUTAGE_LIMIT", "8s"),
        ("DRAIN_TIME", "1s"),
        ("MAX_DESKTOPS_PER_REQUEST", "2"),
    ];
    command.envs(settings.map(|(name, value)| (format!("BATCH_DETACH_{name}"), value)));
    command.env("HW_AUTH_TOKEN", CANARY).env("RUST_LOG", "trace").env("HOME", directory);
    command
}

/// Twelve rows of six desktops, in three writes.
pub(super) fn play(prey: Prey, steps: Vec<Step>) -> Played {
    let seats = seats(6, 2);
    let input = input_of(&seats);
    let app = App::new(World::from_seats(seats, 1), Scenario::default());
    let proved = steps.iter().any(|step| {
        let Step::Bytes(bytes) = step else { return false };
        let text = String::from_utf8_lossy(bytes);
        text.contains("APIGW.0308") || text.contains("APIGW.0613")
    });
    let proxy = RUNTIME.block_on(Proxy::start(Arc::clone(&app), prey, steps));
    let directory = tempfile::tempdir().unwrap();
    let endpoint = format!("http://{}", proxy.address);
    let (code, stderr, memory, took) = run(&mut command(directory.path(), &endpoint), directory.path(), &input);
    let outcomes = outcomes(directory.path());
    Played { code, stderr, outcomes, proxy, proved, app, memory, took }
}

pub(super) fn outcomes(directory: &Path) -> BTreeMap<(String, String), String> {
    let Ok(mut reader) = csv::Reader::from_path(directory.join("leavers.results.csv")) else { return BTreeMap::new() };
    let rows = reader.deserialize::<BTreeMap<String, String>>().map(Result::unwrap);
    rows.map(|mut row| ((row["desktop_id"].clone(), row["user_name"].clone()), row.remove("outcome").unwrap()))
        .collect()
}

/// Runs it to its end, and looks for the canary in everything it wrote.
pub(super) fn run(command: &mut Command, directory: &Path, input: &str) -> (i32, String, u64, Duration) {
    std::fs::write(directory.join("leavers.csv"), input).unwrap();
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let process = format!("/proc/{}", child.id());
    let reading = [
        Box::new(child.stdout.take().unwrap()) as Box<dyn std::io::Read + Send>,
        Box::new(child.stderr.take().unwrap()),
    ]
    .map(|mut stream| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            stream.read_to_end(&mut text).unwrap();
            String::from_utf8(text).expect("output is UTF-8")
        })
    });
    let mut memory = 0;
    let status = loop {
        // Right after the start the kernel may still show the memory of this test in the child's place, some times in
        // ten thousand; once the child's own file is there, so is its memory.
        let started = std::fs::read_link(format!("{process}/exe")).is_ok_and(|exe| exe.ends_with("batch-detach"));
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap_or_default();
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        memory = memory.max(peak.filter(|_| started).unwrap_or(0_u64) * 1_024);
        let shown = std::fs::read_to_string(format!("{process}/cmdline")).unwrap_or_default();
        assert!(!shown.contains(CANARY), "p19: the canary is in the process list");
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            let log = std::fs::read_to_string(directory.join("run.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().filter(|line| line.contains("batch_detach")).collect();
            let last = &lines[lines.len().saturating_sub(60)..];
            panic!("p18: it hangs; the end of its log:\n{}", last.join("\n"));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let [stdout, stderr] = reading.map(|thread| thread.join().unwrap());
    let code = status.code().expect("it was not killed");
    assert!(code != 70 && !stderr.contains("internal fault"), "p18: {stderr}");
    assert!(!stdout.contains(CANARY) && !stderr.contains(CANARY), "p19: the canary is on the screen");
    for file in std::fs::read_dir(directory).unwrap().flatten() {
        let bytes = std::fs::read(file.path()).unwrap_or_default();
        assert!(
            !bytes.windows(CANARY.len()).any(|at| at == CANARY.as_bytes()),
            "p19: the canary is in {}",
            file.path().display()
        );
    }
    (code, stderr, memory, began.elapsed())
}

impl Played {
    /// What holds whatever the server does: each row once, no outcome against the truth, nothing sent blindly.
    pub(super) fn check(&self, name: &str) {
        assert_eq!(self.outcomes.len(), 12, "{name}: p01: {}", self.stderr);
        for ((desktop, user), outcome) in &self.outcomes {
            let bound = self.app.world().bound(&DesktopId::parse(desktop).unwrap());
            let is_bound = bound.iter().any(|bound| bound.user_name == *user);
            let holds = match outcome.as_str() {
                "detached" | "already_detached" => !is_bound,
                "failed" => is_bound,
                "unknown" | "not_sent" => true,
                _ => false,
            };
            assert!(holds, "{name}: p02: {desktop} {user} is {outcome}, and bound: {is_bound}");
        }
        let seen = self.proxy.seen();
        for (at, write) in seen.iter().enumerate().filter(|(_, seen)| seen.is_write()) {
            for desktop in write.desktops() {
                let Some(again) = seen[at + 1..].iter().position(|later| later.desktops().contains(&desktop)) else {
                    continue;
                };
                let between = &seen[at + 1..at + 1 + again];
                assert!(
                    self.proved || between.iter().any(|read| !read.is_write() && read.line.contains(&desktop)),
                    "{name}: p07: {desktop} was sent again without a look"
                );
            }
        }
        assert!(self.memory > 0, "{name}: p18: the memory was never measured");
        let need = *OWN_NEED;
        assert!(self.memory <= need + MEMORY, "{name}: p18: {} MiB, and {} by itself", self.memory >> 20, need >> 20);
        let longest = 3 * REQUEST_TIMEOUT + Duration::from_secs(30);
        assert!(self.took < longest, "{name}: it took {:?}", self.took);
    }

    pub(super) fn all(&self, outcome: &str) -> bool {
        self.outcomes.values().all(|is| is == outcome)
    }

    /// Writes that arrived.
    pub(super) fn writes(&self) -> usize {
        self.proxy.seen().iter().filter(|seen| seen.is_write()).count()
    }
}

/// Plays many side by side; all that is wrong is told in one go.
pub(super) fn side_by_side<T: Sync>(cases: &[T], play: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(case)));
                    if let Err(panic) = played {
                        let text = panic.downcast_ref::<String>().cloned();
                        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                        wrong.lock().unwrap().push(text.unwrap_or_default());
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
