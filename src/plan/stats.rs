//! What a plan comes to, in numbers.

use std::collections::BTreeMap;

use super::hints::Hint;

/// Counts of a plan. The `…_named` lists hold the first few of what is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PlanStats<'t> {
    pub rows: u64,
    /// Records of the results: more than rows where a user alone was named who holds several desktops.
    pub entries: u64,
    /// Entries to be sent, by the row's type.
    pub send_users: u64,
    pub send_groups: u64,
    pub send_all: u64,
    /// Bindings that requests name; an `ALL` is one.
    pub bindings: u64,
    /// Entries to be sent that share an earlier one's binding.
    pub duplicates: u64,
    pub already_detached: u64,
    /// Entries that can't be sent, by code.
    pub invalid: BTreeMap<&'static str, u64>,
    /// Entries whose day is still to come.
    pub not_due: u64,
    /// Entries that a setting leaves out.
    pub left_out: u64,
    /// Desktops that the service does not know, by the id or name that rows give.
    pub unknown_desktops: u64,
    pub unknown_named: Vec<&'t str>,
    /// Desktops touched.
    pub desktops: u64,
    /// Desktops with a connected session: touched, or left out for it.
    pub in_use: u64,
    pub in_use_named: Vec<&'t str>,
    /// Of those: left out for it.
    pub in_use_left_out: u64,
    /// Of those touched: hibernated ones, which the service may not unbind.
    pub hibernated: u64,
    /// Of those touched: in the state `ERROR`.
    pub in_error: u64,
    /// Of those touched: frozen by the service.
    pub frozen: u64,
    /// Of those touched: in maintenance mode.
    pub in_maintenance: u64,
    /// Names of those that are hibernated, in `ERROR`, frozen or in maintenance: what the service may refuse.
    pub stuck_named: Vec<&'t str>,
    /// How many there are of those.
    pub stuck: u64,
    /// Of those touched: with a task, or another change of bindings, under way.
    pub busy: u64,
    /// Of those touched: single-user desktops that are on; unbinding shuts them down at once.
    pub shut_down: u64,
    /// Of those touched: shared desktops that are off; unbinding starts them.
    pub started: u64,
    /// Of those touched: desktops of a pool.
    pub pooled: u64,
    /// Of those touched: their last binding goes.
    pub left_with_nobody: u64,
    /// Of those touched: a group stays bound.
    pub group_stays: u64,
    pub chunks: u64,
    pub canary_chunks: u64,
    /// Of all bodies together.
    pub bytes: u64,
    /// What rows that are taken as already detached may have meant; the first 20.
    pub hints: Vec<Hint<'t>>,
}

impl PlanStats<'_> {
    /// Entries to be sent.
    pub fn to_send(&self) -> u64 {
        self.send_users + self.send_groups + self.send_all
    }

    /// Entries that can't be sent.
    pub fn invalid_total(&self) -> u64 {
        self.invalid.values().sum()
    }
}
