//! Outcomes that can be asked for.

use std::collections::HashMap;

use async_trait::async_trait;

use super::lease::{LeaseRow, claimed, unpack};
use super::news::News;
use super::record::{decode, encode};
use super::tables::{Columns, Tables, Value, lists, rows, runs};
use super::work::{Isolation, Store, Work};
use super::{leases, places};
use crate::backend::{Fetched, KeptOutcome, Results};
use crate::error::Result;
use crate::job::{Job, JobId, Outcome};
use crate::policy::state;
use crate::time::Timestamp;

#[async_trait]
impl<Database: Store> Results for Database {
    async fn keep(&self, outcomes: &[KeptOutcome]) -> Result<()> {
        if outcomes.is_empty() {
            return Ok(());
        }
        self.write(KeepWork { outcomes: outcomes.to_vec() }).await
    }

    async fn fetch(&self, ids: &[JobId]) -> Result<Vec<Fetched>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.read(FetchWork { ids: ids.to_vec() }).await
    }
}

struct KeepWork {
    outcomes: Vec<KeptOutcome>,
}

#[async_trait]
impl Work for KeepWork {
    type Answer = ();
    const DURABLE: bool = true;
    // Each statement decides by itself.
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    /// Those that are there already are set one by one, which is rare.
    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<()> {
        const AGAIN: &str =
            "UPDATE taskwright_outcomes SET attempt = ?, ends = ?, outcome = ? WHERE id = ? AND attempt <= ?";
        self.outcomes.sort_by_key(|kept| kept.outcome.id);
        for run in runs(&self.outcomes) {
            let encoded = run.iter().map(|kept| encode(&kept.outcome)).collect::<Result<Vec<_>>>()?;
            let columns: Vec<_> = run.iter().zip(&encoded).map(|(kept, bytes)| columns(kept, bytes, now)).collect();
            let sql = Db::insert_new("taskwright_outcomes", "id, attempt, ends, outcome", &rows(run.len(), 4));
            if db.execute(sql, columns.as_flattened()).await? == run.len() as u64 {
                continue;
            }
            for [id, attempt, ends, outcome] in columns {
                db.execute(AGAIN, &[attempt, ends, outcome, id, attempt]).await?;
            }
        }
        if self.outcomes.iter().any(|kept| kept.outcome.state.is_terminal()) {
            news.outcomes();
        }
        Ok(())
    }
}

fn columns<'a>(kept: &'a KeptOutcome, encoded: &'a [u8], now: Timestamp) -> [Value<'a>; 4] {
    let KeptOutcome { outcome, ttl } = kept;
    let (attempt, ends) = (i64::from(outcome.attempt), now.after(*ttl).as_micros());
    [Value::Id(outcome.id.as_bytes()), Value::Integer(attempt), Value::Integer(ends), Value::Bytes(encoded)]
}

struct FetchWork {
    ids: Vec<JobId>,
}

#[async_trait]
impl Work for FetchWork {
    type Answer = Vec<Fetched>;
    const DURABLE: bool = false;
    // A job that moves from one place to the next while they are looked through must not be missed.
    const ISOLATION: Isolation = Isolation::RepeatableRead;

    /// Looks where most are found first; the leases, which have no index by job, only for what is nowhere else.
    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, _: &mut News) -> Result<Vec<Fetched>> {
        let mut found = HashMap::new();
        for finished in places::finished(db, &self.ids).await? {
            let job = finished.read();
            let expired = finished.is_expired(now);
            let outcome = state::outcome(&job).filter(|_| !expired);
            found.insert(job.id(), outcome.map_or(Fetched::Expired, Fetched::Finished));
        }
        for record in places::waiting(db, &self.rest(&found)).await? {
            let job = record.read(now).unwrap_or_else(|wreck| *wreck);
            found.insert(job.id(), pending(&job));
        }
        for job in running(db, &self.rest(&found), now).await? {
            found.insert(job.id(), pending(&job));
        }
        for (id, fetched) in kept(db, &self.rest(&found), now).await? {
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
async fn running<Db: Tables>(db: &mut Db, ids: &[JobId], now: Timestamp) -> Result<Vec<Job>> {
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
pub(super) async fn running_jobs<Db: Tables>(
    db: &mut Db,
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
async fn kept<Db: Tables>(db: &mut Db, ids: &[JobId], now: Timestamp) -> Result<Vec<(JobId, Fetched)>> {
    const KEPT: &str = "SELECT ends, outcome FROM taskwright_outcomes WHERE id IN (?..)";
    let mut kept = Vec::new();
    for ids in lists(ids) {
        for row in &db.fetch(KEPT, &[Value::Ids(ids)]).await? {
            let outcome: Outcome = decode("outcome", &row.bytes(1)?.unwrap_or_default())?;
            let ended = row.integer(0)? <= now.as_micros();
            kept.push((outcome.id, Fetched::of_kept(outcome, ended)));
        }
    }
    Ok(kept)
}
