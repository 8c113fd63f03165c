//! SIGINT, SIGTERM and SIGHUP, all the same: the first stops in good order, the second at once.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Exit};

/// After the second signal the process ends within a second, whatever it is doing (P12).
const LAST: Duration = Duration::from_millis(800);

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
        let mut all =
            [listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?];
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
}

async fn any(all: &mut [Signal; 3]) {
    let [interrupt, terminate, hangup] = all;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
