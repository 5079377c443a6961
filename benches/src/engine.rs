//! How many jobs a second go in, and through.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use taskwright::context::States;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use taskwright::{Client, Dispatch, Shutdown, TaskExt};

use crate::Scale;
use crate::report::{Measure, Report};
use crate::sites::{Site, worker};
use crate::tasks::Noop;

/// How many callers dispatch at the same time, where they do.
const CALLERS: usize = 64;

/// How long a result is kept, where one is.
const KEPT: Duration = Duration::from_hours(1);

/// Measures every way into every store, and the way through it.
pub(crate) async fn measure(report: &mut Report, scale: &Scale) -> Result<()> {
    for &kind in &scale.stores {
        let mut rate = |measure, rate| report.rate(kind.name(), measure, rate);
        let site = Site::new(kind)?;
        let client = site.client().await?;
        rate(Measure::DispatchOne, one_at_a_time(&client, scale.single).await?);
        rate(Measure::DispatchTogether, together(&client, scale.jobs / 4).await?);
        drain(&client).await?;

        rate(Measure::DispatchMany, many(&client, scale.jobs, Dispatch::new).await?);
        rate(Measure::Drain, drain(&client).await?);
        many(&client, scale.jobs / 2, |task| task.keep_result(KEPT)).await?;
        rate(Measure::DrainKept, drain(&client).await?);
        client.close().await?;
    }
    Ok(())
}

/// Each dispatch waits for the one before.
async fn one_at_a_time(client: &Client, jobs: usize) -> Result<f64> {
    let began = Instant::now();
    for _ in 0..jobs {
        client.dispatch(Noop::sample()).await?;
    }
    Ok(per_second(jobs, began))
}

/// Many callers dispatch one job each at the same time, which the client stores together.
async fn together(client: &Client, jobs: usize) -> Result<f64> {
    let began = Instant::now();
    let dispatches = stream::iter(0..jobs).map(|_| client.dispatch(Noop::sample()));
    dispatches.buffer_unordered(CALLERS).try_for_each(|_| async { Ok(()) }).await?;
    Ok(per_second(jobs, began))
}

async fn many(client: &Client, jobs: usize, options: impl Fn(Noop) -> Dispatch<Noop>) -> Result<f64> {
    let began = Instant::now();
    client.dispatch_many((0..jobs).map(|_| options(Noop::sample()))).await?;
    Ok(per_second(jobs, began))
}

/// Runs everything that waits: claim, decode, execute, settle.
async fn drain(client: &Client) -> Result<f64> {
    let options = WorkerOptions { drain: true, ..WorkerOptions::default() };
    let worker = worker(client, Registry::new().with::<Noop>()?, States::default(), options)?;
    let began = Instant::now();
    let summary = worker.run(Shutdown::new()).await?;
    ensure!(summary.failed + summary.returned + summary.lost == 0, "some jobs did not complete: {summary:?}");
    Ok(per_second(usize::try_from(summary.completed)?, began))
}

#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 jobs")]
pub(crate) fn per_second(jobs: usize, began: Instant) -> f64 {
    jobs as f64 / began.elapsed().as_secs_f64()
}
