//! From bytes to rows: every cell and every line number, with all faults found in one go.
