//! Who the requests come from.

pub(crate) mod agency;
pub mod canonical;
pub(crate) mod chain;
pub(crate) mod keys;
pub(crate) mod koocli;
pub(crate) mod login;
pub(crate) mod metadata;
pub(crate) mod profile;
pub(crate) mod provider;
pub(crate) mod renewals;
pub(crate) mod renewing;
pub(crate) mod sign;
mod temporary;
pub(crate) mod variables;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::HeaderValue;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

use super::transport::{Answer, skew};

/// Puts credentials on a request, anew for every attempt.
pub trait Authenticator: Send + Sync {
    /// Adds the headers that authenticate `request`; `Err` says in plain words, without secrets, why it can't.
    fn authorize<'a>(&'a self, request: &'a mut http::Request<Bytes>) -> BoxFuture<'a, Result<(), String>>;

    /// After a 401: gets new credentials. `Ok(false)` where there is nothing to renew.
    fn renew(&self) -> BoxFuture<'_, Result<bool, String>>;

    /// What `plan` says of the credentials: their source and the account part that may be shown, never a value.
    fn describe(&self) -> String;
}

/// A token that was given from outside (`HW_AUTH_TOKEN`): it can't be renewed.
pub(crate) struct StaticToken {
    value: HeaderValue,
}

impl StaticToken {
    /// # Errors
    /// Where the token has characters that no header may carry.
    pub(crate) fn new(token: &SecretString) -> Result<Self, &'static str> {
        Ok(Self { value: token_header(token)? })
    }
}

/// A token as a header that no log shows.
fn token_header(token: &SecretString) -> Result<HeaderValue, &'static str> {
    let mut value = HeaderValue::from_str(token.expose_secret())
        .map_err(|_| "the token holds a line break or another character that no HTTP header may carry")?;
    value.set_sensitive(true);
    Ok(value)
}

/// How long credentials hold that end at `expires_at` (RFC 3339): by the server's clock, which the answer tells, else
/// by ours. `None` where that can't be read.
fn lifetime(expires_at: &str, answer: &Answer, now: Timestamp) -> Option<Duration> {
    let end: Timestamp = expires_at.parse().ok()?;
    let server_now = now - skew(answer, now).unwrap_or_default();
    Some(Duration::try_from(end.duration_since(server_now)).unwrap_or_default())
}

impl Authenticator for StaticToken {
    fn authorize<'a>(&'a self, request: &'a mut http::Request<Bytes>) -> BoxFuture<'a, Result<(), String>> {
        request.headers_mut().insert("X-Auth-Token", self.value.clone());
        Box::pin(std::future::ready(Ok(())))
    }

    fn renew(&self) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(std::future::ready(Ok(false)))
    }

    fn describe(&self) -> String {
        "token from HW_AUTH_TOKEN".to_owned()
    }
}

/// No credentials at all: for the in-process simulator, which asks for none.
pub struct Nobody;

impl Authenticator for Nobody {
    fn authorize<'a>(&'a self, _: &'a mut http::Request<Bytes>) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn renew(&self) -> BoxFuture<'_, Result<bool, String>> {
        Box::pin(std::future::ready(Ok(false)))
    }

    fn describe(&self) -> String {
        "none (simulator)".to_owned()
    }
}

/// Shared by everything that sends.
pub(crate) type SharedAuthenticator = Arc<dyn Authenticator>;
