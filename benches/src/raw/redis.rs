//! Redis without a queue: a list, by scripts and by pipelines.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use redis::aio::MultiplexedConnection;
use redis::{Client, Script};

use super::{Amount, BATCH, payload};
use crate::engine::per_second;
use crate::report::{Measure, Report};
use crate::sites::Store;

const LIST: &str = "taskwright-bench-raw";

pub(super) async fn measure(report: &mut Report, store: &Store, work: Amount) -> Result<()> {
    let mut db = Client::open(store.server()?)?.get_multiplexed_async_connection().await?;
    redis::cmd("DEL").arg(LIST).exec_async(&mut db).await?;
    report.rate(store.name(), Measure::RawOne, push_one(&mut db, work.single).await?);
    report.rate(store.name(), Measure::RawBulk, push(&mut db, work.batches).await?);
    report.rate(store.name(), Measure::RawDelete, take(&mut db).await?);
    Ok(())
}

/// Each call of a script pushes one payload.
async fn push_one(db: &mut MultiplexedConnection, calls: usize) -> Result<f64> {
    let script = Script::new("return redis.call('RPUSH', KEYS[1], ARGV[1])");
    let began = Instant::now();
    for _ in 0..calls {
        script.key(LIST).arg(payload()).invoke_async::<()>(db).await?;
    }
    Ok(per_second(calls, began))
}

/// Each pipeline pushes a batch, a command for each payload.
async fn push(db: &mut MultiplexedConnection, pipelines: usize) -> Result<f64> {
    let began = Instant::now();
    for _ in 0..pipelines {
        let mut pipeline = redis::pipe();
        for _ in 0..BATCH {
            pipeline.cmd("RPUSH").arg(LIST).arg(payload()).ignore();
        }
        pipeline.exec_async(db).await?;
    }
    Ok(per_second(pipelines * BATCH, began))
}

/// Each call of a script takes a batch.
async fn take(db: &mut MultiplexedConnection) -> Result<f64> {
    let script = Script::new("return redis.call('LPOP', KEYS[1], ARGV[1])");
    let mut jobs = 0;
    let began = Instant::now();
    loop {
        let batch: Option<Vec<Vec<u8>>> = script.key(LIST).arg(BATCH).invoke_async(db).await?;
        let Some(batch) = batch else { return Ok(per_second(jobs, began)) };
        jobs += black_box(batch).len();
    }
}
