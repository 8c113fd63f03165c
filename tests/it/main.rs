//! The program itself, against the simulated service on a loopback port.
//!
//! Each test has a directory and a service of its own. Waits are short by settings; a test that waits for something
//! looks at the service's log or at the files, not at the time.

mod approval;
mod cloud;
mod doubts;
mod due;
mod files;
mod formats;
mod hostile;
mod house;
mod job;
mod kills;
mod locks;
mod next_commands;
mod nothing_sent;
mod outputs;
mod plans;
mod readme;
mod reconcile;
mod report;
mod resume;
mod samples;
mod schemas;
mod secrets;
mod service;
mod signals;
mod stage;
mod still;
mod transport;
mod undo;
mod unknown;
mod words;
