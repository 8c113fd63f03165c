//! Text for people and records: escaping what is foreign, widths, numbers, times, commands, the page they stand on.

pub mod bytes;
mod escape;
mod numbers;
mod page;
mod shell;
mod time;
mod wrap;

pub use escape::{escape_untrusted, is_invisible};
pub use numbers::{counted, grouped, size, spell_rate, spell_rate_beside};
pub use page::{BOLD, DIM, Page};
pub use shell::{shell_line, shell_quote};
pub use time::{spell_duration, spell_estimate, timestamp_now};
pub use wrap::{columns, one_line, wrap};
