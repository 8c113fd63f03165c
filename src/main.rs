//! Parses, runs, turns the result into an exit code; nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    batch_detach::main(std::env::args_os())
}
