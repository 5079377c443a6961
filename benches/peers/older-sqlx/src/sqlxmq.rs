//! sqlxmq. Its Rust side spawns one job a call, so many callers spawn at the same time.
//!
//! Its tables are logged and its commits awaited; a dead worker's jobs run again when their keep-alive is over.

use std::time::Instant;

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use sqlx::postgres::PgPoolOptions;
use sqlxmq::{CurrentJob, JobRegistry, job};

use crate::Tuning;
use crate::work::{self, Amount, Load, Rates, per_second};

const CALLERS: usize = 64;

#[job]
async fn noop(mut job: CurrentJob) -> Result<()> {
    let load: Option<Load> = job.json()?;
    drop(load);
    job.complete().await?;
    work::ran();
    Ok(())
}

pub(crate) async fn measure(url: &str, amount: Amount, tuning: Tuning) -> Result<Rates> {
    let connections = if tuning == Tuning::Tuned { 32 } else { 10 };
    let pool = PgPoolOptions::new().max_connections(connections).connect(url).await?;
    work::migrate(&pool, "sqlxmq", "migrations").await?;
    let load = Load::sample();
    let push = || async {
        let mut job = noop.builder();
        job.set_json(&load)?.spawn(&pool).await?;
        anyhow::Ok(())
    };

    let began = Instant::now();
    for _ in 0..amount.single {
        push().await?;
    }
    let one = per_second(amount.single, began);
    let began = Instant::now();
    stream::iter(0..amount.jobs).map(|_| push()).buffer_unordered(CALLERS).try_for_each(|()| async { Ok(()) }).await?;
    let bulk = per_second(amount.jobs, began);

    work::expect(amount.jobs + amount.single);
    let mut runner = JobRegistry::new(&[noop]).runner(&pool);
    if tuning == Tuning::Tuned {
        // It fetches again when fewer than the least are left.
        runner.set_concurrency(500, 1_000);
    }
    let began = Instant::now();
    let running = runner.run().await?;
    let drain = work::drained(began).await?;
    drop(running);
    Ok(Rates { bulk, one, drain })
}
