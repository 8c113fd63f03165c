//! Points in time as people and records read them.

/// Wall-clock time for records that people read: UTC, RFC 3339, whole milliseconds.
pub(crate) fn timestamp_now() -> String {
    let now = jiff::Timestamp::now();
    let millis = now.as_millisecond();
    jiff::Timestamp::from_millisecond(millis).unwrap_or(now).to_string()
}
