//! How a worker gets its jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use taskwright::State;
use taskwright::backend::{Backend as _, JobFilter};
use taskwright::context::States;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::worker::QueueOptions;
use tokio::sync::Semaphore;

use crate::site::{Site, eventually, within};
use crate::{on_every_backend, on_every_server};

on_every_backend!(
    a_full_backlog_is_drained_without_waiting_for_a_poll,
    many_jobs_due_at_one_instant_all_run,
    several_workers_run_each_job_once,
    concurrency_is_exact,
    a_queue_keeps_its_own_limit,
    slow_jobs_are_not_fetched_ahead_of_a_sibling,
    a_drain_waits_for_the_last_job_and_then_ends,
    a_paused_queue_rests_until_it_is_resumed,
    high_concurrency_needs_few_connections,
);

on_every_server!(
    a_full_backlog_is_drained_without_waiting_for_a_poll,
    concurrency_is_exact,
    a_paused_queue_rests_until_it_is_resumed
);

/// What the tasks of a case share.
#[derive(Clone)]
struct Gauge {
    running: Arc<AtomicUsize>,
    peak: Arc<AtomicUsize>,
    runs: Arc<AtomicUsize>,
    /// A task that waits goes on when it gets a permit.
    gate: Arc<Semaphore>,
}

impl Gauge {
    fn new() -> Self {
        Self { running: Arc::default(), peak: Arc::default(), runs: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    fn states(&self) -> States {
        let mut states = States::default();
        states.insert(self.clone());
        states
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    fn peak(&self) -> usize {
        self.peak.load(Ordering::SeqCst)
    }

    fn open(&self) {
        self.gate.add_permits(1_000_000);
    }
}

#[task]
async fn ticks(number: u32, #[state] gauge: &Gauge) {
    let _ = number;
    gauge.runs.fetch_add(1, Ordering::SeqCst);
}

#[task]
async fn waits(#[state] gauge: &Gauge) -> TaskResult {
    let running = gauge.running.fetch_add(1, Ordering::SeqCst) + 1;
    gauge.peak.fetch_max(running, Ordering::SeqCst);
    gauge.gate.acquire().await?.forget();
    gauge.running.fetch_sub(1, Ordering::SeqCst);
    gauge.runs.fetch_add(1, Ordering::SeqCst);
    Ok(())
}

fn tasks() -> Registry {
    Registry::new().with::<Ticks>().unwrap().with::<Waits>().unwrap()
}

async fn a_full_backlog_is_drained_without_waiting_for_a_poll(site: &Site) {
    let gauge = Gauge::new();
    site.client.dispatch_many((0..10_000).map(Ticks::new)).await.unwrap();
    let hour = Duration::from_hours(1);
    let mut worker = site.worker_with(tasks(), gauge.states(), |options| {
        options.poll = hour;
        options.drain = true;
    });
    let summary = worker.ended().await;
    assert_eq!((gauge.runs(), summary.completed, summary.lost), (10_000, 10_000, 0));
}

async fn many_jobs_due_at_one_instant_all_run(site: &Site) {
    let gauge = Gauge::new();
    let due = site.clock.now().after(Duration::from_hours(1));
    let jobs = (0..5_000_u32).map(|number| Ticks::new(number).at(due));
    site.client.dispatch_many(jobs).await.unwrap();
    let worker = site.worker_with(tasks(), gauge.states(), |options| options.poll = Duration::from_millis(50));
    site.clock.advance(Duration::from_secs(3_601));
    eventually("all have run", async || gauge.runs() == 5_000).await;
    assert_eq!(worker.stop().await.completed, 5_000);
}

async fn several_workers_run_each_job_once(site: &Site) {
    let gauge = Gauge::new();
    let count = 20_000_u32;
    let workers: Vec<_> = (0..8).map(|_| site.worker_with(tasks(), gauge.states(), |_| {})).collect();
    let total = usize::try_from(count).unwrap();
    site.client.dispatch_many((0..count).map(Ticks::new)).await.unwrap();
    eventually("all have run", async || gauge.runs() >= total).await;
    let mut completed = 0;
    for worker in workers {
        completed += worker.stop().await.completed;
    }
    assert_eq!((gauge.runs(), completed), (total, u64::from(count)));
    assert_eq!(site.jobs(JobFilter::default()).await, []);
}

async fn concurrency_is_exact(site: &Site) {
    let gauge = Gauge::new();
    site.client.dispatch_many((0..20).map(|_| Waits::new())).await.unwrap();
    let mut worker = site.worker_with(tasks(), gauge.states(), |options| {
        options.concurrency = 3;
        options.drain = true;
    });
    eventually("three run", async || gauge.running() == 3).await;
    gauge.open();
    worker.ended().await;
    assert_eq!((gauge.peak(), gauge.runs()), (3, 20));
}

async fn a_queue_keeps_its_own_limit(site: &Site) {
    let gauge = Gauge::new();
    let narrow = (0..10).map(|_| Waits::new().queue("narrow"));
    site.client.dispatch_many(narrow).await.unwrap();
    let mut worker = site.worker_with(tasks(), gauge.states(), |options| {
        options.queues = vec!["narrow=2".parse::<QueueOptions>().unwrap(), "default".parse().unwrap()];
        options.concurrency = 8;
        options.drain = true;
    });
    eventually("two run", async || gauge.running() == 2).await;
    // The other queue goes on beside it.
    let handle = site.client.dispatch(Ticks::new(1_u32)).await.unwrap();
    within(handle).await.unwrap();
    assert_eq!(gauge.running(), 2);
    gauge.open();
    worker.ended().await;
    assert_eq!((gauge.peak(), gauge.runs()), (2, 11));
}

async fn slow_jobs_are_not_fetched_ahead_of_a_sibling(site: &Site) {
    let gauge = Gauge::new();
    site.client.dispatch_many((0..8).map(|_| Waits::new())).await.unwrap();
    let one = |options: &mut taskwright::worker::WorkerOptions| options.concurrency = 4;
    let first = site.worker_with(tasks(), gauge.states(), one);
    eventually("the first is busy", async || gauge.running() == 4).await;
    let second = site.worker_with(tasks(), gauge.states(), one);
    eventually("the second has the rest", async || gauge.running() == 8).await;
    gauge.open();
    eventually("all have run", async || gauge.runs() == 8).await;
    assert_eq!((first.stop().await.completed, second.stop().await.completed), (4, 4));
}

async fn a_drain_waits_for_the_last_job_and_then_ends(site: &Site) {
    let gauge = Gauge::new();
    site.client.dispatch(Waits::new()).await.unwrap();
    site.client.dispatch(Ticks::new(1_u32).delay(Duration::from_hours(1))).await.unwrap();
    let mut worker = site.worker_with(tasks(), gauge.states(), |options| options.drain = true);
    eventually("it runs", async || gauge.running() == 1).await;
    gauge.open();
    assert_eq!(worker.ended().await.completed, 1);
    let left = site.jobs(JobFilter::default()).await;
    assert_eq!(left.iter().map(|job| job.state).collect::<Vec<_>>(), [State::Scheduled]);
}

async fn a_paused_queue_rests_until_it_is_resumed(site: &Site) {
    let gauge = Gauge::new();
    let inspect = site.backend.inspect().unwrap();
    let quiet = taskwright::Name::new("quiet").unwrap();
    inspect.pause(&quiet, true).await.unwrap();
    let worker = site.worker_with(tasks(), gauge.states(), |options| {
        options.queues = vec![QueueOptions::all_slots(quiet.clone()), "default".parse().unwrap()];
    });
    let waiting = site.client.dispatch(Ticks::new(1_u32).queue("quiet")).await.unwrap();
    // Once a later job of the other queue is done, the worker has passed the paused one over.
    let handle = site.client.dispatch(Ticks::new(2_u32)).await.unwrap();
    within(handle).await.unwrap();
    assert_eq!(site.job(waiting.id()).await.unwrap().state, State::Available);
    inspect.pause(&quiet, false).await.unwrap();
    within(waiting).await.unwrap();
    worker.stop().await;
}

async fn high_concurrency_needs_few_connections(site: &Site) {
    let gauge = Gauge::new();
    site.client.dispatch_many((0..200).map(|_| Waits::new())).await.unwrap();
    let mut worker = site.worker_with(tasks(), gauge.states(), |options| {
        options.concurrency = 200;
        options.drain = true;
    });
    eventually("all run at once", async || gauge.running() == 200).await;
    gauge.open();
    worker.ended().await;
    assert_eq!(gauge.runs(), 200);
}
