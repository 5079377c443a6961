//! Reading jobs from where they lie, and writing where they lie from now on.

use std::collections::HashSet;

use super::lanes;
use super::moves::Moves;
use super::record::{FinishedRecord, InLane, Record};
use super::tables::{Columns, FINISHED_COLUMNS, JOB_COLUMNS, JOB_WIDTH, Pool, Tables, Value, lists};
use super::unique;
use super::work::raced;
use crate::error::Result;
use crate::job::{JobId, Name};
use crate::time::Timestamp;

/// Writes what an operation moved, with a fixed number of statements for each thousand jobs.
pub(super) async fn write<Db: Tables>(db: &mut Db, moves: &Moves, now: Timestamp) -> Result<()> {
    lay(db, &moves.waiting.iter().collect::<Vec<_>>(), now).await?;
    if !moves.finished.is_empty() {
        db.insert_finished(&moves.finished).await?;
    }
    unique::free(db, &moves.freed).await
}

/// Lets jobs wait, each where it belongs.
pub(super) async fn lay<Db: Tables>(db: &mut Db, records: &[&Record], now: Timestamp) -> Result<()> {
    let (limited, free): (Vec<&Record>, Vec<&Record>) = records.iter().partition(|record| record.limited.is_some());
    if !free.is_empty() {
        db.insert_waiting(Pool::Free, &free).await?;
    }
    if !limited.is_empty() {
        db.insert_waiting(Pool::Limited, &limited).await?;
        lanes::announce(db, &limited, now).await?;
    }
    Ok(())
}

/// Takes waiting jobs out of their place. By primary key.
pub(super) async fn take_waiting<Db: Tables>(db: &mut Db, ids: &[JobId]) -> Result<Vec<Record>> {
    let mut taken = Vec::new();
    for ids in lists(ids) {
        let mut rest: Vec<JobId> = ids.to_vec();
        for pool in Pool::ALL {
            if rest.is_empty() {
                break;
            }
            let mut found = HashSet::new();
            for row in &db.take(pool.table(), JOB_COLUMNS, &rest).await? {
                let record = record(row)?;
                found.insert(record.id.clone());
                taken.push(record);
            }
            rest.retain(|id| !found.contains(&id.as_bytes()[..]));
        }
    }
    Ok(taken)
}

/// Which of these jobs wait, are due, have not expired, and are of no paused queue and none of these tasks; nobody else
/// takes them meanwhile.
///
/// Jobs of a queue that has a limit of its own are left to claims, and so are those with limits.
pub(super) async fn due<Db: Tables>(
    db: &mut Db,
    ids: &[JobId],
    unknown: &[Name],
    now: Timestamp,
) -> Result<Vec<JobId>> {
    let limited = limited_queues(db).await?;
    let mut found = Vec::new();
    let now = Value::Integer(now.as_micros());
    let unknown: Vec<_> = unknown.iter().map(Name::as_str).collect();
    let known = if unknown.is_empty() { "" } else { " AND NOT task IN (?..)" };
    for ids in lists(ids) {
        let sql = format!(
            "SELECT id, queue FROM taskwright_jobs WHERE id IN (?..) AND due <= ? AND (expires IS NULL OR expires > ?){known}
            AND NOT EXISTS (SELECT 1 FROM taskwright_pauses WHERE taskwright_pauses.queue = taskwright_jobs.queue){}",
            Db::SKIP_LOCKED
        );
        let mut values = vec![Value::Ids(ids), now, now];
        values.extend((!unknown.is_empty()).then_some(Value::Texts(&unknown)));
        for row in &db.fetch(sql, &values).await? {
            let id = row.bytes(0)?.unwrap_or_default();
            if limited.contains(&row.text(1)?) {
                continue;
            }
            found.extend(<[u8; 16]>::try_from(&id[..]).ok().map(JobId::from_bytes));
        }
    }
    Ok(found)
}

/// The queues that have a limit of their own. A range of the index on keys.
async fn limited_queues<Db: Tables>(db: &mut Db) -> Result<HashSet<String>> {
    const QUEUES: &str = "SELECT id FROM taskwright_limits WHERE is_set <> 0 AND id BETWEEN 'queue:' AND 'queue;'";
    let rows = db.fetch(QUEUES, &[]).await?;
    rows.iter().map(|row| Ok(row.text(0)?.trim_start_matches("queue:").to_owned())).collect()
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
        let each = Pool::ALL.map(|pool| format!("SELECT {JOB_COLUMNS} FROM {} WHERE id IN (?..)", pool.table()));
        for row in &db.fetch(each.join(" UNION ALL "), &[Value::Ids(ids), Value::Ids(ids)]).await? {
            found.push(record(row)?);
        }
    }
    Ok(found)
}

/// Waiting jobs, which nobody else changes or takes before this transaction has ended.
///
/// Locked in order, so that two transactions wait for each other and don't lock each other up.
pub(super) async fn lock_waiting<Db: Tables>(db: &mut Db, ids: &[JobId]) -> Result<Vec<Record>> {
    let mut found = Vec::new();
    for ids in lists(ids) {
        for pool in Pool::ALL {
            let (table, locked) = (pool.table(), Db::LOCKED);
            let sql = format!("SELECT {JOB_COLUMNS} FROM {table} WHERE id IN (?..) ORDER BY id{locked}");
            for row in &db.fetch(sql, &[Value::Ids(ids)]).await? {
                found.push(record(row)?);
            }
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
        limited: None,
    })
}

/// The job in a row of these columns of a pool.
pub(super) fn waiting_record(pool: Pool, row: &impl Columns) -> Result<Record> {
    let limited = match pool {
        Pool::Free => None,
        Pool::Limited => Some(InLane { lane: row.text(JOB_WIDTH)?, weights: row.bytes(JOB_WIDTH + 1)? }),
    };
    Ok(Record { limited, ..record(row)? })
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
