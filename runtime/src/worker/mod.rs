//! A worker: it claims jobs, runs them, and says how they ended.
//!
//! Its actors, one file each:
//! the claim loop ([`fetch`]) asks the backend for jobs whenever there is room;
//! the [`slots`] hold what was fetched and run it, one job each at a time, as [`execute`] tells;
//! the lease keeper ([`lease`]) sends heartbeats for all that is in hand;
//! the listener ([`wake`]) turns hints into looks;
//! the settler ([`settle`]) writes how attempts ended, together where it can;
//! and [`maintenance`](crate::maintenance) does what one elected worker does for all.
//! [`Worker::run`] starts them, and stops them in the order in which nothing is lost.

pub(crate) mod blocking;
mod execute;
mod fetch;
mod health;
pub(crate) mod isolation;
mod layers;
mod lease;
mod limits;
mod options;
mod settle;
mod shutdown;
mod slots;
mod wake;

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tower::{Layer, Service};

use crate::backend::{Backend, Claim, Info, Settlement, WorkerRecord, no_aging, no_limiter};
use crate::blocking::BlockingPool;
use crate::chance;
use crate::client::Client;
use crate::context::States;
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Job, Lease, Name, WorkerId};
use crate::policy::Verdict;
use crate::policy::state::Return;
use crate::registry::Registry;
use crate::task::Definition;
use crate::time::{Timestamp, format_duration};
use crate::transaction::completion;

pub use health::{Health, HealthReport, Summary};
pub use layers::{BoxError, TaskCall, TaskResponse, TaskService};
pub use options::{ConfiguredLimit, QueueOptions, WorkerOptions};
pub use shutdown::Shutdown;

use isolation::Processes;
pub(crate) use layers::Layers;
use lease::{Held, Leases, Stop};
use settle::Settler;
use slots::Slots;

/// Runs jobs of some queues of one backend.
///
/// A program usually has one through [`App`](crate::App); this is for those that build their own.
///
/// ```standalone_crate
/// use std::sync::Arc;
/// use taskwright::prelude::*;
/// use taskwright::registry::Registry;
/// use taskwright::worker::{Shutdown, Worker, WorkerOptions};
///
/// #[task]
/// async fn double(number: u64) -> TaskResult<u64> {
///     Ok(number * 2)
/// }
///
/// # #[tokio::main]
/// # async fn main() -> taskwright::Result<()> {
/// let client = Client::connect("memory:").await?;
/// let worker = Worker::new(client.clone(), Registry::linked()?, Arc::default(), WorkerOptions::default())?;
/// let shutdown = Shutdown::new();
/// let running = tokio::spawn(worker.run(shutdown.clone()));
///
/// let handle = client.dispatch(Double::new(21_u64)).await?;
/// assert_eq!(handle.await?, 42);
///
/// shutdown.stop();
/// let summary = running.await.expect("the worker does not panic")?;
/// assert_eq!(summary.completed, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Worker(Shared);

/// What a worker's actors share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: WorkerId,
    record: WorkerRecord,
    client: Client,
    pub(crate) backend: Arc<dyn Backend>,
    registry: Registry,
    states: Arc<States>,
    pub(crate) options: WorkerOptions,
    layers: Layers,
    blocking: BlockingPool,
    processes: Processes,
    slots: Slots,
    leases: Leases,
    settler: Settler,
    pub(crate) health: Health,
    shutdown: Shutdown,
    /// Something happened to a queue: look now.
    look: Notify,
    /// Tasks that it has met and does not know. Locked for a look-up only, never across an await.
    unknown: Mutex<BTreeSet<Name>>,
}

/// How long the backend may take to answer one call; a connection that died silently is noticed by it.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// How long settlements may take to be written, and the goodbye to be said, when a worker stops.
const LAST_WORDS: Duration = Duration::from_secs(10);

impl Worker {
    /// A worker for these tasks, with this state.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Wiring`] when no task is registered or one lacks its state;
    /// [`ErrorKind::Invalid`] when an option is out of range;
    /// [`ErrorKind::Unsupported`] when a task or an option asks for what the backend can't do.
    pub fn new(client: Client, registry: Registry, states: Arc<States>, options: WorkerOptions) -> Result<Self> {
        options.check()?;
        registry.check(&states)?;
        registry.iter().try_for_each(|task| isolation::check(task.definition))?;
        registry.iter().try_for_each(|task| check_transaction(task.definition, &**client.backend()))?;
        registry.iter().try_for_each(|task| check_timeout(task.definition, client.backend().info()))?;
        registry.iter().try_for_each(|task| check_limits(task.definition, &**client.backend()))?;
        if let Some(limit) = options.limits.first().filter(|_| client.backend().limiter().is_none()) {
            return Err(no_limiter(client.backend().info().name, &format!("configuration limits `{}`", limit.key)));
        }
        if options.priority_aging.is_some() && !client.backend().info().ages {
            return Err(no_aging(client.backend().info().name));
        }
        let id = WorkerId::new();
        let blocking = BlockingPool::new(options.blocking_threads);
        // Three lost heartbeats, and never less than what one slow call and its repetition take.
        let patience = options.lease.max(options.poll * 3).max(CALL_DEADLINE * 2);
        let record = WorkerRecord {
            id,
            host: host_name(),
            pid: std::process::id(),
            program: program_name(),
            started: Timestamp::now(),
            queues: options.queues.iter().map(|queue| queue.name.clone()).collect(),
            concurrency: options.concurrency,
        };
        Ok(Self(Shared {
            id,
            record,
            backend: Arc::clone(client.backend()),
            client,
            registry,
            states,
            layers: Layers::default(),
            processes: Processes::new(&options),
            slots: Slots::new(&options),
            leases: Leases::default(),
            settler: Settler::default(),
            health: Health::new(patience, blocking.clone()),
            blocking,
            options,
            shutdown: Shutdown::new(),
            look: Notify::new(),
            unknown: Mutex::default(),
        }))
    }

    /// Puts a tower layer around every attempt, outside of those added before.
    #[must_use]
    pub fn layer<L>(mut self, layer: &L) -> Self
    where
        L: Layer<TaskService>,
        L::Service: Service<TaskCall, Response = TaskResponse, Error: Into<BoxError>> + Clone + Send + Sync + 'static,
        <L::Service as Service<TaskCall>>::Future: Send + 'static,
    {
        self.0.layers = self.0.layers.around(layer);
        self
    }

    pub(crate) fn with_layers(mut self, layers: Layers) -> Self {
        self.0.layers = layers;
        self
    }

    /// The worker's identity.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.0.id
    }

    /// The worker's view of itself, to be asked while it runs.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.health.clone()
    }

    /// Works until `shutdown` says stop, or until the queues are empty if it drains.
    ///
    /// Errors of the backend never end it: it waits, tries again, and goes on at full speed.
    ///
    /// Stopping goes so: no more claims; jobs that were not started go back at once; running ones have
    /// [`WorkerOptions::grace`] to end, then [`WorkerOptions::margin`] to notice their cancellation, then they are
    /// dropped and go back without costing an attempt; what has ended is written.
    /// [`Shutdown::abort`] skips the two waits.
    ///
    /// # Cancel safety
    ///
    /// Dropping the returned future is like a crash: jobs in hand are rescued when their leases lapse.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<Summary> {
        self.0.shutdown = shutdown;
        let worker = Arc::new(self.0);
        tracing::info!(worker.id = %worker.id, queues = ?worker.record.queues, "the worker starts");
        let (mut slots, mut keepers) = (start_slots(&worker), start_keepers(&worker));
        tokio::select! {
            biased;
            () = work(&worker, &mut slots) => {}
            () = panicked(&mut keepers) => {}
        }
        // Whatever they were at when the last job is out of hand may be dropped.
        keepers.shutdown().await;
        say_goodbye(&worker).await;
        let summary = worker.health.summary();
        tracing::info!(worker.id = %worker.id, ?summary, "the worker has stopped");
        Ok(summary)
    }
}

/// Whether the backend lets an attempt take as long as a task asks for.
fn check_timeout(task: &Definition, info: &Info) -> Result<()> {
    let Some((timeout, longest)) = task.options.timeout.zip(info.limits.max_lease) else { return Ok(()) };
    if timeout <= longest {
        return Ok(());
    }
    let [timeout, longest] = [timeout, longest].map(format_duration);
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "task {} has a timeout of {timeout}, and {} takes a job back after {longest}; give it a shorter one, run it on \
             another backend, or raise what this one is configured for and say so in its URL",
            task.name, info.name,
        ),
    ))
}

/// Whether the backend has the transaction that a task asks for.
fn check_transaction(task: &Definition, backend: &dyn Backend) -> Result<()> {
    let Some(need) = &task.transaction else { return Ok(()) };
    let name = backend.info().name;
    let Some(completion) = completion(backend) else {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "task {} completes in a transaction (`#[tx] {}`), and {name} runs no tasks in transactions; run it on a \
                 database server, or take the parameter away and make the task safe to repeat",
                task.name, need.parameter,
            ),
        ));
    };
    let lends = completion.lends();
    if lends.id == (need.type_id)() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Wiring,
        format!(
            "`#[tx] {}` of task {} is a `{}`, and {name} lends a `{}`; name that type, of the same version of its crate",
            need.parameter,
            task.name,
            (need.type_name)(),
            lends.name,
        ),
    ))
}

/// Whether the backend has the limits that a task asks for.
fn check_limits(task: &Definition, backend: &dyn Backend) -> Result<()> {
    let asked = [("limit", task.options.limit.is_some()), ("rate", task.options.rate.is_some())];
    match asked.into_iter().find(|(_, asked)| *asked) {
        Some((option, _)) if backend.limiter().is_none() => {
            Err(no_limiter(backend.info().name, &format!("task {} asks for `{option}`", task.name)))
        }
        _ => Ok(()),
    }
}

/// Starts one task for each slot; each runs one job after the other. Dropping the set ends them all.
fn start_slots(worker: &Arc<Shared>) -> JoinSet<()> {
    (0..worker.options.concurrency).map(|_| slot(Arc::clone(worker))).collect()
}

async fn slot(worker: Arc<Shared>) {
    while let Some(fetched) = worker.slots.next().await {
        let (held, queue) = (Arc::clone(&fetched.held), fetched.job.spec.queue.clone());
        // Panics of tasks are caught where they run. What arrives here, such as a panic in a destructor of a task that
        // was dropped, must cost neither the slot nor leave the job in our hands for ever.
        if AssertUnwindSafe(execute::execute(&worker, fetched)).catch_unwind().await.is_err() {
            tracing::error!(job.id = %held.lease.job, "the attempt could not be ended; its lease is left to lapse");
            worker.forget(&held);
            worker.slots.done(&queue);
        }
    }
}

/// Claims and runs jobs until it is time to stop, and sees the last one off.
async fn work(worker: &Shared, slots: &mut JoinSet<()>) {
    limits::configure(worker).await;
    fetch::run(worker).await;
    worker.health.stopping();
    // In this order, so that no job is left on its way to a slot that ends.
    worker.slots.close();
    worker.give_back_waiting(Return::Stopping).await;
    tokio::select! {
        biased;
        () = all_ended(slots) => {}
        () = worker.shutdown.aborting() => {}
        () = tokio::time::sleep(worker.options.grace) => {}
    }
    worker.leases.stop_all(&Stop::Shutdown);
    if tokio::time::timeout(worker.options.margin + Duration::from_secs(1), all_ended(slots)).await.is_err() {
        tracing::error!(worker.id = %worker.id, "some tasks can't be stopped; their leases are left to lapse");
    }
    if tokio::time::timeout(LAST_WORDS, worker.flush()).await.is_err() {
        tracing::error!(worker.id = %worker.id, "some ends could not be written; their jobs are rescued and run again");
    }
}

/// Waits until every slot has ended. Cancel safe.
async fn all_ended(slots: &mut JoinSet<()>) {
    while slots.join_next().await.is_some() {}
}

/// Starts everything that a worker does beside claiming and running jobs, each as a task: what one of them hears would
/// otherwise wake another by way of the whole worker. Dropping the set ends them all.
fn start_keepers(worker: &Arc<Shared>) -> JoinSet<()> {
    let worker = || Arc::clone(worker);
    let (leases, wake, settler, maintenance) = (worker(), worker(), worker(), worker());
    let mut keepers = JoinSet::new();
    keepers.spawn(async move { lease::keep(&leases).await });
    keepers.spawn(async move { wake::listen(&wake).await });
    keepers.spawn(async move { settle::run(&settler).await });
    keepers.spawn(async move { crate::maintenance::run(&maintenance).await });
    keepers
}

/// Waits for a keeper that panics, as none ends otherwise, and goes on with its panic.
async fn panicked(keepers: &mut JoinSet<()>) {
    match keepers.join_next().await {
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime shuts down.
        _ => std::future::pending().await,
    }
}

/// Lets others take over at once; if the backend does not answer, time will tell them.
async fn say_goodbye(worker: &Shared) {
    let goodbye = async {
        crate::maintenance::resign(worker).await;
        if let Some(inspect) = worker.backend.inspect()
            && let Err(error) = inspect.deregister(worker.id).await
        {
            tracing::debug!(error = ?error, "the worker could not say goodbye");
        }
    };
    if tokio::time::timeout(LAST_WORDS, goodbye).await.is_err() {
        tracing::debug!("the backend did not hear the worker's goodbye");
    }
}

/// How long to wait after so many failures in a row: from a tenth of a second to five, with jitter.
pub(crate) fn reconnect_delay(failures: u32) -> Duration {
    let backoff = crate::policy::Backoff::exponential(Duration::from_millis(100), Duration::from_secs(5));
    backoff.delay(failures, chance::share())
}

impl Shared {
    /// Asks the backend, and gives up on an answer that does not come.
    pub(crate) async fn call<T>(&self, operation: &'static str, call: impl Future<Output = Result<T>>) -> Result<T> {
        match tokio::time::timeout(CALL_DEADLINE, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(ErrorKind::Timeout, format!("no answer within {CALL_DEADLINE:?}"))
                .transient(true)
                .context("backend", self.backend.info().name)
                .context("while", operation)),
        }
    }

    pub(crate) fn backend_failed(&self, operation: &'static str, error: &Error) {
        self.health.backend_failed(error);
        tracing::warn!(worker.id = %self.id, operation, error = ?error, "the backend failed; it is asked again");
    }

    fn claim_succeeded(&self, jobs: usize) {
        self.health.claim_succeeded();
        self.health.backend_recovered();
        let jobs = u64::try_from(jobs).unwrap_or(u64::MAX);
        self.health.counts().claimed.fetch_add(jobs, Ordering::Relaxed);
    }

    /// How long an idle worker may sleep: long where it is woken, shorter where it has to look for itself.
    fn idle_poll(&self) -> Duration {
        let poll = if self.backend.wake().is_some() { self.options.poll } else { self.options.poll.min(UNTOLD_POLL) };
        poll.mul_f64(0.9 + 0.1 * chance::share())
    }

    /// Takes claimed jobs in hand and lets slots have them.
    fn take(&self, claimed: Vec<(Lease, Job)>) {
        self.slots.add(self.leases.take(claimed));
    }

    /// Gives back what was fetched and not started.
    async fn give_back_waiting(&self, why: Return) {
        while let Some(fetched) = self.slots.take_back() {
            self.slots.done(&fetched.job.spec.queue);
            let verdict = Verdict::Return { after: Duration::ZERO, why };
            self.settle(Settlement { lease: fetched.held.lease, job: fetched.job, verdict }).await;
        }
    }

    /// Lets go of a job whose lease is lost.
    fn forget(&self, held: &Held) {
        self.health.counts().lost.fetch_add(1, Ordering::Relaxed);
        self.leases.release([held.lease]);
        self.settler.news();
    }

    /// The tasks that it has learned not to know, as many as a claim names.
    fn unknown_tasks(&self) -> Vec<Name> {
        let unknown = self.unknown.lock().unwrap_or_else(PoisonError::into_inner);
        unknown.iter().take(Claim::MOST_UNKNOWN).cloned().collect()
    }

    /// Says once for each name that this worker does not know a task.
    fn report_unknown(&self, task: &Name) {
        let first = self.unknown.lock().unwrap_or_else(PoisonError::into_inner).insert(task.clone());
        if first {
            let known: Vec<_> = self.registry.iter().map(|task| task.definition.name).collect();
            tracing::error!(
                task = %task,
                ?known,
                "this worker does not know the task; its jobs wait for a worker that does, at no cost. \
                 If it should know it: a crate that is never named in code is not linked, so write `use my_tasks as _;`, \
                 and a task that was renamed needs `aliases = [\"old.name\"]`"
            );
        }
    }
}

/// How often an idle worker looks where nothing can wake it.
const UNTOLD_POLL: Duration = Duration::from_secs(1);

fn host_name() -> String {
    let file = std::fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned());
    file.or_else(|_| std::env::var("HOSTNAME")).or_else(|_| std::env::var("COMPUTERNAME")).unwrap_or_default()
}

fn program_name() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
