//! A fresh store, a clock to move, and short words for what tests do with them.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::Draft;
use super::conformance::Ability;
use crate::backend::{
    Backend, Cancel, Cancelled, Claim, Extend, Extended, Fetched, InTransaction, Inspect, JobFilter, Leader, Ledger,
    Limiter, Push, Pushed, QueueClaim, Reap, Reaped, Renewal, Results, Settled, Settlement, Transaction, Wake,
    WorkerRecord,
};
use crate::codec::{Codec, Payload};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{BatchId, Failure, FailureKind, Job, JobId, Lease, Name, NewJob, Progress, WorkerId};
use crate::policy::Verdict;
use crate::policy::state::Return;
use crate::time::{Clock, Timestamp};

/// How long a [`TestWorker`]'s leases live.
pub const LEASE: Duration = Duration::from_secs(30);

/// How to open throwaway stores of one kind: all that a backend's author writes to run the suite.
#[async_trait]
pub trait Setup: Send + Sync {
    /// What these stores can do besides the required operations.
    ///
    /// The suite checks that they can do this and nothing else, so that a facet which got lost is noticed.
    fn abilities(&self) -> &'static [Ability];

    /// Opens the store of this name, which is new and empty the first time.
    ///
    /// With [`Ability::Reopen`] a second call gives another handle on the same store, as independent of the first as
    /// one in another process would be.
    /// A name is used by one test only; it may serve as a file, a schema, or a prefix of keys.
    /// The store goes by `clock`, which a server adds as an [offset](Clock::offset) to its own time.
    async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>>;

    /// Begins a transaction in the database of this store, as its user would, on a connection of its own.
    ///
    /// Stores without [`Ability::Transaction`] leave it as it is.
    async fn begin(&self, store: &Name) -> Result<Box<dyn OpenTransaction>> {
        Err(Error::new(ErrorKind::Unsupported, format!("nobody said how to begin a transaction in store {store}")))
    }
}

/// A user's transaction, which has begun. Dropping it rolls it back.
#[async_trait]
pub trait OpenTransaction: InTransaction {
    /// Makes what was done in it last.
    async fn commit(self: Box<Self>) -> Result<()>;

    /// Takes back what was done in it.
    async fn rollback(self: Box<Self>) -> Result<()>;
}

/// A fresh store, and what a test needs around it.
pub struct Harness {
    /// The store.
    pub backend: Arc<dyn Backend>,
    /// The clock that it goes by. It stands still, except for the time of a server.
    pub clock: Clock,
    setup: Arc<dyn Setup>,
    /// The store's name, which is unique; its queues start with it, for servers that share them.
    store: Name,
}

impl Harness {
    /// Opens a new store.
    ///
    /// # Errors
    ///
    /// Those of [`Setup::open`].
    ///
    /// # Panics
    ///
    /// When the store has not exactly the facets that its setup says.
    pub async fn new(setup: Arc<dyn Setup>) -> Result<Self> {
        let store = Name::new(format!("t{}", JobId::new()).replace('-', ""))?;
        let clock = Clock::stopped();
        let backend = setup.open(&store, &clock).await?;
        for ability in Ability::ALL {
            if let Some(offered) = ability.is_offered(&*backend) {
                assert_eq!(
                    offered,
                    setup.abilities().contains(&ability),
                    "whether it has {ability}, as its setup says"
                );
            }
        }
        Ok(Self { backend, clock, setup, store })
    }

    /// Whether the stores of this setup can do this.
    pub(super) fn has(&self, ability: Ability) -> bool {
        self.setup.abilities().contains(&ability)
    }

    /// Another handle on the same store: an independent one where the store can be opened twice.
    ///
    /// # Errors
    ///
    /// Those of [`Setup::open`].
    pub async fn another_handle(&self) -> Result<Arc<dyn Backend>> {
        if self.has(Ability::Reopen) {
            return self.setup.open(&self.store, &self.clock).await;
        }
        Ok(Arc::clone(&self.backend))
    }

    /// Opens the store once more, whatever it can do.
    pub(super) async fn open_again(&self) -> Result<Arc<dyn Backend>> {
        self.setup.open(&self.store, &self.clock).await
    }

    /// The store's time, as far as this machine knows it; on a server it goes on.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets this much time pass for the store.
    pub fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    /// The queue that jobs and workers use unless they say otherwise.
    #[must_use]
    pub fn queue(&self) -> Name {
        self.store.clone()
    }

    /// Another queue of this test.
    ///
    /// # Panics
    ///
    /// When `suffix` does not fit into a name.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a test that asks for such a queue is to fail")]
    pub fn other_queue(&self, suffix: &str) -> Name {
        Name::new(format!("{}.{suffix}", self.store)).expect("a suffix of a queue's name")
    }

    /// A plain job for the usual queue.
    #[must_use]
    pub fn job(&self) -> Draft {
        Draft::new(self.queue())
    }

    /// So many plain jobs for the usual queue.
    #[must_use]
    pub fn jobs(&self, count: usize) -> Vec<Draft> {
        (0..count).map(|_| self.job()).collect()
    }

    /// A worker of the usual queue.
    #[must_use]
    pub fn worker(&self) -> TestWorker {
        TestWorker { id: WorkerId::new(), backend: Arc::clone(&self.backend), queue: self.queue(), aging: None }
    }

    /// A worker with its own [handle](Harness::another_handle) on the store.
    ///
    /// # Errors
    ///
    /// Those of [`Setup::open`].
    pub async fn worker_elsewhere(&self) -> Result<TestWorker> {
        Ok(TestWorker { backend: self.another_handle().await?, ..self.worker() })
    }

    /// Pushes jobs as one new batch.
    ///
    /// # Errors
    ///
    /// Those of the store, as for all that follow.
    pub async fn push(&self, jobs: impl IntoIterator<Item = impl Into<NewJob>>) -> Result<Vec<Pushed>> {
        self.backend.push(&batch(jobs)).await
    }

    /// Pushes one job that must be stored, and gives its id.
    pub async fn push_one(&self, job: impl Into<NewJob>) -> Result<JobId> {
        let job = job.into();
        let id = job.spec.id;
        let pushed = self.push([job]).await?;
        assert_eq!(pushed, [Pushed::Stored], "what became of job {id}");
        Ok(id)
    }

    /// Pushes one job that must be stored, and claims it with a new worker.
    pub async fn push_and_claim(&self, job: impl Into<NewJob>) -> Result<Held> {
        self.push_one(job).await?;
        self.worker().claim_one().await
    }

    /// Settles, and expects as many answers.
    pub async fn settle(&self, settlements: impl IntoIterator<Item = Settlement>) -> Result<Vec<Settled>> {
        let settlements: Vec<_> = settlements.into_iter().collect();
        let settled = self.backend.settle(&settlements).await?;
        assert_eq!(settled.len(), settlements.len(), "one answer for each settlement");
        Ok(settled)
    }

    /// Settles one attempt.
    pub async fn settle_one(&self, settlement: Settlement) -> Result<Settled> {
        Ok(self.settle([settlement]).await?[0])
    }

    /// Settles one attempt whose lease must be live.
    pub async fn end(&self, settlement: Settlement) -> Result<()> {
        assert_eq!(self.settle_one(settlement).await?, Settled::Applied, "settling a live lease");
        Ok(())
    }

    /// Cancels jobs.
    pub async fn cancel(&self, ids: &[JobId]) -> Result<Vec<Cancelled>> {
        self.backend.cancel(&Cancel { ids: ids.to_vec(), reason: "not needed".to_owned() }).await
    }

    /// Reaps with room for a thousand jobs; three crashes are poison.
    pub async fn reap(&self) -> Result<Reaped> {
        self.reap_up_to(1_000).await
    }

    /// Reaps at most so many jobs; three crashes are poison. For how long it is calm then is left to [`Harness::calm`].
    pub async fn reap_up_to(&self, limit: usize) -> Result<Reaped> {
        let reaped = self.backend.reap(&Reap { limit, max_crashes: 3 }).await?;
        Ok(Reaped { calm: Duration::ZERO, ..reaped })
    }

    /// For how long the store says that nothing needs a reap.
    pub async fn calm(&self) -> Result<Duration> {
        Ok(self.backend.reap(&Reap { limit: 1_000, max_crashes: 3 }).await?.calm)
    }

    /// Lets every lease lapse, and reaps.
    pub async fn lapse_and_reap(&self) -> Result<Reaped> {
        self.advance(LEASE);
        self.reap().await
    }

    /// The results facet.
    pub fn results(&self) -> Result<&dyn Results> {
        self.backend.results().ok_or_else(|| missing(Ability::Results))
    }

    /// The wake-up facet.
    pub fn wake(&self) -> Result<&dyn Wake> {
        self.backend.wake().ok_or_else(|| missing(Ability::Wake))
    }

    /// The leader facet.
    pub fn leader(&self) -> Result<&dyn Leader> {
        self.backend.leader().ok_or_else(|| missing(Ability::Leader))
    }

    /// The inspection facet.
    pub fn inspect(&self) -> Result<&dyn Inspect> {
        self.backend.inspect().ok_or_else(|| missing(Ability::Inspect))
    }

    /// The ledger facet.
    pub fn ledger(&self) -> Result<&dyn Ledger> {
        self.backend.ledger().ok_or_else(|| missing(Ability::Ledger))
    }

    /// The limiter facet.
    pub fn limiter(&self) -> Result<&dyn Limiter> {
        self.backend.limiter().ok_or_else(|| missing(Ability::Limiter))
    }

    /// The transaction facet.
    pub fn transaction(&self) -> Result<&dyn Transaction> {
        self.backend.transaction().ok_or_else(|| missing(Ability::Transaction))
    }

    /// Begins a user's transaction in the store's database.
    pub async fn begin(&self) -> Result<Box<dyn OpenTransaction>> {
        self.setup.begin(&self.store).await
    }

    /// What the results facet knows of one job.
    pub async fn fetch(&self, id: JobId) -> Result<Fetched> {
        let mut fetched = self.results()?.fetch(&[id]).await?;
        assert_eq!(fetched.len(), 1, "one answer for one job");
        Ok(fetched.remove(0))
    }

    /// The job as the inspection facet lists it.
    pub async fn find(&self, id: JobId) -> Result<Option<Job>> {
        let filter = JobFilter { ids: vec![id], ..JobFilter::default() };
        Ok(self.inspect()?.list(&filter, None, 10).await?.pop())
    }
}

/// A worker that does only what a test tells it to.
#[derive(Clone, Debug)]
pub struct TestWorker {
    /// Its identity.
    pub id: WorkerId,
    backend: Arc<dyn Backend>,
    queue: Name,
    aging: Option<Duration>,
}

impl TestWorker {
    /// The same worker, whose claims let priorities age.
    #[must_use]
    pub fn aging(self, aging: Duration) -> Self {
        Self { aging: Some(aging), ..self }
    }

    /// Claims at most so many jobs of its queue.
    pub async fn claim(&self, limit: usize) -> Result<Vec<Held>> {
        self.claim_from(&[(&self.queue, limit)], limit).await
    }

    /// Claims one job, which must be there.
    pub async fn claim_one(&self) -> Result<Held> {
        let mut held = self.claim(1).await?;
        held.pop().ok_or_else(|| Error::new(ErrorKind::NotFound, format!("queue {} hands out nothing", self.queue)))
    }

    /// Claims with a limit for each queue and one for all.
    pub async fn claim_from(&self, queues: &[(&Name, usize)], limit: usize) -> Result<Vec<Held>> {
        let queues = queues.iter().map(|&(queue, limit)| QueueClaim { queue: queue.clone(), limit }).collect();
        let claim =
            Claim { worker: self.id, queues, limit, unknown: vec![], ttl: LEASE, max_crashes: 3, aging: self.aging };
        let claimed = self.backend.claim(&claim).await?;
        Ok(claimed.jobs.into_iter().map(|(lease, job)| Held { lease, job }).collect())
    }

    /// How long its queue says it is until the next job is due, after a claim that takes none.
    pub async fn next_due(&self) -> Result<Option<Duration>> {
        let queues = vec![QueueClaim { queue: self.queue.clone(), limit: 1 }];
        let claim =
            Claim { worker: self.id, queues, limit: 1, unknown: vec![], ttl: LEASE, max_crashes: 3, aging: self.aging };
        let claimed = self.backend.claim(&claim).await?;
        assert!(claimed.jobs.is_empty(), "queue {} handed out a job", self.queue);
        Ok(claimed.next_due)
    }

    /// Sends a heartbeat that renews these leases.
    pub async fn extend<'a>(&self, held: impl IntoIterator<Item = &'a Held>) -> Result<Extended> {
        self.renew(held.into_iter().map(|held| Renewal { lease: held.lease, progress: None })).await
    }

    /// Sends a heartbeat that tells how far one job is.
    pub async fn report(&self, held: &Held, fraction: f64, note: &str) -> Result<Extended> {
        let progress = Progress { fraction, note: note.to_owned() };
        self.renew([Renewal { lease: held.lease, progress: Some(progress) }]).await
    }

    /// Sends a heartbeat with these renewals.
    pub async fn renew(&self, renewals: impl IntoIterator<Item = Renewal>) -> Result<Extended> {
        let renewals = renewals.into_iter().collect();
        self.backend.extend(&Extend { worker: self.record(), ttl: LEASE, renewals }).await
    }

    /// What it says of itself.
    #[must_use]
    pub fn record(&self) -> WorkerRecord {
        WorkerRecord {
            id: self.id,
            host: "test".to_owned(),
            pid: 1,
            program: "conformance 1.0".to_owned(),
            started: Timestamp::from_micros(1_767_323_045_000_000),
            queues: vec![self.queue.clone()],
            concurrency: 4,
        }
    }
}

/// A claimed job with its lease.
#[derive(Clone, Debug)]
pub struct Held {
    /// The right to run it.
    pub lease: Lease,
    /// The job as it was claimed.
    pub job: Job,
}

impl Held {
    /// The job's identity.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.job.id()
    }

    /// It ends with this verdict.
    #[must_use]
    pub fn settled(&self, verdict: Verdict) -> Settlement {
        Settlement { lease: self.lease, job: self.job.clone(), verdict }
    }

    /// It returned nothing that is kept.
    #[must_use]
    pub fn completed(&self) -> Settlement {
        self.settled(Verdict::Complete { result: None })
    }

    /// It returned these bytes.
    #[must_use]
    pub fn returned(&self, result: &[u8]) -> Settlement {
        let result = Payload { codec: Codec::Json, bytes: result.to_vec().into() };
        self.settled(Verdict::Complete { result: Some(result) })
    }

    /// It failed and asks for another attempt.
    #[must_use]
    pub fn failed(&self, after: Duration) -> Settlement {
        self.settled(Verdict::Retry { after, failure: failure() })
    }

    /// It failed for good.
    #[must_use]
    pub fn discarded(&self) -> Settlement {
        self.settled(Verdict::Discard { failure: failure() })
    }

    /// It was called off.
    #[must_use]
    pub fn cancelled(&self) -> Settlement {
        self.settled(Verdict::Cancel { reason: "not needed".to_owned() })
    }

    /// It goes back at no cost.
    #[must_use]
    pub fn given_back(&self, why: Return, after: Duration) -> Settlement {
        self.settled(Verdict::Return { after, why })
    }
}

/// What goes wrong in these tests: an error with two causes.
pub(super) fn failure() -> Failure {
    Failure {
        kind: FailureKind::Error,
        message: "the mail was not sent".to_owned(),
        causes: vec!["no answer from “mail.example”".to_owned(), "timed out".to_owned()],
    }
}

/// Jobs as one new batch.
pub(super) fn batch(jobs: impl IntoIterator<Item = impl Into<NewJob>>) -> Push {
    Push { batch: BatchId::new(), jobs: jobs.into_iter().map(Into::into).collect() }
}

fn missing(ability: Ability) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the store has no {ability}, which this test needs"))
}

/// Runs each future on its own task, all at once, and gives what they answer in their order.
///
/// # Errors
///
/// That of the first that fails.
pub async fn together<T: Send + 'static>(
    futures: impl IntoIterator<Item = impl Future<Output = Result<T>> + Send + 'static>,
) -> Result<Vec<T>> {
    let mut tasks = JoinSet::new();
    for (place, future) in futures.into_iter().enumerate() {
        tasks.spawn(async move { Ok((place, future.await?)) });
    }
    let mut answers = tasks.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    answers.sort_by_key(|&(place, _)| place);
    Ok(answers.into_iter().map(|(_, answer)| answer).collect())
}

/// Asks again until `done` says yes; for what a store does in its own time.
///
/// # Panics
///
/// When it has not happened within half a minute.
pub async fn eventually(what: &str, mut done: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !done().await? {
        assert!(tokio::time::Instant::now() < deadline, "{what} has not happened within half a minute");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
