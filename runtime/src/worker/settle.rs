//! Writing how attempts ended, together where it can.

use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::Shared;
use crate::backend::{Settled, Settlement};
use crate::error::{Error, Result};
use crate::job::{Failure, FailureKind, Lease};
use crate::policy::Verdict;

/// Settlements that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Settler {
    /// Locked for moves only, never across an await.
    waiting: Mutex<Vec<Settlement>>,
    /// There is something to write.
    some: Notify,
    /// Something was written: there is room, and perhaps nothing left.
    written: Notify,
}

impl Settler {
    /// Tells those who wait that there is room, and perhaps nothing left.
    pub(super) fn news(&self) {
        self.written.notify_waiters();
    }
}

/// Slots wait while so many settlements are unwritten, so that a backend which is away does not fill the memory.
const MOST_WAITING: usize = 10_000;

impl Shared {
    /// Hands over how an attempt ended. Waits only while the backend is far behind.
    pub(super) async fn settle(&self, settlement: Settlement) {
        self.count(&settlement.verdict);
        loop {
            // Before looking, so that what is written in between is not missed.
            let written = self.settler.written.notified();
            {
                let mut waiting = self.settler.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                if waiting.len() < MOST_WAITING {
                    waiting.push(settlement);
                    if waiting.len() == 1 {
                        self.settler.some.notify_one();
                    }
                    return;
                }
            }
            written.await;
        }
    }

    /// Waits until all that was handed over is written.
    pub(super) async fn flush(&self) {
        loop {
            let written = self.settler.written.notified();
            if self.leases.is_empty() {
                return;
            }
            written.await;
        }
    }

    /// A task has completed its job itself, in its own transaction.
    pub(super) fn completed(&self, lease: Lease) {
        self.health.counts().completed.fetch_add(1, Ordering::Relaxed);
        self.leases.release([lease]);
        self.settler.news();
    }

    fn count(&self, verdict: &Verdict) {
        let counts = self.health.counts();
        let count = match verdict {
            Verdict::Complete { .. } => &counts.completed,
            Verdict::Retry { .. } | Verdict::Discard { .. } => &counts.failed,
            Verdict::Cancel { .. } | Verdict::Expire | Verdict::Return { .. } => &counts.returned,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes settlements for as long as its caller keeps it: the first at once, and those that come meanwhile together.
pub(super) async fn run(worker: &Shared) {
    let most = worker.backend.info().limits.max_claim;
    loop {
        worker.settler.some.notified().await;
        loop {
            let all = std::mem::take(&mut *worker.settler.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            if all.is_empty() {
                break;
            }
            for batch in all.chunks(most.max(1)) {
                write(worker, batch).await;
            }
        }
    }
}

/// Writes one batch, however long it takes: until then the leases are kept alive, so that nothing runs twice.
async fn write(worker: &Shared, batch: &[Settlement]) {
    let mut failures = 0;
    let error = loop {
        match worker.call("settle", worker.backend.settle(batch)).await {
            Ok(settled) => return written(worker, batch, &settled, failures > 0),
            Err(error) if error.is_transient() => {
                failures += 1;
                worker.backend_failed("settle", &error);
                tokio::time::sleep(super::reconnect_delay(failures)).await;
            }
            Err(error) => break error,
        }
    };
    worker.backend_failed("settle", &error);
    refused(worker, batch, &error).await;
}

/// The backend will never take this batch: find out which settlements it is about, and discard those jobs.
async fn refused(worker: &Shared, batch: &[Settlement], error: &Error) {
    if let [settlement] = batch {
        let discard = discarded(settlement, error);
        let settled = worker.call("settle", worker.backend.settle(std::slice::from_ref(&discard))).await;
        return give_up_unless(worker, &discard, settled);
    }
    for settlement in batch {
        Box::pin(write(worker, std::slice::from_ref(settlement))).await;
    }
}

fn discarded(settlement: &Settlement, error: &Error) -> Settlement {
    let mut failure = Failure::from_error(FailureKind::Result, error);
    failure.message = format!("the end of the attempt could not be written: {}", failure.message);
    Settlement { verdict: Verdict::Discard { failure }, ..settlement.clone() }
}

fn give_up_unless(worker: &Shared, settlement: &Settlement, settled: Result<Vec<Settled>>) {
    match settled {
        Ok(settled) => written(worker, std::slice::from_ref(settlement), &settled, false),
        Err(error) => {
            tracing::error!(
                job.id = %settlement.lease.job,
                error = ?error,
                "the end of an attempt can't be written; its lease is left to lapse"
            );
            worker.leases.release([settlement.lease]);
            worker.settler.news();
        }
    }
}

/// Lets go of what is written, and says so where a lease was lost.
fn written(worker: &Shared, batch: &[Settlement], settled: &[Settled], repeated: bool) {
    for (settlement, settled) in batch.iter().zip(settled) {
        // After an error with unknown outcome a lost lease most likely means that the first try was written.
        if *settled == Settled::LeaseLost && !repeated {
            worker.health.counts().lost.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                job.id = %settlement.lease.job,
                job.attempt = settlement.lease.attempt,
                "the attempt ended after its lease was lost; whoever has the job now decides"
            );
        }
    }
    worker.leases.release(batch.iter().map(|settlement| settlement.lease));
    worker.settler.news();
}
