//! The jobs in a worker's hands, and the heartbeat that keeps them there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use crate::backend::{Extend, Extended, Renewal};
use crate::context::ProgressCell;
use crate::error::Result;
use crate::job::{Job, JobId, Lease, Progress};

/// One job in this worker's hands, from its claim until its settlement is written.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) lease: Lease,
    pub(crate) progress: Arc<ProgressCell>,
    /// When it was claimed, by this process.
    pub(crate) claimed: Instant,
    /// Cancelled when the attempt should stop; `why` is written before.
    token: CancellationToken,
    why: OnceLock<Stop>,
    /// Set when the attempt starts, to the moment past which only a task that never yields can be.
    overdue: OnceLock<Option<Instant>>,
}

/// Why an attempt should stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Somebody called the job off.
    Cancelled(String),
    /// The lease is gone: another worker may have the job.
    LeaseLost,
    /// The worker's grace has ended.
    Shutdown,
}

impl Held {
    fn new(lease: Lease, news: &Arc<Notify>) -> Self {
        Self {
            lease,
            progress: Arc::new(ProgressCell::new(Arc::clone(news))),
            claimed: Instant::now(),
            token: CancellationToken::new(),
            why: OnceLock::new(),
            overdue: OnceLock::new(),
        }
    }

    /// Resolves in the task's context when it should stop.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Why the attempt should stop, if it should.
    pub(crate) fn why(&self) -> Option<&Stop> {
        self.why.get()
    }

    /// Asks the attempt to stop; the first reason stands.
    pub(crate) fn stop(&self, why: Stop) {
        // An earlier reason stays: the attempt may be acting on it.
        let _ = self.why.set(why);
        self.token.cancel();
    }

    /// The attempt starts, and ends by `overdue` if its task yields at all.
    pub(crate) fn start(&self, overdue: Option<Instant>) {
        let _ = self.overdue.set(overdue);
    }

    /// Whether the attempt goes on past its timeout, which only a task that never yields can do.
    fn is_overdue(&self, now: Instant) -> bool {
        self.overdue.get().copied().flatten().is_some_and(|overdue| overdue < now)
    }
}

/// All jobs in this worker's hands.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// Locked for moves only, once a batch where there is one, never across an await.
    held: Mutex<HashMap<JobId, Arc<Held>>>,
    /// A task said how far it is.
    news: Arc<Notify>,
    /// Somebody was called off or a queue paused: beat at once.
    pub(crate) beat: Notify,
}

impl Leases {
    /// Takes a batch of claimed jobs into this worker's hands.
    pub(crate) fn take(&self, claimed: Vec<(Lease, Job)>) -> Vec<(Arc<Held>, Job)> {
        let mut held = self.lock();
        let take = |(lease, job): (Lease, Job)| {
            let taken = Arc::new(Held::new(lease, &self.news));
            held.insert(lease.job, Arc::clone(&taken));
            (taken, job)
        };
        claimed.into_iter().map(take).collect()
    }

    /// Lets go of jobs whose settlement is written, or whose lease is lost; a later claim of the same job stays.
    pub(crate) fn release(&self, leases: impl IntoIterator<Item = Lease>) {
        let mut held = self.lock();
        for lease in leases {
            if held.get(&lease.job).is_some_and(|hold| hold.lease == lease) {
                held.remove(&lease.job);
            }
        }
    }

    /// Asks every attempt to stop.
    pub(crate) fn stop_all(&self, why: &Stop) {
        self.all().into_iter().for_each(|held| held.stop(why.clone()));
    }

    /// Whether nothing is in hand.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn find(&self, lease: &Lease) -> Option<Arc<Held>> {
        self.lock().get(&lease.job).filter(|held| held.lease == *lease).cloned()
    }

    /// Everything in hand, in the order of the jobs' ids.
    fn all(&self) -> Vec<Arc<Held>> {
        let mut all: Vec<_> = self.lock().values().cloned().collect();
        all.sort_unstable_by_key(|held| held.lease.job);
        all
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Arc<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long news of progress is collected before it is written.
const PROGRESS_DELAY: Duration = Duration::from_millis(100);

/// Sends a heartbeat three times a lease, and sooner when there is progress to write or a hint to follow.
///
/// Ends never; its caller drops it when nothing is left in hand.
pub(crate) async fn keep(worker: &Shared) {
    let interval = worker.options.lease / 3;
    let mut next = Instant::now();
    let mut failures = 0;
    loop {
        let full = tokio::select! {
            // Time goes first, so that no amount of news keeps the leases from being renewed.
            biased;
            () = tokio::time::sleep_until(next) => true,
            () = worker.leases.beat.notified() => true,
            () = worker.leases.news.notified() => {
                tokio::time::sleep(PROGRESS_DELAY.min(interval)).await;
                next <= Instant::now()
            }
        };
        if full {
            next = Instant::now() + interval;
        }
        let beat = if full { beat(worker).await } else { tell_progress(worker).await };
        match beat {
            Ok(()) => failures = 0,
            Err(error) => {
                failures += 1;
                worker.backend_failed("heartbeat", &error);
                next = Instant::now() + super::reconnect_delay(failures).min(interval);
            }
        }
    }
}

/// Renews every lease, and obeys what comes back.
pub(crate) async fn beat(worker: &Shared) -> Result<()> {
    let now = Instant::now();
    let renew = |held: Arc<Held>| -> Option<(Renewal, Arc<Held>)> {
        if held.is_overdue(now) {
            abandon(&held);
            return None;
        }
        let progress = held.progress.take();
        Some((Renewal { lease: held.lease, progress }, held))
    };
    extend(worker, worker.leases.all().into_iter().filter_map(renew).collect()).await
}

/// Renews only the leases of jobs that have progress to tell.
async fn tell_progress(worker: &Shared) -> Result<()> {
    let tell = |held: Arc<Held>| -> Option<(Renewal, Arc<Held>)> {
        let progress = Some(held.progress.take()?);
        Some((Renewal { lease: held.lease, progress }, held))
    };
    let renewals: Vec<_> = worker.leases.all().into_iter().filter_map(tell).collect();
    if renewals.is_empty() { Ok(()) } else { extend(worker, renewals).await }
}

async fn extend(worker: &Shared, renewals: Vec<(Renewal, Arc<Held>)>) -> Result<()> {
    let (renewals, held): (Vec<_>, Vec<_>) = renewals.into_iter().unzip();
    let extend = Extend { worker: worker.record.clone(), ttl: worker.options.lease, renewals };
    let answer = worker.call("extend", worker.backend.extend(&extend)).await;
    match answer {
        Ok(extended) => {
            obey(worker, extended);
            Ok(())
        }
        Err(error) => {
            // What was not written is told again, unless there is newer news by now.
            for (held, renewal) in held.iter().zip(extend.renewals) {
                restore(held, renewal.progress);
            }
            Err(error)
        }
    }
}

fn restore(held: &Held, progress: Option<Progress>) {
    if let Some(progress) = progress {
        held.progress.put_back(progress);
    }
}

fn obey(worker: &Shared, extended: Extended) {
    for lease in extended.lost {
        // A job that was just settled is still on its way out of our hands, and its lease rightly gone.
        if let Some(held) = worker.leases.find(&lease) {
            held.stop(Stop::LeaseLost);
        }
    }
    for (lease, reason) in extended.cancelled {
        if let Some(held) = worker.leases.find(&lease) {
            held.stop(Stop::Cancelled(reason));
        }
    }
}

/// A task that never yields can't be stopped: its lease is left to lapse, so that the job is rescued as crashed.
fn abandon(held: &Held) {
    if held.why().is_none() {
        tracing::error!(
            job.id = %held.lease.job,
            job.attempt = held.lease.attempt,
            "the task has not yielded since its timeout and can't be stopped; its lease is left to lapse, its slot is lost"
        );
    }
    held.stop(Stop::LeaseLost);
}
