//! Handing out jobs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::floors::Experience;
use super::lanes;
use super::lease::{LeaseRow, claimed};
use super::moves::Moves;
use super::news::News;
use super::record::Record;
use super::tables::{Pool, Tables, Terms, portions};
use super::turns::{Turns, holds};
use super::work::{Isolation, Store, Work};
use super::{leases, places};
use crate::backend::{Claim, Claimed, Ledger};
use crate::error::Result;
use crate::job::{Job, JobId, Lease, Name};
use crate::policy::limits::queue_key;
use crate::policy::order;
use crate::time::Timestamp;

/// One claim.
pub(super) struct ClaimWork {
    claim: Claim,
    /// What the handle's claims have met.
    experience: Arc<Experience>,
}

/// A claim of jobs that were carried here.
struct TakeWork {
    claim: ClaimWork,
    ids: Vec<JobId>,
}

impl ClaimWork {
    pub(super) fn new(claim: &Claim, experience: &Arc<Experience>) -> Self {
        Self { claim: claim.clone(), experience: Arc::clone(experience) }
    }
}

#[async_trait]
impl<Database: Store> Ledger for Database {
    async fn take(&self, claim: &Claim, ids: &[JobId]) -> Result<Vec<(Lease, Job)>> {
        self.write(TakeWork { claim: ClaimWork::new(claim, self.experience()), ids: ids.to_vec() }).await
    }
}

#[async_trait]
impl Work for TakeWork {
    type Answer = Vec<(Lease, Job)>;
    const DURABLE: bool = true;
    // Jobs that others take at this moment are passed over.
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<Self::Answer> {
        let due = places::due(db, &self.ids, &self.claim.claim.unknown, now).await?;
        let records = places::take_waiting(db, &due).await?;
        self.claim.lease(db, records, &HashSet::new(), now, news).await
    }
}

#[async_trait]
impl Work for ClaimWork {
    type Answer = Claimed;
    const DURABLE: bool = false;
    // Jobs that others take at this moment are passed over.
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    /// Claims of a backlog that run beside each other each walk past what the others have locked, so they take turns.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn line(&self) -> Option<&str> {
        let first = self.claim.queues.first().filter(|_| self.experience.took_many())?;
        Some(first.queue.as_str())
    }

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<Claimed> {
        if self.claim.queues.is_empty() {
            return Ok(Claimed::default());
        }
        let queues: Vec<_> = self.claim.queues.iter().map(|wish| wish.queue.as_str()).collect();
        let keys: Vec<_> = self.claim.queues.iter().map(|wish| queue_key(&wish.queue)).collect();
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        let claim = self.claim.clone();
        let terms = Terms { unknown: &claim.unknown, now, aging: claim.aging, floors: &[] };
        if !self.experience.met_limits()
            && let Some(claimed) = self.take_plainly(db, &queues, &keys, terms, news).await?
        {
            return Ok(claimed);
        }
        // What has limits takes turns by their rows.
        self.experience.took(0);
        let look = lanes::look(db, &queues, &keys).await?;
        self.experience.meets_limits(!look.is_plain(now));
        if look.arrivals {
            lanes::arrive(db, &queues).await?;
        }
        let mut turns = Turns::new(&look, &self.claim, now);
        turns.take(db, &self.claim).await?;
        let Turns { records, open, wait, .. } = turns;
        let jobs = self.lease(db, records, &look.limited, now, news).await?;
        if wait.is_some_and(|wait| wait.is_zero()) {
            return Ok(Claimed { jobs, next_due: wait });
        }
        let open: Vec<_> = open.iter().map(Name::as_str).collect();
        let mut dues = Vec::new();
        if !open.is_empty() {
            dues.extend(db.next_due(Pool::Free, &open, &[], terms).await?.into_iter().map(|(_, due)| due));
        }
        // Lanes of unknown tasks stay in line for others, and are no reason to ask again.
        let after = (!terms.unknown.is_empty()).then_some(now);
        dues.extend(lanes::next_turn(db, &open, after).await?);
        let next_due = dues.into_iter().min().map(|due| due.since(now));
        Ok(Claimed { jobs, next_due: next_due.into_iter().chain(wait).min() })
    }
}

impl ClaimWork {
    /// Takes jobs of queues of which no limit is to be looked at, which the statements see for themselves; `None` where
    /// one may be.
    async fn take_plainly<Db: Tables>(
        &self,
        db: &mut Db,
        queues: &[&str],
        keys: &[&str],
        terms: Terms<'_>,
        news: &mut News,
    ) -> Result<Option<Claimed>> {
        let (limit, now) = (self.claim.limit, terms.now);
        let wishes: Vec<_> = self.claim.queues.iter().map(|wish| (wish.queue.as_str(), wish.limit)).collect();
        let floors = self.experience.floors().of(&wishes);
        let terms = Terms { floors: &floors, ..terms };
        let began = Instant::now();
        let records = db.take_due(Pool::Free, &wishes, keys, limit, terms).await?;
        self.experience.took(records.len());
        let taken = records.iter().map(|job| (job.queue.as_str(), job.priority, Timestamp::from_micros(job.due)));
        // What a worker leaves to others since it does not know its task lies there still.
        if terms.unknown.is_empty() {
            self.experience.floors().took(&wishes, limit, &taken, now);
        }
        let jobs = self.lease(db, records, &HashSet::new(), now, news).await?;
        if self.experience.floors().counts(jobs.len()) {
            let taken = self.experience.floors().taken();
            let dead = db.dead_rows(taken).await?;
            self.experience.floors().are_dead(dead);
        }
        // A claim that got all that it asked for is followed by another one anyway.
        let is_full = jobs.len() >= limit && !jobs.is_empty();
        let next_due = if is_full {
            Some(now)
        } else {
            db.next_due(Pool::Free, queues, keys, terms).await?.into_iter().map(|(_, due)| due).min()
        };
        if floors.is_empty() {
            self.experience.floors().looked_at_everything(began.elapsed());
        }
        if jobs.is_empty() && limit > 0 && next_due.is_some_and(|due| due <= now) {
            return Ok(None);
        }
        let everything = self.experience.floors().spared();
        let next_due = next_due.map(|due| due.since(now)).into_iter().chain(everything).min();
        Ok(Some(Claimed { jobs, next_due }))
    }

    /// Packs the jobs into a lease and hands them out in order; what can't be read is set aside.
    async fn lease<Db: Tables>(
        &self,
        db: &mut Db,
        mut records: Vec<Record>,
        limited: &HashSet<String>,
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
                moves.claimed(&job);
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
        places::write(db, &moves, now).await?;
        news.append(moves.news);
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let mut handed_out = Vec::with_capacity(jobs.len());
        let mut jobs = jobs.into_iter();
        // One lease mostly; more where the jobs are larger than what a column or a message holds.
        for portion in portions(&records, db.most_bytes(), Record::size) {
            let jobs: Vec<_> = jobs.by_ref().take(portion.len()).collect();
            let held = holds(limited, &jobs);
            let members = jobs.iter().map(Job::id).collect();
            let mut row = LeaseRow::new(self.claim.worker, members, now, self.claim.ttl);
            leases::insert(db, &mut row, portion, &held).await?;
            handed_out.extend(jobs.into_iter().map(|job| (row.lease(&job), job)));
        }
        self.put_in_order(&mut handed_out);
        Ok(handed_out)
    }

    /// Queues in the order asked, and the jobs of each in the order of claims (P6).
    fn put_in_order(&self, jobs: &mut [(Lease, Job)]) {
        let ranks: HashMap<_, _> =
            self.claim.queues.iter().enumerate().map(|(rank, wish)| (&wish.queue, rank)).collect();
        let order = |(_, job): &(Lease, Job)| {
            let rank = ranks.get(&job.spec.queue).copied();
            (rank, order::place(job, self.claim.aging))
        };
        jobs.sort_unstable_by_key(order);
    }
}
