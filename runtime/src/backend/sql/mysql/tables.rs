//! MySQL's own words, which are MariaDB's too, and the statements that only they run this way.
//!
//! Neither knows what the other does to answer with the rows that a statement has written, so rows are locked and read
//! first, and deleted then.

use std::borrow::{BorrowMut, Cow};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::mysql::{MySqlArguments, MySqlRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, MySql, MySqlConnection, Row};

use super::connect::Settings;
use super::error::fault;
use crate::backend::Claim;
use crate::backend::sql::lease::LeaseRow;
use crate::backend::sql::marks::{Marked, bind, bind_finished, bind_record, with_lists};
use crate::backend::sql::places::record;
use crate::backend::sql::record::{FinishedRecord, Record, job_id};
use crate::backend::sql::tables::{
    Columns, FINISHED_COLUMNS, JOB_COLUMNS, JOB_WIDTH, Tables, Value, clamp, lists, portions, rows, runs,
};
use crate::error::Result;
use crate::job::JobId;
use crate::time::Timestamp;

/// A connection, owned or the caller's, and how statements are said on it.
pub(super) struct Session<Db> {
    pub(super) db: Db,
    prefix: String,
    /// The most bytes that the server takes in one message.
    packet: usize,
}

/// A statement on its way to the server.
type Statement = Query<'static, MySql, MySqlArguments>;

impl<Db> Session<Db> {
    pub(super) fn new(db: Db, settings: &Settings) -> Self {
        Self { db, prefix: settings.prefix.clone(), packet: settings.packet }
    }

    /// A statement made of this program's own words only; values are bound.
    fn statement(&self, sql: &str) -> Statement {
        sqlx::query(AssertSqlSafe(translate(sql, &self.prefix)))
    }

    /// A statement with its values.
    fn prepared(&self, sql: Cow<'static, str>, values: &[Value<'_>]) -> Statement {
        values.iter().fold(self.statement(&with_lists(by_key(sql), values)), bind)
    }
}

/// A shared statement that is held to the index that it was written for.
///
/// For a small table the server would rather read all of it, and lock rows that others have locked.
fn by_key(sql: Cow<'static, str>) -> Cow<'static, str> {
    const FORCED: &str = " FORCE INDEX (PRIMARY)";
    const LAPSED: &str = "taskwright_leases WHERE lapses";
    let named = |text: &str| -> Option<String> {
        let table = text.split(' ').next()?;
        table.starts_with("taskwright_").then(|| table.to_owned())
    };
    if sql.contains(LAPSED) {
        return sql.replace(LAPSED, "taskwright_leases FORCE INDEX (leases_lapse) WHERE lapses").into();
    }
    if !sql.contains("IN (?..)") {
        return sql;
    }
    if let Some((table, rest)) = sql.strip_prefix("DELETE FROM ").and_then(|rest| Some((named(rest)?, rest))) {
        // Only this form takes an index.
        return format!("DELETE {table} FROM {table}{FORCED}{}", &rest[table.len()..]).into();
    }
    if let Some((table, rest)) = sql.strip_prefix("UPDATE ").and_then(|rest| Some((named(rest)?, rest))) {
        return format!("UPDATE {table}{FORCED}{}", &rest[table.len()..]).into();
    }
    let mut forced = sql.into_owned();
    for key in ["id", "job", "unique_key"] {
        let condition = format!(" WHERE {key} IN (?..)");
        forced = forced.replace(&condition, &format!("{FORCED}{condition}"));
    }
    forced.into()
}

/// A shared statement with the names of tables as they are here.
pub(super) fn translate(sql: &str, prefix: &str) -> String {
    sql.replace("taskwright_", prefix)
}

/// The priorities of one queue that have due jobs, the highest first: a seek for each in the index on (queue, priority,
/// due, id).
const LEVELS: &str = "SELECT place, priority FROM (
    WITH RECURSIVE level (priority) AS (
        SELECT (SELECT max(priority) FROM taskwright_jobs WHERE queue = ?)
        UNION ALL
        SELECT (SELECT max(job.priority) FROM taskwright_jobs AS job WHERE job.queue = ? AND job.priority < level.priority)
        FROM level WHERE level.priority IS NOT NULL
    )
    SELECT ? AS place, priority FROM level WHERE priority IS NOT NULL
        AND EXISTS (
            SELECT 1 FROM taskwright_jobs AS job
            WHERE job.queue = ? AND job.priority = level.priority AND job.due <= ?
        )
        AND NOT EXISTS (SELECT 1 FROM taskwright_pauses AS pause WHERE pause.queue = ?)
) AS levels";

/// When the next job of a queue is due: one seek a priority in the same index.
const NEXT_DUE: &str = "SELECT min(due) AS due FROM (
    WITH RECURSIVE level (priority) AS (
        SELECT (SELECT max(priority) FROM taskwright_jobs WHERE queue = ?)
        UNION ALL
        SELECT (SELECT max(job.priority) FROM taskwright_jobs AS job WHERE job.queue = ? AND job.priority < level.priority)
        FROM level WHERE level.priority IS NOT NULL
    )
    SELECT (
        SELECT job.due FROM taskwright_jobs AS job
        WHERE job.queue = ? AND job.priority = level.priority AND (job.expires IS NULL OR job.expires > ?)
        ORDER BY job.due LIMIT 1
    ) AS due FROM level
    WHERE level.priority IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM taskwright_pauses AS pause WHERE pause.queue = ?)
) AS dues";

impl<Db: BorrowMut<MySqlConnection> + Send> Session<Db> {
    async fn rows(&mut self, statement: Statement) -> Result<Vec<MySqlRow>> {
        statement.fetch_all(self.db.borrow_mut()).await.map_err(fault)
    }

    /// Which priorities of which queues have due jobs, in the order of the claim.
    async fn levels(&mut self, claim: &Claim, now: Timestamp) -> Result<Vec<(usize, i64)>> {
        let each = vec![LEVELS; claim.queues.len()].join(" UNION ALL ");
        let mut levels = self.statement(&each);
        for (place, wish) in claim.queues.iter().enumerate() {
            let queue = wish.queue.as_str();
            levels = levels.bind(queue).bind(queue).bind(clamp(place)).bind(queue).bind(now.as_micros()).bind(queue);
        }
        let mut found = Vec::new();
        for row in &self.rows(levels).await? {
            found.push((usize::try_from(row.integer(0)?).unwrap_or(usize::MAX), row.integer(1)?));
        }
        found.sort_unstable_by_key(|(place, priority)| (*place, std::cmp::Reverse(*priority)));
        Ok(found)
    }

    async fn delete(&mut self, table: &str, ids: &[JobId]) -> Result<()> {
        for ids in lists(ids) {
            self.execute(format!("DELETE FROM {table} WHERE id IN (?..)"), &[Value::Ids(ids)]).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl<Db: BorrowMut<MySqlConnection> + Send> Tables for Session<Db> {
    type Row = MySqlRow;

    const SHARED: bool = true;
    const LOCKED: &'static str = " FOR UPDATE";
    const SKIP_LOCKED: &'static str = " FOR UPDATE SKIP LOCKED";
    const EXTRAS_HOLD: &'static str = "LOCATE(?, extras) > 0";

    /// A statement is one message.
    fn most_bytes(&self) -> usize {
        self.packet / 2
    }

    async fn fetch<S: Into<Cow<'static, str>> + Send>(
        &mut self,
        sql: S,
        values: &[Value<'_>],
    ) -> Result<Vec<MySqlRow>> {
        let statement = self.prepared(sql.into(), values);
        self.rows(statement).await
    }

    async fn execute<S: Into<Cow<'static, str>> + Send>(&mut self, sql: S, values: &[Value<'_>]) -> Result<u64> {
        let statement = self.prepared(sql.into(), values);
        Ok(statement.execute(self.db.borrow_mut()).await.map_err(fault)?.rows_affected())
    }

    async fn insert_waiting(&mut self, records: &[&Record]) -> Result<()> {
        for portion in portions(records, self.most_bytes(), |record| record) {
            for run in runs(portion) {
                let sql = format!("INSERT INTO taskwright_jobs ({JOB_COLUMNS}) VALUES {}", rows(run.len(), JOB_WIDTH));
                let insert = run.iter().fold(self.statement(&sql), |insert, record| bind_record(insert, record));
                insert.execute(self.db.borrow_mut()).await.map_err(fault)?;
            }
        }
        Ok(())
    }

    async fn insert_finished(&mut self, records: &[FinishedRecord]) -> Result<()> {
        let columns = format!("{JOB_COLUMNS}, {FINISHED_COLUMNS}");
        let set: Vec<_> = columns.split(", ").skip(1).collect();
        for portion in portions(records, self.most_bytes(), |record| &record.job) {
            for run in runs(portion) {
                let values = rows(run.len(), JOB_WIDTH + 3);
                let sql = Self::upsert("taskwright_finished", &columns, &values, "id", &set);
                let insert = run.iter().fold(self.statement(&sql), bind_finished);
                insert.execute(self.db.borrow_mut()).await.map_err(fault)?;
            }
        }
        Ok(())
    }

    async fn take_due(&mut self, claim: &Claim, now: Timestamp) -> Result<Vec<Record>> {
        let sql = format!(
            "SELECT {JOB_COLUMNS} FROM taskwright_jobs FORCE INDEX (jobs_order) \
             WHERE queue = ? AND priority = ? AND due <= ? AND (expires IS NULL OR expires > ?) \
             ORDER BY due, id LIMIT ? FOR UPDATE SKIP LOCKED"
        );
        let mut taken: Vec<Record> = Vec::new();
        let mut room: Vec<_> = claim.queues.iter().map(|wish| wish.limit).collect();
        for (place, priority) in self.levels(claim, now).await? {
            let (Some(wish), Some(room)) = (claim.queues.get(place), room.get_mut(place)) else { continue };
            let limit = (*room).min(claim.limit - taken.len());
            if limit == 0 {
                continue;
            }
            let due = self.statement(&sql).bind(wish.queue.as_str()).bind(priority);
            let due = due.bind(now.as_micros()).bind(now.as_micros()).bind(clamp(limit));
            let found = self.rows(due).await?.iter().map(record).collect::<Result<Vec<_>>>()?;
            *room -= found.len();
            taken.extend(found);
        }
        let ids = taken.iter().map(Record::job_id).collect::<Result<Vec<_>>>()?;
        self.delete("taskwright_jobs", &ids).await?;
        Ok(taken)
    }

    async fn next_due(&mut self, claim: &Claim, now: Timestamp) -> Result<Option<Duration>> {
        let each = vec![NEXT_DUE; claim.queues.len()].join(" UNION ALL ");
        let mut next = self.statement(&format!("SELECT min(due) FROM ({each}) AS queues"));
        for wish in &claim.queues {
            let queue = wish.queue.as_str();
            next = next.bind(queue).bind(queue).bind(queue).bind(now.as_micros()).bind(queue);
        }
        let rows = self.rows(next).await?;
        let due = rows.first().map(|row| row.maybe_integer(0)).transpose()?.flatten();
        Ok(due.map(|due| Timestamp::from_micros(due).since(now)))
    }

    async fn insert_lease(&mut self, lease: &LeaseRow, newest: &JobId, packed: &[u8]) -> Result<i64> {
        const INSERT: &str = "INSERT INTO taskwright_leases \
            (worker, claimed, lapses, noted, newest, settled, members, jobs) VALUES (?, ?, ?, 0, ?, ?, ?, ?)";
        let insert = self
            .statement(INSERT)
            .bind(&lease.worker.as_bytes()[..])
            .bind(lease.claimed.as_micros())
            .bind(lease.lapses.as_micros())
            .bind(&newest.as_bytes()[..])
            .bind(lease.settled())
            .bind(lease.members())
            .bind(packed);
        let inserted = insert.execute(self.db.borrow_mut()).await.map_err(fault)?;
        Ok(inserted.last_insert_id().cast_signed())
    }

    /// Long columns that don't change stay where they are.
    async fn mark_settled(&mut self, leases: &[&LeaseRow]) -> Result<()> {
        for run in runs(leases) {
            let others = " UNION ALL SELECT ?, ?, ?".repeat(run.len() - 1);
            let sql = format!(
                "UPDATE (SELECT ? AS id, ? AS lapses, ? AS settled{others}) AS marked STRAIGHT_JOIN \
                 taskwright_leases AS lease FORCE INDEX (PRIMARY) ON lease.id = marked.id SET lease.lapses = marked.lapses, lease.settled = marked.settled"
            );
            let mark = run.iter().fold(self.statement(&sql), |mark, lease| {
                mark.bind(lease.token).bind(lease.lapses.as_micros()).bind(lease.settled())
            });
            mark.execute(self.db.borrow_mut()).await.map_err(fault)?;
        }
        Ok(())
    }

    /// Looked for without locks first: locks on what is not there would keep others from storing beside it.
    async fn take(&mut self, table: &str, columns: &str, ids: &[JobId]) -> Result<Vec<MySqlRow>> {
        let there = self.fetch(format!("SELECT id FROM {table} WHERE id IN (?..)"), &[Value::Ids(ids)]).await?;
        let there = there.iter().map(|row| job_id(&row.bytes(0)?.unwrap_or_default())).collect::<Result<Vec<_>>>()?;
        if there.is_empty() {
            return Ok(Vec::new());
        }
        let taken = self
            .fetch(
                format!("SELECT {columns}, id FROM {table} WHERE id IN (?..) ORDER BY id FOR UPDATE"),
                &[Value::Ids(&there)],
            )
            .await?;
        self.delete(table, &there).await?;
        Ok(taken)
    }

    async fn take_expired(&mut self, now: Timestamp, limit: usize) -> Result<Vec<MySqlRow>> {
        let sql = format!(
            "SELECT {JOB_COLUMNS} FROM taskwright_jobs FORCE INDEX (jobs_expiry) WHERE expires <= ? ORDER BY expires LIMIT ? FOR UPDATE SKIP LOCKED"
        );
        let taken = self.fetch(sql, &[Value::Integer(now.as_micros()), Value::Integer(clamp(limit))]).await?;
        let ids = taken.iter().map(|row| job_id(&row.bytes(0)?.unwrap_or_default())).collect::<Result<Vec<_>>>()?;
        self.delete("taskwright_jobs", &ids).await?;
        Ok(taken)
    }

    /// The rows are looked for first, and then each by its key.
    fn delete_first(table: &str, condition: &str, order: &str) -> String {
        let locked = Self::SKIP_LOCKED;
        format!(
            "DELETE {table} FROM (SELECT id FROM {table} WHERE {condition} ORDER BY {order} LIMIT ?{locked}) AS first_ones \
             STRAIGHT_JOIN {table} FORCE INDEX (PRIMARY) ON {table}.id = first_ones.id"
        )
    }

    fn insert_new(table: &str, columns: &str, rows: &str) -> String {
        format!("INSERT IGNORE INTO {table} ({columns}) VALUES {rows}")
    }

    fn upsert(table: &str, columns: &str, rows: &str, _: &str, set: &[&str]) -> String {
        let set: Vec<_> = set.iter().map(|column| format!("{column} = VALUES({column})")).collect();
        format!("INSERT INTO {table} ({columns}) VALUES {rows} ON DUPLICATE KEY UPDATE {}", set.join(", "))
    }

    /// Said at length, since only so is the index used for it.
    fn pairs(columns: &str, count: usize) -> String {
        let pair = format!("({} = ?)", columns.replace(", ", " = ? AND "));
        format!("({})", vec![pair; count].join(" OR "))
    }

    /// Nobody looks: what happened is on the board.
    async fn count_control(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Columns for MySqlRow {
    fn integer(&self, column: usize) -> Result<i64> {
        self.try_get_unchecked(column).map_err(fault)
    }

    fn maybe_integer(&self, column: usize) -> Result<Option<i64>> {
        self.try_get_unchecked(column).map_err(fault)
    }

    fn maybe_real(&self, column: usize) -> Result<Option<f64>> {
        self.try_get_unchecked(column).map_err(fault)
    }

    fn text(&self, column: usize) -> Result<String> {
        let bytes: &[u8] = self.try_get_unchecked(column).map_err(fault)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    fn maybe_text(&self, column: usize) -> Result<Option<String>> {
        let bytes: Option<&[u8]> = self.try_get_unchecked(column).map_err(fault)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
    }

    fn bytes(&self, column: usize) -> Result<Option<Bytes>> {
        let bytes: Option<&[u8]> = self.try_get_unchecked(column).map_err(fault)?;
        Ok(bytes.map(Bytes::copy_from_slice))
    }
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
