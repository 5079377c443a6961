//! underway.
//!
//! Its tables are logged and its commits awaited; a dead worker's jobs run again when their heartbeat is missed.
//! What has run stays in the table.

use std::time::Instant;

use anyhow::Result;
use jiff::ToSpan;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Postgres, Transaction};
use underway::{Queue, Task, Worker};

use crate::Tuning;
use crate::work::{self, Amount, Load, Rates, per_second};

#[derive(Clone)]
struct Noop;

impl Task for Noop {
    type Input = Load;
    type Output = ();

    async fn execute(&self, tx: Transaction<'_, Postgres>, load: Load) -> underway::task::Result<()> {
        drop(load.data);
        tx.commit().await?;
        work::ran();
        Ok(())
    }
}

pub(crate) async fn measure(url: &str, amount: Amount, tuning: Tuning) -> Result<Rates> {
    let connections = if tuning == Tuning::Tuned { 50 } else { 10 };
    let pool = PgPoolOptions::new().max_connections(connections).connect(url).await?;
    underway::run_migrations(&pool).await?;
    let queue = Queue::builder().name("peers").pool(pool.clone()).build().await?;
    let load = Load::sample();
    let began = Instant::now();
    for _ in 0..amount.single {
        queue.enqueue(&pool, &Noop, &load).await?;
    }
    let one = per_second(amount.single, began);
    let loads = vec![load; amount.jobs];
    let began = Instant::now();
    queue.enqueue_multi(&pool, &Noop, &loads).await?;
    let bulk = per_second(amount.jobs, began);

    work::expect(amount.jobs + amount.single);
    let mut worker = Worker::new(queue.into(), Noop);
    let began = Instant::now();
    let running = match tuning {
        Tuning::Defaults => tokio::spawn(async move { worker.run().await }),
        Tuning::Tuned => {
            worker.set_concurrency_limit(20);
            // Each poll starts one more task beside those that run; by default, one a minute.
            tokio::spawn(async move { worker.run_every(5.milliseconds()).await })
        }
    };
    let drain = work::drained(began).await?;
    running.abort();
    Ok(Rates { bulk, one, drain })
}
