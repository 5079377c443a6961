//! SQLite's own words, and the statements that only it runs this way.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Row, Sqlite, SqliteConnection};

use super::error::fault;
use crate::backend::sql::lease::LeaseRow;
use crate::backend::sql::marks::{Marked, bind, bind_columns, bind_finished, bind_waiting, with_lists};
use crate::backend::sql::places::waiting_record;
use crate::backend::sql::record::{FinishedRecord, Own, Record, own_of_alike};
use crate::backend::sql::tables::{
    Columns, FINISHED_COLUMNS, JOB_COLUMNS, JOB_WIDTH, Pool, Tables, Terms, Value, Wish, clamp, limits_met, marks,
    of_known_tasks, portions, rows, runs, unknown_tasks,
};
use crate::error::Result;
use crate::job::{BatchId, JobId, Name};
use crate::policy::limits::MOST_LANES;
use crate::policy::order::worth;
use crate::time::Timestamp;

/// The due jobs of one queue in the order of claims.
///
/// A plain `LIMIT ?` would have SQLite compile the statement anew for every value; see [`words`].
///
/// Each priority is looked up by a seek in the index on (queue, priority, due, id), and its due jobs are a range of that
/// index: jobs of a high priority that are due later are never passed over one by one, however many there are.
/// `CROSS JOIN` keeps SQLite to this order of loops, and with it to the order of claims.
const DUE: &str = "SELECT id FROM (
    WITH RECURSIVE level (priority) AS (
        SELECT max(priority) FROM taskwright_jobs WHERE LINE = ?
        UNION ALL
        SELECT (SELECT max(priority) FROM taskwright_jobs WHERE LINE = ? AND priority < level.priority)
        FROM level WHERE level.priority IS NOT NULL
    )
    SELECT job.id FROM level CROSS JOIN taskwright_jobs AS job
    WHERE job.LINE = ? AND job.priority = level.priority AND job.due <= ?
        AND (job.expires IS NULL OR job.expires > ?){known}
        AND NOT EXISTS (SELECT 1 FROM taskwright_pauses WHERE taskwright_pauses.queue = ?)
    LIMIT +?
)";

/// The same where priorities age: the first due jobs of each priority, those that go first among them before the others.
const AGED: &str = "SELECT id FROM (
    WITH RECURSIVE level (priority) AS (
        SELECT max(priority) FROM taskwright_jobs WHERE LINE = ?
        UNION ALL
        SELECT (SELECT max(priority) FROM taskwright_jobs WHERE LINE = ? AND priority < level.priority)
        FROM level WHERE level.priority IS NOT NULL
    )
    SELECT head.id FROM level CROSS JOIN taskwright_jobs AS head
    WHERE head.id IN (
            SELECT job.id FROM taskwright_jobs AS job
            WHERE job.LINE = ? AND job.priority = level.priority AND job.due <= ?
                AND (job.expires IS NULL OR job.expires > ?){known}
            ORDER BY job.due, job.id LIMIT +?
        )
        AND NOT EXISTS (SELECT 1 FROM taskwright_pauses WHERE taskwright_pauses.queue = ?)
    ORDER BY head.due - level.priority * ?, head.id LIMIT +?
)";

/// When the next job of a queue is due: one seek a priority in the same index.
const NEXT_DUE: &str = "SELECT ? AS place, min(due) FROM (
    WITH RECURSIVE level (priority) AS (
        SELECT max(priority) FROM taskwright_jobs WHERE LINE = ?
        UNION ALL
        SELECT (SELECT max(priority) FROM taskwright_jobs WHERE LINE = ? AND priority < level.priority)
        FROM level WHERE level.priority IS NOT NULL
    )
    SELECT (
        SELECT job.due FROM taskwright_jobs AS job
        WHERE job.LINE = ? AND job.priority = level.priority AND (job.expires IS NULL OR job.expires > ?){known}
        ORDER BY job.due LIMIT 1
    ) AS due FROM level
    WHERE NOT EXISTS (SELECT 1 FROM taskwright_pauses WHERE taskwright_pauses.queue = ?)
)";

/// Notes a batch and stores its one job, if neither was there before. The second statement does nothing where the first
/// did nothing.
static STORE_ONLY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "INSERT INTO taskwright_batches (id, pushed) SELECT ?, ? \
         WHERE NOT EXISTS (SELECT 1 FROM taskwright_jobs WHERE id = ?) \
         AND NOT EXISTS (SELECT 1 FROM taskwright_leases WHERE newest >= ?) \
         AND NOT EXISTS (SELECT 1 FROM taskwright_limited WHERE id = ?) \
         AND NOT EXISTS (SELECT 1 FROM taskwright_finished WHERE id = ?) ON CONFLICT DO NOTHING; \
         INSERT INTO taskwright_jobs ({JOB_COLUMNS}) SELECT {} WHERE changes() = 1",
        marks(JOB_WIDTH)
    )
});

static STORE_ALONE: LazyLock<String> =
    LazyLock::new(|| format!("BEGIN IMMEDIATE; {}; COMMIT; SELECT changes()", *STORE_ONLY));

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

    async fn insert_waiting(&mut self, pool: Pool, records: &[&Record]) -> Result<()> {
        if let (Pool::Free, [like, _, ..]) = (pool, records)
            && let Some(own) = own_of_alike(records)
        {
            return self.insert_alike(like, &own).await;
        }
        let (columns, width) = pool.columns();
        for run in runs(records) {
            let sql = format!("INSERT INTO {} ({columns}) VALUES {}", pool.table(), rows(run.len(), width));
            let insert = run.iter().fold(statement(sql.into()), |insert, record| bind_waiting(insert, record));
            insert.execute(&mut *self).await.map_err(fault)?;
        }
        Ok(())
    }

    /// What they have in common is bound once. So are all ids and all payloads, one after the other, from which the
    /// statement cuts what each row has: bytes that are bound are allocated and copied three times on their way.
    async fn insert_alike(&mut self, like: &Record, own: &[Own<'_>]) -> Result<()> {
        for run in portions(own, MOST_PACKED, |own| own.size(like)).flat_map(runs) {
            let common = marks(JOB_WIDTH - 3);
            let places: Vec<_> = (0..run.len()).map(|place| format!("({}, ?, ?)", place * ID + 1)).collect();
            let sql = format!(
                "INSERT INTO taskwright_jobs ({JOB_COLUMNS}) \
                 SELECT substr(?, column1, {ID}), {common}, substr(?, column2, column3), ? FROM (VALUES {})",
                places.join(", "),
            );
            let mut ids = Vec::with_capacity(run.len() * ID);
            // Never empty: a part of nothing would be NULL.
            let mut payloads = vec![0];
            let mut parts = Vec::with_capacity(run.len());
            for own in run {
                parts.push((payloads.len() + 1, own.payload.len()));
                ids.extend_from_slice(own.id.as_bytes());
                payloads.extend_from_slice(own.payload);
            }
            let insert = bind_columns(statement(sql.into()), &ids, &payloads, like);
            let insert =
                parts.into_iter().fold(insert, |insert, (start, length)| insert.bind(clamp(start)).bind(clamp(length)));
            insert.execute(&mut *self).await.map_err(fault)?;
        }
        Ok(())
    }

    /// Two statements in one call, since each call goes to another thread and back.
    async fn store_only(&mut self, batch: BatchId, record: &Record) -> Result<bool> {
        let stored =
            bind_only(statement(STORE_ONLY.as_str().into()), batch, record).execute(self).await.map_err(fault)?;
        Ok(stored.rows_affected() > 0)
    }

    /// The whole transaction in one call. Its beginning and its end count as what was changed before, so it is asked.
    async fn store_alone(&mut self, batch: BatchId, record: &Record) -> Result<bool> {
        let stored =
            bind_only(statement(STORE_ALONE.as_str().into()), batch, record).fetch_one(self).await.map_err(fault)?;
        Ok(stored.integer(0)? > 0)
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

    async fn take_due(
        &mut self,
        pool: Pool,
        wishes: &[Wish<'_>],
        keys: &[&str],
        limit: usize,
        Terms { unknown, now, aging, .. }: Terms<'_>,
    ) -> Result<Vec<Record>> {
        let mut take = statement(take_statement(pool, wishes.len(), keys.len(), unknown, aging).into());
        let (now, unknown) = (now.as_micros(), unknown_tasks(unknown));
        for (line, most) in wishes.iter().chain(padding(wishes.len())) {
            take = take.bind(*line).bind(*line).bind(*line).bind(now).bind(now);
            take = if unknown.is_empty() { take } else { take.bind(unknown.clone()) };
            take = match aging {
                None => take.bind(*line),
                Some(aging) => take.bind(clamp(*most)).bind(*line).bind(worth(aging)),
            };
            take = take.bind(clamp(*most));
        }
        take = take.bind(clamp(limit));
        if !keys.is_empty() {
            let names: Vec<_> = wishes.iter().chain(padding(wishes.len())).map(|(name, _)| *name).collect();
            let padded: Vec<_> =
                keys.iter().copied().chain(padding(keys.len()).iter().map(|(name, _)| *name)).collect();
            take = names.iter().fold(take, |take, name| take.bind((*name).to_owned())).bind(now);
            take = names.iter().chain(&padded).fold(take, |take, name| take.bind((*name).to_owned()));
        }
        let rows = take.fetch_all(self).await.map_err(fault)?;
        rows.iter().map(|row| waiting_record(pool, row)).collect()
    }

    async fn next_due(
        &mut self,
        pool: Pool,
        names: &[&str],
        keys: &[&str],
        Terms { unknown, now, .. }: Terms<'_>,
    ) -> Result<Vec<(usize, Timestamp)>> {
        let mut each = vec![pool.say(NEXT_DUE); names.len()];
        if !keys.is_empty() {
            each.push(format!("SELECT 0, min(turn) FROM taskwright_lanes WHERE queue IN ({})", marks(names.len())));
            each.push(format!("SELECT 0, ? WHERE {}", limits_met(names.len(), keys.len())));
        }
        let mut next = statement(of_known_tasks(&each.join(" UNION ALL "), unknown, KNOWN).into());
        let unknown = unknown_tasks(unknown);
        for (place, name) in names.iter().enumerate() {
            next = next.bind(clamp(place)).bind(*name).bind(*name).bind(*name).bind(now.as_micros());
            next = if unknown.is_empty() { next } else { next.bind(unknown.clone()) };
            next = next.bind(*name);
        }
        if !keys.is_empty() {
            next = names.iter().fold(next, |next, name| next.bind((*name).to_owned())).bind(now.as_micros());
            next = names.iter().chain(keys).fold(next, |next, name| next.bind((*name).to_owned()));
        }
        let mut dues = Vec::new();
        for row in next.fetch_all(self).await.map_err(fault)? {
            if let Some(due) = row.maybe_integer(1)? {
                dues.push((usize::try_from(row.integer(0)?).unwrap_or(usize::MAX), Timestamp::from_micros(due)));
            }
        }
        Ok(dues)
    }

    async fn insert_lease(
        &mut self,
        lease: &LeaseRow,
        newest: &JobId,
        packed: &[u8],
        held: &[(&str, i64)],
    ) -> Result<i64> {
        const INSERT: &str = "INSERT INTO taskwright_leases \
            (worker, claimed, lapses, noted, newest, settled, members, jobs) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
        let insert = sqlx::query(INSERT)
            .bind(&lease.worker.as_bytes()[..])
            .bind(lease.claimed.as_micros())
            .bind(lease.lapses.as_micros())
            .bind(lease.marks())
            .bind(&newest.as_bytes()[..])
            .bind(lease.settled())
            .bind(lease.members())
            .bind(packed);
        let token = insert.execute(&mut *self).await.map_err(fault)?.last_insert_rowid();
        self.insert_holds(token, held).await?;
        Ok(token)
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

/// The bytes of an id.
const ID: usize = 16;

/// The most bytes of jobs that are bound as one value.
const MOST_PACKED: usize = 16 << 20;

/// Binds the values of [`STORE_ONLY`].
fn bind_only(store: Statement, batch: BatchId, record: &Record) -> Statement {
    let store = store.bind(batch.as_bytes().to_vec()).bind(record.pushed);
    bind_waiting((0..4).fold(store, |store, _| store.bind(record.id.to_vec())), record)
}

/// That a job's task is none of [`unknown_tasks`].
const KNOWN: &str = " AND instr(?, '/' || job.task || '/') = 0";

/// Deletes the due jobs of that many queues or lanes, each up to its own limit, all up to one; with so many keys of
/// limits, nothing if one is to be looked at.
pub(super) fn take_statement(
    pool: Pool,
    lines: usize,
    keys: usize,
    unknown: &[Name],
    aging: Option<Duration>,
) -> String {
    let (lines, keys) = (lines + padding(lines).len(), keys + padding(keys.max(1)).len());
    let due = pool.say(if aging.is_none() { DUE } else { AGED });
    let due = vec![of_known_tasks(&due, unknown, KNOWN); lines].join(" UNION ALL ");
    let plainly = match keys {
        0 => String::new(),
        keys => format!(
            " AND NOT EXISTS (SELECT 1 FROM taskwright_lanes WHERE queue IN ({}) AND turn <= ?) AND NOT ({})",
            marks(lines),
            limits_met(lines, keys),
        ),
    };
    let (columns, _) = pool.columns();
    format!("DELETE FROM {} WHERE id IN ({due} LIMIT +?){plainly} RETURNING {columns}", pool.table())
}

/// Wishes for nothing, up to the next power of two, so that each statement is compiled once.
fn padding(wishes: usize) -> &'static [Wish<'static>] {
    const NOTHING: [Wish<'static>; MOST_LANES] = [("", 0); MOST_LANES];
    let missing = wishes.next_power_of_two() - wishes;
    NOTHING.get(..missing).unwrap_or_default()
}

/// A statement made of this program's own words only; values are bound.
fn statement(sql: Cow<'static, str>) -> Statement {
    sqlx::query(AssertSqlSafe(sql))
}

/// A statement with its values.
fn prepared(sql: Cow<'static, str>, values: &[Value<'_>]) -> Statement {
    values.iter().fold(statement(words(sql, values)), bind)
}

/// A shared statement in SQLite's own words.
///
/// The bundled SQLite (3.51) plans for the number in `LIMIT ?` and so compiles such a statement anew whenever one is bound,
/// which takes longer than running it; an expression it leaves alone.
pub(super) fn words(sql: Cow<'static, str>, values: &[Value<'_>]) -> Cow<'static, str> {
    let sql = with_lists(sql, values);
    if sql.contains("LIMIT ?") { sql.replace("LIMIT ?", "LIMIT +?").into() } else { sql }
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
