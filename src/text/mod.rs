//! Text for people and records: escaping what is foreign, widths, numbers, times, lines that fit the screen.

pub mod bytes;
mod escape;
mod numbers;
mod terminal;
mod time;

pub use escape::{escape_untrusted, is_invisible};
pub use numbers::{counted, grouped};
pub use terminal::{columns, one_line, shell_line, shell_quote, spell_duration, wrap};
pub use time::timestamp_now;
