//! The question before anything is sent.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::args::SafetyOptions;
use super::signals::Signals;
use crate::error::Error;

/// Asks, unless that was answered on the command line.
///
/// # Errors
/// [`Error::Refused`] for a "no", [`Error::Unconfirmed`] where there is nobody to ask.
pub(super) async fn confirm(safety: &SafetyOptions, question: &str, signals: &Signals) -> Result<(), Error> {
    if safety.yes || safety.approved.is_some() {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Error::Unconfirmed);
    }
    {
        let mut out = anstream::stderr().lock();
        _ = write!(out, "{question} Type \"yes\" to do it: ");
        _ = out.flush();
    }
    let answer = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let refused = |why: &str| Err(Error::Refused(format!("{why}; nothing was sent")));
    tokio::select! {
        () = signals.stop.cancelled() => refused("stopped by a signal at the question"),
        answer = answer => match answer {
            Ok(Ok(line)) if line.trim().eq_ignore_ascii_case("yes") => Ok(()),
            Ok(Ok(line)) if line.trim().eq_ignore_ascii_case("y") => {
                refused("not confirmed: it takes the whole word \"yes\"")
            }
            _ => refused("not confirmed"),
        }
    }
}
