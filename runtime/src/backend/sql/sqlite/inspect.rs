//! Looking at everything, and changing it by hand.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::change::ChangeWork;
use super::counts::{CountQueues, ListWorkers};
use super::error::fault;
use super::search::{Order, Search};
use super::writer::Work;
use super::{Sqlite, leases};
use crate::backend::sql::news::News;
use crate::backend::{Change, Changed, Inspect, JobFilter, QueueStats, Retention, WorkerStats};
use crate::error::Result;
use crate::job::{Job, JobId, Name, WorkerId};
use crate::time::Timestamp;

#[async_trait]
impl Inspect for Sqlite {
    async fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize) -> Result<Vec<Job>> {
        let search = Search { filter: filter.clone(), from: after, order: Order::NewestFirst, limit, now: self.now() };
        Ok(self.read(search).await?.into_iter().map(|found| found.job).collect())
    }

    async fn queues(&self) -> Result<Vec<QueueStats>> {
        self.read(CountQueues { now: self.now() }).await
    }

    async fn workers(&self) -> Result<Vec<WorkerStats>> {
        self.read(ListWorkers { now: self.now() }).await
    }

    async fn change(&self, change: &Change, filter: &JobFilter, limit: usize) -> Result<Changed> {
        self.write(ChangeWork { change: change.clone(), filter: filter.clone(), limit, now: self.now() }).await
    }

    async fn pause(&self, queue: &Name, paused: bool) -> Result<()> {
        self.write(Pause { queue: queue.clone(), paused }).await
    }

    async fn prune(&self, retention: &Retention, limit: usize) -> Result<Changed> {
        self.write(Prune { retention: *retention, limit, now: self.now() }).await
    }

    async fn deregister(&self, worker: WorkerId) -> Result<()> {
        self.write(Deregister { worker }).await
    }
}

struct Pause {
    queue: Name,
    paused: bool,
}

#[async_trait]
impl Work for Pause {
    type Answer = ();
    const DURABLE: bool = true;

    async fn run(&mut self, db: &mut SqliteConnection, news: &mut News) -> Result<()> {
        const PAUSE: &str = "INSERT OR IGNORE INTO taskwright_pauses (queue) VALUES (?)";
        const RESUME: &str = "DELETE FROM taskwright_pauses WHERE queue = ?";
        let sql = if self.paused { PAUSE } else { RESUME };
        sqlx::query(sql).bind(self.queue.as_str()).execute(&mut *db).await.map_err(fault)?;
        leases::count_control(db).await?;
        news.control();
        if !self.paused {
            news.jobs(&self.queue);
        }
        Ok(())
    }
}

struct Prune {
    retention: Retention,
    limit: usize,
    now: Timestamp,
}

#[async_trait]
impl Work for Prune {
    type Answer = Changed;
    const DURABLE: bool = true;

    /// By the index on state and end, the oldest first.
    async fn run(&mut self, db: &mut SqliteConnection, _: &mut News) -> Result<Changed> {
        const RESULTS: &str = "DELETE FROM taskwright_finished WHERE id IN (SELECT id FROM taskwright_finished \
            WHERE state = 'completed' AND ends <= ? ORDER BY ends, id LIMIT ?)";
        const DEAD_LETTERS: &str = "DELETE FROM taskwright_finished WHERE id IN (SELECT id FROM taskwright_finished \
            WHERE state = 'discarded' AND ends <= ? ORDER BY ends, id LIMIT ?)";
        const CALLED_OFF: &str = "DELETE FROM taskwright_finished WHERE id IN (SELECT id FROM taskwright_finished \
            WHERE state IN ('cancelled', 'expired') AND ends <= ? ORDER BY ends, id LIMIT ?)";
        const KEPT: &str = "DELETE FROM taskwright_outcomes WHERE id IN (SELECT id FROM taskwright_outcomes \
            WHERE ends <= ? ORDER BY ends, id LIMIT ?)";
        let Retention { expired_result, discarded, cancelled } = self.retention;
        let shelves =
            [(RESULTS, expired_result), (DEAD_LETTERS, discarded), (CALLED_OFF, cancelled), (KEPT, expired_result)];
        let mut count = 0;
        for (sql, keep) in shelves {
            if count == self.limit {
                break;
            }
            let room = i64::try_from(self.limit - count).unwrap_or(i64::MAX);
            let prune = sqlx::query(sql).bind(self.now.before(keep).as_micros()).bind(room);
            let pruned = prune.execute(&mut *db).await.map_err(fault)?.rows_affected();
            count += usize::try_from(pruned).unwrap_or(usize::MAX);
        }
        Ok(Changed { count, more: count == self.limit })
    }
}

struct Deregister {
    worker: WorkerId,
}

#[async_trait]
impl Work for Deregister {
    type Answer = ();
    const DURABLE: bool = false;

    async fn run(&mut self, db: &mut SqliteConnection, _: &mut News) -> Result<()> {
        const DEREGISTER: &str = "DELETE FROM taskwright_workers WHERE id = ?";
        sqlx::query(DEREGISTER).bind(&self.worker.as_bytes()[..]).execute(db).await.map_err(fault)?;
        Ok(())
    }
}
