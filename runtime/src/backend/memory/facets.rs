//! What only some stores can do: results, leadership, inspection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;

use super::Memory;
use super::slab::Slot;
use super::store::{Entry, Place, Shelf, Store};
use super::wake::News;
use crate::backend::{
    Cancelled, Change, Changed, Claim, Fetched, Inspect, JobFilter, KeptOutcome, Leader, Ledger, QueueStats, Results,
    Retention, Term, WorkerRecord, WorkerStats,
};
use crate::error::Result;
use crate::job::{Job, JobId, Lease, Name, Outcome, State, WorkerId};
use crate::policy::{state, unique};
use crate::time::Timestamp;

/// Outcomes of jobs that another backend carries.
#[derive(Default)]
pub(super) struct Kept {
    outcomes: HashMap<JobId, (Outcome, Timestamp)>,
    by_end: BTreeSet<(Timestamp, JobId)>,
}

/// A worker's last heartbeat.
pub(super) struct Seen {
    pub(super) record: WorkerRecord,
    pub(super) at: Timestamp,
    /// When it counts as gone.
    pub(super) until: Timestamp,
}

/// Who leads in a role, or led last.
pub(super) struct Leadership {
    worker: WorkerId,
    term: u64,
    until: Timestamp,
}

#[async_trait]
impl Results for Memory {
    async fn keep(&self, outcomes: &[KeptOutcome]) -> Result<()> {
        self.operate(|store, now, news| {
            for KeptOutcome { outcome, ttl } in outcomes {
                store.kept.keep(outcome, now.after(*ttl));
                if outcome.state.is_terminal() {
                    news.outcomes();
                }
            }
        })
    }

    async fn fetch(&self, ids: &[JobId]) -> Result<Vec<Fetched>> {
        self.operate(|store, now, _| ids.iter().map(|id| store.fetch(*id, now)).collect())
    }
}

impl Store {
    fn fetch(&self, id: JobId, now: Timestamp) -> Fetched {
        match self.entry(id) {
            Some(entry) => entry.fetched(now),
            None => self.kept.fetch(id, now),
        }
    }

    fn entry(&self, id: JobId) -> Option<&Entry> {
        self.jobs.get(*self.by_id.get(&id)?)
    }
}

impl Entry {
    fn fetched(&self, now: Timestamp) -> Fetched {
        match (&self.place, state::outcome(&self.job)) {
            (Place::Finished { until: Some(until) }, _) if *until <= now => Fetched::Expired,
            (Place::Finished { .. }, Some(outcome)) => Fetched::Finished(outcome),
            _ => Fetched::Pending {
                state: state::shown(self.job.state, self.job.due, now),
                attempt: self.job.attempt,
                progress: self.job.progress.clone(),
            },
        }
    }
}

impl Kept {
    fn keep(&mut self, outcome: &Outcome, until: Timestamp) {
        if let Some((known, ends)) = self.outcomes.get(&outcome.id) {
            if known.attempt > outcome.attempt {
                return;
            }
            self.by_end.remove(&(*ends, outcome.id));
        }
        self.by_end.insert((until, outcome.id));
        self.outcomes.insert(outcome.id, (outcome.clone(), until));
    }

    fn fetch(&self, id: JobId, now: Timestamp) -> Fetched {
        match self.outcomes.get(&id) {
            None => Fetched::Absent,
            Some((outcome, until)) => Fetched::of_kept(outcome.clone(), *until <= now),
        }
    }

    /// Forgets the outcome that ended first, if it ended so long ago.
    fn prune_one(&mut self, keep: Duration, now: Timestamp) -> bool {
        match self.by_end.first() {
            Some((until, id)) if until.after(keep) <= now => {
                self.outcomes.remove(id);
                self.by_end.pop_first();
                true
            }
            _ => false,
        }
    }
}

#[async_trait]
impl Leader for Memory {
    async fn campaign(&self, role: &Name, worker: WorkerId, ttl: Duration) -> Result<Option<Term>> {
        self.operate(|store, now, _| store.campaign(role, worker, ttl, now))
    }

    async fn resign(&self, role: &Name, worker: WorkerId) -> Result<()> {
        self.operate(|store, now, _| {
            if let Some(leader) = store.leaders.get_mut(role).filter(|leader| leader.worker == worker) {
                leader.until = leader.until.min(now);
            }
        })
    }
}

impl Store {
    fn campaign(&mut self, role: &Name, worker: WorkerId, ttl: Duration, now: Timestamp) -> Option<Term> {
        let until = now.after(ttl);
        let Some(leader) = self.leaders.get_mut(role) else {
            self.leaders.insert(role.clone(), Leadership { worker, term: 1, until });
            return Some(Term(1));
        };
        let leads = leader.until > now;
        if leads && leader.worker != worker {
            return None;
        }
        if !leads {
            // Also for a leader that comes back late: somebody may have acted in between.
            leader.term += 1;
        }
        (leader.worker, leader.until) = (worker, until);
        Some(Term(leader.term))
    }
}

#[async_trait]
impl Inspect for Memory {
    async fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize) -> Result<Vec<Job>> {
        self.operate(|store, now, _| store.list(filter, after, limit, now))
    }

    async fn queues(&self) -> Result<Vec<QueueStats>> {
        self.operate(|store, now, _| store.queue_stats(now))
    }

    async fn workers(&self) -> Result<Vec<WorkerStats>> {
        self.operate(|store, now, _| store.worker_stats(now))
    }

    async fn change(&self, change: &Change, filter: &JobFilter, limit: usize) -> Result<Changed> {
        self.operate(|store, now, news| store.change_all(change, filter, limit, now, news))
    }

    async fn pause(&self, queue: &Name, paused: bool) -> Result<()> {
        self.operate(|store, _, news| {
            store.queues.entry(queue.clone()).or_default().paused = paused;
            news.control();
            if !paused {
                news.jobs(queue);
            }
        })
    }

    async fn prune(&self, retention: &Retention, limit: usize) -> Result<Changed> {
        self.operate(|store, now, _| store.prune(retention, limit, now))
    }

    async fn deregister(&self, worker: WorkerId) -> Result<()> {
        self.operate(|store, _, _| {
            store.workers.remove(&worker);
        })
    }
}

impl Store {
    fn list(&self, filter: &JobFilter, after: Option<JobId>, limit: usize, now: Timestamp) -> Vec<Job> {
        let matching = self.matching(filter, now).into_iter().rev();
        let page = matching.skip_while(|(id, _)| after.is_some_and(|after| *id >= after)).take(limit);
        page.filter_map(|(_, slot)| Some(self.jobs.get(slot)?.shown(now))).collect()
    }

    /// The jobs that match, oldest first. Looks at all jobs, unless the filter says which.
    fn matching(&self, filter: &JobFilter, now: Timestamp) -> Vec<(JobId, Slot)> {
        let matching =
            |(slot, entry): (Slot, &Entry)| filter.matches(&entry.job, now).then_some((entry.job.id(), slot));
        let mut found: Vec<_> = if filter.ids.is_empty() {
            self.jobs.iter().filter_map(matching).collect()
        } else {
            let slots = filter.ids.iter().filter_map(|id| self.by_id.get(id));
            slots.filter_map(|slot| Some((*slot, self.jobs.get(*slot)?))).filter_map(matching).collect()
        };
        found.sort_unstable();
        found.dedup();
        found
    }

    fn queue_stats(&self, now: Timestamp) -> Vec<QueueStats> {
        let paused = self.queues.iter().filter(|(_, queue)| queue.paused);
        let mut queues: BTreeMap<&Name, _> = paused.map(|(name, _)| (name, QueueStats::empty(name, true))).collect();
        for (_, Entry { job, .. }) in self.jobs.iter().filter(|(_, entry)| !entry.job.state.is_terminal()) {
            let queue = queues.entry(&job.spec.queue).or_insert_with_key(|name| QueueStats::empty(name, false));
            queue.count(state::shown(job.state, job.due, now), job.due);
        }
        queues.into_values().collect()
    }

    fn worker_stats(&self, now: Timestamp) -> Vec<WorkerStats> {
        let mut running: HashMap<WorkerId, usize> = HashMap::new();
        let leased = self.jobs.iter().filter(|(_, entry)| matches!(entry.place, Place::Leased(_)));
        leased.filter_map(|(_, entry)| entry.job.worker).for_each(|worker| *running.entry(worker).or_default() += 1);
        let alive = self.workers.values().filter(|seen| seen.until > now);
        let mut workers: Vec<_> = alive
            .map(|Seen { record, at, .. }| WorkerStats {
                record: record.clone(),
                seen: *at,
                running: running.get(&record.id).copied().unwrap_or(0),
            })
            .collect();
        workers.sort_by_key(|worker| (worker.record.started, worker.record.id));
        workers
    }

    fn change_all(
        &mut self,
        change: &Change,
        filter: &JobFilter,
        limit: usize,
        now: Timestamp,
        news: &mut News,
    ) -> Changed {
        let mut changed = Changed::default();
        for (_, slot) in self.matching(filter, now) {
            if changed.count == limit {
                changed.more = true;
                break;
            }
            changed.count += usize::from(self.change_one(change, slot, now, news));
        }
        changed
    }

    /// Does the change to one job, or says that it does not apply to it.
    fn change_one(&mut self, change: &Change, slot: Slot, now: Timestamp, news: &mut News) -> bool {
        match change {
            Change::Retry => self.revive(slot, now, news),
            Change::Cancel { reason } => self.call_off(slot, reason, now, news),
            Change::Delete => {
                let applies = self.jobs.get(slot).is_some_and(|entry| !matches!(entry.place, Place::Leased(_)));
                if applies {
                    self.delete(slot);
                }
                applies
            }
        }
    }

    fn revive(&mut self, slot: Slot, now: Timestamp, news: &mut News) -> bool {
        let Some(entry) = self.jobs.get(slot).filter(|entry| state::can_revive(entry.job.state)) else { return false };
        if let Some(unique) = unique::needed_by_retry(&entry.job)
            && self.keys.take(unique, entry.job.id(), now).is_err()
        {
            return false;
        }
        self.change(slot, now, news, |job| state::revive(job, now));
        true
    }

    /// A running job that was called off before is not called off again, so that repeated rounds come to an end.
    fn call_off(&mut self, slot: Slot, reason: &str, now: Timestamp, news: &mut News) -> bool {
        let Some(entry) = self.jobs.get(slot).filter(|entry| !entry.is_called_off()) else { return false };
        matches!(self.cancel(entry.job.id(), reason, now, news), Cancelled::Ended | Cancelled::Requested)
    }

    fn prune(&mut self, retention: &Retention, limit: usize, now: Timestamp) -> Changed {
        let mut count = 0;
        while count < limit && self.prune_one(retention, now) {
            count += 1;
        }
        Changed { count, more: count == limit }
    }

    fn prune_one(&mut self, retention: &Retention, now: Timestamp) -> bool {
        let shelves = [
            (Shelf::Results, retention.expired_result),
            (Shelf::DeadLetters, retention.discarded),
            (Shelf::CalledOff, retention.cancelled),
        ];
        let stale = shelves.into_iter().find_map(|(shelf, keep)| self.longest_on(shelf, keep, now));
        match stale {
            Some(slot) => {
                self.remove(slot);
                true
            }
            None => self.kept.prune_one(retention.expired_result, now),
        }
    }

    /// The job that has been longest on a shelf, if that is longer than it should.
    fn longest_on(&self, wanted: Shelf, time: Duration, now: Timestamp) -> Option<Slot> {
        let from = (wanted, Timestamp::from_micros(i64::MIN), Slot::MIN);
        let (found, since, slot) = self.finished.range(from..).next()?;
        (*found == wanted && since.after(time) <= now).then_some(*slot)
    }
}

impl QueueStats {
    fn empty(queue: &Name, paused: bool) -> Self {
        Self { queue: queue.clone(), paused, counts: BTreeMap::new(), oldest: None }
    }

    fn count(&mut self, state: State, due: Timestamp) {
        *self.counts.entry(state).or_default() += 1;
        if state == State::Available {
            self.oldest = Some(self.oldest.map_or(due, |oldest| oldest.min(due)));
        }
    }
}

#[async_trait]
impl Ledger for Memory {
    async fn take(&self, claim: &Claim, ids: &[JobId]) -> Result<Vec<(Lease, Job)>> {
        self.operate(|store, now, _| store.take(claim, ids, now))
    }
}
