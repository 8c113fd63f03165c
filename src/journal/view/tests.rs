use std::process::Command;

use crate::journal::open::{Access, connect};
use crate::journal::record::{AnswerRecord, Record};
use crate::journal::sample::{AT, answer, build, identity, intent, line, names, refusal, settled};
use crate::journal::schema::beside;
use crate::journal::{Builder, EntryRef, Journal as _, Store};

use super::*;

/// Set in the process that only reads.
const READER: &str = "BATCH_DETACH_TEST_JOURNAL";

#[tokio::test]
async fn a_view_works_beside_a_run_in_another_process() {
    if let Ok(path) = std::env::var(READER) {
        let view = View::open(Path::new(&path)).unwrap();
        assert_eq!(view.progress().unwrap().attempts, [(None, 1)].into());
        let mut rows = 0;
        view.for_each_result(|_| {
            rows += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(rows, 14);
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.journal");
    build(&path, 2);
    let store = Store::open(&path).unwrap();
    store.handle().commit(vec![intent(1, 1, &[(1, &[0])])]).await.unwrap();
    let name = "journal::view::tests::a_view_works_beside_a_run_in_another_process";
    let mut reader = Command::new(std::env::current_exe().unwrap());
    let output = reader.args(["--exact", name, "--nocapture"]).env(READER, &path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    store.handle().commit(vec![intent(2, 1, &[(1, &[0])])]).await.unwrap();
    store.close().unwrap();
    assert_eq!(names(directory.path()), ["a.journal"]);
    assert_eq!(View::open(&path).unwrap().progress().unwrap().attempts, [(None, 2)].into());
}

#[test]
fn what_is_read_together_does_not_move_while_a_run_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.journal");
    build(&path, 2);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(async { Store::open(&path).unwrap() });
    let view = View::open(&path).unwrap();
    view.still(|view| {
        let before = view.progress()?;
        let done = Record::Settled(settled(1, &[0, 1], Outcome::Detached));
        runtime.block_on(store.handle().commit(vec![done])).unwrap();
        assert_eq!(view.progress()?, before);
        Ok(())
    })
    .unwrap();
    assert_eq!(view.progress().unwrap().outcomes[&Outcome::Detached], 3);
    runtime.block_on(async { store.close().unwrap() });
}

#[test]
fn half_a_transaction_that_a_kill_left_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("a.journal"), directory.path().join("b.journal"));
    build(&path, 300);
    let whole = View::open(&path).unwrap().progress().unwrap();
    // A cache of one page writes to the file in the middle of the transaction.
    let writer = Connection::open(&path).unwrap();
    writer.execute_batch("PRAGMA cache_size = 1; BEGIN; UPDATE tally SET n = 7; UPDATE chunk SET open = 0").unwrap();
    for ending in ["", "-journal"] {
        std::fs::copy(beside(&path, ending), beside(&copy, ending)).unwrap();
    }
    drop(writer);
    assert_ne!(std::fs::read(&path).unwrap(), std::fs::read(&copy).unwrap());
    assert_eq!(View::open(&copy).unwrap().progress().unwrap(), whole);
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&copy).unwrap());
}

#[test]
fn a_copy_that_nobody_writes_to_is_read_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("50% of #1?.journal");
    build(&path, 1);
    let connection = connect(&path, Access::Immutable).unwrap();
    assert_eq!(schema::read_identity(&connection).unwrap().run_id, "0badcafe");
}

#[test]
fn the_rows_of_the_input_are_known_without_a_walk_through_the_entries() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.journal");
    let identity = Identity { extra_columns: Vec::new(), ..identity() };
    let mut builder = Builder::create(&path, &identity).unwrap();
    let fate = Fate::Fixed { outcome: Outcome::Invalid, code: "".into(), message: "".into() };
    for line in [2, 2, 3, 7, 7, 7] {
        builder.entry(EntryRef { line, cells: [""; 7], extras: &[], fate: &fate }).unwrap();
    }
    builder.finish().unwrap();
    let connection = Connection::open(&path).unwrap();
    connection.execute("DELETE FROM entries", []).unwrap();
    assert_eq!(View::open(&path).unwrap().input_rows().unwrap(), Some(3));
    connection.execute("DELETE FROM meta WHERE key = ?1", [schema::INPUT_ROWS]).unwrap();
    assert_eq!(View::open(&path).unwrap().input_rows().unwrap(), None);
}

#[tokio::test]
async fn results_name_what_is_known_of_each_row() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.journal");
    build(&path, 2);
    let store = Store::open(&path).unwrap();
    let handle = store.handle();
    handle.commit(vec![intent(1, 1, &[(1, &[0, 1]), (2, &[0])])]).await.unwrap();
    let listed = vec![(2, refusal("WKS.9"))];
    let mut still_bound = settled(1, &[1], Outcome::Failed);
    still_bound.result.code = "STILL_BOUND".to_owned();
    handle
        .commit(vec![
            Record::Answer(AnswerRecord { refused: listed, ..answer(1, AnswerKind::Answered) }),
            Record::Settled(settled(1, &[0, 1], Outcome::Detached)),
            Record::Settled(still_bound),
            intent(2, 2, &[(3, &[0])]),
            Record::Answer(AnswerRecord { code: "APIGW.0308".to_owned(), ..answer(2, AnswerKind::Throttled) }),
            intent(3, 2, &[(4, &[1])]),
        ])
        .await
        .unwrap();
    let rows = handle.with_view(|view| {
        let mut rows = Vec::new();
        view.for_each_result(|row| {
            let result = row.result;
            let words = [&result.code, &result.request_id, &result.part, &result.finished_at].map(String::as_str);
            rows.push(format!("{} {} {} {}", row.line, result.attempts, result.outcome, words.join(" ")));
            Ok(())
        })?;
        Ok::<_, Error>(rows)
    });
    let expected = [
        format!("2 1 detached  req 1 {AT}"),
        format!("3 1 failed STILL_BOUND req 1 {AT}"),
        format!("4 1 detached  req 1 {AT}"),
        "5 1 unknown WKS.9 req-1 1 ".to_owned(),
        "6 0 not_sent   1 ".to_owned(),
        "7 1 unknown WKS.9 req-1 1 ".to_owned(),
        format!("8 0 invalid INVALID_USER_MISSING   {AT}"),
        "9 0 not_sent APIGW.0308 req-2 2 ".to_owned(),
        "10 0 not_sent   2 ".to_owned(),
        "11 0 not_sent APIGW.0308 req-2 2 ".to_owned(),
        "12 0 not_sent   2 ".to_owned(),
        "13 1 unknown   2 ".to_owned(),
        "14 0 not_sent   2 ".to_owned(),
        format!("15 0 invalid INVALID_USER_MISSING   {AT}"),
    ];
    assert_eq!(rows.await.unwrap().unwrap(), expected);

    let items = handle.with_view(|view| {
        let mut items = Vec::new();
        view.for_each_item(|item, outcomes| {
            items.push((item.id, outcomes.to_vec()));
            Ok(())
        })?;
        Ok::<_, Error>(items)
    });
    let (unknown, not_sent) = (Outcome::Unknown, Outcome::NotSent);
    let expected = [
        (1, vec![Outcome::Detached, Outcome::Failed]),
        (2, vec![unknown, not_sent]),
        (3, vec![not_sent, not_sent]),
        (4, vec![not_sent, unknown]),
    ];
    assert_eq!(items.await.unwrap().unwrap(), expected);
}

#[tokio::test]
async fn what_rests_on_a_doubt_is_to_be_read_once_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.journal");
    build(&path, 1);
    let store = Store::open(&path).unwrap();
    let handle = store.handle();
    let mut doubtful = settled(1, &[0, 1], Outcome::Detached);
    doubtful.result.recheck = true;
    handle.commit(vec![Record::Settled(doubtful.clone())]).await.unwrap();
    handle.commit(vec![Record::Settled(settled(2, &[0, 1], Outcome::Detached))]).await.unwrap();
    assert!(!handle.resume().await.unwrap().progress.finished);
    // The last read decides otherwise for one of them.
    handle.commit(vec![Record::Settled(settled(1, &[1], Outcome::Failed))]).await.unwrap();
    let wanted = handle.rechecks().await.unwrap();
    assert_eq!(wanted.len(), 1);
    assert_eq!(wanted[0].1, [Settlement { slots: vec![0], ..doubtful }]);
    handle.commit(vec![Record::Rechecked { item: 1 }]).await.unwrap();
    let progress = handle.resume().await.unwrap().progress;
    assert!(progress.finished);
    let (detached, failed) = ((Outcome::Detached, 5), (Outcome::Failed, 1));
    assert_eq!(progress.outcomes, [detached, failed, (Outcome::Invalid, 1)].into());
}

#[test]
fn an_error_of_the_caller_comes_through_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.journal");
    build(&path, 1);
    let view = View::open(&path).unwrap();
    let mut seen = Vec::new();
    let stopped = view.for_each_result(|row| {
        seen.push(line(&row));
        Err(Error::Stopped("full".to_owned()))
    });
    assert!(matches!(stopped, Err(Error::Stopped(what)) if what == "full"));
    assert_eq!(seen.len(), 1);
}
