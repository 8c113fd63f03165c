//! Whether a request is signed as the gateway wants it: over what arrived, by a key that is known, not long ago.

use http::request::Parts;
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;

use crate::api::auth::canonical;
use crate::api::auth::sign::{Key, Scheme, authorization};

/// Dates that are off by more than this are refused.
const MAX_SKEW: SignedDuration = SignedDuration::from_mins(15);

fn header<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

/// The access key that a request names.
pub(super) fn access_key(parts: &Parts) -> Option<&str> {
    header(parts, "Authorization")?.split_once("Access=")?.1.split(',').next()
}

/// Checks a request by the secret of `key`.
///
/// # Errors
/// What is wrong with it, in a few words.
pub(crate) fn verify(parts: &Parts, body: &[u8], key: &Key) -> Result<(), String> {
    let given = header(parts, "Authorization").ok_or("no Authorization")?;
    let names = given.split_once("SignedHeaders=").and_then(|(_, rest)| rest.split(',').next()).ok_or("no names")?;
    let headers: Vec<(String, String)> = names
        .split(';')
        .map(|name| header(parts, name).map(|value| (name.to_owned(), value.to_owned())))
        .collect::<Option<_>>()
        .ok_or("a signed header is missing")?;
    if !["host", "x-sdk-date"].iter().all(|must| headers.iter().any(|(name, _)| name == must)) {
        return Err("host and date are not signed".to_owned());
    }
    let date = header(parts, "X-Sdk-Date").ok_or("no date")?;
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date)
        .and_then(|time| jiff::tz::Offset::UTC.to_timestamp(time))
        .map_err(|_| "the date can't be read")?;
    if Timestamp::now().duration_since(time).abs() > MAX_SKEW {
        return Err("the date is off".to_owned());
    }
    if header(parts, "X-Security-Token") != key.security_token.as_ref().map(ExposeSecret::expose_secret) {
        return Err("the security token is another".to_owned());
    }
    let hash = canonical::payload_hash(body);
    let query = parts.uri.query().unwrap_or_default();
    let text = canonical::request(parts.method.as_str(), parts.uri.path(), query, &headers, &hash);
    if authorization(key, Scheme::Plain, date, &text, names) == given { Ok(()) } else { Err("another text".to_owned()) }
}
