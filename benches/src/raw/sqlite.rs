//! SQLite without a queue: a table with nothing but an order and a payload.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::{Amount, BATCH, payload};
use crate::engine::per_second;
use crate::report::{Measure, Report};
use crate::sites::{Kind, Site, Store};

pub(super) async fn measure(report: &mut Report, store: &Store, work: Amount) -> Result<()> {
    let site = store.site()?;
    let mut db = open(&site, store.kind).await?;
    report.rate(store.name(), Measure::RawOne, insert(&mut db, 1, work.single).await?);
    report.rate(store.name(), Measure::RawBulk, insert(&mut db, BATCH, work.batches).await?);
    report.rate(store.name(), Measure::RawDelete, claim_and_delete(&mut db).await?);
    Ok(db.close().await?)
}

/// Written the way the SQLite backend writes.
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
    let payload = payload();
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
