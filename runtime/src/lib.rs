#![doc = include_str!("../README.md")]
// Generated code names this crate from outside; its own tests and examples use the macros too.
extern crate self as taskwright;

// Plain data.
mod chance;
pub mod error;
pub mod job;
pub mod time;

// Pure decisions.
pub mod policy;

// Payload bytes.
pub mod codec;
mod fields;

// What a task is and sees.
mod blocking;
pub mod context;
pub mod registry;
pub mod task;
pub mod trace;
mod transaction;

// The contract, and the stores that keep it.
pub mod backend;

// Putting tasks on queues, and awaiting them.
mod batch;
pub mod client;
pub mod dispatch;
pub mod handle;
mod outcomes;
mod pushes;

// Running them: one job's life reads top to bottom in `worker/execute.rs`.
pub mod maintenance;
pub mod worker;

// The program around it.
pub mod app;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "cli")]
pub mod settings;

#[cfg(feature = "testing")]
pub mod testing;

#[doc(hidden)]
pub mod private;

pub use app::App;
pub use client::{Client, ClientBuilder};
pub use context::Context;
pub use dispatch::{Dispatch, JobOptions, TaskExt};
pub use error::{Error, ErrorKind, Result};
pub use handle::{JobFailure, JobHandle};
pub use job::{JobId, Name, State};
pub use policy::Backoff;
pub use task::{Run, Task, TaskError, TaskFuture, TaskResult};
#[cfg(feature = "cli")]
pub use taskwright_macros::main;
pub use taskwright_macros::{Task, task};
pub use time::{Timestamp, format_duration, parse_duration};
pub use worker::{Shutdown, Worker};

/// What a program with tasks needs in scope: `use taskwright::prelude::*;`.
pub mod prelude {
    pub use std::time::Duration;

    pub use serde::{Deserialize, Serialize};

    pub use crate::{
        App, Backoff, Client, Context, Dispatch, JobHandle, JobId, Run, Shutdown, Task, TaskError, TaskExt, TaskResult,
        task,
    };
}
