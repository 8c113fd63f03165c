//! What a plan is made of: the input, the policy, the look at the live bindings.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::sync::Arc;

use jiff::civil::Date;
use tokio_util::sync::CancellationToken;

use super::args::{RunArgs, RunOptions, Source};
use super::due;
use super::session::Session;
use super::signals::Signals;
use super::target::Place;
use crate::api::Reader;
use crate::config::{EmptyDesktop, HiddenRows, OnInvalid, Settings, UnknownUsers};
use crate::error::Error;
use crate::input::{self, Field, Input, ReadOptions};
use crate::model::Kind;
use crate::pace::{Gates, Waits};
use crate::plan::{
    Bounds, NEEDS_PREFLIGHT, Policy, Snapshot, USER_UNKNOWN, Unlisted, names_by_address, plan, questions,
    unread_desktops,
};
use crate::reconcile::preflight::Preflight;
use crate::text::counted;
use crate::text::escape_untrusted;

/// Faulty rows that are listed; the rest is counted.
const SHOWN_FAULTS: usize = 1_000;
/// Characters of the input's name on the line that says that it is read.
const SHOWN_NAME: usize = 60;
/// How often a person sees how far the look is.
const TICK: std::time::Duration = std::time::Duration::from_millis(500);

/// Reads the input that the command line names. A pipe that stays open, or a FIFO that nobody writes to, does not hold
/// a signal up: the thread that waits for it ends with the process.
///
/// * `day`: see [`due::day`].
pub(super) async fn read(
    args: &RunArgs,
    session: &Session,
    day: Option<Date>,
    signals: &Signals,
) -> Result<Input, Error> {
    let settings = &session.settings;
    let options = ReadOptions {
        forbid_all: !args.options.safety.allow_detach_all,
        due: due::due(settings, day),
        only: Some(args.only.clone()).filter(|only| !only.is_empty()),
        ..how_to_read(settings)
    };
    let source = match args.source() {
        Source::Stdin => {
            input::Source::Stream { name: "standard input".to_owned(), reader: Box::new(std::io::stdin()) }
        }
        Source::File(path) | Source::Journal(path) => input::Source::Path(path.to_owned()),
    };
    let name = match args.source() {
        Source::Stdin => "standard input".to_owned(),
        Source::File(path) | Source::Journal(path) => escape_untrusted(&shown(path), SHOWN_NAME),
    };
    let busy = session.screen.busy(&format!("reading {name}"));
    let reading = tokio::task::spawn_blocking(move || input::read(source, &options));
    let reading = async { reading.await.unwrap_or_else(|fault| std::panic::resume_unwind(fault.into_panic())) };
    let input = signals.unless_stopped(reading).await?;
    drop(busy);
    for note in &input.notes {
        tracing::debug!("{note}");
    }
    Ok(input)
}

/// Reads the list whose bindings a simulated world shall have.
pub(super) async fn read_world(path: &Path, signals: &Signals) -> Result<Input, Error> {
    let source = input::Source::Path(path.to_owned());
    let reading = tokio::task::spawn_blocking(move || input::read(source, &ReadOptions::default()));
    let reading = async { reading.await.unwrap_or_else(|fault| std::panic::resume_unwind(fault.into_panic())) };
    signals.unless_stopped(reading).await
}

/// What the settings say about how an input is read, and what its cells mean.
pub(super) fn how_to_read(settings: &Settings) -> ReadOptions {
    ReadOptions {
        encoding: settings.encoding.0.clone(),
        delimiter: settings.delimiter.0,
        sheet: settings.sheet.clone(),
        header_row: settings.header_row.map(NonZeroU32::get),
        hidden_rows: match settings.hidden_rows {
            HiddenRows::Refuse => input::Hidden::Refuse,
            HiddenRows::Skip => input::Hidden::Skip,
            HiddenRows::Read => input::Hidden::Read,
        },
        empty_desktop_is_every: settings.empty_desktop == EmptyDesktop::Every,
        columns: settings
            .columns
            .0
            .iter()
            .filter_map(|(field, header)| Some((Field::parse(field)?, header.clone())))
            .collect(),
        ..ReadOptions::default()
    }
}

/// What is wrong with rows whatever the service says: by the file alone and, where that has faults, by what the options
/// forbid. Where it has none, the plan finds all that they forbid, and it is told then.
pub(super) fn faults_before_a_look(input: &Input, policy: &Policy, settings: &Settings) -> Vec<input::RowFault> {
    if input.faults.is_empty() {
        return Vec::new();
    }
    let mut faults: Vec<_> = plan(input, None, policy).faults().collect();
    faults.retain(|fault| !settings.preflight || fault.code != NEEDS_PREFLIGHT);
    faults
}

/// Refuses invalid rows, all of them told at once, unless they are to be skipped.
///
/// # Errors
/// [`Error::Rows`]; [`Error::NoAccess`] where the rows can't be judged, since the service's list can't be trusted.
pub(super) fn refuse_invalid(path: &str, faults: &[input::RowFault], settings: &Settings) -> Result<(), Error> {
    if faults.is_empty() || settings.on_invalid == OnInvalid::Skip {
        return Ok(());
    }
    let mut report = input::report(faults, SHOWN_FAULTS);
    if faults.iter().any(|fault| fault.code == crate::plan::NOT_PROVED) {
        return Err(Error::NoAccess(format!("the list of desktops can't be trusted; nothing was sent\n{report}")));
    }
    let mut rows: Vec<usize> = faults.iter().map(|fault| fault.row).collect();
    rows.dedup();
    if faults.iter().filter(|fault| fault.code == USER_UNKNOWN).nth(1).is_some() {
        report.push_str(
            "\nif these names are right, they may be of another place: perhaps another region, project or account",
        );
    }
    report.push_str("\nnothing was sent; correct the rows, or leave them out with --on-invalid skip");
    Err(Error::Rows { path: path.to_owned(), count: rows.len(), report })
}

/// What the settings say about the plan.
pub(super) fn policy(options: &RunOptions, settings: &Settings) -> Policy {
    Policy {
        allow_detach_all: options.safety.allow_detach_all,
        protect: settings.protect.clone(),
        unknown_is_gone: settings.unknown_users == UnknownUsers::Gone,
        in_use_skip: settings.in_use == crate::config::InUse::Skip,
        bounds: bounds(settings),
        canary: settings.canary.map(NonZeroU32::get),
        max_desktops: settings.max_desktops,
        max_percent: settings.max_percent,
    }
}

pub(super) fn bounds(settings: &Settings) -> Bounds {
    Bounds {
        max_desktops: settings.max_desktops_per_request.get(),
        max_users: NonZeroUsize::get(settings.max_users_per_request),
        max_bytes: settings.max_request_bytes.0,
        ..Bounds::default()
    }
}

/// Reads the live bindings of all that the rows name; `None` with `--preflight off`.
pub(super) async fn look(
    input: &Input,
    policy: &Policy,
    session: &Session,
    place: &Place,
    gates: &Arc<Gates>,
    stop: &CancellationToken,
) -> Result<(Option<Snapshot>, u64), Error> {
    if !session.settings.preflight {
        return Ok((None, 0));
    }
    let preflight = preflight(session, place, gates, stop);
    let busy = session.screen.busy("looking at the live bindings");
    let users = if names_by_address(input) {
        Some(preflight.directory(Kind::User).await?.map_err(Error::NoAccess)?)
    } else {
        None
    };
    let mut snapshot = {
        let questions = questions(input, policy, users.as_ref());
        let mut look = std::pin::pin!(preflight.look(&questions));
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                snapshot = &mut look => break snapshot?,
                _ = tick.tick() => busy.say(&format!(
                    "looking at the live bindings: {} made",
                    counted(preflight.reads(), "read", "reads")
                )),
            }
        }
    };
    snapshot.users = users;
    refuse_unread(input, &snapshot, session)?;
    list_unknown(input, policy, &preflight, &mut snapshot).await?;
    tracing::info!(reads = preflight.reads(), desktops = snapshot.desktops.len(), "the live bindings were read");
    Ok((Some(snapshot), preflight.reads()))
}

/// Refuses a list whose desktops stand in a column that is not read, unless it was said that it has none.
fn refuse_unread(input: &Input, snapshot: &Snapshot, session: &Session) -> Result<(), Error> {
    let is_none = |(field, header): &(String, String)| field.starts_with("desktop") && header == "-";
    if session.settings.columns.0.iter().any(is_none) {
        return Ok(());
    }
    let refused = |header| Error::Input { path: input.name.clone(), problem: input::unread_desktops(header) };
    unread_desktops(input, snapshot).map(refused).map_or(Ok(()), Err)
}

/// Reads whom the service knows, where without it nobody could tell whether a row's user is gone or never was.
///
/// # Errors
/// [`Error::NoAccess`] where the service does not list them, and that is not to be taken as gone.
async fn list_unknown(
    input: &Input,
    policy: &Policy,
    preflight: &Preflight,
    snapshot: &mut Snapshot,
) -> Result<(), Error> {
    let Unlisted { users, groups } = plan(input, Some(snapshot), policy).unlisted();
    for (kind, rows) in [(Kind::User, users), (Kind::Group, groups)] {
        if rows == 0 {
            continue;
        }
        let listed = match preflight.directory(kind).await? {
            Ok(listed) => Some(listed),
            Err(why) => {
                let (rows, verb) = (counted(rows, "row", "rows"), if rows == 1 { "names" } else { "name" });
                let who = if kind == Kind::Group { "a user group" } else { "a user" };
                let problem =
                    format!("{rows} {verb} {who} that is bound nowhere, and the service does not list all it knows");
                if !policy.unknown_is_gone {
                    return Err(Error::NoAccess(format!(
                        "{problem}: {why}\nTo take them as already detached anyway, say --unknown-users gone"
                    )));
                }
                tracing::warn!("{problem}: {why}");
                None
            }
        };
        match kind {
            Kind::Group | Kind::UserGroup => snapshot.groups = listed,
            Kind::User | Kind::All => snapshot.users = listed,
        }
    }
    Ok(())
}

/// The reads before a write.
pub(super) fn preflight(session: &Session, place: &Place, gates: &Arc<Gates>, stop: &CancellationToken) -> Preflight {
    Preflight::new(
        Reader::new(place.target.clone()),
        Arc::clone(gates),
        session.settings.concurrency.get(),
        waits(&session.settings),
        fastrand::u64(..),
        stop.clone(),
    )
}

pub(super) fn waits(settings: &Settings) -> Waits {
    let Settings { retry_base, settle_time, read_back_deadline, doubt_wait, poll_interval, .. } = *settings;
    Waits { retry_base, settle_time, read_back_deadline, doubt_wait, poll_interval }
}

/// A path as it is told to people and kept in the journal.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
