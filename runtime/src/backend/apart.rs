//! A backend whose results are kept apart, in another one.
//!
//! # What is written when
//!
//! - Jobs in a **store**, which can be asked about them: how an attempt ended is kept first, and then the job is settled
//!   without its result. The store of the jobs says where a job stands; what it returned lies with the results.
//!   What completes in a transaction of its own task leaves its result there, so that both stay one commit.
//! - Jobs on a **carrier**, which can't be asked: a job is marked as pending before it is sent, and its outcome is kept
//!   before its message is acknowledged. The carrier does both by its [`Keeper`], since it alone knows which leases are
//!   alive, and ends some jobs by itself.
//!
//! While the results are away nothing is settled as done, and whoever settles tries again.
//! When the jobs are away after an outcome was kept, the job runs again: the outcome of the later attempt stands, and
//! keeping one twice changes nothing.

use std::sync::Arc;

use async_trait::async_trait;

use super::keeper::{Keeper, in_results};
use super::listeners::Both;
use super::{
    Backend, Cancel, Cancelled, Change, Changed, Claim, Claimed, Extend, Extended, Fetched, Hint, Info, Inspect,
    JobFilter, KeptOutcome, Leader, Ledger, Limiter, Listener, Push, Pushed, QueueStats, Reap, Reaped, Results,
    Retention, Settled, Settlement, Transaction, Wake, WorkerStats,
};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Job, JobId, Name, State, WorkerId};
use crate::policy::{Placement, Verdict, state};
use crate::time::Timestamp;

/// A backend of jobs and, beside it, one of their results.
#[derive(Debug)]
pub struct ResultsApart {
    info: Info,
    jobs: Arc<dyn Backend>,
    keeper: Keeper,
    /// Whether nobody can ask for the jobs where they lie, so that the results say all that is known of them.
    carried: bool,
}

impl ResultsApart {
    /// Keeps the results of a store of jobs apart.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> taskwright::Result<()> {
    /// use std::sync::Arc;
    /// use taskwright::backend::memory::Memory;
    /// use taskwright::backend::{Keeper, ResultsApart};
    ///
    /// let keeper = Keeper::new(Arc::new(Memory::new()))?;
    /// let backend = ResultsApart::of_store(Arc::new(Memory::new()), keeper);
    /// let client = taskwright::Client::builder().build(Arc::new(backend));
    /// # client.close().await
    /// # }
    /// ```
    #[must_use]
    pub fn of_store(jobs: Arc<dyn Backend>, keeper: Keeper) -> Self {
        Self { info: info(jobs.info(), keeper.store().info()), jobs, keeper, carried: false }
    }

    /// Offers the results of a carrier, which keeps them by this same keeper.
    #[must_use]
    pub fn of_carrier(jobs: Arc<dyn Backend>, keeper: Keeper) -> Self {
        Self { carried: true, ..Self::of_store(jobs, keeper) }
    }

    fn results_of_jobs(&self) -> Result<&dyn Results> {
        facet(self.jobs.results())
    }
}

fn info(jobs: &Info, results: &Info) -> Info {
    let warnings = results.warnings.iter().map(|warning| format!("results: {warning}"));
    let mut info = Info {
        location: format!("{} with results in {}", jobs.location, results.location),
        durability: format!("{}; results: {}", jobs.durability, results.durability),
        warnings: jobs.warnings.iter().cloned().chain(warnings).collect(),
        ..jobs.clone()
    };
    info.limits.max_payload = jobs.limits.max_payload.min(results.limits.max_payload);
    info
}

/// A facet of the backend of the jobs. Ours is only given out where that one has it.
fn facet<T>(found: Option<T>) -> Result<T> {
    found.ok_or_else(|| Error::new(ErrorKind::Unsupported, "the backend of the jobs lacks the facet"))
}

/// The job as an attempt leaves it, if that has ended it in a way that is kept.
fn ended(settlement: &Settlement, now: Timestamp) -> Option<Job> {
    let mut job = settlement.job.clone();
    let placement = state::settle(&mut job, &settlement.verdict, now);
    matches!(placement, Placement::Finished { .. }).then_some(job)
}

fn without_result(settlement: &Settlement) -> Settlement {
    let mut settlement = settlement.clone();
    if let Verdict::Complete { result } = &mut settlement.verdict {
        *result = None;
    }
    settlement
}

#[async_trait]
impl Backend for ResultsApart {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        self.jobs.push(push).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        self.jobs.claim(claim).await
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        self.jobs.extend(extend).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        if self.carried {
            return self.jobs.settle(settlements).await;
        }
        let now = Timestamp::now();
        let ended: Vec<_> = settlements.iter().filter_map(|settlement| ended(settlement, now)).collect();
        self.keeper.settle(&ended, now).await?;
        self.jobs.settle(&settlements.iter().map(without_result).collect::<Vec<_>>()).await
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        self.jobs.cancel(cancel).await
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        let reaped = self.jobs.reap(reap).await?;
        self.keeper.tidy().await;
        Ok(reaped)
    }

    async fn close(&self) -> Result<()> {
        self.jobs.close().await?;
        self.keeper.store().close().await
    }

    fn results(&self) -> Option<&dyn Results> {
        Some(self)
    }

    fn wake(&self) -> Option<&dyn Wake> {
        if self.carried { Some(self) } else { self.jobs.wake() }
    }

    fn leader(&self) -> Option<&dyn Leader> {
        self.jobs.leader()
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        self.jobs.inspect().map(|_| self as &dyn Inspect)
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        self.jobs.limiter()
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        self.jobs.ledger()
    }

    fn transaction(&self) -> Option<&dyn Transaction> {
        self.jobs.transaction()
    }
}

#[async_trait]
impl Results for ResultsApart {
    async fn keep(&self, outcomes: &[KeptOutcome]) -> Result<()> {
        self.keeper.results()?.keep(outcomes).await.map_err(in_results)
    }

    async fn fetch(&self, ids: &[JobId]) -> Result<Vec<Fetched>> {
        if self.carried {
            return self.fetch_kept(ids).await;
        }
        let mut fetched = self.results_of_jobs()?.fetch(ids).await?;
        let places: Vec<_> = (0..fetched.len().min(ids.len())).filter(|place| lies_apart(&fetched[*place])).collect();
        let apart: Vec<_> = places.iter().map(|place| ids[*place]).collect();
        for (place, kept) in places.into_iter().zip(self.fetch_kept(&apart).await?) {
            add(&mut fetched[place], kept);
        }
        Ok(fetched)
    }
}

/// Whether the results may know more of a job than the store of the jobs does.
fn lies_apart(fetched: &Fetched) -> bool {
    match fetched {
        Fetched::Finished(outcome) => outcome.state == State::Completed && outcome.result.is_none(),
        Fetched::Absent => true,
        Fetched::Pending { .. } | Fetched::Expired => false,
    }
}

/// Adds what the results know to what the store of the jobs says.
fn add(fetched: &mut Fetched, kept: Fetched) {
    match (fetched, kept) {
        // Of another attempt is what a worker kept that came too late.
        (Fetched::Finished(outcome), Fetched::Finished(kept)) if kept.attempt == outcome.attempt => {
            outcome.result = kept.result;
        }
        (fetched @ Fetched::Finished(_), Fetched::Expired) => *fetched = Fetched::Expired,
        (fetched @ Fetched::Absent, kept) => *fetched = kept,
        _ => {}
    }
}

impl ResultsApart {
    async fn fetch_kept(&self, ids: &[JobId]) -> Result<Vec<Fetched>> {
        self.keeper.results()?.fetch(ids).await.map_err(in_results)
    }
}

#[async_trait]
impl Wake for ResultsApart {
    async fn listen(&self) -> Result<Box<dyn Listener>> {
        let of_jobs = match self.jobs.wake() {
            Some(wake) => Some(wake.listen().await?),
            None => None,
        };
        let of_results: Option<Box<dyn Listener>> = match self.keeper.store().wake() {
            Some(wake) => Some(Box::new(Outcomes(wake.listen().await.map_err(in_results)?))),
            None => None,
        };
        Ok(Box::new(Both { first: of_jobs, second: of_results }))
    }

    async fn tell(&self, hints: &[Hint]) -> Result<()> {
        facet(self.jobs.wake())?.tell(hints).await
    }
}

/// Hears of outcomes alone: other jobs that lie with the results are nobody's business here.
struct Outcomes(Box<dyn Listener>);

#[async_trait]
impl Listener for Outcomes {
    async fn next(&mut self) -> Result<Hint> {
        loop {
            if matches!(self.0.next().await?, Hint::Outcomes | Hint::Everything) {
                return Ok(Hint::Outcomes);
            }
        }
    }
}

impl ResultsApart {
    fn inspect_of_jobs(&self) -> Result<&dyn Inspect> {
        facet(self.jobs.inspect())
    }
}

#[async_trait]
impl Inspect for ResultsApart {
    async fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize) -> Result<Vec<Job>> {
        let mut jobs = self.inspect_of_jobs()?.list(filter, after, limit).await?;
        let lies_apart =
            |job: &&mut Job| job.state == State::Completed && job.result.is_none() && job.spec.keep_result.is_some();
        let mut apart: Vec<_> = jobs.iter_mut().filter(lies_apart).collect();
        let ids: Vec<_> = apart.iter().map(|job| job.id()).collect();
        for (job, kept) in apart.iter_mut().zip(self.fetch_kept(&ids).await?) {
            match kept {
                Fetched::Finished(kept) if kept.attempt == job.attempt => job.result = kept.result,
                _ => {}
            }
        }
        Ok(jobs)
    }

    async fn queues(&self) -> Result<Vec<QueueStats>> {
        self.inspect_of_jobs()?.queues().await
    }

    async fn workers(&self) -> Result<Vec<WorkerStats>> {
        self.inspect_of_jobs()?.workers().await
    }

    async fn change(&self, change: &Change, filter: &JobFilter, limit: usize) -> Result<Changed> {
        match change {
            Change::Delete => self.delete(filter, limit).await,
            Change::Retry | Change::Cancel { .. } => self.inspect_of_jobs()?.change(change, filter, limit).await,
        }
    }

    async fn pause(&self, queue: &Name, paused: bool) -> Result<()> {
        self.inspect_of_jobs()?.pause(queue, paused).await
    }

    async fn prune(&self, retention: &Retention, limit: usize) -> Result<Changed> {
        let pruned = self.inspect_of_jobs()?.prune(retention, limit).await?;
        // Not counted: the jobs are those of the other store.
        self.keeper.prune(retention.expired_result, limit).await?;
        Ok(pruned)
    }

    async fn deregister(&self, worker: WorkerId) -> Result<()> {
        self.inspect_of_jobs()?.deregister(worker).await
    }
}

impl ResultsApart {
    /// Deletes jobs that are known by their ids, so that what is kept of them can be forgotten.
    async fn delete(&self, filter: &JobFilter, limit: usize) -> Result<Changed> {
        let inspect = self.inspect_of_jobs()?;
        let mut states = filter.states.clone();
        if states.is_empty() {
            states = State::ALL.to_vec();
        }
        states.retain(|state| *state != State::Running);
        if states.is_empty() {
            return Ok(Changed::default());
        }
        let mut jobs = inspect.list(&JobFilter { states, ..filter.clone() }, None, limit.saturating_add(1)).await?;
        let more = jobs.len() > limit;
        jobs.truncate(limit);
        if jobs.is_empty() {
            return Ok(Changed { count: 0, more });
        }
        let these = JobFilter { ids: jobs.iter().map(Job::id).collect(), ..filter.clone() };
        let deleted = inspect.change(&Change::Delete, &these, limit).await?;
        self.keeper.forget(&jobs).await?;
        Ok(Changed { more, ..deleted })
    }
}
