//! SQLite's own words, and the statements that only it runs this way.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row, Sqlite, SqliteConnection};

use super::error::fault;
use crate::backend::Claim;
use crate::backend::sql::lease::LeaseRow;
use crate::backend::sql::marks::{Marked, bind, bind_finished, bind_record, with_lists};
use crate::backend::sql::places::record;
use crate::backend::sql::record::{FinishedRecord, Record};
use crate::backend::sql::tables::{
    Columns, FINISHED_COLUMNS, JOB_COLUMNS, JOB_WIDTH, Tables, Value, clamp, rows, runs,
};
use crate::error::Result;
use crate::job::JobId;
use crate::time::Timestamp;

/// The due jobs of one queue in the order of claims.
///
/// Each priority is looked up by a seek in the index on (queue, priority, due, id), and its due jobs are a range of that
/// index: jobs of a high priority that are due later are never passed over one by one, however many there are.
/// `CROSS JOIN` keeps SQLite to this order of loops, and with it to the order of claims.
const DUE: &str = "SELECT id FROM (
    WITH RECURSIVE level (priority) AS (
        SELECT max(priority) FROM taskwright_jobs WHERE queue = ?
        UNION ALL
        SELECT (SELECT max(priority) FROM taskwright_jobs WHERE queue = ? AND priority < level.priority)
        FROM level WHERE level.priority IS NOT NULL
    )
    SELECT job.id FROM level CROSS JOIN taskwright_jobs AS job
    WHERE job.queue = ? AND job.priority = level.priority AND job.due <= ?
        AND (job.expires IS NULL OR job.expires > ?)
        AND NOT EXISTS (SELECT 1 FROM taskwright_pauses WHERE taskwright_pauses.queue = ?)
    LIMIT ?
)";

/// When the next job of a queue is due: one seek a priority in the same index.
const NEXT_DUE: &str = "SELECT min(due) FROM (
    WITH RECURSIVE level (priority) AS (
        SELECT max(priority) FROM taskwright_jobs WHERE queue = ?
        UNION ALL
        SELECT (SELECT max(priority) FROM taskwright_jobs WHERE queue = ? AND priority < level.priority)
        FROM level WHERE level.priority IS NOT NULL
    )
    SELECT (
        SELECT job.due FROM taskwright_jobs AS job
        WHERE job.queue = ? AND job.priority = level.priority AND (job.expires IS NULL OR job.expires > ?)
        ORDER BY job.due LIMIT 1
    ) AS due FROM level
    WHERE NOT EXISTS (SELECT 1 FROM taskwright_pauses WHERE taskwright_pauses.queue = ?)
)";

/// A statement on its way to SQLite.
type Statement = Query<'static, Sqlite, SqliteArguments>;

#[async_trait]
impl Tables for SqliteConnection {
    type Row = SqliteRow;

    const SHARED: bool = false;
    // There is one writer, and a reader sees one consistent state.
    const LOCKED: &'static str = "";
    const SKIP_LOCKED: &'static str = "";
    const EXTRAS_HOLD: &'static str = "instr(extras, ?) > 0";

    async fn fetch<S: Into<Cow<'static, str>> + Send>(
        &mut self,
        sql: S,
        values: &[Value<'_>],
    ) -> Result<Vec<SqliteRow>> {
        prepared(sql.into(), values).fetch_all(self).await.map_err(fault)
    }

    async fn execute<S: Into<Cow<'static, str>> + Send>(&mut self, sql: S, values: &[Value<'_>]) -> Result<u64> {
        Ok(prepared(sql.into(), values).execute(self).await.map_err(fault)?.rows_affected())
    }

    async fn insert_waiting(&mut self, records: &[&Record]) -> Result<()> {
        for run in runs(records) {
            let sql = format!("INSERT INTO taskwright_jobs ({JOB_COLUMNS}) VALUES {}", rows(run.len(), JOB_WIDTH));
            let insert = run.iter().fold(statement(sql.into()), |insert, record| bind_record(insert, record));
            insert.execute(&mut *self).await.map_err(fault)?;
        }
        Ok(())
    }

    async fn insert_finished(&mut self, records: &[FinishedRecord]) -> Result<()> {
        for run in runs(records) {
            let values = rows(run.len(), JOB_WIDTH + 3);
            let sql = format!(
                "INSERT OR REPLACE INTO taskwright_finished ({JOB_COLUMNS}, {FINISHED_COLUMNS}) VALUES {values}"
            );
            run.iter().fold(statement(sql.into()), bind_finished).execute(&mut *self).await.map_err(fault)?;
        }
        Ok(())
    }

    async fn take_due(&mut self, claim: &Claim, now: Timestamp) -> Result<Vec<Record>> {
        let mut take = statement(take_statement(claim.queues.len()).into());
        let now = now.as_micros();
        for wish in &claim.queues {
            let queue = wish.queue.as_str();
            take = take.bind(queue).bind(queue).bind(queue).bind(now).bind(now).bind(queue).bind(clamp(wish.limit));
        }
        let rows = take.bind(clamp(claim.limit)).fetch_all(self).await.map_err(fault)?;
        rows.iter().map(record).collect()
    }

    async fn next_due(&mut self, claim: &Claim, now: Timestamp) -> Result<Option<Duration>> {
        let mut next = statement(next_due_statement(claim.queues.len()).into());
        for wish in &claim.queues {
            let queue = wish.queue.as_str();
            next = next.bind(queue).bind(queue).bind(queue).bind(now.as_micros()).bind(queue);
        }
        let due: Option<i64> = next.fetch_one(self).await.map_err(fault)?.try_get(0).map_err(fault)?;
        Ok(due.map(|due| Timestamp::from_micros(due).since(now)))
    }

    async fn insert_lease(&mut self, lease: &LeaseRow, newest: &JobId, packed: &[u8]) -> Result<i64> {
        const INSERT: &str = "INSERT INTO taskwright_leases \
            (worker, claimed, lapses, noted, newest, settled, members, jobs) VALUES (?, ?, ?, 0, ?, ?, ?, ?)";
        let insert = sqlx::query(INSERT)
            .bind(&lease.worker.as_bytes()[..])
            .bind(lease.claimed.as_micros())
            .bind(lease.lapses.as_micros())
            .bind(&newest.as_bytes()[..])
            .bind(lease.settled())
            .bind(lease.members())
            .bind(packed);
        Ok(insert.execute(self).await.map_err(fault)?.last_insert_rowid())
    }

    /// SQLite overwrites what keeps its length in place.
    async fn mark_settled(&mut self, leases: &[&LeaseRow]) -> Result<()> {
        for run in runs(leases) {
            let sql = format!(
                "WITH marked (id, lapses, settled) AS (VALUES {}) UPDATE taskwright_leases \
                 SET lapses = marked.lapses, settled = marked.settled FROM marked WHERE taskwright_leases.id = marked.id",
                rows(run.len(), 3),
            );
            let mark = run.iter().fold(statement(sql.into()), |mark, lease| {
                mark.bind(lease.token).bind(lease.lapses.as_micros()).bind(lease.settled())
            });
            mark.execute(&mut *self).await.map_err(fault)?;
        }
        Ok(())
    }
}

impl Columns for SqliteRow {
    fn integer(&self, column: usize) -> Result<i64> {
        self.try_get(column).map_err(fault)
    }

    fn maybe_integer(&self, column: usize) -> Result<Option<i64>> {
        self.try_get(column).map_err(fault)
    }

    fn maybe_real(&self, column: usize) -> Result<Option<f64>> {
        self.try_get(column).map_err(fault)
    }

    fn text(&self, column: usize) -> Result<String> {
        let bytes: &[u8] = self.try_get(column).map_err(fault)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn maybe_text(&self, column: usize) -> Result<Option<String>> {
        let bytes: Option<&[u8]> = self.try_get(column).map_err(fault)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }

    fn bytes(&self, column: usize) -> Result<Option<Bytes>> {
        let bytes: Option<&[u8]> = self.try_get(column).map_err(fault)?;
        Ok(bytes.map(Bytes::copy_from_slice))
    }
}

/// Deletes the due jobs of that many queues, each up to its own limit, all up to one.
pub(super) fn take_statement(queues: usize) -> String {
    let due = vec![DUE; queues].join(" UNION ALL ");
    format!("DELETE FROM taskwright_jobs WHERE id IN ({due} LIMIT ?) RETURNING {JOB_COLUMNS}")
}

fn next_due_statement(queues: usize) -> String {
    let each = vec![NEXT_DUE; queues].join(" UNION ALL ");
    format!("SELECT min(column1) FROM (SELECT NULL AS column1 UNION ALL {each})")
}

/// A statement made of this program's own words only; values are bound.
fn statement(sql: Cow<'static, str>) -> Statement {
    sqlx::query(AssertSqlSafe(sql))
}

/// A statement with its values.
fn prepared(sql: Cow<'static, str>, values: &[Value<'_>]) -> Statement {
    values.iter().fold(statement(with_lists(sql, values)), bind)
}

impl Marked for Statement {
    fn integer(self, value: Option<i64>) -> Self {
        self.bind(value)
    }

    fn real(self, value: f64) -> Self {
        self.bind(value)
    }

    fn text(self, value: &str) -> Self {
        self.bind(value)
    }

    fn bytes(self, value: Option<&[u8]>) -> Self {
        self.bind(value)
    }
}
