//! Completions and the manual page, made from the command line itself.

use clap::CommandFactory as _;

use super::args::Cli;
use super::{Closing, say};
use crate::error::Error;

/// `completions SHELL`.
pub(super) fn completions(shell: clap_complete::Shell) -> Result<Closing, Error> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "batch-detach", &mut text);
    say(&String::from_utf8_lossy(&text))?;
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
