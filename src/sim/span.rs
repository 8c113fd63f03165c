//! Spans of time as a scenario writes them.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Ten years, in seconds.
const LONGEST_S: f64 = 315_360_000.0;

/// `300ms`, `0.8s`, `10m`, `2h`.
fn parse_span(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    if number * seconds > LONGEST_S {
        return None; // so that any sum of times fits a clock
    }
    // Thousandths are exact enough for a script, and rounding keeps `0.8s` at 800 ms.
    let span = Duration::try_from_secs_f64(number * seconds).ok()?;
    Some(Duration::from_micros(u64::try_from((span.as_nanos() + 500) / 1_000).ok()?))
}

pub(super) fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_span(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is no duration: write 300ms, 75s, 10m or 2h")))
}

pub(super) fn maybe_span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    span(deserializer).map(Some)
}

pub(super) fn spans<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Duration>, D::Error> {
    Vec::<String>::deserialize(deserializer)?
        .iter()
        .map(|text| {
            parse_span(text)
                .ok_or_else(|| D::Error::custom(format!("`{text}` is no duration: write 300ms, 75s, 10m or 2h")))
        })
        .collect()
}
