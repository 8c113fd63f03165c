//! `batch-detach`: bulk unbinding of users from Huawei Cloud Workspace desktops.
//!
//! One pipeline, one direction:
//!
//! ```text
//! data     input ─→ plan ─→ dispatch ─→ outcome      cli joins them; none names its successor
//! calls    dispatch, reconcile ─→ api ─→ api::auth    dispatch ─→ journal    dispatch ─→ event ←─ report
//! beneath  model, text, error, pace (under dispatch and reconcile); config::Settings is passed in, never looked up
//! beside   sim ─→ api::wire and model, never back
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
