//! Text for people and records: escaping what is foreign, widths, numbers, times, commands, the page they stand on.

pub(crate) mod bytes;
mod csv_line;
mod escape;
mod numbers;
mod page;
mod schema;
mod shell;
mod time;
mod wrap;

pub(crate) use csv_line::{csv_field, csv_line};
pub use escape::escape_untrusted;
pub(crate) use escape::{is_invisible, quoted};
pub(crate) use numbers::{counted, grouped, size, spell_rate, spell_rate_beside};
pub(crate) use page::{BOLD, DIM, Page};
pub(crate) use schema::serialized;
pub(crate) use shell::{shell_line, shell_quote};
pub(crate) use time::{spell_duration, spell_estimate, timestamp_now};
pub(crate) use wrap::{columns, one_line, wrap};
