//! Every event as a record of the log: JSON lines where `--log-format json` is set.
//!
//! Events hold no names of users, so these records have none either (P19).

use tracing::{debug, info, warn};

use crate::model::{Event, Observer};
use crate::outcome::results::safe;

/// Turns events into records: what an operator should see is `info`, every single request `debug`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Records;

impl Observer for Records {
    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Begun { rows, settled, chunks, chunks_open, ceiling_per_s, resumed } => {
                info!(event = "begun", rows, settled, chunks, chunks_open, ceiling_per_s, resumed, "begins to send");
            }
            Event::Sent { part, desktops, users } => {
                debug!(event = "sent", chunk = %part, desktops, users, "request sent");
            }
            Event::Answered { part, kind, status, code, took } => {
                let (code, took_s) = (safe(code), took.as_secs_f64());
                debug!(event = "answered", chunk = %part, kind, status, code = &*code, took_s, "request answered");
            }
            Event::Settled { outcome, rows } => {
                debug!(event = "settled", outcome = outcome.as_str(), rows, "rows settled");
            }
            Event::Amended { from, to, rows } => {
                warn!(event = "amended", from = from.as_str(), to = to.as_str(), rows, "the last read corrects rows");
            }
            Event::Throttled { class, wait } => {
                let wait_s = wait.as_secs_f64();
                info!(event = "throttled", class = class.as_str(), wait_s, "the service asked to slow down");
            }
            Event::Paced { class, per_s } => {
                debug!(event = "paced", class = class.as_str(), per_s, "the pace has changed");
            }
            Event::Waiting { why, wait } => {
                info!(event = "waiting", why = &*safe(why), wait_s = wait.as_secs_f64(), "sending waits");
            }
            Event::Stopping { why } => {
                warn!(event = "stopping", why = &*safe(why), "no new request starts");
            }
            Event::Verifying { open } => {
                info!(event = "verifying", open, "all is sent; the bindings are read back");
            }
            Event::Rechecking { open } => {
                info!(event = "rechecking", open, "a last look at what was in doubt");
            }
        }
    }
}
