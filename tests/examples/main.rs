//! The examples, run as the programs that they are.

mod outputs;
mod programs;
#[cfg(unix)]
mod quickstart;
