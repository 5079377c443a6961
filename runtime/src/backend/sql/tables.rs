//! What a dialect supplies: statements on one connection, and those of them that differ from one database to the next.

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::floors::Floor;
use super::lease::LeaseRow;
use super::record::{FinishedRecord, Own, Record};
use crate::error::Result;
use crate::job::{BatchId, JobId, Name};
use crate::time::Timestamp;

/// How many rows or values one statement carries at most; SQLite binds at most 32,766 values.
pub(super) const MOST_ROWS: usize = 1_024;

/// The columns of a waiting job, in the order of [`record`](super::places::record).
pub(super) const JOB_COLUMNS: &str = "id, queue, priority, due, expires, task, attempt, attempt_limit, crashes, retry, \
    pushed, codec, payload, extras";

/// How many columns those of a waiting job are.
pub(super) const JOB_WIDTH: usize = 14;

/// The columns that a waiting job with limits has besides.
pub(super) const LANE_COLUMNS: &str = "lane, weights";

/// Where jobs wait: those without limits in the order of claims of their queue, those with limits in that of their lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    Free,
    Limited,
}

impl Pool {
    pub(super) const ALL: [Self; 2] = [Self::Free, Self::Limited];

    pub(super) fn table(self) -> &'static str {
        match self {
            Self::Free => "taskwright_jobs",
            Self::Limited => "taskwright_limited",
        }
    }

    /// A statement that was written for jobs without limits, with `LINE` for what they stand in line in, for this pool.
    pub(super) fn say(self, sql: &str) -> String {
        match self {
            Self::Free => sql.replace("LINE", "queue"),
            Self::Limited => sql.replace("taskwright_jobs", "taskwright_limited").replace("LINE", "lane"),
        }
    }

    /// The columns of its jobs, and how many they are.
    pub(super) fn columns(self) -> (String, usize) {
        match self {
            Self::Free => (JOB_COLUMNS.to_owned(), JOB_WIDTH),
            Self::Limited => (format!("{JOB_COLUMNS}, {LANE_COLUMNS}"), JOB_WIDTH + 2),
        }
    }
}

/// How many jobs to take of a queue, or of a lane.
pub(super) type Wish<'a> = (&'a str, usize);

/// What a claim goes by, whichever jobs it asks for.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    /// Tasks that the worker does not know.
    pub(super) unknown: &'a [Name],
    pub(super) now: Timestamp,
    /// What a level of priority is worth, if priorities age.
    pub(super) aging: Option<Duration>,
    /// From where each queue is looked at, by their places in the list; none where all of them are looked at as a whole.
    #[cfg_attr(
        not(any(feature = "mysql", feature = "postgres")),
        expect(dead_code, reason = "only servers keep dead rows")
    )]
    pub(super) floors: &'a [Floor],
}

/// The columns that a finished job has besides.
pub(super) const FINISHED_COLUMNS: &str = "state, finished, ends";

/// A value for a `?` of a statement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    Integer(i64),
    /// A whole number or NULL.
    MaybeInteger(Option<i64>),
    Real(f64),
    Text(&'a str),
    /// Text or NULL.
    MaybeText(Option<&'a str>),
    Bytes(&'a [u8]),
    /// Bytes or NULL.
    MaybeBytes(Option<&'a [u8]>),
    /// The 16 bytes of an identity, which some databases have a type for.
    Id(&'a [u8; 16]),
    /// For `IN (?..)`, at most [`MOST_ROWS`] and at least one, as the lists below.
    Ids(&'a [JobId]),
    Integers(&'a [i64]),
    Texts(&'a [&'a str]),
}

/// One row of an answer, its columns counted from 0.
pub(super) trait Columns {
    /// A whole number, or a truth value as 0 or 1.
    fn integer(&self, column: usize) -> Result<i64>;
    fn maybe_integer(&self, column: usize) -> Result<Option<i64>>;
    fn maybe_real(&self, column: usize) -> Result<Option<f64>>;
    /// Text, whatever bytes a hand has put there: what is not UTF-8 fails later as a name, with its row named.
    fn text(&self, column: usize) -> Result<String>;
    fn maybe_text(&self, column: usize) -> Result<Option<String>>;
    /// Bytes, or those of an identity.
    fn bytes(&self, column: usize) -> Result<Option<Bytes>>;
}

/// The tables through one connection that is inside a transaction.
///
/// Statements are written for all dialects: `?` for a value, `IN (?..)` for a list of them, tables by their names in
/// SQLite (`taskwright_jobs`). A dialect turns them into its own words, then runs them; what it must say quite
/// differently are the methods further down, most of them with the words that suit most.
#[async_trait]
pub(super) trait Tables: Send {
    type Row: Columns + Send + Sync;

    /// Whether other transactions write at the same time.
    const SHARED: bool;

    /// Ends a `SELECT` of rows that will be changed: nobody else changes them before this transaction has ended.
    const LOCKED: &'static str;

    /// The same, passing over rows that somebody else has locked.
    const SKIP_LOCKED: &'static str;

    /// Whether a statement locks only the rows that it changes, or says that it locks.
    const LOCKS_EXACTLY: bool = true;

    /// Whether column `extras` holds these bytes.
    const EXTRAS_HOLD: &'static str;

    /// The most bytes of jobs that one column, and one statement, holds.
    fn most_bytes(&self) -> usize {
        64 << 20
    }

    /// Runs a statement and gives its rows.
    async fn fetch<S: Into<Cow<'static, str>> + Send>(
        &mut self,
        sql: S,
        values: &[Value<'_>],
    ) -> Result<Vec<Self::Row>>;

    /// Runs a statement and tells how many rows it wrote.
    async fn execute<S: Into<Cow<'static, str>> + Send>(&mut self, sql: S, values: &[Value<'_>]) -> Result<u64>;

    /// Stores waiting jobs, by ascending id mostly, so that the table and its index grow at their ends.
    async fn insert_waiting(&mut self, pool: Pool, records: &[&Record]) -> Result<()>;

    /// Stores waiting jobs without limits, at least one, that differ from one in nothing but these.
    async fn insert_alike(&mut self, like: &Record, own: &[Own<'_>]) -> Result<()> {
        let records: Vec<_> = own.iter().map(|own| own.record(like)).collect();
        self.insert_waiting(Pool::Free, &records.iter().collect::<Vec<_>>()).await
    }

    /// Notes a batch and stores its one job, which has no limits, with one call: if the batch was not noted before, and
    /// beside no other transactions also only if the job lies nowhere. Says whether it did; otherwise nothing was written.
    ///
    /// What most pushes are, for dialects that can say it at once.
    async fn store_only(&mut self, _batch: BatchId, _record: &Record) -> Result<bool> {
        Ok(false)
    }

    /// The same outside of any transaction: it is committed, or nothing was written. Beside other transactions the times of
    /// the record are added to the server's, and the job is stored only if it lies nowhere.
    async fn store_alone(&mut self, _batch: BatchId, _record: &Record) -> Result<bool> {
        Ok(false)
    }

    /// Stores finished jobs, each once; a row of the same id is replaced: the later end of a job stands.
    async fn insert_finished(&mut self, records: &[FinishedRecord]) -> Result<()>;

    /// Takes due jobs of queues or lanes out of their place, in order (P4, P6, P10, P11), at most `limit` of all, passing
    /// over those that another claim takes at this moment and those of unknown tasks (P8).
    ///
    /// Where `keys` are given, those of the queues' own limits, it takes nothing if any limit is to be looked at first.
    /// Where priorities age, it looks at the first jobs of each priority, as many of them as are wished for, and no further.
    async fn take_due(
        &mut self,
        pool: Pool,
        wishes: &[Wish<'_>],
        keys: &[&str],
        limit: usize,
        terms: Terms<'_>,
    ) -> Result<Vec<Record>>;

    /// When queues or lanes have their next due job, by their places in the list, paused queues, expired jobs and unknown
    /// tasks aside.
    ///
    /// Where `keys` are given, those of the queues' own limits, also when the first lane has its turn, and now if any
    /// limit is to be looked at, both at any place.
    async fn next_due(
        &mut self,
        pool: Pool,
        names: &[&str],
        keys: &[&str],
        terms: Terms<'_>,
    ) -> Result<Vec<(usize, Timestamp)>>;

    /// How many rows of the waiting jobs were deleted and are still in the way of claims, where they ever are; `taken` is
    /// how many this handle has taken since there were none.
    async fn dead_rows(&mut self, _taken: i64) -> Result<i64> {
        Ok(0)
    }

    /// Stores a lease with what it holds, of each key how many slots, and gives its token, which is higher than that of
    /// every lease before.
    async fn insert_lease(
        &mut self,
        lease: &LeaseRow,
        newest: &JobId,
        packed: &[u8],
        held: &[(&str, i64)],
    ) -> Result<i64>;

    /// Notes what a new lease holds.
    #[cfg(any(feature = "mysql", feature = "sqlite"))]
    async fn insert_holds(&mut self, token: i64, held: &[(&str, i64)]) -> Result<()> {
        for run in runs(held) {
            let sql = format!("INSERT INTO taskwright_holds (lease, limit_key, held) VALUES {}", rows(run.len(), 3));
            let values =
                run.iter().flat_map(|(key, held)| [Value::Integer(token), Value::Text(key), Value::Integer(*held)]);
            self.execute(sql, &values.collect::<Vec<_>>()).await?;
        }
        Ok(())
    }

    /// Writes which jobs of these leases, which are locked, are settled, and when the first of the others lapses.
    /// Marks keep their length, and the packed jobs are left alone.
    async fn mark_settled(&mut self, leases: &[&LeaseRow]) -> Result<()>;

    /// Takes the jobs with these ids out of a table, at most [`MOST_ROWS`], and gives these columns of them.
    async fn take(&mut self, table: &str, columns: &str, ids: &[JobId]) -> Result<Vec<Self::Row>> {
        let sql = format!("DELETE FROM {table} WHERE id IN (?..) RETURNING {columns}");
        self.fetch(sql, &[Value::Ids(ids)]).await
    }

    /// Takes waiting jobs that expired, those that did so first before the others. By the index on `expires`.
    async fn take_expired(&mut self, pool: Pool, now: Timestamp, limit: usize) -> Result<Vec<Self::Row>> {
        let first = Self::first(pool.table(), "expires <= ?", "expires");
        let sql = format!("DELETE FROM {} WHERE {first} RETURNING {JOB_COLUMNS}", pool.table());
        self.fetch(sql, &[Value::Integer(now.as_micros()), Value::Integer(clamp(limit))]).await
    }

    /// A statement that deletes the first rows under `condition`; its last value is how many.
    fn delete_first(table: &str, condition: &str, order: &str) -> String {
        format!("DELETE FROM {table} WHERE {}", Self::first(table, condition, order))
    }

    /// The condition that a row is one of the first under `condition`; its last value is how many.
    fn first(table: &str, condition: &str, order: &str) -> String {
        let locked = Self::SKIP_LOCKED;
        format!("id IN (SELECT id FROM {table} WHERE {condition} ORDER BY {order} LIMIT ?{locked})")
    }

    /// Counts what workers should hear of soon, for those that look instead of listening.
    async fn count_control(&mut self) -> Result<()> {
        self.execute("UPDATE taskwright_control SET count = count + 1", &[]).await?;
        Ok(())
    }

    /// A statement that stores the rows that are not there yet, and counts them.
    fn insert_new(table: &str, columns: &str, rows: &str) -> String {
        format!("INSERT INTO {table} ({columns}) VALUES {rows} ON CONFLICT DO NOTHING")
    }

    /// A statement that stores rows, and for those that are there already sets these columns.
    fn upsert(table: &str, columns: &str, rows: &str, key: &str, set: &[&str]) -> String {
        let set: Vec<_> = set.iter().map(|column| format!("{column} = excluded.{column}")).collect();
        let set = set.join(", ");
        format!("INSERT INTO {table} ({columns}) VALUES {rows} ON CONFLICT ({key}) DO UPDATE SET {set}")
    }

    /// The condition that these two columns are one of `count` pairs.
    fn pairs(columns: &str, count: usize) -> String {
        format!("({columns}) IN (VALUES {})", rows(count, 2))
    }
}

/// `(?, ?), (?, ?)` for that many rows of that many columns.
pub(super) fn rows(count: usize, width: usize) -> String {
    let row = format!("({})", marks(width));
    vec![row; count].join(", ")
}

/// `?, ?, ?` for that many values.
pub(super) fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// Splits rows into runs whose lengths are powers of two, at most [`MOST_ROWS`]: statements of few different lengths,
/// so that each is compiled once.
pub(super) fn runs<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = MOST_ROWS.min(1 << rest.len().checked_ilog2()?);
        let (run, others) = rest.split_at(length);
        rest = others;
        Some(run)
    })
}

/// Splits rows of jobs into portions of at most so many bytes, if one job alone has not more.
pub(super) fn portions<T>(rows: &[T], most: usize, size: impl Fn(&T) -> usize) -> impl Iterator<Item = &[T]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut total = 0_usize;
        let fits = |row: &&T| {
            total = total.saturating_add(size(row));
            total <= most
        };
        let length = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (portion, others) = rest.split_at(length);
        rest = others;
        (!portion.is_empty()).then_some(portion)
    })
}

/// Splits values into lists for `IN (?..)`.
pub(super) fn lists<T>(values: &[T]) -> std::slice::Chunks<'_, T> {
    values.chunks(MOST_ROWS)
}

/// A statement of a claim, where `{known}` stands for the `condition` that a job is of a task which the worker knows:
/// without it in most claims, so that these look at no job's task.
pub(super) fn of_known_tasks(sql: &str, unknown: &[Name], condition: &str) -> String {
    sql.replace("{known}", if unknown.is_empty() { "" } else { condition })
}

/// The condition that jobs came to lanes of one of so many queues, or that one of so many keys has a limit that was set:
/// a seek each in small indexes.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(super) fn limits_met(queues: usize, keys: usize) -> String {
    format!(
        "EXISTS (SELECT 1 FROM taskwright_arrivals WHERE queue IN ({})) \
         OR EXISTS (SELECT 1 FROM taskwright_limits WHERE id IN ({}) AND is_set <> 0)",
        marks(queues),
        marks(keys),
    )
}

/// The tasks that a worker does not know as one text, in which `/task/` is found for each.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(super) fn unknown_tasks(unknown: &[Name]) -> String {
    unknown.iter().flat_map(|name| ["/", name.as_str(), "/"]).collect()
}

/// A limit as databases count.
pub(super) fn clamp(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
