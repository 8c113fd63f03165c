//! `undo`, through the program itself: what a run detached is attached again, and nothing else.

mod doubts;
mod refusals;
mod rig;
mod whole;
