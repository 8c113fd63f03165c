//! The day that the rows' days are held against.

use std::path::Path;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::args::{AS_OF, RunArgs};
use crate::config::{DueColumn, Settings};
use crate::error::Error;
use crate::input::Due;
use crate::journal::{RunLock, View};

/// The day of `--due-column`; `None` where no column says when rows are due.
///
/// * `journal`: where this run's journal stands, if it has one; an unfinished run keeps its day when it goes on.
///
/// # Errors
/// [`Error::Usage`]: a day without a column, or no day to be told.
pub(super) fn day(args: &RunArgs, settings: &Settings, journal: Option<&Path>) -> Result<Option<Date>, Error> {
    let given = args.meaning.as_of;
    if !matches!(settings.due_column, Some(DueColumn::Header(_))) {
        return match given {
            Some(_) => Err(Error::Usage {
                problem: "`--as-of` is the day for the column that says when rows are due, and none is named: say \
                          --due-column HEADER, or leave --as-of out"
                    .to_owned(),
            }),
            None => Ok(None),
        };
    }
    let unfinished = || journal.filter(|_| !args.options.safety.fresh).and_then(day_of_unfinished);
    match given.or_else(unfinished) {
        Some(day) => Ok(Some(day)),
        None => today().map(Some),
    }
}

/// How the reader is to take the days of the list.
///
/// * `day`: see [`day`].
pub(super) fn due(settings: &Settings, day: Option<Date>) -> Due {
    let format = settings.date_format.clone();
    match (&settings.due_column, day) {
        (Some(DueColumn::Header(header)), Some(as_of)) => Due::By { header: header.clone(), as_of, format },
        (Some(DueColumn::Ignored), _) => Due::Now,
        // Where nobody knows the day here, that of the whole world is near enough to ask.
        _ => Due::Ask {
            today: today().unwrap_or_else(|_| TimeZone::UTC.to_datetime(jiff::Timestamp::now()).date()),
            format,
        },
    }
}

/// Today in the time zone of `TZ`, else in the machine's, else in UTC.
///
/// # Errors
/// [`Error::Usage`] for a `TZ` that names no time zone: a day off, and people lose their desktop a day early.
fn today() -> Result<Date, Error> {
    let named = std::env::var_os("TZ").is_some_and(|name| !name.is_empty());
    let zone = match TimeZone::try_system() {
        Ok(zone) => zone,
        Err(_) if !named => TimeZone::UTC,
        Err(error) => {
            let problem = format!(
                "what day it is can't be told: the variable TZ names no time zone that is known here ({error}); correct \
                 it, or give the day with --as-of"
            );
            return Err(Error::Usage { problem });
        }
    };
    Ok(zone.to_datetime(jiff::Timestamp::now()).date())
}

/// The day that an unfinished run was planned for. What can't be read is judged where the run is taken up.
fn day_of_unfinished(journal: &Path) -> Option<Date> {
    if !journal.exists() || RunLock::is_held(journal) {
        return None;
    }
    let view = View::open(journal).ok()?;
    let progress = view.progress().ok()?;
    if progress.finished || progress.undone_by.is_some() {
        return None;
    }
    view.identity().plan_settings.get(AS_OF)?.parse().ok()
}
