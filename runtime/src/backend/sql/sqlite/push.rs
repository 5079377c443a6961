//! Storing new jobs.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Row, SqliteConnection};

use super::error::fault;
use super::leases;
use super::places::{blob, insert_waiting};
use super::statements::{bind_list, list, lists, rows, runs, statement};
use super::writer::Work;
use crate::backend::sql::news::News;
use crate::backend::sql::record::{Record, decode, encode, job_id};
use crate::backend::{Push, Pushed};
use crate::error::Result;
use crate::job::{BatchId, Job, JobId, Name};
use crate::time::Timestamp;

/// How long a batch is recognised (P1).
const REMEMBERED: Duration = Duration::from_hours(1);

/// One push.
pub(super) struct PushWork {
    batch: BatchId,
    jobs: Vec<Incoming>,
    now: Timestamp,
    /// Whether this push also forgets old batches.
    tidies: bool,
}

/// A job to be stored, as the row that it will be.
struct Incoming {
    id: JobId,
    queue: Name,
    key: Option<String>,
    record: Record,
}

impl PushWork {
    pub(super) fn new(push: &Push, now: Timestamp, tidies: bool) -> Result<Self> {
        let incoming = |new| {
            let job = Job::received(new, now);
            let key = job.spec.unique.as_ref().map(|unique| unique.key.clone());
            Ok(Incoming { id: job.id(), queue: job.spec.queue.clone(), key, record: Record::new(&job)? })
        };
        let jobs = push.jobs.iter().map(incoming).collect::<Result<_>>()?;
        Ok(Self { batch: push.batch, jobs, now, tidies })
    }

    /// The queues that it pushes to.
    pub(super) fn news(&self) -> News {
        let mut news = News::default();
        self.jobs.iter().for_each(|incoming| news.jobs(&incoming.queue));
        news
    }
}

#[async_trait]
impl Work for PushWork {
    type Answer = Vec<Pushed>;
    const DURABLE: bool = true;

    async fn run(&mut self, db: &mut SqliteConnection, news: &mut News) -> Result<Vec<Pushed>> {
        if self.tidies {
            forget_batches(db, self.now).await?;
        }
        if !remember(db, self.batch, self.now).await? {
            return self.recall(db).await;
        }
        let answers = self.decide(db).await?;
        let refused = conflicts(&answers);
        if !refused.is_empty() {
            remember_refused(db, self.batch, &refused).await?;
        }
        let stored = || self.jobs.iter().zip(&answers).filter(|(_, answer)| **answer == Pushed::Stored);
        let records: Vec<_> = stored().map(|(incoming, _)| incoming.record.clone()).collect();
        insert_waiting(db, &records).await?;
        take_keys(db, &stored().filter_map(|(job, _)| Some((job.key.as_deref()?, job.id))).collect::<Vec<_>>()).await?;
        stored().for_each(|(incoming, _)| news.jobs(&incoming.queue));
        Ok(answers)
    }
}

impl PushWork {
    /// What becomes of each job, in order.
    async fn decide(&self, db: &mut SqliteConnection) -> Result<Vec<Pushed>> {
        let ids: Vec<_> = self.jobs.iter().map(|incoming| incoming.id).collect();
        let mut known = existing(db, &ids).await?;
        let keys: Vec<_> = self.jobs.iter().filter_map(|incoming| incoming.key.as_deref()).collect();
        let mut holders = holders(db, &keys).await?;
        let decide = |incoming: &Incoming| {
            if !known.insert(incoming.id) {
                return Pushed::Repeated;
            }
            if let Some(key) = &incoming.key {
                if let Some(holder) = holders.get(key) {
                    // Not stored, so a further job with this id is not a repeat.
                    known.remove(&incoming.id);
                    return Pushed::Conflict(*holder);
                }
                holders.insert(key.clone(), incoming.id);
            }
            Pushed::Stored
        };
        Ok(self.jobs.iter().map(decide).collect())
    }

    /// What this batch was answered when it first came.
    async fn recall(&self, db: &mut SqliteConnection) -> Result<Vec<Pushed>> {
        const RECALL: &str = "SELECT refused FROM taskwright_batches WHERE id = ?";
        let row = sqlx::query(RECALL).bind(&self.batch.as_bytes()[..]).fetch_one(db).await.map_err(fault)?;
        let mut answers = vec![Pushed::Repeated; self.jobs.len()];
        if let Some(refused) = blob(&row, 0)? {
            for (index, holder) in decode::<Vec<(usize, JobId)>>("refused", &refused)? {
                if let Some(answer) = answers.get_mut(index) {
                    *answer = Pushed::Conflict(holder);
                }
            }
        }
        Ok(answers)
    }
}

/// Notes a batch; false when it was noted within the hour. By primary key, atomic by itself.
///
/// It comes first in a push so that the caller's transaction, which may have only read so far, asks for the write lock
/// and waits for it, where a read followed by a write could be refused at once.
async fn remember(db: &mut SqliteConnection, batch: BatchId, now: Timestamp) -> Result<bool> {
    const REMEMBER: &str = "INSERT INTO taskwright_batches (id, pushed) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE \
        SET pushed = excluded.pushed, refused = NULL WHERE taskwright_batches.pushed <= ?3";
    let noted = sqlx::query(REMEMBER)
        .bind(&batch.as_bytes()[..])
        .bind(now.as_micros())
        .bind(now.before(REMEMBERED).as_micros())
        .execute(db)
        .await;
    Ok(noted.map_err(fault)?.rows_affected() > 0)
}

async fn remember_refused(db: &mut SqliteConnection, batch: BatchId, refused: &[(usize, JobId)]) -> Result<()> {
    const REFUSED: &str = "UPDATE taskwright_batches SET refused = ? WHERE id = ?";
    let refused = encode(&refused)?;
    sqlx::query(REFUSED).bind(&refused[..]).bind(&batch.as_bytes()[..]).execute(db).await.map_err(fault)?;
    Ok(())
}

/// Forgets batches that came more than an hour ago, a bounded number at a time.
///
/// Their ids begin with the time at which a client made them, so the first by id are the oldest, or of a client whose
/// clock is late; those keep younger ones from being looked at for as long as it is late, which is harmless.
async fn forget_batches(db: &mut SqliteConnection, now: Timestamp) -> Result<()> {
    const FORGET: &str = "DELETE FROM taskwright_batches WHERE id IN \
        (SELECT id FROM taskwright_batches ORDER BY id LIMIT 1000) AND pushed <= ?";
    sqlx::query(FORGET).bind(now.before(REMEMBERED).as_micros()).execute(db).await.map_err(fault)?;
    Ok(())
}

fn conflicts(answers: &[Pushed]) -> Vec<(usize, JobId)> {
    let conflict = |(index, answer): (usize, &Pushed)| match answer {
        Pushed::Conflict(holder) => Some((index, *holder)),
        Pushed::Stored | Pushed::Repeated => None,
    };
    answers.iter().enumerate().filter_map(conflict).collect()
}

/// Which of these jobs exist, wherever they lie.
///
/// Ids grow with time, so that mostly nothing lies between the first and the last of a batch: one statement of three
/// looks at the ends of indexes says so.
async fn existing(db: &mut SqliteConnection, ids: &[JobId]) -> Result<HashSet<JobId>> {
    const NEAR: &str = "SELECT \
        EXISTS (SELECT 1 FROM taskwright_jobs WHERE id BETWEEN ?1 AND ?2), \
        EXISTS (SELECT 1 FROM taskwright_leases WHERE newest >= ?1), \
        EXISTS (SELECT 1 FROM taskwright_finished WHERE id BETWEEN ?1 AND ?2)";
    let (Some(first), Some(last)) = (ids.iter().min(), ids.iter().max()) else { return Ok(HashSet::new()) };
    let near = sqlx::query(NEAR).bind(&first.as_bytes()[..]).bind(&last.as_bytes()[..]);
    let near = near.fetch_one(&mut *db).await.map_err(fault)?;
    let mut known = HashSet::new();
    if near.try_get(0).map_err(fault)? {
        known.extend(among(db, "taskwright_jobs", ids).await?);
    }
    if near.try_get(1).map_err(fault)? {
        let leased = leases::load_since(db, *first).await?;
        known.extend(ids.iter().filter(|id| leased.values().any(|lease| lease.open(**id).is_some())));
    }
    if near.try_get(2).map_err(fault)? {
        known.extend(among(db, "taskwright_finished", ids).await?);
    }
    Ok(known)
}

/// Which of these ids a table has. By primary key.
async fn among(db: &mut SqliteConnection, table: &'static str, ids: &[JobId]) -> Result<Vec<JobId>> {
    let mut found = Vec::new();
    for ids in lists(ids) {
        let sql = format!("SELECT id FROM {table} WHERE id IN {}", list(ids.len()));
        let bound = bind_list(statement(sql), ids, |statement, id| statement.bind(&id.as_bytes()[..]));
        for row in &bound.fetch_all(&mut *db).await.map_err(fault)? {
            found.push(job_id(&blob(row, 0)?.unwrap_or_default())?);
        }
    }
    Ok(found)
}

/// Which jobs have these unique keys. By primary key; asked only when a job has one.
pub(super) async fn holders(db: &mut SqliteConnection, keys: &[&str]) -> Result<HashMap<String, JobId>> {
    let mut holders = HashMap::new();
    for keys in lists(keys) {
        let sql = format!("SELECT key, job FROM taskwright_unique WHERE key IN {}", list(keys.len()));
        let bound = bind_list(statement(sql), keys, |statement, key| statement.bind(*key));
        for row in &bound.fetch_all(&mut *db).await.map_err(fault)? {
            holders.insert(row.try_get(0).map_err(fault)?, job_id(&blob(row, 1)?.unwrap_or_default())?);
        }
    }
    Ok(holders)
}

/// Makes jobs the holders of their unique keys, which nobody has.
pub(super) async fn take_keys(db: &mut SqliteConnection, keys: &[(&str, JobId)]) -> Result<()> {
    for run in runs(keys) {
        let sql = format!("INSERT INTO taskwright_unique (key, job) VALUES {}", rows(run.len(), 2));
        let bound =
            run.iter().fold(statement(sql), |statement, (key, job)| statement.bind(*key).bind(&job.as_bytes()[..]));
        bound.execute(&mut *db).await.map_err(fault)?;
    }
    Ok(())
}
