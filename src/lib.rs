//! `batch-detach`: bulk unbinding of users from Huawei Cloud Workspace desktops.
//!
//! One pipeline, one direction:
//!
//! ```text
//! data     input ─→ plan ─→ dispatch ─→ outcome      cli joins them; none names its successor
//! calls    dispatch, reconcile ─→ api ─→ api::auth    dispatch ─→ journal    dispatch ─→ event ←─ report
//! beneath  model, error, pace (under dispatch and reconcile); config::Settings is passed in, never looked up
//! beside   sim ─→ api::wire and model, never back
//! ```

pub mod api;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod error;
pub mod event;
pub mod input;
pub mod journal;
pub mod model;
pub mod outcome;
pub mod pace;
pub mod plan;
pub mod reconcile;
pub mod report;
pub mod sim;
