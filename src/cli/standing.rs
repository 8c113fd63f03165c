//! What stands where a run's files go: nothing, this run, another one. A run is never mixed up with another (P16).

use std::fmt::Write as _;
use std::path::Path;

use super::args::plan_differences;
use super::planning::shown;
use super::target::{Place, SIMULATOR};
use super::task::Task;
use crate::error::Error;
use crate::journal::{Identity, Label, Progress, View, refuse_remains};
use crate::text::{escape_untrusted, shell_quote};

/// What the journal at its place says about this run.
pub(super) enum Standing {
    /// There is none, or a finished one that is no obstacle.
    New { aside: Option<String> },
    /// It goes on from here.
    Resume(Box<(Identity, Progress)>),
    /// It is this run, and finished.
    Finished,
    /// It is this run, and its canary failed: it never goes on.
    CanaryFailed(Box<Identity>),
}

/// What is asked for now, to be compared with a journal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Its name and its digest.
    pub(super) input: (&'a str, &'a str),
    /// Whether it is for the simulator.
    pub(super) simulated: bool,
}

/// Compares the journal at its place with what was asked.
///
/// * `asked`: `None` for `run JOURNAL`, which asks for whatever stands there.
///
/// # Errors
/// [`Error::NotOurJournal`] where an unfinished run of something else stands there, with what differs.
pub(super) fn stand(
    task: &Task<'_>,
    asked: Option<Asked<'_>>,
    journal: &Path,
    results: &Path,
) -> Result<Standing, Error> {
    if !journal.exists() {
        return match asked {
            Some(_) if task.options.safety.fresh => Ok(Standing::New { aside: None }),
            Some(_) => refuse_remains(journal).map(|()| Standing::New { aside: None }),
            None => Err(Error::NotOurJournal { path: shown(journal), problem: "there is no such journal".to_owned() }),
        };
    }
    if task.options.safety.fresh {
        // Whatever it says of its run, and though another version made it.
        return Ok(Standing::New { aside: Some(Label::read(journal)?.run_id) });
    }
    let opened = View::open(journal).and_then(|view| Ok((view.identity().clone(), view.progress()?)));
    let (identity, progress) = opened.map_err(|error| match error {
        Error::NotOurJournal { path, problem } if asked.is_some() && Label::read(journal).is_ok() => {
            let problem = format!("{problem}, or start over with --fresh, which moves it aside");
            Error::NotOurJournal { path, problem }
        }
        error => error,
    })?;
    let differences = differences(task, asked, &identity);
    if differences.is_empty() {
        // Its look at who still gets in is open: it is made now, or it is put on record that it is not wanted.
        return if progress.finished && progress.still_open {
            Ok(Standing::Resume(Box::new((identity, progress))))
        } else if progress.finished {
            Ok(Standing::Finished)
        } else if let Some(undo) = &progress.undone_by {
            Err(Error::NotOurJournal { path: shown(journal), problem: taken_back(&identity, undo) })
        } else if progress.canary == Some(false) {
            Ok(Standing::CanaryFailed(Box::new(identity)))
        } else {
            Ok(Standing::Resume(Box::new((identity, progress))))
        };
    }
    if (progress.finished || progress.undone_by.is_some()) && asked.is_some() {
        return Ok(Standing::New { aside: Some(identity.run_id) });
    }
    let mut problem = format!("this journal belongs to another run ({}), which is not finished:", identity.run_id);
    for difference in &differences {
        problem.push_str("\n  - ");
        problem.push_str(difference);
    }
    _ = write!(
        problem,
        "\nfinish that run with `batch-detach run {}`, name another file with --results, or start over with --fresh \
         (the older run's files are kept beside {})",
        shell_quote(journal),
        shown(results)
    );
    Err(Error::NotOurJournal { path: shown(journal), problem })
}

fn differences(task: &Task<'_>, asked: Option<Asked<'_>>, identity: &Identity) -> Vec<String> {
    let settings = &task.session.settings;
    let mut differences = Vec::new();
    if let Some(Asked { input: (name, digest), .. }) = asked
        && digest != identity.input_sha256
    {
        differences.push(format!("the input {name} has other contents than the one it was planned from"));
    }
    let is_simulated = identity.endpoint == SIMULATOR;
    let simulate = asked.map_or(task.options.api.is_simulated(), |asked| asked.simulated);
    let wanted = if simulate { Some(SIMULATOR) } else { settings.endpoint.as_deref() };
    if wanted.is_some_and(|wanted| wanted != identity.endpoint) || (wanted.is_none() && is_simulated && asked.is_some())
    {
        differences.push(changed("endpoint", &identity.endpoint, wanted.unwrap_or("a real endpoint")));
    }
    let project = settings.project_id.as_deref().filter(|_| !is_simulated);
    differences.extend(
        project
            .filter(|project| *project != identity.project_id)
            .map(|project| changed("project-id", &identity.project_id, project)),
    );
    differences.extend(plan_differences(&identity.plan_settings, task.shaping));
    differences
}

fn changed(name: &str, was: &str, is: &str) -> String {
    format!("`{name}` was {}, and is {} now", escape_untrusted(was, 200), escape_untrusted(is, 200))
}

fn taken_back(identity: &Identity, undo: &str) -> String {
    format!(
        "run {} is being undone, or was, by the undo {}, so nothing more of it is sent; `batch-detach status` of that \
         journal shows how far the undo is. To do what the input says after all, start over with --fresh",
        identity.run_id,
        escape_untrusted(undo, 500)
    )
}

/// A journal goes on where it began, and nowhere else.
///
/// # Errors
/// [`Error::NotOurJournal`] where the place is another.
pub(super) fn same_place(identity: &Identity, place: &Place, journal: &Path) -> Result<(), Error> {
    let facts =
        [("endpoint", &identity.endpoint, place.endpoint()), ("project-id", &identity.project_id, place.project())];
    let differences: Vec<String> =
        facts.iter().filter(|(_, was, is)| was != is).map(|(name, was, is)| changed(name, was, is)).collect();
    if differences.is_empty() {
        return Ok(());
    }
    let problem = format!(
        "this run was planned elsewhere: {}; use that again, or start over with --fresh",
        differences.join("; ")
    );
    Err(Error::NotOurJournal { path: shown(journal), problem })
}
