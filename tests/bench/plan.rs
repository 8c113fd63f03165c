//! Planning one million rows: `cargo bench --bench plan`.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::hint::black_box;

use batch_detach::input::{Input, ReadOptions, Source, read};
use batch_detach::plan::{HashFacts, Policy, Snapshot, plan};
use batch_detach::testing::build;
use batch_detach::testing::model::{Bound, Kind, LiveDesktop};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const ROWS: usize = 1_000_000;

/// Ids as the service makes them, in an order that is not that of the rows' desktops.
fn desktop_id(number: usize) -> String {
    let mixed = u64::try_from(number).unwrap_or(0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!("{:08x}-0000-4000-8000-{:012x}", mixed >> 32, mixed & 0xFFFF_FFFF_FFFF)
}

/// Row `n` is user `n` on desktop `n % desktops`: a desktop's rows lie far apart, as in a sheet by person.
fn rows(desktops: usize) -> Input {
    let mut csv = "desktop_id,user_name,ticket\n".to_owned();
    for row in 0..ROWS {
        writeln!(csv, "{},user{row:07},HR-{}", desktop_id(row % desktops), row % 977).expect("memory takes it");
    }
    let source = Source::Bytes { name: "bench.csv".to_owned(), bytes: csv.into_bytes() };
    read(source, &ReadOptions { empty_desktop_is_every: true, ..ReadOptions::default() })
        .expect("the input is well formed")
}

fn world(desktops: usize) -> Snapshot {
    let live = (0..desktops).map(|desktop| {
        let id = desktop_id(desktop);
        let bound = (desktop..ROWS).step_by(desktops).map(|user| Bound {
            kind: Kind::User,
            user_name: format!("user{user:07}"),
            user_id: Some(format!("{user:032x}")),
            user_group: Some("users".to_owned()),
            domain: None,
        });
        let live = LiveDesktop { bound: Some(bound.collect()), ..build::live(&id, &[]) };
        (live.id.clone(), Some(live))
    });
    Snapshot { desktops: live.collect::<HashMap<_, _>>(), ..Snapshot::default() }
}

fn planning(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan-1M-rows");
    group.sample_size(10).throughput(Throughput::Elements(1_000_000));
    let policy = Policy::default();
    let settings = BTreeMap::new();
    for desktops in [2_000, 250_000] {
        let input = rows(desktops);
        let seen = world(desktops);
        group.bench_function(BenchmarkId::new("as-given", desktops), |bencher| {
            bencher.iter(|| black_box(plan(&input, None, &policy)).chunks().len());
        });
        group.bench_function(BenchmarkId::new("looked", desktops), |bencher| {
            bencher.iter(|| black_box(plan(&input, Some(&seen), &policy)).chunks().len());
        });
        let made = plan(&input, Some(&seen), &policy);
        group.bench_function(BenchmarkId::new("bodies-and-hash", desktops), |bencher| {
            let facts = HashFacts { endpoint: "https://workspace.example", project: "p", settings: &settings };
            bencher.iter(|| made.write_requests(facts, std::io::sink()));
        });
    }
    group.finish();
}

criterion_group!(benches, planning);
criterion_main!(benches);
