use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::config::Protected;
use crate::journal::{Fate, Identity, Item, Slot};
use crate::model::{Bound, Class, LiveDesktop, Outcome};
use crate::plan::{Draft as _, HashFacts, Policy, Snapshot};
use crate::reconcile::evidence::ReadSpan;
use crate::reconcile::undo::changed::Row;
use crate::reconcile::undo::doubts::Doubts;
use crate::testing::build::{self, id};

fn bound(name: &str) -> Bound {
    Bound { user_group: Some("sudo".to_owned()), ..build::bound(&format!("{name}#id-{name}")) }
}

fn slot(name: &str) -> Slot {
    let slot = build::slot(&format!("{name}#id-{name}"));
    Slot { user_group: Some("sudo".to_owned()), sent_group: Some("users".to_owned()), ..slot }
}

fn live(desktop: &str, kind: &str, who: &[Bound]) -> LiveDesktop {
    let live = build::live(desktop, &[]);
    LiveDesktop {
        desktop_type: kind.to_owned(),
        login_status: "CONNECTED".to_owned(),
        bound: Some(who.to_vec()),
        ..live
    }
}

fn look(desktops: &[LiveDesktop]) -> Snapshot {
    let desktops: HashMap<_, _> = desktops.iter().map(|desktop| (desktop.id.clone(), Some(desktop.clone()))).collect();
    Snapshot { desktops, ..Snapshot::default() }
}

/// Each desktop with its users, a row for each of them.
fn changed(class: Class, of: &[(&str, &[&str])]) -> Changed {
    let class_of_run = if class == Class::BatchAttach { Class::BatchDetach } else { Class::BatchAttach };
    let run = Identity { class: class_of_run, plan_hash: "0f".to_owned(), ..build::identity() };
    let journal = String::new();
    let mut made = Changed {
        journal,
        run,
        class,
        rows: Vec::new(),
        desktops: Vec::new(),
        beside: HashMap::new(),
        in_doubt: HashSet::new(),
        left: 0,
    };
    for (at, (desktop, users)) in of.iter().enumerate() {
        for (number, user) in users.iter().enumerate() {
            let cells = [desktop, "", user, "", "", "USER", ""].map(str::to_owned);
            let line = made.rows.len() as u64 + 2;
            made.rows.push(Row { line, cells, extras: Vec::new(), desktop: at, slot: number });
        }
        let slots = users.iter().map(|user| slot(user)).collect();
        made.desktops.push(Item { slots, ..build::item(0, desktop, &[]) });
    }
    made
}

fn words(changed: &Changed, look: &Snapshot, policy: &Policy) -> Vec<String> {
    let plan = UndoPlan::new(changed, look, &HashSet::new(), policy);
    plan.rows()
        .map(|(_, fate)| match fate {
            Fate::Send { item, slot } => format!("{item}.{slot}"),
            Fate::Fixed { outcome, code, .. } if code.is_empty() => outcome.to_string(),
            Fate::Fixed { code, .. } => code.to_string(),
        })
        .collect()
}

#[test]
fn each_row_of_an_undo_is_judged_against_who_is_bound_now() {
    let of: &[(&str, &[&str])] = &[
        ("d1", &["free"]),
        ("d2", &["back"]),
        ("d3", &["taken"]),
        ("d4", &["shared", "too"]),
        ("d5", &["gone"]),
        ("d6", &["name"]),
        ("d7", &["guarded"]),
    ];
    let changed = changed(Class::BatchAttach, of);
    let namesake = Bound { user_id: Some("another".to_owned()), ..bound("Name") };
    let look = look(&[
        live("d1", "DEDICATED", &[]),
        live("d2", "DEDICATED", &[bound("back")]),
        live("d3", "DEDICATED", &[bound("newcomer")]),
        live("d4", "SHARED", &[bound("newcomer")]),
        live("d6", "SHARED", &[namesake]),
        live("d7", "DEDICATED", &[]),
    ]);
    let policy = Policy { protect: Protected::new(["pc-d7"]).unwrap(), ..Policy::default() };
    let expected = [
        "1.0",
        "already_attached",
        "INVALID_TAKEN",
        "2.0",
        "2.1",
        "INVALID_DESKTOP_NOT_FOUND",
        "INVALID_ID_MISMATCH",
        "INVALID_PROTECTED",
    ];
    assert_eq!(words(&changed, &look, &policy), expected);
}

#[test]
fn p02_whom_the_run_could_not_detach_is_no_obstacle_to_the_undo_of_a_namesake_beside_him() {
    let mut changed = changed(Class::BatchAttach, &[("d1", &["sam"])]);
    let other = Bound { user_id: Some("another".to_owned()), ..bound("sam") };
    let look = look(&[live("d1", "DEDICATED", std::slice::from_ref(&other))]);
    assert_eq!(words(&changed, &look, &Policy::default()), ["INVALID_ID_MISMATCH"], "he came since");
    let beside = Slot { user_id: other.user_id, ..slot("sam") };
    changed.beside.insert(id("d1"), vec![beside]);
    assert_eq!(words(&changed, &look, &Policy::default()), ["1.0"]);
}

#[test]
fn p02_whoever_was_bound_beside_a_leaver_before_the_run_does_not_hold_the_desktop_now() {
    for shared in [false, true] {
        let mut changed = changed(Class::BatchAttach, &[("d1", &["leaver"])]);
        changed.desktops[0].shared = shared;
        let look = look(&[live("d1", "DEDICATED", &[bound("colleague")])]);
        let expected = if shared { "1.0" } else { "INVALID_TAKEN" };
        assert_eq!(words(&changed, &look, &Policy::default()), [expected]);
    }
}

#[test]
fn p02_an_undo_sends_nothing_for_a_desktop_that_does_not_tell_who_is_bound() {
    for class in [Class::BatchAttach, Class::BatchDetach] {
        let changed = changed(class, &[("d1", &["a"]), ("d2", &["b"])]);
        let untold = LiveDesktop { bound: None, ..live("d1", "SHARED", &[]) };
        let mut look = look(&[untold]);
        look.unreadable.insert(id("d2"), "WKS.1: no".to_owned());
        assert_eq!(words(&changed, &look, &Policy::default()), ["INVALID_DESKTOP_UNREADABLE"; 2]);
    }
}

#[test]
fn p02_what_a_busy_desktop_shows_is_no_row_s_end_in_an_undo() {
    for (class, who) in [(Class::BatchAttach, vec![bound("a")]), (Class::BatchDetach, Vec::new())] {
        let busy = LiveDesktop { attach_state: "ATTACHING".to_owned(), ..live("d1", "DEDICATED", &who) };
        assert_eq!(words(&changed(class, &[("d1", &["a"])]), &look(&[busy]), &Policy::default()), ["1.0"]);
    }
}

#[test]
fn p19_no_message_of_an_undo_names_anybody() {
    let changed =
        changed(Class::BatchAttach, &[("d1", &["secretive"]), ("d2", &["secretive"]), ("d3", &["secretive"])]);
    let namesake = Bound { user_id: Some("another".to_owned()), ..bound("secretive") };
    let look = look(&[live("d1", "DEDICATED", &[bound("newcomer")]), live("d2", "SHARED", &[namesake])]);
    let plan = UndoPlan::new(&changed, &look, &HashSet::new(), &Policy::default());
    let faults = plan.faults();
    assert_eq!(faults.len(), 3);
    assert!(faults.iter().all(|fault| !fault.message.contains("secretive") && !fault.message.contains("newcomer")));
}

#[test]
fn an_undo_of_an_undo_detaches_by_what_is_bound_now_and_never_a_namesake() {
    let changed =
        changed(Class::BatchDetach, &[("d1", &["ann"]), ("d2", &["ann"]), ("d3", &["ann"]), ("d4", &["ann"])]);
    let renamed = Bound { user_name: "ann.new".to_owned(), ..bound("ann") };
    let namesake = Bound { user_id: Some("another".to_owned()), ..bound("ann") };
    let look =
        look(&[live("d1", "DEDICATED", &[renamed]), live("d2", "SHARED", &[namesake]), live("d3", "SHARED", &[])]);
    let expected = ["1.0", "INVALID_ID_MISMATCH", "already_detached", "already_detached"];
    assert_eq!(words(&changed, &look, &Policy::default()), expected);
    let plan = UndoPlan::new(&changed, &look, &HashSet::new(), &Policy::default());
    let sent = &plan.items[0].slots[0];
    assert_eq!((sent.user_name.as_str(), sent.sent_group.as_deref(), sent.seen), ("ann.new", None, true));
    let skip = Policy { in_use_skip: true, ..Policy::default() };
    assert_eq!(words(&changed, &look, &skip)[0], "IN_USE");
}

#[test]
fn a_binding_without_its_group_or_from_a_run_that_did_not_look_is_not_attached() {
    let mut changed = changed(Class::BatchAttach, &[("d1", &["ann"]), ("d2", &["bob"])]);
    changed.desktops[0].slots[0].user_group = None;
    let look = look(&[live("d1", "DEDICATED", &[]), live("d2", "DEDICATED", &[])]);
    assert_eq!(words(&changed, &look, &Policy::default()), ["INVALID_NOTHING_KNOWN", "1.0"]);
    changed.run.preflight = false;
    assert_eq!(words(&changed, &look, &Policy::default()), ["INVALID_NOTHING_KNOWN"; 2]);
}

#[test]
fn p17_the_hash_covers_who_is_bound_and_not_the_power_state() {
    let changed = changed(Class::BatchAttach, &[("d1", &["ann"])]);
    let settings = BTreeMap::new();
    let facts = HashFacts { endpoint: "e", project: "p", settings: &settings };
    let hash = |desktop: LiveDesktop, facts| {
        UndoPlan::new(&changed, &look(&[desktop]), &HashSet::new(), &Policy::default())
            .write_requests(facts, &mut std::io::sink())
            .unwrap()
    };
    let free = live("d1", "SHARED", &[]);
    let off = LiveDesktop { status: "SHUTOFF".to_owned(), login_status: String::new(), ..free.clone() };
    assert_eq!(hash(free.clone(), facts), hash(off, facts));
    assert_ne!(hash(free.clone(), facts), hash(live("d1", "SHARED", &[bound("newcomer")]), facts));
    assert_ne!(hash(free.clone(), facts), hash(free, HashFacts { project: "q", ..facts }));
}

#[tokio::test(start_paused = true)]
async fn p02_a_doubt_is_settled_by_two_good_reads_and_still_bound_counts_only_after_the_wait() {
    let mut changed = changed(Class::BatchAttach, &[("d1", &["gone"]), ("d2", &["stays"])]);
    changed.in_doubt = HashSet::from([(0, 0), (1, 0)]);
    let (start, wait, apart) = (Instant::now(), Duration::from_secs(30), Duration::from_secs(5));
    let look = look(&[live("d1", "DEDICATED", &[]), live("d2", "DEDICATED", &[bound("stays")])]);
    let mut doubts = Doubts::new(&changed, start + wait, apart).unwrap();
    let mut see = |second: u64| {
        let at = start + Duration::from_secs(second);
        doubts.see(&look, ReadSpan { began: at, ended: at });
        doubts.questions().map_or(0, |questions| questions.ids.len())
    };
    let open: Vec<_> = [0, 5, 20, 30, 34, 35].into_iter().map(&mut see).collect();
    assert_eq!(open, [2, 1, 1, 1, 1, 0]);
    assert!(doubts.unsettled().is_empty());
}

#[test]
fn what_could_not_be_read_back_is_not_sent() {
    let changed = changed(Class::BatchAttach, &[("d1", &["ann", "bob"])]);
    let look = look(&[live("d1", "SHARED", &[])]);
    let plan = UndoPlan::new(&changed, &look, &HashSet::from([(0, 1)]), &Policy::default());
    let words: Vec<_> = plan.rows().map(|(_, fate)| fate.clone()).collect();
    assert_eq!(words[0], Fate::Send { item: 1, slot: 0 });
    assert!(matches!(&words[1], Fate::Fixed { outcome: Outcome::Invalid, code, .. } if code == "INVALID_UNSETTLED"));
    assert_eq!(plan.items[0].slots.len(), 1);
}
