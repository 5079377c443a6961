//! What the store offers besides moving jobs: results and inspection.

use std::collections::BTreeMap;

use async_trait::async_trait;
use taskwright::backend::{
    Change, Changed, Fetched, Inspect, JobFilter, KeptOutcome, QueueStats, Results, Retention, WorkerStats,
};
use taskwright::job::{Job, WorkerId};
use taskwright::policy::{state, unique};
use taskwright::{JobId, Name, Result, State, Timestamp};

use super::Toy;
use super::store::{Entry, Heartbeat, Place, Store};

#[async_trait]
impl Results for Toy {
    async fn keep(&self, outcomes: &[KeptOutcome]) -> Result<()> {
        self.operate(|store, now| outcomes.iter().for_each(|kept| store.keep(kept, now)))
    }

    async fn fetch(&self, ids: &[JobId]) -> Result<Vec<Fetched>> {
        self.operate(|store, now| ids.iter().map(|&id| store.fetch(id, now)).collect())
    }
}

#[async_trait]
impl Inspect for Toy {
    async fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize) -> Result<Vec<Job>> {
        self.operate(|store, now| store.list(filter, after, limit, now))
    }

    async fn queues(&self) -> Result<Vec<QueueStats>> {
        self.operate(|store, now| store.queues(now))
    }

    async fn workers(&self) -> Result<Vec<WorkerStats>> {
        self.operate(|store, now| store.workers(now))
    }

    async fn change(&self, change: &Change, filter: &JobFilter, limit: usize) -> Result<Changed> {
        self.operate(|store, now| store.change(change, filter, limit, now))
    }

    async fn pause(&self, queue: &Name, paused: bool) -> Result<()> {
        self.operate(|store, _| store.pause(queue, paused))
    }

    async fn prune(&self, retention: &Retention, limit: usize) -> Result<Changed> {
        self.operate(|store, now| store.prune(*retention, limit, now))
    }

    async fn deregister(&self, worker: WorkerId) -> Result<()> {
        self.operate(|store, _| {
            store.workers.remove(&worker);
        })
    }
}

impl Store {
    /// Keeps an outcome unless that of a later attempt is there.
    fn keep(&mut self, kept: &KeptOutcome, now: Timestamp) {
        let outcome = &kept.outcome;
        let newer = self.outcomes.get(&outcome.id).is_some_and(|(known, _)| known.attempt > outcome.attempt);
        if !newer {
            self.outcomes.insert(outcome.id, (outcome.clone(), now.after(kept.ttl)));
        }
    }

    fn fetch(&self, id: JobId, now: Timestamp) -> Fetched {
        if let Some(entry) = self.jobs.get(&id) {
            return entry.fetched(now);
        }
        match self.outcomes.get(&id) {
            None => Fetched::Absent,
            Some((outcome, until)) => Fetched::of_kept(outcome.clone(), *until <= now),
        }
    }

    fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize, now: Timestamp) -> Vec<Job> {
        let newest_first = self.jobs.values().rev().map(|entry| &entry.job);
        let rest = newest_first.filter(|job| after.is_none_or(|after| job.id() < after));
        rest.filter(|job| filter.matches(job, now)).take(limit).map(|job| shown(job, now)).collect()
    }

    fn queues(&self, now: Timestamp) -> Vec<QueueStats> {
        let empty = |queue: &Name| QueueStats {
            paused: self.paused.contains(queue),
            queue: queue.clone(),
            counts: BTreeMap::new(),
            oldest: None,
        };
        let mut queues: BTreeMap<_, _> = self.paused.iter().map(|queue| (queue, empty(queue))).collect();
        for job in self.jobs.values().map(|entry| &entry.job).filter(|job| !job.state.is_terminal()) {
            let queue = &job.spec.queue;
            let numbers = queues.entry(queue).or_insert_with(|| empty(queue));
            let state = state::shown(job.state, job.due, now);
            *numbers.counts.entry(state).or_default() += 1;
            if state == State::Available {
                numbers.oldest = Some(numbers.oldest.map_or(job.due, |oldest| oldest.min(job.due)));
            }
        }
        queues.into_values().collect()
    }

    fn workers(&self, now: Timestamp) -> Vec<WorkerStats> {
        let alive = self.workers.values().filter(|heartbeat| heartbeat.until > now);
        let mut workers: Vec<_> = alive.map(|heartbeat| self.worker(heartbeat)).collect();
        workers.sort_by_key(|worker| (worker.record.started, worker.record.id));
        workers
    }

    fn worker(&self, heartbeat: &Heartbeat) -> WorkerStats {
        let leased = self.jobs.values().filter(|entry| matches!(entry.place, Place::Leased { .. }));
        let running = leased.filter(|entry| entry.job.worker == Some(heartbeat.record.id)).count();
        WorkerStats { record: heartbeat.record.clone(), seen: heartbeat.seen, running }
    }

    fn change(&mut self, change: &Change, filter: &JobFilter, limit: usize, now: Timestamp) -> Changed {
        let entries = self.jobs.values().filter(|entry| filter.matches(&entry.job, now) && entry.admits(change));
        let ids: Vec<_> = entries.map(|entry| entry.job.id()).collect();
        bounded(ids, limit, |id| match change {
            Change::Retry => self.revive(id, now),
            Change::Cancel { reason } => {
                self.cancel(id, reason, now);
                true
            }
            Change::Delete => {
                self.free_key(id, |_| true);
                self.jobs.remove(&id).is_some()
            }
        })
    }

    /// Makes a terminal job wait again, unless it needs a unique key that was taken meanwhile (P7).
    fn revive(&mut self, id: JobId, now: Timestamp) -> bool {
        let Some(entry) = self.jobs.get(&id) else { return false };
        if let Some(unique) = unique::needed_by_retry(&entry.job).cloned()
            && self.take_key(&unique, id, now).is_err()
        {
            return false;
        }
        let Some(entry) = self.jobs.get_mut(&id) else { return false };
        let placement = state::revive(&mut entry.job, now);
        self.put(id, placement);
        true
    }

    fn pause(&mut self, queue: &Name, paused: bool) {
        if paused {
            self.paused.insert(queue.clone());
        } else {
            self.paused.remove(queue);
        }
    }

    fn prune(&mut self, retention: Retention, limit: usize, now: Timestamp) -> Changed {
        self.outcomes.retain(|_, (_, until)| until.after(retention.expired_result) > now);
        let old = self.jobs.values().filter(|entry| entry.stays_until(retention).is_some_and(|until| until <= now));
        let ids: Vec<_> = old.map(|entry| entry.job.id()).collect();
        bounded(ids, limit, |id| self.jobs.remove(&id).is_some())
    }
}

impl Entry {
    fn fetched(&self, now: Timestamp) -> Fetched {
        if matches!(self.place, Place::Finished { until: Some(until) } if until <= now) {
            return Fetched::Expired;
        }
        match state::outcome(&self.job) {
            Some(outcome) => Fetched::Finished(outcome),
            None => Fetched::Pending {
                state: state::shown(self.job.state, self.job.due, now),
                attempt: self.job.attempt,
                progress: self.job.progress.clone(),
            },
        }
    }

    /// Whether a change applies to a job in this place. One that was called off is not called off again.
    fn admits(&self, change: &Change) -> bool {
        match (change, &self.place) {
            (Change::Retry, Place::Finished { .. })
            | (Change::Cancel { .. }, Place::Waiting | Place::Leased { called_off: None, .. })
            | (Change::Delete, Place::Waiting | Place::Finished { .. }) => true,
            (Change::Retry | Change::Cancel { .. } | Change::Delete, _) => false,
        }
    }

    /// When a terminal job may be removed (P16); `None` for any other.
    fn stays_until(&self, retention: Retention) -> Option<Timestamp> {
        let Place::Finished { until } = self.place else { return None };
        let finished = self.job.finished?;
        Some(match self.job.state {
            State::Completed => until.unwrap_or(finished).after(retention.expired_result),
            State::Discarded => finished.after(retention.discarded),
            _ => finished.after(retention.cancelled),
        })
    }
}

/// A job with its state as of now.
fn shown(job: &Job, now: Timestamp) -> Job {
    Job { state: state::shown(job.state, job.due, now), ..job.clone() }
}

/// Does `change` to the first `limit` jobs that it applies to.
fn bounded(ids: Vec<JobId>, limit: usize, mut change: impl FnMut(JobId) -> bool) -> Changed {
    let mut changed = Changed::default();
    for id in ids {
        if changed.count == limit {
            return Changed { more: true, ..changed };
        }
        changed.count += usize::from(change(id));
    }
    changed
}
