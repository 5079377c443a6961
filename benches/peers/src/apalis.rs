//! apalis, on each of its storages.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use apalis::prelude::{MemoryStorage, ParallelizeExt, TaskSink, WorkerBuilder, WorkerContext};
use apalis_postgres::PostgresStorage;
use apalis_redis::RedisStorage;
use apalis_sqlite::SqliteStorage;
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};

use crate::Amount;
use crate::work::{self, Load, Rates, per_second};

/// Whether each job is marked as running before it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locks {
    Taken,
    Passed,
}

/// How many jobs it fetches at once; ten unless configured.
const BATCH: usize = 1_000;

/// Each measurement has a queue of its own.
fn queue() -> String {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("q{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

async fn noop(load: Load) {
    drop(load.data);
    work::ran();
}

/// Fills a storage, one job at a time and then many, and empties it; for each storage the same calls.
macro_rules! measure {
    ($storage:expr, $amount:expr) => {{
        let (mut storage, amount): (_, Amount) = ($storage, $amount);
        let began = Instant::now();
        for _ in 0..amount.single {
            storage.push(Load::sample()).await.map_err(|error| anyhow!("{error:?}"))?;
        }
        let one = per_second(amount.single, began);
        let began = Instant::now();
        storage.push_bulk(vec![Load::sample(); amount.jobs]).await.map_err(|error| anyhow!("{error:?}"))?;
        let bulk = per_second(amount.jobs, began);

        let jobs = amount.single + amount.jobs;
        work::expect(jobs);
        let context = WorkerContext::new(&queue());
        let worker = WorkerBuilder::new(&context).backend(storage).parallelize(tokio::spawn).build(noop);
        let began = Instant::now();
        let mut running = tokio::spawn(worker.run());
        let drain = tokio::select! {
            biased;
            drain = work::drained(began) => drain?,
            ended = &mut running => bail!("its worker ended early: {:?}", ended?),
        };
        context.stop().map_err(|error| anyhow!("{error:?}"))?;
        // It may wait for its next heartbeat before it notices.
        if tokio::time::timeout(Duration::from_secs(1), &mut running).await.is_err() {
            running.abort();
        }
        Ok(Rates { bulk, one, drain })
    }};
}

pub(crate) async fn memory(amount: Amount) -> Result<Rates> {
    measure!(MemoryStorage::<Load>::new(), amount)
}

pub(crate) async fn postgres(url: &str, amount: Amount, locks: Locks) -> Result<Rates> {
    let pool = PgPoolOptions::new().max_connections(20).connect(url).await?;
    PostgresStorage::setup(&pool).await?;
    let config = apalis_postgres::Config::default().queue(queue()).batch_size(BATCH).lock_tasks(locks == Locks::Taken);
    measure!(PostgresStorage::<Load>::new(&pool).with_config(config), amount)
}

/// Whatever its configuration, it looks for each finished job among all that its worker ever ran, so that the time for a
/// backlog grows with its square.
pub(crate) async fn sqlite(file: &Path, synchronous: &str, amount: Amount) -> Result<Rates> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("synchronous", synchronous.to_owned());
    // Its setup leaves a connection behind that never waits for the disk.
    let setup = SqlitePoolOptions::new().connect_with(options.clone()).await?;
    SqliteStorage::setup(&setup).await?;
    setup.close().await;
    let pool = SqlitePoolOptions::new().connect_with(options).await?;
    let config = apalis_sqlite::Config::default().queue(queue()).batch_size(BATCH);
    measure!(SqliteStorage::<Load>::new(&pool).with_config(config), amount)
}

/// How many jobs may be due at once: of about eight thousand its script for them dies, of too many arguments.
const REDIS_BACKLOG: usize = 5_000;

/// Fills and empties it in turns, since it does not survive a long backlog; its rates are those over all turns.
pub(crate) async fn redis(url: &str, amount: Amount, locks: Locks) -> Result<Rates> {
    let mut spent = Rates { bulk: 0.0, one: 0.0, drain: 0.0 };
    let turns = amount.jobs.div_ceil(REDIS_BACKLOG);
    let single = (amount.single / turns).max(1);
    for turn in 0..turns {
        let jobs = REDIS_BACKLOG.min(amount.jobs - turn * REDIS_BACKLOG);
        let turn = redis_turn(url, Amount { jobs, single }, locks).await?;
        spent.bulk += f64::from(u32::try_from(jobs)?) / turn.bulk;
        spent.one += f64::from(u32::try_from(single)?) / turn.one;
        spent.drain += f64::from(u32::try_from(jobs + single)?) / turn.drain;
    }
    let single = f64::from(u32::try_from(single * turns)?);
    let jobs = f64::from(u32::try_from(amount.jobs)?);
    Ok(Rates { bulk: jobs / spent.bulk, one: single / spent.one, drain: (jobs + single) / spent.drain })
}

async fn redis_turn(url: &str, amount: Amount, locks: Locks) -> Result<Rates> {
    let config = apalis_redis::Config::default().queue(queue()).batch_size(BATCH).lock_tasks(locks == Locks::Taken);
    let connection = apalis_redis::connect(url).await?;
    measure!(RedisStorage::<Load>::new(connection).with_config(config), amount)
}
