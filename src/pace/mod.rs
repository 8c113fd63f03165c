//! How fast, and whether at all, requests may start: what follows from the server's own limits. Knows nothing of HTTP.
//!
//! [`Gates`] is what everybody who sends waits at. Inside it, each class of requests has a ceiling that is never
//! passed (P8, [`limiter`]), a pace below it that follows the server's 429s (P9, [`adaptive`]), and a gate that
//! those close; all classes share the slots and the [`breaker`]. [`Budget`] and [`backoff`] bound repeats (P10).

mod adaptive;
pub(crate) mod breaker;
mod budget;
mod gates;
mod hints;
mod limiter;
#[cfg(test)]
mod scenarios;
mod waits;

/// Tries without any answer before a process's first answer: then nobody is there, and nothing was sent.
pub(crate) const FIRST_TRIES: u32 = 3;

pub(crate) use adaptive::ThrottleHint;
pub(crate) use budget::{Budget, backoff};
pub use gates::{Gates, Heard};
pub(crate) use gates::{Held, MAX_GATE, Pass, Turn};
pub use hints::{parse_limit_text, parse_retry_after};
pub use limiter::Ceiling;
pub use waits::Waits;
