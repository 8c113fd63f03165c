//! Text for people and records: escaping what is foreign, widths, numbers, times, lines that fit the screen.

pub(crate) mod bytes;
mod escape;
mod numbers;
mod terminal;
mod time;

pub use escape::escape_untrusted;
pub(crate) use escape::is_invisible;
pub(crate) use numbers::{counted, grouped};
pub(crate) use terminal::{columns, one_line, shell_line, shell_quote, spell_duration, wrap};
pub(crate) use time::timestamp_now;
