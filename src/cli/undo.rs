//! `undo`: takes back what a run changed. Itself a run, and carried out like one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::args::{UndoArgs, journal_of};
use super::outputs::{Outputs, keep_results};
use super::planning::{self, shown};
use super::session::Session;
use super::signals::Signals;
use super::standing::same_place;
use super::steps::{Look, Subject, go, start};
use super::target::{Place, SIMULATOR};
use super::task::{Files, Task, started_with};
use super::{Closing, Failure, note, on_runtime};
use crate::error::Error;
use crate::input::Input;
use crate::journal::record::Record;
use crate::journal::{Identity, Journal as _, RunLock, Store, View, refuse_remains};
use crate::model::Given;
use crate::plan::{Draft, Policy, Snapshot};
use crate::reconcile::undo::{Changed, Only, UndoPlan, read_back};
use crate::text::{counted, csv_field};

/// `undo`.
pub(super) fn command(args: &UndoArgs) -> Result<Closing, Failure> {
    args.check()?;
    on_runtime(take_back(args))
}

async fn take_back(args: &UndoArgs) -> Result<Closing, Failure> {
    let began = Instant::now();
    let options = &args.options;
    let results = args.results_path();
    let mut outputs = Outputs::default();
    outputs.keep_run(&args.journal);
    if let Ok(view) = View::open(&args.journal) {
        let (input, options) = started_with(view.identity());
        outputs.keep_started(&input, &options);
    }
    if options.safety.dry_run {
        outputs.keep_journal(&journal_of(&results));
        outputs.write("--results", options.output.results.as_deref());
    } else {
        outputs.write_run(&results);
    }
    let mut session = Session::begin(options, options.layer()?, None, outputs)?;
    let scope = &mut session.repeat.scope;
    scope.extend(args.only_users().iter().map(|name| Given::text("only-user", csv_field(name))));
    scope.extend(args.only_desktop.iter().map(|id| Given::text("only-desktop", id)));
    if !session.settings.preflight {
        let problem = "an undo has to look at who holds the desktops now: leave out `--preflight off`".to_owned();
        return Err(Error::Usage { problem }.into());
    }
    let signals = Signals::watch()?;
    let only_looks = options.safety.dry_run;
    if let Some(results) = options.output.results.as_deref().filter(|_| only_looks) {
        keep_results(results)?;
    }
    refuse_remains(&args.journal)?;
    if !args.journal.is_file() {
        let problem = "there is no such journal; give the one that stands beside the run's results".to_owned();
        return Err(Error::NotOurJournal { path: shown(&args.journal), problem }.into());
    }
    // Held to the end: a run that goes on can't be taken back, and one that is being taken back can't go on.
    let _of_run = RunLock::acquire(&args.journal)?;
    let files = if only_looks { None } else { Some(Files::hold(results)?) };
    let undo = Undo::read(args)?;
    let shaping = &args.plan_shaping(&session.settings);
    let task = Task { options, session: &session, shaping, signals, began };
    match files {
        Some(files) => Box::pin(go(&task, Some(undo), files)).await,
        None => start(&task, undo, None, None).await,
    }
}

/// A run to be taken back.
struct Undo {
    /// The run's journal.
    journal: PathBuf,
    changed: Changed,
    /// Where the run was a rehearsal: the simulator, as the run left it.
    simulated: Option<Place>,
    /// Bindings in doubt that could not be read back.
    unsettled: HashSet<(usize, usize)>,
    /// The desktops, once they were looked at.
    seen: Snapshot,
}

impl Undo {
    fn read(args: &UndoArgs) -> Result<Self, Error> {
        let only = Only { users: args.only_users(), desktops: args.only_desktop.clone() };
        let view = View::open(&args.journal)?;
        let changed = Changed::read(&view, shown(&args.journal), &only)?;
        let was_simulated = changed.run.endpoint == SIMULATOR;
        if args.options.api.is_simulated() && !was_simulated {
            let problem = "this run was no rehearsal, so its undo is none either: leave out `--simulate`".to_owned();
            return Err(Error::Usage { problem });
        }
        let simulated = was_simulated.then(|| Place::simulated_after(&view)).transpose()?;
        let (journal, unsettled, seen) = (args.journal.clone(), HashSet::new(), Snapshot::default());
        Ok(Self { journal, changed, simulated, unsettled, seen })
    }
}

impl Subject for Undo {
    fn path(&self) -> &Path {
        &self.journal
    }

    fn digest(&self) -> String {
        self.changed.digest()
    }

    fn is_rehearsal(&self) -> bool {
        self.changed.run.endpoint == SIMULATOR
    }

    fn people(&self) -> Option<&Input> {
        None
    }

    fn nothing(&self) -> Option<&'static str> {
        let why = "nothing to undo: the run changed no binding of those asked for";
        self.changed.rows.is_empty().then_some(why)
    }

    async fn place(&mut self, task: &Task<'_>, _: bool) -> Result<Place, Error> {
        let place = match self.simulated.take() {
            Some(place) => place,
            None => Place::find(&task.session.settings).await?,
        };
        same_place(&self.changed.run, &place, &self.journal)?;
        Ok(place)
    }

    async fn look(&mut self, look: &Look<'_>) -> Result<u64, Error> {
        let preflight = planning::preflight(look.task.session, look.place, look.gates, &look.task.signals.stop);
        let open = self.changed.in_doubt.len();
        if open > 0 {
            note(&format!(
                "reading back {} that the run may have changed before it stopped",
                counted(u64::try_from(open).unwrap_or(u64::MAX), "binding", "bindings")
            ));
        }
        self.unsettled = read_back(&self.changed, &preflight).await?;
        self.seen = preflight.look(&self.changed.questions(look.policy.max_percent.is_some())).await?;
        tracing::info!(reads = preflight.reads(), desktops = self.seen.desktops.len(), "the live bindings were read");
        Ok(preflight.reads())
    }

    fn plan(&self, policy: &Policy) -> Box<dyn Draft + '_> {
        Box::new(UndoPlan::new(&self.changed, &self.seen, &self.unsettled, policy))
    }

    fn identify(&self, identity: &mut Identity) {
        identity.class = self.changed.class;
        identity.results_bom = self.changed.run.results_bom;
        identity.extra_columns.clone_from(&self.changed.run.extra_columns);
        identity.undo_of = Some(self.changed.journal.clone());
    }

    /// Once the undo's own journal stands, a resume of the run would work against it: so first the run's journal says that
    /// it is taken back.
    async fn claim(&self, journal: &Path) -> Result<(), Error> {
        let by = std::path::absolute(journal).map_or_else(|_| shown(journal), |by| shown(&by));
        let store = Store::open(&self.journal)?;
        store.handle().commit(vec![Record::Undone { by }]).await?;
        store.close()
    }
}
