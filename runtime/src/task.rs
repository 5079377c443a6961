//! What a task is: a payload type, a definition, and a function that runs it.

use std::any::TypeId;
use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::job::{OnConflict, Until};
use crate::policy::Backoff;

/// A registered, serializable task type: its fields are the payload, `run` does the work.
///
/// [`#[task]`](macro@crate::task) implements it for a function, [`#[derive(Task)]`](derive@crate::Task) for a struct
/// that implements [`Run`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    label = "not a task",
    note = "put `#[task]` on a function, or `#[derive(Task)]` on a struct that implements `Run`"
)]
pub trait Task: Serialize + DeserializeOwned + Send + 'static {
    /// What a successful attempt returns, and what awaiting its handle gives.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// The task's name, options and shape, as written in its attribute.
    const DEFINITION: &'static Definition;

    /// The key of [`Options::unique`] with this task's parameters filled in; `None` when the attribute asks for none.
    fn unique_key(&self) -> Option<String> {
        None
    }

    /// The key of [`Options::limit`] with this task's parameters filled in; `None` when the attribute names none.
    fn limit_key(&self) -> Option<String> {
        None
    }

    /// The key of [`Options::rate`] with this task's parameters filled in; `None` when the attribute names none.
    fn rate_key(&self) -> Option<String> {
        None
    }

    /// Runs one attempt.
    fn run(self, ctx: Context) -> TaskFuture<Self::Output>;
}

/// One attempt at its work. Boxed here, so that all that goes on around it is compiled once and not for each task.
pub type TaskFuture<T> = Pin<Box<dyn Future<Output = Result<T, TaskError>> + Send>>;

/// The work of a task that is written as a struct, with optional hooks around it.
///
/// ```
/// use taskwright::prelude::*;
///
/// #[derive(Serialize, Deserialize, Task)]
/// #[task(queue = "mail")]
/// struct Greet {
///     name: String,
/// }
///
/// impl Run for Greet {
///     type Output = String;
///
///     async fn run(&self, _ctx: &Context) -> TaskResult<String> {
///         Ok(format!("hello {}", self.name))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` derives `Task` but does not say how it runs",
    label = "needs `impl Run for {Self}`",
    note = "write `impl Run for {Self} {{ type Output = ..; async fn run(&self, ctx: &Context) -> TaskResult<..> {{ .. }} }}`"
)]
pub trait Run: Send + Sync {
    /// What a successful attempt returns.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Does the work.
    fn run(&self, ctx: &Context) -> impl Future<Output = TaskResult<Self::Output>> + Send;

    /// Called before each attempt; an error is the attempt's failure, and `run` is not called.
    fn before(&self, ctx: &Context) -> impl Future<Output = TaskResult> + Send {
        let _ = ctx;
        async { Ok(()) }
    }

    /// Called after each attempt that succeeded.
    fn after(&self, ctx: &Context, output: &Self::Output) -> impl Future<Output = ()> + Send {
        let _ = (ctx, output);
        async {}
    }

    /// Called after each attempt that failed, panics and timeouts excepted.
    fn failed(&self, ctx: &Context, error: &TaskError) -> impl Future<Output = ()> + Send {
        let _ = (ctx, error);
        async {}
    }
}

/// What most tasks return: any error goes into it by `?`, also a [`TaskError`].
pub type TaskResult<T = ()> = Result<T, Box<dyn StdError + Send + Sync>>;

/// A parameter that travels in the payload.
///
/// Every type that serde can write and read owned, and that may move between threads.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a task's parameter",
    label = "does not travel in a payload",
    note = "a payload parameter is `Serialize + DeserializeOwned + Send + 'static`",
    note = "if the worker should provide it, write `#[state]` before the parameter; a context is `ctx: &Context`"
)]
pub trait TaskArg: Serialize + DeserializeOwned + Send + 'static {}

impl<T: Serialize + DeserializeOwned + Send + 'static> TaskArg for T {}

/// A value that [`App::state`](crate::App::state) can give to tasks.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a task's state",
    label = "is not shared between threads",
    note = "state is `Send + Sync + 'static`: wrap what is not in a `Mutex`, or give each task its own"
)]
pub trait TaskState: Send + Sync + 'static {}

impl<T: Send + Sync + 'static> TaskState for T {}

/// What a task's function may return: `()`, or a `Result` of something serializable and an error.
#[diagnostic::on_unimplemented(
    message = "a task can't return `{Self}`",
    label = "not `()` or a `Result`",
    note = "return `()` or `Result<T, E>`, where `T` is `Serialize + DeserializeOwned + Send + 'static` and `E` turns into `Box<dyn Error + Send + Sync>`",
    note = "a value that can't fail is returned as `TaskResult<T>`, with `Ok(..)`"
)]
pub trait TaskReturn {
    /// What it returns when it succeeds.
    type Output: Serialize + DeserializeOwned + Send + 'static;
    /// What it returns when it fails.
    type Error;

    /// The result in the usual form, the error not yet judged.
    fn into_result(self) -> Result<Self::Output, Self::Error>;

    /// The error as every task's error.
    fn task_error(error: Self::Error) -> TaskError;
}

impl TaskReturn for () {
    type Output = ();
    type Error = std::convert::Infallible;

    fn into_result(self) -> Result<(), Self::Error> {
        Ok(())
    }

    fn task_error(error: Self::Error) -> TaskError {
        match error {}
    }
}

impl<T, E> TaskReturn for Result<T, E>
where
    T: Serialize + DeserializeOwned + Send + 'static,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    type Output = T;
    type Error = E;

    fn into_result(self) -> Self {
        self
    }

    fn task_error(error: E) -> TaskError {
        TaskError::from_boxed(error.into())
    }
}

/// An error that says what should become of the job.
///
/// A task may return any error, which means: try again after the backoff.
/// Returning one of these, directly or as the cause of another error, asks for something else.
///
/// ```
/// use taskwright::prelude::*;
///
/// #[task]
/// async fn charge(card: String) -> TaskResult {
///     if card.is_empty() {
///         return Err(TaskError::discard("no card number").into());
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct TaskError {
    reaction: Reaction,
    error: Box<dyn StdError + Send + Sync>,
}

/// What a failed attempt asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reaction {
    /// Another attempt after the task's backoff, if any are left.
    Backoff,
    /// Another attempt after this long, if any are left.
    RetryIn(Duration),
    /// No further attempt: the job becomes a dead letter.
    Discard,
    /// Run again after this long; costs no attempt.
    Snooze(Duration),
    /// The job is called off: terminal, and not a failure to worry about.
    Cancel,
}

impl TaskError {
    /// Try again after the backoff.
    pub fn new(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { reaction: Reaction::Backoff, error: error.into() }
    }

    /// Give the job up: it is discarded, whatever attempts are left.
    pub fn discard(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { reaction: Reaction::Discard, error: error.into() }
    }

    /// Try again after `delay` instead of the backoff; this failure costs its attempt.
    pub fn retry_in(delay: Duration, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { reaction: Reaction::RetryIn(delay), error: error.into() }
    }

    /// Run again after `delay`; this costs no attempt and is not a failure.
    #[must_use]
    pub fn snooze(delay: Duration) -> Self {
        Self { reaction: Reaction::Snooze(delay), error: "the task snoozed".into() }
    }

    /// Call the job off: it ends as cancelled, for this reason.
    pub fn cancel(reason: impl Into<String>) -> Self {
        Self { reaction: Reaction::Cancel, error: reason.into().into() }
    }

    /// What it asks for.
    #[must_use]
    pub fn reaction(&self) -> Reaction {
        self.reaction
    }

    /// The error itself.
    #[must_use]
    pub fn error(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.error
    }

    /// Any error, asking for what the first [`TaskError`] among it and its causes asks for.
    pub(crate) fn from_boxed(error: Box<dyn StdError + Send + Sync>) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(task_error) => return *task_error,
            Err(error) => error,
        };
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(task_error) = inner.downcast_ref::<Self>() {
                return Self { reaction: task_error.reaction, error };
            }
            cause = inner.source();
        }
        Self::new(error)
    }

    /// Any error, asking for this.
    pub(crate) fn asking_for(reaction: Reaction, error: Box<dyn StdError + Send + Sync>) -> Self {
        Self { reaction, error }
    }

    /// The same error, asking for no further attempt.
    pub(crate) fn into_discard(mut self) -> Self {
        if matches!(self.reaction, Reaction::Backoff) {
            self.reaction = Reaction::Discard;
        }
        self
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl StdError for TaskError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}

/// A task's name, options and shape, known at compile time.
#[derive(Debug)]
pub struct Definition {
    /// The wire name: `package::function`, unless the attribute says otherwise. The package is called as in its
    /// manifest, dashes included, and no modules come between, so that a function can move.
    pub name: &'static str,
    /// Earlier names, still accepted.
    pub aliases: &'static [&'static str],
    /// What the attribute asks for.
    pub options: Options,
    /// The payload's parameters, in order.
    pub parameters: &'static [Parameter],
    /// What the worker must provide.
    pub state: &'static [StateNeed],
    /// The transaction that its writes share with its completion, if it takes one.
    pub transaction: Option<TransactionNeed>,
    /// How it runs.
    pub execution: Execution,
    /// The task's own documentation.
    pub docs: &'static str,
    /// Where it is written.
    pub file: &'static str,
    /// The line there.
    pub line: u32,
}

/// How a task's function runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Execution {
    /// On the async executor.
    Async,
    /// A plain function, on the bounded thread pool.
    Blocking,
    /// In a child process.
    Process,
}

/// The options of a task's attribute; what is `None` is left to configuration.
#[derive(Debug)]
pub struct Options {
    /// The queue its jobs wait in.
    pub queue: Option<&'static str>,
    /// Higher goes first.
    pub priority: Option<i16>,
    /// How often a job is attempted.
    pub max_attempts: Option<u32>,
    /// The wait before each further attempt.
    pub backoff: Option<Backoff>,
    /// How long one attempt may take.
    pub timeout: Option<Duration>,
    /// A job that has not started after this long is not started any more.
    pub expires: Option<Duration>,
    /// How long an outcome is kept; zero forgets it at once.
    pub keep_result: Option<Duration>,
    /// The rule that keeps equal jobs apart.
    pub unique: Option<UniqueRule>,
    /// A limit on how many run at once.
    pub limit: Option<LimitRule>,
    /// A limit on how many start in a time.
    pub rate: Option<RateRule>,
    /// Words to find jobs by.
    pub tags: &'static [&'static str],
}

impl Options {
    /// Nothing asked for.
    pub const NONE: Self = Self {
        queue: None,
        priority: None,
        max_attempts: None,
        backoff: None,
        timeout: None,
        expires: None,
        keep_result: None,
        unique: None,
        limit: None,
        rate: None,
        tags: &[],
    };
}

/// Which jobs of a task are equal, and what that means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueRule {
    /// A text with `{parameter}` in it.
    pub key: &'static str,
    /// How long a job has its key.
    pub until: Until,
    /// What a dispatch does when another job has the key.
    pub conflict: OnConflict,
    /// How long a job waits that a later dispatch may replace.
    pub wait: Option<Duration>,
}

impl UniqueRule {
    /// One unfinished job of this key; another dispatch is skipped.
    #[must_use]
    pub const fn of(key: &'static str) -> Self {
        Self { key, until: Until::Done, conflict: OnConflict::Skip, wait: None }
    }
}

/// At most `max` jobs of one key run at once, in the whole cluster.
#[derive(Debug)]
pub struct LimitRule {
    /// A text with `{parameter}` in it; `None` for the task's name.
    pub key: Option<&'static str>,
    /// How many.
    pub max: u32,
    /// How many of them one job is.
    pub weight: u32,
}

/// At most `count` jobs of one key start in `per`, in the whole cluster.
#[derive(Debug)]
pub struct RateRule {
    /// A text with `{parameter}` in it; `None` for the task's name.
    pub key: Option<&'static str>,
    /// How many.
    pub count: u32,
    /// In which time.
    pub per: Duration,
    /// How many of them one job is.
    pub weight: u32,
}

/// A payload parameter, for people and tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// Its name in the payload.
    pub name: &'static str,
    /// Its type as written.
    pub type_name: &'static str,
}

impl Parameter {
    /// A parameter of type `T`.
    #[must_use]
    pub const fn of<T: TaskArg>(name: &'static str, type_name: &'static str) -> Self {
        Self { name, type_name }
    }
}

/// A value that a task needs from [`App::state`](crate::App::state).
#[derive(Clone, Copy, Debug)]
pub struct StateNeed {
    /// The parameter that receives it.
    pub parameter: &'static str,
    /// Its type's identity.
    pub type_id: fn() -> TypeId,
    /// Its type's name.
    pub type_name: fn() -> &'static str,
}

impl StateNeed {
    /// The need for a `T`.
    #[must_use]
    pub const fn of<T: TaskState>(parameter: &'static str) -> Self {
        Self { parameter, type_id: TypeId::of::<T>, type_name: std::any::type_name::<T> }
    }
}

/// A transaction that a task writes and completes in.
#[derive(Clone, Copy, Debug)]
pub struct TransactionNeed {
    /// The parameter that receives it.
    pub parameter: &'static str,
    /// Its type's identity.
    pub type_id: fn() -> TypeId,
    /// Its type's name.
    pub type_name: fn() -> &'static str,
}

impl TransactionNeed {
    /// The need for a `T`, lent as `&mut T`.
    #[must_use]
    pub const fn of<T: 'static>(parameter: &'static str) -> Self {
        Self { parameter, type_id: TypeId::of::<T>, type_name: std::any::type_name::<T> }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] TaskError);

    #[test]
    fn a_task_error_speaks_through_the_errors_around_it() {
        let wrapped = TaskError::from_boxed(Outer(TaskError::discard("inner")).into());
        assert_eq!(wrapped.reaction(), Reaction::Discard);
        assert_eq!(wrapped.to_string(), "outer");
        let through_anyhow = anyhow::Error::from(TaskError::snooze(Duration::from_secs(1))).context("while napping");
        assert_eq!(TaskError::from_boxed(through_anyhow.into()).reaction(), Reaction::Snooze(Duration::from_secs(1)));
    }

    #[test]
    fn any_other_error_asks_for_another_attempt() {
        assert_eq!(TaskError::from_boxed("plain".into()).reaction(), Reaction::Backoff);
    }
}
