//! What one elected worker does for all: put back what dead workers held, and remove what nobody needs any more.
//!
//! Every worker stands for election; a leader that falls silent is followed by another within one lease.
//! Doing it twice at once, after a leader was wrongly believed dead, harms nothing.

mod leader;
mod pruner;
mod reaper;

use std::time::Duration;

use tokio::time::Instant;

use crate::chance;
use crate::worker::{Shared, WorkerOptions};

pub(crate) use leader::resign;

/// Does its rounds for as long as its caller keeps it.
pub(crate) async fn run(worker: &Shared) {
    let lease = worker.options.lease;
    let mut leadership = leader::Leadership::default();
    let mut next_prune = Instant::now();
    let mut calm = Duration::ZERO;
    loop {
        tokio::time::sleep(pause(lease, calm).mul_f64(0.75 + 0.25 * chance::share())).await;
        if !leadership.hold(worker).await {
            calm = Duration::ZERO;
            continue;
        }
        calm = reaper::round(worker).await;
        if next_prune <= Instant::now() {
            next_prune = Instant::now() + PRUNE_EVERY;
            pruner::round(worker).await;
        }
    }
}

/// When the leader looks again: an orphan is back at most two seconds after its lease has lapsed.
///
/// What it saw lapses after `calm`, and what was claimed since no sooner than the shortest lease. Its term is renewed at
/// each third of its own lease.
fn pause(lease: Duration, calm: Duration) -> Duration {
    (LATEST + calm.min(WorkerOptions::SHORTEST_LEASE)).min(lease / 3)
}

const LATEST: Duration = Duration::from_secs(2);

const PRUNE_EVERY: Duration = Duration::from_mins(1);

/// The most jobs that one call reaps or prunes.
const BATCH: usize = 1_000;

/// A round ends after so many calls, so that one duty never starves another.
const MOST_CALLS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_is_found_two_seconds_after_its_lease_has_lapsed() {
        for lease in [1, 3, 6, 30, 600].map(Duration::from_secs) {
            for calm in [0, 1, 500, 1_000, 30_000].map(Duration::from_millis).into_iter().chain([Duration::MAX]) {
                let first_lapse = calm.min(WorkerOptions::SHORTEST_LEASE);
                assert!(pause(lease, calm) <= first_lapse + LATEST, "{lease:?} {calm:?}");
                assert!(pause(lease, calm) <= lease / 3, "a term of {lease:?} would end");
            }
        }
        assert_eq!(
            pause(Duration::from_secs(30), Duration::MAX),
            Duration::from_secs(3),
            "an idle store is asked less"
        );
    }
}
