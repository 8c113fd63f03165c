//! What a command works with, and where its files are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::args::{RunOptions, journal_of};
use super::planning;
use super::session::{Session, given, setting};
use super::signals::Signals;
use super::target::{Place, SIMULATOR};
use crate::config::StillAccess;
use crate::config::{Group, Origin, SettingLine, Settings};
use crate::error::Error;
use crate::journal::{Identity, RunLock};
use crate::model::{Given, Repeat, Typed};
use crate::plan::Policy;

/// What a command works with.
pub(super) struct Task<'a> {
    pub(super) options: &'a RunOptions,
    pub(super) session: &'a Session,
    /// The settings that shape the plan.
    pub(super) shaping: &'a BTreeMap<String, String>,
    pub(super) signals: Signals,
    /// When the command began.
    pub(super) began: Instant,
}

impl Task<'_> {
    /// Whether it is looked for who still gets in: not by a run that is to read nothing, unless that is asked for.
    pub(super) fn looks_who_gets_in(&self) -> bool {
        let settings = &self.session.settings;
        match settings.still_access {
            StillAccess::Off => false,
            StillAccess::Report => settings.preflight || settings.verify,
            StillAccess::Fail => true,
        }
    }

    pub(super) fn policy(&self) -> Policy {
        planning::policy(self.options, &self.session.settings)
    }
}

/// Where a run's files are.
pub(super) struct Files {
    pub(super) results: PathBuf,
    pub(super) journal: PathBuf,
    /// Of the journal; held to the end.
    pub(super) lock: RunLock,
}

impl Files {
    /// Locks the journal that goes with these results.
    ///
    /// # Errors
    /// [`Error::Locked`] where somebody else works on it.
    pub(super) fn hold(results: PathBuf) -> Result<Self, Error> {
        let journal = journal_of(&results);
        let lock = RunLock::acquire(&journal)?;
        Ok(Self { results, journal, lock })
    }
}

/// What is kept with a run of what was typed, and of the place that variables, credentials and the working directory
/// gave it: whoever goes on with it may have others.
///
/// * `config`: the file of settings that was read.
pub(super) fn to_keep(
    typed: &Repeat,
    settings: &Settings,
    config: Option<&Path>,
    input: &Path,
    place: &Place,
) -> Typed {
    let mut options = typed.clone();
    let kept = &mut options.place;
    if place.endpoint() == SIMULATOR {
        kept.extend((!typed.has("simulate")).then(|| Given::flag("simulate")));
    } else {
        kept.extend(config.filter(|_| !typed.has("config")).map(|config| Given::file("config", config)));
        let of_api = |line: &&SettingLine| setting(line.name).is_some_and(|setting| setting.group == Group::Api);
        let lines: Vec<&SettingLine> = settings.origins().iter().filter(of_api).collect();
        kept.extend(lines.iter().filter(|line| matches!(line.origin, Origin::Variable(_))).map(|line| given(line)));
        let project = Some(place.project()).filter(|project| !project.is_empty());
        for (name, found) in [("region", place.region.as_deref()), ("project-id", project)] {
            let is_said = lines.iter().any(|line| line.name == name);
            kept.extend(found.filter(|_| !is_said).map(|found| Given::text(name, found)));
        }
    }
    let directory = std::env::current_dir().unwrap_or_default();
    Typed { directory: directory.into(), input: input.into(), options }
}

/// What a run was started on and with, as it is typed here.
pub(super) fn started_with(identity: &Identity) -> (OsString, Repeat) {
    if let Some(typed) = &identity.typed {
        return typed.seen_from(&std::env::current_dir().unwrap_or_default());
    }
    // An older program's: what it kept tells the place all the same.
    let place = if identity.endpoint == SIMULATOR {
        vec![Given::flag("simulate")]
    } else {
        vec![Given::text("endpoint", &identity.endpoint), Given::text("project-id", &identity.project_id)]
    };
    let input = identity.undo_of.as_ref().unwrap_or(&identity.input_path);
    (input.into(), Repeat { place, ..Repeat::default() })
}
