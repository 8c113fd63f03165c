//! `batch-detach`: bulk unbinding of users from Huawei Cloud Workspace desktops.
//!
//! A list becomes a plan, the plan a journal, the journal requests, their answers outcomes:
//!
//! ```text
//! input ─→ plan ─→ journal ─→ dispatch ⇄ api ─→ the service
//!           ↑                   ↓    ↘
//!       reconcile: what is   outcome  report: how it is watched
//!       bound before, after
//! ```
//!
//! Each module, and all that it imports from; every one stands above those. [`main`] is the command line, which joins
//! them. Settings are passed in, never looked up; what is watched is told by events, which the model has.
//!
//! ```text
//! cli       ← api config dispatch error files input journal model outcome pace plan reconcile report sim text
//! report    ← api config error journal model outcome plan text
//! outcome   ← error input journal model text
//! dispatch  ← api config error journal model pace plan reconcile text
//! reconcile ← api error input journal model pace plan text
//! plan      ← api config error input journal model text
//! journal   ← api error files model
//! sim       ← api model
//! api       ← error model pace text
//! input     ← error model text
//! pace      ← model
//! config    ← error text
//! files     ← error
//! model     ← text
//! error     ←
//! text      ←
//! ```
//!
//! The program is a thin binary over [`main`]. Reading and planning can be used alone, and need no network:
//!
//! ```
//! use batch_detach::input::{self, ReadOptions, Source};
//! use batch_detach::plan::{Policy, plan};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let list = "desktop_id,user_name\nd-1,zhang.san\nd-1,li.si\nd-2,zhang.san\n";
//! let list = Source::Bytes { name: "list".to_owned(), bytes: list.into() };
//! let input = input::read(list, &ReadOptions::default())?;
//!
//! // Without a snapshot of the live bindings, the rows are taken at their word.
//! let plan = plan(&input, None, &Policy::default());
//! assert_eq!((plan.stats().bindings, plan.stats().desktops), (3, 2));
//!
//! let mut bodies = Vec::new();
//! plan.requests(&mut bodies)?;
//! let body: serde_json::Value = serde_json::from_slice(&bodies)?;
//! assert_eq!(body["desktops"][0]["detach_user_infos"][1]["user_name"], "li.si");
//! # Ok(())
//! # }
//! ```

mod api;
mod cli;
mod config;
mod dispatch;
mod error;
mod files;
pub mod input;
mod journal;
mod model;
mod outcome;
mod pace;
pub mod plan;
mod reconcile;
mod report;
mod sim;
#[doc(hidden)]
pub mod testing;
mod text;

pub use cli::main;
pub use error::{Error, Exit};
