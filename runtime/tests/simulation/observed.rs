//! A store whose every call and answer is written into the ledger, and whose clock follows tokio's paused time.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use taskwright::backend::{
    Backend, Cancel, Cancelled, Change, Changed, Claim, Claimed, Extend, Extended, Fetched, Hint, Info, Inspect,
    JobFilter, KeptOutcome, Leader, Ledger as Record, LimitSource, LimitStats, Limiter, Listener, Push, Pushed,
    QueueStats, Reap, Reaped, Results, Retention, Settled, Settlement, Term, Transaction, Wake, WorkerStats,
};
use taskwright::job::{Allowance, Job, JobId, Name, WorkerId};
use taskwright::time::Clock;
use taskwright::{Error, ErrorKind, Result, Timestamp};
use tokio::time::Instant;

use crate::ledger::Ledger;

/// The store that is looked at.
pub(crate) struct Observed {
    store: Arc<dyn Backend>,
    /// The store's clock. It stands still but for what is added here, and for the jumps of the faults.
    clock: Clock,
    began: Instant,
    /// How much of tokio's time the clock has been told.
    told: Mutex<Duration>,
    ledger: Mutex<Ledger>,
}

impl Observed {
    pub(crate) fn new(store: Arc<dyn Backend>, clock: &Clock) -> Self {
        let ledger = Mutex::new(Ledger::new(clock.now()));
        Self { store, clock: clock.clone(), began: Instant::now(), told: Mutex::default(), ledger }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store's time.
    pub(crate) fn now(&self) -> Timestamp {
        let elapsed = self.began.elapsed();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        self.clock.advance(elapsed.saturating_sub(*told));
        *told = elapsed;
        let now = self.clock.now();
        // Whatever the call is, the store may forget what has ended by then.
        self.ledger().seen(now);
        now
    }

    /// Writes down what an actor of the simulation does.
    pub(crate) fn note(&self, what: &str) {
        let now = self.now();
        self.ledger().note(now, what);
    }

    fn inspected(&self) -> Result<&dyn Inspect> {
        facet(self.store.inspect())
    }
}

impl fmt::Debug for Observed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("store", &self.store).finish_non_exhaustive()
    }
}

fn facet<T>(found: Option<T>) -> Result<T> {
    found.ok_or_else(|| Error::new(ErrorKind::Unsupported, "the store under this one lacks the facet"))
}

#[async_trait]
impl Backend for Observed {
    fn info(&self) -> &Info {
        self.store.info()
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        self.now();
        let answers = self.store.push(push).await?;
        // A twin takes its time before it stores, and others may move the clock meanwhile.
        let now = self.clock.now();
        self.ledger().pushed(push, &answers, now);
        Ok(answers)
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        let now = self.now();
        let claimed = self.store.claim(claim).await?;
        self.ledger().claimed(claim, &claimed.jobs, now);
        Ok(claimed)
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        let now = self.now();
        let extended = self.store.extend(extend).await?;
        self.ledger().extended(extend, &extended, now);
        Ok(extended)
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let now = self.now();
        let settled = self.store.settle(settlements).await?;
        self.ledger().settled(settlements, &settled, now);
        Ok(settled)
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        let now = self.now();
        let cancelled = self.store.cancel(cancel).await?;
        self.ledger().cancelled(cancel, &cancelled, now);
        Ok(cancelled)
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        let now = self.now();
        let reaped = self.store.reap(reap).await?;
        self.ledger().reaped(reap, &reaped, now);
        Ok(reaped)
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }

    fn results(&self) -> Option<&dyn Results> {
        self.store.results().map(|_| self as &dyn Results)
    }

    fn wake(&self) -> Option<&dyn Wake> {
        self.store.wake().map(|_| self as &dyn Wake)
    }

    fn leader(&self) -> Option<&dyn Leader> {
        self.store.leader().map(|_| self as &dyn Leader)
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        self.store.inspect().map(|_| self as &dyn Inspect)
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        self.store.limiter().map(|_| self as &dyn Limiter)
    }

    fn ledger(&self) -> Option<&dyn Record> {
        self.store.ledger()
    }

    fn transaction(&self) -> Option<&dyn Transaction> {
        self.store.transaction()
    }
}

#[async_trait]
impl Results for Observed {
    async fn keep(&self, outcomes: &[KeptOutcome]) -> Result<()> {
        self.now();
        facet(self.store.results())?.keep(outcomes).await
    }

    async fn fetch(&self, ids: &[JobId]) -> Result<Vec<Fetched>> {
        self.now();
        facet(self.store.results())?.fetch(ids).await
    }
}

#[async_trait]
impl Wake for Observed {
    async fn listen(&self) -> Result<Box<dyn Listener>> {
        facet(self.store.wake())?.listen().await
    }

    async fn tell(&self, hints: &[Hint]) -> Result<()> {
        facet(self.store.wake())?.tell(hints).await
    }
}

#[async_trait]
impl Leader for Observed {
    async fn campaign(&self, role: &Name, worker: WorkerId, ttl: Duration) -> Result<Option<Term>> {
        self.now();
        facet(self.store.leader())?.campaign(role, worker, ttl).await
    }

    async fn resign(&self, role: &Name, worker: WorkerId) -> Result<()> {
        self.now();
        facet(self.store.leader())?.resign(role, worker).await
    }
}

#[async_trait]
impl Inspect for Observed {
    async fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize) -> Result<Vec<Job>> {
        self.now();
        self.inspected()?.list(filter, after, limit).await
    }

    async fn queues(&self) -> Result<Vec<QueueStats>> {
        self.now();
        self.inspected()?.queues().await
    }

    async fn workers(&self) -> Result<Vec<WorkerStats>> {
        self.now();
        self.inspected()?.workers().await
    }

    async fn change(&self, change: &Change, filter: &JobFilter, limit: usize) -> Result<Changed> {
        self.now();
        self.inspected()?.change(change, filter, limit).await
    }

    async fn pause(&self, queue: &Name, paused: bool) -> Result<()> {
        let now = self.now();
        self.inspected()?.pause(queue, paused).await?;
        self.ledger().paused(queue, paused, now);
        Ok(())
    }

    async fn prune(&self, retention: &Retention, limit: usize) -> Result<Changed> {
        self.now();
        self.inspected()?.prune(retention, limit).await
    }

    async fn deregister(&self, worker: WorkerId) -> Result<()> {
        self.now();
        self.inspected()?.deregister(worker).await
    }
}

#[async_trait]
impl Limiter for Observed {
    async fn limits(&self, after: Option<&str>, limit: usize) -> Result<Vec<LimitStats>> {
        self.now();
        facet(self.store.limiter())?.limits(after, limit).await
    }

    /// By hand alone: no worker of the simulation has limits in its configuration.
    async fn set_limit(&self, key: &str, source: LimitSource, allowance: Allowance) -> Result<()> {
        let now = self.now();
        facet(self.store.limiter())?.set_limit(key, source, allowance).await?;
        self.ledger().limited(key, allowance, now);
        Ok(())
    }
}
