//! The tables, and how a database gets them.

use sqlx::{AssertSqlSafe, MySqlConnection, Row};

use super::connect::{Settings, simple};
use super::error::fault;
use super::tables::translate;
use crate::backend::Schema;
use crate::backend::sql::migrations::{self, Migration, missing, schema};
use crate::error::{Error, Result};

/// Every step of the schema, oldest first. A step that was released never changes.
///
/// Each statement commits by itself here, so each must do no harm when it is run again after a crash in the middle.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "jobs, leases, finished", statements: FIRST },
    Migration { version: 2, name: "unique keys for a time", statements: WINDOWS },
    Migration { version: 3, name: "limits", statements: LIMITS },
];

/// Jobs with limits lie apart, so that the others pay nothing for them.
const LIMITS: &[&str] = &[
    // The first index: the order of claims within a lane. The other one is for the reaper.
    "CREATE TABLE IF NOT EXISTS taskwright_limited (
        id BINARY(16) NOT NULL PRIMARY KEY,
        queue VARCHAR(128) NOT NULL,
        priority SMALLINT NOT NULL,
        due BIGINT NOT NULL,
        expires BIGINT,
        task VARCHAR(128) NOT NULL,
        attempt BIGINT NOT NULL,
        attempt_limit BIGINT NOT NULL,
        crashes BIGINT NOT NULL,
        retry SMALLINT NOT NULL,
        pushed BIGINT NOT NULL,
        codec SMALLINT NOT NULL,
        payload LONGBLOB NOT NULL,
        extras LONGBLOB,
        lane VARBINARY(1800) NOT NULL,
        weights BLOB,
        KEY limited_order (lane, priority, due, id, expires),
        KEY limited_expiry (expires)
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
    // Lanes to which jobs came: what a push tells the next claim.
    "CREATE TABLE IF NOT EXISTS taskwright_arrivals (
        id BINARY(16) NOT NULL PRIMARY KEY,
        queue VARCHAR(128) NOT NULL,
        lane VARBINARY(1800) NOT NULL,
        due BIGINT NOT NULL,
        KEY arrivals_queue (queue, id)
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
    // Lanes that stand in line: when each is to be looked at, and the key that it waits for.
    "CREATE TABLE IF NOT EXISTS taskwright_lanes (
        id VARBINARY(1800) NOT NULL PRIMARY KEY,
        queue VARCHAR(128) NOT NULL,
        turn BIGINT NOT NULL,
        waits VARBINARY(512),
        KEY lanes_line (queue, turn),
        KEY lanes_waits (waits)
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
    // One row a key: what was set, and what has started.
    "CREATE TABLE IF NOT EXISTS taskwright_limits (
        id VARBINARY(512) NOT NULL PRIMARY KEY,
        is_set SMALLINT NOT NULL,
        counts_until BIGINT NOT NULL,
        at_run_time BLOB,
        configured BLOB,
        asked BLOB,
        starts BLOB,
        KEY limits_idle (is_set, counts_until)
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
    // The slots that leases hold, which count as long as the lease is there.
    "CREATE TABLE IF NOT EXISTS taskwright_holds (
        lease BIGINT NOT NULL,
        limit_key VARBINARY(512) NOT NULL,
        held BIGINT NOT NULL,
        PRIMARY KEY (lease, limit_key),
        KEY holds_key (limit_key)
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
];

/// Names compare byte by byte. Texts that are keys and may end in blanks are bytes, since text is compared without them.
const FIRST: &[&str] = &[
    // The index: the order of claims. The columns after `id` answer a claim's conditions and the counts of a queue.
    // The other one is for the reaper.
    "CREATE TABLE IF NOT EXISTS taskwright_jobs (
        id BINARY(16) NOT NULL PRIMARY KEY,
        queue VARCHAR(128) NOT NULL,
        priority SMALLINT NOT NULL,
        due BIGINT NOT NULL,
        expires BIGINT,
        task VARCHAR(128) NOT NULL,
        attempt BIGINT NOT NULL,
        attempt_limit BIGINT NOT NULL,
        crashes BIGINT NOT NULL,
        retry SMALLINT NOT NULL,
        pushed BIGINT NOT NULL,
        codec SMALLINT NOT NULL,
        payload LONGBLOB NOT NULL,
        extras LONGBLOB,
        KEY jobs_order (queue, priority, due, id, expires, retry),
        KEY jobs_expiry (expires)
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS taskwright_leases (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        worker BINARY(16) NOT NULL,
        claimed BIGINT NOT NULL,
        lapses BIGINT NOT NULL,
        noted SMALLINT NOT NULL,
        newest BINARY(16) NOT NULL,
        settled BLOB NOT NULL,
        members MEDIUMBLOB NOT NULL,
        moments MEDIUMBLOB,
        jobs LONGBLOB NOT NULL,
        KEY leases_lapse (lapses),
        KEY leases_newest (newest)
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
    // What is told about running jobs: why one was called off, how far it is.
    "CREATE TABLE IF NOT EXISTS taskwright_notes (
        job BINARY(16) NOT NULL PRIMARY KEY,
        called_off LONGTEXT,
        fraction DOUBLE,
        note LONGTEXT
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS taskwright_finished (
        id BINARY(16) NOT NULL PRIMARY KEY,
        queue VARCHAR(128) NOT NULL,
        priority SMALLINT NOT NULL,
        due BIGINT NOT NULL,
        expires BIGINT,
        task VARCHAR(128) NOT NULL,
        attempt BIGINT NOT NULL,
        attempt_limit BIGINT NOT NULL,
        crashes BIGINT NOT NULL,
        retry SMALLINT NOT NULL,
        pushed BIGINT NOT NULL,
        codec SMALLINT NOT NULL,
        payload LONGBLOB NOT NULL,
        extras LONGBLOB,
        state VARCHAR(16) NOT NULL,
        finished BIGINT NOT NULL,
        ends BIGINT NOT NULL,
        KEY finished_end (state, ends)
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS taskwright_unique (
        unique_key VARBINARY(512) NOT NULL PRIMARY KEY,
        job BINARY(16) NOT NULL
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
    // Batches pushed within the last hour, and the jobs of each that were refused.
    "CREATE TABLE IF NOT EXISTS taskwright_batches (
        id BINARY(16) NOT NULL PRIMARY KEY,
        pushed BIGINT NOT NULL,
        refused LONGBLOB
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
    // Outcomes of jobs that another backend carries.
    "CREATE TABLE IF NOT EXISTS taskwright_outcomes (
        id BINARY(16) NOT NULL PRIMARY KEY,
        attempt BIGINT NOT NULL,
        ends BIGINT NOT NULL,
        outcome LONGBLOB NOT NULL,
        KEY outcomes_end (ends)
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
    "CREATE TABLE IF NOT EXISTS taskwright_pauses (
        queue VARCHAR(128) NOT NULL PRIMARY KEY
    ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
    "CREATE TABLE IF NOT EXISTS taskwright_workers (
        id BINARY(16) NOT NULL PRIMARY KEY,
        seen BIGINT NOT NULL,
        lapses BIGINT NOT NULL,
        record LONGBLOB NOT NULL
    ) ENGINE = InnoDB ROW_FORMAT = DYNAMIC",
    "CREATE TABLE IF NOT EXISTS taskwright_leaders (
        role VARCHAR(128) NOT NULL PRIMARY KEY,
        worker BINARY(16) NOT NULL,
        term BIGINT NOT NULL,
        until BIGINT NOT NULL
    ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
    // What processes tell each other.
    "CREATE TABLE IF NOT EXISTS taskwright_board (
        id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        message TEXT NOT NULL
    ) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin",
];

/// `until` is when a key is free again, if that is a moment; `replaced` are the jobs of a batch that changed others.
///
/// Each change asks first whether it was made: no transaction undoes those of a step that broke off, and only MariaDB
/// knows `ADD COLUMN IF NOT EXISTS`.
const WINDOWS: &[&str] = &[
    "SET @taskwright = IF((SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE()
        AND table_name = 'taskwright_unique' AND column_name = 'until') > 0,
        'DO 0', 'ALTER TABLE taskwright_unique ADD COLUMN until BIGINT, ADD KEY unique_until (until)')",
    "PREPARE taskwright FROM @taskwright",
    "EXECUTE taskwright",
    "SET @taskwright = IF((SELECT count(*) FROM information_schema.columns WHERE table_schema = DATABASE()
        AND table_name = 'taskwright_batches' AND column_name = 'replaced') > 0,
        'DO 0', 'ALTER TABLE taskwright_batches ADD COLUMN replaced LONGBLOB')",
    "PREPARE taskwright FROM @taskwright",
    "EXECUTE taskwright",
    "DEALLOCATE PREPARE taskwright",
];

const HAS_MIGRATIONS: &str =
    "SELECT count(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";
const CREATE_MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS taskwright_migrations (
    version BIGINT NOT NULL PRIMARY KEY,
    name VARCHAR(255) NOT NULL,
    applied TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin";
const VERSION: &str = "SELECT coalesce(max(version), 0) FROM taskwright_migrations";
const RECORD: &str = "INSERT INTO taskwright_migrations (version, name) VALUES (?, ?)";

/// Names of locks are those of the whole server and have at most 64 characters.
const LOCK: &str = "SELECT GET_LOCK(sha2(concat(DATABASE(), '/', ?), 256), 60)";
const UNLOCK: &str = "SELECT RELEASE_LOCK(sha2(concat(DATABASE(), '/', ?), 256))";

/// All of it, to be run by hand in an empty database.
pub(super) fn script(settings: &Settings) -> String {
    let record = |step: &Migration| {
        format!("INSERT INTO taskwright_migrations (version, name) VALUES ({}, '{}')", step.version, step.name)
    };
    migrations::script(CREATE_MIGRATIONS, MIGRATIONS, |sql| translate(sql, &settings.prefix), record)
}

/// Brings the tables to this program's version. Any number of processes may do so at once: the steps are taken under a
/// lock, by whoever has it first. Tables that are up to date need no right to create anything.
pub(super) async fn migrate(db: &mut MySqlConnection, settings: &Settings) -> Result<Schema> {
    let before = version(db, settings).await?;
    if missing(MIGRATIONS, before)?.is_empty() {
        return Ok(schema(MIGRATIONS, before));
    }
    if number(db, LOCK, &settings.prefix).await? != 1 {
        return Err(Error::unavailable("another process has been creating the tables for a minute; try again"));
    }
    let migrated = migrate_locked(db, settings).await;
    // Also let go of when the connection ends.
    number(db, UNLOCK, &settings.prefix).await?;
    migrated.map(|()| schema(MIGRATIONS, before))
}

async fn migrate_locked(db: &mut MySqlConnection, settings: &Settings) -> Result<()> {
    let prefix = &settings.prefix;
    simple(db, translate(CREATE_MIGRATIONS, prefix)).await?;
    // Again, since another process may have been faster.
    for migration in missing(MIGRATIONS, version(db, settings).await?)? {
        for statement in migration.statements {
            simple(db, translate(statement, prefix)).await?;
        }
        let record = query(translate(RECORD, prefix)).bind(migration.version).bind(migration.name);
        record.execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}

/// The version of the schema; 0 when there is none.
async fn version(db: &mut MySqlConnection, settings: &Settings) -> Result<i64> {
    let table = format!("{}migrations", settings.prefix);
    if number(db, HAS_MIGRATIONS, &table).await? == 0 {
        return Ok(0);
    }
    let version = query(translate(VERSION, &settings.prefix));
    version.fetch_one(db).await.map_err(fault)?.try_get_unchecked(0).map_err(fault)
}

async fn number(db: &mut MySqlConnection, sql: &str, value: &str) -> Result<i64> {
    let row = query(sql).bind(value).fetch_one(db).await.map_err(fault)?;
    Ok(row.try_get_unchecked::<Option<i64>, _>(0).map_err(fault)?.unwrap_or(0))
}

/// A statement that is run once.
fn query(sql: impl Into<String>) -> sqlx::query::Query<'static, sqlx::MySql, sqlx::mysql::MySqlArguments> {
    sqlx::query(AssertSqlSafe(sql.into())).persistent(false)
}
