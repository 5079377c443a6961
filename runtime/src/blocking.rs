//! How many plain functions may run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

/// How many plain functions run at once, and how many of them outlived their attempt. Clones share the pool.
#[derive(Clone, Debug)]
pub(crate) struct BlockingPool {
    /// One permit for each function that an attempt is waiting for.
    /// A stuck thread has lost its permit with its attempt, so that its slot is replaced.
    pub(crate) slots: Arc<Semaphore>,
    /// Threads whose attempt has ended while they go on.
    pub(crate) stuck: Arc<AtomicUsize>,
}

impl BlockingPool {
    pub(crate) fn new(threads: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(threads.max(1))), stuck: Arc::default() }
    }

    /// How many threads are stuck now.
    pub(crate) fn stuck(&self) -> usize {
        self.stuck.load(Ordering::Relaxed)
    }
}

impl Default for BlockingPool {
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(4, usize::from) * 4)
    }
}
