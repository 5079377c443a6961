//! The examples, run as the programs that they are.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod outputs;
mod programs;
#[cfg(unix)]
mod quickstart;
