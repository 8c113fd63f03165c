//! The Workspace API, one attempt at a time: what goes on the wire, what came back, who may send.
//!
//! No retries and no pacing down here: every request that leaves is decided, paced and journaled above.

pub(crate) mod access;
pub(crate) mod auth;
pub(crate) mod classify;
pub(crate) mod client;
pub(crate) mod codes;
pub(crate) mod endpoints;
pub(crate) mod env;
pub(crate) mod explain;
pub(crate) mod fault;
mod hosts;
pub(crate) mod http;
pub(crate) mod iam;
pub(crate) mod lenient;
pub(crate) mod proxy;
pub(crate) mod redact;
#[cfg(feature = "own-resolver")]
mod resolver;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod transport;
pub(crate) mod unreachable;
pub(crate) mod wire;

pub(crate) use access::{AccessOptions, prepare};
pub(crate) use auth::chain::files as credential_files;
pub use client::{Reader, Target, Writer};
pub(crate) use codes::{action_on, advice};
pub(crate) use env::ProcessEnv;
pub(crate) use explain::{Asked, explain};
pub use fault::ErrorBody;
pub(crate) use http::{HttpOptions, HttpTransport};
pub(crate) use proxy::Proxies;
pub use transport::{Answer, Reply, Transport};
