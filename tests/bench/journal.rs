//! The journal at work: `cargo bench --bench journal`. Each commit waits for the disk that holds the temporary folder.

use std::path::Path;

use batch_detach::testing::build;
use batch_detach::testing::journal::{
    AnswerKind, AnswerRecord, Attempt, Builder, Entry, Fate, Item, Journal as _, Record, RowOutcome, Settlement, Slot,
    Store, View,
};
use batch_detach::testing::model::{Outcome, PartLabel};
use batch_detach::testing::outcome::ResultsWriter;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const CHUNKS: u32 = 250;
const DESKTOPS: u32 = 100;
const USERS: u16 = 4;
const AT: &str = "2026-11-24T04:14:09.120Z";

/// Rows in an order that is not that of the items.
fn build(path: &Path) {
    let mut builder = Builder::create(path, &build::identity()).expect("a folder of its own");
    let items = CHUNKS * DESKTOPS;
    for row in 0..items * u32::from(USERS) {
        let (item, slot) = (row % items + 1, row / items);
        let cells = [desktop(item), String::new(), user(item, slot), String::new(), String::new(), String::new()];
        let [id, name, user, user_id, group, kind] = cells;
        let fate = Fate::Send { item, slot: u16::try_from(slot).expect("four") };
        let cells = [id, name, user, user_id, group, kind, String::new()];
        let entry = Entry { line: u64::from(row) + 2, cells, extras: Vec::new(), fate };
        builder.owned_entry(&entry).expect("the disk takes it");
    }
    for id in 1..=items {
        let slots = (0..u32::from(USERS)).map(|slot| Slot { seen: false, ..build::slot(&user(id, slot)) });
        let chunk = (id - 1) / DESKTOPS + 1;
        let item = Item { chunk, slots: slots.collect(), seen: false, ..build::item(id, &desktop(id), &[]) };
        builder.item(item).expect("the disk takes it");
    }
    builder.finish().expect("the disk takes it");
}

fn desktop(item: u32) -> String {
    format!("{item:08x}-0000-4000-8000-{item:012x}")
}

fn user(item: u32, slot: u32) -> String {
    format!("user_{item:07}_{slot}")
}

/// All that a chunk leaves in the journal.
fn records(chunk: u32) -> [Vec<Record>; 3] {
    let items = (chunk - 1) * DESKTOPS + 1..=chunk * DESKTOPS;
    let slots: Vec<u16> = (0..USERS).collect();
    let attempt = Attempt {
        id: chunk.into(),
        part: PartLabel { chunk, part: 0 },
        carries: items.clone().map(|item| (item, slots.clone())).collect(),
        body_sha256: "ab".repeat(32),
        body_bytes: 30_000,
        at: AT.to_owned(),
    };
    let answer = AnswerRecord {
        attempt: chunk.into(),
        kind: AnswerKind::Answered,
        status: Some(200),
        code: String::new(),
        message: String::new(),
        request_id: format!("request-{chunk}"),
        job_id: String::new(),
        refused: Vec::new(),
        at: AT.to_owned(),
        took_ms: 1,
    };
    let settled = items.map(|item| {
        Record::Settled(Settlement {
            item,
            slots: slots.clone(),
            result: RowOutcome {
                attempts: 1,
                request_id: format!("request-{chunk}"),
                part: chunk.to_string(),
                finished_at: AT.to_owned(),
                evidence: RowOutcome::AT_ITS_WORD.to_owned(),
                ..RowOutcome::new(Outcome::Detached, String::new(), String::new())
            },
        })
    });
    [vec![Record::Intent(attempt)], vec![Record::Answer(answer)], settled.collect()]
}

fn journal(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("r.csv.journal");
    let rows = u64::from(CHUNKS * DESKTOPS) * u64::from(USERS);
    let mut group = criterion.benchmark_group("journal-100k-rows");
    group.sample_size(10).throughput(Throughput::Elements(rows));
    group.bench_function("build", |bencher| {
        bencher.iter_with_setup(|| _ = std::fs::remove_file(&path), |()| build(&path));
    });
    group.bench_function("250 chunks, 64 at a time", |bencher| {
        let setup = || {
            _ = std::fs::remove_file(&path);
            build(&path);
            Store::open(&path).expect("a whole journal")
        };
        bencher.iter_with_setup(setup, |store| {
            let handle = store.handle();
            let chunks: Vec<u32> = (1..=CHUNKS).collect();
            runtime.block_on(async {
                for some in chunks.chunks(64) {
                    let one = async |chunk: u32| {
                        handle.chunk(chunk).await.expect("it is there");
                        for records in records(chunk) {
                            handle.commit(records).await.expect("the disk takes it");
                        }
                    };
                    futures::future::join_all(some.iter().map(|chunk| one(*chunk))).await;
                }
            });
            store.close().expect("the disk takes it");
        });
    });
    group.bench_function("results", |bencher| {
        let view = View::open(&path).expect("a whole journal");
        bencher.iter(|| {
            let mut writer = ResultsWriter::new(std::io::sink(), &[] as &[&str], false).expect("nothing is written");
            view.for_each_result(|row| {
                writer.write(&row).expect("nothing is written");
                Ok(())
            })
        });
    });
    group.finish();
}

criterion_group!(benches, journal);
criterion_main!(benches);
