//! Completions and the manual page, made from the command line itself; schemas, made from the types of the outputs.

use clap::CommandFactory as _;

use super::args::{Cli, SchemaOf};
use super::{Closing, say, status};
use crate::error::Error;

/// `completions SHELL`.
pub(super) fn completions(shell: clap_complete::Shell) -> Result<Closing, Error> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "batch-detach", &mut text);
    say(&String::from_utf8_lossy(&text))?;
    Ok(Closing::silent())
}

/// `schema OUTPUT`.
pub(super) fn schema(of: SchemaOf) -> Result<Closing, Error> {
    let schema = match of {
        SchemaOf::Plan => {
            let (run, undo) = (crate::plan::document::schema(), crate::reconcile::undo::schema());
            schemars::json_schema!({ "title": "A plan, of a run or of an undo", "anyOf": [run, undo] })
        }
        SchemaOf::Summary => crate::outcome::summary::schema(),
        SchemaOf::Status => status::schema(),
        SchemaOf::Log => crate::outcome::next::log_schema(),
    };
    let text = serde_json::to_string_pretty(&schema).map_err(|error| Error::Internal(error.to_string()))?;
    say(&(text + "\n"))?;
    Ok(Closing::silent())
}

/// `man`: one page, the subcommands' pages after the program's own.
pub(super) fn man() -> Result<Closing, Error> {
    let mut text = Vec::new();
    let mut command = Cli::command();
    command.build();
    let pages = std::iter::once(&command).chain(command.get_subcommands().filter(|sub| sub.get_name() != "help"));
    for page in pages {
        let written = clap_mangen::Man::new(page.clone()).render(&mut text);
        written.map_err(|error| Error::Internal(format!("the manual page can't be made: {error}")))?;
    }
    say(&String::from_utf8_lossy(&text))?;
    Ok(Closing::silent())
}
