//! Whether a worker can be trusted to be working.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::blocking::BlockingPool;
use crate::error::Error;

/// A worker's view of itself. Clones see the same worker.
#[derive(Clone, Debug)]
pub struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    /// The worker is not live when no claim has succeeded for this long.
    patience: Duration,
    /// Milliseconds from `started` to the last claim that succeeded; `NEVER` before the first.
    claimed: AtomicU64,
    stopping: AtomicBool,
    counts: Counts,
    blocking: BlockingPool,
    /// Held for a clone only, never across an await.
    last_error: Mutex<Option<String>>,
}

const NEVER: u64 = u64::MAX;

/// What a worker has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) claimed: AtomicU64,
    pub(crate) completed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) returned: AtomicU64,
    pub(crate) lost: AtomicU64,
}

/// What a worker did, and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    /// Whether claims have succeeded lately.
    pub live: bool,
    /// Whether it takes jobs: live, started, and not stopping.
    pub ready: bool,
    /// Seconds since a claim succeeded, if one has.
    pub seconds_since_claim: Option<u64>,
    /// Threads whose blocking task outlived its attempt.
    pub stuck_threads: usize,
    /// The last error of the backend, while no claim has succeeded since.
    pub last_error: Option<String>,
    /// What it has done.
    #[serde(flatten)]
    pub summary: Summary,
}

/// What a worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Jobs it claimed.
    pub claimed: u64,
    /// Attempts that completed.
    pub completed: u64,
    /// Attempts that failed, for now or for good.
    pub failed: u64,
    /// Jobs given back without an attempt counted.
    pub returned: u64,
    /// Attempts whose lease was gone when they ended.
    pub lost: u64,
}

impl Health {
    pub(crate) fn new(patience: Duration, blocking: BlockingPool) -> Self {
        Self(Arc::new(Inner {
            started: Instant::now(),
            patience,
            claimed: AtomicU64::new(NEVER),
            stopping: AtomicBool::new(false),
            counts: Counts::default(),
            blocking,
            last_error: Mutex::default(),
        }))
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    pub(crate) fn claim_succeeded(&self) {
        let elapsed = u64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(NEVER - 1);
        self.0.claimed.store(elapsed, Ordering::Relaxed);
    }

    pub(crate) fn backend_failed(&self, error: &Error) {
        *self.0.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{error:?}"));
    }

    pub(crate) fn backend_recovered(&self) {
        *self.0.last_error.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(crate) fn stopping(&self) {
        self.0.stopping.store(true, Ordering::Relaxed);
    }

    /// How long ago a claim succeeded, if one has.
    fn since_claim(&self) -> Option<Duration> {
        let claimed = self.0.claimed.load(Ordering::Relaxed);
        (claimed != NEVER).then(|| self.0.started.elapsed().saturating_sub(Duration::from_millis(claimed)))
    }

    /// Whether claims have succeeded lately; a worker that stops is live until it has stopped.
    #[must_use]
    pub fn is_live(&self) -> bool {
        let silence = self.since_claim().unwrap_or_else(|| self.0.started.elapsed());
        self.0.stopping.load(Ordering::Relaxed) || silence <= self.0.patience
    }

    /// Whether it takes jobs: live, with at least one claim done, and not stopping.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.since_claim().is_some() && self.is_live() && !self.0.stopping.load(Ordering::Relaxed)
    }

    /// What it has done so far.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let Counts { claimed, completed, failed, returned, lost } = &self.0.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Summary {
            claimed: read(claimed),
            completed: read(completed),
            failed: read(failed),
            returned: read(returned),
            lost: read(lost),
        }
    }

    /// Everything, for `/healthz` and the like.
    #[must_use]
    pub fn report(&self) -> HealthReport {
        HealthReport {
            live: self.is_live(),
            ready: self.is_ready(),
            seconds_since_claim: self.since_claim().map(|since| since.as_secs()),
            stuck_threads: self.0.blocking.stuck(),
            last_error: self.0.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            summary: self.summary(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_beyond_patience_turns_health_red_and_a_claim_turns_it_green() {
        let health = Health::new(Duration::from_secs(15), BlockingPool::default());
        assert!(health.is_live() && !health.is_ready());
        health.claim_succeeded();
        assert!(health.is_ready());
        tokio::time::advance(Duration::from_secs(16)).await;
        assert!(!health.is_live() && !health.is_ready());
        health.claim_succeeded();
        assert!(health.is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_never_reached_its_backend_is_not_live() {
        let health = Health::new(Duration::from_secs(15), BlockingPool::default());
        health.backend_failed(&Error::unavailable("connection refused"));
        tokio::time::advance(Duration::from_secs(16)).await;
        assert!(!health.is_live());
        assert!(health.report().last_error.unwrap().contains("connection refused"));
    }
}
