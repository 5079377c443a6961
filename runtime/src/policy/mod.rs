//! Pure decisions: no I/O, no clock, no randomness of their own.
//!
//! Every backend and the worker ask here, so that they can't disagree.

pub mod backoff;
pub mod prefetch;
pub mod state;

pub use backoff::Backoff;
pub use state::{Placement, Verdict};
