//! The command line: what was asked, carried out by the modules below, told in words.
//!
//! Standard output carries what was asked for; logs and progress go to standard error, whose last line says what the
//! exit code means and what to type next.

mod approval;
pub(crate) mod args;
mod confirm;
mod due;
mod execute;
mod generate;
mod list;
#[cfg(test)]
mod next_tests;
mod outputs;
mod plan;
mod planning;
mod report;
mod run;
mod session;
mod shorter_list;
mod signals;
mod simulate;
mod standing;
mod status;
mod steps;
mod still;
mod target;
mod task;
mod undo;

use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use args::{Cli, Command};
use clap::CommandFactory as _;
use serde_json::json;

use crate::error::{Error, Exit};
use crate::files::identity;
use crate::journal::{Label, View};
use crate::outcome::next::{Next, last_line, last_record, last_words};
use crate::report::{Screen, stderr_has_records};
use crate::text::{escape_untrusted, timestamp_now};

const ERROR: &str = "error:";
const ALARM: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();

/// How a command ended.
struct Closing {
    exit: Exit,
    /// Why a run stopped before its end.
    why: Option<String>,
    /// What to do next; `None` where the command has no last line (`completions`, `man`).
    next: Option<Next>,
}

impl Closing {
    /// Ended well, and there is nothing to say.
    const fn silent() -> Self {
        Self { exit: Exit::Done, why: None, next: None }
    }
}

/// Runs one command line to its end.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        // The message of a panic may hold anything; its place says enough (P19).
        let place = panic.location().map_or_else(|| "unknown place".to_owned(), ToString::to_string);
        complain(&format!("error: internal fault at {place}; please report it with the version and this line"));
    }));
    let words: Vec<OsString> = args.into_iter().collect();
    let cli = match Cli::read(words.clone()) {
        Ok(cli) => cli,
        Err(error) => {
            let code = u8::try_from(error.exit_code()).unwrap_or(Exit::Rejected.code());
            _ = error.print();
            if code != Exit::Done.code() {
                tell_end(Exit::Rejected, false, None, Some(&help_of(&words)));
            }
            return ExitCode::from(code);
        }
    };
    let plans = cli.command.only_plans();
    let outcome = std::panic::catch_unwind(|| dispatch(cli));
    let (exit, code) = match outcome {
        Ok(Ok(closing)) => {
            if let Some(next) = &closing.next {
                tell_end(closing.exit, plans, closing.why.as_deref(), Some(next));
            }
            (closing.exit, closing.exit.code())
        }
        Ok(Err(failure)) => {
            let text = in_words(&failure.error);
            // Red where standard error takes colour; a record has none.
            let painted = match text.strip_prefix(ERROR) {
                Some(rest) if !stderr_has_records() => format!("{ALARM}{ERROR}{ALARM:#}{rest}"),
                _ => text,
            };
            tell("ERROR", "error", &painted);
            let exit = failure.error.exit();
            let next = failure.next.or_else(|| after(&failure.error, &words));
            tell_end(exit, plans, None, next.as_ref());
            (exit, exit.code())
        }
        Err(_) => (Exit::Fault, Exit::Fault.code()),
    };
    if exit == Exit::Fault {
        tell_end(Exit::Fault, plans, None, None);
    }
    ExitCode::from(code)
}

/// An error, and what is known of how to go on.
struct Failure {
    error: Box<Error>,
    next: Option<Next>,
}

impl Failure {
    fn new(error: Error, next: Option<Next>) -> Self {
        Self { error: Box::new(error), next }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error, None)
    }
}

fn dispatch(cli: Cli) -> Result<Closing, Failure> {
    match cli.command {
        Command::Plan(args) => plan::command(&args),
        Command::Run(args) if args.options.safety.dry_run => plan::command(&args),
        Command::Run(args) => run::command(&args),
        Command::Report(args) => report::command(&args).map_err(Failure::from),
        Command::Undo(args) => undo::command(&args),
        Command::Status(args) => status::command(&args).map_err(Failure::from),
        Command::Simulate(args) => simulate::command(&args).map_err(Failure::from),
        Command::Completions { shell } => generate::completions(shell).map_err(Failure::from),
        Command::Schema { of } => generate::schema(of).map_err(Failure::from),
        Command::Man => generate::man().map_err(Failure::from),
    }
}

/// Does something in a runtime of its own.
fn on_runtime(work: impl Future<Output = Result<Closing, Failure>>) -> Result<Closing, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Error::Internal(format!("no runtime: {error}")))?;
    let result = runtime.block_on(work);
    runtime.shutdown_background(); // a question that nobody answers must not hold the end
    result
}

/// The error and its causes, a line each.
fn in_words(error: &Error) -> String {
    let mut text = format!("{ERROR} {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str("\n  caused by: ");
        text.push_str(&escape_untrusted(&cause.to_string(), 1_000));
        source = cause.source();
    }
    text
}

fn tell_end(exit: Exit, plans: bool, why: Option<&str>, next: Option<&Next>) {
    complain(&match (stderr_has_records(), std::io::stderr().is_terminal()) {
        (true, _) => last_record(exit, plans, why, next),
        (false, true) => last_words(exit, plans, why, next, Screen::columns()),
        (false, false) => last_line(exit, plans, why, next),
    });
}

/// What comes after an error that left nothing to go on from: mostly the same command once more, when its cause is
/// gone.
fn after(error: &Error, words: &[OsString]) -> Option<Next> {
    let given: Vec<&OsStr> = words.iter().skip(1).map(OsString::as_os_str).collect();
    let with = |option: &'static str| {
        // What stands behind `--` is no option.
        let end = given.iter().position(|word| *word == "--").unwrap_or(given.len());
        let mut with = given.clone();
        if !given.iter().any(|word| *word == option) {
            with.insert(end, option.as_ref());
        }
        with
    };
    let verb = given.first().and_then(|verb| verb.to_str());
    let journal;
    let command = match error {
        Error::Internal(_) => return None,
        Error::Locked(lock) => {
            journal = lock.with_extension("");
            vec!["status".as_ref(), journal.as_os_str()]
        }
        Error::NotOurJournal { path, .. } => {
            let at = Path::new(path);
            let stands = View::open(at).and_then(|view| view.progress());
            match (stands, Label::read(at)) {
                // It belongs to somebody: how that run stands, and how it goes on, is what decides.
                (Ok(_), _) => vec!["status".as_ref(), at.as_os_str()],
                (Err(_), Ok(label)) => match verb {
                    // The command does not name it, but finds it where its own shall stand.
                    Some("run" | "undo") if !given.iter().any(|word| identity(Path::new(word)) == identity(at)) => {
                        with("--fresh")
                    }
                    _ if label.known => given, // once it is restored
                    _ => return None,          // no command of this version helps
                },
                (Err(_), Err(_)) => return Some(change("See to the file that is named above")),
            }
        }
        // A run that was planned from this journal has no list to plan anew from.
        Error::Damaged { path, .. } => match verb {
            Some("run" | "undo") if !given.iter().any(|word| Path::new(word) == path) => with("--fresh"),
            _ => return None,
        },
        Error::Unconfirmed => with("--yes"),
        // There is no plan to be seen but the one that stands.
        Error::Refused(_) if verb == Some("run") && given.iter().any(|word| is_journal(word)) => {
            std::iter::once("status".as_ref())
                .chain(given.iter().copied().filter(|word| is_journal(word)).take(1))
                .collect()
        }
        // What would be done, and why it is refused, is seen best in the plan.
        Error::Refused(_) if verb != Some("plan") && !given.iter().any(|word| *word == "--dry-run") => {
            with("--dry-run")
        }
        Error::NoAccess(_) | Error::Disk { .. } | Error::Stopped(_) => given,
        // The same command would only fail again.
        Error::Refused(_) => return Some(change("Take rows out of the list, or raise the limit that is named above")),
        Error::Rows { .. } => {
            return Some(change("Correct the rows that are named above"));
        }
        Error::Input { .. } => return Some(change("Correct the input as said above")),
        Error::Setting { name, origin, .. } => return Some(change(&format!("Change the setting `{name}` ({origin})"))),
        Error::Usage { .. } => return Some(change("Change the command as said above")),
        Error::File { .. } => return Some(change("See to the file that is named above, or name another")),
    };
    let command = std::iter::once("batch-detach".as_ref()).chain(command).map(OsStr::to_owned).collect();
    Some(Next { words: "When the cause is gone:".to_owned(), command: Some(command) })
}

/// Whether a word of the command line names a run to go on with.
fn is_journal(word: &OsStr) -> bool {
    !word.as_encoded_bytes().starts_with(b"-") && Path::new(word).extension().is_some_and(|ending| ending == "journal")
}

/// What to do before the same command can end otherwise.
fn change(what: &str) -> Next {
    Next { words: format!("{what}, then run again."), command: None }
}

/// The help on the command that was tried, as far as it is one.
fn help_of(words: &[OsString]) -> Next {
    let tried = words.get(1).and_then(|word| word.to_str());
    let known = tried.filter(|word| Cli::command().find_subcommand(word).is_some());
    let command = ["batch-detach"].into_iter().chain(known).chain(["--help"]).map(OsString::from).collect();
    Next { words: "To see what can be said:".to_owned(), command: Some(command) }
}

/// Something to know that is no result: on standard error, as a record where that carries records.
fn note(text: &str) {
    tell("INFO", "note", text);
}

fn tell(level: &str, event: &str, text: &str) {
    if stderr_has_records() {
        let text = anstream::adapter::strip_str(text).to_string();
        let record = json!({"timestamp": timestamp_now(), "level": level, "event": event, "message": text});
        complain(&record.to_string());
    } else {
        complain(text);
    }
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
