//! Pure decisions: no I/O, no clock, no randomness of their own.
//!
//! Every backend and the worker ask here, so that they can't disagree.

pub mod backoff;
pub mod limits;
pub mod order;
pub mod prefetch;
pub mod state;
pub mod unique;

pub use backoff::Backoff;
pub use state::{Placement, Verdict};
