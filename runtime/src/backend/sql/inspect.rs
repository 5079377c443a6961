//! Looking at everything, and changing it by hand.

use async_trait::async_trait;

use super::change::ChangeWork;
use super::counts::{CountQueues, ListWorkers};
use super::news::News;
use super::search::{Order, Search};
use super::tables::{Tables, Value, clamp, rows};
use super::work::{Isolation, Store, Work};
use crate::backend::{Change, Changed, Inspect, JobFilter, QueueStats, Retention, WorkerStats};
use crate::error::Result;
use crate::job::{Job, JobId, Name, WorkerId};
use crate::time::Timestamp;

#[async_trait]
impl<Database: Store> Inspect for Database {
    async fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize) -> Result<Vec<Job>> {
        let search = Search { filter: filter.clone(), from: after, order: Order::NewestFirst, limit };
        Ok(self.read(search).await?.into_iter().map(|found| found.job).collect())
    }

    async fn queues(&self) -> Result<Vec<QueueStats>> {
        self.read(CountQueues).await
    }

    async fn workers(&self) -> Result<Vec<WorkerStats>> {
        self.read(ListWorkers).await
    }

    async fn change(&self, change: &Change, filter: &JobFilter, limit: usize) -> Result<Changed> {
        self.write(ChangeWork { change: change.clone(), filter: filter.clone(), limit }).await
    }

    async fn pause(&self, queue: &Name, paused: bool) -> Result<()> {
        self.write(Pause { queue: queue.clone(), paused }).await
    }

    async fn prune(&self, retention: &Retention, limit: usize) -> Result<Changed> {
        self.write(Prune { retention: *retention, limit }).await
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
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    async fn run<Db: Tables>(&mut self, db: &mut Db, _: Timestamp, news: &mut News) -> Result<()> {
        const RESUME: &str = "DELETE FROM taskwright_pauses WHERE queue = ?";
        let pause = || Db::insert_new("taskwright_pauses", "queue", &rows(1, 1));
        let sql = if self.paused { pause() } else { RESUME.to_owned() };
        db.execute(sql, &[Value::Text(self.queue.as_str())]).await?;
        db.count_control().await?;
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
}

#[async_trait]
impl Work for Prune {
    type Answer = Changed;
    const DURABLE: bool = true;
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    /// By the index on state and end, the oldest first.
    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, _: &mut News) -> Result<Changed> {
        const JOBS: &str = "taskwright_finished";
        let Retention { expired_result, discarded, cancelled } = self.retention;
        let shelves = [
            (JOBS, "state = 'completed' AND ends <= ?", expired_result),
            (JOBS, "state = 'discarded' AND ends <= ?", discarded),
            (JOBS, "state IN ('cancelled', 'expired') AND ends <= ?", cancelled),
            ("taskwright_outcomes", "ends <= ?", expired_result),
        ];
        let mut count = 0;
        for (table, condition, keep) in shelves {
            if count == self.limit {
                break;
            }
            let values = [now.before(keep).as_micros(), clamp(self.limit - count)].map(Value::Integer);
            let pruned = db.execute(Db::delete_first(table, condition, "ends, id"), &values).await?;
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
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    async fn run<Db: Tables>(&mut self, db: &mut Db, _: Timestamp, _: &mut News) -> Result<()> {
        db.execute("DELETE FROM taskwright_workers WHERE id = ?", &[Value::Id(self.worker.as_bytes())]).await?;
        Ok(())
    }
}
