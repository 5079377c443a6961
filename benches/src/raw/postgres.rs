//! Postgres without a queue: the statements that any queue of its design needs, and nothing around them.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::{Amount, BATCH, payload};
use crate::engine::per_second;
use crate::report::{Measure, Report};
use crate::sites::Store;

/// A table with nothing but an order and a payload, and one with what a job needs and the index that claims go by.
const TABLES: &str = "
    drop schema if exists raw cascade;
    create schema raw;
    create table raw.bare (id bigserial primary key, payload bytea not null, visible timestamptz not null default now());
    create table raw.jobs (
        id uuid primary key, queue text not null, task text not null, priority smallint not null, due bigint not null,
        attempt integer not null, attempt_limit integer not null, pushed bigint not null, payload bytea not null
    );
    create index on raw.jobs (queue, priority desc, due, id);
    create table raw.leases (id bigserial primary key, worker uuid not null, jobs raw.jobs[] not null);
    alter table raw.leases alter column jobs set storage external;
";

const INSERT_ONE: &str = "insert into raw.bare (payload) values ($1)";

const INSERT_BARE: &str = "insert into raw.bare (payload) select * from unnest($1::bytea[])";

const INSERT_JOBS: &str = "insert into raw.jobs
    select gen_random_uuid(), 'default', 'bench.noop', 0, $2 + place, 0, 20, $2, payload
    from unnest($1::bytea[]) with ordinality as new (payload, place)";

/// Reading hides the rows for a while, as pgmq does; archiving them would cost more.
const READ: &str = "update raw.bare set visible = clock_timestamp() + interval '30 seconds' where id in (
        select id from raw.bare where visible <= clock_timestamp() order by id limit $1 for update skip locked
    ) returning id, payload";

const DELETE_READ: &str = "delete from raw.bare where id = any($1)";

const DELETE: &str = "delete from raw.bare where id in (
        select id from raw.bare order by id limit $1 for update skip locked
    ) returning id, payload";

/// Packs the jobs into a lease, so that settling all of them deletes one row.
const CLAIM: &str = "with picked as (
        delete from raw.jobs where id = any(array(
            select id from raw.jobs where queue = 'default' and due <= 9223372036854775807
            order by priority desc, due, id limit $1 for update skip locked
        )) returning *
    ), lease as (
        insert into raw.leases (worker, jobs)
        select '00000000-0000-0000-0000-000000000001', array_agg(picked::raw.jobs) from picked having count(*) > 0
        returning id
    ) select lease.id, picked.payload from picked, lease";

const SETTLE: &str = "delete from raw.leases where id = $1";

pub(super) async fn measure(report: &mut Report, store: &Store, work: Amount) -> Result<()> {
    let mut db = PgConnection::connect(store.server()?).await?;
    db.execute(TABLES).await?;
    let mut rate = |measure, rate| report.rate(store.name(), measure, rate);
    rate(Measure::RawOne, insert_one(&mut db, work.single).await?);
    db.execute("truncate raw.bare").await?;
    rate(Measure::RawBare, insert(&mut db, INSERT_BARE, work.batches).await?);
    rate(Measure::RawReadDelete, read_and_delete(&mut db).await?);
    insert(&mut db, INSERT_BARE, work.batches).await?;
    rate(Measure::RawDelete, claim_and_delete(&mut db).await?);
    rate(Measure::RawBulk, insert(&mut db, INSERT_JOBS, work.batches).await?);
    rate(Measure::RawClaimSettle, claim_and_settle(&mut db).await?);
    db.execute("drop schema raw cascade").await?;
    Ok(db.close().await?)
}

async fn insert_one(db: &mut PgConnection, rows: usize) -> Result<f64> {
    let began = Instant::now();
    for _ in 0..rows {
        sqlx::query(INSERT_ONE).bind(payload()).execute(&mut *db).await?;
    }
    Ok(per_second(rows, began))
}

/// Each statement inserts a batch and commits.
async fn insert(db: &mut PgConnection, sql: &'static str, statements: usize) -> Result<f64> {
    let batch = vec![payload(); BATCH];
    let began = Instant::now();
    for number in 0..statements {
        let mut query = sqlx::query(AssertSqlSafe(sql)).bind(&batch);
        if sql == INSERT_JOBS {
            query = query.bind(i64::try_from(number * BATCH)?);
        }
        query.execute(&mut *db).await?;
    }
    Ok(per_second(statements * BATCH, began))
}

async fn read_and_delete(db: &mut PgConnection) -> Result<f64> {
    let mut jobs = 0;
    let began = Instant::now();
    loop {
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(READ).bind(i64::try_from(BATCH)?).fetch_all(&mut *db).await?;
        if rows.is_empty() {
            return Ok(per_second(jobs, began));
        }
        let ids: Vec<_> = black_box(rows).into_iter().map(|(id, _)| id).collect();
        sqlx::query(DELETE_READ).bind(&ids).execute(&mut *db).await?;
        jobs += ids.len();
    }
}

async fn claim_and_delete(db: &mut PgConnection) -> Result<f64> {
    let mut jobs = 0;
    let began = Instant::now();
    loop {
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(DELETE).bind(i64::try_from(BATCH)?).fetch_all(&mut *db).await?;
        if rows.is_empty() {
            return Ok(per_second(jobs, began));
        }
        jobs += black_box(rows).len();
    }
}

async fn claim_and_settle(db: &mut PgConnection) -> Result<f64> {
    let mut jobs = 0;
    let began = Instant::now();
    loop {
        let rows: Vec<(i64, Vec<u8>)> = sqlx::query_as(CLAIM).bind(i64::try_from(BATCH)?).fetch_all(&mut *db).await?;
        let Some((lease, _)) = rows.first() else { return Ok(per_second(jobs, began)) };
        sqlx::query(SETTLE).bind(lease).execute(&mut *db).await?;
        jobs += black_box(rows).len();
    }
}
