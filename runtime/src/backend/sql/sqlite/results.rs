//! Outcomes that can be asked for.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::error::fault;
use super::places::{blob, integer};
use super::statements::{bind_list, list, lists, rows, runs, statement};
use super::writer::Work;
use super::{Sqlite, leases, places};
use crate::backend::sql::lease::{LeaseRow, claimed, unpack};
use crate::backend::sql::news::News;
use crate::backend::sql::record::{decode, encode};
use crate::backend::{Fetched, KeptOutcome, Results};
use crate::error::Result;
use crate::job::{Job, JobId, Outcome};
use crate::policy::state;
use crate::time::Timestamp;

#[async_trait]
impl Results for Sqlite {
    async fn keep(&self, outcomes: &[KeptOutcome]) -> Result<()> {
        if outcomes.is_empty() {
            return Ok(());
        }
        self.write(KeepWork { outcomes: outcomes.to_vec(), now: self.now() }).await
    }

    async fn fetch(&self, ids: &[JobId]) -> Result<Vec<Fetched>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.read(FetchWork { ids: ids.to_vec(), now: self.now() }).await
    }
}

struct KeepWork {
    outcomes: Vec<KeptOutcome>,
    now: Timestamp,
}

#[async_trait]
impl Work for KeepWork {
    type Answer = ();
    const DURABLE: bool = true;

    async fn run(&mut self, db: &mut SqliteConnection, news: &mut News) -> Result<()> {
        for run in runs(&self.outcomes) {
            let sql = format!(
                "INSERT INTO taskwright_outcomes (id, attempt, ends, outcome) VALUES {} ON CONFLICT (id) DO UPDATE \
                 SET attempt = excluded.attempt, ends = excluded.ends, outcome = excluded.outcome \
                 WHERE excluded.attempt >= taskwright_outcomes.attempt",
                rows(run.len(), 4),
            );
            let mut insert = statement(sql);
            for KeptOutcome { outcome, ttl } in run {
                insert = insert
                    .bind(&outcome.id.as_bytes()[..])
                    .bind(i64::from(outcome.attempt))
                    .bind(self.now.after(*ttl).as_micros())
                    .bind(&encode(outcome)?[..]);
            }
            insert.execute(&mut *db).await.map_err(fault)?;
        }
        news.outcomes();
        Ok(())
    }
}

struct FetchWork {
    ids: Vec<JobId>,
    now: Timestamp,
}

#[async_trait]
impl Work for FetchWork {
    type Answer = Vec<Fetched>;
    const DURABLE: bool = false;

    /// Looks where most are found first; the leases, which have no index by job, only for what is nowhere else.
    async fn run(&mut self, db: &mut SqliteConnection, _: &mut News) -> Result<Vec<Fetched>> {
        let mut found = HashMap::new();
        for finished in places::finished(db, &self.ids).await? {
            let job = finished.read();
            let expired = finished.is_expired(self.now);
            let outcome = state::outcome(&job).filter(|_| !expired);
            found.insert(job.id(), outcome.map_or(Fetched::Expired, Fetched::Finished));
        }
        for record in places::waiting(db, &self.rest(&found)).await? {
            let job = record.read(self.now).unwrap_or_else(|wreck| *wreck);
            found.insert(job.id(), pending(&job));
        }
        for job in running(db, &self.rest(&found), self.now).await? {
            found.insert(job.id(), pending(&job));
        }
        for (id, fetched) in kept(db, &self.rest(&found), self.now).await? {
            found.insert(id, fetched);
        }
        Ok(self.ids.iter().map(|id| found.get(id).cloned().unwrap_or(Fetched::Absent)).collect())
    }
}

impl FetchWork {
    fn rest(&self, found: &HashMap<JobId, Fetched>) -> Vec<JobId> {
        self.ids.iter().copied().filter(|id| !found.contains_key(id)).collect()
    }
}

fn pending(job: &Job) -> Fetched {
    match state::outcome(job) {
        // A waiting row that can't be read will be set aside as this.
        Some(outcome) => Fetched::Finished(outcome),
        None => Fetched::Pending { state: job.state, attempt: job.attempt, progress: job.progress.clone() },
    }
}

/// Those of these jobs that run.
async fn running(db: &mut SqliteConnection, ids: &[JobId], now: Timestamp) -> Result<Vec<Job>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let leases = leases::load_all(db).await?;
    let holds = |lease: &&LeaseRow| ids.iter().any(|id| lease.open(*id).is_some());
    let tokens: Vec<_> = leases.values().filter(holds).map(|lease| lease.token).collect();
    let leases = leases::with_jobs_of(db, &tokens).await?;
    let mut jobs = running_jobs(db, leases, now).await?;
    jobs.retain(|job| ids.contains(&job.id()));
    Ok(jobs)
}

/// The jobs that these claims still hold, as they run.
pub(super) async fn running_jobs(
    db: &mut SqliteConnection,
    leases: Vec<leases::WithJobs>,
    now: Timestamp,
) -> Result<Vec<Job>> {
    let mut jobs = Vec::new();
    let mut candidates = Vec::new();
    for (raw, packed) in leases {
        let Ok(row) = LeaseRow::read(&raw) else { continue };
        let records = unpack(&row, &packed, now);
        for (place, id) in row.all_open() {
            let Some(record) = records.get(place) else { continue };
            jobs.push(claimed(&row, record).unwrap_or_else(|wreck| *wreck));
            if row.noted {
                candidates.push(id);
            }
        }
    }
    let mut notes = leases::notes(db, &candidates).await?;
    for job in &mut jobs {
        job.progress = notes.remove(&job.id()).and_then(|note| note.progress);
    }
    Ok(jobs)
}

/// Outcomes of jobs that another backend carries. By primary key.
async fn kept(db: &mut SqliteConnection, ids: &[JobId], now: Timestamp) -> Result<Vec<(JobId, Fetched)>> {
    let mut kept = Vec::new();
    for ids in lists(ids) {
        let sql = format!("SELECT ends, outcome FROM taskwright_outcomes WHERE id IN {}", list(ids.len()));
        let bound = bind_list(statement(sql), ids, |statement, id| statement.bind(&id.as_bytes()[..]));
        for row in &bound.fetch_all(&mut *db).await.map_err(fault)? {
            let outcome: Outcome = decode("outcome", &blob(row, 1)?.unwrap_or_default())?;
            let expired = integer(row, 0)? <= now.as_micros();
            kept.push((outcome.id, if expired { Fetched::Expired } else { Fetched::Finished(outcome) }));
        }
    }
    Ok(kept)
}
