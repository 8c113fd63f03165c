//! Values for tests, made from the few words that a test is about; the rest is filled in.
//!
//! People are written as the lists of this world are spoken of: `alice`, `alice#id`, `alice@domain`, `%group`.

use crate::journal::{Identity, Item, ItemId, Slot};
use crate::model::{Bound, Caller, Class, DesktopId, Kind, LiveDesktop};
use crate::sim::{Seat, World};

/// # Panics
/// For what is no id.
pub fn id(text: &str) -> DesktopId {
    DesktopId::parse(text).unwrap_or_else(|| panic!("`{text}` is no desktop's id"))
}

pub fn bound(who: &str) -> Bound {
    let (kind, text) = who.strip_prefix('%').map_or((Kind::User, who), |group| (Kind::Group, group));
    let (text, domain) = text.split_once('@').map_or((text, None), |(text, domain)| (text, Some(domain.to_owned())));
    let (name, id) = text.split_once('#').map_or((text, None), |(name, id)| (name, Some(id.to_owned())));
    Bound { kind, user_name: name.to_owned(), user_id: id, user_group: None, domain }
}

/// Somebody's place on a desktop without a name.
pub fn seat(desktop: &str, who: &str) -> Seat {
    Seat { desktop: id(desktop), name: String::new(), bound: bound(who) }
}

/// A world in which each desktop, named as its id in capitals, holds these people. `nobody` is known, and bound nowhere.
pub fn world(desktops: &[(&str, &[&str])]) -> World {
    let seats = desktops.iter().flat_map(|(desktop, people)| {
        people.iter().map(move |who| Seat { name: desktop.to_uppercase(), ..seat(desktop, who) })
    });
    let mut world = World::from_seats(seats, 1);
    world.introduce("nobody", "");
    world
}

/// A shared desktop that is on, named `PC-` and its id, as a good read tells it.
pub fn live(desktop: &str, who: &[&str]) -> LiveDesktop {
    LiveDesktop {
        id: id(desktop),
        name: format!("PC-{desktop}"),
        status: "ACTIVE".to_owned(),
        task_status: String::new(),
        attach_state: "ATTACHED".to_owned(),
        desktop_type: "SHARED".to_owned(),
        pool_id: None,
        login_status: "REGISTERED".to_owned(),
        frozen: false,
        in_maintenance: false,
        bound: Some(who.iter().map(|who| bound(who)).collect()),
    }
}

/// Somebody's binding as a plan sends it, seen bound before.
pub fn slot(who: &str) -> Slot {
    let Bound { kind, user_name, user_id, user_group, domain } = bound(who);
    Slot { kind, user_name, user_id, user_group, sent_group: None, domain, rows: 1, seen: true, has_namesake: false }
}

/// A desktop of the plan, seen, in a chunk of the same number as its own.
pub fn item(number: ItemId, desktop: &str, who: &[&str]) -> Item {
    Item {
        id: number,
        chunk: number,
        desktop: id(desktop),
        desktop_name: String::new(),
        pooled: false,
        all: false,
        slots: who.iter().map(|who| slot(who)).collect(),
        seen: true,
        shared: false,
    }
}

/// A run that detaches, of a list without other columns.
pub fn identity() -> Identity {
    Identity {
        run_id: "0badcafe".to_owned(),
        class: Class::BatchDetach,
        created_at: "2026-11-24T04:14:00Z".to_owned(),
        program_version: "0.1.0".to_owned(),
        operator: "ops".to_owned(),
        host: "jump-1".to_owned(),
        ticket: None,
        input_path: "leavers.csv".to_owned(),
        input_sha256: "00".repeat(32),
        plan_hash: "11".repeat(32),
        endpoint: "https://workspace.example.com".to_owned(),
        project_id: "p".to_owned(),
        region: None,
        caller: Caller::default(),
        plan_settings: [("on-invalid".to_owned(), "skip".to_owned())].into(),
        preflight: true,
        notes: Vec::new(),
        results_bom: false,
        extra_columns: Vec::new(),
        undo_of: None,
        canary_chunks: 0,
        warnings: Vec::new(),
        typed: None,
        still_access: false,
        missing_rows: 0,
    }
}
