//! Storing jobs in the two ways in which most of them come: one alone, and many alike.

use std::borrow::BorrowMut;

use sqlx::{AssertSqlSafe, MySqlConnection};

use super::connect::{Maker, NOW};
use super::error::fault;
use super::tables::{Session, translate};
use crate::backend::sql::record::{Own, Record, hex};
use crate::backend::sql::tables::{JOB_COLUMNS, Tables, portions, runs};
use crate::error::Result;
use crate::job::BatchId;

/// The most bytes of a job that is stored by [`store_alone`], which writes two for each.
pub(super) const MOST_ALONE: usize = 16 << 10;

/// Stores a job by the server's time and notes its batch; an error, after which nothing may be committed, where the job
/// is there already, the batch was noted before, or the job lies in another place.
///
/// Other pushes of the same job wait for the row that is stored first, so what is looked for then is all there is. It is
/// looked for by an `INSERT .. SELECT`, which takes no locks on what it reads, where `VALUES` with a query in it would;
/// the column takes no NULL.
pub(super) fn store_alone(batch: BatchId, record: &Record, maker: Maker) -> String {
    let bytes = |bytes: &[u8]| format!("x'{}'", hex(bytes));
    let text = |text: &str| format!("_utf8mb4 x'{}'", hex(text.as_bytes()));
    let maybe = |value: Option<String>| value.unwrap_or_else(|| "NULL".to_owned());
    let moment = |micros: i64| format!("{NOW} + {micros}");
    let id = bytes(&record.id);
    let job = [
        id.clone(),
        text(&record.queue),
        record.priority.to_string(),
        moment(record.due),
        maybe(record.expires.map(moment)),
        text(&record.task),
        record.attempt.to_string(),
        record.attempt_limit.to_string(),
        record.crashes.to_string(),
        record.retry.to_string(),
        moment(record.pushed),
        record.codec.to_string(),
        bytes(&record.payload),
        maybe(record.extras.as_deref().map(bytes)),
    ];
    // Each statement that stands by itself is answered by itself, which wakes this process each time.
    let (begin, end) = match maker {
        Maker::MariaDb => ("BEGIN NOT ATOMIC START TRANSACTION", "COMMIT; END"),
        Maker::Oracle => ("START TRANSACTION", "COMMIT"),
    };
    format!(
        "{begin}; \
         INSERT INTO taskwright_jobs ({JOB_COLUMNS}) VALUES ({job}); \
         INSERT INTO taskwright_batches (id, pushed) SELECT {batch}, \
             IF(EXISTS (SELECT 1 FROM taskwright_leases WHERE newest >= {id} AND LOCATE({id}, members) > 0) \
                 OR EXISTS (SELECT 1 FROM taskwright_finished WHERE id = {id}) \
                 OR EXISTS (SELECT 1 FROM taskwright_limited WHERE id = {id}), NULL, {pushed}); \
         {end}",
        batch = bytes(batch.as_bytes()),
        pushed = moment(record.pushed),
        job = job.join(", "),
    )
}

/// From how many jobs on it pays to say once what they have in common.
pub(super) const MANY: usize = 64;

/// What jobs have in common that differ in nothing but their ids and payloads.
const COMMON: &str = "SET @taskwright.queue = ?, @taskwright.priority = ?, @taskwright.due = ?, @taskwright.task = ?, \
    @taskwright.attempt = ?, @taskwright.attempt_limit = ?, @taskwright.crashes = ?, @taskwright.retry = ?, \
    @taskwright.pushed = ?, @taskwright.codec = ?";

/// One of them, in the order of [`JOB_COLUMNS`]. What may be NULL is said of each: MySQL takes a variable to be of the type
/// that it had when the statement was compiled.
const ALIKE: &str = "(?, @taskwright.queue, @taskwright.priority, @taskwright.due, ?, @taskwright.task, \
    @taskwright.attempt, @taskwright.attempt_limit, @taskwright.crashes, @taskwright.retry, @taskwright.pushed, \
    @taskwright.codec, ?, ?)";

impl<Db: BorrowMut<MySqlConnection> + Send> Session<Db> {
    /// Stores jobs that differ in nothing but their ids and payloads, as those of a bulk dispatch mostly do: the server
    /// takes longest over the values that come with a statement.
    pub(super) async fn store_alike(&mut self, one: &Record, own: &[Own<'_>]) -> Result<()> {
        let common = self
            .statement(COMMON)
            .bind(&one.queue)
            .bind(one.priority)
            .bind(one.due)
            .bind(&one.task)
            .bind(one.attempt)
            .bind(one.attempt_limit)
            .bind(one.crashes)
            .bind(one.retry)
            .bind(one.pushed)
            .bind(one.codec);
        common.execute(self.db.borrow_mut()).await.map_err(fault)?;
        for run in portions(own, self.most_bytes(), |own| own.size(one)).flat_map(runs) {
            let mut sql = translate(&format!("INSERT INTO taskwright_jobs ({JOB_COLUMNS}) VALUES "), &self.prefix);
            // Not looked through for names of tables: it is long.
            sql += &vec![ALIKE; run.len()].join(", ");
            let insert = run.iter().fold(sqlx::query(AssertSqlSafe(sql)), |insert, own| {
                insert.bind(&own.id.as_bytes()[..]).bind(one.expires).bind(&own.payload[..]).bind(one.extras.as_deref())
            });
            insert.execute(self.db.borrow_mut()).await.map_err(fault)?;
        }
        Ok(())
    }
}
