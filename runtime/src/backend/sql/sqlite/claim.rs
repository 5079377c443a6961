//! Handing out jobs.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Row, SqliteConnection};

use super::error::fault;
use super::statements::{JOB_COLUMNS, Statement, statement};
use super::writer::Work;
use super::{leases, places};
use crate::backend::sql::lease::{LeaseRow, claimed};
use crate::backend::sql::moves::Moves;
use crate::backend::sql::news::News;
use crate::backend::sql::record::Record;
use crate::backend::{Claim, Claimed, QueueClaim};
use crate::error::Result;
use crate::job::Job;
use crate::time::Timestamp;

/// The due jobs of one queue in the order of claims.
///
/// Each priority is looked up by a seek in the index on (queue, priority, due, id), and its due jobs are a range of that
/// index: jobs of a high priority that are due later are never passed over one by one, however many there are.
/// `CROSS JOIN` keeps SQLite to this order of loops, and with it to the order of claims.
const DUE: &str = "SELECT id FROM (
    WITH RECURSIVE level (priority) AS (
        SELECT max(priority) FROM taskwright_jobs WHERE queue = ?
        UNION ALL
        SELECT (SELECT max(priority) FROM taskwright_jobs WHERE queue = ? AND priority < level.priority)
        FROM level WHERE level.priority IS NOT NULL
    )
    SELECT job.id FROM level CROSS JOIN taskwright_jobs AS job
    WHERE job.queue = ? AND job.priority = level.priority AND job.due <= ?
        AND (job.expires IS NULL OR job.expires > ?)
        AND NOT EXISTS (SELECT 1 FROM taskwright_pauses WHERE taskwright_pauses.queue = ?)
    LIMIT ?
)";

/// When the next job of a queue is due: one seek a priority in the same index.
const NEXT_DUE: &str = "SELECT min(due) FROM (
    WITH RECURSIVE level (priority) AS (
        SELECT max(priority) FROM taskwright_jobs WHERE queue = ?
        UNION ALL
        SELECT (SELECT max(priority) FROM taskwright_jobs WHERE queue = ? AND priority < level.priority)
        FROM level WHERE level.priority IS NOT NULL
    )
    SELECT (
        SELECT job.due FROM taskwright_jobs AS job
        WHERE job.queue = ? AND job.priority = level.priority AND (job.expires IS NULL OR job.expires > ?)
        ORDER BY job.due LIMIT 1
    ) AS due FROM level
    WHERE NOT EXISTS (SELECT 1 FROM taskwright_pauses WHERE taskwright_pauses.queue = ?)
)";

/// One claim.
pub(super) struct ClaimWork {
    claim: Claim,
    now: Timestamp,
}

impl ClaimWork {
    pub(super) fn new(claim: &Claim, now: Timestamp) -> Self {
        Self { claim: claim.clone(), now }
    }
}

#[async_trait]
impl Work for ClaimWork {
    type Answer = Claimed;
    const DURABLE: bool = false;

    async fn run(&mut self, db: &mut SqliteConnection, news: &mut News) -> Result<Claimed> {
        if self.claim.queues.is_empty() {
            return Ok(Claimed::default());
        }
        let records = self.take(db).await?;
        let jobs = self.lease(db, records, news).await?;
        let next_due = self.next_due(db).await?;
        Ok(Claimed { jobs, next_due })
    }
}

impl ClaimWork {
    /// Takes due jobs out of their place, by one statement for all queues.
    async fn take(&self, db: &mut SqliteConnection) -> Result<Vec<Record>> {
        let sql = take_statement(self.claim.queues.len());
        let bound = self.claim.queues.iter().fold(statement(sql), |statement, queue| self.bind_queue(statement, queue));
        let rows = bound.bind(clamp(self.claim.limit)).fetch_all(db).await.map_err(fault)?;
        rows.iter().map(places::record).collect()
    }

    fn bind_queue(&self, statement: Statement, wish: &QueueClaim) -> Statement {
        let (queue, now) = (wish.queue.as_str(), self.now.as_micros());
        let statement = statement.bind(queue).bind(queue).bind(queue).bind(now).bind(now).bind(queue);
        statement.bind(clamp(wish.limit))
    }

    /// Packs the jobs into one lease and hands them out in order; what can't be read is set aside.
    async fn lease(
        &self,
        db: &mut SqliteConnection,
        mut records: Vec<Record>,
        news: &mut News,
    ) -> Result<Vec<(crate::job::Lease, Job)>> {
        // By id, as members of a lease are found by.
        records.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let mut row = LeaseRow::new(self.claim.worker, Vec::new(), self.now, self.claim.ttl);
        let mut jobs = Vec::with_capacity(records.len());
        let mut moves = Moves::default();
        records.retain(|record| match claimed(&row, record) {
            Ok(job) => {
                jobs.push(job);
                true
            }
            Err(wreck) => {
                // An error here would be one of encoding plain data, and the row must not hold up the others.
                if let Err(error) = moves.set_aside(&wreck) {
                    tracing::error!(%error, "lost a job that could not be read");
                }
                false
            }
        });
        places::write(db, &moves).await?;
        news.append(moves.news);
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        row = LeaseRow::new(self.claim.worker, jobs.iter().map(Job::id).collect(), self.now, self.claim.ttl);
        leases::insert(db, &mut row, &records).await?;
        self.put_in_order(&mut jobs);
        Ok(jobs.into_iter().map(|job| (row.lease(&job), job)).collect())
    }

    /// Queues in the order asked, then priority, due time and id (P6).
    fn put_in_order(&self, jobs: &mut [Job]) {
        let ranks: HashMap<_, _> =
            self.claim.queues.iter().enumerate().map(|(rank, wish)| (&wish.queue, rank)).collect();
        let order = |job: &Job| {
            let rank = ranks.get(&job.spec.queue).copied();
            (rank, std::cmp::Reverse(job.spec.priority), job.due, job.id())
        };
        jobs.sort_unstable_by_key(order);
    }

    async fn next_due(&self, db: &mut SqliteConnection) -> Result<Option<Duration>> {
        let sql = next_due_statement(self.claim.queues.len());
        let bound = self.claim.queues.iter().fold(statement(sql), |statement, wish| {
            let queue = wish.queue.as_str();
            statement.bind(queue).bind(queue).bind(queue).bind(self.now.as_micros()).bind(queue)
        });
        let due: Option<i64> = bound.fetch_one(db).await.map_err(fault)?.try_get(0).map_err(fault)?;
        Ok(due.map(|due| Timestamp::from_micros(due).since(self.now)))
    }
}

/// Deletes the due jobs of that many queues, each up to its own limit, all up to one.
pub(super) fn take_statement(queues: usize) -> String {
    let due = vec![DUE; queues].join(" UNION ALL ");
    format!("DELETE FROM taskwright_jobs WHERE id IN ({due} LIMIT ?) RETURNING {JOB_COLUMNS}")
}

fn next_due_statement(queues: usize) -> String {
    let each = vec![NEXT_DUE; queues].join(" UNION ALL ");
    format!("SELECT min(column1) FROM (SELECT NULL AS column1 UNION ALL {each})")
}

fn clamp(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
