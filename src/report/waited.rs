//! How long a run had to wait, and why: for the metrics.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::model::{Event, Observer};

/// The label of waits that a 429 asked for.
const THROTTLED: &str = "throttled";
/// The label of all other waits; their reasons are sentences, and would make a series each.
const OTHER: &str = "other";

/// Adds up the waits as they are announced. A clone shares the sums: one goes to the engine, one stays.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waited(Arc<Mutex<BTreeMap<&'static str, Duration>>>);

impl Waited {
    /// By reason, for [`crate::outcome::Metrics::waits`]; both reasons are always there.
    pub(crate) fn sums(&self) -> Vec<(String, Duration)> {
        let sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        [THROTTLED, OTHER].map(|reason| (reason.to_owned(), sums.get(reason).copied().unwrap_or_default())).to_vec()
    }
}

impl Observer for Waited {
    fn on_event(&mut self, event: &Event) {
        let (reason, wait) = match event {
            Event::Throttled { wait, .. } => (THROTTLED, *wait),
            Event::Waiting { wait, .. } => (OTHER, *wait),
            Event::Begun { .. }
            | Event::Sent { .. }
            | Event::Answered { .. }
            | Event::Settled { .. }
            | Event::Amended { .. }
            | Event::Paced { .. }
            | Event::Stopping { .. }
            | Event::Verifying { .. }
            | Event::Rechecking { .. } => return,
        };
        let mut sums = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = sums.entry(reason).or_default();
        *sum = sum.saturating_add(wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Class;

    #[test]
    fn waits_add_up_by_reason_and_the_kept_clone_sees_them() {
        let kept = Waited::default();
        let mut told = kept.clone();
        for seconds in [2, 3] {
            told.on_event(&Event::Throttled { class: Class::BatchDetach, wait: Duration::from_secs(seconds) });
        }
        told.on_event(&Event::Waiting { why: "no connection".to_owned(), wait: Duration::from_secs(30) });
        told.on_event(&Event::Verifying { open: 1 });
        let sums = [("throttled".to_owned(), Duration::from_secs(5)), ("other".to_owned(), Duration::from_secs(30))];
        assert_eq!(kept.sums(), sums);
    }
}
