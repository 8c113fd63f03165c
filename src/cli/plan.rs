//! `plan`: everything that a run does before it writes. The client that could write does not exist here (P5).

use std::time::Instant;

use super::args::{RunArgs, journal_of};
use super::due;
use super::list::List;
use super::outputs::{Outputs, keep_results};
use super::session::{Session, limit_to};
use super::signals::Signals;
use super::steps::start;
use super::task::Task;
use super::{Closing, Failure, on_runtime};
use crate::journal::RunLock;

/// `plan`, and `run --dry-run`.
pub(super) fn command(args: &RunArgs) -> Result<Closing, Failure> {
    args.check(false)?;
    on_runtime(make(args))
}

async fn make(args: &RunArgs) -> Result<Closing, Failure> {
    let began = Instant::now();
    let input_path = (args.input.as_os_str() != "-").then_some(args.input.as_path());
    let mut outputs = Outputs::default();
    outputs.keep("the input", input_path);
    let journal = args.results_path().map(|results| journal_of(&results));
    if let Some(journal) = &journal {
        outputs.keep_journal(journal);
    }
    outputs.write("--results", args.options.output.results.as_deref());
    let mut session = Session::begin(&args.options, args.layer()?, None, outputs)?;
    limit_to(&mut session.repeat, args);
    if let Some(results) = &args.options.output.results {
        keep_results(results)?;
    }
    let signals = Signals::watch()?;
    let day = due::day(args, &session.settings, None)?;
    let list = List::read(args, &session, day, &signals).await?;
    let shaping = &args.plan_shaping(&session.settings, day, None);
    // A run that is going on is not to be held up by a reader of its journal, as on a network file system it would be.
    let earlier = journal.filter(|journal| !RunLock::is_held(journal));
    let task = Task { options: &args.options, session: &session, shaping, signals, began };
    Box::pin(start(&task, list, earlier.as_deref(), None)).await
}
