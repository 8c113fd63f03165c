//! One desktop, `d`, for the tests of what reads prove.

use crate::journal::Item;
use crate::model::LiveDesktop;
use crate::testing::build::{self, live};
pub(crate) use crate::testing::build::{bound, slot};

pub(crate) fn item(names: &[&str]) -> Item {
    build::item(1, "d", names)
}

/// * `task`: what runs on it; empty for a good read.
pub(crate) fn desktop(names: &[&str], task: &str) -> LiveDesktop {
    LiveDesktop { task_status: task.to_owned(), ..live("d", names) }
}
