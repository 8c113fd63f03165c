//! `run`: plan, confirm, make the plan durable, carry it out. Running again is the recovery.

use std::time::Instant;

use super::args::{RunArgs, Source, journal_of, resumed_undo_shaping};
use super::due;
use super::list::List;
use super::outputs::Outputs;
use super::planning::shown;
use super::session::{Session, limit_to};
use super::signals::Signals;
use super::steps::{go, nothing};
use super::task::{Files, Task, started_with};
use super::{Closing, Failure, on_runtime};
use crate::error::Error;
use crate::journal::{RunLock, View};

/// `run`.
pub(super) fn command(args: &RunArgs) -> Result<Closing, Failure> {
    args.check(true)?;
    on_runtime(run(args))
}

async fn run(args: &RunArgs) -> Result<Closing, Failure> {
    let began = Instant::now();
    let Some(results) = args.results_path() else {
        return Err(Error::Internal("no results path".to_owned()).into());
    };
    let mut outputs = Outputs::default();
    outputs.write_run(&results);
    let of_journal = match args.source() {
        Source::Journal(path) => {
            // Its holder's files are another process's matter, whatever state they are in.
            drop(RunLock::acquire(path)?);
            let identity = View::open(path)?.identity().clone();
            let (input, options) = started_with(&identity);
            outputs.keep_started(&input, &options);
            Some((shown(path), identity))
        }
        Source::File(input) => {
            outputs.keep("the input", Some(input));
            None
        }
        Source::Stdin => None,
    };
    let planned = of_journal.as_ref().map(|(path, identity)| (path.as_str(), &identity.plan_settings));
    let mut session = Session::begin(&args.options, args.layer()?, planned, outputs)?;
    limit_to(&mut session.repeat, args);
    if let Some((_, identity)) = &of_journal {
        session.go_on_with(started_with(identity).1);
    }
    let signals = Signals::watch()?;
    let day = match of_journal {
        Some(_) => args.meaning.as_of,
        None => due::day(args, &session.settings, Some(&journal_of(&results)))?,
    };
    let list = match of_journal {
        Some(_) => None,
        None => Some(List::read(args, &session, day, &signals).await?),
    };
    if list.as_ref().is_some_and(List::is_empty) {
        return Ok(nothing("nothing to do: no row has one of these outcomes"));
    }
    let shaping = match &of_journal {
        Some((_, undo)) if undo.undo_of.is_some() => resumed_undo_shaping(&session.settings, &undo.plan_settings),
        _ => args.plan_shaping(&session.settings, day, planned.map(|(_, settings)| settings)),
    };
    let files = Files::hold(results)?;
    let task = Task { options: &args.options, session: &session, shaping: &shaping, signals, began };
    Box::pin(go(&task, list, files)).await
}
