//! The commands: what was asked for, joined from the modules beneath.

pub mod args;
