//! How long is waited, and for what, by whoever looks at the service.

use std::time::Duration;

/// The settings of the same names.
#[derive(Debug, Clone, Copy)]
pub struct Waits {
    /// Before the first repeat of what failed; doubles.
    pub retry_base: Duration,
    /// Between the two reads of a proof.
    pub settle_time: Duration,
    /// What can't be read for so long stays unknown.
    pub read_back_deadline: Duration,
    /// A binding that a write may still change counts as unchanged only after so long.
    pub doubt_wait: Duration,
    /// Between two looks at what a write may have changed.
    pub poll_interval: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            retry_base: Duration::from_secs(1),
            settle_time: Duration::from_secs(5),
            read_back_deadline: Duration::from_secs(600),
            doubt_wait: Duration::from_secs(30),
            poll_interval: Duration::from_secs(5),
        }
    }
}
