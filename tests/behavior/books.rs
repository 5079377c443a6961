//! A store with a table beside its jobs, which tasks write in transactions: a database server, in memory.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use taskwright::backend::{
    Backend, Cancel, Cancelled, Claim, Claimed, Completion, Extend, Extended, Info, Inspect, Leader, Ledger, Limiter,
    Push, Pushed, Reap, Reaped, Results, Settled, Settlement, TaskTransaction, Transaction, TransactionType, Wake,
};
use taskwright::{Error, ErrorKind, Result};

/// A store of jobs, and the table.
#[derive(Debug)]
pub(crate) struct Books {
    jobs: Arc<dyn Backend>,
    table: Arc<Table>,
}

/// What was committed. Held for moves only, never across an await.
#[derive(Debug, Default)]
pub(crate) struct Table(Mutex<Vec<String>>);

impl Table {
    pub(crate) fn rows(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A transaction of the table, with the lifetime that those of drivers have.
pub(crate) struct Writing<'a> {
    rows: Vec<String>,
    _connection: std::marker::PhantomData<&'a ()>,
}

impl Writing<'_> {
    pub(crate) fn insert(&mut self, row: impl Into<String>) {
        self.rows.push(row.into());
    }
}

impl Books {
    pub(crate) fn new(jobs: Arc<dyn Backend>, table: Arc<Table>) -> Self {
        Self { jobs, table }
    }
}

#[async_trait]
impl Transaction for Books {
    async fn push_in(&self, _connection: &mut (dyn Any + Send), _push: &Push) -> Result<Vec<Pushed>> {
        Err(Error::new(ErrorKind::Unsupported, "the books have no transactions for dispatches"))
    }

    fn completion(&self) -> Option<&dyn Completion> {
        Some(self)
    }
}

#[async_trait]
impl Completion for Books {
    fn lends(&self) -> TransactionType {
        TransactionType::of::<Writing<'static>>()
    }

    async fn begin(&self) -> Result<Box<dyn TaskTransaction>> {
        let writing = Writing { rows: Vec::new(), _connection: std::marker::PhantomData };
        Ok(Box::new(Open { jobs: Arc::clone(&self.jobs), table: Arc::clone(&self.table), writing }))
    }
}

struct Open {
    jobs: Arc<dyn Backend>,
    table: Arc<Table>,
    writing: Writing<'static>,
}

#[async_trait]
impl TaskTransaction for Open {
    fn transaction(&mut self) -> &mut (dyn Any + Send) {
        &mut self.writing
    }

    async fn complete(self: Box<Self>, settlement: &Settlement) -> Result<Settled> {
        let settled = self.jobs.settle(std::slice::from_ref(settlement)).await?[0];
        if settled == Settled::Applied {
            self.table.0.lock().unwrap_or_else(PoisonError::into_inner).extend(self.writing.rows);
        }
        Ok(settled)
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Backend for Books {
    fn info(&self) -> &Info {
        self.jobs.info()
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        self.jobs.push(push).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        self.jobs.claim(claim).await
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        self.jobs.extend(extend).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.jobs.settle(settlements).await
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        self.jobs.cancel(cancel).await
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        self.jobs.reap(reap).await
    }

    async fn close(&self) -> Result<()> {
        self.jobs.close().await
    }

    fn results(&self) -> Option<&dyn Results> {
        self.jobs.results()
    }

    fn wake(&self) -> Option<&dyn Wake> {
        self.jobs.wake()
    }

    fn leader(&self) -> Option<&dyn Leader> {
        self.jobs.leader()
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        self.jobs.inspect()
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        self.jobs.limiter()
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        self.jobs.ledger()
    }

    fn transaction(&self) -> Option<&dyn Transaction> {
        Some(self)
    }
}
