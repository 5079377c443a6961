//! oxana.

use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::Amount;
use crate::work::{self, Load, Rates, per_second};

/// As in its own benchmark, where more than 16 made no difference.
const CONCURRENCY: usize = 64;

#[derive(Clone, Debug)]
struct State;

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Noop {
    load: Load,
}

impl oxana::Job for Noop {}

#[derive(Debug, thiserror::Error)]
enum Never {}

#[derive(oxana::Worker)]
#[oxana(context = State, error = Never, registry = None, job = Noop)]
struct NoopWorker;

impl NoopWorker {
    async fn process(&self, job: Noop, _: &oxana::JobContext) -> Result<(), Never> {
        drop(job.load.data);
        work::ran();
        Ok(())
    }
}

#[derive(Serialize)]
struct Line;

impl oxana::Queue for Line {
    fn to_config() -> oxana::QueueConfig {
        oxana::QueueConfig {
            kind: oxana::QueueKind::Static { key: "noop".to_owned() },
            concurrency: oxana::QueueConcurrency::Fixed(CONCURRENCY),
            throttle: None,
        }
    }
}

pub(crate) async fn measure(url: &str, amount: Amount) -> Result<Rates> {
    let storage = oxana::Storage::builder().max_pool_size(CONCURRENCY + 16).build_from_redis_url(url)?;
    let noop = Noop { load: Load::sample() };
    let began = Instant::now();
    for _ in 0..amount.single {
        storage.enqueue(Line, noop.clone()).await?;
    }
    let one = per_second(amount.single, began);
    let began = Instant::now();
    let mut left = amount.jobs;
    while left > 0 {
        let some = left.min(1_000);
        storage.enqueue_list(Line, vec![noop.clone(); some]).await?;
        left -= some;
    }
    let bulk = per_second(amount.jobs, began);

    let jobs = amount.single + amount.jobs;
    work::expect(jobs);
    let runtime = storage.runtime(State).queue::<Line>().worker::<NoopWorker, Noop>();
    let runtime = runtime.exit_when_processed(u64::try_from(jobs)?);
    let began = Instant::now();
    let running = tokio::spawn(runtime.run());
    let drain = work::drained(began).await?;
    running.await??;
    Ok(Rates { bulk, one, drain })
}
