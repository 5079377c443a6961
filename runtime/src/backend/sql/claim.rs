//! Handing out jobs.

use std::cmp::Reverse;
use std::collections::HashMap;

use async_trait::async_trait;

use super::lease::{LeaseRow, claimed};
use super::moves::Moves;
use super::news::News;
use super::record::Record;
use super::tables::{Tables, portions};
use super::work::{Isolation, Store, Work};
use super::{leases, places};
use crate::backend::{Claim, Claimed, Ledger};
use crate::error::Result;
use crate::job::{Job, JobId, Lease};
use crate::time::Timestamp;

/// One claim.
pub(super) struct ClaimWork {
    claim: Claim,
}

/// A claim of jobs that were carried here.
struct TakeWork {
    claim: ClaimWork,
    ids: Vec<JobId>,
}

impl ClaimWork {
    pub(super) fn new(claim: &Claim) -> Self {
        Self { claim: claim.clone() }
    }
}

#[async_trait]
impl<Database: Store> Ledger for Database {
    async fn take(&self, claim: &Claim, ids: &[JobId]) -> Result<Vec<(Lease, Job)>> {
        self.write(TakeWork { claim: ClaimWork::new(claim), ids: ids.to_vec() }).await
    }
}

#[async_trait]
impl Work for TakeWork {
    type Answer = Vec<(Lease, Job)>;
    const DURABLE: bool = true;
    // Jobs that others take at this moment are passed over.
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<Self::Answer> {
        let due = places::due(db, &self.ids, now).await?;
        let records = places::take_waiting(db, &due).await?;
        self.claim.lease(db, records, now, news).await
    }
}

#[async_trait]
impl Work for ClaimWork {
    type Answer = Claimed;
    const DURABLE: bool = false;
    // Jobs that others take at this moment are passed over.
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<Claimed> {
        if self.claim.queues.is_empty() {
            return Ok(Claimed::default());
        }
        let records = db.take_due(&self.claim, now).await?;
        let jobs = self.lease(db, records, now, news).await?;
        let next_due = db.next_due(&self.claim, now).await?;
        Ok(Claimed { jobs, next_due })
    }
}

impl ClaimWork {
    /// Packs the jobs into a lease and hands them out in order; what can't be read is set aside.
    async fn lease<Db: Tables>(
        &self,
        db: &mut Db,
        mut records: Vec<Record>,
        now: Timestamp,
        news: &mut News,
    ) -> Result<Vec<(Lease, Job)>> {
        // By id, as members of a lease are found by.
        records.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let row = LeaseRow::new(self.claim.worker, Vec::new(), now, self.claim.ttl);
        let mut jobs = Vec::with_capacity(records.len());
        let mut moves = Moves::default();
        records.retain(|record| match claimed(&row, record) {
            Ok(job) => {
                jobs.push(job);
                true
            }
            Err(wreck) => {
                // An error here would be one of encoding plain data, and the row must not hold up the others.
                if let Err(error) = moves.set_aside(&wreck) {
                    tracing::error!(%error, "lost a job that could not be read");
                }
                false
            }
        });
        places::write(db, &moves).await?;
        news.append(moves.news);
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let mut handed_out = Vec::with_capacity(jobs.len());
        let mut jobs = jobs.into_iter();
        // One lease mostly; more where the jobs are larger than what a column or a message holds.
        for portion in portions(&records, db.most_bytes(), |record| record) {
            let jobs: Vec<_> = jobs.by_ref().take(portion.len()).collect();
            let members = jobs.iter().map(Job::id).collect();
            let mut row = LeaseRow::new(self.claim.worker, members, now, self.claim.ttl);
            leases::insert(db, &mut row, portion).await?;
            handed_out.extend(jobs.into_iter().map(|job| (row.lease(&job), job)));
        }
        self.put_in_order(&mut handed_out);
        Ok(handed_out)
    }

    /// Queues in the order asked, then priority, due time and id (P6).
    fn put_in_order(&self, jobs: &mut [(Lease, Job)]) {
        let ranks: HashMap<_, _> =
            self.claim.queues.iter().enumerate().map(|(rank, wish)| (&wish.queue, rank)).collect();
        let order = |(_, job): &(Lease, Job)| {
            let rank = ranks.get(&job.spec.queue).copied();
            (rank, Reverse(job.spec.priority), job.due, job.id())
        };
        jobs.sort_unstable_by_key(order);
    }
}
