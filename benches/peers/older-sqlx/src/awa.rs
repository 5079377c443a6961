//! awa, on its queue storage; what goes in together goes by COPY.
//!
//! Its tables are logged and its commits awaited; a dead worker's jobs run again when their heartbeat is stale.

use std::time::{Duration, Instant};

use anyhow::Result;
use awa::awa_model::insert::params_with;
use awa::awa_model::{QueueStorage, QueueStorageConfig, migrations};
use awa::{Client, InsertOpts, JobArgs, JobResult, QueueConfig, insert_with};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::Tuning;
use crate::work::{self, Amount, Load, Rates, per_second};

const QUEUE: &str = "peers";

const BATCH: usize = 1_000;

#[derive(Deserialize, JobArgs, Serialize)]
struct Noop {
    load: Load,
}

pub(crate) async fn measure(url: &str, amount: Amount, tuning: Tuning) -> Result<Rates> {
    // As many as its own benchmarks have.
    let pool = PgPoolOptions::new().max_connections(20).connect(url).await?;
    migrations::run(&pool).await?;
    // The first worker of an empty database switches to the newer storage; with a backlog it would stay with the older.
    let first = client(&pool, "first", QueueConfig::default())?;
    first.start().await?;
    first.shutdown(Duration::from_secs(5)).await;
    let noop = Noop { load: Load::sample() };
    let options = InsertOpts { queue: QUEUE.into(), ..InsertOpts::default() };
    let began = Instant::now();
    for _ in 0..amount.single {
        insert_with(&pool, &noop, options.clone()).await?;
    }
    let one = per_second(amount.single, began);
    let storage = QueueStorage::new(QueueStorageConfig::default())?;
    let jobs = vec![params_with(&noop, options)?; amount.jobs];
    let began = Instant::now();
    for batch in jobs.chunks(BATCH) {
        storage.enqueue_params_copy(&pool, batch).await?;
    }
    let bulk = per_second(amount.jobs, began);

    work::expect(amount.jobs + amount.single);
    let config = match tuning {
        Tuning::Defaults => QueueConfig::default(),
        // Without a deadline a claim writes no lease; so in its own benchmark.
        Tuning::Tuned => QueueConfig {
            max_workers: 512,
            poll_interval: Duration::from_millis(50),
            deadline_duration: Duration::ZERO,
            ..QueueConfig::default()
        },
    };
    let client = client(&pool, QUEUE, config)?;
    let began = Instant::now();
    client.start().await?;
    let drain = work::drained(began).await?;
    client.shutdown(Duration::from_secs(5)).await;
    Ok(Rates { bulk, one, drain })
}

fn client(pool: &PgPool, queue: &str, config: QueueConfig) -> Result<Client> {
    let client = Client::builder(pool.clone()).queue(queue, config).register::<Noop, _, _>(|noop, _| async move {
        drop(noop.load.data);
        work::ran();
        Ok(JobResult::Completed)
    });
    Ok(client.build()?)
}
