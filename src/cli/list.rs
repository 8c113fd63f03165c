//! What `plan` and `run` are about: the bindings that a list names.

use jiff::civil::Date;

use std::path::Path;

use super::args::RunArgs;
use super::planning::{self, shown};
use super::session::Session;
use super::shorter_list;
use super::signals::Signals;
use super::steps::{Look, Subject};
use super::target::Place;
use super::task::Task;
use crate::error::Error;
use crate::input::Input;
use crate::journal::Identity;
use crate::model::LiveDesktop;
use crate::plan::{Draft, Policy, Snapshot, plan};

/// A list that was read.
pub(super) struct List<'a> {
    args: &'a RunArgs,
    input: Input,
    /// Whose bindings the simulated world has, where they are not the input's.
    world: Option<Input>,
    /// The live bindings, once they were looked at; `None` with `--preflight off`.
    seen: Option<Snapshot>,
    /// How many rows more the last list had, where this one is much shorter.
    missing_rows: u64,
}

impl<'a> List<'a> {
    /// Reads the list that the command line names; one with invalid rows is refused, unless they are to be skipped.
    ///
    /// * `day`: see [`due::day`](super::due::day).
    ///
    /// # Errors
    /// [`Error::Rows`] with all that is wrong, or why it can't be read.
    pub(super) async fn read(
        args: &'a RunArgs,
        session: &Session,
        day: Option<Date>,
        signals: &Signals,
    ) -> Result<Self, Error> {
        let input = planning::read(args, session, day, signals).await?;
        let world = match args.options.api.world() {
            Some(world) => Some(planning::read_world(world, signals).await?),
            None => None,
        };
        let policy = planning::policy(&args.options, &session.settings);
        let faults = planning::faults_before_a_look(&input, &policy, &session.settings);
        planning::refuse_invalid(&input.name, &faults, &session.settings)?;
        Ok(Self { args, input, world, seen: None, missing_rows: 0 })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.input.table.is_empty()
    }

    /// Notes that the list is much shorter than that of the earlier run.
    fn compare(&mut self, look: &Look<'_>) {
        let Some(earlier) = look.earlier else { return };
        let path = shown(&self.args.input);
        let list = shorter_list::List { path: &path, simulated: self.is_rehearsal(), shaping: look.task.shaping };
        self.missing_rows = shorter_list::note(&mut self.input, &list, earlier);
    }
}

impl Subject for List<'_> {
    fn path(&self) -> &Path {
        &self.args.input
    }

    fn digest(&self) -> String {
        self.input.sha256.clone()
    }

    fn is_rehearsal(&self) -> bool {
        self.args.options.api.is_simulated()
    }

    fn people(&self) -> Option<&Input> {
        Some(self.world.as_ref().unwrap_or(&self.input))
    }

    fn nothing(&self) -> Option<&'static str> {
        None
    }

    async fn place(&mut self, task: &Task<'_>, writes: bool) -> Result<Place, Error> {
        let settings = &task.session.settings;
        if self.is_rehearsal() {
            Ok(Place::rehearsed(self.world.as_ref().unwrap_or(&self.input)))
        } else if writes || settings.preflight {
            Place::find(settings).await
        } else {
            // Without a look a plan needs no credentials and no network.
            Ok(Place::unasked(settings))
        }
    }

    async fn look(&mut self, look: &Look<'_>) -> Result<u64, Error> {
        self.compare(look);
        let Look { task, place, gates, policy, writes, .. } = *look;
        let stop = &task.signals.stop;
        let (seen, reads) = planning::look(&self.input, policy, task.session, place, gates, stop).await?;
        self.seen = seen;
        if writes && !task.session.settings.preflight && task.session.settings.verify {
            // Nothing was read yet, and after the writes it must be possible: else every row would end `unknown`.
            planning::preflight(task.session, place, gates, stop).probe().await?;
        }
        Ok(reads)
    }

    fn plan(&self, policy: &Policy) -> Box<dyn Draft + '_> {
        Box::new(plan(&self.input, self.seen.as_ref(), policy))
    }

    fn all_desktops(&self) -> Option<Vec<LiveDesktop>> {
        let seen = self.seen.as_ref().filter(|seen| seen.is_whole)?;
        Some(seen.desktops.values().flatten().cloned().collect())
    }

    fn identify(&self, identity: &mut Identity) {
        identity.notes.clone_from(&self.input.notes);
        identity.missing_rows = self.missing_rows;
        identity.results_bom = self.input.had_bom_or_not_utf8;
        identity.extra_columns = self.input.table.extra_columns().to_vec();
    }

    async fn claim(&self, _: &Path) -> Result<(), Error> {
        Ok(())
    }
}
