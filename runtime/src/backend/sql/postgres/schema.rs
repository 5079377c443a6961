//! The tables, and how a database gets them.

use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::connect::{Settings, simple};
use super::error::fault;
use crate::backend::Schema;
use crate::backend::sql::migrations::{self, Migration, missing, schema};
use crate::error::Result;

/// Every step of the schema, oldest first. A step that was released never changes.
const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, name: "jobs, leases, finished", statements: FIRST },
    Migration { version: 2, name: "a function that pushes", statements: &[include_str!("push.sql")] },
    Migration { version: 3, name: "unique keys for a time", statements: WINDOWS },
    Migration { version: 4, name: "limits", statements: LIMITS },
    Migration { version: 5, name: "pushes in one round trip", statements: &[STORED] },
];

/// For a push that is one statement: called with the job once it is stored, it fails if the job lies in another place too,
/// where another push has stored it and it was claimed meanwhile.
///
/// A volatile function sees what was committed until it is called, while its statement sees what was when that began.
const STORED: &str =
    "CREATE FUNCTION taskwright_stored(job uuid) RETURNS uuid LANGUAGE plpgsql VOLATILE AS $taskwright$
    BEGIN
        IF EXISTS (SELECT FROM taskwright_leases WHERE newest >= job AND position(uuid_send(job) IN members) > 0)
            OR EXISTS (SELECT FROM taskwright_finished WHERE id = job)
            OR EXISTS (SELECT FROM taskwright_limited WHERE id = job) THEN
            RAISE EXCEPTION 'job % was stored before', job USING ERRCODE = 'unique_violation';
        END IF;
        RETURN job;
    END
    $taskwright$";

/// Jobs with limits lie apart, so that the others pay nothing for them.
const LIMITS: &[&str] = &[
    "CREATE TABLE taskwright_limited (
        id uuid NOT NULL PRIMARY KEY,
        due bigint NOT NULL,
        expires bigint,
        pushed bigint NOT NULL,
        attempt bigint NOT NULL,
        attempt_limit bigint NOT NULL,
        crashes bigint NOT NULL,
        priority smallint NOT NULL,
        retry smallint NOT NULL,
        codec smallint NOT NULL,
        queue text COLLATE \"C\" NOT NULL,
        task text COLLATE \"C\" NOT NULL,
        lane text COLLATE \"C\" NOT NULL,
        payload bytea NOT NULL,
        extras bytea,
        weights bytea
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)",
    // The order of claims within a lane.
    "CREATE INDEX limited_order ON taskwright_limited (lane, priority DESC, due, id) INCLUDE (expires)",
    // For the reaper; holds only jobs that can expire.
    "CREATE INDEX limited_expiry ON taskwright_limited (expires) WHERE expires IS NOT NULL",
    // Lanes to which jobs came: what a push tells the next claim, without a lock that outlives its statement.
    "CREATE TABLE taskwright_arrivals (
        id uuid NOT NULL PRIMARY KEY,
        due bigint NOT NULL,
        queue text COLLATE \"C\" NOT NULL,
        lane text COLLATE \"C\" NOT NULL
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)",
    "CREATE INDEX arrivals_queue ON taskwright_arrivals (queue, id)",
    // Lanes that stand in line: when each is to be looked at, and the key that it waits for.
    "CREATE TABLE taskwright_lanes (
        id text COLLATE \"C\" NOT NULL PRIMARY KEY,
        queue text COLLATE \"C\" NOT NULL,
        turn bigint NOT NULL,
        waits text COLLATE \"C\"
    ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)",
    "CREATE INDEX lanes_line ON taskwright_lanes (queue, turn)",
    "CREATE INDEX lanes_waits ON taskwright_lanes (waits) WHERE waits IS NOT NULL",
    // One row a key: what was set, and what has started.
    "CREATE TABLE taskwright_limits (
        id text COLLATE \"C\" NOT NULL PRIMARY KEY,
        is_set smallint NOT NULL,
        counts_until bigint NOT NULL,
        at_run_time bytea,
        configured bytea,
        asked bytea,
        starts bytea
    ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)",
    "CREATE INDEX limits_idle ON taskwright_limits (is_set, counts_until)",
    // The slots that leases hold, which count as long as the lease is there.
    "CREATE TABLE taskwright_holds (
        lease bigint NOT NULL,
        held bigint NOT NULL,
        limit_key text COLLATE \"C\" NOT NULL,
        PRIMARY KEY (lease, limit_key)
    ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)",
    "CREATE INDEX holds_key ON taskwright_holds (limit_key)",
];

/// Names compare byte by byte, whatever the database's language.
///
/// Autovacuum comes often: a table that everything goes through is mostly dead rows otherwise.
const FIRST: &[&str] = &[
    "CREATE TABLE taskwright_jobs (
        id uuid NOT NULL PRIMARY KEY,
        due bigint NOT NULL,
        expires bigint,
        pushed bigint NOT NULL,
        attempt bigint NOT NULL,
        attempt_limit bigint NOT NULL,
        crashes bigint NOT NULL,
        priority smallint NOT NULL,
        retry smallint NOT NULL,
        codec smallint NOT NULL,
        queue text COLLATE \"C\" NOT NULL,
        task text COLLATE \"C\" NOT NULL,
        payload bytea NOT NULL,
        extras bytea
    ) WITH (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)",
    // The order of claims. The columns after `id` answer a claim's conditions and the counts of a queue from the index.
    "CREATE INDEX jobs_order ON taskwright_jobs (queue, priority DESC, due, id) INCLUDE (expires, retry)",
    // For the reaper; holds only jobs that can expire.
    "CREATE INDEX jobs_expiry ON taskwright_jobs (expires) WHERE expires IS NOT NULL",
    // Room in each page, so that marking and renewing stay within it.
    "CREATE TABLE taskwright_leases (
        id bigint NOT NULL PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
        worker uuid NOT NULL,
        claimed bigint NOT NULL,
        lapses bigint NOT NULL,
        noted smallint NOT NULL,
        newest uuid NOT NULL,
        settled bytea NOT NULL,
        members bytea NOT NULL,
        moments bytea,
        jobs bytea NOT NULL
    ) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)",
    // Out of line and as they are, so that marking a lease does not write its jobs again.
    "ALTER TABLE taskwright_leases ALTER COLUMN jobs SET STORAGE EXTERNAL, ALTER COLUMN members SET STORAGE EXTERNAL",
    // For the reaper.
    "CREATE INDEX leases_lapse ON taskwright_leases (lapses)",
    // For a push, to see with one look whether one of its jobs may be running.
    "CREATE INDEX leases_newest ON taskwright_leases (newest)",
    // What is told about running jobs: why one was called off, how far it is.
    "CREATE TABLE taskwright_notes (
        job uuid NOT NULL PRIMARY KEY,
        called_off text,
        fraction double precision,
        note text
    )",
    "CREATE TABLE taskwright_finished (
        id uuid NOT NULL PRIMARY KEY,
        due bigint NOT NULL,
        expires bigint,
        pushed bigint NOT NULL,
        attempt bigint NOT NULL,
        attempt_limit bigint NOT NULL,
        crashes bigint NOT NULL,
        finished bigint NOT NULL,
        ends bigint NOT NULL,
        priority smallint NOT NULL,
        retry smallint NOT NULL,
        codec smallint NOT NULL,
        state text COLLATE \"C\" NOT NULL,
        queue text COLLATE \"C\" NOT NULL,
        task text COLLATE \"C\" NOT NULL,
        payload bytea NOT NULL,
        extras bytea
    )",
    // For retention.
    "CREATE INDEX finished_end ON taskwright_finished (state, ends)",
    "CREATE TABLE taskwright_unique (unique_key text COLLATE \"C\" NOT NULL PRIMARY KEY, job uuid NOT NULL)",
    // Batches pushed within the last hour, and the jobs of each that were refused.
    "CREATE TABLE taskwright_batches (id uuid NOT NULL PRIMARY KEY, pushed bigint NOT NULL, refused bytea)",
    // Outcomes of jobs that another backend carries.
    "CREATE TABLE taskwright_outcomes (
        id uuid NOT NULL PRIMARY KEY,
        attempt bigint NOT NULL,
        ends bigint NOT NULL,
        outcome bytea NOT NULL
    )",
    "CREATE INDEX outcomes_end ON taskwright_outcomes (ends)",
    "CREATE TABLE taskwright_pauses (queue text COLLATE \"C\" NOT NULL PRIMARY KEY)",
    "CREATE TABLE taskwright_workers (
        id uuid NOT NULL PRIMARY KEY,
        seen bigint NOT NULL,
        lapses bigint NOT NULL,
        record bytea NOT NULL
    )",
    "CREATE TABLE taskwright_leaders (
        role text COLLATE \"C\" NOT NULL PRIMARY KEY,
        worker uuid NOT NULL,
        term bigint NOT NULL,
        until bigint NOT NULL
    )",
];

/// `until` is when a key is free again, if that is a moment; `replaced` are the jobs of a batch that changed others.
const WINDOWS: &[&str] = &[
    "ALTER TABLE taskwright_unique ADD COLUMN until bigint",
    // For the reaper; holds only keys that are free again at some moment.
    "CREATE INDEX unique_until ON taskwright_unique (until) WHERE until IS NOT NULL",
    "ALTER TABLE taskwright_batches ADD COLUMN replaced bytea",
    include_str!("push_windows.sql"),
];

const HAS_SCHEMA: &str = "SELECT count(*) FROM pg_namespace WHERE nspname = $1";
const HAS_MIGRATIONS: &str = "SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
    WHERE nspname = $1 AND relname = 'migrations'";
const CREATE_MIGRATIONS: &str = "CREATE TABLE IF NOT EXISTS taskwright_migrations (
    version bigint NOT NULL PRIMARY KEY,
    name text NOT NULL,
    applied timestamptz NOT NULL DEFAULT clock_timestamp()
)";
const VERSION: &str = "SELECT coalesce(max(version), 0) FROM taskwright_migrations";
const RECORD: &str = "INSERT INTO taskwright_migrations (version, name) VALUES ($1, $2)";

/// One of all databases' processes at a time; the second number is for each schema its own.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1952541555, hashtext($1))";

/// All of it, to be run by hand in a database without it.
pub(super) fn script(settings: &Settings) -> String {
    let schema = &settings.schema;
    let record = |step: &Migration| {
        format!("INSERT INTO taskwright_migrations (version, name) VALUES ({}, '{}')", step.version, step.name)
    };
    let script = migrations::script(CREATE_MIGRATIONS, MIGRATIONS, |sql| schema.translate(sql), record);
    format!("BEGIN;\nCREATE SCHEMA IF NOT EXISTS {};\n{script}COMMIT;\n", schema.quoted())
}

/// Brings the schema to this program's version. Any number of processes may do so at once: the steps are taken under a
/// lock, by whoever has it first. A schema that is up to date needs no right to create anything.
pub(super) async fn migrate(db: &mut PgConnection, settings: &Settings) -> Result<Schema> {
    let before = version(db, settings).await?;
    if missing(MIGRATIONS, before)?.is_empty() {
        return Ok(schema(MIGRATIONS, before));
    }
    simple(db, "BEGIN ISOLATION LEVEL READ COMMITTED".to_owned()).await?;
    let migrated = match migrate_locked(db, settings).await {
        Ok(()) => simple(db, "COMMIT".to_owned()).await.map(drop),
        Err(error) => Err(error),
    };
    if migrated.is_err()
        && let Err(error) = simple(db, "ROLLBACK".to_owned()).await
    {
        tracing::debug!(%error, "the connection ended with the error");
    }
    migrated.map(|()| schema(MIGRATIONS, before))
}

async fn migrate_locked(db: &mut PgConnection, settings: &Settings) -> Result<()> {
    let schema = &settings.schema;
    query(LOCK).bind(schema.name()).execute(&mut *db).await.map_err(fault)?;
    // Asked for, since creating one that is there needs the right to create it.
    if number(db, HAS_SCHEMA, schema.name()).await? == 0 {
        simple(db, format!("CREATE SCHEMA {}", schema.quoted())).await?;
    }
    simple(db, schema.translate(CREATE_MIGRATIONS)).await?;
    // Again, since another process may have been faster.
    for migration in missing(MIGRATIONS, version(db, settings).await?)? {
        for statement in migration.statements {
            simple(db, schema.translate(statement)).await?;
        }
        let record = query(schema.translate(RECORD)).bind(migration.version).bind(migration.name);
        record.execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}

/// The version of the schema; 0 when there is none.
async fn version(db: &mut PgConnection, settings: &Settings) -> Result<i64> {
    if number(db, HAS_MIGRATIONS, settings.schema.name()).await? == 0 {
        return Ok(0);
    }
    let version = query(settings.schema.translate(VERSION));
    version.fetch_one(db).await.map_err(fault)?.try_get(0).map_err(fault)
}

async fn number(db: &mut PgConnection, sql: &str, schema: &str) -> Result<i64> {
    query(sql).bind(schema).fetch_one(db).await.map_err(fault)?.try_get(0).map_err(fault)
}

/// A statement that is run once.
fn query(sql: impl Into<String>) -> sqlx::query::Query<'static, sqlx::Postgres, sqlx::postgres::PgArguments> {
    sqlx::query(AssertSqlSafe(sql.into())).persistent(false)
}
