//! A backend written outside of the crate, from [the contract](taskwright::backend) alone: the template for yours.
//!
//! It keeps jobs in one map behind one mutex, and finds everything by looking at everything.
//! That is slow, and it is all that the promises ask for.
//!
//! - `mod.rs`: what it is, and the [`Backend`] operations, each handed to the store.
//! - `store.rs`: the jobs, and what each operation does to them.
//! - `facets.rs`: what it offers besides: results and inspection.
//!
//! A store of your own keeps this shape: statements to a server take the place of loops over the map, and every
//! decision is still a call into [`policy::state`](taskwright::policy::state).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use taskwright::backend::{
    Backend, Cancel, Cancelled, Claim, Claimed, Extend, Extended, Info, Inspect, Leader, Ledger, Limiter, Limits, Push,
    Pushed, Reap, Reaped, Results, Settled, Settlement, Transaction, Wake, refuse_limits,
};
use taskwright::testing::Setup;
use taskwright::testing::conformance::Ability;
use taskwright::time::Clock;
use taskwright::{Error, ErrorKind, Name, Result, Timestamp};

use self::store::Store;

mod facets;
mod store;

/// A store of jobs for which nobody has to wait, since nobody else uses it.
#[derive(Debug)]
pub struct Toy {
    info: Info,
    clock: Clock,
    /// `None` once it is closed. Held for one operation, never across an await.
    store: Mutex<Option<Store>>,
}

impl Toy {
    /// A new, empty store that goes by `clock`.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let limits = Limits {
            max_payload: 1 << 20,
            max_delay: None,
            max_push: 1_000,
            max_claim: 1_000,
            max_lease: None,
            time_precision: Duration::from_micros(1),
        };
        let info = Info {
            name: "toy",
            location: "toy:".to_owned(),
            durability: "nothing survives the end of the process".to_owned(),
            warnings: Vec::new(),
            schema: None,
            atomic_push: true,
            passes_over: true,
            ages: true,
            limits,
        };
        Self { info, clock, store: Mutex::new(Some(Store::default())) }
    }

    /// Does one operation at one moment, with the store to itself.
    fn operate<T>(&self, operation: impl FnOnce(&mut Store, Timestamp) -> T) -> Result<T> {
        // A panic can't have left the store half changed in a way that the next operation would mind.
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let closed = || Error::new(ErrorKind::Closed, "the toy store was closed; make another one");
        Ok(operation(store.as_mut().ok_or_else(closed)?, self.clock.now()))
    }
}

#[async_trait]
impl Backend for Toy {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        refuse_limits(push, self.info.name)?;
        self.operate(|store, now| store.push(push, now))
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        self.operate(|store, now| store.claim(claim, now))
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        self.operate(|store, now| store.extend(extend, now))
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.operate(|store, now| settlements.iter().map(|settlement| store.settle(settlement, now)).collect())
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        self.operate(|store, now| cancel.ids.iter().map(|&id| store.cancel(id, &cancel.reason, now)).collect())
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        self.operate(|store, now| store.reap(*reap, now))
    }

    async fn close(&self) -> Result<()> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }

    fn results(&self) -> Option<&dyn Results> {
        Some(self)
    }

    /// `None`: it tells nobody anything, so workers ask again from time to time.
    fn wake(&self) -> Option<&dyn Wake> {
        None
    }

    /// `None`: every worker does what otherwise only the leader would.
    fn leader(&self) -> Option<&dyn Leader> {
        None
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        Some(self)
    }

    /// `None`: what asks for limits is refused.
    fn limiter(&self) -> Option<&dyn Limiter> {
        None
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        None
    }

    /// `None`: there is no database in which a caller could have begun a transaction.
    fn transaction(&self) -> Option<&dyn Transaction> {
        None
    }
}

/// How the conformance suite opens toys.
#[derive(Clone, Copy, Debug)]
pub struct FreshToy;

#[async_trait]
impl Setup for FreshToy {
    fn abilities(&self) -> &'static [Ability] {
        &[Ability::Results, Ability::Inspect, Ability::Record, Ability::Leases, Ability::Clock, Ability::Aging]
    }

    async fn open(&self, _: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(Toy::new(clock.clone())))
    }
}
