//! Putting tasks on queues.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use crate::backend::connect::Places;
use crate::backend::{Backend, Cancel, Cancelled, InTransaction, Push, Pushed, Traced};
#[cfg(doc)]
use crate::dispatch::Dispatch;
use crate::dispatch::{AnyTask, Asked, IntoDispatch, JobOptions, Origin, Plan, check_payload};
use crate::error::{Error, ErrorKind, Result};
use crate::handle::{Fate, JobHandle};
use crate::job::{BatchId, JobId, NewJob, OnConflict};
use crate::outcomes::Outcomes;
use crate::pushes::Pushes;

/// A connection to one backend, from which tasks are dispatched and jobs found again. Cheap to clone.
///
/// ```
/// use taskwright::Client;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> taskwright::Result<()> {
/// let client = Client::connect("memory:").await?;
/// assert_eq!(client.backend().info().name, "memory");
/// client.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    backend: Arc<dyn Backend>,
    settings: Settings,
    /// How each task is dispatched, by name; filled as tasks come. Held for moments, never across an await.
    plans: RwLock<HashMap<&'static str, Arc<Plan>>>,
    pushes: Pushes,
    outcomes: Outcomes,
}

/// The client's own options for jobs.
#[derive(Debug, Default)]
struct Settings {
    all: JobOptions,
    tasks: HashMap<String, JobOptions>,
}

tokio::task_local! {
    static SCOPE: Client;
}

static INSTALLED: RwLock<Option<Client>> = RwLock::new(None);

impl Client {
    /// A client of the backend that `url` names: `memory:`, `sqlite:jobs.db`.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](crate::backend::connect::connect).
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder().connect(url).await
    }

    /// A client of a backend that is already there.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self::builder().build(backend)
    }

    /// A client with options of its own.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Makes this the client of `.dispatch()` wherever no [scope](Client::scope) names another, for the whole process.
    ///
    /// Returns the client that was installed before, which is not closed.
    pub fn install(&self) -> Option<Self> {
        INSTALLED.write().unwrap_or_else(PoisonError::into_inner).replace(self.clone())
    }

    /// Takes the installed client back, so that there is none.
    pub fn uninstall() -> Option<Self> {
        INSTALLED.write().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The client of `.dispatch()` here: the scope's, else the installed one.
    ///
    /// # Errors
    ///
    /// [`NotConfigured`](ErrorKind::NotConfigured) when there is neither.
    pub fn current() -> Result<Self> {
        let scoped = SCOPE.try_with(Self::clone).ok();
        let installed = || INSTALLED.read().unwrap_or_else(PoisonError::into_inner).clone();
        scoped.or_else(installed).ok_or_else(|| {
            Error::new(
                ErrorKind::NotConfigured,
                "there is no client here; run this inside `client.scope(..)`, call `client.install()` when the program \
                 starts, or name a client with `.dispatch_on(&client)`",
            )
        })
    }

    /// Runs `future` with this as its client. A worker runs each task in its own client's scope.
    ///
    /// What `future` spawns is outside of the scope.
    ///
    /// ```
    /// use taskwright::Client;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> taskwright::Result<()> {
    /// let client = Client::connect("memory:").await?;
    /// client.scope(async { assert!(Client::current().is_ok()) }).await;
    /// assert!(Client::current().is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        SCOPE.scope(self.clone(), future)
    }

    /// Runs `work`, which may not await, with this as its client.
    pub fn scope_sync<R>(&self, work: impl FnOnce() -> R) -> R {
        SCOPE.sync_scope(self.clone(), work)
    }

    /// Puts a task on its queue: a task, or one with options such as `task.delay(..)`.
    ///
    /// It returns when the job is stored, as durably as the backend can.
    /// Tasks that are dispatched at the same time are stored together.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ErrorKind::Invalid) for an option that can't be used, [`Codec`](ErrorKind::Codec) when a parameter
    /// does not encode, [`TooLarge`](ErrorKind::TooLarge) when the backend would not take the payload; then nothing was
    /// sent.
    /// [`Unavailable`](ErrorKind::Unavailable) when the store stayed away or busy: the job may or may not be stored.
    /// A dispatch with [`Dispatch::id`] can be repeated without harm.
    /// [`Conflict`](ErrorKind::Conflict) when another job has the unique key and the dispatch asks to be
    /// [refused](crate::job::OnConflict::Refuse) then; the message names the job.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it has returned, the job is stored whole or not at all.
    pub async fn dispatch<D: IntoDispatch>(&self, task: D) -> Result<JobHandle<D::Output>> {
        let (job, ticket) = self.prepare_one(task, &Origin::here())?;
        Ok(self.store(job, ticket).await?.typed())
    }

    /// Puts a task on its queue in a transaction of the caller's: the job exists if and when that is committed.
    ///
    /// `transaction` is a transaction or connection of the database that the queue lives in.
    ///
    /// # Errors
    ///
    /// Those of [`Client::dispatch`], and [`Unsupported`](ErrorKind::Unsupported) when the backend has no transactions
    /// or the transaction is of another driver.
    pub async fn dispatch_in<D: IntoDispatch, X: InTransaction>(
        &self,
        task: D,
        transaction: &mut X,
    ) -> Result<JobHandle<D::Output>> {
        let (job, ticket) = self.prepare_one(task, &Origin::here())?;
        Ok(self.store_in(job, ticket, transaction.connection()).await?.typed())
    }

    /// Puts a prepared job on its queue: what dispatching is without the types.
    pub(crate) async fn store(&self, job: NewJob, ticket: Ticket) -> Result<JobHandle<()>> {
        let pushed = if ticket.named {
            self.0.pushes.submit_apart(vec![job]).await.pop().unwrap_or_else(|| Err(unanswered()))
        } else {
            self.0.pushes.submit(job).await
        };
        let pushed = pushed.map_err(|error| error.context("task", ticket.task))?;
        self.pushed_handle(ticket, pushed)
    }

    async fn store_in(&self, job: NewJob, ticket: Ticket, connection: &mut (dyn Any + Send)) -> Result<JobHandle<()>> {
        let name = self.0.backend.info().name;
        let Some(facet) = self.0.backend.transaction() else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "{name} has no transactions that a dispatch could join; use `.dispatch()` after the commit, or keep \
                     the queue in the application's own database"
                ),
            ));
        };
        let push = Push { batch: BatchId::new(), jobs: vec![job] };
        let pushed = match facet.push_in(connection, &push).await {
            Ok(mut answers) => answers.pop().unwrap_or(Pushed::Stored),
            Err(error) => return Err(error.context("backend", name).context("while", "push_in")),
        };
        self.pushed_handle(Ticket { fate: Fate::Uncommitted, ..ticket }, pushed)
    }

    /// Puts many tasks of one kind on their queues, in few large writes, and returns their handles in order.
    ///
    /// All of them are encoded and checked before the first is sent, so they are in memory together: dispatch millions
    /// in several calls.
    /// They go in pieces as large as the backend takes at once; two of them at a time if the backend stores a piece whole
    /// and the tasks have neither unique keys nor limits, so that a worker may see a later piece before an earlier one.
    ///
    /// ```
    /// # use taskwright::prelude::*;
    /// # #[derive(Serialize, Deserialize)] struct Resize { image: u64 }
    /// # const _: () = { use taskwright::task::{Definition, Execution, Options};
    /// # impl Task for Resize { type Output = (); const DEFINITION: &'static Definition = &Definition {
    /// # name: "resize", aliases: &[], options: Options::NONE, parameters: &[], state: &[], transaction: None,
    /// # execution: Execution::Async, docs: "", file: "", line: 0 };
    /// # fn run(self, _: Context) -> taskwright::TaskFuture<()> { Box::pin(async { Ok(()) }) } } };
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> taskwright::Result<()> {
    /// let client = Client::connect("memory:").await?;
    /// let handles = client.dispatch_many((1..=1000).map(|image| Resize { image })).await?;
    /// assert_eq!(handles.len(), 1000);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Client::dispatch`]. When a store fails halfway, or one of the tasks is refused for its unique key, the
    /// error says how many were stored; tasks with [`Dispatch::id`] can then be dispatched again without harm.
    pub fn dispatch_many<I>(
        &self,
        tasks: I,
    ) -> impl Future<Output = Result<Vec<JobHandle<<I::Item as IntoDispatch>::Output>>>> + Send
    where
        I: IntoIterator<Item: IntoDispatch>,
    {
        // Here and not in the future, so that the iterator need not be `Send`.
        let prepared = self.prepare_many(tasks);
        async move {
            let (jobs, tickets) = prepared?;
            let answers = if tickets.iter().any(|ticket| ticket.named) {
                self.push(jobs).await?
            } else {
                all_or_first_error(self.0.pushes.submit_many(jobs).await)?
            };
            let stored = answers.iter().filter(|pushed| matches!(pushed, Pushed::Stored | Pushed::Repeated)).count();
            let handles = tickets.into_iter().zip(answers).map(|(ticket, pushed)| self.pushed_handle(ticket, pushed));
            handles.collect::<Result<Vec<_>>>().map_err(|error| error.context("stored", stored.to_string()))
        }
    }

    /// Stores jobs that are already made, and answers for each in order.
    ///
    /// # Errors
    ///
    /// Those of [`Client::dispatch_many`], and [`Invalid`](ErrorKind::Invalid) when two jobs have the same id.
    pub async fn push(&self, jobs: Vec<NewJob>) -> Result<Vec<Pushed>> {
        let mut ids = HashSet::with_capacity(jobs.len());
        if let Some(twice) = jobs.iter().map(|job| job.spec.id).find(|id| !ids.insert(*id)) {
            return Err(Error::invalid(format!("two of the jobs have the id {twice}; each needs its own")));
        }
        let limits = &self.0.backend.info().limits;
        jobs.iter().try_for_each(|job| {
            let checked = check_payload(job.spec.payload.bytes.len(), limits);
            checked.map_err(|error| error.context("task", job.spec.task.as_str()))
        })?;
        // Apart from others' jobs, which may have the same ids.
        all_or_first_error(self.0.pushes.submit_apart(jobs).await)
    }

    /// A job that was dispatched earlier, found again by its id; `T` is what its task returns.
    ///
    /// Whether there is such a job is asked when the handle is used.
    #[must_use]
    pub fn handle<T>(&self, id: JobId) -> JobHandle<T> {
        JobHandle::new(self, id, Fate::Found)
    }

    /// Calls jobs off: those that have not started never run, those that run are asked to stop.
    pub async fn cancel(&self, ids: Vec<JobId>, reason: impl Into<String>) -> Result<Vec<Cancelled>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.0.backend.cancel(&Cancel { ids, reason: reason.into() }).await
    }

    /// The backend.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.0.backend
    }

    /// Writes what is still being dispatched, ends all waits, and closes the backend. Closing twice is fine.
    pub async fn close(&self) -> Result<()> {
        self.0.pushes.close().await;
        self.0.outcomes.close().await;
        self.0.backend.close().await
    }

    pub(crate) fn outcomes(&self) -> &Outcomes {
        &self.0.outcomes
    }

    /// The job that a dispatch of `task` asks for.
    pub(crate) fn prepare(
        &self,
        task: &dyn AnyTask,
        asked: Option<Box<Asked>>,
        origin: &Origin,
    ) -> Result<(NewJob, Ticket)> {
        self.prepare_by(&*self.plan(task)?, task, asked, origin)
    }

    fn prepare_by(
        &self,
        plan: &Plan,
        task: &dyn AnyTask,
        asked: Option<Box<Asked>>,
        origin: &Origin,
    ) -> Result<(NewJob, Ticket)> {
        let name = task.definition().name;
        let named = asked.as_ref().is_some_and(|asked| asked.names_its_id());
        let job = plan.job(task, asked, origin, &self.0.backend.info().limits);
        let job = job.map_err(|error| error.context("task", name))?;
        let fate = if job.spec.keep_result.is_some() { Fate::Kept } else { Fate::Forgotten };
        let refuses = job.spec.unique.as_ref().is_some_and(|unique| unique.conflict == OnConflict::Refuse);
        let ticket = Ticket { id: job.spec.id, task: name, named, fate, refuses };
        Ok((job, ticket))
    }

    fn prepare_one<D: IntoDispatch>(&self, task: D, origin: &Origin) -> Result<(NewJob, Ticket)> {
        let (task, asked) = task.into_dispatch().into_parts();
        self.prepare(&task, asked, origin)
    }

    fn prepare_many<I: IntoIterator<Item: IntoDispatch>>(&self, tasks: I) -> Result<(Vec<NewJob>, Vec<Ticket>)> {
        let origin = Origin::here();
        let tasks = tasks.into_iter();
        // One for all, since they are of one kind.
        let mut plan = None;
        // Room for all at once: there may be a hundred thousand, and growing moves them.
        let expected = tasks.size_hint().0;
        let (mut jobs, mut tickets) = (Vec::with_capacity(expected), Vec::with_capacity(expected));
        for task in tasks {
            let (task, asked) = task.into_dispatch().into_parts();
            let plan = match &plan {
                Some(plan) => plan,
                None => &*plan.insert(self.plan(&task)?),
            };
            let (job, ticket) = self.prepare_by(plan, &task, asked, &origin)?;
            jobs.push(job);
            tickets.push(ticket);
        }
        Ok((jobs, tickets))
    }

    fn plan(&self, task: &dyn AnyTask) -> Result<Arc<Plan>> {
        let name = task.definition().name;
        if let Some(plan) = self.0.plans.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(Arc::clone(plan));
        }
        let settings = &self.0.settings;
        let own = settings.tasks.get(name).cloned().unwrap_or_default();
        let plan = Plan::new(task, own.or(&settings.all)).map_err(|error| error.context("task", name))?;
        let mut plans = self.0.plans.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(plans.entry(name).or_insert_with(|| Arc::new(plan))))
    }

    fn pushed_handle<T>(&self, ticket: Ticket, pushed: Pushed) -> Result<JobHandle<T>> {
        let (id, fate) = match pushed {
            Pushed::Stored => (ticket.id, ticket.fate),
            // An id of our own making can only have been stored by a try of ours whose answer was lost.
            Pushed::Repeated if !ticket.named => (ticket.id, ticket.fate),
            Pushed::Repeated => (ticket.id, Fate::Found),
            Pushed::Conflict(other) if ticket.refuses => {
                let message = format!("job {other} has the unique key, so nothing was dispatched; wait for its end");
                return Err(Error::new(ErrorKind::Conflict, message).context("task", ticket.task));
            }
            Pushed::Conflict(other) => (other, Fate::Found),
            Pushed::Replaced(other) => (other, Fate::Replaced),
        };
        Ok(JobHandle::new(self, id, fate))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.0.backend.info();
        f.debug_struct("Client").field("backend", &info.name).field("location", &info.location).finish_non_exhaustive()
    }
}

/// A client in the making.
///
/// ```
/// use std::time::Duration;
/// use taskwright::Client;
/// use taskwright::dispatch::JobOptions;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> taskwright::Result<()> {
/// let client = Client::builder()
///     .options(JobOptions { timeout: Some(Duration::from_secs(300)), ..JobOptions::default() })
///     .task_options("mail.receipt", JobOptions { max_attempts: Some(3), ..JobOptions::default() })
///     .connect("memory:")
///     .await?;
/// # client.close().await
/// # }
/// ```
#[derive(Debug, Default)]
#[must_use = "a builder makes no client before `connect` or `build`"]
pub struct ClientBuilder {
    settings: Settings,
}

impl ClientBuilder {
    /// Options for the jobs of all tasks, stronger than the tasks' attributes.
    pub fn options(mut self, options: JobOptions) -> Self {
        self.settings.all = options;
        self
    }

    /// Options for the jobs of one task, stronger than those for all.
    pub fn task_options(mut self, task: impl Into<String>, options: JobOptions) -> Self {
        self.settings.tasks.insert(task.into(), options);
        self
    }

    /// A client of the backend that `url` names.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](crate::backend::connect::connect).
    pub async fn connect(self, url: &str) -> Result<Client> {
        Ok(self.build(crate::backend::connect::connect(url).await?))
    }

    /// A client of the broker that `url` names, with the record of its jobs where `store_url` says.
    ///
    /// # Errors
    ///
    /// Those of [`connect_with_store`](crate::backend::connect::connect_with_store).
    pub async fn connect_with_store(self, url: &str, store_url: &str) -> Result<Client> {
        Ok(self.build(crate::backend::connect::connect_with_store(url, store_url).await?))
    }

    /// A client of the backends that `places` names.
    ///
    /// # Errors
    ///
    /// Those of [`connect_all`](crate::backend::connect::connect_all).
    pub async fn connect_all(self, places: &Places) -> Result<Client> {
        Ok(self.build(crate::backend::connect::connect_all(places).await?))
    }

    /// A client of a backend that is already there.
    #[must_use]
    pub fn build(self, backend: Arc<dyn Backend>) -> Client {
        let backend: Arc<dyn Backend> = Arc::new(Traced::new(backend));
        Client(Arc::new(Inner {
            settings: self.settings,
            plans: RwLock::default(),
            pushes: Pushes::new(&backend),
            outcomes: Outcomes::new(Arc::clone(&backend)),
            backend,
        }))
    }
}

/// What a dispatch remembers of a job that is being pushed.
#[derive(Clone, Copy)]
pub(crate) struct Ticket {
    id: JobId,
    /// The task's name, for errors.
    task: &'static str,
    /// Whether the caller named the id, so that others may name it too.
    named: bool,
    /// The handle's fate when this push makes the job.
    fate: Fate,
    /// Whether it is an error that another job has the unique key.
    refuses: bool,
}

/// All answers, or the first error with how many were stored beside it.
fn all_or_first_error(results: Vec<Result<Pushed>>) -> Result<Vec<Pushed>> {
    let asked = results.len();
    let mut answers = Vec::with_capacity(asked);
    let mut first_error = None;
    for result in results {
        match result {
            Ok(answer) => answers.push(answer),
            Err(error) => drop(first_error.get_or_insert(error)),
        }
    }
    match first_error {
        None => Ok(answers),
        Some(error) => Err(error.context("stored", format!("{} of {asked} jobs", answers.len()))),
    }
}

fn unanswered() -> Error {
    Error::unavailable("the push was not answered")
}
