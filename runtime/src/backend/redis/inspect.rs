//! Looking at everything, and changing it by hand.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use async_trait::async_trait;
use redis::Value;

use super::answer::{bytes, count, given, integer, job_id, list, moment, parts, text};
use super::error::strange;
use super::record::{Held, decode, letters};
use super::results::Looked;
use super::scripts::{PAGE, PAUSE, PRUNE, QUEUES};
use super::{MOST_BYTES, MOST_TOGETHER, Redis};
use crate::backend::{Change, Changed, Inspect, JobFilter, QueueStats, Retention, WorkerRecord, WorkerStats};
use crate::error::Result;
use crate::job::{Job, JobId, Name, State, WorkerId};
use crate::time::{Timestamp, micros};

/// How many ids one script looks at when it goes through all of them.
const PAGE_LENGTH: usize = 500;
/// How many queues are counted together.
const COUNTED_TOGETHER: usize = 50;

/// Which end of all jobs to begin at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    NewestFirst,
    OldestFirst,
}

/// Jobs that match a filter, found by going through a part of all jobs.
pub(super) struct Page {
    pub(super) jobs: Vec<Job>,
    /// Where to go on; `None` at the end.
    pub(super) next: Option<JobId>,
}

#[async_trait]
impl Inspect for Redis {
    async fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize) -> Result<Vec<Job>> {
        let mut found = Vec::new();
        let mut from = after;
        while found.len() < limit {
            let page = self.page(filter, from, Order::NewestFirst).await?;
            found.extend(page.jobs);
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    async fn queues(&self) -> Result<Vec<QueueStats>> {
        let mut names = BTreeSet::new();
        for key in ["queues", "paused"] {
            for name in self.scan("SSCAN", key).await? {
                // What a hand has put there and is no name is no queue either.
                names.extend(text(name).ok().and_then(|name| Name::new(name).ok()));
            }
        }
        let names: Vec<_> = names.into_iter().collect();
        let mut queues = Vec::new();
        for names in names.chunks(COUNTED_TOGETHER) {
            let mut call = self.link.call(&QUEUES);
            for name in names {
                call.arg(name.as_str());
            }
            for (name, counts) in names.iter().zip(list(self.link.run(&call).await?)?) {
                queues.extend(stats(name, counts)?);
            }
        }
        Ok(queues)
    }

    async fn workers(&self) -> Result<Vec<WorkerStats>> {
        let (now, _) = self.look(&[]).await?;
        let mut running: HashMap<WorkerId, usize> = HashMap::new();
        for lease in self.scan("HSCAN", "leases").await?.into_iter().skip(1).step_by(2) {
            *running.entry(Held::read(&bytes(lease)?).worker()).or_default() += 1;
        }
        let mut workers = Vec::new();
        for worker in self.scan("HSCAN", "workers").await?.into_iter().skip(1).step_by(2) {
            workers.extend(worker_stats(&bytes(worker)?, now)?);
        }
        for worker in &mut workers {
            worker.running = running.get(&worker.record.id).copied().unwrap_or(0);
        }
        workers.sort_by_key(|worker| (worker.record.started, worker.record.id));
        Ok(workers)
    }

    async fn change(&self, change: &Change, filter: &JobFilter, limit: usize) -> Result<Changed> {
        self.change_jobs(change, filter, limit).await
    }

    async fn pause(&self, queue: &Name, paused: bool) -> Result<()> {
        let mut call = self.link.call(&PAUSE);
        call.arg(queue.as_str()).arg(u8::from(paused));
        self.link.run(&call).await?;
        Ok(())
    }

    async fn prune(&self, retention: &Retention, limit: usize) -> Result<Changed> {
        let mut pruned = 0;
        while pruned < limit {
            let some = (limit - pruned).min(MOST_TOGETHER);
            let mut call = self.link.call(&PRUNE);
            call.arg(some);
            for keep in [retention.expired_result, retention.discarded, retention.cancelled] {
                call.arg(micros(keep));
            }
            let done: usize = count(&self.link.run(&call).await?)?;
            pruned += done;
            if done < some {
                return Ok(Changed { count: pruned, more: false });
            }
        }
        Ok(Changed { count: pruned, more: true })
    }

    async fn deregister(&self, worker: WorkerId) -> Result<()> {
        for (command, key) in [("HDEL", "workers"), ("ZREM", "beats")] {
            let mut command = redis::cmd(command);
            command.arg(self.link.key(key)).arg(worker.as_bytes());
            self.link.command(&command).await?;
        }
        Ok(())
    }
}

impl Redis {
    /// The jobs that match among the next ones, in order; those of given ids at once, others in bounded steps.
    pub(super) async fn page(&self, filter: &JobFilter, after: Option<JobId>, order: Order) -> Result<Page> {
        if filter.ids.is_empty() {
            return self.page_of_all(filter, after, order).await;
        }
        let beyond = |id: &JobId| match (after, order) {
            (None, _) => true,
            (Some(after), Order::NewestFirst) => *id < after,
            (Some(after), Order::OldestFirst) => *id > after,
        };
        let ids: BTreeSet<_> = filter.ids.iter().copied().filter(beyond).collect();
        let mut ids: Vec<_> = ids.into_iter().collect();
        if order == Order::NewestFirst {
            ids.reverse();
        }
        ids.truncate(PAGE_LENGTH);
        let (now, looked) = self.look(&ids).await?;
        let found = ids.iter().zip(looked).filter_map(|(id, looked)| Some(looked.job(*id, now)?.0));
        let jobs = found.filter(|job| filter.matches(job, now)).collect();
        Ok(Page { jobs, next: if ids.len() == PAGE_LENGTH { ids.last().copied() } else { None } })
    }

    async fn page_of_all(&self, filter: &JobFilter, after: Option<JobId>, order: Order) -> Result<Page> {
        let letters = letters(&filter.states);
        if letters.is_empty() && !filter.states.is_empty() {
            return Ok(Page { jobs: Vec::new(), next: None });
        }
        let mut call = self.link.call(&PAGE);
        call.arg(after.map(|after| after.as_bytes().to_vec()).unwrap_or_default());
        call.arg(if order == Order::NewestFirst { "newest" } else { "oldest" });
        call.arg(PAGE_LENGTH).arg(MOST_BYTES).arg(letters);
        call.arg(filter.queue.as_ref().map(Name::as_str).unwrap_or_default());
        let [now, last, shown] = parts(self.link.run(&call).await?)?;
        let now = moment(&now)?;
        let next = given(last)?.map(|last| super::answer::id(&last)).transpose()?;
        let mut jobs = Vec::new();
        let mut shown = list(shown)?.into_iter();
        while let (Some(id), Some(record), Some(lease), Some(progress)) =
            (shown.next(), shown.next(), shown.next(), shown.next())
        {
            let id = job_id(id)?;
            let looked = Looked::read(record, lease, progress, Value::Nil)?;
            jobs.extend(looked.job(id, now).map(|(job, _)| job).filter(|job| filter.matches(job, now)));
        }
        Ok(Page { jobs, next })
    }

    /// All of a set, or of a hash's fields and values, in bounded steps.
    async fn scan(&self, command: &str, key: &str) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        let mut cursor = b"0".to_vec();
        loop {
            let mut scan = redis::cmd(command);
            scan.arg(self.link.key(key)).arg(&cursor).arg("COUNT").arg(PAGE_LENGTH);
            let [next, some] = parts(self.link.command(&scan).await?)?;
            found.extend(list(some)?);
            cursor = bytes(next)?;
            if cursor == b"0" {
                return Ok(found);
            }
        }
    }
}

/// A queue in numbers, unless it holds nothing and runs.
fn stats(queue: &Name, counts: Value) -> Result<Option<QueueStats>> {
    let [paused, available, scheduled, retryable, running, oldest] = parts(counts)?;
    let mut counts = BTreeMap::new();
    for (state, number) in [
        (State::Available, available),
        (State::Scheduled, scheduled),
        (State::Retryable, retryable),
        (State::Running, running),
    ] {
        let number = count::<u64>(&number).unwrap_or(0);
        if number > 0 {
            counts.insert(state, number);
        }
    }
    let paused = integer(&paused)? == 1;
    let oldest = Some(moment(&oldest)?).filter(|_| counts.contains_key(&State::Available));
    Ok((paused || !counts.is_empty()).then(|| QueueStats { queue: queue.clone(), paused, counts, oldest }))
}

/// A worker as it was seen last, unless that is too long ago.
fn worker_stats(worker: &[u8], now: Timestamp) -> Result<Option<WorkerStats>> {
    let (moments, record) = worker.split_at_checked(16).ok_or_else(strange)?;
    let (seen, until) = moments.split_at(8);
    let at = |bytes: &[u8]| bytes.try_into().map(i64::from_be_bytes).map(Timestamp::from_micros).map_err(|_| strange());
    if at(until)? <= now {
        return Ok(None);
    }
    let record: WorkerRecord = decode(record)?;
    Ok(Some(WorkerStats { record, seen: at(seen)?, running: 0 }))
}
