//! rusty-sidekiq. It has no call that enqueues many, so many callers enqueue at the same time.

use std::time::Instant;

use anyhow::Result;
use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use sidekiq::{Processor, ProcessorConfig, RedisConnectionManager, Worker, WorkerOpts};

use crate::Amount;
use crate::work::{self, Load, Rates, per_second};

const CALLERS: usize = 64;

/// As many as a connection each is worth.
const WORKERS: usize = 64;

#[derive(Clone)]
struct Noop;

#[async_trait]
impl Worker<Load> for Noop {
    fn opts() -> WorkerOpts<Load, Self> {
        WorkerOpts::new().queue("noop")
    }

    async fn perform(&self, load: Load) -> sidekiq::Result<()> {
        drop(load.data);
        work::ran();
        Ok(())
    }
}

pub(crate) async fn measure(url: &str, amount: Amount) -> Result<Rates> {
    let connections = u32::try_from(WORKERS + 8)?;
    let pool = sidekiq::RedisPool::builder().max_size(connections).build(RedisConnectionManager::new(url)?).await?;
    let began = Instant::now();
    for _ in 0..amount.single {
        Noop::perform_async(&pool, Load::sample()).await?;
    }
    let one = per_second(amount.single, began);
    let began = Instant::now();
    let calls = stream::iter(0..amount.jobs).map(|_| Noop::perform_async(&pool, Load::sample()));
    calls.buffer_unordered(CALLERS).try_for_each(|()| async { Ok(()) }).await?;
    let bulk = per_second(amount.jobs, began);

    let jobs = amount.single + amount.jobs;
    work::expect(jobs);
    let mut processor =
        Processor::new(pool, vec!["noop".to_owned()]).with_config(ProcessorConfig::default().num_workers(WORKERS));
    processor.register(Noop);
    let stop = processor.get_cancellation_token();
    let began = Instant::now();
    let running = tokio::spawn(processor.run());
    let drain = work::drained(began).await?;
    stop.cancel();
    running.await?;
    Ok(Rates { bulk, one, drain })
}
