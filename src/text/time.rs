//! Times and time spans as people and records read them.

use std::time::Duration;

/// Wall-clock time for records that people read: UTC, RFC 3339, whole milliseconds.
pub(crate) fn timestamp_now() -> String {
    let now = jiff::Timestamp::now();
    let millis = now.as_millisecond();
    jiff::Timestamp::from_millisecond(millis).unwrap_or(now).to_string()
}

/// A time span in the two units that matter: `1.2 s`, `45 s`, `12 min 30 s`, `10 min`, `2 h 5 min`.
pub(crate) fn spell_duration(span: Duration) -> String {
    let seconds = span.as_secs();
    let two = |more: u64, unit: &str, rest: u64, small: &str| match rest {
        0 => format!("{more} {unit}"),
        _ => format!("{more} {unit} {rest} {small}"),
    };
    match seconds {
        0..10 if span.subsec_nanos() > 0 => format!("{:.1} s", span.as_secs_f64()),
        0..60 => format!("{seconds} s"),
        60..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        _ => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
    }
}

/// A time span that is only estimated: `less than 1 s`, `about 45 s`, `about 13 min`, `about 2 h 5 min`.
pub(crate) fn spell_estimate(span: Duration) -> String {
    let rounded = match span.as_secs() {
        0 => return "less than 1 s".to_owned(),
        1..120 => Duration::from_secs((span + Duration::from_millis(500)).as_secs()),
        seconds => Duration::from_secs((seconds + 30) / 60 * 60),
    };
    format!("about {}", spell_duration(rounded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_units_that_matter() {
        for (millis, text) in [
            (0, "0 s"),
            (9_000, "9 s"),
            (1_240, "1.2 s"),
            (45_000, "45 s"),
            (600_000, "10 min"),
            (750_000, "12 min 30 s"),
            (7_200_000, "2 h"),
            (7_500_000, "2 h 5 min"),
        ] {
            assert_eq!(spell_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn an_estimate_is_no_more_exact_than_it_can_be() {
        for (millis, text) in [
            (200, "less than 1 s"),
            (3_400, "about 3 s"),
            (600_400, "about 10 min"),
            (750_000, "about 13 min"),
            (9_000_000, "about 2 h 30 min"),
        ] {
            assert_eq!(spell_estimate(Duration::from_millis(millis)), text);
        }
    }
}
