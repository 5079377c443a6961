//! The suite that every backend passes: one small case for each thing that a promise of the contract means.
//!
//! # Testing your own backend
//!
//! Implement [`Setup`], which says how a throwaway store is opened, and name it in one line of a test file:
//!
//! ```
//! # mod hidden {
//! use std::sync::Arc;
//!
//! use taskwright::backend::Backend;
//! use taskwright::testing::Setup;
//! use taskwright::testing::conformance::Ability;
//! use taskwright::time::Clock;
//! use taskwright::{Name, Result};
//!
//! # #[derive(Debug)] enum MyBackend {}
//! # impl MyBackend { async fn connect(_: &str, _: Clock) -> Result<Arc<dyn Backend>> { unimplemented!() } }
//! struct Fresh;
//!
//! #[async_trait::async_trait]
//! impl Setup for Fresh {
//!     fn abilities(&self) -> &'static [Ability] {
//!         &[Ability::Results, Ability::Inspect, Ability::Record, Ability::Leases, Ability::Clock]
//!     }
//!
//!     async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
//!         MyBackend::connect(store.as_str(), clock.clone()).await
//!     }
//! }
//!
//! taskwright::conformance!(my_backend, Fresh);
//! # }
//! ```
//!
//! Each case is then a test of its own: `my_backend::settle::stale_lease_is_refused`.
//! Programs with a test runner of their own take [`cases`], which is plain data, and [`Case::run`].
//!
//! # What a store can't do
//!
//! A case that [needs](Case::needs) an [`Ability`] which a store has not got is not skipped.
//! It [checks](Case::run) that the ability is absent in the way that the contract says, so that nobody runs into half
//! of it; [`Case::lacks`] tells a runner to say so in its listing.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Harness, Setup};
use crate::backend::Backend;
use crate::error::{Error, ErrorKind, Result};

#[macro_use]
mod table;

mod absent;
mod aging;
mod cancel;
mod claim;
mod extend;
mod inspect;
mod leader;
mod ledger;
mod limits;
mod push;
mod reap;
mod replace;
mod results;
mod settle;
mod store;
mod time;
mod transaction;
mod unique;
mod unknown;
mod until;
mod wake;

/// One case of the suite.
#[derive(Clone, Copy)]
pub struct Case {
    /// The operation that it is about: `settle`.
    pub group: &'static str,
    /// What it holds, as a sentence: `stale_lease_is_refused`.
    pub name: &'static str,
    /// The promises that it checks; none where it holds what a facet's own documentation says.
    pub promises: &'static [Promise],
    /// What a store must be able to do for it to have a meaning.
    pub needs: &'static [Ability],
    check: for<'a> fn(&'a Harness) -> BoxFuture<'a, Result<()>>,
}

/// How long a case may take before it counts as hanging.
const DEADLINE: Duration = Duration::from_mins(2);

impl Case {
    /// Its name with its group, as a test's: `settle::stale_lease_is_refused`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("{}::{}", self.group, self.name)
    }

    /// The first ability that it needs and that these stores have not got.
    #[must_use]
    pub fn lacks(&self, setup: &dyn Setup) -> Option<Ability> {
        self.needs.iter().copied().find(|need| !setup.abilities().contains(need))
    }

    /// Checks a new store, or, where it [lacks](Case::lacks) something, that it lacks it properly.
    ///
    /// It blocks this thread, and runs on an async runtime of its own.
    ///
    /// # Errors
    ///
    /// When an operation of the store fails that should not, or the case hangs.
    ///
    /// # Panics
    ///
    /// When the store breaks a promise.
    pub fn run(&self, setup: Arc<dyn Setup>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime =
            runtime.map_err(|error| Error::unavailable("no async runtime for a conformance case").because(error))?;
        let case = async {
            let lacks = self.lacks(&*setup);
            let harness = Harness::new(setup).await?;
            match lacks {
                None => (self.check)(&harness).await,
                Some(ability) => absent::check(&harness, ability).await,
            }
        };
        let hangs = || Error::new(ErrorKind::Timeout, format!("{} hangs: not done in {DEADLINE:?}", self.path()));
        runtime.block_on(async { tokio::time::timeout(DEADLINE, case).await.unwrap_or_else(|_| Err(hangs())) })
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.path(), self.promises, self.needs)
    }
}

/// A promise of the [contract](crate::backend#promises), by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the contract says what each of them means")]
pub enum Promise {
    P1,
    P2,
    P3,
    P4,
    P5,
    P6,
    P7,
    P8,
    P9,
    P10,
    P11,
    P12,
    P13,
    P14,
    P15,
    P16,
    P17,
}

/// What some stores can do and others can't.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ability {
    /// The facet [`Results`](crate::backend::Results).
    Results,
    /// The facet [`Wake`](crate::backend::Wake).
    Wake,
    /// The facet [`Leader`](crate::backend::Leader).
    Leader,
    /// The facet [`Inspect`](crate::backend::Inspect).
    Inspect,
    /// The facet [`Limiter`](crate::backend::Limiter).
    Limiter,
    /// The facet [`Ledger`](crate::backend::Ledger).
    Ledger,
    /// The facet [`Transaction`](crate::backend::Transaction).
    Transaction,
    /// The store outlives the handle that opened it, and may be opened more than once.
    Reopen,
    /// It knows each job by its id: a push may be repeated, a unique key is kept, and what waits can be called off.
    Record,
    /// A lease may be renewed and settled through another handle than gave it, and outlives that one.
    Leases,
    /// What waits goes by the clock that a test moves, not by one of the server's that nobody can.
    Clock,
    /// A claim may ask for [aging](crate::backend::Claim::aging).
    Aging,
}

impl Ability {
    /// All of them, in the contract's order.
    pub const ALL: [Self; 12] = [
        Self::Results,
        Self::Wake,
        Self::Leader,
        Self::Inspect,
        Self::Limiter,
        Self::Ledger,
        Self::Transaction,
        Self::Reopen,
        Self::Record,
        Self::Leases,
        Self::Clock,
        Self::Aging,
    ];

    /// Whether a backend offers it; `None` where that can't be seen.
    pub(super) fn is_offered(self, backend: &dyn Backend) -> Option<bool> {
        match self {
            Self::Results => Some(backend.results().is_some()),
            Self::Wake => Some(backend.wake().is_some()),
            Self::Leader => Some(backend.leader().is_some()),
            Self::Inspect => Some(backend.inspect().is_some()),
            Self::Limiter => Some(backend.limiter().is_some()),
            Self::Ledger => Some(backend.ledger().is_some()),
            Self::Transaction => Some(backend.transaction().is_some()),
            Self::Aging => Some(backend.info().ages),
            Self::Reopen | Self::Record | Self::Leases | Self::Clock => None,
        }
    }
}

impl fmt::Display for Ability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Results => "results",
            Self::Wake => "wake",
            Self::Leader => "leader",
            Self::Inspect => "inspect",
            Self::Limiter => "limiter",
            Self::Ledger => "ledger",
            Self::Transaction => "transaction",
            Self::Reopen => "reopen",
            Self::Record => "record",
            Self::Leases => "leases",
            Self::Clock => "clock",
            Self::Aging => "aging",
        })
    }
}

/// Every case, in the order of the contract's operations.
#[must_use]
pub fn cases() -> &'static [Case] {
    CASES
}

/// Runs the case of this path, as the tests that [`conformance!`](crate::conformance) makes do.
///
/// # Errors
///
/// Those of [`Case::run`].
///
/// # Panics
///
/// When there is no such case, or the store breaks a promise.
pub fn run(group: &str, name: &str, setup: impl Setup + 'static) -> Result<()> {
    let case = CASES.iter().find(|case| case.group == group && case.name == name);
    let case = case.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("no conformance case {group}::{name}")))?;
    case.run(Arc::new(setup))
}

/// Turns the conformance suite into tests of a backend.
///
/// The first argument names the module of the tests, the second is an expression that gives a
/// [`Setup`](crate::testing::Setup), asked for anew by each test.
/// The [module of the suite](crate::testing::conformance) has an example.
#[macro_export]
macro_rules! conformance {
    ($backend:ident, $setup:expr $(,)?) => {
        #[cfg(test)]
        mod $backend {
            use super::*;

            fn setup() -> impl $crate::testing::Setup + 'static {
                $setup
            }

            $crate::__conformance_table!(tests);
        }
    };
}

/// What a row of the [table](crate::__conformance_table) becomes.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_rows {
    (tests $($group:ident { $([$($promise:ident)*] $name:ident $([$($need:ident)*])?;)* })*) => {
        $(mod $group {
            $(#[test]
            fn $name() -> $crate::Result<()> {
                $crate::testing::conformance::run(stringify!($group), stringify!($name), super::setup())
            })*
        })*
    };
    (cases $($group:ident { $([$($promise:ident)*] $name:ident $([$($need:ident)*])?;)* })*) => {
        const CASES: &[Case] = &[$($(Case {
            group: stringify!($group),
            name: stringify!($name),
            promises: &[$(Promise::$promise),*],
            needs: &[$($(Ability::$need),*)?],
            check: |harness| Box::pin($group::$name(harness)),
        },)*)*];
    };
}

__conformance_table!(cases);
