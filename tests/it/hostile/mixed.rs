//! Every fault at once: three requests of ten meet one, over five thousand rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use batch_detach::testing::model::DesktopId;
use batch_detach::testing::sim::{App, Effect, Executed, Fault, Op, Refused, Scenario, World, serve};

use super::play::{RUNTIME, command, input_of, outcomes, run, seats};

/// Share of the requests that meet some fault.
const SHARE: f64 = 0.3;

fn effects() -> Vec<(Option<Op>, Effect)> {
    let refused = |status, code: &str| Refused::new(status, code, "not now");
    let ms = Duration::from_millis;
    let write = Some(Op::BatchDetach);
    vec![
        (None, Effect::DropBefore),
        (None, Effect::ExecuteThenDrop),
        (None, Effect::Refuse(refused(500, ""))),
        (None, Effect::Refuse(refused(502, ""))),
        (None, Effect::Refuse(refused(503, "APIGW.0613"))),
        (None, Effect::Refuse(refused(504, ""))),
        (None, Effect::Throttle { limit: 2_000, window: Duration::from_secs(1), retry_after: Some("0".to_owned()) }),
        (None, Effect::CutJson),
        (None, Effect::Html { status: 200 }),
        (None, Effect::Html { status: 502 }),
        (None, Effect::Delay(ms(300))),
        (write, Effect::ExecuteThen(refused(500, "WKS.0500"))),
        (write, Effect::HalfThen(refused(500, ""))),
        (write, Effect::Late { by: ms(150), answer: None }),
        (write, Effect::Late { by: ms(150), answer: Some(refused(504, "")) }),
        (write, Effect::Twice { again: ms(150) }),
        (write, Effect::ForeignId),
        (write, Effect::NullList),
        (write, Effect::Refuse(refused(409, "WKS.00010032"))),
        (Some(Op::ListDesktops), Effect::NoBindings),
        (Some(Op::ListDesktops), Effect::ShortPage),
        (Some(Op::ListDesktops), Effect::IgnoreFilter),
    ]
}

/// For each operation so much of each of its faults that all of them together hit [`SHARE`] of its requests.
fn faults() -> Vec<Fault> {
    let mut faults = Vec::new();
    for op in [Op::BatchDetach, Op::ListDesktops, Op::ShowDesktop, Op::ShowJob] {
        let of_op: Vec<Effect> =
            effects().into_iter().filter(|(of, _)| of.is_none_or(|of| of == op)).map(|(_, effect)| effect).collect();
        #[expect(clippy::cast_precision_loss, reason = "twenty")]
        let each = 1.0 - (1.0 - SHARE).powf(1.0 / of_op.len() as f64);
        faults.extend(of_op.into_iter().map(|effect| Fault::new(op, effect).probability(each)));
    }
    faults
}

#[test]
fn p02_p10_five_thousand_rows_through_every_fault_at_three_requests_of_ten_and_every_outcome_is_true() {
    let seats = seats(1_000, 5);
    let input = input_of(&seats);
    let faults = faults();
    let app = App::new(World::from_seats(seats, 5), Scenario { seed: 5, faults, ..Scenario::default() });
    let listener = RUNTIME.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    RUNTIME.spawn(serve(Arc::clone(&app), listener, std::future::pending()));
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(directory.path(), &endpoint);
    command.env("BATCH_DETACH_MAX_DESKTOPS_PER_REQUEST", "10").env("BATCH_DETACH_READ_BACK_DEADLINE", "30s");
    command.env("BATCH_DETACH_OUTAGE_LIMIT", "2m");
    let (code, stderr, memory, took) = run(&mut command, directory.path(), &input);
    assert!(matches!(code, 0 | 1), "{code}: {stderr}");
    assert!(memory < 128 << 20, "{} MiB", memory >> 20);

    let outcomes = outcomes(directory.path());
    assert_eq!(outcomes.len(), 5_000, "p01");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for ((desktop, user), outcome) in &outcomes {
        *counts.entry(outcome).or_default() += 1;
        let bound = app.world().bound(&DesktopId::parse(desktop).unwrap());
        let is_bound = bound.iter().any(|bound| bound.user_name == *user);
        match outcome.as_str() {
            "detached" => assert!(!is_bound, "{desktop} {user}: detached, and bound"),
            "failed" => assert!(is_bound, "{desktop} {user}: failed, and not bound"),
            other => assert_eq!(other, "unknown", "{desktop} {user}"),
        }
    }
    let log = app.log();
    let writes = log.iter().filter(|entry| entry.op == Op::BatchDetach).count();
    let hit = log.iter().filter(|entry| entry.op == Op::BatchDetach && entry.executed != Executed::Whole).count();
    eprintln!(
        "{counts:?}; {writes} writes ({hit} not wholly done), {} requests, {took:?}, {} MiB",
        log.len(),
        memory >> 20
    );
    assert!(counts["detached"] >= 4_950, "{counts:?}");
    blind_repeats(&log);
}

/// P7: between two writes that name a desktop, a read that names it was answered.
fn blind_repeats(log: &[batch_detach::testing::sim::LogEntry]) {
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    for (at, entry) in log.iter().enumerate().filter(|(_, entry)| entry.op == Op::BatchDetach) {
        // A 429 and the 503 of a gateway that is full prove that nothing was done: these desktops may go again at once.
        let done = entry.executed != Executed::None || !matches!(entry.status, Some(429 | 503));
        let body: serde_json::Value = serde_json::from_slice(&entry.body).unwrap();
        for desktop in body["desktops"].as_array().unwrap() {
            let id = desktop["desktop_id"].as_str().unwrap();
            if let Some(before) = sent.get(id) {
                let looked = log[*before..at].iter().any(|read| {
                    !read.op.is_write()
                        && read.status == Some(200)
                        && (read.query.contains(id) || read.path.contains(id))
                });
                assert!(looked, "p07: {id} was sent again without a look");
            }
            if done {
                sent.insert(id.to_owned(), at);
            } else {
                sent.remove(id);
            }
        }
    }
}
