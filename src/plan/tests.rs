//! The plan as a whole: every rule by a case, and what holds for every input.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::fixture::{account, desktop, input, knowing, snapshot, with_user, with_user_and_id};
use super::{
    Account, Bounds, Directory, Draft as _, HashFacts, Plan, Policy, Snapshot, Unlisted, detach_body, plan, questions,
};
use crate::input::Input;
use crate::journal::{Fate, Item, SlotNo};
use crate::model::{DesktopId, Kind, LiveDesktop, Outcome};

/// What each entry comes to: `1.1:0` is slot 0 of item 1 of chunk 1; a settled one is its code or outcome.
fn fates(plan: &Plan<'_>) -> Vec<String> {
    let chunks: HashMap<u32, u32> = plan.items().map(|item| (item.id, item.chunk)).collect();
    plan.entries()
        .map(|entry| match entry.fate() {
            Fate::Send { item, slot } => format!("{}.{item}:{slot}", chunks[&item]),
            Fate::Fixed { outcome, .. } if outcome.is_success() => outcome.to_string(),
            Fate::Fixed { code, .. } => code.into_owned(),
        })
        .collect()
}

fn bodies(plan: &Plan<'_>) -> Vec<String> {
    let mut out = Vec::new();
    let settings = BTreeMap::new();
    let hash = plan.write_requests(facts(&settings), &mut out).unwrap();
    assert_eq!(hash, plan.hash(facts(&settings)));
    String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
}

fn looked(csv: &str, seen: &Snapshot, policy: &Policy) -> (Vec<String>, Vec<String>) {
    let input = input(csv);
    let plan = plan(&input, Some(seen), policy);
    (fates(&plan), bodies(&plan))
}

fn message(csv: &str, seen: Option<&Snapshot>, policy: &Policy) -> (String, String) {
    let input = input(csv);
    let plan = plan(&input, seen, policy);
    let entry = plan.entries().next().unwrap();
    match entry.fate() {
        Fate::Fixed { code, message, .. } => (code.into_owned(), message.into_owned()),
        Fate::Send { .. } => panic!("it would be sent"),
    }
}

fn all_allowed() -> Policy {
    Policy { allow_detach_all: true, ..Policy::default() }
}

fn protecting(patterns: &[&str]) -> Policy {
    let patterns: Vec<_> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    Policy {
        protect: crate::config::Protected::new(patterns.iter().map(|pattern| &**pattern)).unwrap(),
        ..all_allowed()
    }
}

fn facts(settings: &BTreeMap<String, String>) -> HashFacts<'_> {
    HashFacts { endpoint: "https://workspace.example", project: "p1", settings }
}

/// The bodies that the engine makes from the journal's items.
fn remade(plan: &Plan<'_>) -> Vec<String> {
    let items: Vec<Item> = plan.items().collect();
    let mut out = Vec::new();
    (1..=plan.chunks().len())
        .map(|number| {
            let of: Vec<&Item> = items.iter().filter(|item| usize::try_from(item.chunk).unwrap() == number).collect();
            let slots: Vec<Vec<SlotNo>> =
                of.iter().map(|item| (0..SlotNo::try_from(item.slots.len()).unwrap()).collect()).collect();
            let carried: Vec<(&Item, &[SlotNo])> = of.into_iter().zip(slots.iter().map(Vec::as_slice)).collect();
            detach_body(&carried, &mut out);
            String::from_utf8(out.clone()).unwrap()
        })
        .collect()
}

#[test]
fn without_a_look_rows_go_out_as_given_by_desktop_in_first_seen_order() {
    let input = input(
        "desktop_id,user_name,user_id,user_group,type,domain\n\
         d2,alice,,,,\nd1,bob,7,sudo,user,corp\nd2,sales,,,GROUP,\nd2,alice,,,,\n",
    );
    let plan = plan(&input, None, &Policy::default());
    assert_eq!(fates(&plan), ["1.1:0", "1.2:0", "1.1:1", "1.1:0"]);
    assert_eq!(
        bodies(&plan),
        [
            r#"{"desktops":[{"desktop_id":"d2","is_detach_all_users":false,"detach_user_infos":[{"user_name":"alice","type":"USER"},{"user_name":"sales","type":"GROUP"}]},{"desktop_id":"d1","is_detach_all_users":false,"detach_user_infos":[{"user_id":"7","user_name":"bob","type":"USER","user_group":"sudo","domain":"corp"}]}]}"#
        ]
    );
    let item = plan.items().next().unwrap();
    assert_eq!(item.slots.iter().map(|slot| (slot.rows, slot.seen)).collect::<Vec<_>>(), [(2, false), (1, false)]);
    assert_eq!(plan.stats().duplicates, 1);
}

#[test]
fn without_a_look_rows_that_need_one_are_invalid() {
    let policy = all_allowed();
    for (csv, word) in [
        ("desktop_id,desktop_name,user_name,type\n,PC,alice,\n", "a desktop name"),
        ("desktop_id,desktop_name,user_name,type\n,,alice,\n", "without a desktop"),
        ("desktop_id,desktop_name,user_name,type\nd1,,,ALL\n", "type ALL"),
    ] {
        let (code, message) = message(csv, None, &policy);
        assert_eq!(code, "INVALID_NEEDS_PREFLIGHT");
        assert!(message.contains(word), "{message}");
    }
}

/// Found by fuzzing: the quick check of ids took what the slow one refuses, and such a plan broke as it was kept.
#[test]
fn an_id_of_dots_is_invalid_even_where_the_reader_lets_it_through() {
    let mut input = input("desktop_id,user_name\n.,alice\n..,bob\nd1,carol\n");
    assert_eq!(input.faults.iter().map(|fault| fault.code).collect::<Vec<_>>(), ["INVALID_DESKTOP_ID"; 2]);
    input.faults.clear();
    let seen = snapshot([desktop("d1", &["carol"])]);
    for look in [None, Some(&seen)] {
        let plan = plan(&input, look, &Policy::default());
        let codes: Vec<_> = plan.entries().map(|entry| entry.code()).collect();
        assert_eq!(codes, ["INVALID_DESKTOP_ID", "INVALID_DESKTOP_ID", ""]);
        assert_eq!(plan.items().count(), 1);
    }
}

#[test]
fn a_match_is_sent_as_the_service_spells_it_and_keeps_what_undo_needs() {
    let seen = snapshot([desktop("d1", &["Alice#7@Corp", "bob#8"])]);
    let input = input("desktop_id,user_name,user_group,note\nd1,ALICE,,x\nd1,bob,admins,\n");
    let plan = plan(&input, Some(&seen), &Policy::default());
    assert_eq!(
        bodies(&plan),
        [
            r#"{"desktops":[{"desktop_id":"d1","is_detach_all_users":false,"detach_user_infos":[{"user_id":"7","user_name":"Alice","type":"USER","domain":"Corp"},{"user_id":"8","user_name":"bob","type":"USER","user_group":"admins"}]}]}"#
        ]
    );
    let item = plan.items().next().unwrap();
    assert_eq!(item.slots[1].user_group.as_deref(), Some("users"));
    assert!(item.seen && item.slots[0].seen);
    let entry = plan.entries().next().unwrap().to_journal();
    assert_eq!(entry.cells, ["d1", "PC-d1", "ALICE", "7", "users", "USER", "Corp"]);
    assert_eq!(entry.extras, ["x"]);
    assert_eq!(remade(&plan), bodies(&plan));
}

#[test]
fn who_is_not_bound_is_already_detached_only_by_a_good_read() {
    let csv = "desktop_id,user_name\nd1,carol\n";
    let seen = knowing(snapshot([desktop("d1", &["alice#1"])]), &["carol"]);
    assert_eq!(looked(csv, &seen, &Policy::default()).0, ["already_detached"]);
    let busy = LiveDesktop { task_status: "rebooting".to_owned(), ..desktop("d1", &["alice#1"]) };
    assert_eq!(looked(csv, &snapshot([busy]), &Policy::default()).0, ["1.1:0"]);
    let untold = LiveDesktop { bound: None, ..desktop("d1", &[]) };
    assert_eq!(looked(csv, &snapshot([untold]), &Policy::default()).0, ["INVALID_DESKTOP_UNREADABLE"]);
}

#[test]
fn an_unknown_desktop_is_invalid() {
    let mut seen = snapshot([]);
    seen.desktops.insert(crate::model::DesktopId::parse("d9").unwrap(), None);
    for csv in ["desktop_id,user_name\nd9,a\n", "desktop_name,user_name\nPC,a\n"] {
        let (code, message) = message(csv, Some(&seen), &Policy::default());
        assert_eq!(code, "INVALID_DESKTOP_NOT_FOUND");
        assert!(message.contains("take the row out"), "{message}");
    }
}

#[test]
fn desktop_names_resolve_without_case_and_two_of_one_name_are_ambiguous() {
    let twin = |id: &str| LiveDesktop { name: "TWIN".to_owned(), ..desktop(id, &["a#1"]) };
    let seen = snapshot([desktop("d1", &["a#1"]), twin("d2"), twin("d3")]);
    let csv = "desktop_id,desktop_name,user_name\n,pc-D1,a\n,twin,a\nd2,Twin,a\nd1,twin,a\n";
    let (fates, _) = looked(csv, &seen, &Policy::default());
    assert_eq!(fates, ["1.1:0", "INVALID_DESKTOP_AMBIGUOUS", "1.2:0", "INVALID_DESKTOP_MISMATCH"]);
    let (_, message) = message("desktop_name,user_name\ntwin,a\n", Some(&seen), &Policy::default());
    assert!(message.contains("d2, d3"), "{message}");
}

#[test]
fn an_id_of_somebody_else_is_invalid_and_both_are_named() {
    let seen = snapshot([desktop("d1", &["alice#1", "bob#2"])]);
    let (code, words) = message("desktop_id,user_name,user_id\nd1,alice,2\n", Some(&seen), &Policy::default());
    assert_eq!(code, "INVALID_ID_MISMATCH");
    assert!(words.contains("`alice` is bound here with the id 1, not 2"), "{words}");
    let (code, words) = message("desktop_id,user_name,user_id\nd1,bobby,2\n", Some(&seen), &Policy::default());
    assert_eq!(code, "INVALID_ID_MISMATCH");
    assert!(words.contains("`bob`") && words.contains("`bobby`"), "{words}");
}

#[test]
fn a_name_in_two_domains_is_invalid_and_the_domains_are_named() {
    let seen = snapshot([desktop("d1", &["bob#1@east", "bob#2@west"])]);
    let (code, words) = message("desktop_id,user_name\nd1,bob\n", Some(&seen), &Policy::default());
    assert_eq!(code, "INVALID_AMBIGUOUS_USER");
    assert!(words.contains("east") && words.contains("west"), "{words}");
    let (fates, _) = looked("desktop_id,user_name,domain\nd1,bob,WEST\n", &seen, &Policy::default());
    assert_eq!(fates, ["1.1:0"]);
}

#[test]
fn a_namesake_who_stays_is_kept_in_mind_and_one_who_goes_too_is_not() {
    let seen =
        snapshot([desktop("d1", &["bob#1@east", "Bob#2@west", "bo#3", "bob#4"]), desktop("d2", &["bo#3", "bob#1"])]);
    let with = |csv: &str| {
        let input = input(csv);
        let policy = Policy { bounds: Bounds { max_users_per_desktop: 1, ..Bounds::default() }, ..Policy::default() };
        let policy = Policy { allow_detach_all: true, ..policy };
        let plan = plan(&input, Some(&seen), &policy);
        let slots: Vec<_> = plan.items().flat_map(|item| item.slots).collect();
        slots.iter().map(|slot| slot.has_namesake).collect::<Vec<_>>()
    };
    assert_eq!(with("desktop_id,user_name,user_id\nd1,bob,1\nd1,bo,3\nd2,bob,1\n"), [true, false, false]);
    assert_eq!(with("desktop_id,user_name,user_id\nd1,bob,1\nd1,bob,2\n"), [true, true], "one of them stays");
    assert_eq!(with("desktop_id,user_name,user_id\nd1,bob,1\nd1,bob,4\nd1,bob,2\n"), [false; 3]);
    assert_eq!(with("desktop_id,user_name,type\nd1,,ALL\n"), [false; 5]);
}

#[test]
fn p06_without_a_look_ids_that_differ_by_case_are_one_desktop() {
    let input = input("desktop_id,user_name\nD1,a\nd2,b\nd1,c\nD1,d\n");
    let plan = plan(&input, None, &Policy::default());
    let desktops: Vec<_> = plan.items().map(|item| (item.desktop.to_string(), item.slots.len())).collect();
    assert_eq!(desktops, [("D1".to_owned(), 3), ("d2".to_owned(), 1)]);
}

#[test]
fn p01_a_user_alone_gives_an_entry_for_each_desktop_and_at_least_one() {
    let seen = snapshot([desktop("d2", &["alice#1"]), desktop("d1", &["Alice#1", "x#3"]), desktop("d3", &["carol#4"])]);
    let seen = with_user(with_user(knowing(seen, &["nobody"]), Kind::User, "alice", ""), Kind::User, "nobody", "");
    let input = input("user_name\nalice\nnobody\n");
    let plan = plan(&input, Some(&seen), &Policy::default());
    assert_eq!(fates(&plan), ["1.1:0", "1.2:0", "already_detached"]);
    let desktops: Vec<_> = plan.entries().map(|entry| entry.desktop()).collect();
    assert_eq!(desktops, ["d1", "d2", ""]);
    let stats = plan.stats();
    assert_eq!((stats.rows, stats.entries), (2, 3));
}

#[test]
fn a_user_alone_in_two_domains_is_ambiguous_even_over_several_desktops() {
    let seen =
        snapshot([desktop("d1", &["bob#1@east"]), desktop("d2", &["bob#2@west"]), desktop("d3", &["BOB#1@east"])]);
    let seen = with_user_and_id(with_user(seen, Kind::User, "bob", ""), Kind::User, "bob", "1", "east");
    let seen = with_user_and_id(seen, Kind::User, "bob", "2", "");
    let (fates, bodies) = looked("user_name,domain\nbob,\n", &seen, &Policy::default());
    assert_eq!(fates, ["INVALID_AMBIGUOUS_USER"; 3]);
    assert!(bodies.is_empty());
    let (fates, _) = looked("user_name,domain,user_id\nbob,east,1\nbob,,2\n", &seen, &Policy::default());
    assert_eq!(fates, ["1.1:0", "1.2:0", "1.3:0"], "d1, d3, then d2");
}

#[test]
fn p05_all_needs_its_option_and_carries_everybody_who_was_bound() {
    let seen = knowing(snapshot([desktop("d1", &["a#1", "%g#2"]), desktop("d2", &[])]), &["zoe"]);
    let csv = "desktop_id,user_name,type\nd1,,ALL\nd1,a,\nd1,zoe,\nd2,,all\nd1,,ALL\n";
    let (refused, _) = looked(csv, &seen, &Policy::default());
    assert_eq!(refused[0], "INVALID_ALL_NOT_ALLOWED");
    let input = input(csv);
    let plan = plan(&input, Some(&seen), &all_allowed());
    assert_eq!(fates(&plan), ["1.1:0", "1.1:1", "already_detached", "already_detached", "1.1:0"]);
    assert_eq!(bodies(&plan), [r#"{"desktops":[{"desktop_id":"d1","is_detach_all_users":true}]}"#]);
    let item = plan.items().next().unwrap();
    let slots: Vec<_> = item.slots.iter().map(|slot| (slot.kind, slot.user_name.as_str(), slot.rows)).collect();
    assert_eq!(slots, [(Kind::All, "", 2), (Kind::User, "a", 1), (Kind::Group, "g", 0)]);
    assert!(item.all);
    assert_eq!(remade(&plan), bodies(&plan));
}

#[test]
fn p05_an_empty_user_is_never_everybody() {
    let mut input = input("desktop_id,user_name,type\nd1,,\nd1,,GROUP\n");
    for faults in [input.faults.clone(), Vec::new()] {
        input.faults = faults;
        let plan = plan(&input, None, &all_allowed());
        assert_eq!(fates(&plan), ["INVALID_USER_MISSING"; 2]);
        assert!(bodies(&plan).is_empty());
        assert_eq!(plan.faults().count(), 2);
    }
}

#[test]
fn p05_who_is_protected_by_one_of_his_names_is_not_sent_by_another() {
    let seen = snapshot([desktop("d1", &["boss#7", "bob#8"])]);
    for (csv, pattern) in [("user_name\nd1,boss\n", "7"), ("user_name,user_id\nd1,BOSS,7\n", "boss")] {
        let (fates, bodies) = looked(&format!("desktop_id,{csv}"), &seen, &protecting(&[pattern]));
        assert_eq!((fates, bodies), (vec!["INVALID_PROTECTED".to_owned()], Vec::new()), "{pattern}");
    }
}

#[test]
fn an_all_desktop_of_more_than_500_users_is_one_item() {
    let names: Vec<String> = (0..700).map(|n| format!("u{n}#{n}")).collect();
    let seen = snapshot([desktop("d1", &names.iter().map(String::as_str).collect::<Vec<_>>())]);
    let input = input("desktop_id,user_name,type\nd1,,ALL\n");
    let plan = plan(&input, Some(&seen), &all_allowed());
    let items: Vec<_> = plan.items().collect();
    assert_eq!((items.len(), items[0].slots.len()), (1, 701));
}

#[test]
fn p06_the_501st_user_of_a_desktop_goes_into_a_later_chunk() {
    use std::fmt::Write as _;
    let mut csv = "desktop_id,user_name\n".to_owned();
    for user in 0..501 {
        writeln!(csv, "d1,u{user}").unwrap();
    }
    csv.push_str("d2,x\n");
    let input = input(&csv);
    let plan = plan(&input, None, &Policy::default());
    let users: Vec<_> = plan.chunks().iter().map(|chunk| (chunk.number, chunk.desktops, chunk.users)).collect();
    assert_eq!(users, [(1, 2, 501), (2, 1, 1)]);
    let fates = fates(&plan);
    assert_eq!((fates[0].as_str(), fates[499].as_str(), fates[500].as_str()), ("1.1:0", "1.1:499", "2.3:0"));
}

#[test]
fn what_is_protected_is_invalid_by_whatever_name_it_is_found() {
    let seen = snapshot([desktop("d1", &["Boss#1", "a#2"]), desktop("d2", &["a#2"]), desktop("vip1", &["a#2"])]);
    let policy = protecting(&["boss", "VIP*", "pc-D2"]);
    let csv = "desktop_id,user_name,type\nd1,BOSS,\nd1,a,\nd1,,ALL\nd2,a,\nvip1,a,\n";
    let invalid = "INVALID_PROTECTED";
    assert_eq!(looked(csv, &seen, &policy).0, [invalid, "1.1:0", invalid, invalid, invalid]);
    let (_, words) = message("desktop_id,user_name,type\nd1,,ALL\n", Some(&seen), &policy);
    assert!(words.contains("`Boss`"), "{words}");
    assert_eq!(looked("desktop_id,user_name,type\nd1,BOSS,\n", &seen, &protecting(&["1"])).0, [invalid], "by the id");
}

#[test]
fn a_desktop_in_use_is_left_alone_where_the_setting_says_so() {
    let used = LiveDesktop { login_status: "CONNECTED".to_owned(), ..desktop("d1", &["a#1"]) };
    let seen = knowing(snapshot([used, desktop("d2", &["a#1"])]), &["zoe"]);
    let csv = "desktop_id,user_name\nd1,a\nd1,zoe\nd2,a\n";
    assert_eq!(looked(csv, &seen, &Policy::default()).0, ["1.1:0", "already_detached", "1.2:0"]);
    let input = input(csv);
    let plan = plan(&input, Some(&seen), &Policy { in_use_skip: true, ..Policy::default() });
    assert_eq!(fates(&plan), ["IN_USE", "already_detached", "1.1:0"]);
    let stats = plan.stats();
    assert_eq!((stats.left_out, stats.in_use, &*stats.in_use_named), (1, 1, &["PC-d1"][..]));
    assert_eq!(plan.entries().next().unwrap().outcome(), Outcome::NotSent);
}

#[test]
fn a_user_that_fits_no_request_is_invalid_and_the_others_go() {
    let input = input(&format!("desktop_id,user_name\nd1,a\nd1,{}\nd1,b\nd1,a\n", "x".repeat(60)));
    let bounds = Bounds { max_bytes: 130, ..Bounds::default() };
    let plan = plan(&input, None, &Policy { bounds, ..Policy::default() });
    assert_eq!(fates(&plan), ["1.1:0", "INVALID_TOO_LARGE", "2.2:0", "1.1:0"]);
    assert!(plan.chunks().iter().all(|chunk| chunk.bytes <= 130));
    assert_eq!(remade(&plan), bodies(&plan));
}

#[test]
fn guards_name_the_number_the_limit_and_the_option() {
    let mut seen = snapshot([desktop("d1", &["a#1"]), desktop("d2", &["a#1"])]);
    let input = input("desktop_id,user_name\nd1,a\nd2,a\n");
    let judge = |seen: &Snapshot, policy: Policy| plan(&input, Some(seen), &policy).guard(&policy);
    let most = |max_desktops| Policy { max_desktops: Some(max_desktops), ..Policy::default() };
    assert!(judge(&seen, most(2)).is_ok());
    let words = judge(&seen, most(1)).unwrap_err();
    assert!(words.contains("2 desktops") && words.contains("--max-desktops allows 1"), "{words}");
    let share = |percent: f64| Policy {
        max_percent: crate::config::Percent::read(&percent.to_string()).ok(),
        ..Policy::default()
    };
    assert!(judge(&seen, share(100.0)).unwrap_err().contains("not known"));
    seen.assigned_desktops = Some(6);
    let words = judge(&seen, share(30.0)).unwrap_err();
    assert!(words.contains("2 of 6") && words.contains("33.3 %") && words.contains("--max-percent"), "{words}");
    assert!(judge(&seen, share(33.4)).is_ok());
}

#[test]
fn stats_tell_the_side_effects() {
    let of = |id: &str, who: &[&str], status: &str, kind: &str| LiveDesktop {
        status: status.to_owned(),
        desktop_type: kind.to_owned(),
        ..desktop(id, who)
    };
    let seen = snapshot([
        of("d1", &["a#1"], "ACTIVE", "DEDICATED"),
        of("d2", &["a#1", "%g#2"], "SHUTOFF", "SHARED"),
        of("d3", &["a#1"], "ACTIVE", "POOLED"),
        of("d4", &["a#1", "b#2"], "HIBERNATED", "SHARED"),
    ]);
    let input = input("desktop_id,user_name\nd1,a\nd2,a\nd3,a\nd4,a\nd9,a\nd4,alicee\n");
    let plan = plan(&input, Some(&seen), &Policy { unknown_is_gone: true, ..Policy::default() });
    let stats = plan.stats();
    assert_eq!((stats.desktops, stats.shut_down, stats.started, stats.pooled), (4, 1, 1, 1));
    assert_eq!((stats.left_with_nobody, stats.group_stays, stats.hibernated), (2, 1, 1));
    assert_eq!((stats.unknown_desktops, stats.unknown_named.as_slice()), (1, &["d9"][..]));
    assert_eq!((stats.chunks, stats.to_send(), stats.already_detached, stats.invalid_total()), (2, 4, 1, 1));
    assert!(stats.hints[0].unknown_user);
}

#[test]
fn a_row_of_a_user_alone_who_was_renamed_is_invalid_by_his_id() {
    let world = || snapshot([desktop("d1", &["alice.new#7"]), desktop("d2", &["bob#8"])]);
    let seen = with_user_and_id(world(), Kind::User, "alice", "7", "");
    let input = input("user_name,user_id\nalice,7\n");
    let plan = plan(&input, Some(&seen), &Policy::default());
    let entry = plan.entries().next().unwrap();
    assert_eq!((entry.outcome(), entry.code(), entry.desktop()), (Outcome::Invalid, "INVALID_ID_MISMATCH", "d1"));
}

#[test]
fn frozen_desktops_and_those_in_maintenance_are_counted_and_named() {
    let frozen = LiveDesktop { frozen: true, ..desktop("d1", &["a#1"]) };
    let kept = LiveDesktop { in_maintenance: true, ..desktop("d2", &["b#2"]) };
    let seen = snapshot([frozen, kept, desktop("d3", &["c#3"])]);
    let input = input("desktop_id,user_name\nd1,a\nd2,b\nd3,c\n");
    let plan = plan(&input, Some(&seen), &Policy::default());
    let stats = plan.stats();
    assert_eq!((stats.frozen, stats.in_maintenance, stats.stuck), (1, 1, 2));
    assert_eq!(stats.stuck_named, ["PC-d1", "PC-d2"]);
}

#[test]
fn a_near_name_on_the_desktop_is_hinted_at() {
    let seen = knowing(snapshot([desktop("d1", &["alice.li#1"])]), &["alice.lee"]);
    let input = input("desktop_id,user_name\nd1,alice.lee\n");
    let plan = plan(&input, Some(&seen), &Policy::default());
    assert_eq!(plan.stats().hints[0].nearest, Some("alice.li"));
}

#[test]
fn a_name_that_is_bound_in_another_domain_is_hinted_at() {
    let seen = snapshot([desktop("d1", &["alice#1@corp.local"])]);
    let input = input("desktop_id,user_name,domain\nd1,alice,corp\n");
    let plan = plan(&input, Some(&seen), &Policy::default());
    assert_eq!(fates(&plan), ["already_detached"]);
    assert_eq!(plan.stats().hints[0].other_domain, Some("corp.local"));
}

#[test]
fn p17_the_hash_covers_fates_and_bindings_but_not_power_or_sessions() {
    let csv = "desktop_id,user_name\nd1,a\n";
    let input = input(csv);
    let settings = BTreeMap::new();
    let hash = |live: LiveDesktop| plan(&input, Some(&snapshot([live])), &Policy::default()).hash(facts(&settings));
    let base = hash(desktop("d1", &["a#1", "b#2"]));
    assert_eq!(hash(desktop("d1", &["b#2", "a#1"])), base, "the order of a list says nothing");
    let off = LiveDesktop {
        status: "SHUTOFF".to_owned(),
        login_status: "CONNECTED".to_owned(),
        ..desktop("d1", &["a#1", "b#2"])
    };
    assert_eq!(hash(off), base);
    assert_ne!(hash(desktop("d1", &["a#1", "b#2", "c#3"])), base, "one more is bound");
    assert_ne!(hash(desktop("d1", &["a#1", "b#3"])), base);
    let seen = snapshot([desktop("d1", &["a#1", "b#2"])]);
    let plan = plan(&input, Some(&seen), &Policy::default());
    let other = HashFacts { project: "p2", ..facts(&settings) };
    assert_ne!(plan.hash(other), base);
    let more = BTreeMap::from([("canary".to_owned(), "3".to_owned())]);
    assert_ne!(plan.hash(facts(&more)), base);
}

/// An input and a world for it: few names, so that they meet.
fn worlds() -> impl Strategy<Value = (String, Vec<LiveDesktop>)> {
    let user = || prop::sample::select(vec!["ann", "Ann", "bob", "cara", "王伟", "d\"q", "eve"]);
    let row = (0usize..9, user(), prop::sample::select(vec!["", "", "", "GROUP", "ALL"]), prop::bool::weighted(0.1));
    let who = prop::collection::vec((user(), 0u8..3, any::<bool>()), 0..6);
    let shape = (prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.1), who);
    (prop::collection::vec(row, 1..120), prop::collection::vec(shape, 7)).prop_map(|(rows, shapes)| {
        use std::fmt::Write as _;
        let mut csv = "desktop_id,user_name,type\n".to_owned();
        for (desk, user, kind, alone) in rows {
            let desk = if alone { String::new() } else { format!("d{desk}") };
            let user = if kind == "ALL" { "" } else { user };
            writeln!(csv, "{desk},\"{}\",{kind}", user.replace('"', "\"\"")).unwrap();
        }
        let world = shapes.into_iter().enumerate().map(|(at, (pooled, busy, untold, who))| {
            let names: Vec<String> = who
                .iter()
                .enumerate()
                .map(|(n, (name, domain, group))| format!("{}{name}#{n}@{domain}", if *group { "%" } else { "" }))
                .collect();
            let mut live = desktop(&format!("d{at}"), &names.iter().map(String::as_str).collect::<Vec<_>>());
            live.desktop_type = if pooled { "POOLED" } else { "SHARED" }.to_owned();
            live.task_status = if busy { "rebooting" } else { "" }.to_owned();
            live.bound = live.bound.filter(|_| !untold);
            live
        });
        (csv, world.collect())
    })
}

fn seen_for(world: Vec<LiveDesktop>) -> Snapshot {
    let mut seen = snapshot(world);
    for name in ["ann", "Ann", "bob", "cara", "王伟", "d\"q", "eve"] {
        for kind in [Kind::User, Kind::Group] {
            seen = with_user(seen, kind, name, "");
        }
    }
    seen
}

fn check_conservation(input: &Input, plan: &Plan<'_>, bounds: &Bounds) -> Result<(), TestCaseError> {
    let items: Vec<Item> = plan.items().collect();
    // Each entry has one fate, and each slot counts the entries that point at it.
    let mut rows: HashMap<(u32, u16), u32> = HashMap::new();
    for entry in plan.entries() {
        match entry.fate() {
            Fate::Send { item, slot } => *rows.entry((item, slot)).or_default() += 1,
            Fate::Fixed { outcome, .. } => prop_assert_ne!(outcome, Outcome::Planned),
        }
    }
    let lines: Vec<u64> = plan.entries().map(|entry| entry.line()).collect();
    prop_assert!(lines.is_sorted());
    let mut unique = lines.clone();
    unique.dedup();
    prop_assert_eq!(unique.len(), input.table.len());
    let mut bindings = HashMap::new();
    for item in &items {
        prop_assert!(!item.slots.is_empty());
        for (slot, no) in item.slots.iter().zip(0u16..) {
            prop_assert_eq!(slot.rows, rows.remove(&(item.id, no)).unwrap_or(0));
            prop_assert!(slot.rows > 0 || item.all);
            prop_assert!(slot.kind != Kind::All || item.all);
            let key =
                (item.desktop.clone(), slot.kind, slot.user_name.clone(), slot.user_id.clone(), slot.domain.clone());
            prop_assert!(bindings.insert(key, item.chunk).is_none(), "a binding goes out once");
        }
    }
    prop_assert!(rows.is_empty());
    // All bounds, exact bytes, no desktop twice in a chunk, pools apart, chunks in order.
    let bodies = bodies(plan);
    prop_assert_eq!(&remade(plan), &bodies);
    for ((chunk, body), number) in plan.chunks().iter().zip(&bodies).zip(1..) {
        let of: Vec<&Item> = items.iter().filter(|item| item.chunk == number).collect();
        prop_assert_eq!((chunk.number, chunk.desktops, chunk.bytes), (number, of.len(), body.len()));
        let users: usize = of.iter().filter(|item| !item.all).map(|item| item.slots.len()).sum();
        prop_assert_eq!(chunk.users, users);
        prop_assert!(chunk.desktops <= bounds.max_desktops && chunk.users <= bounds.max_users);
        prop_assert!(chunk.bytes <= bounds.max_bytes);
        prop_assert!(of.iter().all(|item| item.pooled == of[0].pooled));
        let mut desktops: Vec<_> = of.iter().map(|item| &item.desktop).collect();
        desktops.sort();
        desktops.dedup();
        prop_assert_eq!(desktops.len(), of.len());
    }
    prop_assert!(items.is_sorted_by_key(|item| item.chunk));
    Ok(())
}

proptest! {
    #[test]
    fn p01_p05_p06_bindings_are_partitioned_within_all_bounds(
        (csv, world) in worlds(), desktops in 1usize..4, users in 1usize..5, per_desktop in 1usize..4, bytes in 150usize..600,
        canary in prop::option::of(0u32..4), look: bool,
    ) {
        let input = input(&csv);
        let seen = seen_for(world);
        let bounds =
            Bounds { max_desktops: desktops, max_users: users, max_users_per_desktop: per_desktop, max_bytes: bytes };
        let policy = Policy { bounds, canary, ..all_allowed() };
        let made = plan(&input, look.then_some(&seen), &policy);
        check_conservation(&input, &made, &bounds)?;
        let canary_desktops: std::collections::HashSet<_> = made
            .items()
            .filter(|item| usize::try_from(item.chunk).unwrap() <= made.canary_chunks())
            .map(|item| item.desktop)
            .collect();
        let wanted = u64::from(canary.unwrap_or(0)).min(made.stats().desktops);
        prop_assert_eq!(u64::try_from(canary_desktops.len()).unwrap(), wanted);
        for item in made.items().filter(|item| usize::try_from(item.chunk).unwrap() > made.canary_chunks()) {
            prop_assert!(!canary_desktops.contains(&item.desktop), "all parts of a canary desktop are the canary's");
        }
        let stats = made.stats();
        prop_assert_eq!(stats.entries, stats.to_send() + stats.already_detached + stats.invalid_total() + stats.left_out);
        made.guard(&policy).unwrap();
    }

    #[test]
    fn p17_the_same_input_and_answers_give_the_same_bytes((csv, world) in worlds()) {
        let settings = BTreeMap::new();
        let make = || {
            let (input, seen) = (input(&csv), seen_for(world.clone()));
            let made = plan(&input, Some(&seen), &all_allowed());
            (fates(&made), bodies(&made), made.hash(facts(&settings)), format!("{:?}", made.stats()))
        };
        prop_assert_eq!(make(), make());
    }
}

#[test]
fn p02_a_desktop_that_is_not_told_is_the_fault_of_its_rows_alone() {
    let mut untold = desktop("d2", &[]);
    untold.bound = None;
    let mut seen = snapshot([desktop("d1", &["alice"]), untold]);
    let refused = DesktopId::parse("d3").unwrap();
    seen.unreadable.insert(refused, "WKS.1: not yours".to_owned());
    let input = input("desktop_id,user_name\nd1,alice\nd2,alice\nd3,alice\n");
    let made = plan(&input, Some(&seen), &Policy::default());
    let codes: Vec<_> = made.faults().map(|fault| (fault.line, fault.code)).collect();
    assert_eq!(codes, [(3, "INVALID_DESKTOP_UNREADABLE"), (4, "INVALID_DESKTOP_UNREADABLE")]);
    assert!(made.faults().any(|fault| fault.message.contains("WKS.1: not yours")));
    assert_eq!(made.stats().bindings, 1);
}

#[test]
fn p06_two_spellings_of_one_id_are_one_desktop_and_sent_as_the_service_spells_it() {
    for csv in ["D1,alice\nd1,bob\n", "d1,bob\nD1,alice\n", "D1,alice\n"] {
        let mut seen = snapshot([desktop("d1", &["alice", "bob"])]);
        seen.spelled.insert(DesktopId::parse("D1").unwrap(), DesktopId::parse("d1").unwrap());
        let input = input(&format!("desktop_id,user_name\n{csv}"));
        let made = plan(&input, Some(&seen), &Policy::default());
        let items: Vec<_> = made.items().collect();
        assert_eq!((items.len(), items[0].desktop.as_str()), (1, "d1"), "{csv}");
        assert_eq!(items[0].slots.len(), csv.lines().count());
    }
}

#[test]
fn a_group_is_found_however_the_service_spells_its_kind_and_sent_in_that_spelling() {
    let mut live = desktop("d1", &["%sales"]);
    for one in live.bound.iter_mut().flatten() {
        one.kind = Kind::UserGroup;
    }
    let input = input("desktop_id,user_name,type\nd1,sales,GROUP\nd1,sales,USER\n");
    let seen = snapshot([live]);
    let made = plan(&input, Some(&seen), &Policy::default());
    assert_eq!(fates(&made), ["1.1:0", "INVALID_USER_UNKNOWN"], "a user of that name is somebody else");
    assert!(bodies(&made)[0].contains(r#""type":"USER_GROUP""#), "{:?}", bodies(&made));
    assert_eq!(remade(&made), bodies(&made), "by the journal, too");
}

#[test]
fn p21_what_the_service_calls_a_desktop_never_spoils_the_results_as_an_input() {
    for name in ["PC\t01", &"x".repeat(300), "PC\u{202e}", " PC", "#N/A"] {
        let live = LiveDesktop { name: name.to_owned(), ..desktop("d1", &["ann#1"]) };
        let (input, seen) = (input("desktop_id,user_name\nd1,ann\n"), snapshot([live]));
        let made = plan(&input, Some(&seen), &Policy::default());
        assert_eq!(made.entries().next().unwrap().cells()[1], "", "{name:?}");
    }
}

const GONE: fn() -> Policy = || Policy { unknown_is_gone: true, ..Policy::default() };

#[test]
fn unknown_is_not_gone_unless_that_is_said() {
    let seen = knowing(snapshot([desktop("d1", &["ann#1", "%staff#9"]), desktop("d2", &["bob#2"])]), &["cara"]);
    let csv = "desktop_id,user_name,type\nd1,bob,\nd1,cara,\nd1,an,\nd2,staff,GROUP\nd2,stuff,GROUP\nd2,ann@corp.com,\nd2,CORP\\ann,\n";
    let invalid = "INVALID_USER_UNKNOWN";
    let gone = "already_detached";
    assert_eq!(looked(csv, &seen, &Policy::default()).0, [gone, gone, invalid, gone, invalid, invalid, invalid]);
    let input = input(csv);
    let plan = plan(&input, Some(&seen), &GONE());
    // An address is no name that was ever known: nobody is gone for not being known so.
    assert_eq!(fates(&plan), [gone, gone, gone, gone, gone, invalid, invalid]);
    let words = |at: usize| match plan.entries().nth(at).unwrap().fate() {
        Fate::Fixed { code, message, .. } => (code.into_owned(), message.into_owned()),
        Fate::Send { .. } => unreachable!("nobody is bound"),
    };
    assert_eq!([0, 2, 4].map(|at| words(at).0), ["", "DOUBT_UNKNOWN_USER", "DOUBT_UNKNOWN_USER"]);
    assert!(words(4).1.contains("no user group of this name; the nearest name is `staff`"), "{:?}", words(4));
    assert!(words(5).1.contains("`user_email`") && words(6).1.contains("`ann`"), "{:?}", words(6));
}

#[test]
fn who_is_bound_nowhere_is_not_known_to_be_gone_where_the_users_were_not_read() {
    let seen =
        Snapshot { users: None, groups: None, ..snapshot([desktop("d1", &["ann#1", "%staff#9"]), desktop("d2", &[])]) };
    let input = input("desktop_id,user_name,type\nd2,ann,\nd2,bob,\nd2,cara,\nd2,stuff,GROUP\n");
    let made = plan(&input, Some(&seen), &Policy::default());
    assert_eq!(made.unlisted(), Unlisted { users: 2, groups: 1 });
    let made = plan(&input, Some(&seen), &GONE());
    let codes: Vec<_> = made.entries().map(|entry| entry.code()).collect();
    let doubt = "DOUBT_UNKNOWN_USER";
    assert_eq!(codes, ["", doubt, doubt, doubt], "ann is seen elsewhere");
}

#[test]
fn a_name_and_an_id_of_two_people_are_no_proof_that_one_is_gone() {
    let seen = snapshot([desktop("d1", &["ann#1"]), desktop("d2", &["bob#2"])]);
    let csv = "desktop_id,user_name,user_id\nd2,ann,1\nd2,ann,2\nd2,ann,7\nd2,zoe,1\nd2,zoe,7\n";
    let (mismatch, unknown) = ("INVALID_ID_MISMATCH", "INVALID_USER_UNKNOWN");
    assert_eq!(looked(csv, &seen, &Policy::default()).0, ["already_detached", mismatch, mismatch, mismatch, unknown]);
}

#[test]
fn an_address_names_the_one_user_who_has_it() {
    let mut seen = snapshot([desktop("d1", &["ann#1", "bob#2"]), desktop("d2", &["bob#2"])]);
    let account = |name: &str, id: &str, email: &str| Account { email: email.to_owned(), ..account(name, id) };
    let users =
        [account("ann", "1", "Ann@corp.com"), account("bob", "2", "b@corp.com"), account("b2", "3", "B@corp.com")];
    seen.users = Some(Directory::new(users.to_vec()));
    let csv = "desktop_id,user_name,email\nd1,,ann@corp.com\nd1,ANN,ann@corp.com\nd1,bob,ann@corp.com\nd1,,b@corp.com\n\
               d1,,who@corp.com\nd1,bob,who@corp.com\nd2,, ann@CORP.com\n";
    let (other, several, unknown) = ("INVALID_ID_MISMATCH", "INVALID_AMBIGUOUS_USER", "INVALID_USER_UNKNOWN");
    let (of_rows, bodies) = looked(csv, &seen, &Policy::default());
    assert_eq!(of_rows, ["1.1:0", "1.1:0", other, several, unknown, unknown, "already_detached"]);
    assert!(bodies.len() == 1 && bodies[0].contains(r#""user_name":"ann""#) && !bodies[0].contains('@'), "{bodies:?}");
    let input = input("email,user_id\nann@corp.com,\n");
    let asked = questions(&input, &Policy::default(), seen.users.as_ref());
    assert_eq!((asked.users[0].name.as_str(), asked.users[0].id.as_str()), ("ann", "1"));
    let seen = with_user_and_id(seen, Kind::User, "ann", "1", "");
    let plan = plan(&input, Some(&seen), &protecting(&["ann@*"]));
    assert_eq!(fates(&plan), ["INVALID_PROTECTED"]);
}
