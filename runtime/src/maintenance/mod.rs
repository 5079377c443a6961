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
use crate::worker::Shared;

pub(crate) use leader::resign;

/// Does its rounds for as long as its caller keeps it.
pub(crate) async fn run(worker: &Shared) {
    let round = round(worker.options.lease);
    let mut leadership = leader::Leadership::default();
    let mut next_prune = Instant::now();
    loop {
        tokio::time::sleep(round.mul_f64(0.75 + 0.25 * chance::share())).await;
        if !leadership.hold(worker).await {
            continue;
        }
        reaper::round(worker).await;
        if next_prune <= Instant::now() {
            next_prune = Instant::now() + PRUNE_EVERY;
            pruner::round(worker).await;
        }
    }
}

/// How often the leader looks: an orphan is back at most two seconds after its lease has lapsed.
fn round(lease: Duration) -> Duration {
    (lease / 3).min(Duration::from_secs(2))
}

const PRUNE_EVERY: Duration = Duration::from_mins(1);

/// The most jobs that one call reaps or prunes.
const BATCH: usize = 1_000;

/// A round ends after so many calls, so that one duty never starves another.
const MOST_CALLS: usize = 100;
