//! How a worker stops, and what it leaves to others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use taskwright::State;
use taskwright::backend::Backend as _;
use taskwright::context::States;
use taskwright::job::Ending;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use tokio::sync::Semaphore;

use crate::on_every_backend;
use crate::site::{Site, eventually, within};

on_every_backend!(
    a_stopping_worker_lets_running_jobs_end,
    past_its_grace_a_job_goes_back_and_keeps_its_attempts,
    an_abort_does_not_wait,
    what_was_fetched_and_not_started_goes_back_at_once,
    a_stopped_worker_is_not_listed_any_more,
);

#[derive(Clone)]
struct Gate {
    runs: Arc<AtomicU32>,
    open: Arc<Semaphore>,
}

impl Gate {
    fn new() -> Self {
        Self { runs: Arc::default(), open: Arc::new(Semaphore::new(0)) }
    }

    fn states(&self) -> States {
        let mut states = States::default();
        states.insert(self.clone());
        states
    }

    fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }
}

#[task(max_attempts = 2)]
async fn waits(#[state] gate: &Gate) -> TaskResult<u32> {
    let run = gate.runs.fetch_add(1, Ordering::SeqCst) + 1;
    gate.open.acquire().await?.forget();
    Ok(run)
}

#[task]
async fn quick(#[state] gate: &Gate) {
    let _ = gate;
}

fn tasks() -> Registry {
    Registry::new().with::<Waits>().unwrap().with::<Quick>().unwrap()
}

async fn a_stopping_worker_lets_running_jobs_end(site: &Site) {
    let gate = Gate::new();
    let mut worker = site.worker_with(tasks(), gate.states(), |_| {});
    let handle = site.client.dispatch(Waits::new()).await.unwrap();
    eventually("it runs", async || gate.runs() == 1).await;
    worker.shutdown.stop();
    eventually("the worker stops claiming", async || !worker.health.is_ready()).await;
    gate.open.add_permits(1);
    let summary = worker.ended().await;
    assert_eq!((summary.completed, summary.returned), (1, 0));
    assert_eq!(within(handle).await.unwrap(), 1);
}

async fn past_its_grace_a_job_goes_back_and_keeps_its_attempts(site: &Site) {
    let gate = Gate::new();
    let worker = site.worker_with(tasks(), gate.states(), |options| {
        options.grace = Duration::from_millis(5);
        options.margin = Duration::from_millis(5);
    });
    let handle = site.client.dispatch(Waits::new()).await.unwrap();
    eventually("it runs", async || gate.runs() == 1).await;
    assert_eq!(worker.stop().await.returned, 1);
    let job = site.job(handle.id()).await.unwrap();
    assert_eq!((job.state, job.attempt, job.history[0].ending), (State::Available, 0, Ending::Returned));
    // Another worker has it at once, with all its attempts.
    let _next = site.worker_with(tasks(), gate.states(), |_| {});
    gate.open.add_permits(1);
    assert_eq!(within(handle).await.unwrap(), 2);
}

async fn an_abort_does_not_wait(site: &Site) {
    let gate = Gate::new();
    let hour = Duration::from_hours(1);
    let mut worker = site.worker_with(tasks(), gate.states(), |options| {
        options.grace = hour;
        options.margin = hour;
    });
    let handle = site.client.dispatch(Waits::new()).await.unwrap();
    eventually("it runs", async || gate.runs() == 1).await;
    worker.shutdown.abort();
    assert_eq!(worker.ended().await.returned, 1);
    assert_eq!(site.job(handle.id()).await.unwrap().state, State::Available);
}

async fn what_was_fetched_and_not_started_goes_back_at_once(site: &Site) {
    let gate = Gate::new();
    // Short tasks first, so that the worker fetches ahead; then ones that wait.
    site.client.dispatch_many((0..2_000).map(|_| Quick::new().priority(1))).await.unwrap();
    site.client.dispatch_many((0..500).map(|_| Waits::new())).await.unwrap();
    let mut worker = site.worker_with(tasks(), gate.states(), |options| options.concurrency = 2);
    eventually("both slots wait", async || gate.runs() == 2).await;
    worker.shutdown.stop();
    eventually("the rest is back", async || {
        let stats = site.backend.inspect().unwrap().queues().await.unwrap();
        stats.iter().any(|queue| queue.counts.get(&State::Available) == Some(&498))
    })
    .await;
    gate.open.add_permits(2);
    assert_eq!(worker.ended().await.lost, 0);
    assert_eq!(gate.runs(), 2);
}

async fn a_stopped_worker_is_not_listed_any_more(site: &Site) {
    let gate = Gate::new();
    let worker = site.worker_with(tasks(), gate.states(), |_| {});
    let inspect = site.backend.inspect().unwrap();
    eventually("it is listed", async || inspect.workers().await.unwrap().len() == 1).await;
    worker.stop().await;
    assert_eq!(inspect.workers().await.unwrap(), []);
}
