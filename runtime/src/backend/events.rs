//! A backend whose hints go through another one, which is better at it.
//!
//! A hint is sent after what it is about is durable, and by a task of its own, so that nobody waits for it: the backend
//! of the hints may be slow or away, and what it does not tell is found by polling.
//! What is pushed, or completed, in a transaction of the caller's or of a task is told by nobody, since only they know
//! when it is committed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{
    Backend, Cancel, Cancelled, Change, Changed, Claim, Claimed, Extend, Extended, Fetched, Hint, Info, Inspect,
    JobFilter, KeptOutcome, Leader, Ledger, LimitSource, LimitStats, Limiter, Push, Pushed, QueueStats, Reap, Reaped,
    Results, Retention, Settled, Settlement, Transaction, Wake, WorkerStats,
};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Allowance, Job, JobId, Name, WorkerId};
use crate::policy::Verdict;

/// How many batches of hints wait to be sent; what comes then is found by polling.
const MOST_PENDING: usize = 256;

/// How long sending a batch of hints may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A backend of jobs and, beside it, one of hints.
#[derive(Debug)]
pub struct EventsApart {
    info: Info,
    jobs: Arc<dyn Backend>,
    events: Arc<dyn Backend>,
    /// Hints on their way. Gone once this is closed; held to copy or to take it, never across an await.
    sender: Mutex<Option<mpsc::Sender<Vec<Hint>>>>,
    /// The task that sends them, so that closing can wait for it.
    sending: Mutex<Option<JoinHandle<()>>>,
}

impl EventsApart {
    /// Sends the hints of `jobs` through `events`. Must be called inside a tokio runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> taskwright::Result<()> {
    /// use std::sync::Arc;
    /// use taskwright::backend::EventsApart;
    /// use taskwright::backend::memory::Memory;
    ///
    /// let backend = EventsApart::new(Arc::new(Memory::new()), Arc::new(Memory::new()))?;
    /// let client = taskwright::Client::builder().build(Arc::new(backend));
    /// # client.close().await
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] when `events` has no hints.
    pub fn new(jobs: Arc<dyn Backend>, events: Arc<dyn Backend>) -> Result<Self> {
        if events.wake().is_none() {
            let message = format!("{} brings no hints, so not those of another backend", events.info().name);
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let (own, others) = (jobs.info(), events.info());
        let info = Info { location: format!("{} with events in {}", own.location, others.location), ..own.clone() };
        let (sender, pending) = mpsc::channel(MOST_PENDING);
        let sending = Mutex::new(Some(tokio::spawn(send(Arc::clone(&events), pending))));
        Ok(Self { info, jobs, events, sender: Mutex::new(Some(sender)), sending })
    }

    fn tell(&self, hints: Vec<Hint>) {
        if hints.is_empty() {
            return;
        }
        if let Some(sender) = &*self.sender.lock().unwrap_or_else(PoisonError::into_inner) {
            // Where too many wait already, polling finds it.
            let _ = sender.try_send(hints);
        }
    }
}

/// Sends hints until there will be no more; what comes meanwhile goes together.
async fn send(events: Arc<dyn Backend>, mut pending: mpsc::Receiver<Vec<Hint>>) {
    let mut batches = Vec::new();
    while pending.recv_many(&mut batches, MOST_PENDING).await > 0 {
        let mut hints = Vec::new();
        for hint in batches.drain(..).flatten() {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        let Some(wake) = events.wake() else { return };
        // Who is not told will look.
        let _ = tokio::time::timeout(PATIENCE, wake.tell(&hints)).await;
    }
}

/// A facet of the backend of the jobs. Ours is only given out where that one has it.
fn facet<T>(found: Option<T>) -> Result<T> {
    found.ok_or_else(|| Error::new(ErrorKind::Unsupported, "the backend of the jobs lacks the facet"))
}

fn news_of(settlement: &Settlement, hints: &mut Vec<Hint>) {
    let jobs = || Hint::Jobs(settlement.job.spec.queue.clone());
    match settlement.verdict {
        Verdict::Return { .. } => hints.push(jobs()),
        // It may have been the last attempt.
        Verdict::Retry { .. } => hints.extend([jobs(), Hint::Outcomes]),
        _ => hints.push(Hint::Outcomes),
    }
    if !settlement.job.spec.limits.is_empty() {
        // Its slot is free, for which jobs of any queue may wait.
        hints.push(Hint::Everything);
    }
}

#[async_trait]
impl Backend for EventsApart {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        let pushed = self.jobs.push(push).await?;
        let mut hints = Vec::new();
        for job in &push.jobs {
            let hint = Hint::Jobs(job.spec.queue.clone());
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        self.tell(hints);
        Ok(pushed)
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        self.jobs.claim(claim).await
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        self.jobs.extend(extend).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let settled = self.jobs.settle(settlements).await?;
        let mut hints = Vec::new();
        for settlement in settlements {
            news_of(settlement, &mut hints);
        }
        self.tell(hints);
        Ok(settled)
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        let cancelled = self.jobs.cancel(cancel).await?;
        if !cancel.ids.is_empty() {
            self.tell(vec![Hint::Outcomes, Hint::Control]);
        }
        Ok(cancelled)
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        let reaped = self.jobs.reap(reap).await?;
        if reaped.returned + reaped.discarded + reaped.expired > 0 {
            self.tell(vec![Hint::Everything]);
        }
        Ok(reaped)
    }

    async fn close(&self) -> Result<()> {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
        let sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sending) = sending {
            // It ends once all is sent; whoever aborted it needs no hints.
            let _ = sending.await;
        }
        self.jobs.close().await?;
        self.events.close().await
    }

    fn results(&self) -> Option<&dyn Results> {
        self.jobs.results().map(|_| self as &dyn Results)
    }

    fn wake(&self) -> Option<&dyn Wake> {
        self.events.wake()
    }

    fn leader(&self) -> Option<&dyn Leader> {
        self.jobs.leader()
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        self.jobs.inspect().map(|_| self as &dyn Inspect)
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        self.jobs.limiter().map(|_| self as &dyn Limiter)
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        self.jobs.ledger()
    }

    fn transaction(&self) -> Option<&dyn Transaction> {
        self.jobs.transaction()
    }
}

#[async_trait]
impl Results for EventsApart {
    async fn keep(&self, outcomes: &[KeptOutcome]) -> Result<()> {
        facet(self.jobs.results())?.keep(outcomes).await?;
        self.tell(vec![Hint::Outcomes]);
        Ok(())
    }

    async fn fetch(&self, ids: &[JobId]) -> Result<Vec<Fetched>> {
        facet(self.jobs.results())?.fetch(ids).await
    }
}

#[async_trait]
impl Inspect for EventsApart {
    async fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize) -> Result<Vec<Job>> {
        facet(self.jobs.inspect())?.list(filter, after, limit).await
    }

    async fn queues(&self) -> Result<Vec<QueueStats>> {
        facet(self.jobs.inspect())?.queues().await
    }

    async fn workers(&self) -> Result<Vec<WorkerStats>> {
        facet(self.jobs.inspect())?.workers().await
    }

    async fn change(&self, change: &Change, filter: &JobFilter, limit: usize) -> Result<Changed> {
        let changed = facet(self.jobs.inspect())?.change(change, filter, limit).await?;
        if changed.count > 0 {
            self.tell(vec![Hint::Everything]);
        }
        Ok(changed)
    }

    async fn pause(&self, queue: &Name, paused: bool) -> Result<()> {
        facet(self.jobs.inspect())?.pause(queue, paused).await?;
        self.tell(vec![Hint::Control, Hint::Jobs(queue.clone())]);
        Ok(())
    }

    async fn prune(&self, retention: &Retention, limit: usize) -> Result<Changed> {
        facet(self.jobs.inspect())?.prune(retention, limit).await
    }

    async fn deregister(&self, worker: WorkerId) -> Result<()> {
        facet(self.jobs.inspect())?.deregister(worker).await
    }
}

#[async_trait]
impl Limiter for EventsApart {
    async fn limits(&self, after: Option<&str>, limit: usize) -> Result<Vec<LimitStats>> {
        facet(self.jobs.limiter())?.limits(after, limit).await
    }

    async fn set_limit(&self, key: &str, source: LimitSource, allowance: Allowance) -> Result<()> {
        facet(self.jobs.limiter())?.set_limit(key, source, allowance).await?;
        self.tell(vec![Hint::Everything]);
        Ok(())
    }
}
