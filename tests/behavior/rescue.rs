//! Jobs of workers that died, and of workers that only seem to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use taskwright::State;
use taskwright::context::States;
use taskwright::job::{Ending, FailureKind};
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use tokio::sync::Semaphore;

use crate::on_every_backend;
use crate::site::{Site, eventually, within};

on_every_backend!(
    a_job_of_a_dead_worker_runs_elsewhere,
    a_job_that_outlives_its_lease_many_times_runs_once,
    a_job_that_kills_three_workers_is_set_aside,
    a_stale_worker_changes_nothing,
    a_task_that_never_yields_loses_its_lease_and_nothing_else,
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

#[task(max_attempts = 10)]
async fn waits(#[state] gate: &Gate) -> TaskResult<u32> {
    let run = gate.runs.fetch_add(1, Ordering::SeqCst) + 1;
    gate.open.acquire().await?.forget();
    Ok(run)
}

fn tasks() -> Registry {
    Registry::new().with::<Waits>().unwrap().with::<Spins>().unwrap().with::<Ping>().unwrap()
}

fn short_lease(options: &mut WorkerOptions) {
    options.lease = Duration::from_secs(1);
}

async fn a_job_of_a_dead_worker_runs_elsewhere(site: &Site) {
    let gate = Gate::new();
    let dead = site.worker_with(tasks(), gate.states(), short_lease);
    let handle = site.client.dispatch(Waits::new()).await.unwrap();
    eventually("it runs", async || gate.runs() == 1).await;
    drop(dead);
    let _other = site.worker_with(tasks(), gate.states(), short_lease);
    eventually("it runs elsewhere", async || gate.runs() == 2).await;
    gate.open.add_permits(1);
    let id = handle.id();
    assert_eq!(within(handle).await.unwrap(), 2);
    let job = site.job(id).await.unwrap();
    assert_eq!((job.attempt, job.crashes, job.history[0].ending), (2, 1, Ending::Crashed));
}

async fn a_job_that_outlives_its_lease_many_times_runs_once(site: &Site) {
    let gate = Gate::new();
    let worker = site.worker_with(tasks(), gate.states(), short_lease);
    let _rescuer = site.worker_with(tasks(), gate.states(), short_lease);
    let handle = site.client.dispatch(Waits::new()).await.unwrap();
    eventually("it runs", async || gate.runs() == 1).await;
    // Each heartbeat moves the lease one second on; ten leases are ten of these steps.
    for _ in 0..20 {
        let before = site.backend.calls(taskwright::testing::faulty::Operation::Extend);
        site.clock.advance(Duration::from_millis(500));
        eventually("both beat", async || {
            site.backend.calls(taskwright::testing::faulty::Operation::Extend) >= before + 4
        })
        .await;
    }
    gate.open.add_permits(2);
    assert_eq!(within(handle).await.unwrap(), 1);
    assert_eq!(gate.runs(), 1);
    worker.stop().await;
}

async fn a_job_that_kills_three_workers_is_set_aside(site: &Site) {
    let gate = Gate::new();
    let handle = site.client.dispatch(Waits::new()).await.unwrap();
    for death in 1..=3 {
        let worker = site.worker_with(tasks(), gate.states(), short_lease);
        eventually("it runs again", async || gate.runs() == death).await;
        drop(worker);
        site.clock.advance(Duration::from_secs(2));
    }
    let _survivor = site.worker_with(tasks(), gate.states(), short_lease);
    let job = site.job_in(handle.id(), State::Discarded).await;
    assert_eq!((job.crashes, gate.runs()), (3, 3));
    let failure = job.failure().unwrap();
    assert_eq!(failure.kind, FailureKind::Crash);
    assert!(failure.message.contains("poison"), "{failure}");
    // Others run on.
    assert_eq!(within(site.client.dispatch(Ping::new()).await.unwrap()).await.unwrap(), "pong");
}

#[task]
async fn ping() -> TaskResult<String> {
    Ok("pong".to_owned())
}

async fn a_stale_worker_changes_nothing(site: &Site) {
    let gate = Gate::new();
    let stale = site.worker_with(tasks(), gate.states(), short_lease);
    let handle = site.client.dispatch(Waits::new()).await.unwrap();
    eventually("it runs", async || gate.runs() == 1).await;
    // The store takes the worker for dead, though it is not: its lease lapses between two heartbeats.
    let other = site.worker_with(tasks(), gate.states(), short_lease);
    eventually("it was rescued", async || {
        site.clock.advance(Duration::from_secs(2));
        tokio::task::yield_now().await;
        gate.runs() >= 2
    })
    .await;
    let id = handle.id();
    gate.open.add_permits(100);
    within(handle).await.unwrap();
    let job = site.job_when(id, |job| job.state == State::Completed).await;
    stale.stop().await;
    other.stop().await;
    // What the stale runs said afterwards has not changed how it ended.
    assert_eq!(site.job(id).await.unwrap(), job);
    assert!(job.crashes >= 1);
}

/// Runs for ever without an await, as a busy loop by mistake would, until the test lets it go.
#[task(timeout = "20ms", max_attempts = 5)]
async fn spins(#[state] gate: &Gate) {
    gate.runs.fetch_add(1, Ordering::SeqCst);
    while gate.open.try_acquire().is_err() {
        std::hint::spin_loop();
    }
}

async fn a_task_that_never_yields_loses_its_lease_and_nothing_else(site: &Site) {
    let gate = Gate::new();
    let worker = site.worker_with(tasks(), gate.states(), |options| {
        short_lease(options);
        options.margin = Duration::from_millis(10);
    });
    let handle = site.client.dispatch(Spins::new().max_attempts(1)).await.unwrap();
    eventually("it spins", async || gate.runs() == 1).await;
    assert_eq!(within(site.client.dispatch(Ping::new()).await.unwrap()).await.unwrap(), "pong");
    let job = site.job_in(handle.id(), State::Discarded).await;
    assert_eq!(job.failure().unwrap().kind, FailureKind::Crash);
    gate.open.add_permits(1);
    worker.stop().await;
}
