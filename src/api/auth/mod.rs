//! Who the requests come from.

pub mod canonical;
pub mod chain;
pub mod koocli;
pub mod profile;
pub mod sign;
pub mod variables;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

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
pub struct StaticToken {
    value: HeaderValue,
}

impl StaticToken {
    /// # Errors
    /// Where the token has characters that no header may carry.
    pub fn new(token: &SecretString) -> Result<Self, &'static str> {
        let mut value = HeaderValue::from_str(token.expose_secret())
            .map_err(|_| "the token holds characters that no HTTP header may carry")?;
        value.set_sensitive(true);
        Ok(Self { value })
    }
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
pub type SharedAuthenticator = Arc<dyn Authenticator>;
