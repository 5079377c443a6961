//! The tasks that are measured.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use taskwright::Shutdown;
use taskwright::prelude::*;
use tokio::sync::mpsc::UnboundedSender;

/// Does nothing with a payload of 100 bytes.
#[task(name = "bench.noop")]
#[expect(clippy::unused_async, reason = "a plain function runs on the pool for blocking work")]
pub(crate) async fn noop(data: String) {
    drop(data);
}

impl Noop {
    /// The bytes of a payload, with all that its encoding adds.
    pub(crate) const PAYLOAD: usize = 100;

    /// A job's worth of data: what is left of the payload beside the name of the field and two lengths.
    pub(crate) fn sample() -> Self {
        Self::new("x".repeat(Self::PAYLOAD - "data".len() - 4))
    }
}

/// The same under a limit that is in the way of nothing.
#[task(name = "bench.capped", limit(max = 100_000, key = "customer-{customer}"))]
#[expect(clippy::unused_async, reason = "a plain function runs on the pool for blocking work")]
pub(crate) async fn capped(customer: usize, data: String) {
    drop((customer, data));
}

impl Capped {
    /// As large as a [`Noop`], but for the customer.
    pub(crate) fn sample(customer: usize) -> Self {
        Self::new(customer, Noop::sample().data)
    }
}

/// How many jobs are still to run, and what ends the worker when they have.
pub(crate) struct Countdown {
    left: AtomicUsize,
    shutdown: Shutdown,
    ended: OnceLock<Instant>,
}

impl Countdown {
    pub(crate) fn new(jobs: usize, shutdown: Shutdown) -> Self {
        Self { left: AtomicUsize::new(jobs), shutdown, ended: OnceLock::new() }
    }

    /// When the last of the jobs ran.
    pub(crate) fn ended(&self) -> Option<Instant> {
        self.ended.get().copied()
    }

    fn count(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            let _ = self.ended.set(Instant::now());
            self.shutdown.stop();
        }
    }
}

/// Counts down, with a payload of 100 bytes.
#[task(name = "bench.counted")]
#[expect(clippy::unused_async, reason = "a plain function runs on the pool for blocking work")]
pub(crate) async fn counted(data: String, #[state] countdown: &Arc<Countdown>) {
    drop(data);
    countdown.count();
}

impl Counted {
    /// As large as a [`Noop`].
    pub(crate) fn sample() -> Self {
        Self::new(Noop::sample().data)
    }
}

/// Tells those who wait that a task has started, and when.
pub(crate) struct Started(pub(crate) UnboundedSender<Instant>);

/// Says when it starts.
#[task(name = "bench.stamp")]
#[expect(clippy::unused_async, reason = "a plain function runs on the pool for blocking work")]
pub(crate) async fn stamp(#[state] started: &Started) {
    // Whoever no longer listens has seen enough.
    let _ = started.0.send(Instant::now());
}

/// What becomes of a job that is to be rescued.
pub(crate) enum Fate {
    /// Its worker is going to be killed: say so, and never end.
    Hold,
    /// Its worker rescues it: say when.
    Rescue(Started),
}

/// Runs for ever in one process, and ends at once in another.
#[task(name = "bench.hold")]
pub(crate) async fn hold(#[state] fate: &Fate) {
    match fate {
        Fate::Hold => {
            println!("{}", crate::rescue::HOLDING);
            std::future::pending::<()>().await;
        }
        Fate::Rescue(started) => drop(started.0.send(Instant::now())),
    }
}

#[cfg(test)]
mod tests {
    use taskwright::codec::{Codec, Payload};

    use super::*;

    #[test]
    fn a_sample_is_as_large_as_it_says() {
        let payload = Payload::encode(Codec::MessagePack, &Noop::sample()).unwrap();
        assert_eq!(payload.bytes.len(), Noop::PAYLOAD);
    }
}
