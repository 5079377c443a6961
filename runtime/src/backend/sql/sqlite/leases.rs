//! Leases, and what is noted about their jobs.

use std::collections::HashMap;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::error::fault;
use super::places::{blob, integer, text};
use super::statements::{Statement, bind_list, list, lists, rows, runs, statement};
use crate::backend::sql::lease::{LeaseRow, RawLease, pack};
use crate::backend::sql::record::Record;
use crate::error::Result;
use crate::job::{JobId, Progress};

/// The columns of a lease without its jobs, in the order of [`lease`].
const LEASE_COLUMNS: &str = "id, worker, claimed, lapses, members, settled, each, noted";

/// How many columns those are.
const LEASE_WIDTH: usize = 8;

/// A lease's columns and its packed jobs.
pub(super) type WithJobs = (RawLease, Vec<u8>);

/// Stores a claim with its jobs and gives it its token.
pub(super) async fn insert(db: &mut SqliteConnection, row: &mut LeaseRow, jobs: &[Record]) -> Result<()> {
    const INSERT: &str = "INSERT INTO taskwright_leases (worker, claimed, lapses, noted, newest, settled, members, jobs) \
        VALUES (?, ?, ?, 0, ?, ?, ?, ?)";
    let newest = jobs.last().map(|record| record.id.to_vec()).unwrap_or_default();
    let packed = pack(jobs)?;
    let insert = sqlx::query(INSERT)
        .bind(&row.worker.as_bytes()[..])
        .bind(row.claimed.as_micros())
        .bind(row.lapses.as_micros())
        .bind(newest)
        .bind(row.settled())
        .bind(row.members())
        .bind(&packed[..]);
    row.token = insert.execute(db).await.map_err(fault)?.last_insert_rowid();
    Ok(())
}

/// The leases with these tokens that still exist. By primary key.
pub(super) async fn load(db: &mut SqliteConnection, tokens: &[i64]) -> Result<HashMap<i64, LeaseRow>> {
    let mut leases = HashMap::new();
    for tokens in lists(tokens) {
        let sql = format!("SELECT {LEASE_COLUMNS} FROM taskwright_leases WHERE id IN {}", list(tokens.len()));
        let bound = bind_list(statement(sql), tokens, |statement, token| statement.bind(*token));
        for row in &bound.fetch_all(&mut *db).await.map_err(fault)? {
            insert_readable(&mut leases, row)?;
        }
    }
    Ok(leases)
}

/// Every lease: as many as there are claims with a job still running.
pub(super) async fn load_all(db: &mut SqliteConnection) -> Result<HashMap<i64, LeaseRow>> {
    let mut leases = HashMap::new();
    let sql = format!("SELECT {LEASE_COLUMNS} FROM taskwright_leases");
    for row in &statement(sql).fetch_all(db).await.map_err(fault)? {
        insert_readable(&mut leases, row)?;
    }
    Ok(leases)
}

/// The leases of which a job is as new as `first`. By the index on `newest`.
pub(super) async fn load_since(db: &mut SqliteConnection, first: JobId) -> Result<HashMap<i64, LeaseRow>> {
    let mut leases = HashMap::new();
    let sql = format!("SELECT {LEASE_COLUMNS} FROM taskwright_leases WHERE newest >= ?");
    for row in &statement(sql).bind(&first.as_bytes()[..]).fetch_all(db).await.map_err(fault)? {
        insert_readable(&mut leases, row)?;
    }
    Ok(leases)
}

/// A lease that can't be read is nobody's: its workers hear that it is lost, and the reaper sets it aside.
fn insert_readable(leases: &mut HashMap<i64, LeaseRow>, row: &SqliteRow) -> Result<()> {
    match LeaseRow::read(&raw(row)?) {
        Ok(lease) => {
            leases.insert(lease.token, lease);
        }
        Err(error) => tracing::error!(%error, "passed over a lease"),
    }
    Ok(())
}

/// The columns of a lease.
pub(super) fn raw(row: &SqliteRow) -> Result<RawLease> {
    let bytes = |column| Ok::<_, crate::error::Error>(blob(row, column)?.map(Vec::from));
    Ok(RawLease {
        token: integer(row, 0)?,
        worker: bytes(1)?.unwrap_or_default(),
        claimed: integer(row, 2)?,
        lapses: integer(row, 3)?,
        members: bytes(4)?.unwrap_or_default(),
        settled: bytes(5)?.unwrap_or_default(),
        each: bytes(6)?,
        noted: integer(row, 7)? != 0,
    })
}

/// The leases that lapsed first at `now`, with their packed jobs. By the index on `lapses`.
pub(super) async fn lapsed(db: &mut SqliteConnection, now: i64, limit: i64) -> Result<Vec<WithJobs>> {
    let sql =
        format!("SELECT {LEASE_COLUMNS}, jobs FROM taskwright_leases WHERE lapses <= ? ORDER BY lapses, id LIMIT ?");
    let found = statement(sql).bind(now).bind(limit).fetch_all(db).await.map_err(fault)?;
    found.iter().map(with_jobs).collect()
}

/// Every lease with its packed jobs.
pub(super) async fn all_with_jobs(db: &mut SqliteConnection) -> Result<Vec<WithJobs>> {
    let found = statement(format!("SELECT {LEASE_COLUMNS}, jobs FROM taskwright_leases")).fetch_all(db).await;
    found.map_err(fault)?.iter().map(with_jobs).collect()
}

/// These leases with their packed jobs. By primary key.
pub(super) async fn with_jobs_of(db: &mut SqliteConnection, tokens: &[i64]) -> Result<Vec<WithJobs>> {
    let mut found = Vec::new();
    for tokens in lists(tokens) {
        let sql = format!("SELECT {LEASE_COLUMNS}, jobs FROM taskwright_leases WHERE id IN {}", list(tokens.len()));
        let bound = bind_list(statement(sql), tokens, |statement, token| statement.bind(*token));
        for row in &bound.fetch_all(&mut *db).await.map_err(fault)? {
            found.push(with_jobs(row)?);
        }
    }
    Ok(found)
}

fn with_jobs(row: &SqliteRow) -> Result<WithJobs> {
    Ok((raw(row)?, blob(row, LEASE_WIDTH)?.map(Vec::from).unwrap_or_default()))
}

/// Writes leases whose jobs were settled: those that have none left go.
pub(super) async fn write_settled(db: &mut SqliteConnection, leases: &[&LeaseRow]) -> Result<()> {
    let (done, open): (Vec<&LeaseRow>, Vec<&LeaseRow>) = leases.iter().copied().partition(|lease| lease.is_done());
    delete(db, &done.iter().map(|lease| lease.token).collect::<Vec<_>>()).await?;
    // Marks keep their length, so that SQLite overwrites them in place and leaves the packed jobs alone.
    for run in runs(&open) {
        let sql = format!(
            "WITH marked (id, lapses, settled) AS (VALUES {}) UPDATE taskwright_leases \
             SET lapses = marked.lapses, settled = marked.settled FROM marked WHERE taskwright_leases.id = marked.id",
            rows(run.len(), 3),
        );
        let bound = run.iter().fold(statement(sql), |statement, lease| {
            statement.bind(lease.token).bind(lease.lapses.as_micros()).bind(lease.settled())
        });
        bound.execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}

/// Removes leases. By primary key.
pub(super) async fn delete(db: &mut SqliteConnection, tokens: &[i64]) -> Result<()> {
    for tokens in lists(tokens) {
        let sql = format!("DELETE FROM taskwright_leases WHERE id IN {}", list(tokens.len()));
        let bound = bind_list(statement(sql), tokens, |statement, token| statement.bind(*token));
        bound.execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}

/// Sets the same moment for leases that were renewed as a whole. By primary key.
pub(super) async fn renew(db: &mut SqliteConnection, tokens: &[i64], lapses: i64) -> Result<()> {
    for tokens in lists(tokens) {
        let sql = format!("UPDATE taskwright_leases SET lapses = ?, each = NULL WHERE id IN {}", list(tokens.len()));
        let bound = bind_list(statement(sql).bind(lapses), tokens, |statement, token| statement.bind(*token));
        bound.execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}

/// Sets the moments of a lease of which only some jobs were renewed.
pub(super) async fn renew_some(db: &mut SqliteConnection, lease: &LeaseRow) -> Result<()> {
    const RENEW: &str = "UPDATE taskwright_leases SET lapses = ?, each = ? WHERE id = ?";
    let renewal = sqlx::query(RENEW).bind(lease.lapses.as_micros()).bind(lease.each()).bind(lease.token);
    renewal.execute(db).await.map_err(fault)?;
    Ok(())
}

/// What was noted about a running job.
#[derive(Default)]
pub(super) struct Note {
    pub(super) called_off: Option<String>,
    pub(super) progress: Option<Progress>,
}

/// The notes on these jobs. By primary key.
pub(super) async fn notes(db: &mut SqliteConnection, jobs: &[JobId]) -> Result<HashMap<JobId, Note>> {
    let mut notes = HashMap::new();
    for jobs in lists(jobs) {
        let sql =
            format!("SELECT job, called_off, fraction, note FROM taskwright_notes WHERE job IN {}", list(jobs.len()));
        for row in &bind_jobs(statement(sql), jobs).fetch_all(&mut *db).await.map_err(fault)? {
            let fraction: Option<f64> = row.try_get(2).map_err(fault)?;
            let progress = fraction.map(|fraction| Progress { fraction, note: text(row, 3).unwrap_or_default() });
            let called_off = row.try_get(1).map_err(fault)?;
            let job = crate::backend::sql::record::job_id(&blob(row, 0)?.unwrap_or_default())?;
            notes.insert(job, Note { called_off, progress });
        }
    }
    Ok(notes)
}

/// Forgets the notes on jobs whose attempt has ended.
pub(super) async fn forget_notes(db: &mut SqliteConnection, jobs: &[JobId]) -> Result<()> {
    for jobs in lists(jobs) {
        let sql = format!("DELETE FROM taskwright_notes WHERE job IN {}", list(jobs.len()));
        bind_jobs(statement(sql), jobs).execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}

/// Notes why running jobs should stop; the first reason stands.
pub(super) async fn call_off(db: &mut SqliteConnection, jobs: &[JobId], reason: &str) -> Result<()> {
    for run in runs(jobs) {
        let sql = format!(
            "INSERT INTO taskwright_notes (job, called_off) VALUES {} ON CONFLICT (job) DO UPDATE \
             SET called_off = coalesce(called_off, excluded.called_off)",
            rows(run.len(), 2),
        );
        let bound = run.iter().fold(statement(sql), |statement, job| statement.bind(&job.as_bytes()[..]).bind(reason));
        bound.execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}

/// Notes how far running jobs are.
pub(super) async fn report(db: &mut SqliteConnection, reports: &[(JobId, Progress)]) -> Result<()> {
    for run in runs(reports) {
        let sql = format!(
            "INSERT INTO taskwright_notes (job, fraction, note) VALUES {} ON CONFLICT (job) DO UPDATE \
             SET fraction = excluded.fraction, note = excluded.note",
            rows(run.len(), 3),
        );
        let bound = run.iter().fold(statement(sql), |statement, (job, progress)| {
            // SQLite has no NaN and would store NULL for it, which means that nothing was reported.
            let fraction = if progress.fraction.is_nan() { 0.0 } else { progress.fraction };
            statement.bind(&job.as_bytes()[..]).bind(fraction).bind(progress.note.as_str())
        });
        bound.execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}

/// Says in these leases that there are notes on their jobs.
pub(super) async fn mark_noted(db: &mut SqliteConnection, tokens: &[i64]) -> Result<()> {
    for tokens in lists(tokens) {
        let sql = format!("UPDATE taskwright_leases SET noted = 1 WHERE id IN {}", list(tokens.len()));
        let bound = bind_list(statement(sql), tokens, |statement, token| statement.bind(*token));
        bound.execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}

/// Lets workers of other processes see that there is something to hear.
pub(super) async fn count_control(db: &mut SqliteConnection) -> Result<()> {
    const COUNT: &str = "UPDATE taskwright_control SET count = count + 1";
    sqlx::query(COUNT).execute(db).await.map_err(fault)?;
    Ok(())
}

fn bind_jobs(statement: Statement, jobs: &[JobId]) -> Statement {
    bind_list(statement, jobs, |statement, job| statement.bind(&job.as_bytes()[..]))
}
