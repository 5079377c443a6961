//! Jobs in this process's memory: the reference model of [the contract](crate::backend).
//!
//! Everything that a store promises is here in its plainest form, so it is where to look when the contract's words
//! leave a question, and what the property tests compare the other stores with.
//! It is also the store for tests, and for work that may die with its process.
//!
//! ```
//! use taskwright::backend::{Backend, memory::Memory};
//!
//! let memory = Memory::new();
//! assert_eq!(memory.info().durability, "nothing survives the end of the process");
//! ```
//!
//! # How it is built
//!
//! - `store`: all jobs, and the three places in which one lies: waiting, leased, finished.
//! - `waiting`: one queue's jobs, the due ones apart from the future ones.
//! - `limits`: jobs that wait for a limit, and how the limits stand.
//! - `leases`: which lease lapses next.
//! - `batches`: which pushes were seen.
//! - `facets`: results, leadership, inspection.
//! - `wake`: hints to whoever listens.
//! - `slab` and `ids`: where jobs and their ids are kept.
//!
//! One mutex guards it all; it is held for the work on one batch and never across an await.
//!
//! # What it does differently
//!
//! [`Backend::transaction`] is `None`: there is no database that a caller could have begun a transaction in.
//! A repeated push is recognised by its batch for an hour, as promised, or until a million further batches came:
//! memory is finite, and nothing between a caller and its own process loses an answer for so long.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use self::store::Store;
use self::wake::{Listeners, News};
use crate::backend::{
    Backend, Cancel, Cancelled, Claim, Claimed, Extend, Extended, Info, Inspect, Leader, Ledger, Limiter, Limits, Push,
    Pushed, Reap, Reaped, Results, Settled, Settlement, Transaction, Wake,
};
use crate::error::{Error, ErrorKind, Result};
use crate::job::Name;
use crate::time::{Clock, Timestamp};

mod batches;
mod facets;
mod ids;
mod keys;
mod leases;
mod limits;
mod slab;
mod store;
mod waiting;
mod wake;

#[cfg(test)]
mod tests;

/// A store of jobs in this process's memory.
///
/// A value of it is one client's handle: closing it leaves other handles on the same store open.
pub struct Memory {
    shared: Arc<Shared>,
    info: Info,
    /// Set once by `close`; shared with this handle's listeners, which end with it.
    closed: Arc<AtomicBool>,
}

/// What all handles on one store share.
struct Shared {
    clock: Clock,
    /// Held for the work on one batch, never across an await.
    store: Mutex<Store>,
    listeners: Listeners,
}

/// The stores that have a name; each lives until the process ends.
static NAMED: LazyLock<Mutex<HashMap<Name, Arc<Shared>>>> = LazyLock::new(Mutex::default);

impl Memory {
    /// A new and empty store that goes by this machine's time.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// A new and empty store that goes by `clock`.
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self::handle(Shared::new(clock), "memory:".to_owned())
    }

    /// A handle on the store of this name, which is made when first asked for and lives until the process ends.
    #[must_use]
    pub fn named(name: &Name) -> Self {
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = named.entry(name.clone()).or_insert_with(|| Shared::new(Clock::system()));
        Self::handle(Arc::clone(shared), format!("memory:{name}"))
    }

    /// Another handle on the same store, as a second client of it would have; each is closed by itself.
    #[must_use]
    pub fn share(&self) -> Self {
        Self::handle(Arc::clone(&self.shared), self.info.location.clone())
    }

    fn handle(shared: Arc<Shared>, location: String) -> Self {
        let info = Info {
            name: "memory",
            location,
            durability: "nothing survives the end of the process".to_owned(),
            warnings: Vec::new(),
            schema: None,
            atomic_push: true,
            passes_over: true,
            ages: true,
            limits: LIMITS,
        };
        Self { shared, info, closed: Arc::default() }
    }

    /// Does one operation under the lock, then tells those who listen what it brought about.
    fn operate<T>(&self, operation: impl FnOnce(&mut Store, Timestamp, &mut News) -> T) -> Result<T> {
        self.check_open()?;
        let mut news = News::default();
        let answer = {
            let mut store = self.shared.store.lock().unwrap_or_else(PoisonError::into_inner);
            operation(&mut store, self.shared.clock.now(), &mut news)
        };
        self.shared.listeners.tell(&news);
        Ok(answer)
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }
}

/// One batch holds the lock, so batches are bounded to what takes milliseconds.
const LIMITS: Limits = Limits {
    max_payload: 64 << 20,
    max_delay: None,
    max_push: 10_000,
    max_claim: 10_000,
    max_lease: None,
    time_precision: Duration::from_micros(1),
};

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the memory store was closed; connect again to use it")
}

impl Shared {
    fn new(clock: Clock) -> Arc<Self> {
        Arc::new(Self { clock, store: Mutex::default(), listeners: Listeners::default() })
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("location", &self.info.location)
            .field("closed", &self.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Backend for Memory {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        self.operate(|store, now, news| store.push(push, now, news))
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        self.operate(|store, now, _| store.claim(claim, now))
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        self.operate(|store, now, _| store.extend(extend, now))
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.operate(|store, now, news| settlements.iter().map(|end| store.settle(end, now, news)).collect())
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        self.operate(|store, now, news| {
            cancel.ids.iter().map(|id| store.cancel(*id, &cancel.reason, now, news)).collect()
        })
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        self.operate(|store, now, news| store.reap(*reap, now, news))
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.shared.listeners.wake_all();
        Ok(())
    }

    fn results(&self) -> Option<&dyn Results> {
        Some(self)
    }

    fn wake(&self) -> Option<&dyn Wake> {
        Some(self)
    }

    fn leader(&self) -> Option<&dyn Leader> {
        Some(self)
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        Some(self)
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        Some(self)
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }

    /// `None`: a process's memory has no transactions that a caller could begin.
    fn transaction(&self) -> Option<&dyn Transaction> {
        None
    }
}
