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
/// Where counting begins among the lanes of a queue, and where it ends.
const FIRST_LANE: &str = "0";

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
            queues.extend(self.counted(names).await?);
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

    /// Counts queues, at most [`COUNTED_TOGETHER`]: of each so many lanes with a script that it is done soon. One that is
    /// added meanwhile may be left out.
    async fn counted(&self, names: &[Name]) -> Result<Vec<QueueStats>> {
        let mut sums: Vec<_> = names.iter().map(|_| Sum::default()).collect();
        let mut open: Vec<_> = (0..names.len()).map(|place| (place, FIRST_LANE.to_owned())).collect();
        while !open.is_empty() {
            let mut call = self.link.call(&QUEUES);
            for (place, lane) in &open {
                call.arg(names[*place].as_str()).arg(lane.as_str());
            }
            let answers = list(self.link.run(&call).await?)?;
            let mut still_open = Vec::new();
            for ((place, _), counted) in open.into_iter().zip(answers) {
                let next_lane = sums[place].add(counted)?;
                if next_lane != FIRST_LANE {
                    still_open.push((place, next_lane));
                }
            }
            open = still_open;
        }
        Ok(names.iter().zip(&sums).filter_map(|(name, sum)| stats(name, sum)).collect())
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

/// What scripts have counted of a queue so far.
#[derive(Default)]
struct Sum {
    paused: bool,
    /// Jobs that are available, scheduled, to be retried, and running.
    counts: [u64; 4],
    oldest: Option<Timestamp>,
}

impl Sum {
    /// Adds what a script has counted; gives where to go on among the queue's lanes.
    fn add(&mut self, counted: Value) -> Result<String> {
        let [paused, available, scheduled, retryable, running, oldest, next_lane] = parts(counted)?;
        self.paused |= integer(&paused)? == 1;
        for (sum, counted) in self.counts.iter_mut().zip([available, scheduled, retryable, running]) {
            // A number that a hand has changed may be below zero.
            *sum += count::<u64>(&counted).unwrap_or(0);
        }
        let oldest = Some(moment(&oldest)?).filter(|oldest| oldest.as_micros() >= 0);
        self.oldest = self.oldest.into_iter().chain(oldest).min();
        text(next_lane)
    }
}

/// A queue in numbers, unless it holds nothing and runs.
fn stats(queue: &Name, sum: &Sum) -> Option<QueueStats> {
    let states = [State::Available, State::Scheduled, State::Retryable, State::Running];
    let counts: BTreeMap<_, _> = states.into_iter().zip(sum.counts).filter(|(_, count)| *count > 0).collect();
    let oldest = sum.oldest.filter(|_| counts.contains_key(&State::Available));
    (sum.paused || !counts.is_empty()).then(|| QueueStats { queue: queue.clone(), paused: sum.paused, counts, oldest })
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
