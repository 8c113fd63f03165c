//! The Workspace API as a program: a world of desktops, users and jobs behind the paths of the service, and a
//! script of what goes wrong. It serves `--simulate`, the `simulate` command and the tests.
//!
//! * [`World`] holds the truth: desktops, who is bound to them, jobs, and what is still to happen.
//! * [`Scenario`] says what goes wrong: limits, outages, [`Fault`]s of requests, [`Fate`]s of desktops.
//! * [`App`] joins both to an axum router and keeps a log of every request: the witness in tests.
//! * [`SimTransport`] calls the router in the caller's own task; [`serve`] puts it on a socket.
//!
//! All time is tokio's, and what happens later (a lag, a job's end) is worked off when the world is next looked
//! at: no task runs in the background, so paused test time never runs ahead of the service.

mod app;
mod auth;
mod body;
mod doorman;
mod gateway;
mod limiter;
mod op;
mod people;
mod query;
mod read;
mod rehearsal;
mod scenario;
mod signature;
mod span;
mod tamper;
#[cfg(test)]
mod testing;
mod transport;
mod world;
mod write;

pub use app::App;
pub use auth::{Auth, KeyRing, Login};
pub use gateway::LogEntry;
pub use limiter::{Limit, Window};
pub use op::{Op, Refused};
pub use scenario::{Blame, Effect, Fate, FateOf, Fault, Matching, Outage, OutageKind, Physics, Scenario};
#[cfg(test)]
pub(crate) use signature::verify;
pub use transport::{SimTransport, serve};
pub use world::{Change, Executed, Seat, World};
