//! Temporary keys, in the form in which the metadata service and IAM give them alike.

use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::renewing::Fresh;
use super::sign::Key;
use crate::api::lenient::lenient;
use crate::api::transport::Answer;

#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyAnswer {
    #[serde(deserialize_with = "lenient")]
    credential: RawKey,
}

/// No `Debug`: it holds keys.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RawKey {
    #[serde(deserialize_with = "lenient")]
    access: String,
    #[serde(deserialize_with = "lenient")]
    secret: String,
    #[serde(deserialize_with = "lenient")]
    securitytoken: String,
    #[serde(deserialize_with = "lenient")]
    expires_at: String,
}

/// The key in an answer.
///
/// * `ahead`: how long before its end it is renewed.
///
/// # Errors
/// In words that follow "the answer", without serde's own text, which may quote a value.
pub(super) fn read_key(answer: &Answer, ahead: Duration) -> Result<Fresh<Key>, &'static str> {
    let read = serde_json::from_slice::<KeyAnswer>(&answer.body).map_err(|_| "can't be read")?;
    let raw = read.credential;
    if raw.access.is_empty() || raw.secret.is_empty() {
        return Err("holds no key");
    }
    let token = (!raw.securitytoken.is_empty()).then_some(raw.securitytoken.as_str());
    let lifetime = super::lifetime(&raw.expires_at, answer, Timestamp::now());
    Ok(Fresh { item: Key::new(&raw.access, &raw.secret, token), lifetime, ahead })
}
