//! Where the speed of a plan is: work that threads share. Nobody outside of [`plan`](crate::plan) knows of it.

pub(super) mod shares;
