//! Leases, and what is noted about their jobs.

use std::collections::{BTreeMap, HashMap};

use super::lease::{LeaseRow, NOTED, RawLease, pack};
use super::record::{Record, job_id};
use super::tables::{Columns, Tables, Value, lists, rows, runs};
use crate::error::Result;
use crate::job::{JobId, Progress};

/// The columns of a lease without its jobs, in the order of [`raw`].
const LEASE_COLUMNS: &str = "id, worker, claimed, lapses, members, settled, moments, noted";

/// How many columns those are.
const LEASE_WIDTH: usize = 8;

/// A lease's columns and its packed jobs.
pub(super) type WithJobs = (RawLease, Vec<u8>);

/// Stores a claim with its jobs, whose ids are in order, and the slots that it holds, and gives it its token.
pub(super) async fn insert<Db: Tables>(
    db: &mut Db,
    row: &mut LeaseRow,
    jobs: &[Record],
    held: &BTreeMap<String, u64>,
) -> Result<()> {
    let Some(newest) = jobs.last() else { return Ok(()) };
    row.holds = !held.is_empty();
    let held = held.iter().map(|(key, held)| (key.as_str(), i64::try_from(*held).unwrap_or(i64::MAX)));
    row.token = db.insert_lease(row, &newest.job_id()?, &pack(jobs)?, &held.collect::<Vec<_>>()).await?;
    Ok(())
}

/// The leases with these tokens that still exist, locked in order until the transaction ends. By primary key.
pub(super) async fn lock<Db: Tables>(db: &mut Db, tokens: &[i64]) -> Result<HashMap<i64, LeaseRow>> {
    let mut leases = HashMap::new();
    for tokens in lists(tokens) {
        let locked = Db::LOCKED;
        let sql = format!("SELECT {LEASE_COLUMNS} FROM taskwright_leases WHERE id IN (?..) ORDER BY id{locked}");
        keep_readable(&mut leases, &db.fetch(sql, &[Value::Integers(tokens)]).await?)?;
    }
    Ok(leases)
}

/// Every lease: as many as there are claims with a job still running.
pub(super) async fn load_all<Db: Tables>(db: &mut Db) -> Result<HashMap<i64, LeaseRow>> {
    let mut leases = HashMap::new();
    let rows = db.fetch(format!("SELECT {LEASE_COLUMNS} FROM taskwright_leases"), &[]).await?;
    keep_readable(&mut leases, &rows)?;
    Ok(leases)
}

/// A lease that can't be read is nobody's: its workers hear that it is lost, and the reaper sets it aside.
fn keep_readable<Row: Columns>(leases: &mut HashMap<i64, LeaseRow>, rows: &[Row]) -> Result<()> {
    for row in rows {
        match LeaseRow::read(&raw(row)?) {
            Ok(lease) => {
                leases.insert(lease.token, lease);
            }
            Err(error) => tracing::error!(%error, "passed over a lease"),
        }
    }
    Ok(())
}

/// The columns of a lease.
fn raw(row: &impl Columns) -> Result<RawLease> {
    let bytes = |column| Ok::<_, crate::error::Error>(row.bytes(column)?.map(Vec::from));
    Ok(RawLease {
        token: row.integer(0)?,
        worker: bytes(1)?.unwrap_or_default(),
        claimed: row.integer(2)?,
        lapses: row.integer(3)?,
        members: bytes(4)?.unwrap_or_default(),
        settled: bytes(5)?.unwrap_or_default(),
        each: bytes(6)?,
        marks: row.integer(7)?,
    })
}

/// The leases that lapsed first at `now`, with their packed jobs, locked unless somebody else has them. By the index on
/// `lapses`.
pub(super) async fn lapsed<Db: Tables>(db: &mut Db, now: i64, limit: i64) -> Result<Vec<WithJobs>> {
    let locked = Db::SKIP_LOCKED;
    let sql = format!(
        "SELECT {LEASE_COLUMNS}, jobs FROM taskwright_leases WHERE lapses <= ? ORDER BY lapses, id LIMIT ?{locked}"
    );
    db.fetch(sql, &[Value::Integer(now), Value::Integer(limit)]).await?.iter().map(with_jobs).collect()
}

/// Every lease with its packed jobs.
pub(super) async fn all_with_jobs<Db: Tables>(db: &mut Db) -> Result<Vec<WithJobs>> {
    let found = db.fetch(format!("SELECT {LEASE_COLUMNS}, jobs FROM taskwright_leases"), &[]).await?;
    found.iter().map(with_jobs).collect()
}

/// These leases with their packed jobs. By primary key.
pub(super) async fn with_jobs_of<Db: Tables>(db: &mut Db, tokens: &[i64]) -> Result<Vec<WithJobs>> {
    let mut found = Vec::new();
    for tokens in lists(tokens) {
        let sql = format!("SELECT {LEASE_COLUMNS}, jobs FROM taskwright_leases WHERE id IN (?..)");
        for row in &db.fetch(sql, &[Value::Integers(tokens)]).await? {
            found.push(with_jobs(row)?);
        }
    }
    Ok(found)
}

fn with_jobs(row: &impl Columns) -> Result<WithJobs> {
    Ok((raw(row)?, row.bytes(LEASE_WIDTH)?.map(Vec::from).unwrap_or_default()))
}

/// Writes leases, which are locked, whose jobs were settled: those that have none left go.
pub(super) async fn write_settled<Db: Tables>(db: &mut Db, leases: &[&LeaseRow]) -> Result<()> {
    let (done, open): (Vec<&LeaseRow>, Vec<&LeaseRow>) = leases.iter().copied().partition(|lease| lease.is_done());
    delete(db, &done.iter().map(|lease| lease.token).collect::<Vec<_>>()).await?;
    if !open.is_empty() {
        db.mark_settled(&open).await?;
    }
    Ok(())
}

/// Removes leases. By primary key.
pub(super) async fn delete<Db: Tables>(db: &mut Db, tokens: &[i64]) -> Result<()> {
    for tokens in lists(tokens) {
        db.execute("DELETE FROM taskwright_leases WHERE id IN (?..)", &[Value::Integers(tokens)]).await?;
    }
    Ok(())
}

/// Sets the same moment for leases that were renewed as a whole. By primary key.
pub(super) async fn renew<Db: Tables>(db: &mut Db, tokens: &[i64], lapses: i64) -> Result<()> {
    const RENEW: &str = "UPDATE taskwright_leases SET lapses = ?, moments = NULL WHERE id IN (?..)";
    for tokens in lists(tokens) {
        db.execute(RENEW, &[Value::Integer(lapses), Value::Integers(tokens)]).await?;
    }
    Ok(())
}

/// Sets the moments of a lease of which only some jobs were renewed.
pub(super) async fn renew_some<Db: Tables>(db: &mut Db, lease: &LeaseRow) -> Result<()> {
    const RENEW: &str = "UPDATE taskwright_leases SET lapses = ?, moments = ? WHERE id = ?";
    let (lapses, each) = (Value::Integer(lease.lapses.as_micros()), lease.each());
    db.execute(RENEW, &[lapses, Value::MaybeBytes(each.as_deref()), Value::Integer(lease.token)]).await?;
    Ok(())
}

/// What was noted about a running job.
#[derive(Default)]
pub(super) struct Note {
    pub(super) called_off: Option<String>,
    pub(super) progress: Option<Progress>,
}

/// The notes on these jobs. By primary key.
pub(super) async fn notes<Db: Tables>(db: &mut Db, jobs: &[JobId]) -> Result<HashMap<JobId, Note>> {
    const NOTES: &str = "SELECT job, called_off, fraction, note FROM taskwright_notes WHERE job IN (?..)";
    let mut notes = HashMap::new();
    for jobs in lists(jobs) {
        for row in &db.fetch(NOTES, &[Value::Ids(jobs)]).await? {
            let note = row.maybe_text(3)?.unwrap_or_default();
            let progress = row.maybe_real(2)?.map(|fraction| Progress { fraction, note });
            let called_off = row.maybe_text(1)?;
            notes.insert(job_id(&row.bytes(0)?.unwrap_or_default())?, Note { called_off, progress });
        }
    }
    Ok(notes)
}

/// Forgets the notes on jobs whose attempt has ended.
pub(super) async fn forget_notes<Db: Tables>(db: &mut Db, jobs: &[JobId]) -> Result<()> {
    for jobs in lists(jobs) {
        db.execute("DELETE FROM taskwright_notes WHERE job IN (?..)", &[Value::Ids(jobs)]).await?;
    }
    Ok(())
}

/// Notes why running jobs, whose leases are locked, should stop; the first reason stands.
pub(super) async fn call_off<Db: Tables>(db: &mut Db, jobs: &[JobId], reason: &str) -> Result<()> {
    const CALL_OFF: &str = "UPDATE taskwright_notes SET called_off = ? WHERE called_off IS NULL AND job IN (?..)";
    for jobs in lists(jobs) {
        db.execute(CALL_OFF, &[Value::Text(reason), Value::Ids(jobs)]).await?;
    }
    for run in runs(jobs) {
        let sql = Db::insert_new("taskwright_notes", "job, called_off", &rows(run.len(), 2));
        let values: Vec<_> = run.iter().flat_map(|job| [Value::Id(job.as_bytes()), Value::Text(reason)]).collect();
        db.execute(sql, &values).await?;
    }
    Ok(())
}

/// Notes how far running jobs, whose leases are locked, are.
pub(super) async fn report<Db: Tables>(db: &mut Db, reports: &BTreeMap<JobId, Progress>) -> Result<()> {
    let reports: Vec<_> = reports.iter().collect();
    for run in runs(&reports) {
        let rows = rows(run.len(), 3);
        let sql = Db::upsert("taskwright_notes", "job, fraction, note", &rows, "job", &["fraction", "note"]);
        let values = run.iter().flat_map(|(job, progress)| {
            // Not every database has a NaN; some would store NULL for it, which means that nothing was reported.
            let fraction = if progress.fraction.is_nan() { 0.0 } else { progress.fraction };
            // Nor infinity.
            let fraction = fraction.clamp(f64::MIN, f64::MAX);
            [Value::Id(job.as_bytes()), Value::Real(fraction), Value::Text(&progress.note)]
        });
        db.execute(sql, &values.collect::<Vec<_>>()).await?;
    }
    Ok(())
}

/// Says in these leases, which are locked, that there are notes on their jobs.
pub(super) async fn mark_noted<Db: Tables>(db: &mut Db, tokens: &[i64]) -> Result<()> {
    for tokens in lists(tokens) {
        let sql = format!("UPDATE taskwright_leases SET noted = noted | {NOTED} WHERE id IN (?..)");
        db.execute(sql, &[Value::Integers(tokens)]).await?;
    }
    Ok(())
}
