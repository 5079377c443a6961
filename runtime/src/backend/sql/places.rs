//! Reading jobs from where they lie, and writing where they lie from now on.

use super::moves::Moves;
use super::record::{FinishedRecord, Record};
use super::tables::{Columns, FINISHED_COLUMNS, JOB_COLUMNS, JOB_WIDTH, Tables, Value, lists, runs};
use super::work::raced;
use crate::error::Result;
use crate::job::JobId;
use crate::time::Timestamp;

/// Writes what an operation moved, with a fixed number of statements for each thousand jobs.
pub(super) async fn write<Db: Tables>(db: &mut Db, moves: &Moves) -> Result<()> {
    if !moves.waiting.is_empty() {
        db.insert_waiting(&moves.waiting.iter().collect::<Vec<_>>()).await?;
    }
    if !moves.finished.is_empty() {
        db.insert_finished(&moves.finished).await?;
    }
    release_keys(db, &moves.released).await
}

/// Only the job that has a key gives it back.
async fn release_keys<Db: Tables>(db: &mut Db, released: &[(String, JobId)]) -> Result<()> {
    for run in runs(released) {
        let sql = format!("DELETE FROM taskwright_unique WHERE {}", Db::pairs("unique_key, job", run.len()));
        let values: Vec<_> = run.iter().flat_map(|(key, job)| [Value::Text(key), Value::Id(job.as_bytes())]).collect();
        db.execute(sql, &values).await?;
    }
    Ok(())
}

/// Takes waiting jobs out of their place. By primary key.
pub(super) async fn take_waiting<Db: Tables>(db: &mut Db, ids: &[JobId]) -> Result<Vec<Record>> {
    let mut taken = Vec::new();
    for ids in lists(ids) {
        for row in &db.take("taskwright_jobs", JOB_COLUMNS, ids).await? {
            taken.push(record(row)?);
        }
    }
    Ok(taken)
}

/// Which of these jobs wait, are due, have not expired, and are of no paused queue; nobody else takes them meanwhile.
pub(super) async fn due<Db: Tables>(db: &mut Db, ids: &[JobId], now: Timestamp) -> Result<Vec<JobId>> {
    let mut found = Vec::new();
    let now = Value::Integer(now.as_micros());
    for ids in lists(ids) {
        let sql = format!(
            "SELECT id FROM taskwright_jobs WHERE id IN (?..) AND due <= ? AND (expires IS NULL OR expires > ?)
            AND NOT EXISTS (SELECT 1 FROM taskwright_pauses WHERE taskwright_pauses.queue = taskwright_jobs.queue){}",
            Db::SKIP_LOCKED
        );
        for row in &db.fetch(sql, &[Value::Ids(ids), now, now]).await? {
            let id = row.bytes(0)?.unwrap_or_default();
            found.extend(<[u8; 16]>::try_from(&id[..]).ok().map(JobId::from_bytes));
        }
    }
    Ok(found)
}

/// Takes finished jobs, which were seen there, out of their place. By primary key.
pub(super) async fn take_finished<Db: Tables>(db: &mut Db, ids: &[JobId]) -> Result<()> {
    for ids in lists(ids) {
        let taken = db.execute("DELETE FROM taskwright_finished WHERE id IN (?..)", &[Value::Ids(ids)]).await?;
        if taken != ids.len() as u64 {
            return Err(raced("a finished job"));
        }
    }
    Ok(())
}

/// Waiting jobs, by primary key.
pub(super) async fn waiting<Db: Tables>(db: &mut Db, ids: &[JobId]) -> Result<Vec<Record>> {
    let mut found = Vec::new();
    for ids in lists(ids) {
        let sql = format!("SELECT {JOB_COLUMNS} FROM taskwright_jobs WHERE id IN (?..)");
        for row in &db.fetch(sql, &[Value::Ids(ids)]).await? {
            found.push(record(row)?);
        }
    }
    Ok(found)
}

/// Finished jobs, by primary key.
pub(super) async fn finished<Db: Tables>(db: &mut Db, ids: &[JobId]) -> Result<Vec<FinishedRecord>> {
    let mut found = Vec::new();
    for ids in lists(ids) {
        let sql = format!("SELECT {JOB_COLUMNS}, {FINISHED_COLUMNS} FROM taskwright_finished WHERE id IN (?..)");
        for row in &db.fetch(sql, &[Value::Ids(ids)]).await? {
            found.push(finished_record(row)?);
        }
    }
    Ok(found)
}

/// The job in a row whose first columns are [`JOB_COLUMNS`].
pub(super) fn record(row: &impl Columns) -> Result<Record> {
    Ok(Record {
        id: row.bytes(0)?.unwrap_or_default(),
        queue: row.text(1)?,
        priority: row.integer(2)?,
        due: row.integer(3)?,
        expires: row.maybe_integer(4)?,
        task: row.text(5)?,
        attempt: row.integer(6)?,
        attempt_limit: row.integer(7)?,
        crashes: row.integer(8)?,
        retry: row.integer(9)?,
        pushed: row.integer(10)?,
        codec: row.integer(11)?,
        payload: row.bytes(12)?.unwrap_or_default(),
        extras: row.bytes(13)?,
    })
}

/// The job in a row of [`JOB_COLUMNS`] and [`FINISHED_COLUMNS`].
pub(super) fn finished_record(row: &impl Columns) -> Result<FinishedRecord> {
    Ok(FinishedRecord {
        job: record(row)?,
        state: row.text(JOB_WIDTH)?,
        finished: row.integer(JOB_WIDTH + 1)?,
        ends: row.integer(JOB_WIDTH + 2)?,
    })
}
