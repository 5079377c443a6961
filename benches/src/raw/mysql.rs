//! MySQL without a queue: a table with nothing but an order and a payload.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection};

use super::{Amount, BATCH, payload};
use crate::engine::per_second;
use crate::report::{Measure, Report};
use crate::sites::Store;

const TABLE: &str = "create table raw_jobs (id bigint primary key auto_increment, payload blob not null)";

pub(super) async fn measure(report: &mut Report, store: &Store, work: Amount) -> Result<()> {
    let mut db = MySqlConnection::connect(store.server()?).await?;
    db.execute("drop table if exists raw_jobs").await?;
    db.execute(TABLE).await?;
    report.rate(store.name(), Measure::RawOne, insert(&mut db, 1, work.single).await?);
    report.rate(store.name(), Measure::RawBulk, insert(&mut db, BATCH, work.batches).await?);
    report.rate(store.name(), Measure::RawDelete, claim_and_delete(&mut db).await?);
    db.execute("drop table raw_jobs").await?;
    Ok(db.close().await?)
}

/// Each statement inserts so many rows and commits.
async fn insert(db: &mut MySqlConnection, rows: usize, statements: usize) -> Result<f64> {
    let payload = payload();
    let sql = format!("insert into raw_jobs (payload) values {}", vec!["(?)"; rows].join(", "));
    let began = Instant::now();
    for _ in 0..statements {
        let mut query = sqlx::query(AssertSqlSafe(sql.as_str()));
        for _ in 0..rows {
            query = query.bind(payload.as_slice());
        }
        query.execute(&mut *db).await?;
    }
    Ok(per_second(rows * statements, began))
}

/// Each transaction reads the first batch and deletes it.
async fn claim_and_delete(db: &mut MySqlConnection) -> Result<f64> {
    const READ: &str = "select id, payload from raw_jobs order by id limit 1000 for update skip locked";
    const DELETE: &str = "delete from raw_jobs where id between ? and ?";
    let mut jobs = 0;
    let began = Instant::now();
    loop {
        let mut transaction = db.begin().await?;
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(READ).fetch_all(&mut *transaction).await?;
        let Some(((first, _), (last, _))) = rows.first().zip(rows.last()) else {
            return Ok(per_second(jobs, began));
        };
        sqlx::query(DELETE).bind(first).bind(last).execute(&mut *transaction).await?;
        transaction.commit().await?;
        jobs += black_box(rows).len();
    }
}
