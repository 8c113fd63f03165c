//! SIGKILL at any instant, then the same command: the end is the same as without.

use std::collections::BTreeSet;
use std::time::Duration;

use batch_detach::journal::View;
use batch_detach::sim::{Effect, Fate, FateOf, Fault, Op, Physics, Refused, Scenario};

use super::service::{id, named_in, seat, wait_until};
use super::stage::{Record, Stage};

const DESKTOPS: usize = 24;
const COMMAND: [&str; 6] = ["run", "leavers.csv", "--yes", "--max-desktops-per-request", "2", "--concurrency=3"];

/// Two leavers and one who stays on each desktop; hibernated and pooled ones, a lost answer, a request done by half.
fn stage() -> Stage {
    let desktop = |n: usize| format!("desk-{n:02}");
    let seats = (0..DESKTOPS).flat_map(|n| {
        ["ann", "bob", "stays"].map(|user| seat(&desktop(n), &format!("{user}-{n}")))
    });
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
    let stage = Stage::new(seats, scenario);
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
    /// As soon as the service has received so many requests.
    Requests(usize),
    /// As soon as journal and write-ahead log hold so many bytes.
    Bytes(u64),
}

fn journal_bytes(stage: &Stage) -> u64 {
    let size = |name: &str| std::fs::metadata(stage.path(name)).map_or(0, |file| file.len());
    size("leavers.results.csv.journal") + size("leavers.results.csv.journal-wal")
}

fn is_due(stage: &Stage, at: Instant, requests_before: usize) -> bool {
    match at {
        Instant::Requests(wanted) => stage.service.received() >= requests_before + wanted,
        Instant::Bytes(wanted) => journal_bytes(stage) >= wanted,
    }
}

/// Kills a run at each of these instants, one after another, and then lets it end. Returns what it ended as.
fn kill_and_resume(kills: &[Instant]) -> Vec<[String; 5]> {
    let stage = stage();
    let before = stage.service.bindings();
    for at in kills {
        let so_far = stage.service.received();
        let mut running = stage.start(&COMMAND);
        let over = std::cell::Cell::new(false);
        let running_cell = std::cell::RefCell::new(&mut running);
        wait_until("the instant comes", || {
            over.set(running_cell.borrow_mut().is_over());
            over.get() || is_due(&stage, *at, so_far)
        });
        let killed = running.kill();
        assert!(killed.code.is_none() || over.get(), "{at:?}");
        assert!(killed.code.is_none(), "{at:?} comes after the end: {}", killed.stderr);
        // P14: no part of a results file, at no instant.
        assert!(!stage.has("leavers.results.csv") || stage.results().len() == DESKTOPS * 2, "{at:?}");
    }
    let settled = settled(&stage);
    let killed_after = stage.service.writes().len();

    let ended = stage.run(&COMMAND).expect(1);
    stage.check(&before);
    let writes = stage.service.writes();
    let mut gone = BTreeSet::new();
    for write in &writes {
        let named = named_in(write);
        // Nothing is sent that is gone already, whoever learnt of it (P3, P7).
        assert!(named.iter().all(|binding| !gone.contains(binding)), "{kills:?}: sent again: {named:?}");
        gone.extend(write.applied.iter().map(|(desktop, bound)| {
            (desktop.to_string(), bound.kind, bound.user_name.clone())
        }));
    }
    for write in &writes[killed_after..] {
        let named = named_in(write);
        assert!(named.iter().all(|binding| !settled.contains(&binding.2)), "{kills:?}: settled, yet sent: {named:?}");
    }
    assert!(killed_after == 0 || ended.stderr.contains("resuming run "), "{kills:?}: {}", ended.stderr);
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
            if !row.finished_at.is_empty() {
                settled.insert(row.user_name().to_owned());
            }
            Ok(())
        })
        .unwrap();
    }
    settled
}

/// Requests and journal bytes of a run that nobody kills, and how it ends.
fn reference() -> (usize, u64, Vec<[String; 5]>) {
    let stage = stage();
    let before = stage.service.bindings();
    let running = stage.start(&COMMAND);
    let mut most = 0;
    let running = {
        let mut running = running;
        while !running.is_over() {
            most = most.max(journal_bytes(&stage));
            std::thread::sleep(Duration::from_millis(2));
        }
        running
    };
    running.wait().expect(1);
    stage.check(&before);
    (stage.service.received(), most, ends(&stage.results()))
}

fn check_all(instants: impl IntoIterator<Item = Vec<Instant>>, expected: &[[String; 5]]) {
    let instants: Vec<_> = instants.into_iter().collect();
    std::thread::scope(|scope| {
        for lane in instants.chunks(instants.len().div_ceil(4)) {
            scope.spawn(move || {
                for kills in lane {
                    assert_eq!(kill_and_resume(kills), expected, "{kills:?}");
                }
            });
        }
    });
}

#[test]
fn p03_a_run_killed_at_any_request_ends_as_without() {
    let (requests, _, expected) = reference();
    // Reads of the end differ from run to run: what comes after nine tenths may not come.
    let last = requests * 9 / 10;
    assert!(last > 20, "{requests} requests are too few to tell instants apart");
    let instants = (0..12).map(|n| vec![Instant::Requests(1 + n * (last - 1) / 11)]);
    check_all(instants, &expected);
}

#[test]
fn p03_a_run_killed_at_any_growth_of_its_journal_ends_as_without() {
    let (_, most, expected) = reference();
    let instants = (1..=8).map(|n| vec![Instant::Bytes(most * n / 9)]);
    check_all(instants, &expected);
}

#[test]
fn p03_a_resume_that_is_killed_again_and_again_ends_as_without() {
    let (_, _, expected) = reference();
    let twice = (0..4).map(|n| vec![Instant::Requests(6 + 4 * n), Instant::Requests(3 + n), Instant::Requests(2)]);
    check_all(twice, &expected);
}
