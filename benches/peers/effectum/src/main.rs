//! effectum: `taskwright-peers-effectum FILE JOBS SINGLE` fills a queue in a file and empties it, and prints its rates.
//!
//! It has `synchronous = normal`, and no setting for another.

use std::env::args;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use effectum::{Error, Job, JobRunner, Queue, RunningJob, Worker};
use tokio::sync::Notify;

/// How many jobs are left to run.
#[derive(Debug, Default)]
struct Left {
    jobs: AtomicUsize,
    none: Notify,
}

#[expect(clippy::unused_async, reason = "what it runs is a future")]
async fn noop(job: RunningJob, left: Arc<Left>) -> Result<(), Error> {
    drop(job);
    if left.jobs.fetch_sub(1, Ordering::Relaxed) == 1 {
        left.none.notify_one();
    }
    Ok(())
}

fn job() -> Job {
    Job::builder("noop").payload(vec![b'x'; 100]).build()
}

#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 jobs")]
fn per_second(jobs: usize, began: Instant) -> f64 {
    jobs as f64 / began.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() -> Result<()> {
    tokio::spawn(run(args().skip(1).collect())).await?
}

async fn run(arguments: Vec<String>) -> Result<()> {
    let mut arguments = arguments.into_iter();
    let mut next = || arguments.next().context("FILE JOBS SINGLE are wanted");
    let (file, jobs, single): (_, usize, usize) = (next()?, next()?.parse()?, next()?.parse()?);
    let queue = Queue::new(Path::new(&file)).await?;

    let began = Instant::now();
    for _ in 0..single {
        queue.add_job(job()).await?;
    }
    let one = per_second(single, began);
    let began = Instant::now();
    queue.add_jobs((0..jobs).map(|_| job()).collect()).await?;
    let bulk = per_second(jobs, began);

    let left = Arc::new(Left::default());
    left.jobs.store(jobs + single, Ordering::Relaxed);
    let began = Instant::now();
    // It fetches again when fewer than the least are left.
    let worker = Worker::builder(&queue, Arc::clone(&left))
        .min_concurrency(500)
        .max_concurrency(1_000)
        .jobs([JobRunner::builder("noop", noop).build()])
        .build()
        .await?;
    left.none.notified().await;
    let drain = per_second(jobs + single, began);
    worker.unregister(None).await?;
    println!("{}", serde_json::json!({ "bulk": bulk, "one": one, "drain": drain }));
    Ok(())
}
