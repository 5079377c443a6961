//! Tasks that write in a transaction which ends with their job.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::PgConnection;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Postgres;
use super::connect::{NOW, PATIENCE, PLANNER, Settings, now_of, simple};
use super::error::{closed, fault};
use super::tables::Session;
use super::wake::Wakes;
use crate::backend::sql::news::News;
use crate::backend::sql::server::Connections;
use crate::backend::sql::settle::SettleWork;
use crate::backend::sql::work::Work;
use crate::backend::{Completion, Settled, Settlement, TaskTransaction, TransactionType};
use crate::error::Result;
use crate::time::{Clock, Timestamp};

/// What tasks are lent.
type Lent = sqlx::Transaction<'static, sqlx::Postgres>;

/// Begins a transaction that sees what heartbeats and other settlements do to the lease while the task runs.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";

/// How long a connection stays open while no task uses it.
const IDLE: Duration = Duration::from_mins(1);

/// The connections that tasks write on.
pub(super) struct TaskConnections {
    pool: PgPool,
    /// One permit a connection: tasks wait for one here as long as they like, and not in the pool, which gives up.
    permits: Arc<Semaphore>,
}

impl TaskConnections {
    /// Opens none before a task needs it.
    pub(super) fn new(settings: &Settings) -> Self {
        let most = settings.transactions;
        let pool = PgPoolOptions::new().max_connections(most).idle_timeout(IDLE).acquire_timeout(PATIENCE);
        let permits = usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS);
        Self { pool: pool.connect_lazy_with(settings.for_tasks()), permits: Arc::new(Semaphore::new(permits)) }
    }

    async fn begin(&self) -> Result<(Lent, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| closed())?;
        Ok((self.pool.begin_with(BEGIN).await.map_err(fault)?, permit))
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
impl Completion for Postgres {
    fn lends(&self) -> TransactionType {
        TransactionType::of::<Lent>()
    }

    async fn begin(&self) -> Result<Box<dyn TaskTransaction>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        let (transaction, permit) = self.task_connections.begin().await?;
        Ok(Box::new(Open {
            transaction,
            connections: Arc::clone(&self.connections),
            wakes: Arc::clone(&self.wakes),
            clock: self.clock.clone(),
            _permit: permit,
        }))
    }
}

/// A transaction that a task writes in.
struct Open {
    /// First, so that its connection is back before the permit is.
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
        let now = look(&mut self.transaction).await?;
        let now = Timestamp::from_micros(now.as_micros().saturating_add(self.clock.offset()));
        let mut news = News::default();
        let mut session = Session::new(&mut *self.transaction, &self.connections.server);
        let mut work = SettleWork::new(std::slice::from_ref(settlement));
        let settled = work.run(&mut session, now, &mut news).await?;
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

/// The server's time. From here on the planner works for us, after it worked for the task.
async fn look(db: &mut PgConnection) -> Result<Timestamp> {
    let set = PLANNER.map(|(name, value)| format!("set_config('{name}', '{value}', true)"));
    now_of(&simple(db, format!("SELECT {NOW}, {}", set.join(", "))).await?)
}
