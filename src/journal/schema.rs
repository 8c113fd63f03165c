//! Tables and their version.
