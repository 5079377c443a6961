//! Reading jobs from where they lie, and writing where they lie from now on.

use bytes::Bytes;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::error::fault;
use super::statements::{
    FINISHED_COLUMNS, FINISHED_WIDTH, JOB_COLUMNS, JOB_WIDTH, bind_finished, bind_list, bind_record, list, lists, rows,
    runs, statement,
};
use crate::backend::sql::moves::Moves;
use crate::backend::sql::record::{FinishedRecord, Record};
use crate::error::Result;
use crate::job::JobId;

/// Writes what an operation moved, with a fixed number of statements for each thousand jobs.
pub(super) async fn write(db: &mut SqliteConnection, moves: &Moves) -> Result<()> {
    insert_waiting(db, &moves.waiting).await?;
    insert_finished(db, &moves.finished).await?;
    release_keys(db, &moves.released).await
}

/// By ascending id mostly, so that the table and its index grow at their ends.
pub(super) async fn insert_waiting(db: &mut SqliteConnection, records: &[Record]) -> Result<()> {
    for run in runs(records) {
        let sql = format!("INSERT INTO taskwright_jobs ({JOB_COLUMNS}) VALUES {}", rows(run.len(), JOB_WIDTH));
        run.iter().fold(statement(sql), bind_record).execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}

/// Replaces a row of the same id: the later end of a job stands.
async fn insert_finished(db: &mut SqliteConnection, records: &[FinishedRecord]) -> Result<()> {
    for run in runs(records) {
        let values = rows(run.len(), JOB_WIDTH + FINISHED_WIDTH);
        let sql =
            format!("INSERT OR REPLACE INTO taskwright_finished ({JOB_COLUMNS}, {FINISHED_COLUMNS}) VALUES {values}");
        run.iter().fold(statement(sql), bind_finished).execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}

/// Only the job that has a key gives it back.
async fn release_keys(db: &mut SqliteConnection, released: &[(String, JobId)]) -> Result<()> {
    for run in runs(released) {
        let sql = format!("DELETE FROM taskwright_unique WHERE (key, job) IN (VALUES {})", rows(run.len(), 2));
        let bound = run
            .iter()
            .fold(statement(sql), |statement, (key, job)| statement.bind(key.as_str()).bind(&job.as_bytes()[..]));
        bound.execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}

/// Takes waiting jobs out of their place. By primary key.
pub(super) async fn take_waiting(db: &mut SqliteConnection, ids: &[JobId]) -> Result<Vec<Record>> {
    let mut taken = Vec::new();
    for ids in lists(ids) {
        let sql = format!("DELETE FROM taskwright_jobs WHERE id IN {} RETURNING {JOB_COLUMNS}", list(ids.len()));
        let bound = bind_list(statement(sql), ids, |statement, id| statement.bind(&id.as_bytes()[..]));
        let rows = bound.fetch_all(&mut *db).await.map_err(fault)?;
        for row in &rows {
            taken.push(record(row)?);
        }
    }
    Ok(taken)
}

/// Takes finished jobs out of their place. By primary key.
pub(super) async fn take_finished(db: &mut SqliteConnection, ids: &[JobId]) -> Result<Vec<FinishedRecord>> {
    let what = format!("DELETE FROM taskwright_finished WHERE id IN {{}} RETURNING {JOB_COLUMNS}, {FINISHED_COLUMNS}");
    finished_by_id(db, &what, ids).await
}

/// Waiting jobs, by primary key.
pub(super) async fn waiting(db: &mut SqliteConnection, ids: &[JobId]) -> Result<Vec<Record>> {
    let mut found = Vec::new();
    for ids in lists(ids) {
        let sql = format!("SELECT {JOB_COLUMNS} FROM taskwright_jobs WHERE id IN {}", list(ids.len()));
        let bound = bind_list(statement(sql), ids, |statement, id| statement.bind(&id.as_bytes()[..]));
        for row in &bound.fetch_all(&mut *db).await.map_err(fault)? {
            found.push(record(row)?);
        }
    }
    Ok(found)
}

/// Finished jobs, by primary key.
pub(super) async fn finished(db: &mut SqliteConnection, ids: &[JobId]) -> Result<Vec<FinishedRecord>> {
    let what = format!("SELECT {JOB_COLUMNS}, {FINISHED_COLUMNS} FROM taskwright_finished WHERE id IN {{}}");
    finished_by_id(db, &what, ids).await
}

async fn finished_by_id(db: &mut SqliteConnection, what: &str, ids: &[JobId]) -> Result<Vec<FinishedRecord>> {
    let mut found = Vec::new();
    for ids in lists(ids) {
        let sql = what.replace("{}", &list(ids.len()));
        let bound = bind_list(statement(sql), ids, |statement, id| statement.bind(&id.as_bytes()[..]));
        for row in &bound.fetch_all(&mut *db).await.map_err(fault)? {
            found.push(finished_record(row)?);
        }
    }
    Ok(found)
}

/// The job in a row whose first columns are [`JOB_COLUMNS`].
pub(super) fn record(row: &SqliteRow) -> Result<Record> {
    Ok(Record {
        id: blob(row, 0)?.unwrap_or_default(),
        queue: text(row, 1)?,
        priority: integer(row, 2)?,
        due: integer(row, 3)?,
        expires: row.try_get(4).map_err(fault)?,
        task: text(row, 5)?,
        attempt: integer(row, 6)?,
        attempt_limit: integer(row, 7)?,
        crashes: integer(row, 8)?,
        retry: integer(row, 9)?,
        pushed: integer(row, 10)?,
        codec: integer(row, 11)?,
        payload: blob(row, 12)?.unwrap_or_default(),
        extras: blob(row, 13)?,
    })
}

/// The job in a row of [`JOB_COLUMNS`] and [`FINISHED_COLUMNS`].
pub(super) fn finished_record(row: &SqliteRow) -> Result<FinishedRecord> {
    Ok(FinishedRecord {
        job: record(row)?,
        state: text(row, JOB_WIDTH)?,
        finished: integer(row, JOB_WIDTH + 1)?,
        ends: integer(row, JOB_WIDTH + 2)?,
    })
}

pub(super) fn integer(row: &SqliteRow, column: usize) -> Result<i64> {
    row.try_get(column).map_err(fault)
}

pub(super) fn blob(row: &SqliteRow, column: usize) -> Result<Option<Bytes>> {
    let bytes: Option<&[u8]> = row.try_get(column).map_err(fault)?;
    Ok(bytes.map(Bytes::copy_from_slice))
}

/// Text, whatever bytes a hand has put there: what is not UTF-8 fails later as a name, with its row named.
pub(super) fn text(row: &SqliteRow, column: usize) -> Result<String> {
    let bytes: &[u8] = row.try_get(column).map_err(fault)?;
    Ok(String::from_utf8_lossy(bytes).into_owned())
}
