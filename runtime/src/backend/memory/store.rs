//! All jobs, and the three places in which one lies: waiting, leased, finished.
//!
//! Every change of a job is the same three steps: lift it out of its place, ask the state machine, lay it where that
//! says.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::batches::Batches;
use super::facets::{Kept, Leadership, Seen};
use super::ids::IdMap;
use super::leases::Leases;
use super::slab::{Slab, Slot};
use super::waiting::{Queue, Turn};
use super::wake::News;
use crate::backend::{
    Cancelled, Claim, Claimed, Extend, Extended, Push, Pushed, QueueClaim, Reap, Reaped, Renewal, Settled, Settlement,
};
use crate::job::{Job, JobId, JobSpec, Lease, Name, NewJob, State, WorkerId};
use crate::policy::{Placement, state};
use crate::time::Timestamp;

/// All that the process remembers.
#[derive(Default)]
pub(super) struct Store {
    /// Every job, wherever it lies.
    pub(super) jobs: Slab<Entry>,
    pub(super) by_id: IdMap<Slot>,
    /// Waiting jobs in the order of claims.
    pub(super) queues: BTreeMap<Name, Queue>,
    /// Waiting jobs that expire, by when.
    expiring: BTreeSet<(Timestamp, Slot)>,
    /// Leased jobs by when their lease lapses.
    leases: Leases,
    /// Finished jobs by how long they stay.
    pub(super) finished: BTreeSet<(Shelf, Timestamp, Slot)>,
    /// The unfinished job of each unique key.
    holders: HashMap<String, JobId>,
    batches: Batches,
    /// The token of the latest lease.
    last_token: u64,
    pub(super) workers: HashMap<WorkerId, Seen>,
    pub(super) leaders: HashMap<Name, Leadership>,
    pub(super) kept: Kept,
}

/// A job and where it lies.
pub(super) struct Entry {
    pub(super) job: Job,
    pub(super) place: Place,
}

/// Where a job lies.
pub(super) enum Place {
    Waiting,
    Leased(Held),
    Finished {
        /// When its result's time to live ends, if it has one.
        until: Option<Timestamp>,
    },
}

/// A live lease.
pub(super) struct Held {
    token: u64,
    lapses: Timestamp,
    /// Why the job should stop, once somebody called it off.
    called_off: Option<String>,
}

/// Finished jobs that retention treats alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shelf {
    Results,
    DeadLetters,
    CalledOff,
}

impl Store {
    pub(super) fn push(&mut self, push: &Push, now: Timestamp, news: &mut News) -> Vec<Pushed> {
        if push.jobs.is_empty() {
            return Vec::new();
        }
        self.batches.forget(now);
        if let Some(answers) = self.batches.recall(push) {
            return answers;
        }
        let answers: Vec<_> = push.jobs.iter().map(|new| self.receive(new, now, news)).collect();
        self.batches.remember(push.batch, &answers, now);
        answers
    }

    fn receive(&mut self, new: &NewJob, now: Timestamp, news: &mut News) -> Pushed {
        let id = new.spec.id;
        if self.by_id.contains_key(&id) {
            return Pushed::Repeated;
        }
        if let Err(holder) = self.take_key(&new.spec) {
            return Pushed::Conflict(holder);
        }
        let job = Job::received(new, now);
        let slot = self.jobs.insert(Entry { job, place: Place::Waiting });
        self.by_id.insert(id, slot);
        self.lay(slot, Placement::Waiting, now, news);
        Pushed::Stored
    }

    pub(super) fn claim(&mut self, claim: &Claim, now: Timestamp) -> Claimed {
        let mut claimed = Claimed::default();
        for wish in &claim.queues {
            self.claim_from(wish, claim, now, &mut claimed);
        }
        claimed
    }

    fn claim_from(&mut self, wish: &QueueClaim, claim: &Claim, now: Timestamp, claimed: &mut Claimed) {
        let Some(queue) = self.queues.get_mut(&wish.queue).filter(|queue| !queue.paused) else { return };
        queue.look_at_the_clock(now);
        let enough = claim.limit.min(claimed.jobs.len().saturating_add(wish.limit));
        while claimed.jobs.len() < enough
            && let Some(slot) = queue.pop(now)
        {
            let Some(entry) = self.jobs.get_mut(slot) else { continue };
            // A job that came too late leaves its queue, and waits among the expiring for the reaper.
            if !state::claimable(&entry.job, now) {
                continue;
            }
            if let Some(expires) = entry.job.expires {
                self.expiring.remove(&(expires, slot));
            }
            self.last_token += 1;
            let held = Held { token: self.last_token, lapses: now.after(claim.ttl), called_off: None };
            self.leases.add(held.lapses, slot, held.token);
            claimed.jobs.push(entry.lease_to(claim.worker, held, now));
        }
        claimed.next_due = claimed.next_due.into_iter().chain(queue.next_due(now)).min();
    }

    /// Claims these jobs where they wait and can run.
    pub(super) fn take(&mut self, claim: &Claim, ids: &[JobId], now: Timestamp) -> Vec<(Lease, Job)> {
        let mut taken = Vec::new();
        for id in ids {
            let Some(slot) = self.by_id.get(id).copied() else { continue };
            let runs = self.jobs.get(slot).is_some_and(|Entry { job, place }| {
                let paused = self.queues.get(&job.spec.queue).is_some_and(|queue| queue.paused);
                matches!(place, Place::Waiting) && state::claimable(job, now) && !paused
            });
            if runs {
                self.lift(slot);
                taken.extend(self.lease(slot, claim, now));
            }
        }
        taken
    }

    /// Gives a lease on a job that was lifted out of its place.
    fn lease(&mut self, slot: Slot, claim: &Claim, now: Timestamp) -> Option<(Lease, Job)> {
        let entry = self.jobs.get_mut(slot)?;
        self.last_token += 1;
        let held = Held { token: self.last_token, lapses: now.after(claim.ttl), called_off: None };
        self.leases.add(held.lapses, slot, held.token);
        Some(entry.lease_to(claim.worker, held, now))
    }

    pub(super) fn extend(&mut self, extend: &Extend, now: Timestamp) -> Extended {
        let mut extended = Extended::default();
        for renewal in &extend.renewals {
            self.renew(renewal, now.after(extend.ttl), &mut extended);
        }
        let paused = |name: &&Name| self.queues.get(*name).is_some_and(|queue| queue.paused);
        extended.paused = extend.worker.queues.iter().filter(paused).cloned().collect();
        let seen = Seen { record: extend.worker.clone(), at: now, until: now.after(extend.ttl) };
        self.workers.insert(extend.worker.id, seen);
        extended
    }

    fn renew(&mut self, renewal: &Renewal, until: Timestamp, extended: &mut Extended) {
        let lease = renewal.lease;
        let slot = self.by_id.get(&lease.job).copied();
        let entry = slot.and_then(|slot| Some((slot, self.jobs.get_mut(slot)?)));
        let Some((slot, Entry { job, place: Place::Leased(held) })) = entry.filter(|(_, entry)| entry.is_under(&lease))
        else {
            extended.lost.push(lease);
            return;
        };
        self.leases.remove(held.lapses);
        self.leases.add(until, slot, held.token);
        held.lapses = until;
        if renewal.progress.is_some() {
            job.progress.clone_from(&renewal.progress);
        }
        extended.cancelled.extend(held.called_off.clone().map(|reason| (lease, reason)));
    }

    pub(super) fn settle(&mut self, end: &Settlement, now: Timestamp, news: &mut News) -> Settled {
        let slot = self.by_id.get(&end.lease.job).copied();
        let current = |slot: &Slot| self.jobs.get(*slot).is_some_and(|entry| entry.is_under(&end.lease));
        let Some(slot) = slot.filter(current) else { return Settled::LeaseLost };
        self.change(slot, now, news, |job| state::settle(job, &end.verdict, now));
        Settled::Applied
    }

    pub(super) fn cancel(&mut self, id: JobId, reason: &str, now: Timestamp, news: &mut News) -> Cancelled {
        let Some(slot) = self.by_id.get(&id).copied() else { return Cancelled::Absent };
        let Some(entry) = self.jobs.get_mut(slot) else { return Cancelled::Absent };
        match &mut entry.place {
            Place::Waiting => {
                self.change(slot, now, news, |job| state::cancel(job, reason, now));
                Cancelled::Ended
            }
            Place::Leased(held) => {
                held.called_off.get_or_insert_with(|| reason.to_owned());
                news.control();
                Cancelled::Requested
            }
            Place::Finished { .. } => Cancelled::Finished(entry.job.state),
        }
    }

    pub(super) fn reap(&mut self, reap: Reap, now: Timestamp, news: &mut News) -> Reaped {
        let mut reaped = Reaped::default();
        for _ in 0..reap.limit {
            if let Some(slot) = self.next_lapsed(now) {
                match self.change(slot, now, news, |job| state::crash(job, reap.max_crashes, now)) {
                    Placement::Waiting => reaped.returned += 1,
                    Placement::Finished { .. } | Placement::Forgotten => reaped.discarded += 1,
                }
            } else if let Some(slot) = self.overdue(now) {
                self.change(slot, now, news, |job| state::expire(job, now));
                reaped.expired += 1;
            } else {
                break;
            }
        }
        reaped.more = self.leases.any_lapsed(now) || self.overdue(now).is_some();
        self.tidy(now);
        reaped
    }

    /// The job whose lease lapsed first; whoever asks must end it.
    fn next_lapsed(&mut self, now: Timestamp) -> Option<Slot> {
        let (leases, jobs) = (&mut self.leases, &self.jobs);
        leases.next_lapsed(now, |slot, token, lapses| jobs.get(slot).is_some_and(|entry| entry.lapses(token, lapses)))
    }

    /// The waiting job whose expiry passed first.
    fn overdue(&self, now: Timestamp) -> Option<Slot> {
        self.expiring.first().filter(|(expires, _)| *expires <= now).map(|(_, slot)| *slot)
    }

    /// Forgets workers that are gone and queues that hold nothing.
    fn tidy(&mut self, now: Timestamp) {
        self.workers.retain(|_, seen| seen.until > now);
        self.queues.retain(|_, queue| !queue.is_idle());
    }

    /// One change of a job: lift it out of its place, let the state machine decide, lay it where that says.
    pub(super) fn change(
        &mut self,
        slot: Slot,
        now: Timestamp,
        news: &mut News,
        decide: impl FnOnce(&mut Job) -> Placement,
    ) -> Placement {
        let called_off = self.lift(slot);
        let Some(entry) = self.jobs.get_mut(slot) else { return Placement::Forgotten };
        let decided = decide(&mut entry.job);
        let placement = state::heed(&mut entry.job, decided, called_off.as_deref(), now);
        self.lay(slot, placement, now, news);
        placement
    }

    /// Takes a job out of the indexes of its place; tells why it should stop, if it was running and called off.
    fn lift(&mut self, slot: Slot) -> Option<String> {
        let Entry { job, place } = self.jobs.get_mut(slot)?;
        match place {
            Place::Waiting => {
                if let Some(queue) = self.queues.get_mut(&job.spec.queue) {
                    queue.remove(Turn::new(job, slot));
                }
                if let Some(expires) = job.expires {
                    self.expiring.remove(&(expires, slot));
                }
                None
            }
            Place::Leased(held) => {
                self.leases.remove(held.lapses);
                held.called_off.take()
            }
            Place::Finished { until } => {
                self.finished.remove(&shelf(job, *until, slot));
                None
            }
        }
    }

    /// Puts a job that lies nowhere into its place.
    fn lay(&mut self, slot: Slot, placement: Placement, now: Timestamp, news: &mut News) {
        let Some(Entry { job, place }) = self.jobs.get_mut(slot) else { return };
        match placement {
            Placement::Waiting => {
                *place = Place::Waiting;
                news.jobs(&job.spec.queue);
                if let Some(expires) = job.expires {
                    self.expiring.insert((expires, slot));
                }
                let turn = Turn::new(job, slot);
                match self.queues.get_mut(&job.spec.queue) {
                    Some(queue) => queue.insert(turn, now),
                    None => self.queues.entry(job.spec.queue.clone()).or_default().insert(turn, now),
                }
            }
            Placement::Finished { until } => {
                *place = Place::Finished { until };
                self.finished.insert(shelf(job, until, slot));
                release_key(&mut self.holders, job);
                news.outcomes();
            }
            Placement::Forgotten => self.forget(slot),
        }
    }

    /// Removes a job with all that is kept of it.
    pub(super) fn delete(&mut self, slot: Slot) {
        self.lift(slot);
        self.forget(slot);
    }

    fn forget(&mut self, slot: Slot) {
        let Some(Entry { job, .. }) = self.jobs.remove(slot) else { return };
        self.by_id.remove(&job.id());
        release_key(&mut self.holders, &job);
    }

    /// Makes a job the holder of its unique key, if it has one; refused with the job that holds it.
    pub(super) fn take_key(&mut self, spec: &JobSpec) -> Result<(), JobId> {
        let Some(unique) = &spec.unique else { return Ok(()) };
        if let Some(holder) = self.holders.get(&unique.key) {
            return Err(*holder);
        }
        self.holders.insert(unique.key.clone(), spec.id);
        Ok(())
    }
}

fn release_key(holders: &mut HashMap<String, JobId>, job: &Job) {
    if let Some(unique) = &job.spec.unique
        && holders.get(&unique.key) == Some(&job.id())
    {
        holders.remove(&unique.key);
    }
}

/// Where a finished job stands in the order of retention.
fn shelf(job: &Job, until: Option<Timestamp>, slot: Slot) -> (Shelf, Timestamp, Slot) {
    let finished = job.finished.unwrap_or(job.pushed);
    match job.state {
        State::Completed => (Shelf::Results, until.unwrap_or(finished), slot),
        State::Discarded => (Shelf::DeadLetters, finished, slot),
        _ => (Shelf::CalledOff, finished, slot),
    }
}

impl Entry {
    pub(super) fn is_called_off(&self) -> bool {
        matches!(&self.place, Place::Leased(held) if held.called_off.is_some())
    }

    fn is_under(&self, lease: &Lease) -> bool {
        matches!(&self.place, Place::Leased(held) if held.token == lease.token)
    }

    fn lapses(&self, token: u64, lapses: Timestamp) -> bool {
        matches!(&self.place, Place::Leased(held) if held.token == token && held.lapses == lapses)
    }

    fn lease_to(&mut self, worker: WorkerId, held: Held, now: Timestamp) -> (Lease, Job) {
        state::claim(&mut self.job, worker, now);
        let lease = Lease { job: self.job.id(), attempt: self.job.attempt, worker, token: held.token };
        self.place = Place::Leased(held);
        (lease, self.job.clone())
    }

    /// The job as others see it at `now`.
    pub(super) fn shown(&self, now: Timestamp) -> Job {
        let mut job = self.job.clone();
        job.state = state::shown(job.state, job.due, now);
        job
    }
}
