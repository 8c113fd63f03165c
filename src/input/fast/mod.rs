//! Where the speed is: text split by its bytes, rows that change threads in batches, ids numbered by 128 bits. Nobody
//! outside of [`input`](crate::input) knows of it.

mod batch;
pub(super) mod delimited;
pub(super) mod handover;
mod ids;

pub(super) use batch::{Batch, Full, HEAD, NewRow, PLAIN, Rest, halves, too_much, whole};
pub(super) use ids::{Ids, Texts};
