//! SIGKILL at any instant, then the same command: the end is the same as without.

use std::collections::BTreeSet;
use std::time::Duration;

use batch_detach::testing::journal::View;
use batch_detach::testing::model::Kind;
use batch_detach::testing::sim::{Effect, Fate, FateOf, Fault, Op, Physics, Refused, Scenario};

use super::service::{Binding, id, named_in, seat};
use super::stage::{Record, Stage};

const DESKTOPS: usize = 24;
const COMMAND: [&str; 6] = ["run", "leavers.csv", "--yes", "--max-desktops-per-request", "2", "--concurrency=3"];

fn desktop(n: usize) -> String {
    format!("desk-{n:02}")
}

/// Who is bound before anything is sent.
fn people() -> impl Iterator<Item = (String, String)> {
    (0..DESKTOPS).flat_map(|n| ["ann", "bob", "stays"].map(|user| (desktop(n), format!("{user}-{n}"))))
}

fn everybody() -> BTreeSet<Binding> {
    people().map(|(desktop, user)| (desktop, Kind::User, user)).collect()
}

/// Two leavers and one who stays on each desktop; hibernated and pooled ones, a lost answer, a request done by half.
fn stage() -> Stage {
    let of = |numbers: &[usize], fate| FateOf { desktops: numbers.iter().map(|n| id(&desktop(*n))).collect(), fate };
    let scenario = Scenario {
        world: Physics {
            detach_lag: Duration::from_millis(30),
            job_time: Duration::from_millis(80),
            latency: Duration::from_millis(10),
            ..Physics::default()
        },
        fates: vec![of(&[3, 14], Fate::Hibernated), of(&[5, 6, 17], Fate::Pooled)],
        faults: vec![
            Fault::new(Op::BatchDetach, Effect::ExecuteThenDrop).after(2).count(1),
            Fault::new(Op::BatchDetach, Effect::HalfThen(Refused::new(500, "WKS.0001", "Internal error.")))
                .after(7)
                .count(1),
        ],
        ..Scenario::default()
    };
    let stage = Stage::new(people().map(|(desktop, user)| seat(&desktop, &user)), scenario);
    stage.leavers((0..DESKTOPS * 2).map(|n| {
        let (number, user) = (n % DESKTOPS, if n < DESKTOPS { "ann" } else { "bob" });
        (desktop(number), format!("{user}-{number}"))
    }));
    stage
}

/// What must be the same with and without a kill.
fn ends(results: &[Record]) -> Vec<[String; 5]> {
    let columns = ["line", "desktop_id", "user_name", "outcome", "error_code"];
    results.iter().map(|row| columns.map(|column| row[column].clone())).collect()
}

/// When to kill.
#[derive(Debug, Clone, Copy)]
enum Instant {
    /// As soon as the service has received so many requests of this process.
    Requests(usize),
    /// As soon as journal and write-ahead log hold so many bytes.
    Bytes(u64),
}

impl Instant {
    const fn earlier(self) -> Self {
        match self {
            Self::Requests(wanted) => Self::Requests(wanted * 3 / 4),
            Self::Bytes(wanted) => Self::Bytes(wanted * 3 / 4),
        }
    }
}

fn journal_bytes(stage: &Stage) -> u64 {
    let size = |name: &str| std::fs::metadata(stage.path(name)).map_or(0, |file| file.len());
    size("leavers.results.csv.journal") + size("leavers.results.csv.journal-wal")
}

/// Kills a run at each of these instants, one after another. `None` where the run had ended by then.
fn kill(kills: &[Instant]) -> Option<Stage> {
    let stage = stage();
    for at in kills {
        let so_far = stage.service.received();
        let mut running = stage.start(&COMMAND);
        let is_due = || match *at {
            Instant::Requests(wanted) => stage.service.received() >= so_far + wanted,
            Instant::Bytes(wanted) => journal_bytes(&stage) >= wanted,
        };
        while !is_due() && !running.is_over() {
            std::thread::sleep(Duration::from_millis(2));
        }
        running.kill().code.map_or(Some(()), |_| None)?;
        // P14: no part of a results file, at no instant.
        assert!(!stage.has("leavers.results.csv") || stage.results().len() == DESKTOPS * 2, "{at:?}");
    }
    Some(stage)
}

/// Kills a run, and then lets it end. Returns what it ended as.
fn kill_and_resume(mut kills: Vec<Instant>) -> Vec<[String; 5]> {
    let stage = loop {
        match kill(&kills) {
            Some(stage) => break stage,
            // How often a run reads depends on the machine: that instant came after the end.
            None => kills = kills.into_iter().map(Instant::earlier).collect(),
        }
    };
    let settled = settled(&stage);
    let killed_after = stage.service.writes().len();

    let ended = stage.run(&COMMAND).expect(1);
    stage.check(&everybody());
    let writes = stage.service.writes();
    let mut gone = BTreeSet::new();
    for write in &writes {
        let named = named_in(write);
        // Nothing is sent that is gone already, whoever learnt of it (P3, P7).
        assert!(named.iter().all(|binding| !gone.contains(binding)), "{kills:?}: sent again: {named:?}");
        gone.extend(
            write.applied.iter().map(|(desktop, bound)| (desktop.to_string(), bound.kind, bound.user_name.clone())),
        );
    }
    for write in &writes[killed_after..] {
        let named = named_in(write);
        assert!(named.iter().all(|binding| !settled.contains(&binding.2)), "{kills:?}: settled, yet sent: {named:?}");
    }
    // A kill between the last word and the exit leaves a finished run.
    let said = ["resuming run ", "nothing to do"].iter().any(|words| ended.stderr.contains(words));
    assert!(killed_after == 0 || said, "{kills:?}: {}", ended.stderr);
    stage.run(&["status", "leavers.results.csv.journal"]).expect(0);
    ends(&stage.results())
}

/// The users whose rows have their final word in the journal that the kill left.
fn settled(stage: &Stage) -> BTreeSet<String> {
    let path = stage.path("leavers.results.csv.journal");
    let mut settled = BTreeSet::new();
    if path.exists() {
        let view = View::open(&path).unwrap();
        view.for_each_result(|row| {
            if !row.result.finished_at.is_empty() {
                settled.insert(row.user_name().to_owned());
            }
            Ok(())
        })
        .unwrap();
    }
    settled
}

/// A run that nobody kills: its requests, the journal's first and largest size, and how it ends.
fn reference() -> (usize, [u64; 2], Vec<[String; 5]>) {
    let stage = stage();
    let mut running = stage.start(&COMMAND);
    let (mut first, mut most) = (0, 0);
    while !running.is_over() {
        most = most.max(journal_bytes(&stage));
        first = if first == 0 { most } else { first };
        std::thread::sleep(Duration::from_millis(2));
    }
    running.wait().expect(1);
    stage.check(&everybody());
    (stage.service.received(), [first, most], ends(&stage.results()))
}

fn check_all(instants: impl IntoIterator<Item = Vec<Instant>>, expected: &[[String; 5]]) {
    let instants: Vec<_> = instants.into_iter().collect();
    std::thread::scope(|scope| {
        for lane in instants.chunks(instants.len().div_ceil(4)) {
            scope.spawn(move || {
                for kills in lane {
                    assert_eq!(kill_and_resume(kills.clone()), expected, "{kills:?}");
                }
            });
        }
    });
}

#[test]
fn p03_a_run_killed_at_any_request_ends_as_without() {
    let (requests, _, expected) = reference();
    let last = requests * 9 / 10;
    assert!(last > 20, "{requests} requests are too few to tell instants apart");
    check_all((0..12).map(|n| vec![Instant::Requests(1 + n * (last - 1) / 11)]), &expected);
}

#[test]
fn p03_a_run_killed_at_any_growth_of_its_journal_ends_as_without() {
    let (_, [first, most], expected) = reference();
    check_all((0..8).map(|n| vec![Instant::Bytes(first + (most - first) * n / 8)]), &expected);
}

#[test]
fn p03_a_resume_that_is_killed_again_and_again_ends_as_without() {
    let (_, _, expected) = reference();
    let twice = (0..4).map(|n| vec![Instant::Requests(6 + 4 * n), Instant::Requests(3 + n), Instant::Requests(2)]);
    check_all(twice, &expected);
}
