//! The builder behind `.dispatch()`, and how a task becomes a job.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[cfg(feature = "cli")]
use futures_util::future::BoxFuture;
#[cfg(feature = "cli")]
use serde::{Serialize, de::DeserializeOwned};

use crate::backend::{InTransaction, Limits};
use crate::client::Client;
use crate::codec::{Codec, Payload};
use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::handle::JobHandle;
use crate::job::{
    Allowance, JobId, JobLimit, JobSpec, Name, NewJob, OnConflict, Replace, Unique, Until, When, check_limit_key,
};
use crate::policy::Backoff;
use crate::task::{Definition, Task};
use crate::time::{Timestamp, format_duration};
use crate::trace::TraceContext;

/// A task on its way, with what this dispatch asks for beyond the task's own options.
///
/// Every task has these methods through [`TaskExt`].
/// Nothing happens before one of [`dispatch`](Dispatch::dispatch), [`dispatch_on`](Dispatch::dispatch_on) and
/// [`dispatch_in`](Dispatch::dispatch_in) is awaited; a value that can't be used is an error there.
///
/// ```
/// use taskwright::prelude::*;
/// # #[derive(Serialize, Deserialize)] struct SendReceipt { order: u64 }
/// # const _: () = { use taskwright::task::{Definition, Execution, Options};
/// # impl Task for SendReceipt { type Output = (); const DEFINITION: &'static Definition = &Definition {
/// # name: "send_receipt", aliases: &[], options: Options::NONE, parameters: &[], state: &[], transaction: None,
/// # execution: Execution::Async, docs: "", file: "", line: 0 };
/// # fn run(self, _: Context) -> taskwright::TaskFuture<()> { Box::pin(async { Ok(()) }) } } };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> taskwright::Result<()> {
/// let client = Client::connect("memory:").await?;
/// let handle = SendReceipt { order: 42 }
///     .delay(Duration::from_secs(60))
///     .priority(5)
///     .queue("slow")
///     .unique_key("receipt-42")
///     .dispatch_on(&client)
///     .await?;
/// assert_eq!(handle.status().await?, taskwright::State::Scheduled);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing is dispatched before `.dispatch().await`"]
pub struct Dispatch<T: Task> {
    task: T,
    /// Mostly nothing. Apart, since it is large and a dispatch is moved from hand to hand.
    asked: Option<Box<Asked>>,
}

/// What one dispatch asks for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    options: JobOptions,
    due: Option<When>,
    unique: AskedUnique,
    weight: Option<u32>,
    headers: BTreeMap<String, String>,
    tags: Vec<String>,
    id: Option<JobId>,
    /// The first value that can't be used.
    fault: Option<Error>,
}

/// What one dispatch asks for about its unique key.
#[derive(Debug, Default)]
struct AskedUnique {
    key: Option<String>,
    until: Option<Until>,
    conflict: Option<OnConflict>,
    /// How long a debounced job waits.
    wait: Option<Duration>,
}

/// A task without its type: all that dispatching needs of it, so that the rest is compiled once and not for each task.
pub(crate) trait AnyTask: Send {
    fn definition(&self) -> &'static Definition;
    fn returns_nothing(&self) -> bool;
    fn unique_key(&self) -> Option<String>;
    fn limit_key(&self) -> Option<String>;
    fn rate_key(&self) -> Option<String>;
    fn payload(&self, codec: Codec) -> Result<Payload>;
}

impl<T: Task> AnyTask for T {
    fn definition(&self) -> &'static Definition {
        T::DEFINITION
    }

    fn returns_nothing(&self) -> bool {
        is_unit::<T::Output>()
    }

    fn unique_key(&self) -> Option<String> {
        Task::unique_key(self)
    }

    fn limit_key(&self) -> Option<String> {
        Task::limit_key(self)
    }

    fn rate_key(&self) -> Option<String> {
        Task::rate_key(self)
    }

    fn payload(&self, codec: Codec) -> Result<Payload> {
        Payload::encode(codec, self)
    }
}

/// Options that may be set in several places; what is `None` is left to the next weaker one.
///
/// The strongest is the dispatch itself, then the client's options for the task, the client's options for all tasks,
/// the task's attribute, and the defaults named here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct JobOptions {
    /// The queue that jobs wait in; `default`.
    pub queue: Option<Name>,
    /// Higher goes first; 0.
    pub priority: Option<i16>,
    /// How often a job is attempted, at least once; 20.
    pub max_attempts: Option<u32>,
    /// The wait before each further attempt; [`Backoff::DEFAULT`].
    pub backoff: Option<Backoff>,
    /// How long one attempt may take, zero meaning any time; any time.
    pub timeout: Option<Duration>,
    /// A job that has not started so long after its dispatch is not started any more, zero meaning never; never.
    pub expires: Option<Duration>,
    /// How long an outcome is kept, zero meaning not at all; a day, and not at all for a task that returns `()`.
    pub keep_result: Option<Duration>,
    /// How payloads and results are written; MessagePack.
    pub codec: Option<Codec>,
}

impl JobOptions {
    /// How often a job is attempted when nobody says otherwise.
    pub const MAX_ATTEMPTS: u32 = 20;
    /// How long an outcome is kept when nobody says otherwise.
    pub const KEEP_RESULT: Duration = Duration::from_hours(24);

    /// These options, and where they say nothing, those.
    #[must_use]
    pub fn or(self, weaker: &Self) -> Self {
        Self {
            queue: self.queue.or_else(|| weaker.queue.clone()),
            priority: self.priority.or(weaker.priority),
            max_attempts: self.max_attempts.or(weaker.max_attempts),
            backoff: self.backoff.or(weaker.backoff),
            timeout: self.timeout.or(weaker.timeout),
            expires: self.expires.or(weaker.expires),
            keep_result: self.keep_result.or(weaker.keep_result),
            codec: self.codec.or(weaker.codec),
        }
    }

    /// What a task's attribute asks for.
    fn of_attribute(definition: &Definition) -> Result<Self> {
        let options = &definition.options;
        Ok(Self {
            queue: options.queue.map(Name::new).transpose()?,
            priority: options.priority,
            max_attempts: options.max_attempts,
            backoff: options.backoff,
            timeout: options.timeout,
            expires: options.expires,
            keep_result: options.keep_result,
            codec: None,
        })
    }
}

impl<T: Task> Dispatch<T> {
    /// A dispatch that asks for nothing beyond the task's own options.
    pub fn new(task: T) -> Self {
        Self { task, asked: None }
    }

    /// Puts the task on its queue, by the [current client](Client::current).
    ///
    /// It returns when the job is stored, as durably as the backend can.
    ///
    /// # Errors
    ///
    /// [`NotConfigured`](ErrorKind::NotConfigured) when there is no current client, and those of
    /// [`Client::dispatch`].
    ///
    /// # Cancel safety
    ///
    /// Dropped before it has returned, the job is stored whole or not at all.
    pub async fn dispatch(self) -> Result<JobHandle<T::Output>> {
        Client::current()?.dispatch(self).await
    }

    /// Puts the task on its queue, by this client.
    ///
    /// # Errors
    ///
    /// Those of [`Client::dispatch`].
    pub async fn dispatch_on(self, client: &Client) -> Result<JobHandle<T::Output>> {
        client.dispatch(self).await
    }

    /// Puts the task on its queue in a transaction of the caller's: the job exists if and when that is committed.
    ///
    /// # Errors
    ///
    /// Those of [`Client::dispatch_in`], by the [current client](Client::current).
    pub async fn dispatch_in<X: InTransaction>(self, transaction: &mut X) -> Result<JobHandle<T::Output>> {
        Client::current()?.dispatch_in(self, transaction).await
    }

    /// Not before `delay` has passed, by the store's clock.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.asked().due = Some(When::After(delay));
        self
    }

    /// Not before this moment: a [`Timestamp`] or a [`SystemTime`](std::time::SystemTime).
    pub fn at(mut self, moment: impl Into<Timestamp>) -> Self {
        self.asked().due = Some(When::At(moment.into()));
        self
    }

    /// Higher goes first.
    pub fn priority(mut self, priority: i16) -> Self {
        self.asked().options.priority = Some(priority);
        self
    }

    /// On this queue.
    pub fn queue(mut self, queue: impl AsRef<str>) -> Self {
        match Name::new(queue) {
            Ok(queue) => self.asked().options.queue = Some(queue),
            Err(error) => self.asked().refuse(error),
        }
        self
    }

    /// Not while another job has the same key: the handle is then that job's, and [`JobHandle::is_new`] is false.
    ///
    /// A job has its key while it is unfinished, unless [`until`](Self::until) or [`within`](Self::within) say otherwise.
    /// Keys are compared across all tasks and queues of a backend.
    ///
    /// ```
    /// # use taskwright::prelude::*;
    /// # #[derive(Serialize, Deserialize)] struct Reindex { shop: u64 }
    /// # const _: () = { use taskwright::task::{Definition, Execution, Options};
    /// # impl Task for Reindex { type Output = (); const DEFINITION: &'static Definition = &Definition {
    /// # name: "reindex", aliases: &[], options: Options::NONE, parameters: &[], state: &[], transaction: None,
    /// # execution: Execution::Async, docs: "", file: "", line: 0 };
    /// # fn run(self, _: Context) -> taskwright::TaskFuture<()> { Box::pin(async { Ok(()) }) } } };
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> taskwright::Result<()> {
    /// let client = Client::connect("memory:").await?;
    /// let first = Reindex { shop: 7 }.unique_key("shop-7").dispatch_on(&client).await?;
    /// let second = Reindex { shop: 7 }.unique_key("shop-7").dispatch_on(&client).await?;
    /// assert!(first.is_new() && !second.is_new());
    /// assert_eq!(first.id(), second.id());
    /// # Ok(())
    /// # }
    /// ```
    pub fn unique_key(mut self, key: impl Into<String>) -> Self {
        self.asked().unique.key = Some(key.into());
        self
    }

    /// How long the job has its unique key.
    pub fn until(mut self, until: Until) -> Self {
        self.asked().unique.until = Some(until);
        self
    }

    /// The job has its unique key for this long after the dispatch, whatever becomes of it.
    pub fn within(self, window: Duration) -> Self {
        self.until(Until::Elapsed(window))
    }

    /// What happens when another job has the unique key.
    pub fn on_conflict(mut self, conflict: OnConflict) -> Self {
        self.asked().unique.conflict = Some(conflict);
        self
    }

    /// The latest wins: the job waits for `wait`, and each further dispatch of its unique key until then replaces it and
    /// lets it wait anew.
    ///
    /// The same as a [`delay`](Self::delay), [`Until::Started`] and [`Replace::ALL`]; what is dispatched while the job
    /// runs waits behind it.
    pub fn debounce(mut self, wait: Duration) -> Self {
        self.asked().unique.wait = Some(wait);
        self.until(Until::Started).on_conflict(OnConflict::Replace(Replace::ALL))
    }

    /// As [`debounce`](Self::debounce), but the job waits for `longest` in all at the most.
    pub fn debounce_at_most(self, wait: Duration, longest: Duration) -> Self {
        self.debounce(wait).on_conflict(OnConflict::Replace(Replace { longest: Some(longest), ..Replace::ALL }))
    }

    /// The first wins: further dispatches of the unique key are skipped until `window` has passed since this one.
    ///
    /// The same as [`within`](Self::within) and [`OnConflict::Skip`].
    pub fn throttle(self, window: Duration) -> Self {
        self.within(window).on_conflict(OnConflict::Skip)
    }

    /// So many slots and starts of each limit that the task's attribute names; at least 1.
    pub fn weight(mut self, weight: u32) -> Self {
        self.asked().weight = Some(weight);
        self
    }

    /// At most so many attempts.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.asked().options.max_attempts = Some(attempts);
        self
    }

    /// Each attempt may take so long.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.asked().options.timeout = Some(timeout);
        self
    }

    /// Attempts may take any time, whatever the task or the client say.
    pub fn no_timeout(self) -> Self {
        self.timeout(Duration::ZERO)
    }

    /// The wait before each further attempt.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.asked().options.backoff = Some(backoff);
        self
    }

    /// Not started any more so long after the dispatch.
    pub fn expires(mut self, after: Duration) -> Self {
        self.asked().options.expires = Some(after);
        self
    }

    /// Keeps what the job returns for so long after it is completed.
    pub fn keep_result(mut self, ttl: Duration) -> Self {
        self.asked().options.keep_result = Some(ttl);
        self
    }

    /// Keeps nothing of the job once it is completed.
    pub fn forget_result(self) -> Self {
        self.keep_result(Duration::ZERO)
    }

    /// Lets this travel beside the payload, for [`Context::headers`].
    pub fn header(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.asked().headers.insert(key.into(), value.into());
        self
    }

    /// A word to find the job by, beside those of the task's attribute.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.asked().tags.push(tag.into());
        self
    }

    /// Under this id, so that dispatching the same thing again stores nothing while the job exists.
    pub fn id(mut self, id: JobId) -> Self {
        self.asked().id = Some(id);
        self
    }

    /// With the payload and the result written like this.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.asked().options.codec = Some(codec);
        self
    }

    /// The task, and what is asked for it.
    pub(crate) fn into_parts(self) -> (T, Option<Box<Asked>>) {
        (self.task, self.asked)
    }

    fn asked(&mut self) -> &mut Asked {
        self.asked.get_or_insert_default()
    }
}

impl Asked {
    /// Whether the caller named the job's id, so that another dispatch may name it too.
    pub(crate) fn names_its_id(&self) -> bool {
        self.id.is_some()
    }

    /// Keeps the first error, to be told at dispatch.
    fn refuse(&mut self, error: Error) {
        self.fault.get_or_insert(error);
    }
}

/// The calls that start a dispatch, on every task.
///
/// They are those of [`Dispatch`], where each is explained.
pub trait TaskExt: Task {
    /// A job of this task that was dispatched earlier, found again by its id through the current client.
    ///
    /// # Errors
    ///
    /// [`NotConfigured`](ErrorKind::NotConfigured) when there is no current client. Whether there is such a job is
    /// asked when the handle is used.
    fn handle(id: JobId) -> Result<JobHandle<Self::Output>> {
        Ok(Client::current()?.handle(id))
    }

    /// Puts the task on its queue, by the current client.
    fn dispatch(self) -> impl Future<Output = Result<JobHandle<Self::Output>>> + Send {
        Dispatch::new(self).dispatch()
    }

    /// Puts the task on its queue, by this client.
    fn dispatch_on(self, client: &Client) -> impl Future<Output = Result<JobHandle<Self::Output>>> + Send {
        Dispatch::new(self).dispatch_on(client)
    }

    /// Puts the task on its queue in a transaction of the caller's.
    fn dispatch_in<X: InTransaction>(
        self,
        transaction: &mut X,
    ) -> impl Future<Output = Result<JobHandle<Self::Output>>> + Send {
        Dispatch::new(self).dispatch_in(transaction)
    }

    /// Not before `delay` has passed.
    fn delay(self, delay: Duration) -> Dispatch<Self> {
        Dispatch::new(self).delay(delay)
    }

    /// Not before this moment.
    fn at(self, moment: impl Into<Timestamp>) -> Dispatch<Self> {
        Dispatch::new(self).at(moment)
    }

    /// Higher goes first.
    fn priority(self, priority: i16) -> Dispatch<Self> {
        Dispatch::new(self).priority(priority)
    }

    /// On this queue.
    fn queue(self, queue: impl AsRef<str>) -> Dispatch<Self> {
        Dispatch::new(self).queue(queue)
    }

    /// Not while another job has the same key.
    fn unique_key(self, key: impl Into<String>) -> Dispatch<Self> {
        Dispatch::new(self).unique_key(key)
    }

    /// How long the job has its unique key.
    fn until(self, until: Until) -> Dispatch<Self> {
        Dispatch::new(self).until(until)
    }

    /// The job has its unique key for this long, whatever becomes of it.
    fn within(self, window: Duration) -> Dispatch<Self> {
        Dispatch::new(self).within(window)
    }

    /// What happens when another job has the unique key.
    fn on_conflict(self, conflict: OnConflict) -> Dispatch<Self> {
        Dispatch::new(self).on_conflict(conflict)
    }

    /// The latest dispatch of the unique key wins.
    fn debounce(self, wait: Duration) -> Dispatch<Self> {
        Dispatch::new(self).debounce(wait)
    }

    /// The latest dispatch of the unique key wins, and the job waits for `longest` at the most.
    fn debounce_at_most(self, wait: Duration, longest: Duration) -> Dispatch<Self> {
        Dispatch::new(self).debounce_at_most(wait, longest)
    }

    /// The first dispatch of the unique key wins.
    fn throttle(self, window: Duration) -> Dispatch<Self> {
        Dispatch::new(self).throttle(window)
    }

    /// So many slots and starts of each limit.
    fn weight(self, weight: u32) -> Dispatch<Self> {
        Dispatch::new(self).weight(weight)
    }

    /// At most so many attempts.
    fn max_attempts(self, attempts: u32) -> Dispatch<Self> {
        Dispatch::new(self).max_attempts(attempts)
    }

    /// Each attempt may take so long.
    fn timeout(self, timeout: Duration) -> Dispatch<Self> {
        Dispatch::new(self).timeout(timeout)
    }

    /// Attempts may take any time.
    fn no_timeout(self) -> Dispatch<Self> {
        Dispatch::new(self).no_timeout()
    }

    /// The wait before each further attempt.
    fn backoff(self, backoff: Backoff) -> Dispatch<Self> {
        Dispatch::new(self).backoff(backoff)
    }

    /// Not started any more so long after the dispatch.
    fn expires(self, after: Duration) -> Dispatch<Self> {
        Dispatch::new(self).expires(after)
    }

    /// Keeps what the job returns for so long.
    fn keep_result(self, ttl: Duration) -> Dispatch<Self> {
        Dispatch::new(self).keep_result(ttl)
    }

    /// Keeps nothing of the job once it is completed.
    fn forget_result(self) -> Dispatch<Self> {
        Dispatch::new(self).forget_result()
    }

    /// Lets this travel beside the payload.
    fn header(self, key: impl Into<String>, value: impl Into<String>) -> Dispatch<Self> {
        Dispatch::new(self).header(key, value)
    }

    /// A word to find the job by.
    fn tag(self, tag: impl Into<String>) -> Dispatch<Self> {
        Dispatch::new(self).tag(tag)
    }

    /// Under this id.
    fn id(self, id: JobId) -> Dispatch<Self> {
        Dispatch::new(self).id(id)
    }

    /// With the payload and the result written like this.
    fn codec(self, codec: Codec) -> Dispatch<Self> {
        Dispatch::new(self).codec(codec)
    }
}

impl<T: Task> TaskExt for T {}

/// What a client dispatches: a task, or a [`Dispatch`] of one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a task nor a dispatch of one",
    label = "can't be dispatched",
    note = "put `#[task]` on a function and give its struct, such as `SendReceipt::new(..)`, not the call of the function"
)]
pub trait IntoDispatch: Send {
    /// The task.
    type Task: Task<Output = Self::Output>;
    /// What awaiting its handle gives.
    type Output;

    /// The dispatch of it.
    fn into_dispatch(self) -> Dispatch<Self::Task>;
}

impl<T: Task> IntoDispatch for T {
    type Task = T;
    type Output = T::Output;

    fn into_dispatch(self) -> Dispatch<T> {
        Dispatch::new(self)
    }
}

impl<T: Task> IntoDispatch for Dispatch<T> {
    type Task = T;
    type Output = T::Output;

    fn into_dispatch(self) -> Self {
        self
    }
}

/// What a command line asks of one dispatch.
#[cfg(feature = "cli")]
#[derive(Clone, Debug, Default)]
pub(crate) struct Order {
    pub(crate) queue: Option<Name>,
    pub(crate) delay: Option<Duration>,
    pub(crate) priority: Option<i16>,
    pub(crate) unique_key: Option<String>,
}

/// Reads a task from its parameters; an error says that they are another's.
#[cfg(feature = "cli")]
pub(crate) type ReadFn = fn(&Payload) -> Result<Box<dyn AnyTask>>;

/// The [`ReadFn`] of `T`.
#[cfg(feature = "cli")]
pub(crate) fn read<T: Task>(payload: &Payload) -> Result<Box<dyn AnyTask>> {
    match payload.decode::<T>() {
        Ok(task) => Ok(Box::new(task)),
        Err(error) => Err(error),
    }
}

/// Waits for a job's end, as [`JobHandle::wait`] does, and writes what its task returned as JSON.
#[cfg(feature = "cli")]
pub(crate) type OutputFn = fn(JobHandle<()>) -> BoxFuture<'static, Result<serde_json::Value>>;

#[cfg(feature = "cli")]
impl Client {
    /// Carries out an order.
    pub(crate) async fn order(&self, task: Box<dyn AnyTask>, order: Order) -> Result<JobHandle<()>> {
        let (job, ticket) = self.prepare(&*task, Some(Box::new(order.into())), &Origin::here())?;
        drop(task);
        self.store(job, ticket).await
    }
}

#[cfg(feature = "cli")]
impl From<Order> for Asked {
    fn from(order: Order) -> Self {
        let Order { queue, delay, priority, unique_key } = order;
        let unique = AskedUnique { key: unique_key, ..AskedUnique::default() };
        let mut asked = Self { unique, due: delay.map(When::After), ..Self::default() };
        asked.options.queue = queue;
        asked.options.priority = priority;
        asked
    }
}

/// The [`OutputFn`] of tasks that return a `T`.
#[cfg(feature = "cli")]
pub(crate) fn output<T: Serialize + DeserializeOwned + 'static>(
    handle: JobHandle<()>,
) -> BoxFuture<'static, Result<serde_json::Value>> {
    Box::pin(async move {
        let handle = handle.typed::<T>();
        let output = handle.wait().await?;
        serde_json::to_value(output).map_err(|error| {
            let message = format!("the result of job {} can't be written as JSON", handle.id());
            Error::new(ErrorKind::Codec, message).because(error)
        })
    })
}

/// Where a dispatch happens: what the jobs it makes inherit.
pub(crate) struct Origin {
    /// The job that is running here.
    parent: Option<JobId>,
    trace: Option<TraceContext>,
}

impl Origin {
    /// This place in the program.
    pub(crate) fn here() -> Self {
        Self { parent: Context::current().map(|ctx| ctx.id()), trace: TraceContext::current() }
    }
}

/// How one client dispatches one task: all options but the dispatch's own, resolved once.
#[derive(Debug)]
pub(crate) struct Plan {
    task: Name,
    tags: &'static [&'static str],
    codec: Codec,
    /// Every option of it is given.
    options: JobOptions,
    queue: Name,
    /// Whether a payload above [`Plan::LARGE`] was reported.
    warned: AtomicBool,
}

impl Plan {
    /// Payloads above this make a queue slow; they are reported once a task.
    const LARGE: usize = 64 * 1024;
    /// The longest unique key, in bytes, that every store can index.
    const LONGEST_KEY: usize = 512;

    /// `stronger` are the client's options for this task.
    pub(crate) fn new(task: &dyn AnyTask, stronger: JobOptions) -> Result<Self> {
        let definition = task.definition();
        let keep_result = if task.returns_nothing() { Duration::ZERO } else { JobOptions::KEEP_RESULT };
        let options = stronger.or(&JobOptions::of_attribute(definition)?).or(&JobOptions {
            keep_result: Some(keep_result),
            max_attempts: Some(JobOptions::MAX_ATTEMPTS),
            ..JobOptions::default()
        });
        Ok(Self {
            task: Name::new(definition.name)?,
            tags: definition.options.tags,
            codec: options.codec.unwrap_or_default(),
            queue: options.queue.clone().unwrap_or_else(Name::default_queue),
            options,
            warned: AtomicBool::new(false),
        })
    }

    /// The job of one dispatch.
    pub(crate) fn job(
        &self,
        task: &dyn AnyTask,
        asked: Option<Box<Asked>>,
        origin: &Origin,
        limits: &Limits,
    ) -> Result<NewJob> {
        let asked = asked.map_or_else(Asked::default, |asked| *asked);
        if let Some(fault) = asked.fault {
            return Err(fault);
        }
        let (unique, wait) = asked.unique.resolve(task)?;
        let due = asked.due.unwrap_or(wait.map_or(When::NOW, When::After));
        let payload = task.payload(asked.options.codec.unwrap_or(self.codec))?;
        let own = asked.options;
        let planned = &self.options;
        let non_zero = |option: Option<Duration>| option.filter(|duration| !duration.is_zero());
        let expires = non_zero(own.expires.or(planned.expires));
        check_times(due, expires, limits)?;
        let job_limits = job_limits(task, asked.weight)?;
        self.check_size(&payload, limits)?;
        let mut headers = asked.headers;
        if let Some(trace) = &origin.trace {
            trace.write_headers(&mut headers);
        }
        let mut tags = asked.tags;
        if !self.tags.is_empty() {
            tags.splice(..0, self.tags.iter().map(|tag| (*tag).to_owned()));
        }
        let spec = JobSpec {
            id: asked.id.unwrap_or_else(JobId::new),
            task: self.task.clone(),
            queue: own.queue.unwrap_or_else(|| self.queue.clone()),
            payload,
            priority: own.priority.or(planned.priority).unwrap_or(0),
            max_attempts: at_least_once(own.max_attempts.or(planned.max_attempts))?,
            timeout: non_zero(own.timeout.or(planned.timeout)),
            backoff: own.backoff.or(planned.backoff).unwrap_or_default(),
            keep_result: non_zero(own.keep_result.or(planned.keep_result)),
            unique,
            limits: job_limits,
            headers,
            tags,
            parent: origin.parent,
        };
        Ok(NewJob { spec: Arc::new(spec), due, expires: expires.map(When::After) })
    }

    fn check_size(&self, payload: &Payload, limits: &Limits) -> Result<()> {
        let size = payload.bytes.len();
        check_payload(size, limits)?;
        if size > Self::LARGE && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                job.task = %self.task,
                bytes = size,
                "a payload is larger than 64 KiB and slows its queue down; keep large data elsewhere and pass a reference",
            );
        }
        Ok(())
    }
}

/// Whether `T` is `()`.
pub(crate) fn is_unit<T: 'static>() -> bool {
    TypeId::of::<T>() == TypeId::of::<()>()
}

/// A payload that a backend would not take is refused before anything is sent.
pub(crate) fn check_payload(size: usize, limits: &Limits) -> Result<()> {
    if size <= limits.max_payload {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::TooLarge,
        format!(
            "the payload has {size} bytes and the backend takes at most {}; keep large data elsewhere and pass a reference",
            limits.max_payload
        ),
    ))
}

fn check_times(due: When, expires: Option<Duration>, limits: &Limits) -> Result<()> {
    let delay = match due {
        When::After(delay) => delay,
        When::At(moment) => moment.since(Timestamp::now()),
    };
    if let Some(longest) = limits.max_delay.filter(|longest| delay > *longest) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "a delay of {} is longer than the {} that the backend can wait; dispatch later, or use another backend",
                format_duration(delay),
                format_duration(longest)
            ),
        ));
    }
    match expires {
        Some(expires) if expires <= delay => Err(Error::invalid(format!(
            "the job would never start: it expires {} after its dispatch and is due only after {}; ask for a later expiry",
            format_duration(expires),
            format_duration(delay)
        ))),
        _ => Ok(()),
    }
}

fn at_least_once(max_attempts: Option<u32>) -> Result<u32> {
    match max_attempts.unwrap_or(JobOptions::MAX_ATTEMPTS) {
        0 => Err(Error::invalid("a job needs at least one attempt, and max_attempts is 0")),
        attempts => Ok(attempts),
    }
}

/// What a job of this task counts against.
fn job_limits(task: &dyn AnyTask, weight: Option<u32>) -> Result<Vec<JobLimit>> {
    let Definition { name, options, .. } = task.definition();
    if options.limit.is_none() && options.rate.is_none() {
        return Ok(Vec::new());
    }
    let own_key = |key: Option<String>| key.unwrap_or_else(|| (*name).to_owned());
    let mut limits = Vec::new();
    if let Some(limit) = &options.limit {
        limits.push((own_key(task.limit_key()), Allowance::at_once(limit.max), limit.weight));
    }
    if let Some(rate) = &options.rate {
        let (key, allowance) = (own_key(task.rate_key()), Allowance::per(rate.count, rate.per));
        match limits.first_mut().filter(|(known, ..)| *known == key) {
            Some((_, both, _)) => *both = both.or(allowance),
            None => limits.push((key, allowance, rate.weight)),
        }
    }
    limits.into_iter().map(|(key, allowance, own)| job_limit(key, allowance, weight.unwrap_or(own))).collect()
}

fn job_limit(key: String, allowance: Allowance, weight: u32) -> Result<JobLimit> {
    if weight == 0 {
        return Err(Error::invalid("a job weighs at least 1, and its weight is 0"));
    }
    check_limit_key(&key)?;
    Ok(JobLimit { key, allowance, weight })
}

impl AskedUnique {
    /// The rule for one job and how long it makes it wait, the dispatch's own wishes before those of the attribute.
    fn resolve(self, task: &dyn AnyTask) -> Result<(Option<Unique>, Option<Duration>)> {
        let rule = task.definition().options.unique;
        let Some(key) = self.key.or_else(|| task.unique_key()) else {
            return match (self.until, self.conflict) {
                (None, None) => Ok((None, None)),
                _ => Err(Error::invalid(
                    "this dispatch says what its unique key means and has none; add `.unique_key(..)`, or `unique` to the task",
                )),
            };
        };
        if !(1..=Plan::LONGEST_KEY).contains(&key.len()) {
            return Err(Error::invalid(format!(
                "a unique key has 1 to {} bytes, and this one has {}; make it from ids or a hash",
                Plan::LONGEST_KEY,
                key.len()
            )));
        }
        let until = self.until.or(rule.map(|rule| rule.until)).unwrap_or_default();
        if until == Until::Elapsed(Duration::ZERO) {
            return Err(Error::invalid("a unique key for a time of zero keeps nothing apart; give it a longer one"));
        }
        let conflict = self.conflict.or(rule.map(|rule| rule.conflict)).unwrap_or_default();
        // A dispatch that says for how long the key is taken leaves nothing of the attribute's debouncing.
        let wait = if self.until.is_none() { rule.and_then(|rule| rule.wait) } else { self.wait };
        Ok((Some(Unique { key, until, conflict }), wait))
    }
}
