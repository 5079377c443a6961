//! A dispatched job, seen from outside.

use std::error::Error as StdError;
use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;

use crate::backend::{Cancelled, Fetched};
use crate::client::Client;
use crate::codec::{Codec, Payload};
use crate::dispatch::is_unit;
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Failure, JobId, Outcome, Progress, State};
use crate::time::format_duration;

/// A job that was dispatched: its id, its state, and in the end its typed result.
///
/// Awaiting it waits until the job has ended, in this process or another.
/// Dropping it changes nothing for the job; its [`id`](JobHandle::id) can be stored, and
/// [`Client::handle`] finds the job again.
///
/// ```no_run
/// # async fn example(client: taskwright::Client, id: taskwright::JobId) -> taskwright::Result<()> {
/// use std::time::Duration;
///
/// let handle = client.handle::<String>(id);
/// match handle.result(Duration::from_secs(5)).await {
///     Ok(message_id) => println!("sent as {message_id}"),
///     Err(error) if error.kind() == taskwright::ErrorKind::Timeout => println!("still {}", handle.status().await?),
///     Err(error) => println!("{error:?}"),
/// }
/// # Ok(())
/// # }
/// ```
pub struct JobHandle<T> {
    client: Client,
    id: JobId,
    fate: Fate,
    output: PhantomData<fn() -> T>,
}

/// What it means when the store knows nothing of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It was stored, and completion is kept: it was removed.
    Kept,
    /// It was stored, and only completion is forgotten: it is completed.
    Forgotten,
    /// It was pushed in a transaction: that is not committed, or it is completed and forgotten.
    Uncommitted,
    /// It was dispatched by somebody else: there may never have been one.
    Found,
    /// It was dispatched by somebody else, and this dispatch changed it while it waited.
    Replaced,
}

impl<T> JobHandle<T> {
    pub(crate) fn new(client: &Client, id: JobId, fate: Fate) -> Self {
        Self { client: client.clone(), id, fate, output: PhantomData }
    }

    /// The same job, whose task returns an `U`.
    pub(crate) fn typed<U>(self) -> JobHandle<U> {
        JobHandle { client: self.client, id: self.id, fate: self.fate, output: PhantomData }
    }

    /// The job's id: it can be serialized and stored.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Whether the dispatch that returned this handle made the job.
    ///
    /// It did not when another job has the same unique key, or any job the same id: then this is that job.
    #[must_use]
    pub fn is_new(&self) -> bool {
        !matches!(self.fate, Fate::Found | Fate::Replaced)
    }

    /// Whether the dispatch that returned this handle changed a waiting job, as [`OnConflict::Replace`] asks.
    ///
    /// [`OnConflict::Replace`]: crate::job::OnConflict::Replace
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        self.fate == Fate::Replaced
    }

    /// Where the job stands.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ErrorKind::NotFound) when the backend knows of no such job,
    /// [`Unsupported`](ErrorKind::Unsupported) when it keeps no results.
    pub async fn status(&self) -> Result<State> {
        match self.client.outcomes().now(self.id).await? {
            Fetched::Pending { state, .. } => Ok(state),
            Fetched::Finished(outcome) => Ok(outcome.state),
            Fetched::Expired => Ok(State::Completed),
            Fetched::Absent if self.fate == Fate::Forgotten => Ok(State::Completed),
            Fetched::Absent => Err(self.absent()),
        }
    }

    /// How far the job says it is, while it has not ended; `None` when it has said nothing.
    ///
    /// # Errors
    ///
    /// Those of [`JobHandle::status`].
    pub async fn progress(&self) -> Result<Option<Progress>> {
        match self.client.outcomes().now(self.id).await? {
            Fetched::Pending { progress, .. } => Ok(progress),
            Fetched::Finished(_) | Fetched::Expired => Ok(None),
            Fetched::Absent if self.fate == Fate::Forgotten => Ok(None),
            Fetched::Absent => Err(self.absent()),
        }
    }

    /// Calls the job off: it never runs if it has not started, and is asked to stop if it has.
    pub async fn cancel(&self, reason: impl Into<String>) -> Result<Cancelled> {
        let mut answers = self.client.cancel(vec![self.id], reason).await?;
        answers
            .pop()
            .ok_or_else(|| Error::unavailable("the cancellation was not answered").context("job", self.id.to_string()))
    }

    /// Waits until the job has ended, however it ended.
    async fn ended(&self) -> Result<Option<Outcome>> {
        match self.client.outcomes().ended(self.id).await? {
            Fetched::Finished(outcome) => Ok(Some(outcome)),
            Fetched::Expired => Err(self.expired()),
            Fetched::Absent if self.fate == Fate::Forgotten => Ok(None),
            Fetched::Absent | Fetched::Pending { .. } => Err(self.absent()),
        }
    }

    fn absent(&self) -> Error {
        let id = self.id;
        Error::new(
            ErrorKind::NotFound,
            match self.fate {
                Fate::Uncommitted => format!(
                    "there is no job {id}: its transaction is not committed, or it is completed and its result was not kept"
                ),
                Fate::Kept => {
                    format!("there is no job {id} any more: it was deleted, or its time in the store has ended")
                }
                Fate::Forgotten | Fate::Found | Fate::Replaced => format!(
                    "there is no job {id}: it was never dispatched to this backend, or it has ended and is no longer kept"
                ),
            },
        )
    }

    fn expired(&self) -> Error {
        let message = format!(
            "job {} is completed, but its result's time to live has ended; keep results longer with `keep_result`",
            self.id
        );
        Error::new(ErrorKind::NotFound, message)
    }
}

impl<T: DeserializeOwned + 'static> JobHandle<T> {
    /// Waits until the job has ended, and returns what its task returned.
    ///
    /// `handle.await` does the same, and uses the handle up.
    ///
    /// # Errors
    ///
    /// [`Job`](ErrorKind::Job) when the job ended without a result; [`JobFailure::of`] tells why, as does the error's
    /// chain of causes.
    /// [`NotFound`](ErrorKind::NotFound) when the backend knows of no such job or its result is no longer kept,
    /// [`Codec`](ErrorKind::Codec) when the result is not a `T`,
    /// [`Unsupported`](ErrorKind::Unsupported) when the backend keeps no results.
    /// A store that is away for a while is waited for.
    ///
    /// # Cancel safety
    ///
    /// It can be dropped and called again at any time.
    pub async fn wait(&self) -> Result<T> {
        match self.ended().await? {
            Some(outcome) => self.result_of(outcome),
            None => self.unkept(),
        }
    }

    /// As [`JobHandle::wait`], for at most so long.
    ///
    /// # Errors
    ///
    /// Those of [`JobHandle::wait`], and [`Timeout`](ErrorKind::Timeout) when the job has not ended in that time.
    pub async fn result(&self, timeout: Duration) -> Result<T> {
        tokio::time::timeout(timeout, self.wait()).await.unwrap_or_else(|_| {
            let message = format!(
                "job {} has not ended within {}; it goes on, and can be awaited again",
                self.id,
                format_duration(timeout)
            );
            Err(Error::new(ErrorKind::Timeout, message))
        })
    }

    fn result_of(&self, outcome: Outcome) -> Result<T> {
        match (outcome.state, outcome.result) {
            (State::Completed, Some(result)) => {
                result.decode().map_err(|error| error.context("result of job", self.id.to_string()))
            }
            (State::Completed, None) => self.unkept(),
            (state, _) => Err(ended_without_result(self.id, state, outcome.attempt, outcome.failure)),
        }
    }

    /// The result of a job that is completed and left none behind, which is enough for `()`.
    fn unkept(&self) -> Result<T> {
        if is_unit::<T>() {
            return Payload::encode(Codec::default(), &())?.decode();
        }
        let message =
            format!("job {} is completed, and its result was not kept; dispatch it with `keep_result(..)`", self.id);
        Err(Error::new(ErrorKind::NotFound, message))
    }
}

impl<T: DeserializeOwned + 'static> IntoFuture for JobHandle<T> {
    type Output = Result<T>;
    type IntoFuture = BoxFuture<'static, Result<T>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.wait().await })
    }
}

impl<T> Clone for JobHandle<T> {
    fn clone(&self) -> Self {
        Self { client: self.client.clone(), id: self.id, fate: self.fate, output: PhantomData }
    }
}

impl<T> fmt::Debug for JobHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle").field("id", &self.id).field("is_new", &self.is_new()).finish_non_exhaustive()
    }
}

/// Why a job ended without a result: the task's own error with its causes, as an error of this process.
///
/// It is the source of errors of kind [`Job`](ErrorKind::Job); only a job that expired has none.
///
/// ```
/// use taskwright::handle::JobFailure;
///
/// fn is_panic(error: &taskwright::Error) -> bool {
///     let failure = JobFailure::of(error).and_then(JobFailure::failure);
///     failure.is_some_and(|failure| failure.kind == taskwright::job::FailureKind::Panic)
/// }
/// # assert!(!is_panic(&taskwright::Error::unavailable("away")));
/// ```
#[derive(Debug)]
pub struct JobFailure {
    state: State,
    attempt: u32,
    failure: Option<Failure>,
    causes: Option<Box<Cause>>,
}

/// One cause of a failure, by its message.
#[derive(Debug)]
struct Cause {
    message: String,
    next: Option<Box<Cause>>,
}

impl JobFailure {
    /// The failure that an error tells of, if a job's failure is what it tells of.
    #[must_use]
    pub fn of(error: &Error) -> Option<&Self> {
        error.source()?.downcast_ref()
    }

    /// How the job ended.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The attempt that ended it.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What went wrong, as it was recorded.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }
}

impl fmt::Display for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failure {
            Some(failure) => f.write_str(&failure.message),
            None => write!(f, "nobody recorded why it is {}", self.state),
        }
    }
}

impl StdError for JobFailure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.causes.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.next.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

fn ended_without_result(id: JobId, state: State, attempt: u32, failure: Option<Failure>) -> Error {
    let message = match state {
        State::Expired => format!("job {id} expired before it could start"),
        State::Cancelled => format!("job {id} was cancelled"),
        _ => format!("job {id} was {state} after attempt {attempt}"),
    };
    let messages = failure.iter().flat_map(|failure| &failure.causes).cloned();
    let causes = messages.rev().fold(None, |next, message| Some(Box::new(Cause { message, next })));
    let failure = JobFailure { state, attempt, failure, causes };
    let error = Error::new(ErrorKind::Job, message);
    // An expiry explains itself.
    if state == State::Expired && failure.failure.is_none() { error } else { error.because(failure) }
}
