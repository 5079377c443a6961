//! Jobs that wait behind others, and jobs that are spread over queues.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use taskwright::context::States;
use taskwright::job::Name;
use taskwright::registry::Registry;
use taskwright::worker::{QueueOptions, WorkerOptions};
use taskwright::{Client, Dispatch, Shutdown, TaskExt};

use super::Growing;
use super::figures::{Axis, Figures, Way};
use crate::Scale;
use crate::engine::per_second;
use crate::sites::{Site, Store, worker};
use crate::tasks::{Countdown, Counted};

/// How many jobs are dispatched at once where there are very many.
const PIECE: usize = 100_000;

/// When what is scheduled is due: after everything is measured.
const LATER: Duration = Duration::from_hours(1);

/// A place with so many jobs in it.
struct Backlog {
    jobs: usize,
    client: Client,
    _site: Site,
}

/// The rates of the first jobs in front of backlogs of each size, round by round.
pub(super) async fn measure(
    figures: &mut Figures,
    scale: &Scale,
    growing: &Growing,
    store: &Store,
    axis: Axis,
) -> Result<()> {
    let delay = (axis == Axis::Scheduled).then_some(LATER);
    let mut backlogs = Vec::new();
    for jobs in &growing.waiting {
        backlogs.push(Backlog::fill(store, *jobs, delay).await?);
    }
    let queues = [Name::new("default")?];
    for _ in 0..scale.rounds {
        for Backlog { jobs, client, .. } in &backlogs {
            let mut add = |way, rate| figures.add(store.name(), axis, *jobs, way, rate);
            add(Way::Bulk, bulk(client, growing.first, &queues).await?);
            add(Way::Drain, drain_first(client, scale, growing.first, &queues).await?);
        }
    }
    for backlog in backlogs {
        backlog.client.close().await?;
    }
    Ok(())
}

impl Backlog {
    async fn fill(store: &Store, jobs: usize, delay: Option<Duration>) -> Result<Self> {
        eprintln!("{}: {jobs} jobs go in", store.name());
        let site = store.site()?;
        let client = site.client().await?;
        for begun in (0..jobs).step_by(PIECE) {
            let piece = (begun..jobs.min(begun + PIECE)).map(|_| match delay {
                Some(delay) => Counted::sample().delay(delay),
                None => Dispatch::new(Counted::sample()),
            });
            client.dispatch_many(piece).await?;
        }
        Ok(Self { jobs, client, _site: site })
    }
}

/// The rates of as many jobs over few and many queues.
pub(super) async fn over_queues(figures: &mut Figures, scale: &Scale, growing: &Growing, store: &Store) -> Result<()> {
    for _ in 0..scale.rounds {
        for count in &growing.queues {
            let site = store.site()?;
            let client = site.client().await?;
            let queues =
                (0..*count).map(|number| Name::new(format!("queue-{number}"))).collect::<Result<Vec<_>, _>>()?;
            let mut add = |way, rate| figures.add(store.name(), Axis::Queues, *count, way, rate);
            add(Way::Bulk, bulk(&client, growing.first, &queues).await?);
            add(Way::Drain, drain_first(&client, scale, growing.first, &queues).await?);
            client.close().await?;
        }
    }
    Ok(())
}

/// So many jobs go in at once, to each queue in turn.
async fn bulk(client: &Client, jobs: usize, queues: &[Name]) -> Result<f64> {
    let began = Instant::now();
    let tasks = queues.iter().cycle().take(jobs).map(|queue| Counted::sample().queue(queue));
    client.dispatch_many(tasks).await?;
    Ok(per_second(jobs, began))
}

/// Runs the first so many of the jobs that wait.
async fn drain_first(client: &Client, scale: &Scale, jobs: usize, queues: &[Name]) -> Result<f64> {
    let shutdown = Shutdown::new();
    let countdown = Arc::new(Countdown::new(jobs, shutdown.clone()));
    let mut states = States::default();
    states.insert(Arc::clone(&countdown));
    let mut options = WorkerOptions::default();
    options.prefetch = scale.prefetch.unwrap_or(options.prefetch);
    options.queues = queues.iter().cloned().map(QueueOptions::all_slots).collect();
    let worker = worker(client, Registry::new().with::<Counted>()?, states, options)?;
    let began = Instant::now();
    worker.run(shutdown).await?;
    let ended = countdown.ended().context("the worker stopped before all jobs ran")?;
    Ok(crate::engine::count(jobs) / ended.duration_since(began).as_secs_f64())
}
