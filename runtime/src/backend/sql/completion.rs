//! Tasks that write in a transaction which ends with their job.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Pool;
use sqlx::pool::PoolOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::news::{Herald, News};
use super::server::Connections;
use super::settle::SettleWork;
use super::transaction::Joined;
use crate::backend::{Completion, Settled, Settlement, TaskTransaction, TransactionType};
use crate::error::{Error, Result};

/// What tasks are lent.
type Lent<S> = sqlx::Transaction<'static, <S as Joined>::Driver>;

/// How long a connection stays open while no task uses it.
const IDLE: Duration = Duration::from_mins(1);

/// How long opening a connection may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many tasks run in transactions at once, unless the URL says otherwise.
pub(super) const TRANSACTIONS: u32 = 4;

/// The number in `transactions=4` of a URL.
pub(super) fn transactions(value: &str) -> Result<u32> {
    value
        .parse()
        .ok()
        .filter(|most| (1..=1_000).contains(most))
        .ok_or_else(|| Error::invalid(format!("transactions={value} is not a number of connections from 1 to 1000")))
}

/// The connections that tasks write on.
pub(super) struct TaskConnections<S: Joined> {
    pool: Pool<S::Driver>,
    /// One permit a connection: tasks wait for one here as long as they like, and not in the pool, which gives up.
    permits: Arc<Semaphore>,
    connections: Arc<Connections<S>>,
    herald: Arc<dyn Herald>,
}

impl<S: Joined> TaskConnections<S> {
    /// Opens none before a task needs it.
    pub(super) fn new(connections: &Arc<Connections<S>>, herald: Arc<dyn Herald>) -> Self {
        let most = connections.server.transactions();
        let pool = PoolOptions::new().max_connections(most).idle_timeout(IDLE).acquire_timeout(PATIENCE);
        let permits = usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            pool: pool.connect_lazy_with(connections.server.for_tasks()),
            permits: Arc::new(Semaphore::new(permits)),
            connections: Arc::clone(connections),
            herald,
        }
    }

    /// Refuses new transactions; connections that tasks still write on end with them.
    pub(super) async fn close(&self) {
        self.permits.close();
        let closing = self.pool.close();
        if self.permits.available_permits() == usize::try_from(self.pool.options().get_max_connections()).unwrap_or(0) {
            closing.await;
        }
    }
}

#[async_trait]
impl<S: Joined> Completion for TaskConnections<S> {
    fn lends(&self) -> TransactionType {
        TransactionType::of::<Lent<S>>()
    }

    async fn begin(&self) -> Result<Box<dyn TaskTransaction>> {
        let server = &self.connections.server;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| server.closed())?;
        let transaction = self.pool.begin_with(S::BEGIN).await.map_err(|error| server.fault(error))?;
        let (connections, herald) = (Arc::clone(&self.connections), Arc::clone(&self.herald));
        Ok(Box::new(Open { transaction, connections, herald, _permit: permit }))
    }
}

/// A transaction that a task writes in.
struct Open<S: Joined> {
    /// First, so that its connection is back before the permit is.
    transaction: Lent<S>,
    connections: Arc<Connections<S>>,
    herald: Arc<dyn Herald>,
    _permit: OwnedSemaphorePermit,
}

#[async_trait]
impl<S: Joined> TaskTransaction for Open<S> {
    fn transaction(&mut self) -> &mut (dyn Any + Send) {
        &mut self.transaction
    }

    async fn complete(mut self: Box<Self>, settlement: &Settlement) -> Result<Settled> {
        let server = &self.connections.server;
        let mut news = News::default();
        let mut work = SettleWork::new(std::slice::from_ref(settlement));
        let settled = server.settle(&mut self.transaction, &self.connections.clock, &mut work, &mut news).await?;
        if settled != [Settled::Applied] {
            self.transaction.rollback().await.map_err(|error| server.fault(error))?;
            return Ok(Settled::LeaseLost);
        }
        self.transaction.commit().await.map_err(|error| server.fault(error))?;
        self.herald.tell(news);
        Ok(Settled::Applied)
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        self.transaction.rollback().await.map_err(|error| self.connections.server.fault(error))
    }
}
