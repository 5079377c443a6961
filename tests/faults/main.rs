//! Real kills of real processes.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod kills;
