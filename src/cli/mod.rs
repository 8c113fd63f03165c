//! The command line: what was asked, carried out by the modules below, told in words.
//!
//! Standard output carries what was asked for; logs and progress go to standard error, whose last line says what the
//! exit code means and what to type next.

pub mod args;
mod carry;
mod place;
mod plan;
mod planning;
mod run;
mod session;
mod signals;
mod simulate;
mod status;
mod texts;
mod undo;

use std::error::Error as _;
use std::ffi::OsString;
use std::io::Write as _;
use std::process::ExitCode;

use args::{Cli, Command};

use crate::error::{Error, Exit};
use crate::model::tame;
use crate::outcome::next::{Next, last_line, last_record};

/// How a command ended.
struct Closing {
    exit: Exit,
    /// What to do next; `None` where the command has no last line (`completions`, `man`).
    next: Option<Next>,
    /// Whether standard error carries records.
    records: bool,
}

impl Closing {
    /// Ended well, and there is nothing to say.
    const fn silent() -> Self {
        Self { exit: Exit::Done, next: None, records: false }
    }
}

/// Runs one command line to its end.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        // The message of a panic may hold anything; its place says enough (P19).
        let place = panic.location().map_or_else(|| "unknown place".to_owned(), ToString::to_string);
        complain(&format!("error: internal fault at {place}; please report it with the version and this line"));
    }));
    let cli = match Cli::read(args) {
        Ok(cli) => cli,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(Exit::Rejected.code());
            _ = error.print();
            return ExitCode::from(code);
        }
    };
    let outcome = std::panic::catch_unwind(|| dispatch(cli));
    let (exit, code) = match outcome {
        Ok(Ok(closing)) => {
            if let Some(next) = &closing.next {
                tell_end(closing.exit, Some(next), closing.records);
            }
            (closing.exit, closing.exit.code())
        }
        Ok(Err(failure)) => {
            complain(&in_words(&failure.error));
            let exit = failure.error.exit();
            tell_end(exit, failure.next.as_ref(), failure.records);
            (exit, exit.code())
        }
        Err(_) => (Exit::Fault, Exit::Fault.code()),
    };
    if exit == Exit::Fault {
        tell_end(Exit::Fault, None, false);
    }
    ExitCode::from(code)
}

/// An error, and what is known of how to go on.
struct Failure {
    error: Error,
    next: Option<Next>,
    records: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, next: None, records: false }
    }
}

fn dispatch(cli: Cli) -> Result<Closing, Failure> {
    match cli.command {
        Command::Plan(args) => plan::command(&args),
        Command::Run(args) if args.options.safety.dry_run => plan::command(&args),
        Command::Run(args) => run::command(&args),
        Command::Undo(args) => undo::command(&args),
        Command::Report(_) => Err(Error::Usage { problem: "not built yet".to_owned() }.into()),
        Command::Status(args) => status::command(&args).map_err(Failure::from),
        Command::Simulate(args) => simulate::command(&args).map_err(Failure::from),
        Command::Completions { shell } => texts::completions(shell).map_err(Failure::from),
        Command::Man => texts::man().map_err(Failure::from),
    }
}

/// The error and its causes, a line each.
fn in_words(error: &Error) -> String {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str("\n  caused by: ");
        text.push_str(&tame(&cause.to_string(), 1_000));
        source = cause.source();
    }
    text
}

fn tell_end(exit: Exit, next: Option<&Next>, records: bool) {
    complain(&if records { last_record(exit, next) } else { last_line(exit, next) });
}

/// A line on standard error. One that can't be written is lost: there is nowhere left to say so.
fn complain(text: &str) {
    _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Text on standard output, exactly as it is.
///
/// # Errors
/// [`Error::Disk`] where it can't be written. A reader that went away (`| head`) is no error.
fn say(text: &str) -> Result<(), Error> {
    let mut out = anstream::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::Disk { verb: "write to", path: "standard output".into(), source: error.into() })
        }
        _ => Ok(()),
    }
}

/// Columns of the terminal that standard output goes to; 80 elsewhere.
fn width() -> usize {
    let size = terminal_size::terminal_size_of(std::io::stdout());
    size.map_or(80, |(terminal_size::Width(columns), _)| usize::from(columns))
}

/// Whether standard output takes colour.
fn colour() -> bool {
    anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
}
