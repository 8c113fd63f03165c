//! Everything that reads bytes from outside, fed with damaged ones: no panic, no hang, no unbounded memory (P18).
//!
//! Each target takes the seeds of its folder in `corpus`, and mutants of them: `FUZZ_CASES` of them (2,000 by
//! default), from `FUZZ_SEED` on (0 by default). What a longer run finds becomes a file of the corpus, which every
//! run replays. For hours: `FUZZ_CASES=100000000 cargo test --release --test fuzz -- TARGET --nocapture`.

use std::path::PathBuf;

use batch_detach::input::{Field, ReadOptions, Source, read};
use batch_detach::testing::api::wire::WriteAnswer;
use batch_detach::testing::api::{Answer, ErrorBody, Reply};
use batch_detach::testing::build;
use batch_detach::testing::config::sources::from_toml;
use batch_detach::testing::dispatch::verdict::{Verdict, judge};
use batch_detach::testing::input::guard::{guard, unguard};
use batch_detach::testing::journal::{Builder, Entry, Fate, Store, View};
use batch_detach::testing::model::{DesktopId, Kind};
use batch_detach::testing::pace::{parse_limit_text, parse_retry_after};
use batch_detach::testing::reconcile::reads;
use batch_detach::testing::text::escape_untrusted;
use batch_detach::{Error, Exit};
use bytes::Bytes;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn corpus(folder: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz/corpus")).join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Bytes that meant something to somebody: the mutants are made of them.
const WORDS: &[&[u8]] = &[
    b"\"",
    b"'",
    b",",
    b";",
    b"\t",
    b"|",
    b"\r",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xEF\xBB\xBF",
    b"\xFF\xFE",
    b"\xFE\xFF",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"desktop_id",
    b"user_name",
    b"type",
    b"ALL",
    b"GROUP",
    b"=1+1",
    b"1.9E+18",
    b"#REF!",
    b"\xE2\x80\xAE",
    b"\xED\xA0\x80",
    b"error_code",
    b"failed_operation_list",
    b"attach_user_infos",
    b"limit:",
    b",time:1 minute",
    b"GMT",
    b"PK\x03\x04",
];

fn mutant(seeds: &[Vec<u8>], random: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = if seeds.is_empty() { Vec::new() } else { seeds[random.usize(..seeds.len())].clone() };
    for _ in 0..=random.usize(..8) {
        let at = random.usize(..=bytes.len());
        match random.u8(..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            1 if at < bytes.len() => bytes[at] = random.u8(..),
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, WORDS[random.usize(..WORDS.len())].iter().copied())),
            4 if at < bytes.len() => {
                let end = (at + random.usize(1..64)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 if !seeds.is_empty() => {
                let other = &seeds[random.usize(..seeds.len())];
                let from = random.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
            _ => {
                let end = (at + random.usize(..200)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
    bytes.truncate(1 << 17);
    bytes
}

/// Every seed as it is, then the mutants; says which case broke, so that it can be kept.
fn fuzz(folder: &str, target: impl Fn(&[u8])) {
    let seeds = corpus(folder);
    assert!(!seeds.is_empty(), "the corpus of {folder} is empty");
    for seed in &seeds {
        target(seed);
    }
    let first = number("FUZZ_SEED", 0);
    for case in first..first + number("FUZZ_CASES", 2_000) {
        let bytes = mutant(&seeds, &mut fastrand::Rng::with_seed(case));
        let whole = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&bytes)));
        if whole.is_err() {
            let kept = std::env::temp_dir().join(format!("batch-detach-fuzz-{folder}-{case}"));
            _ = std::fs::write(&kept, &bytes);
            panic!("{folder}: case {case} broke (FUZZ_SEED={case} FUZZ_CASES=1); its bytes are in {}", kept.display());
        }
    }
}

#[test]
fn p18_any_input_is_read_or_refused_with_its_place() {
    fuzz("input", |bytes| {
        let source = Source::Bytes { name: "fuzz.csv".to_owned(), bytes: bytes.to_vec() };
        match read(source, &ReadOptions { max_rows: 10_000, ..ReadOptions::default() }) {
            Ok(input) => {
                for (row, cells) in input.table.rows().enumerate() {
                    let faulty = input.faults.iter().any(|fault| fault.row == row);
                    let (user, kind) = (cells.get(Field::UserName), cells.kind());
                    // The worst that could be read out of a damaged sheet: everybody, where nobody was named.
                    assert!(faulty || kind == Some(Kind::All) || !user.is_empty(), "an empty user passed");
                    assert!(
                        faulty
                            || DesktopId::parse(cells.get(Field::DesktopId)).is_some()
                            || cells.get(Field::DesktopId).is_empty()
                    );
                }
            }
            Err(error) => {
                assert_eq!(error.exit(), Exit::Rejected);
                assert!(!error.to_string().is_empty());
            }
        }
    });
}

#[test]
fn p18_any_answer_is_judged_and_none_claims_more_than_it_says() {
    fuzz("answer", |bytes| {
        let status = [200, 200, 200, 202, 400, 401, 403, 404, 409, 429, 500, 503][bytes.len() % 12];
        let answer = Answer { status, body: Bytes::copy_from_slice(bytes), ..Answer::default() };
        let reply = Reply::Answer(answer);
        if let Verdict::Taken { refused, .. } = judge(&reply, |id| id == "d-1" || id == "d-2") {
            let told: WriteAnswer = serde_json::from_slice(bytes).expect("only what can be read is an answer");
            assert_eq!(refused.len(), told.failed_operation_list.len());
            assert!(refused.iter().all(|(id, _)| id == "d-1" || id == "d-2"));
        }
        if let Ok(page) = reads::desktops(&reply) {
            assert!(page.entries.len() <= page.received);
        }
        if let Ok(Some(desktop)) = reads::desktop(&reply, &DesktopId::parse("d-1").unwrap()) {
            assert!(desktop.id.as_str().eq_ignore_ascii_case("d-1"));
        }
        _ = reads::job(&reply);
        _ = reads::sub_jobs(&reply);
        _ = reads::users(&reply);
        let body = ErrorBody::parse(bytes);
        for text in [&body.code, &body.message] {
            assert!(text.chars().all(|c| !c.is_control()), "p21: {text:?}");
        }
    });
}

#[test]
fn p09_any_retry_after_is_a_bounded_wait_or_none() {
    fuzz("wait", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (value, date) = text.split_once('\n').map_or((&*text, None), |(value, date)| (value, Some(date)));
        if let Some(wait) = parse_retry_after(value, date) {
            assert!(wait.as_secs() <= 24 * 3600, "{wait:?}");
        }
        if let Some((count, window)) = parse_limit_text(&text) {
            assert!(count > 0 && !window.is_zero());
        }
    });
}

#[test]
fn any_config_file_is_read_or_refused() {
    fuzz("settings", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        if let Ok(layer) = from_toml(&text, "config.toml") {
            _ = layer.resolve();
        }
    });
}

#[test]
fn p21_any_cell_survives_the_formula_guard() {
    fuzz("input", |bytes| {
        let cell = String::from_utf8_lossy(bytes);
        let guarded = guard(&cell);
        assert_eq!(unguard(&guarded), cell);
        assert!(!guarded.starts_with(['=', '+', '@', '\t', '\r', '\n']), "{guarded:?}");
        assert!(escape_untrusted(&cell, 50).chars().count() <= 51 * 10);
    });
}

/// A journal of three desktops.
fn journal(path: &std::path::Path) {
    let mut builder = Builder::create(path, &build::identity()).unwrap();
    for n in 1..=3_u32 {
        let entry = Entry {
            line: u64::from(n) + 1,
            cells: [
                format!("d-{n}"),
                String::new(),
                "u".to_owned(),
                String::new(),
                String::new(),
                "USER".to_owned(),
                String::new(),
            ],
            extras: Vec::new(),
            fate: Fate::Send { item: n, slot: 0 },
        };
        builder.owned_entry(&entry).unwrap();
    }
    for n in 1..=3_u32 {
        builder.item(build::item(n, &format!("d-{n}"), &["u"])).unwrap();
    }
    builder.finish().unwrap();
}

#[test]
fn p16_a_damaged_journal_is_refused_or_read_and_never_changed_by_the_refusal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.results.csv.journal");
    journal(&path);
    let whole = vec![std::fs::read(&path).unwrap()];
    let cases = number("FUZZ_CASES", 2_000) / 10;
    for case in 0..cases {
        let mut bytes = mutant(&whole, &mut fastrand::Rng::with_seed(case));
        if case % 7 == 0 {
            bytes = whole[0].clone();
            let version = &mut bytes[60..64]; // user_version of the database header: a newer format
            version.copy_from_slice(&u32::MAX.to_be_bytes());
        }
        std::fs::write(&path, &bytes).unwrap();
        let seen = View::open(&path).and_then(|view| {
            view.progress()?;
            view.for_each_result(|_| Ok(()))?;
            view.for_each_item(|_, _| Ok(()))
        });
        assert!(case % 7 != 0 || seen.is_err(), "a newer format was read");
        assert!(std::fs::read(&path).unwrap() == bytes, "reading changed the file (case {case})");
        match Store::open(&path) {
            Err(error) => {
                assert!(matches!(error.exit(), Exit::Rejected | Exit::Stopped), "{error}");
                if matches!(error, Error::NotOurJournal { .. }) {
                    assert!(std::fs::read(&path).unwrap() == bytes, "a refusal changed the file (case {case})");
                }
            }
            Ok(store) => _ = store.close(),
        }
        for beside in ["-wal", "-shm", "-journal"] {
            _ = std::fs::remove_file(directory.path().join(format!("x.results.csv.journal{beside}")));
        }
    }
}
