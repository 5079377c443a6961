//! fang, its asynchronous half. A worker takes one job at a time, and nothing enqueues many.
//!
//! Its table is logged and its commits awaited; what a dead worker had begun stays `in_progress`, and nobody takes it up.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use fang::asynk::async_queue::{AsyncQueue, AsyncQueueable};
use fang::asynk::async_worker_pool::AsyncWorkerPool;
use fang::{AsyncRunnable, FangError, SleepParams, async_trait, typetag};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::Tuning;
use crate::work::{self, Amount, Load, Rates, per_second};

#[derive(Deserialize, Serialize)]
struct Noop(Load);

#[typetag::serde]
#[async_trait]
impl AsyncRunnable for Noop {
    async fn run(&self, _: &dyn AsyncQueueable) -> Result<(), FangError> {
        work::ran();
        Ok(())
    }
}

pub(crate) async fn measure(url: &str, amount: Amount, tuning: Tuning) -> Result<Rates> {
    // Its README has as many workers as connections, and two of them.
    let workers: u32 = if tuning == Tuning::Tuned { 32 } else { 2 };
    let setup = PgPool::connect(url).await?;
    work::migrate(&setup, "fang", "postgres_migrations").await?;
    setup.close().await;
    let mut queue = AsyncQueue::builder().uri(url).max_pool_size(workers).build();
    queue.connect().await.map_err(|error| anyhow!("{error:?}"))?;
    let noop = Noop(Load::sample());
    let push = || async { queue.insert_task(&noop).await.map_err(|error| anyhow!("{error:?}")) };

    let began = Instant::now();
    for _ in 0..amount.single {
        push().await?;
    }
    let one = per_second(amount.single, began);
    let began = Instant::now();
    let calls = stream::iter(0..amount.jobs).map(|_| push()).buffer_unordered(workers as usize);
    calls.try_for_each(|_| async { Ok(()) }).await?;
    let bulk = per_second(amount.jobs, began);

    work::expect(amount.jobs + amount.single);
    let mut sleep_params = SleepParams::default();
    if tuning == Tuning::Tuned {
        let short = Duration::from_millis(5);
        sleep_params =
            SleepParams { sleep_period: short, max_sleep_period: short, min_sleep_period: short, sleep_step: short };
    }
    let mut pool: AsyncWorkerPool<AsyncQueue> =
        AsyncWorkerPool::builder().number_of_workers(workers).sleep_params(sleep_params).queue(queue.clone()).build();
    let began = Instant::now();
    pool.start().await;
    let drain = work::drained(began).await?;
    Ok(Rates { bulk, one, drain })
}
