//! Queues and workers in numbers.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;

use super::extend::pauses;
use super::lease::{LeaseRow, unpack};
use super::leases;
use super::news::News;
use super::record::decode;
use super::tables::{Columns, Tables, Value};
use super::work::{Isolation, Work};
use crate::backend::{QueueStats, WorkerRecord, WorkerStats};
use crate::error::Result;
use crate::job::{Name, State, WorkerId};
use crate::time::Timestamp;

/// Counts the unfinished jobs of every queue.
pub(super) struct CountQueues;

#[async_trait]
impl Work for CountQueues {
    type Answer = Vec<QueueStats>;
    const DURABLE: bool = false;
    // Each job is to be counted once.
    const ISOLATION: Isolation = Isolation::RepeatableRead;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, _: &mut News) -> Result<Vec<QueueStats>> {
        let mut queues: BTreeMap<Name, QueueStats> = BTreeMap::new();
        for queue in pauses(db).await?.iter().filter_map(|queue| Name::new(queue).ok()) {
            stats(&mut queues, queue).paused = true;
        }
        for (queue, state, count, first) in waiting(db, now).await? {
            let stats = stats(&mut queues, queue);
            *stats.counts.entry(state).or_default() += count;
            if state == State::Available {
                stats.oldest = Some(first);
            }
        }
        for (raw, packed) in leases::all_with_jobs(db).await? {
            let Ok(row) = LeaseRow::read(&raw) else { continue };
            let records = unpack(&row, &packed, now);
            let open = row.all_open().filter_map(|(place, _)| Name::new(&records.get(place)?.queue).ok());
            open.for_each(|queue| *stats(&mut queues, queue).counts.entry(State::Running).or_default() += 1);
        }
        Ok(queues.into_values().collect())
    }
}

/// Counts the waiting jobs in indexes, without touching a row.
async fn waiting<Db: Tables>(db: &mut Db, now: Timestamp) -> Result<Vec<(Name, State, u64, Timestamp)>> {
    const WAITING: &str = "SELECT queue, due <= ?, retry <> 0, count(*), min(due) FROM taskwright_jobs GROUP BY 1, 2, 3 \
        UNION ALL SELECT queue, due <= ?, retry <> 0, count(*), min(due) FROM taskwright_limited GROUP BY 1, 2, 3";
    let mut counts = Vec::new();
    for row in &db.fetch(WAITING, &[Value::Integer(now.as_micros()); 2]).await? {
        let state = match (row.integer(1)? != 0, row.integer(2)? != 0) {
            (true, _) => State::Available,
            (false, true) => State::Retryable,
            (false, false) => State::Scheduled,
        };
        let Ok(queue) = Name::new(row.text(0)?) else { continue };
        let first = Timestamp::from_micros(row.integer(4)?);
        counts.push((queue, state, row.integer(3)?.cast_unsigned(), first));
    }
    // Both kinds of available jobs come as rows of their own; the older one's time stands.
    counts.sort_unstable_by_key(|(_, _, _, first)| std::cmp::Reverse(*first));
    Ok(counts)
}

fn stats(queues: &mut BTreeMap<Name, QueueStats>, queue: Name) -> &mut QueueStats {
    let empty =
        |queue: &Name| QueueStats { queue: queue.clone(), paused: false, counts: BTreeMap::new(), oldest: None };
    queues.entry(queue).or_insert_with_key(empty)
}

/// Lists the workers that are alive.
pub(super) struct ListWorkers;

#[async_trait]
impl Work for ListWorkers {
    type Answer = Vec<WorkerStats>;
    const DURABLE: bool = false;
    // Each job is to be counted once.
    const ISOLATION: Isolation = Isolation::RepeatableRead;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, _: &mut News) -> Result<Vec<WorkerStats>> {
        const WORKERS: &str = "SELECT record, seen FROM taskwright_workers WHERE lapses > ?";
        let mut running: HashMap<WorkerId, usize> = HashMap::new();
        for lease in leases::load_all(db).await?.into_values() {
            *running.entry(lease.worker).or_default() += lease.all_open().count();
        }
        let mut workers = Vec::new();
        for row in &db.fetch(WORKERS, &[Value::Integer(now.as_micros())]).await? {
            let Ok(record) = decode::<WorkerRecord>("record", &row.bytes(0)?.unwrap_or_default()) else { continue };
            let running = running.get(&record.id).copied().unwrap_or(0);
            workers.push(WorkerStats { record, seen: Timestamp::from_micros(row.integer(1)?), running });
        }
        workers.sort_by_key(|worker| (worker.record.started, worker.record.id));
        Ok(workers)
    }
}
