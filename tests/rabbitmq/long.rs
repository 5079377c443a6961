//! What a worker asks for and the broker can't give: attempts longer than it lets a message be unacknowledged, aging.

use std::sync::Arc;
use std::time::Duration;

use taskwright::backend::connect::Places;
use taskwright::handle::JobFailure;
use taskwright::job::FailureKind;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use taskwright::{Client, ErrorKind, JobId, Result, Shutdown, Worker};

use crate::broker::Site;

#[task(timeout = "2h")]
async fn sum_up() -> TaskResult {
    Ok(())
}

/// Never ends.
#[task(max_attempts = 1)]
async fn wait_for_ever() -> TaskResult {
    std::future::pending().await
}

async fn worker(url: String, registry: Registry, margin: Duration) -> Result<(Client, Worker)> {
    let results_url = Some(format!("memory:{}", JobId::new()));
    let client = Client::builder().connect_all(&Places { url, results_url, ..Places::default() }).await?;
    let options = WorkerOptions { margin, ..WorkerOptions::default() };
    let worker = Worker::new(client.clone(), registry, Arc::default(), options)?;
    Ok((client, worker))
}

#[tokio::test]
async fn task_with_a_longer_timeout_is_refused_before_it_starts() {
    let Some(site) = Site::shared() else { return };
    let registry = || Registry::new().with::<SumUp>().unwrap();
    let error = worker(site.url(""), registry(), Duration::ZERO).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("timeout of 2h, and rabbitmq takes a job back after 30m"), "{error}");
    assert!(worker(site.url("&consumer_timeout=3h"), registry(), Duration::ZERO).await.is_ok());
}

#[tokio::test]
async fn worker_whose_priorities_age_is_refused_before_it_starts() {
    let Some(site) = Site::shared() else { return };
    let client = Client::connect(&site.url("")).await.unwrap();
    let options = WorkerOptions { priority_aging: Some(Duration::from_mins(5)), ..WorkerOptions::default() };
    let tasks = Registry::new().with::<WaitForEver>().unwrap();
    let error = Worker::new(client, tasks, Arc::default(), options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("rabbitmq orders jobs strictly by priority"), "{error}");
}

#[tokio::test]
async fn attempt_without_a_timeout_ends_before_its_job_is_taken_back() {
    let Some(site) = Site::shared() else { return };
    let registry = Registry::new().with::<WaitForEver>().unwrap();
    let url = site.url("&consumer_timeout=1100ms");
    let (client, worker) = worker(url, registry, Duration::from_secs(1)).await.unwrap();
    let handle = client.dispatch(WaitForEver::new()).await.unwrap();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(worker.run(shutdown.clone()));
    let error = handle.result(Duration::from_mins(1)).await.unwrap_err();
    let failure = JobFailure::of(&error).and_then(JobFailure::failure).unwrap();
    assert_eq!(failure.kind, FailureKind::Timeout);
    assert_eq!(failure.message, "the attempt took longer than the 1100ms after which rabbitmq takes a job back");
    shutdown.stop();
    running.await.unwrap().unwrap();
}
