//! A store with threads of its own, asked in such a way that a simulation can be replayed.

use std::fmt;
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use async_trait::async_trait;
use taskwright::backend::{
    Backend, Cancel, Cancelled, Change, Changed, Claim, Claimed, Extend, Extended, Fetched, Info, Inspect, JobFilter,
    KeptOutcome, Leader, Ledger, LimitSource, LimitStats, Limiter, Push, Pushed, QueueStats, Reap, Reaped, Results,
    Retention, Settled, Settlement, Term, Transaction, Wake, WorkerStats,
};
use taskwright::job::{Allowance, Job, JobId, Name, WorkerId};
use taskwright::{Error, ErrorKind, Result};
use tokio::runtime::Runtime;

/// Each call runs on another runtime, and the simulation stands still until it is answered.
///
/// So every call is one step of the simulation, takes none of its time, and always comes before whatever comes after.
/// There are no hints, which would come when they like.
pub(crate) struct Aside(Arc<dyn Backend>);

static RUNTIME: LazyLock<std::io::Result<Runtime>> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build());

impl Aside {
    /// Opens a store there.
    pub(crate) fn open<B: Backend>(opening: impl Future<Output = Result<B>> + Send + 'static) -> Result<Self> {
        wait_for(opening).map(|store| Self(Arc::new(store)))
    }

    fn ask<T, F>(&self, call: impl FnOnce(Arc<dyn Backend>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        wait_for(call(Arc::clone(&self.0)))
    }
}

/// Stands still until the call is answered.
fn wait_for<T: Send + 'static>(call: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let runtime = RUNTIME.as_ref().map_err(|error| Error::unavailable(error.to_string()))?;
    let (answer, answered) = mpsc::sync_channel(1);
    // Whoever asks waits for it, so it is always taken.
    runtime.spawn(async move { answer.send(call.await) });
    answered.recv().unwrap_or_else(|_| Err(Error::unavailable("the store panicked")))
}

fn facet<T>(found: Option<T>) -> Result<T> {
    found.ok_or_else(|| Error::new(ErrorKind::Unsupported, "the store under this one lacks the facet"))
}

impl fmt::Debug for Aside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Aside").field(&self.0).finish()
    }
}

#[async_trait]
impl Backend for Aside {
    fn info(&self) -> &Info {
        self.0.info()
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        let push = push.clone();
        self.ask(|store| async move { store.push(&push).await })
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        let claim = claim.clone();
        self.ask(|store| async move { store.claim(&claim).await })
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        let extend = extend.clone();
        self.ask(|store| async move { store.extend(&extend).await })
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let settlements = settlements.to_vec();
        self.ask(|store| async move { store.settle(&settlements).await })
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        let cancel = cancel.clone();
        self.ask(|store| async move { store.cancel(&cancel).await })
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        let reap = *reap;
        self.ask(|store| async move { store.reap(&reap).await })
    }

    async fn close(&self) -> Result<()> {
        self.ask(|store| async move { store.close().await })
    }

    fn results(&self) -> Option<&dyn Results> {
        self.0.results().map(|_| self as &dyn Results)
    }

    fn wake(&self) -> Option<&dyn Wake> {
        None
    }

    fn leader(&self) -> Option<&dyn Leader> {
        self.0.leader().map(|_| self as &dyn Leader)
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        self.0.inspect().map(|_| self as &dyn Inspect)
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        self.0.limiter().map(|_| self as &dyn Limiter)
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        None
    }

    fn transaction(&self) -> Option<&dyn Transaction> {
        None
    }
}

#[async_trait]
impl Results for Aside {
    async fn keep(&self, outcomes: &[KeptOutcome]) -> Result<()> {
        let outcomes = outcomes.to_vec();
        self.ask(|store| async move { facet(store.results())?.keep(&outcomes).await })
    }

    async fn fetch(&self, ids: &[JobId]) -> Result<Vec<Fetched>> {
        let ids = ids.to_vec();
        self.ask(|store| async move { facet(store.results())?.fetch(&ids).await })
    }
}

#[async_trait]
impl Leader for Aside {
    async fn campaign(&self, role: &Name, worker: WorkerId, ttl: Duration) -> Result<Option<Term>> {
        let role = role.clone();
        self.ask(|store| async move { facet(store.leader())?.campaign(&role, worker, ttl).await })
    }

    async fn resign(&self, role: &Name, worker: WorkerId) -> Result<()> {
        let role = role.clone();
        self.ask(|store| async move { facet(store.leader())?.resign(&role, worker).await })
    }
}

#[async_trait]
impl Inspect for Aside {
    async fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize) -> Result<Vec<Job>> {
        let filter = filter.clone();
        self.ask(|store| async move { facet(store.inspect())?.list(&filter, after, limit).await })
    }

    async fn queues(&self) -> Result<Vec<QueueStats>> {
        self.ask(|store| async move { facet(store.inspect())?.queues().await })
    }

    async fn workers(&self) -> Result<Vec<WorkerStats>> {
        self.ask(|store| async move { facet(store.inspect())?.workers().await })
    }

    async fn change(&self, change: &Change, filter: &JobFilter, limit: usize) -> Result<Changed> {
        let (change, filter) = (change.clone(), filter.clone());
        self.ask(|store| async move { facet(store.inspect())?.change(&change, &filter, limit).await })
    }

    async fn pause(&self, queue: &Name, paused: bool) -> Result<()> {
        let queue = queue.clone();
        self.ask(|store| async move { facet(store.inspect())?.pause(&queue, paused).await })
    }

    async fn prune(&self, retention: &Retention, limit: usize) -> Result<Changed> {
        let retention = *retention;
        self.ask(|store| async move { facet(store.inspect())?.prune(&retention, limit).await })
    }

    async fn deregister(&self, worker: WorkerId) -> Result<()> {
        self.ask(|store| async move { facet(store.inspect())?.deregister(worker).await })
    }
}

#[async_trait]
impl Limiter for Aside {
    async fn limits(&self, after: Option<&str>, limit: usize) -> Result<Vec<LimitStats>> {
        let after = after.map(str::to_owned);
        self.ask(|store| async move { facet(store.limiter())?.limits(after.as_deref(), limit).await })
    }

    async fn set_limit(&self, key: &str, source: LimitSource, allowance: Allowance) -> Result<()> {
        let key = key.to_owned();
        self.ask(|store| async move { facet(store.limiter())?.set_limit(&key, source, allowance).await })
    }
}
