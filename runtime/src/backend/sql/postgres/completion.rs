//! Transactions in which a task writes and its job completes.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Postgres;
use super::connect::{PATIENCE, Settings};
use super::error::{closed, fault};
use super::tables::Session;
use super::transaction::look;
use super::wake::Wakes;
use crate::backend::sql::news::News;
use crate::backend::sql::server::Connections;
use crate::backend::sql::settle::SettleWork;
use crate::backend::sql::work::Work;
use crate::backend::{Completion, Settled, Settlement, TaskTransaction, TransactionType};
use crate::error::Result;
use crate::time::Clock;

/// What tasks are lent.
type Lent = sqlx::Transaction<'static, sqlx::Postgres>;

/// Connections for tasks that write in transactions. None is open before the first of them runs.
pub(super) struct TaskConnections {
    pool: PgPool,
    /// One permit a connection; waited for without end, since tasks may take long. Closed with the backend.
    permits: Arc<Semaphore>,
}

impl TaskConnections {
    pub(super) fn new(settings: &Settings) -> Self {
        let most = settings.transactions;
        let options = PgPoolOptions::new().max_connections(most).acquire_timeout(PATIENCE).max_lifetime(None);
        let permits = Arc::new(Semaphore::new(usize::try_from(most).unwrap_or(1)));
        Self { pool: options.connect_lazy_with(settings.options.clone()), permits }
    }

    pub(super) async fn close(&self) {
        self.permits.close();
        self.pool.close().await;
    }
}

#[async_trait]
impl Completion for Postgres {
    fn lends(&self) -> TransactionType {
        TransactionType::of::<Lent>()
    }

    async fn begin(&self) -> Result<Box<dyn TaskTransaction>> {
        let permit = Arc::clone(&self.task_connections.permits).acquire_owned().await.map_err(|_| closed())?;
        let transaction = self.task_connections.pool.begin().await.map_err(fault)?;
        let (connections, wakes) = (Arc::clone(&self.connections), Arc::clone(&self.wakes));
        Ok(Box::new(Open { transaction, connections, wakes, clock: self.clock.clone(), _permit: permit }))
    }
}

/// A task's transaction. Its connection is back in the pool before its permit is.
struct Open {
    transaction: Lent,
    connections: Arc<Connections<Settings>>,
    wakes: Arc<Wakes>,
    clock: Clock,
    _permit: OwnedSemaphorePermit,
}

#[async_trait]
impl TaskTransaction for Open {
    fn transaction(&mut self) -> &mut (dyn Any + Send) {
        &mut self.transaction
    }

    async fn complete(mut self: Box<Self>, settlement: &Settlement) -> Result<Settled> {
        let mut news = News::default();
        let mut session = Session::new(&mut *self.transaction, &self.connections.server);
        let now = look(&mut session, &self.connections.server, &self.clock).await?;
        let settled = SettleWork::new(std::slice::from_ref(settlement)).run(&mut session, now, &mut news).await?;
        if settled != [Settled::Applied] {
            self.transaction.rollback().await.map_err(fault)?;
            return Ok(Settled::LeaseLost);
        }
        self.transaction.commit().await.map_err(fault)?;
        self.wakes.tell(news);
        Ok(Settled::Applied)
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        self.transaction.rollback().await.map_err(fault)
    }
}
