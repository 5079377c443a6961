//! apalis on MySQL: `taskwright-peers-apalis-mysql URL JOBS SINGLE` fills a queue and empties it, and prints its rates.

use std::env::args;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use apalis::prelude::{Data, ParallelizeExt, TaskSink, WorkerBuilder};
use apalis_mysql::{Config, MySqlPool, MySqlStorage};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// What a job carries: as JSON, 100 bytes.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Load {
    data: String,
}

impl Load {
    fn sample() -> Self {
        Self { data: "x".repeat(100 - r#"{"data":""}"#.len()) }
    }
}

/// How many jobs are left to run.
#[derive(Debug, Default)]
struct Left {
    jobs: AtomicUsize,
    none: Notify,
}

async fn noop(load: Load, left: Data<Arc<Left>>) {
    drop(load.data);
    if left.jobs.fetch_sub(1, Ordering::Relaxed) == 1 {
        left.none.notify_one();
    }
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
    let mut next = || arguments.next().context("URL JOBS SINGLE are wanted");
    let (url, jobs, single): (_, usize, usize) = (next()?, next()?.parse()?, next()?.parse()?);
    let pool = MySqlPool::connect(&url).await?;
    MySqlStorage::setup(&pool).await?;
    // Ten jobs are fetched at once unless configured.
    let config = Config::new("peers").set_buffer_size(1_000);
    let mut storage = MySqlStorage::<Load, _, _>::new_with_config(&pool, &config);

    let began = Instant::now();
    for _ in 0..single {
        storage.push(Load::sample()).await.map_err(|error| anyhow!("{error:?}"))?;
    }
    let one = per_second(single, began);
    let began = Instant::now();
    storage.push_bulk(vec![Load::sample(); jobs]).await.map_err(|error| anyhow!("{error:?}"))?;
    let bulk = per_second(jobs, began);

    let left = Arc::new(Left::default());
    left.jobs.store(jobs + single, Ordering::Relaxed);
    let worker =
        WorkerBuilder::new("peers").backend(storage).data(Arc::clone(&left)).parallelize(tokio::spawn).build(noop);
    let began = Instant::now();
    let running = tokio::spawn(worker.run());
    let stalled = tokio::time::timeout(Duration::from_secs(180), left.none.notified()).await.is_err();
    anyhow::ensure!(!stalled, "{} of its jobs never ran", left.jobs.load(Ordering::Relaxed));
    let drain = per_second(jobs + single, began);
    running.abort();
    println!("{}", serde_json::json!({ "bulk": bulk, "one": one, "drain": drain }));
    Ok(())
}
