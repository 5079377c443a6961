//! What a running task sees: its job, its deadline, its state, and a way to say how far it is.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::blocking::BlockingPool;
use crate::codec::Codec;
use crate::job::{JobId, JobSpec, Name, Progress};
use crate::policy::Backoff;
use crate::task::TaskState;
use crate::transaction::TransactionCell;

/// A running task's view of its job. Cheap to clone.
///
/// ```
/// use taskwright::prelude::*;
///
/// #[task]
/// async fn import(rows: u32, ctx: &Context) -> TaskResult {
///     for row in 0..rows {
///         if ctx.is_cancelled() {
///             return Err(TaskError::cancel("asked to stop").into());
///         }
///         ctx.progress(f64::from(row) / f64::from(rows), format!("row {row}")).await;
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    spec: Arc<JobSpec>,
    attempt: u32,
    attempt_limit: u32,
    deadline: Option<Instant>,
    token: CancellationToken,
    progress: Arc<ProgressCell>,
    states: Arc<States>,
    blocking: BlockingPool,
    transaction: TransactionCell,
}

tokio::task_local! {
    static CURRENT: Context;
}

/// The latest progress of one job, between the task that says it and the lease keeper that writes it.
#[derive(Debug, Default)]
pub(crate) struct ProgressCell {
    /// Held for a move only, never across an await.
    latest: Mutex<Option<Progress>>,
    /// Tells the lease keeper that some job of its worker has news.
    news: Arc<Notify>,
}

impl ProgressCell {
    pub(crate) fn new(news: Arc<Notify>) -> Self {
        Self { latest: Mutex::default(), news }
    }

    pub(crate) fn take(&self) -> Option<Progress> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Returns what could not be written, unless there is newer news.
    pub(crate) fn put_back(&self, progress: Progress) {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(progress);
    }

    fn set(&self, progress: Progress) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
        self.news.notify_one();
    }
}

impl Context {
    /// `job` is what was asked for, the attempt's number, and the attempt after which a failure is final.
    pub(crate) fn new(
        job: (Arc<JobSpec>, u32, u32),
        deadline: Option<Instant>,
        token: CancellationToken,
        progress: Arc<ProgressCell>,
        states: Arc<States>,
        blocking: BlockingPool,
        transaction: TransactionCell,
    ) -> Self {
        let (spec, attempt, attempt_limit) = job;
        Self(Arc::new(Inner { spec, attempt, attempt_limit, deadline, token, progress, states, blocking, transaction }))
    }

    /// A context for calling a task's function directly, in a test or by hand: first attempt, no deadline, no state.
    #[must_use]
    pub fn test() -> Self {
        Self::test_with(States::default())
    }

    /// As [`Context::test`], with state for `#[state]` parameters that are looked up.
    #[must_use]
    pub fn test_with(states: States) -> Self {
        // Both names are constants that `Name::new` accepts.
        let name = |text| Name::new(text).unwrap_or_else(|_| unreachable!());
        Self(Arc::new(Inner {
            spec: Arc::new(JobSpec {
                id: JobId::new(),
                task: name("test"),
                queue: name("test"),
                payload: crate::codec::Payload { codec: Codec::MessagePack, bytes: bytes::Bytes::new() },
                priority: 0,
                max_attempts: 1,
                timeout: None,
                backoff: Backoff::DEFAULT,
                keep_result: None,
                unique: None,
                limits: Vec::new(),
                headers: BTreeMap::new(),
                tags: Vec::new(),
                parent: None,
            }),
            attempt: 1,
            attempt_limit: 1,
            deadline: None,
            token: CancellationToken::new(),
            progress: Arc::default(),
            states: Arc::new(states),
            blocking: BlockingPool::default(),
            transaction: TransactionCell::default(),
        }))
    }

    /// The context of the task that is running here, if one is.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// Runs `future` as the task that this context belongs to.
    pub(crate) fn enter<F: Future>(&self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self.clone(), future)
    }

    /// Runs `work`, which may not await, as the task that this context belongs to.
    pub(crate) fn enter_sync<R>(&self, work: impl FnOnce() -> R) -> R {
        CURRENT.sync_scope(self.clone(), work)
    }

    /// The job's id.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.0.spec.id
    }

    /// The task's wire name.
    #[must_use]
    pub fn task(&self) -> &Name {
        &self.0.spec.task
    }

    /// The queue that the job came from.
    #[must_use]
    pub fn queue(&self) -> &Name {
        &self.0.spec.queue
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// Whether a failure of this attempt is final.
    #[must_use]
    pub fn is_last_attempt(&self) -> bool {
        self.0.attempt >= self.0.attempt_limit
    }

    /// When this attempt times out, if it does.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// How long this attempt may still take, if its time is limited.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.0.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Resolves when the job was called off, its lease is lost, or its worker's grace has ended.
    ///
    /// A task that does not look at it is dropped at its next await shortly afterwards.
    #[must_use]
    pub fn cancellation(&self) -> &CancellationToken {
        &self.0.token
    }

    /// Whether the task should stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.token.is_cancelled()
    }

    /// What travels beside the payload.
    #[must_use]
    pub fn headers(&self) -> &BTreeMap<String, String> {
        &self.0.spec.headers
    }

    /// Says how far the task is, from 0 to 1, and what it is doing; a fraction outside that range is moved to its end.
    ///
    /// The newest word counts; it reaches the store within moments, if this worker still holds the job.
    pub async fn progress(&self, fraction: f64, note: impl Into<String>) {
        self.report_progress(fraction, note);
        tokio::task::consume_budget().await;
    }

    /// As [`Context::progress`], for blocking tasks.
    pub fn report_progress(&self, fraction: f64, note: impl Into<String>) {
        let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        self.0.progress.set(Progress { fraction, note: note.into() });
    }

    /// A value given to [`App::state`](crate::App::state), if there is one of this type.
    #[must_use]
    pub fn state<T: TaskState>(&self) -> Option<&T> {
        self.0.states.get()
    }

    pub(crate) fn spec(&self) -> &JobSpec {
        &self.0.spec
    }

    pub(crate) fn shared_spec(&self) -> Arc<JobSpec> {
        Arc::clone(&self.0.spec)
    }

    pub(crate) fn attempt_limit(&self) -> u32 {
        self.0.attempt_limit
    }

    pub(crate) fn transaction(&self) -> &TransactionCell {
        &self.0.transaction
    }

    pub(crate) fn blocking_pool(&self) -> &BlockingPool {
        &self.0.blocking
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.id())
            .field("task", self.task())
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}

/// The values that tasks may ask for by type.
///
/// A value given as `T` is found as `T` and as `Arc<T>`.
#[derive(Default)]
pub struct States(HashMap<TypeId, Box<dyn Any + Send + Sync>>);

impl States {
    /// Adds a value; a second one of the same type replaces the first.
    pub fn insert<T: TaskState>(&mut self, value: T) {
        let shared = Arc::new(value);
        self.0.insert(TypeId::of::<T>(), Box::new(Arc::clone(&shared)));
        self.0.insert(TypeId::of::<Arc<T>>(), Box::new(Arc::new(shared)));
    }

    /// The value of this type.
    #[must_use]
    pub fn get<T: TaskState>(&self) -> Option<&T> {
        let shared = self.0.get(&TypeId::of::<T>())?.downcast_ref::<Arc<T>>()?;
        Some(shared)
    }

    pub(crate) fn contains(&self, type_id: TypeId) -> bool {
        self.0.contains_key(&type_id)
    }
}

impl fmt::Debug for States {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "States({} values)", self.0.len() / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_found_by_its_type_and_behind_an_arc() {
        let mut states = States::default();
        states.insert(7_u32);
        assert_eq!(states.get::<u32>(), Some(&7));
        assert_eq!(states.get::<Arc<u32>>().map(|shared| **shared), Some(7));
        assert_eq!(states.get::<u64>(), None);
    }

    #[test]
    fn progress_stays_between_nothing_and_all() {
        let ctx = Context::test();
        for (said, kept) in [(-1.0, 0.0), (0.5, 0.5), (7.0, 1.0), (f64::NAN, 0.0)] {
            ctx.report_progress(said, "");
            assert_eq!(ctx.0.progress.take().map(|progress| progress.fraction), Some(kept));
        }
    }
}
