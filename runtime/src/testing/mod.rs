//! For tests: the conformance suite, fault injection, clocks. Outside of semantic versioning.
//!
//! [`conformance`] holds the suite that every backend passes, and [`conformance!`](crate::conformance) turns it into
//! tests of your own backend.
//! A [`Harness`] is a fresh store with a clock that a test moves; [`Draft`] writes jobs for it.

pub mod conformance;
mod draft;
pub mod faulty;
mod harness;

pub use crate::chance::Seeded;
pub use draft::Draft;
pub use harness::{Harness, Held, LEASE, OpenTransaction, Setup, TestWorker, eventually, together};
