//! Building statements with many rows, of few different lengths, so that each is compiled once.

use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Sqlite};

use crate::backend::sql::record::{FinishedRecord, Record};

/// A statement on its way to SQLite.
pub(super) type Statement = Query<'static, Sqlite, SqliteArguments>;

/// How many rows or ids one statement carries at most; SQLite binds at most 32,766 values.
pub(super) const MOST_ROWS: usize = 1_024;

/// The columns of a waiting job, in the order of [`bind_record`].
pub(super) const JOB_COLUMNS: &str = "id, queue, priority, due, expires, task, attempt, attempt_limit, crashes, retry, \
    pushed, codec, payload, extras";

/// How many columns those are.
pub(super) const JOB_WIDTH: usize = 14;

/// The columns that a finished job has besides, in the order of [`bind_finished`].
pub(super) const FINISHED_COLUMNS: &str = "state, finished, ends";

/// How many columns those are.
pub(super) const FINISHED_WIDTH: usize = 3;

/// A statement made of this program's own words only; values are bound.
pub(super) fn statement(sql: String) -> Statement {
    sqlx::query(AssertSqlSafe(sql))
}

/// `(?, ?), (?, ?)` for that many rows of that many columns.
pub(super) fn rows(count: usize, width: usize) -> String {
    let row = format!("({})", marks(width));
    vec![row; count].join(", ")
}

/// `?, ?, ?` for that many values.
fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}

/// Splits rows into runs whose lengths are powers of two, at most [`MOST_ROWS`].
pub(super) fn runs<T>(mut rest: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = MOST_ROWS.min(1 << rest.len().checked_ilog2()?);
        let (run, others) = rest.split_at(length);
        rest = others;
        Some(run)
    })
}

/// Splits values into parts for [`list`].
pub(super) fn lists<T>(ids: &[T]) -> std::slice::Chunks<'_, T> {
    ids.chunks(MOST_ROWS)
}

/// `(?, ?, ?, ?)` with room for `count` values: the next power of two.
pub(super) fn list(count: usize) -> String {
    format!("({})", marks(count.next_power_of_two()))
}

/// Binds values to a [`list`]; the last one fills the room that is left.
pub(super) fn bind_list<T>(
    mut statement: Statement,
    values: &[T],
    bind: impl Fn(Statement, &T) -> Statement,
) -> Statement {
    let room = values.len().next_power_of_two();
    let last = values.last();
    for value in values.iter().chain(std::iter::repeat_n(last, room - values.len()).flatten()) {
        statement = bind(statement, value);
    }
    statement
}

/// Binds a job's columns.
pub(super) fn bind_record(statement: Statement, record: &Record) -> Statement {
    statement
        .bind(&record.id[..])
        .bind(record.queue.as_str())
        .bind(record.priority)
        .bind(record.due)
        .bind(record.expires)
        .bind(record.task.as_str())
        .bind(record.attempt)
        .bind(record.attempt_limit)
        .bind(record.crashes)
        .bind(record.retry)
        .bind(record.pushed)
        .bind(record.codec)
        .bind(&record.payload[..])
        .bind(record.extras.as_deref())
}

/// Binds a finished job's columns.
pub(super) fn bind_finished(statement: Statement, record: &FinishedRecord) -> Statement {
    bind_record(statement, &record.job).bind(record.state.as_str()).bind(record.finished).bind(record.ends)
}
