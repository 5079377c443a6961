//! How many jobs a second go in, and through, and what that costs.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures_util::{StreamExt, TryStreamExt, stream};
use taskwright::context::States;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use taskwright::{Client, Dispatch, Shutdown, TaskExt};

use crate::Scale;
use crate::machine;
use crate::report::{Measure, Report};
use crate::servers::Counters;
use crate::sites::{Store, worker};
use crate::tasks::Noop;

/// How many callers dispatch at the same time, where they do.
const CALLERS: usize = 64;

/// How long a result is kept, where one is.
const KEPT: Duration = Duration::from_hours(24);

/// Measures every way into a store, and the way through it.
pub(crate) async fn measure(report: &mut Report, scale: &Scale, store: &Store) -> Result<()> {
    let mut rate = |measure, rate| report.rate(store.name(), measure, rate);
    let jobs = store.kind.jobs(scale.jobs);
    let site = store.site()?;
    let client = site.client().await?;
    rate(Measure::DispatchOne, one_at_a_time(&client, scale.single).await?);
    rate(Measure::DispatchTogether, together(&client, jobs / 4).await?);
    drain(&client, scale).await?;

    let cost = Cost::begin(store).await?;
    rate(Measure::DispatchMany, many(&client, jobs, Dispatch::new).await?);
    rate(Measure::Drain, drain(&client, scale).await?);
    cost.end(store, jobs, report).await?;
    if store.kind.keeps_results() {
        many(&client, jobs / 2, |task| task.keep_result(KEPT)).await?;
        report.rate(store.name(), Measure::DrainKept, drain(&client, scale).await?);
    }
    Ok(client.close().await?)
}

/// Each dispatch waits for the one before.
pub(crate) async fn one_at_a_time(client: &Client, jobs: usize) -> Result<f64> {
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

pub(crate) async fn many(client: &Client, jobs: usize, options: impl Fn(Noop) -> Dispatch<Noop>) -> Result<f64> {
    let began = Instant::now();
    client.dispatch_many((0..jobs).map(|_| options(Noop::sample()))).await?;
    Ok(per_second(jobs, began))
}

/// Runs everything that waits: claim, decode, execute, settle.
pub(crate) async fn drain(client: &Client, scale: &Scale) -> Result<f64> {
    let mut options = WorkerOptions { drain: true, ..WorkerOptions::default() };
    options.prefetch = scale.prefetch.unwrap_or(options.prefetch);
    let worker = worker(client, Registry::new().with::<Noop>()?, States::default(), options)?;
    let began = Instant::now();
    let summary = worker.run(Shutdown::new()).await?;
    ensure!(summary.failed + summary.returned + summary.lost == 0, "some jobs did not complete: {summary:?}");
    Ok(per_second(usize::try_from(summary.completed)?, began))
}

/// What this process and the server had spent when some work began.
struct Cost {
    own: Duration,
    server: Duration,
    counters: Counters,
}

impl Cost {
    async fn begin(store: &Store) -> Result<Self> {
        let counters = Counters::read(store).await?;
        Ok(Self { own: machine::processor_time([std::process::id()]), server: of_server(store), counters })
    }

    /// Reports what each job has cost since.
    async fn end(self, store: &Store, jobs: usize, report: &mut Report) -> Result<()> {
        let each = |before: Duration, after: Duration| after.saturating_sub(before).div_f64(count(jobs));
        let own = each(self.own, machine::processor_time([std::process::id()]));
        report.duration(store.name(), Measure::ProcessorOwn, own);
        let server = each(self.server, of_server(store));
        if server > Duration::ZERO {
            report.duration(store.name(), Measure::ProcessorServer, server);
        }
        if let (Some(before), Some(after)) = (self.counters.wal, Counters::read(store).await?.wal) {
            report.add(store.name(), Measure::Wal, (after - before) / count(jobs));
        }
        Ok(())
    }
}

fn of_server(store: &Store) -> Duration {
    store.port().map(machine::server).map(machine::processor_time).unwrap_or_default()
}

pub(crate) fn per_second(jobs: usize, began: Instant) -> f64 {
    count(jobs) / began.elapsed().as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 jobs")]
pub(crate) fn count(jobs: usize) -> f64 {
    jobs as f64
}
