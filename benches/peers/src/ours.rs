//! Taskwright.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use taskwright::{Dispatch, Shutdown, Worker};

use crate::Amount;
use crate::work::{Load, Rates, per_second};

#[derive(Clone, Copy)]
pub(crate) enum Tuning {
    Defaults,
    /// For short tasks on a server: more at once, and more fetched ahead.
    Far,
}

#[task(name = "peers.noop")]
#[expect(clippy::unused_async, reason = "a plain function runs on the pool for blocking work")]
async fn noop(data: String) {
    drop(data);
}

pub(crate) async fn measure(url: &str, amount: Amount, tuning: Tuning) -> Result<Rates> {
    let client = Client::connect(url).await?;
    let began = Instant::now();
    for _ in 0..amount.single {
        client.dispatch(Noop::new(Load::sample().data)).await?;
    }
    let one = per_second(amount.single, began);
    let began = Instant::now();
    client.dispatch_many((0..amount.jobs).map(|_| Dispatch::new(Noop::new(Load::sample().data)))).await?;
    let bulk = per_second(amount.jobs, began);

    let mut options = WorkerOptions { drain: true, ..WorkerOptions::default() };
    if let Tuning::Far = tuning {
        options.concurrency = 64;
        // A worker claims half of it at once, and no more than a thousand; what lies beyond that only waits.
        options.prefetch = 2_000;
    }
    let worker = Worker::new(client.clone(), Registry::new().with::<Noop>()?, Arc::default(), options)?;
    let began = Instant::now();
    let summary = worker.run(Shutdown::new()).await?;
    let jobs = amount.single + amount.jobs;
    let drain = per_second(jobs, began);
    ensure!(usize::try_from(summary.completed)? == jobs, "not all completed: {summary:?}");
    client.close().await?;
    Ok(Rates { bulk, one, drain })
}
