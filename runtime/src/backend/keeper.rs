//! Where outcomes are kept of jobs that lie in another backend.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Backend, Changed, KeptOutcome, Results, Retention};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Job, Outcome, State};
use crate::policy::state;
use crate::time::Timestamp;

/// How long a job is known as pending after it was due for the last time, so that the mark of one whose push failed goes.
const MARK: Duration = Duration::from_hours(30 * 24);

/// How often what nobody needs any more is removed.
const PRUNE_EVERY: Duration = Duration::from_mins(1);

/// The most outcomes that are removed together.
const PRUNED: usize = 1_000;

/// A backend that keeps the outcomes of another one's jobs.
///
/// Cheap to clone: a carrier has one, to say what becomes of its jobs before it lets go of them.
#[derive(Clone)]
pub struct Keeper(Arc<Inner>);

struct Inner {
    store: Arc<dyn Backend>,
    /// When it was tidied last. Held to read or to write, never across an await.
    pruned: Mutex<Option<Instant>>,
}

impl Keeper {
    /// A keeper that writes to `store`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Unsupported`] when the store keeps no results.
    pub fn new(store: Arc<dyn Backend>) -> Result<Self> {
        if store.results().is_some() {
            return Ok(Self(Arc::new(Inner { store, pruned: Mutex::default() })));
        }
        let message = format!(
            "{} keeps no results itself, so not those of another backend; name an SQLite, MySQL, Postgres or Redis store",
            store.info().name
        );
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// The backend that outcomes are kept in.
    pub(super) fn store(&self) -> &dyn Backend {
        &*self.0.store
    }

    pub(super) fn results(&self) -> Result<&dyn Results> {
        // It was there when this was made.
        self.0.store.results().ok_or_else(|| Error::new(ErrorKind::Closed, "the store of results has none any more"))
    }

    /// Marks jobs as pending. Before they are sent to where nobody can ask for them, which only carriers do.
    #[cfg(feature = "rabbitmq")]
    pub(super) async fn mark(&self, jobs: &[Job], now: Timestamp) -> Result<()> {
        self.keep(&jobs.iter().map(|job| word(job, now)).collect::<Vec<_>>()).await
    }

    /// Keeps what becomes of jobs at the end of an attempt. Before anybody lets go of that.
    ///
    /// Where none of them has ended it does its best: what they are marked as is still true.
    pub(super) async fn settle(&self, jobs: &[Job], now: Timestamp) -> Result<()> {
        let words: Vec<_> = jobs.iter().map(|job| word(job, now)).collect();
        let kept = self.keep(&words).await;
        if jobs.iter().any(|job| job.state.is_terminal()) { kept } else { Ok(()) }
    }

    /// Forgets what is kept of these jobs.
    pub(super) async fn forget(&self, jobs: &[Job]) -> Result<()> {
        self.keep(&jobs.iter().map(forgotten).collect::<Vec<_>>()).await
    }

    async fn keep(&self, words: &[KeptOutcome]) -> Result<()> {
        if words.is_empty() {
            return Ok(());
        }
        self.results()?.keep(words).await.map_err(in_results)
    }

    /// Removes what nobody needs any more, once in a while.
    pub(super) async fn tidy(&self) {
        {
            let mut pruned = self.0.pruned.lock().unwrap_or_else(PoisonError::into_inner);
            if pruned.is_some_and(|pruned| pruned.elapsed() < PRUNE_EVERY) {
                return;
            }
            *pruned = Some(Instant::now());
        }
        // What is not removed now is removed later.
        while self.prune(Retention::default().expired_result, PRUNED).await.is_ok_and(|pruned| pruned.more) {}
    }

    /// Removes outcomes whose time ended so long ago, at most `limit`.
    pub(super) async fn prune(&self, expired_result: Duration, limit: usize) -> Result<Changed> {
        let Some(inspect) = self.0.store.inspect().filter(|_| limit > 0) else { return Ok(Changed::default()) };
        // Dead letters that lie there are their workers' to prune.
        let outcomes_only = Retention { expired_result, discarded: Duration::MAX, cancelled: Duration::MAX };
        inspect.prune(&outcomes_only, limit).await.map_err(in_results)
    }
}

/// What is to be kept of a job, so that later attempts replace earlier ones.
fn word(job: &Job, now: Timestamp) -> KeptOutcome {
    let kept = |ttl| state::outcome(job).map(|outcome| KeptOutcome { outcome, ttl });
    let retention = Retention::default();
    let word = match job.state {
        State::Completed => job.spec.keep_result.and_then(kept),
        State::Discarded => kept(retention.discarded),
        State::Cancelled | State::Expired => kept(retention.cancelled),
        _ => Some(KeptOutcome { outcome: pending(job), ttl: job.due.since(now).saturating_add(MARK) }),
    };
    word.unwrap_or_else(|| forgotten(job))
}

/// That nothing is known of a job: a mark whose time has ended.
fn forgotten(job: &Job) -> KeptOutcome {
    KeptOutcome { outcome: Outcome { state: State::Available, ..pending(job) }, ttl: Duration::ZERO }
}

fn pending(job: &Job) -> Outcome {
    Outcome { id: job.id(), state: job.state, attempt: job.attempt, finished: job.pushed, result: None, failure: None }
}

/// Names the setting by which the store that failed was named.
pub(super) fn in_results(error: Error) -> Error {
    error.context("setting", "results_url")
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keeper").field(&self.0.store.info().location).finish()
    }
}
