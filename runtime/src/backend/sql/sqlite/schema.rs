//! The tables, and how a database gets them.

use sqlx::{Row, SqliteConnection};

use super::connect::Patience;
use super::error::fault;
use crate::backend::Schema;
use crate::backend::sql::migrations::{self, Migration, missing, schema};
use crate::error::Result;
use crate::time::Timestamp;

/// Every step of the schema, oldest first. A step that was released never changes.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "jobs, leases, finished", statements: FIRST },
    Migration { version: 2, name: "unique keys for a time", statements: WINDOWS },
    Migration { version: 3, name: "limits", statements: LIMITS },
];

/// `STRICT` keeps other types out, so that a row edited by hand can be wrong but not unreadable in most columns.
const FIRST: &[&str] = &[
    "CREATE TABLE taskwright_jobs (
        id BLOB NOT NULL PRIMARY KEY,
        queue TEXT NOT NULL,
        priority INTEGER NOT NULL,
        due INTEGER NOT NULL,
        expires INTEGER,
        task TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        attempt_limit INTEGER NOT NULL,
        crashes INTEGER NOT NULL,
        retry INTEGER NOT NULL,
        pushed INTEGER NOT NULL,
        codec INTEGER NOT NULL,
        payload BLOB NOT NULL,
        extras BLOB
    ) STRICT, WITHOUT ROWID",
    // The order of claims. The columns after `id` answer a claim's conditions and the counts of a queue from the index.
    "CREATE INDEX taskwright_jobs_order ON taskwright_jobs (queue, priority DESC, due, id, expires, retry)",
    // For the reaper; holds only jobs that can expire.
    "CREATE INDEX taskwright_jobs_expiry ON taskwright_jobs (expires) WHERE expires IS NOT NULL",
    // `AUTOINCREMENT`, so that no later claim gets an earlier one's token. The packed jobs come last: reading the other
    // columns does not read them.
    "CREATE TABLE taskwright_leases (
        id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        worker BLOB NOT NULL,
        claimed INTEGER NOT NULL,
        lapses INTEGER NOT NULL,
        noted INTEGER NOT NULL,
        newest BLOB NOT NULL,
        settled BLOB NOT NULL,
        members BLOB NOT NULL,
        moments BLOB,
        jobs BLOB NOT NULL
    ) STRICT",
    // For the reaper.
    "CREATE INDEX taskwright_leases_lapse ON taskwright_leases (lapses)",
    // For a push, to see with one look whether one of its jobs may be running.
    "CREATE INDEX taskwright_leases_newest ON taskwright_leases (newest)",
    // What is told about running jobs: why one was called off, how far it is.
    "CREATE TABLE taskwright_notes (
        job BLOB NOT NULL PRIMARY KEY,
        called_off TEXT,
        fraction REAL,
        note TEXT
    ) STRICT, WITHOUT ROWID",
    "CREATE TABLE taskwright_finished (
        id BLOB NOT NULL PRIMARY KEY,
        queue TEXT NOT NULL,
        priority INTEGER NOT NULL,
        due INTEGER NOT NULL,
        expires INTEGER,
        task TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        attempt_limit INTEGER NOT NULL,
        crashes INTEGER NOT NULL,
        retry INTEGER NOT NULL,
        pushed INTEGER NOT NULL,
        codec INTEGER NOT NULL,
        payload BLOB NOT NULL,
        extras BLOB,
        state TEXT NOT NULL,
        finished INTEGER NOT NULL,
        ends INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID",
    // For retention.
    "CREATE INDEX taskwright_finished_end ON taskwright_finished (state, ends)",
    "CREATE TABLE taskwright_unique (
        unique_key TEXT NOT NULL PRIMARY KEY,
        job BLOB NOT NULL
    ) STRICT, WITHOUT ROWID",
    // Batches pushed within the last hour, and the jobs of each that were refused.
    "CREATE TABLE taskwright_batches (
        id BLOB NOT NULL PRIMARY KEY,
        pushed INTEGER NOT NULL,
        refused BLOB
    ) STRICT, WITHOUT ROWID",
    // Outcomes of jobs that another backend carries.
    "CREATE TABLE taskwright_outcomes (
        id BLOB NOT NULL PRIMARY KEY,
        attempt INTEGER NOT NULL,
        ends INTEGER NOT NULL,
        outcome BLOB NOT NULL
    ) STRICT, WITHOUT ROWID",
    "CREATE INDEX taskwright_outcomes_end ON taskwright_outcomes (ends)",
    "CREATE TABLE taskwright_pauses (queue TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID",
    "CREATE TABLE taskwright_workers (
        id BLOB NOT NULL PRIMARY KEY,
        seen INTEGER NOT NULL,
        lapses INTEGER NOT NULL,
        record BLOB NOT NULL
    ) STRICT, WITHOUT ROWID",
    "CREATE TABLE taskwright_leaders (
        role TEXT NOT NULL PRIMARY KEY,
        worker BLOB NOT NULL,
        term INTEGER NOT NULL,
        until INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID",
    // Counts what workers should hear of soon: cancellations of running jobs, pauses. Other processes compare it.
    "CREATE TABLE taskwright_control (
        only INTEGER NOT NULL PRIMARY KEY CHECK (only = 1),
        count INTEGER NOT NULL
    ) STRICT",
    "INSERT INTO taskwright_control (only, count) VALUES (1, 0)",
];

/// `until` is when a key is free again, if that is a moment; `replaced` are the jobs of a batch that changed others.
const WINDOWS: &[&str] = &[
    "ALTER TABLE taskwright_unique ADD COLUMN until INTEGER",
    // For the reaper; holds only keys that are free again at some moment.
    "CREATE INDEX taskwright_unique_until ON taskwright_unique (until) WHERE until IS NOT NULL",
    "ALTER TABLE taskwright_batches ADD COLUMN replaced BLOB",
];

/// Jobs with limits lie apart, so that the others pay nothing for them.
const LIMITS: &[&str] = &[
    "CREATE TABLE taskwright_limited (
        id BLOB NOT NULL PRIMARY KEY,
        queue TEXT NOT NULL,
        priority INTEGER NOT NULL,
        due INTEGER NOT NULL,
        expires INTEGER,
        task TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        attempt_limit INTEGER NOT NULL,
        crashes INTEGER NOT NULL,
        retry INTEGER NOT NULL,
        pushed INTEGER NOT NULL,
        codec INTEGER NOT NULL,
        payload BLOB NOT NULL,
        extras BLOB,
        lane TEXT NOT NULL,
        weights BLOB
    ) STRICT, WITHOUT ROWID",
    // The order of claims within a lane.
    "CREATE INDEX taskwright_limited_order ON taskwright_limited (lane, priority DESC, due, id, expires)",
    // For the reaper; holds only jobs that can expire.
    "CREATE INDEX taskwright_limited_expiry ON taskwright_limited (expires) WHERE expires IS NOT NULL",
    // Lanes to which jobs came: what a push tells the next claim.
    "CREATE TABLE taskwright_arrivals (
        id BLOB NOT NULL PRIMARY KEY,
        queue TEXT NOT NULL,
        lane TEXT NOT NULL,
        due INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID",
    "CREATE INDEX taskwright_arrivals_queue ON taskwright_arrivals (queue, id)",
    // Lanes that stand in line: when each is to be looked at, and the key that it waits for.
    "CREATE TABLE taskwright_lanes (
        id TEXT NOT NULL PRIMARY KEY,
        queue TEXT NOT NULL,
        turn INTEGER NOT NULL,
        waits TEXT
    ) STRICT, WITHOUT ROWID",
    "CREATE INDEX taskwright_lanes_line ON taskwright_lanes (queue, turn)",
    "CREATE INDEX taskwright_lanes_waits ON taskwright_lanes (waits) WHERE waits IS NOT NULL",
    // One row a key: what was set, and what has started.
    "CREATE TABLE taskwright_limits (
        id TEXT NOT NULL PRIMARY KEY,
        is_set INTEGER NOT NULL,
        counts_until INTEGER NOT NULL,
        at_run_time BLOB,
        configured BLOB,
        asked BLOB,
        starts BLOB
    ) STRICT, WITHOUT ROWID",
    "CREATE INDEX taskwright_limits_idle ON taskwright_limits (is_set, counts_until)",
    // The slots that leases hold, which count as long as the lease is there.
    "CREATE TABLE taskwright_holds (
        lease INTEGER NOT NULL,
        limit_key TEXT NOT NULL,
        held INTEGER NOT NULL,
        PRIMARY KEY (lease, limit_key)
    ) STRICT, WITHOUT ROWID",
    "CREATE INDEX taskwright_holds_key ON taskwright_holds (limit_key, held)",
];

const CREATE_MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS taskwright_migrations (
    version INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    applied INTEGER NOT NULL
) STRICT";
const HAS_MIGRATIONS: &str =
    "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'taskwright_migrations'";
const VERSION: &str = "SELECT coalesce(max(version), 0) FROM taskwright_migrations";
/// Begins to write, and writes nothing. `BEGIN IMMEDIATE` alone succeeds on a file that can only be read.
const TOUCH: &str = "DELETE FROM taskwright_migrations WHERE 0";
const RECORD: &str = "INSERT INTO taskwright_migrations (version, name, applied) VALUES (?, ?, ?)";

/// All of it, to be run by hand on an empty database.
pub(super) fn script() -> String {
    let record = |step: &Migration| {
        let values = format!("{}, '{}', CAST(strftime('%s', 'now') AS INTEGER) * 1000000", step.version, step.name);
        format!("INSERT INTO taskwright_migrations (version, name, applied) VALUES ({values})")
    };
    let script = migrations::script(CREATE_MIGRATIONS, MIGRATIONS, str::to_owned, record);
    format!("BEGIN IMMEDIATE;\n{script}COMMIT;\n")
}

/// Brings the database to this program's schema. Any number of processes may do so at once: the steps are taken under
/// the write lock, by whoever has it first. A file that can't be written is found out here too.
pub(super) async fn migrate(db: &mut SqliteConnection, now: Timestamp, patience: &Patience) -> Result<Schema> {
    // Also before the lock, so that a database of a newer version is refused whoever holds it.
    let before = loop {
        match version(db).await {
            Ok(version) => break version,
            Err(error) => patience.wait_after(error).await?,
        }
    };
    missing(MIGRATIONS, before)?;
    while let Err(error) = sqlx::query("BEGIN IMMEDIATE").persistent(false).execute(&mut *db).await {
        patience.wait_after(error).await?;
    }
    let migrated = match migrate_locked(db, now).await {
        Ok(()) => execute(db, "COMMIT").await,
        Err(error) => Err(error),
    };
    if migrated.is_err()
        && let Err(error) = execute(db, "ROLLBACK").await
    {
        tracing::debug!(%error, "rolled back already");
    }
    migrated.map(|()| schema(MIGRATIONS, before))
}

async fn migrate_locked(db: &mut SqliteConnection, now: Timestamp) -> Result<()> {
    execute(db, CREATE_MIGRATIONS).await?;
    execute(db, TOUCH).await?;
    // Again, since another process may have been faster.
    for migration in missing(MIGRATIONS, version(db).await.map_err(fault)?)? {
        for statement in migration.statements {
            execute(db, statement).await?;
        }
        let record = sqlx::query(RECORD).bind(migration.version).bind(migration.name).bind(now.as_micros());
        record.execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}

/// The version of the database's schema; 0 when it has none.
async fn version(db: &mut SqliteConnection) -> sqlx::Result<i64> {
    let tables: i64 = sqlx::query(HAS_MIGRATIONS).fetch_one(&mut *db).await?.get(0);
    if tables == 0 {
        return Ok(0);
    }
    sqlx::query(VERSION).fetch_one(&mut *db).await?.try_get(0)
}

async fn execute(db: &mut SqliteConnection, sql: &'static str) -> Result<()> {
    sqlx::query(sql).persistent(false).execute(db).await.map_err(fault)?;
    Ok(())
}
