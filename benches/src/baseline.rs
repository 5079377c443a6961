//! What the same work costs without a queue: a channel, and SQLite in the hands of somebody who needs nothing more.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use taskwright::worker::WorkerOptions;
use tokio::sync::{Semaphore, mpsc};

use crate::Scale;
use crate::engine::per_second;
use crate::report::{Measure, Report};
use crate::sites::{Kind, Site};
use crate::tasks::Noop;

/// How many rows a large statement of the raw SQLite has.
const BATCH: usize = 1_000;

/// Measures the channel, and raw SQLite in both of its modes.
pub(crate) async fn measure(report: &mut Report, scale: &Scale) -> Result<()> {
    report.rate("tokio channel", Measure::Channel, channel(scale.jobs).await?);
    for &kind in scale.stores.iter().filter(|kind| kind.synchronous().is_some()) {
        let site = Site::new(kind)?;
        let mut db = open(&site, kind).await?;
        let name = format!("raw {}", kind.name());
        report.rate(&name, Measure::RawInsertOne, insert(&mut db, 1, scale.single).await?);
        report.rate(&name, Measure::RawInsert, insert(&mut db, BATCH, scale.jobs / BATCH).await?);
        report.rate(&name, Measure::RawDelete, claim_and_delete(&mut db).await?);
        db.close().await?;
    }
    Ok(())
}

/// Payloads through a channel, a spawned task for each, as many at once as a worker runs.
async fn channel(jobs: usize) -> Result<f64> {
    let (sender, mut receiver) = mpsc::channel::<Vec<u8>>(BATCH);
    let slots = Arc::new(Semaphore::new(WorkerOptions::default().concurrency));
    let began = Instant::now();
    let producer = tokio::spawn(async move {
        for _ in 0..jobs {
            if sender.send(vec![b'x'; Noop::PAYLOAD]).await.is_err() {
                break;
            }
        }
    });
    while let Some(payload) = receiver.recv().await {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        tokio::spawn(async move {
            black_box(payload);
            drop(slot);
        });
    }
    producer.await?;
    // The last jobs have ended when every slot is free.
    let all = u32::try_from(WorkerOptions::default().concurrency)?;
    drop(slots.acquire_many(all).await?);
    Ok(per_second(jobs, began))
}

/// A table with nothing but an order and a payload, written the way the SQLite backend writes.
async fn open(site: &Site, kind: Kind) -> Result<SqliteConnection> {
    let synchronous = if kind == Kind::SqliteFull { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
    let options = SqliteConnectOptions::new()
        .filename(site.folder.path().join("raw.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(Duration::from_secs(5));
    let mut db = options.connect().await?;
    sqlx::query("create table jobs (id integer primary key, payload blob not null)").execute(&mut db).await?;
    Ok(db)
}

/// Each statement inserts so many rows and commits.
async fn insert(db: &mut SqliteConnection, rows: usize, statements: usize) -> Result<f64> {
    let payload = vec![b'x'; Noop::PAYLOAD];
    let mut statement = sqlx::QueryBuilder::<sqlx::Sqlite>::new("insert into jobs (payload) ");
    statement.push_values(0..rows, |mut row, _| {
        row.push_bind(payload.as_slice());
    });
    let sql = statement.into_string();
    let began = Instant::now();
    for _ in 0..statements {
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql.as_str()));
        for _ in 0..rows {
            query = query.bind(payload.as_slice());
        }
        query.execute(&mut *db).await?;
    }
    Ok(per_second(rows * statements, began))
}

/// Each statement deletes the first batch, gets its rows, and commits.
async fn claim_and_delete(db: &mut SqliteConnection) -> Result<f64> {
    const CLAIM: &str =
        "delete from jobs where id in (select id from jobs order by id limit 1000) returning id, payload";
    let mut jobs = 0;
    let began = Instant::now();
    loop {
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(CLAIM).fetch_all(&mut *db).await?;
        if rows.is_empty() {
            return Ok(per_second(jobs, began));
        }
        jobs += black_box(rows).len();
    }
}
