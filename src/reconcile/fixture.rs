//! Bindings and desktops for the tests of what reads prove.

use crate::journal::{Item, Slot};
use crate::model::{Bound, DesktopId, Kind, LiveDesktop};

pub(crate) fn slot(name: &str) -> Slot {
    Slot {
        kind: Kind::User,
        user_name: name.to_owned(),
        user_id: None,
        user_group: None,
        sent_group: None,
        domain: None,
        rows: 1,
        seen: true,
        has_namesake: false,
    }
}

pub(crate) fn item(names: &[&str]) -> Item {
    Item {
        id: 1,
        chunk: 1,
        desktop: DesktopId::parse("d").unwrap(),
        desktop_name: String::new(),
        pooled: false,
        all: false,
        slots: names.iter().map(|name| slot(name)).collect(),
        seen: true,
        shared: false,
    }
}

pub(crate) fn bound(name: &str) -> Bound {
    Bound { kind: Kind::User, user_name: name.to_owned(), user_id: None, user_group: None, domain: None }
}

/// * `task`: what runs on it; empty for a good read.
pub(crate) fn desktop(names: &[&str], task: &str) -> LiveDesktop {
    LiveDesktop {
        id: DesktopId::parse("d").unwrap(),
        name: String::new(),
        status: "ACTIVE".to_owned(),
        task_status: task.to_owned(),
        attach_state: String::new(),
        desktop_type: "SHARED".to_owned(),
        pool_id: None,
        login_status: String::new(),
        frozen: false,
        in_maintenance: false,
        bound: Some(names.iter().map(|name| bound(name)).collect()),
    }
}
