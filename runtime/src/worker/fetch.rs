//! The claim loop: it keeps the slots busy, and never goes deaf.

use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use crate::backend::{Claim, Claimed, QueueClaim};
use crate::job::{Job, Lease};
use crate::policy::prefetch;
use crate::policy::state::Return;

/// Jobs that no slot takes for so long are given back, since the tasks before them are not short after all.
const STALLED: Duration = Duration::from_secs(1);

/// How long nothing is fetched ahead after jobs were given back.
const CAUTION: Duration = Duration::from_secs(5);

/// What a claim taught about the queues.
enum Found {
    /// As many jobs as were asked for: there may be more.
    Enough,
    /// Fewer: nothing is left until something happens, or until this long.
    Dry(Option<Duration>),
}

/// How far to fetch ahead, learned from how long tasks take.
#[derive(Default)]
struct Ahead {
    mean_time: Option<Duration>,
    cautious_until: Option<Instant>,
}

impl Ahead {
    /// How many jobs to have in hand now.
    fn target(&mut self, worker: &Shared) -> usize {
        self.mean_time = prefetch::smoothed(self.mean_time, worker.slots.mean_time());
        let cautious = self.cautious_until.is_some_and(|until| Instant::now() < until);
        let most = if cautious { 0 } else { worker.options.prefetch };
        let slots = worker.options.concurrency;
        slots + prefetch::target(slots, self.mean_time, most)
    }
}

/// Claims until the worker stops, or until the queues are empty if it drains.
pub(crate) async fn run(worker: &Shared) {
    let mut ahead = Ahead::default();
    let mut failures = 0;
    while !worker.shutdown.is_stopping() {
        if worker.slots.stalled_for().is_some_and(|stalled| stalled >= STALLED) {
            worker.give_back_waiting(Return::Stopping).await;
            ahead.cautious_until = Some(Instant::now() + CAUTION);
        }
        let Some(claim) = wish(worker, ahead.target(worker)) else {
            wait_for_room(worker).await;
            continue;
        };
        match worker.call("claim", worker.backend.claim(&claim)).await {
            Ok(claimed) => {
                failures = 0;
                worker.claim_succeeded(claimed.jobs.len());
                match accept(worker, &claim, claimed) {
                    Found::Enough => {}
                    // A store that says to look again at once does not know yet whether it is empty.
                    Found::Dry(next_due)
                        if worker.options.drain
                            && worker.slots.in_hand() == 0
                            && next_due.is_none_or(|due| !due.is_zero()) =>
                    {
                        if worker.leases.is_empty() {
                            return;
                        }
                        // What was just settled may have come back at once: look again when it is written.
                        worker.flush().await;
                    }
                    Found::Dry(next_due) => wait_for_jobs(worker, next_due).await,
                }
            }
            Err(error) => {
                failures += 1;
                worker.backend_failed("claim", &error);
                wait_after_failure(worker, failures).await;
            }
        }
    }
}

/// What to claim now; `None` while there is no room, in which case `room` will be told.
fn wish(worker: &Shared, target: usize) -> Option<Claim> {
    let slots = worker.options.concurrency;
    // Ahead of free slots, one claim of half the target is cheaper than many of a few jobs.
    let low_mark = if target > slots { slots.max(target - target / 2) } else { slots - 1 };
    worker.slots.tell_at(low_mark);
    let in_hand = worker.slots.in_hand();
    if in_hand > low_mark {
        return None;
    }
    let room = (target - in_hand).min(worker.backend.info().limits.max_claim);
    let queue_claim = |queue: &super::QueueOptions| {
        let limit = worker.slots.queue_room(&queue.name).min(room);
        (limit > 0).then(|| QueueClaim { queue: queue.name.clone(), limit })
    };
    let queues: Vec<_> = worker.options.queues.iter().filter_map(queue_claim).collect();
    let any = !queues.is_empty();
    let super::WorkerOptions { lease: ttl, max_crashes, priority_aging: aging, .. } = worker.options;
    let unknown = worker.unknown_tasks();
    any.then_some(Claim { worker: worker.id, queues, limit: room, unknown, ttl, max_crashes, aging })
}

/// Hands claimed jobs to the slots, and judges whether there are more.
fn accept(worker: &Shared, claim: &Claim, claimed: Claimed) -> Found {
    let count = claimed.jobs.len();
    let of_queue = |queue: &QueueClaim| claimed.jobs.iter().filter(|(_, job)| job.spec.queue == queue.queue).count();
    // A queue that gave all that its own limit allows may hold more, though the claim as a whole was not filled.
    let queue_filled = |queue: &QueueClaim| queue.limit < claim.limit && of_queue(queue) >= queue.limit;
    let enough = count >= claim.limit || count > 0 && claim.queues.iter().any(queue_filled);
    meet(worker, &claimed.jobs);
    worker.take(claimed.jobs);
    if enough { Found::Enough } else { Found::Dry(claimed.next_due) }
}

/// Reports tasks that are not known before another claim is made, so that none can have their jobs again when they are
/// given back.
fn meet(worker: &Shared, jobs: &[(Lease, Job)]) {
    let mut known = None;
    for (_, job) in jobs {
        let task = &job.spec.task;
        if known == Some(task) {
            continue;
        }
        match worker.registry.get(task.as_str()) {
            Some(_) => known = Some(task),
            None => worker.report_unknown(task),
        }
    }
}

async fn wait_for_room(worker: &Shared) {
    tokio::select! {
        biased;
        () = worker.shutdown.stopping() => {}
        () = worker.slots.room.notified() => {}
        // Time to see whether what was fetched ahead is stuck behind long tasks.
        () = tokio::time::sleep(STALLED) => {}
    }
}

async fn wait_for_jobs(worker: &Shared, next_due: Option<Duration>) {
    // A millisecond late rather than early: a claim just before the due time would find nothing and wait again.
    let due = next_due.map_or(Duration::MAX, |due| due.saturating_add(Duration::from_millis(1)));
    // A queue at its own limit was not asked, so the end of one of its jobs is news; so is the last end in a drain.
    let room_is_news = worker.options.drain || worker.slots.any_queue_full();
    tokio::select! {
        biased;
        () = worker.shutdown.stopping() => {}
        () = worker.look.notified() => {}
        () = worker.slots.room.notified(), if room_is_news => {}
        () = tokio::time::sleep(due.min(worker.idle_poll())) => {}
    }
}

async fn wait_after_failure(worker: &Shared, failures: u32) {
    tokio::select! {
        biased;
        () = worker.shutdown.stopping() => {}
        () = tokio::time::sleep(super::reconnect_delay(failures)) => {}
    }
}
