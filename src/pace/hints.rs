//! What a 429 says about itself: how long to wait, and which limit was passed.

use std::time::Duration;

/// Longer waits are all the same to us (over 15 min the run stops); bounded so that adding them can't overflow.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Reads `Retry-After`: whole seconds, or an HTTP date taken against `date`, the answer's own `Date`. No local clock
/// has a say, it may be wrong.
///
/// `None` for anything else: garbage, negative numbers, fractions, a date in the past, a date without a `Date`. A wait
/// of more than a day is a day; what is more than [`super::MAX_GATE`] is for the caller to judge.
pub fn parse_retry_after(value: &str, date: Option<&str>) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits alone fail to parse only where they are too many.
        return Some(value.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    let from = httpdate::parse_http_date(date?.trim()).ok()?;
    until.duration_since(from).ok().filter(|wait| !wait.is_zero()).map(|wait| wait.min(LONGEST))
}

/// Reads the limit that a 429 names, as in `policy user over ratelimit,limit:60,time:1 minute`: so many requests in so
/// long. `None` where the text names none, or one that can't be: zero requests, zero time.
pub fn parse_limit_text(msg: &str) -> Option<(u32, Duration)> {
    let msg = msg.to_ascii_lowercase();
    let limit = leading_number(after(&msg, "limit:")?)?.0;
    let (count, unit) = leading_number(after(&msg, "time:")?)?;
    let unit: String = unit.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    let unit_s = match unit.as_str() {
        "s" | "sec" | "secs" | "second" | "seconds" => 1,
        "m" | "min" | "mins" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        _ => return None,
    };
    let window_s = u64::from(count).checked_mul(unit_s)?;
    (limit > 0 && window_s > 0).then_some((limit, Duration::from_secs(window_s)))
}

fn after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.find(word).map(|at| text[at + word.len()..].trim_start())
}

/// The digits that `text` begins with, and the rest.
fn leading_number(text: &str) -> Option<(u32, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DATE: &str = "Tue, 24 Nov 2026 10:00:00 GMT";

    #[test]
    fn seconds_and_dates_are_read() {
        assert_eq!(parse_retry_after(" 7 ", None), Some(Duration::from_secs(7)));
        assert_eq!(parse_retry_after("0", None), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("Tue, 24 Nov 2026 10:01:30 GMT", Some(DATE)), Some(Duration::from_secs(90)));
    }

    #[test]
    fn p09_an_absurd_retry_after_is_bounded_or_none() {
        assert_eq!(parse_retry_after("1000000000", None), Some(LONGEST));
        assert_eq!(parse_retry_after(&"9".repeat(500), None), Some(LONGEST));
        assert_eq!(parse_retry_after("Fri, 31 Dec 9999 23:59:59 GMT", Some(DATE)), Some(LONGEST));
        for garbage in ["", "-5", "+5", "1.5", "soon", "٣", "Tue, 24 Nov 2026 09:59:59 GMT", DATE] {
            assert_eq!(parse_retry_after(garbage, Some(DATE)), None, "{garbage:?}");
        }
    }

    #[test]
    fn a_date_needs_the_answers_own_date() {
        assert_eq!(parse_retry_after("Tue, 24 Nov 2026 10:01:30 GMT", None), None);
        assert_eq!(parse_retry_after("Tue, 24 Nov 2026 10:01:30 GMT", Some("yesterday")), None);
    }

    #[test]
    fn limits_are_read_in_all_their_units() {
        for (text, limit) in [
            ("policy user over ratelimit,limit:60,time:1 minute", Some((60, 60))),
            ("The throttling threshold has been reached: policy ip over ratelimit,limit:5,time:1 second", Some((5, 1))),
            ("limit: 1000, time: 2 Hours", Some((1_000, 7_200))),
            ("remain:9,limit:10,time:10 second", Some((10, 10))),
            ("limit:7,time:1day", Some((7, 86_400))),
            ("ratelimit", None),
            ("limit:,time:1 minute", None),
            ("limit:0,time:1 minute", None),
            ("limit:5,time:0 second", None),
            ("limit:5,time:1 fortnight", None),
            ("limit:99999999999,time:1 minute", None),
        ] {
            assert_eq!(parse_limit_text(text).map(|(n, window)| (n, window.as_secs())), limit, "{text}");
        }
    }

    proptest! {
        #[test]
        fn p18_no_text_makes_the_readers_panic(value in ".*", date in ".*", tail in "[0-9]{0,12}.{0,8}") {
            _ = parse_retry_after(&value, Some(&date));
            _ = parse_retry_after(&tail, Some(DATE));
            _ = parse_limit_text(&value);
            _ = parse_limit_text(&format!("ratelimit,limit:{tail},time:{tail}"));
        }

        #[test]
        fn dates_differ_by_what_lies_between_them(from in 0_u64..4_000_000_000, wait in 1_u64..86_400) {
            let date = |s| httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(s));
            prop_assert_eq!(parse_retry_after(&date(from + wait), Some(&date(from))), Some(Duration::from_secs(wait)));
        }
    }
}
