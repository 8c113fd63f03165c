//! The Workspace API, one attempt at a time: what goes on the wire, what came back, who may send.
//!
//! No retries and no pacing down here: every request that leaves is decided, paced and journaled above.

pub mod access;
pub mod auth;
pub mod client;
pub mod codes;
pub mod endpoints;
pub mod env;
pub mod explain;
pub mod fault;
pub mod http;
pub mod iam;
pub mod percent;
pub mod probe;
pub mod proxy;
pub mod redact;
#[cfg(feature = "own-resolver")]
mod resolver;
#[cfg(test)]
pub(crate) mod testing;
pub mod transport;
pub mod wire;

pub use access::{Access, AccessOptions, prepare};
pub use client::{Reader, Target, Writer};
pub use codes::{Advice, advice};
pub use env::{Env, ProcessEnv};
pub use explain::{Asked, Cause, ProbeFailure, explain, skew};
pub use fault::ErrorBody;
pub use http::{HttpOptions, HttpTransport};
pub use probe::probe;
pub use proxy::Proxies;
pub use transport::{Answer, Reply, Transport};
