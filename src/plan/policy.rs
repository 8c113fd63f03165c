//! What the settings say about which rows may be sent, and how much one request may carry.

use crate::config::{Percent, Protected};

/// The settings that shape a plan, checked.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// `--allow-detach-all`.
    pub allow_detach_all: bool,
    /// `--protect`.
    pub protect: Protected,
    /// `--unknown-users gone`: whom the service does not know counts as gone.
    pub unknown_is_gone: bool,
    /// `--in-use skip`.
    pub in_use_skip: bool,
    /// The bounds of a request.
    pub bounds: Bounds,
    /// `--canary`: this many desktops go first, in requests of their own.
    pub canary: Option<u32>,
    /// `--max-desktops`: desktops that the plan may touch.
    pub max_desktops: Option<u64>,
    /// `--max-percent`: their share of the project's assigned desktops, a percentage.
    pub max_percent: Option<Percent>,
}

/// How much one request may carry. Source: API definition, `BatchDetachInstances`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Desktops, from 1.
    pub max_desktops: usize,
    /// Users and groups over all desktops, from 1.
    pub max_users: usize,
    /// Users and groups of one desktop, from 1; the rest of it follows in later requests.
    pub max_users_per_desktop: usize,
    /// Bytes of the whole JSON body.
    pub max_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { max_desktops: 100, max_users: 5_000, max_users_per_desktop: 500, max_bytes: 1 << 20 }
    }
}
