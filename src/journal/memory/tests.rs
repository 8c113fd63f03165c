use proptest::prelude::*;

use crate::journal::record::{AnswerKind, AnswerRecord, ItemId, SlotNo};
use crate::journal::sample::{AT, answer, build, identity, intent, line, plan, refusal, settled};
use crate::journal::{Store, View};
use crate::model::Outcome;

use super::*;

const CHUNKS: u32 = 3;

/// Numbers that [`records`] turns into a record; all of them make sense.
type Seed = (u8, ItemId, ItemId, usize, u64, bool);

fn seeds(most: usize) -> impl Strategy<Value = Vec<Seed>> {
    let items = CHUNKS * 2;
    let seed = (0..12_u8, 1..=items, 1..=items, 0..4_usize, any::<u64>(), any::<bool>());
    prop::collection::vec(seed, 0..most)
}

fn records(seeds: &[Seed]) -> Vec<Record> {
    let slots: [&[SlotNo]; 4] = [&[0], &[1], &[0, 1], &[1, 0]];
    let outcomes = [Outcome::Detached, Outcome::AlreadyDetached, Outcome::Failed, Outcome::NotSent, Outcome::Unknown];
    let mut attempts = 0;
    let mut record = |(what, item, other, slot, n, flag): &Seed| {
        let slots = slots[*slot];
        match what {
            3..=5 if attempts > 0 => {
                let kind = AnswerKind::ALL[usize::try_from(n % 5).unwrap()];
                let refused = if *flag { vec![(*item, refusal("WKS.1"))] } else { vec![] };
                let code = if kind == AnswerKind::Doubt { "timeout".to_owned() } else { String::new() };
                Record::Answer(AnswerRecord { code, refused, ..answer(n / 5 % attempts + 1, kind) })
            }
            6 => {
                let job_id = format!("job-{}", n % 4);
                Record::Job { item: *item, job_id, refusal: flag.then(|| refusal("WKS.2")) }
            }
            7 => Record::Seen { item: *item, slots: slots.to_vec() },
            8 | 9 => {
                let outcome = outcomes[usize::try_from(n % 5).unwrap()];
                let mut settled = settled(*item, slots, outcome);
                settled.result.recheck = *flag;
                Record::Settled(settled)
            }
            10 => Record::Rechecked { item: *item },
            11 => match n % 4 {
                0 => Record::Started {
                    at: AT.to_owned(),
                    version: "1".to_owned(),
                    write_period: Some(Duration::from_millis(600)),
                },
                1 => Record::Stopped { at: AT.to_owned(), exit: 5, reason: "signal".to_owned() },
                2 => Record::Canary { passed: *flag },
                _ => Record::Requests { counts: vec![(crate::model::Class::ShowJob, "ok.x".to_owned(), n % 3)] },
            },
            _ => {
                attempts += 1;
                let (a, b) = (*item.min(other), *item.max(other));
                let carries: &[(ItemId, &[SlotNo])] = if a == b { &[(a, slots)] } else { &[(a, slots), (b, &[0])] };
                intent(attempts, a.div_ceil(2), carries)
            }
        }
    };
    seeds.iter().map(&mut record).collect()
}

/// All that a journal tells, in words.
async fn told(journal: &dyn Journal) -> Vec<String> {
    let mut told = Vec::new();
    for chunk in 0..=CHUNKS + 1 {
        told.push(format!("{:?}", journal.chunk(chunk).await.unwrap()));
    }
    told.push(format!("{:?}", journal.resume().await.unwrap()));
    told.push(format!("{:?}", journal.rechecks().await.unwrap()));
    told
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
}

fn results(view: &View) -> Vec<String> {
    let mut lines = Vec::new();
    view.for_each_result(|row| {
        lines.push(line(&row));
        Ok(())
    })
    .unwrap();
    lines
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn memory_and_disk_tell_the_same(seeds in seeds(40), size in 1..6_usize) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.journal");
        let memory = build(&path, CHUNKS);
        let store = Store::open(&path).unwrap();
        let handle = store.handle();
        run(async {
            for records in records(&seeds).chunks(size) {
                memory.commit(records.to_vec()).await.unwrap();
                handle.commit(records.to_vec()).await.unwrap();
                assert_eq!(told(&memory).await, told(&handle).await);
            }
            let mut lines = Vec::new();
            memory
                .for_each_result(|row| {
                    lines.push(line(&row));
                    Ok(())
                })
                .unwrap();
            assert_eq!(handle.with_view(results).await.unwrap(), lines);
            memory.crash();
            assert_eq!(memory.resume().await, handle.resume().await);
        });
        store.close().unwrap();
        let view = View::open(&path).unwrap();
        assert_eq!(view.progress().unwrap(), memory.progress());
        let mut writes = 0;
        view.for_each_attempt(|_| {
            writes += 1;
            Ok(())
        })
        .unwrap();
        prop_assert_eq!(memory.progress().attempts.values().sum::<u64>(), writes);
    }
}

proptest! {
    #[test]
    fn p01_p03_every_prefix_of_the_records_replays_to_a_state_that_is_allowed(seeds in seeds(30)) {
        let (entries, items) = plan(CHUNKS);
        let journal = MemoryJournal::new(identity(), entries, items);
        run(async {
            for record in records(&seeds) {
                journal.commit(vec![record]).await.unwrap();
                journal.crash();
                check(&journal).await;
            }
        });
    }
}

async fn check(journal: &MemoryJournal) {
    let progress = journal.progress();
    let mut rows = BTreeMap::new();
    let mut words = BTreeMap::new();
    journal
        .for_each_result(|row| {
            *rows.entry(row.result.outcome).or_insert(0) += 1;
            let binding = (row.cells[0].to_owned(), row.cells[2].to_lowercase());
            // Rows of the same binding share one outcome.
            assert_eq!(*words.entry(binding).or_insert(row.result.outcome), row.result.outcome);
            Ok(())
        })
        .unwrap();
    // P1: every row has one outcome, and the counts are those of the rows.
    assert_eq!(rows.values().sum::<u64>(), progress.rows);
    let mut counted = progress.outcomes.clone();
    *counted.entry(Outcome::Unknown).or_default() += progress.open_unknown;
    *counted.entry(Outcome::NotSent).or_default() += progress.open_not_sent;
    counted.retain(|_, rows| *rows > 0);
    assert_eq!(rows, counted);

    let (records, in_flight) = (journal.records(), journal.resume().await.unwrap().in_flight);
    let mut open = Vec::new();
    for chunk in 1..=CHUNKS {
        open.extend(journal.chunk(chunk).await.unwrap());
    }
    for item in 1..=CHUNKS * 2 {
        let found = open.iter().find(|open| open.item.id == item);
        for slot in [0, 1] {
            let of_slot =
                |record: &&Record| matches!(record, Record::Settled(s) if s.item == item && s.slots.contains(&slot));
            let word = records.iter().rev().find(of_slot);
            let is_final = matches!(word, Some(Record::Settled(s)) if s.result.outcome != Outcome::Unknown);
            // P3: what is settled is never handed out to be sent again, and all else is.
            assert_eq!(found.is_none_or(|open| open.settled.contains(&slot)), is_final);
            // P4: a write of an open slot that may have been sent is in flight.
            let sent = records.iter().any(|record| match record {
                Record::Intent(attempt) => {
                    let answer = records.iter().rev().find_map(|record| match record {
                        Record::Answer(answer) if answer.attempt == attempt.id => Some(answer.kind),
                        _ => None,
                    });
                    let carries = attempt.carries.iter().any(|(id, slots)| *id == item && slots.contains(&slot));
                    carries && answer.is_none_or(|kind| !kind.is_not_executed())
                }
                _ => false,
            });
            if sent && !is_final {
                assert!(in_flight.iter().any(|open| open.item.id == item));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_what_was_under_way_and_nothing_that_was_told() {
    let (entries, items) = plan(1);
    let journal = MemoryJournal::new(identity(), entries, items);
    journal.set_latency(Duration::from_millis(10));
    journal.commit(vec![intent(1, 1, &[(1, &[0])])]).await.unwrap();
    let waiting = tokio::spawn({
        let journal = journal.clone();
        async move { journal.commit(vec![intent(2, 1, &[(2, &[0])])]).await }
    });
    tokio::task::yield_now().await;
    assert_eq!((journal.pending(), journal.records().len()), (1, 1));
    journal.crash();
    assert!(waiting.await.unwrap().is_err());
    assert_eq!((journal.pending(), journal.records().len()), (0, 1));
    assert_eq!(journal.resume().await.unwrap().next_attempt, 2);
}

#[tokio::test(start_paused = true)]
async fn p13_the_commit_that_fails_is_the_last() {
    let (entries, items) = plan(1);
    let journal = MemoryJournal::new(identity(), entries, items);
    journal.commit(vec![intent(1, 1, &[(1, &[0])])]).await.unwrap();
    journal.fail_at(2);
    journal.commit(vec![intent(2, 1, &[(1, &[0])])]).await.unwrap();
    for id in 3..5 {
        assert!(journal.commit(vec![intent(id, 1, &[(1, &[0])])]).await.is_err());
        assert!(journal.has_failed());
    }
    assert_eq!(journal.records().len(), 2);
    journal.crash();
    journal.commit(vec![intent(3, 1, &[(1, &[0])])]).await.unwrap();
}

#[tokio::test]
async fn a_record_that_makes_no_sense_is_not_kept_nor_what_came_with_it() {
    let (entries, items) = plan(1);
    let journal = MemoryJournal::new(identity(), entries, items);
    assert!(journal.commit(vec![intent(1, 1, &[(1, &[0])]), intent(2, 1, &[(9, &[0])])]).await.is_err());
    assert!(journal.resume().await.unwrap().in_flight.is_empty());
    assert!(journal.records().is_empty());
}
