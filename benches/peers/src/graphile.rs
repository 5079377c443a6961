//! graphile_worker, tuned as in its own benchmark `perf_test`: a local queue, and completions in batches.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, WorkerContext, WorkerOptions,
};
use sqlx::postgres::PgPoolOptions;

use crate::Amount;
use crate::work::{self, Load, Rates, per_second};

impl TaskHandler for Load {
    const IDENTIFIER: &'static str = "noop";

    async fn run(self, _: WorkerContext) -> impl IntoTaskHandlerResult {
        drop(self.data);
        work::ran();
        Ok::<(), String>(())
    }
}

pub(crate) async fn measure(url: &str, amount: Amount) -> Result<Rates> {
    let pool = PgPoolOptions::new().max_connections(20).connect(url).await?;
    let options = WorkerOptions::default()
        .pg_pool(pool.clone())
        .schema("graphile_worker")
        .define_job::<Load>()
        .concurrency(500)
        .poll_interval(Duration::from_millis(5))
        .complete_job_batch_delay(Duration::from_millis(5))
        .local_queue(LocalQueueConfig::default().with_size(5_000));
    let worker = Arc::new(options.init().await?);
    let utils = worker.create_utils();
    let began = Instant::now();
    for _ in 0..amount.single {
        utils.add_job(Load::sample(), JobSpec::default()).await?;
    }
    let one = per_second(amount.single, began);
    let job = RawJobSpec {
        identifier: Load::IDENTIFIER.to_owned(),
        payload: serde_json::to_value(Load::sample())?,
        spec: JobSpec::default(),
    };
    let began = Instant::now();
    utils.add_raw_jobs(&vec![job; amount.jobs]).await?;
    let bulk = per_second(amount.jobs, began);

    let jobs = amount.single + amount.jobs;
    work::expect(jobs);
    let began = Instant::now();
    let running = tokio::spawn({
        let worker = Arc::clone(&worker);
        async move { worker.run().await }
    });
    let drain = work::drained(began).await?;
    worker.request_shutdown();
    running.await?.map_err(|error| anyhow!("{error:?}"))?;
    pool.close().await;
    Ok(Rates { bulk, one, drain })
}
