//! Calling jobs off, and hearing how far they are.

use std::sync::Arc;

use taskwright::State;
use taskwright::context::States;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use tokio::sync::Notify;

use crate::on_every_backend;
use crate::site::{Site, eventually, within};

on_every_backend!(
    a_waiting_job_that_is_cancelled_never_runs,
    a_running_task_hears_that_it_is_cancelled,
    a_task_that_does_not_listen_is_dropped,
    a_task_that_finishes_all_the_same_is_completed,
    progress_is_seen_while_it_runs,
);

#[derive(Clone, Default)]
struct Signals {
    started: Arc<Notify>,
    go: Arc<Notify>,
}

impl Signals {
    fn states(&self) -> States {
        let mut states = States::default();
        states.insert(self.clone());
        states
    }
}

#[task]
async fn listens(#[state] signals: &Signals, ctx: &Context) -> TaskResult<bool> {
    signals.started.notify_one();
    ctx.cancellation().cancelled().await;
    Err(TaskError::new("stopped as asked").into())
}

#[task]
async fn ignores(#[state] signals: &Signals) {
    signals.started.notify_one();
    std::future::pending::<()>().await;
}

#[task]
async fn finishes(#[state] signals: &Signals, ctx: &Context) -> TaskResult<u32> {
    signals.started.notify_one();
    ctx.cancellation().cancelled().await;
    Ok(7)
}

#[task]
async fn tells(#[state] signals: &Signals, ctx: &Context) {
    ctx.progress(0.25, "a quarter").await;
    signals.started.notify_one();
    signals.go.notified().await;
}

fn tasks() -> Registry {
    let registry = Registry::new().with::<Listens>().unwrap().with::<Ignores>().unwrap();
    registry.with::<Finishes>().unwrap().with::<Tells>().unwrap()
}

async fn a_waiting_job_that_is_cancelled_never_runs(site: &Site) {
    let signals = Signals::default();
    let handle = site.client.dispatch(Listens::new()).await.unwrap();
    handle.cancel("changed our minds").await.unwrap();
    let mut worker = site.worker_with(tasks(), signals.states(), |options| options.drain = true);
    assert_eq!(worker.ended().await.claimed, 0);
    let job = site.job(handle.id()).await.unwrap();
    assert_eq!((job.state, job.attempt), (State::Cancelled, 0));
}

async fn a_running_task_hears_that_it_is_cancelled(site: &Site) {
    let signals = Signals::default();
    let _worker = site.worker_with(tasks(), signals.states(), |_| {});
    let handle = site.client.dispatch(Listens::new()).await.unwrap();
    within(signals.started.notified()).await;
    handle.cancel("changed our minds").await.unwrap();
    let job = site.job_in(handle.id(), State::Cancelled).await;
    assert_eq!(job.failure().unwrap().message, "changed our minds");
}

async fn a_task_that_does_not_listen_is_dropped(site: &Site) {
    let signals = Signals::default();
    let worker = site.worker_with(tasks(), signals.states(), |options| options.margin = Duration::from_millis(5));
    let handle = site.client.dispatch(Ignores::new()).await.unwrap();
    within(signals.started.notified()).await;
    handle.cancel("changed our minds").await.unwrap();
    site.job_in(handle.id(), State::Cancelled).await;
    worker.stop().await;
}

async fn a_task_that_finishes_all_the_same_is_completed(site: &Site) {
    let signals = Signals::default();
    let _worker = site.worker_with(tasks(), signals.states(), |_| {});
    let handle = site.client.dispatch(Finishes::new()).await.unwrap();
    within(signals.started.notified()).await;
    handle.cancel("too late").await.unwrap();
    assert_eq!(within(handle).await.unwrap(), 7);
}

async fn progress_is_seen_while_it_runs(site: &Site) {
    let signals = Signals::default();
    let worker = site.worker_with(tasks(), signals.states(), |_| {});
    let handle = site.client.dispatch(Tells::new()).await.unwrap();
    within(signals.started.notified()).await;
    eventually("progress is told", async || {
        let progress = handle.progress().await.unwrap();
        progress.is_some_and(|progress| progress.note == "a quarter" && (progress.fraction - 0.25).abs() < 1e-9)
    })
    .await;
    signals.go.notify_one();
    within(handle).await.unwrap();
    worker.stop().await;
}
