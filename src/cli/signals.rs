//! SIGINT, SIGTERM and SIGHUP, all the same: the first stops with everything recorded, the second at once.
//!
//! One that was ignored when the process started (`nohup`) stays ignored. A limit of the file size is a full disk, not a
//! reason to die without a word.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Exit};

/// After the second signal the process ends within a second, whatever it is doing (P12).
const LAST: Duration = Duration::from_millis(800);
/// SIGXFSZ has this number on Linux and on macOS.
const FILE_SIZE_LIMIT: i32 = 25;

/// What the signals stop.
#[derive(Debug, Clone, Default)]
pub(super) struct Signals {
    /// Fires at the first: nothing new starts.
    pub(super) stop: CancellationToken,
    /// Fires at the second: everything is dropped.
    pub(super) abandon: CancellationToken,
}

impl Signals {
    /// Listens from now on, within a runtime.
    ///
    /// # Errors
    /// Where the system gives no handler.
    pub(super) fn watch() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::Internal(format!("cannot listen to signals: {error}")));
        // Whoever listens to it is not killed by it: the write fails instead, as on a full disk.
        drop(listen(SignalKind::from_raw(FILE_SIZE_LIMIT))?);
        let ignored = ignored_at_start();
        let mut all = Vec::new();
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            if ignored & bit(kind) == 0 {
                all.push(listen(kind)?);
            }
        }
        let signals = Self::default();
        let watched = signals.clone();
        tokio::spawn(async move {
            any(&mut all).await;
            watched.stop.cancel();
            any(&mut all).await;
            watched.abandon.cancel();
            // Something that can't be dropped (a slow disk) must not hold the process: the journal covers it.
            std::thread::spawn(|| {
                std::thread::sleep(LAST);
                std::process::exit(i32::from(Exit::Stopped.code()));
            });
        });
        Ok(signals)
    }

    /// Does something before anything was sent, unless a signal comes first: then it is dropped where it stands.
    ///
    /// # Errors
    /// Those of `work`; [`Error::Stopped`] after a signal.
    pub(super) async fn unless_stopped<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {
                Err(Error::Stopped("stopped by a signal before anything was sent".to_owned()))
            }
            done = work => done,
        }
    }
}

async fn any(all: &mut [Signal]) {
    if all.is_empty() {
        return std::future::pending().await;
    }
    let each = all.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures::future::select_all(each).await;
}

/// The signals that whoever started this process had ignored, one bit each; none where the system does not tell.
fn ignored_at_start() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn bit(kind: SignalKind) -> u64 {
    let number = u32::try_from(kind.as_raw_value()).unwrap_or(1);
    1_u64.checked_shl(number.saturating_sub(1)).unwrap_or(0)
}
