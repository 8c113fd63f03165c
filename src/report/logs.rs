//! Logs: records of this program alone, as text or JSON, on standard error or in a file.
//!
//! Other crates are silenced at every level: their traces show headers, and with them tokens (P19).

use std::fs::OpenOptions;
use std::io::{self, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Layer, Registry};

use super::screen::{LogWriter, Screen};
use crate::config::LogFormat;
use crate::error::Error;

/// The crate's own records; its modules follow after `::`.
const OWN: &str = env!("CARGO_CRATE_NAME");

/// Whether standard error carries JSON records.
static RECORDS: AtomicBool = AtomicBool::new(false);

/// Whether standard error carries JSON records and nothing else, as it does from [`start_logging`] on where that was asked
/// for.
pub(crate) fn stderr_has_records() -> bool {
    RECORDS.load(Ordering::Relaxed)
}

/// Whether standard error is to carry JSON records.
///
/// * `file`: where the log goes instead.
pub(crate) fn records_on_stderr(format: LogFormat, file: Option<&Path>) -> bool {
    format == LogFormat::Json && file.is_none()
}

/// Starts logging for the whole process; once.
///
/// * `file`: appended to, made with mode 0600; standard error where there is none.
/// * `verbosity`: -1 (`-q`) errors alone; 0 warnings, and in JSON or a file what happens, too; 1 (`-v`) every
///   request, with names of users; 2 (`-vv`) everything.
/// * `screen`: the one that progress is drawn on.
///
/// `RUST_LOG`, where it is set, takes the place of `verbosity`.
///
/// # Errors
/// [`Error::File`] where the file can't be opened, [`Error::Setting`] for a `RUST_LOG` that can't be read, and
/// [`Error::Internal`] where logging was started before.
pub(crate) fn start_logging(
    format: LogFormat,
    file: Option<&Path>,
    verbosity: i8,
    screen: &Screen,
) -> Result<(), Error> {
    let wish = std::env::var("RUST_LOG").ok().filter(|wish| !wish.trim().is_empty());
    let filter = filter(format, file.is_some(), verbosity, wish.as_deref())?;
    let started = match file {
        None => {
            let stderr = io::stderr();
            let ansi = stderr.is_terminal() && anstream::AutoStream::choice(&stderr) != anstream::ColorChoice::Never;
            tracing::subscriber::set_global_default(subscriber(format, filter, LogWriter::new(screen.clone()), ansi))
        }
        Some(path) => {
            let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
            let log =
                opened.map_err(|source| Error::File { verb: "open the log file", path: path.to_owned(), source })?;
            tracing::subscriber::set_global_default(subscriber(format, filter, Arc::new(log), false))
        }
    };
    started.map_err(|error| Error::Internal(error.to_string()))?;
    RECORDS.store(records_on_stderr(format, file), Ordering::Relaxed);
    Ok(())
}

fn filter(format: LogFormat, file: bool, verbosity: i8, wish: Option<&str>) -> Result<Targets, Error> {
    let level = match verbosity {
        ..=-1 => "error",
        // On a screen, bars or lines tell what happens; only what needs attention stands beside them.
        0 if format == LogFormat::Text && !file => "warn",
        0 => "info",
        1 => "debug",
        2.. => "trace",
    };
    let (text, origin) = wish.map_or((level, "built in"), |wish| (wish, "environment"));
    text.parse::<Targets>().map_err(|error| Error::Setting {
        name: "RUST_LOG".to_owned(),
        origin: origin.to_owned(),
        problem: format!("{error}; write a level (error, warn, info, debug, trace) or {OWN}=LEVEL"),
    })
}

fn subscriber<W>(format: LogFormat, filter: Targets, writer: W, ansi: bool) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let records: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => fmt::layer().with_writer(writer).with_ansi(ansi).with_target(false).boxed(),
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(writer)
            .boxed(),
    };
    tracing_subscriber::registry().with(records.with_filter(filter.and(filter_fn(is_own))))
}

fn is_own(record: &Metadata<'_>) -> bool {
    record.target().strip_prefix(OWN).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use super::*;
    use crate::model::{Event, Observer};
    use crate::report::json::Records;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'w> MakeWriter<'w> for Kept {
        type Writer = Self;
        fn make_writer(&'w self) -> Self {
            self.clone()
        }
    }

    fn logged(format: LogFormat, verbosity: i8, wish: Option<&str>, log: impl FnOnce()) -> String {
        let kept = Kept::default();
        let filter = filter(format, false, verbosity, wish).unwrap();
        tracing::subscriber::with_default(subscriber(format, filter, kept.clone(), false), log);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn speak() {
        tracing::error!("own error");
        tracing::warn!("own warning");
        tracing::info!("own info");
        tracing::debug!("own debug");
        tracing::trace!("own trace");
        tracing::error!(target: "hyper::proto", "X-Auth-Token: secret");
        tracing::trace!(target: "reqwest::connect", "X-Auth-Token: secret");
        tracing::error!(target: "batch_detach_helper", "X-Auth-Token: secret");
    }

    #[test]
    fn p19_other_crates_are_silent_at_every_level() {
        for wish in [None, Some("trace"), Some("hyper=trace,reqwest=trace,batch_detach=trace")] {
            for format in [LogFormat::Text, LogFormat::Json] {
                let text = logged(format, 2, wish, speak);
                assert!(text.contains("own trace") && !text.contains("secret"), "{text}");
            }
        }
    }

    #[test]
    fn verbosity_is_a_ladder() {
        for (verbosity, lines) in [(-1, 1), (0, 2), (1, 4), (2, 5)] {
            assert_eq!(logged(LogFormat::Text, verbosity, None, speak).lines().count(), lines, "{verbosity}");
        }
        assert_eq!(logged(LogFormat::Json, 0, None, speak).lines().count(), 3);
    }

    #[test]
    fn the_environment_takes_the_place_of_verbosity() {
        assert_eq!(logged(LogFormat::Text, -1, Some("debug"), speak).lines().count(), 4);
        assert_eq!(logged(LogFormat::Text, 2, Some("batch_detach=error"), speak).lines().count(), 1);
    }

    #[test]
    fn a_wish_that_cannot_be_read_is_an_error_that_names_it() {
        let error = filter(LogFormat::Text, false, 0, Some("batch_detach=loud")).unwrap_err().to_string();
        assert!(error.starts_with("setting `RUST_LOG` (environment):") && error.contains("trace"), "{error}");
    }

    #[test]
    fn every_event_is_one_json_record() {
        let text = logged(LogFormat::Json, 2, None, || {
            for event in [
                Event::Begun { rows: 2, settled: 0, chunks: 1, chunks_open: 1, ceiling_per_s: 1.5, resumed: false },
                Event::Stopping { why: "in\x1bterrupted".to_owned() },
                Event::Verifying { open: 1 },
                Event::Rechecking { open: 2 },
            ] {
                Records.on_event(&event);
            }
        });
        let records: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(records.len(), 4);
        assert_eq!((&records[0]["event"], &records[0]["rows"]), (&"begun".into(), &2.into()));
        assert_eq!((&records[1]["level"], &records[1]["why"]), (&"WARN".into(), &"in\\u{1b}terrupted".into()));
        assert!(records[2]["timestamp"].is_string());
        assert_eq!((&records[3]["event"], &records[3]["open"]), (&"rechecking".into(), &2.into()));
    }

    #[test]
    fn p19_a_log_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.log");
        start_logging(LogFormat::Json, Some(&path), 0, &Screen::plain()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = start_logging(LogFormat::Json, Some(&path), 0, &Screen::plain()).unwrap_err();
        assert!(matches!(again, Error::Internal(_)), "{again}");
        let nowhere = start_logging(LogFormat::Text, Some(&folder.path().join("no/run.log")), 0, &Screen::plain());
        assert!(matches!(nowhere, Err(Error::File { .. })));
    }
}
