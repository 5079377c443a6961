//! Chaos: real processes and servers that are killed, stopped and cut off for minutes, under steady work.
//!
//! `cargo xtask chaos` runs it; nothing here is a test of its own but the parts.

pub mod place;
pub mod proxy;
pub mod report;
pub mod run;
pub mod schedule;
