//! The jobs, and what each operation does to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use taskwright::backend::{
    Cancelled, Claim, Claimed, Extend, Extended, Push, Pushed, Reap, Reaped, Settled, Settlement, WorkerRecord,
};
use taskwright::job::{BatchId, Job, Lease, NewJob, Outcome, Unique, WorkerId};
use taskwright::policy::{Placement, order, state, unique};
use taskwright::{JobId, Name, Timestamp};

/// For how long a batch is recognised when it is pushed again.
const HOUR: Duration = Duration::from_hours(1);

/// Everything that the store knows.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Every job that was pushed and not yet forgotten. The order of ids is the order of age.
    pub(super) jobs: BTreeMap<JobId, Entry>,
    /// What the batches of the last hour were answered, and when.
    batches: HashMap<BatchId, (Timestamp, Vec<Pushed>)>,
    /// Outcomes of jobs that another backend carries, each with the end of its time to live.
    pub(super) outcomes: HashMap<JobId, (Outcome, Timestamp)>,
    /// Which job has each unique key, and until when if that is a moment.
    keys: HashMap<String, (JobId, Option<Timestamp>)>,
    pub(super) paused: BTreeSet<Name>,
    pub(super) workers: HashMap<WorkerId, Heartbeat>,
    /// The token of the latest claim.
    token: u64,
}

/// A job, and where it lies.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) job: Job,
    pub(super) place: Place,
}

/// The three places of a job.
#[derive(Debug)]
pub(super) enum Place {
    /// It can be claimed, now or when it is due.
    Waiting,
    /// A worker has it.
    Leased {
        /// The claim that gave the lease; writes that carry another are refused (P3).
        token: u64,
        /// When the lease lapses.
        until: Timestamp,
        /// Why somebody wants it stopped, if anybody does (P9).
        called_off: Option<String>,
    },
    /// It has ended.
    Finished {
        /// When its result's time to live ends, if it has one.
        until: Option<Timestamp>,
    },
}

/// The latest sign of life of a worker.
#[derive(Debug)]
pub(super) struct Heartbeat {
    pub(super) record: WorkerRecord,
    pub(super) seen: Timestamp,
    /// When it counts as gone.
    pub(super) until: Timestamp,
}

impl Store {
    /// Stores what is new of a batch (P1), and remembers the answers for when it comes again.
    pub(super) fn push(&mut self, push: &Push, now: Timestamp) -> Vec<Pushed> {
        self.batches.retain(|_, (seen, _)| now.since(*seen) < HOUR);
        if let Some((_, answers)) = self.batches.get(&push.batch) {
            return answers.iter().copied().map(repeated).collect();
        }
        let answers: Vec<Pushed> = push.jobs.iter().map(|new| self.receive(new, now)).collect();
        self.batches.insert(push.batch, (now, answers.clone()));
        answers
    }

    fn receive(&mut self, new: &NewJob, now: Timestamp) -> Pushed {
        if self.jobs.contains_key(&new.spec.id) {
            return Pushed::Repeated;
        }
        if let Some(unique) = &new.spec.unique
            && let Err(holder) = self.take_key(unique, new.spec.id, now)
        {
            return if self.replace(holder, new, now) { Pushed::Replaced(holder) } else { Pushed::Conflict(holder) };
        }
        let job = Job::received(new, now);
        self.jobs.insert(job.id(), Entry { job, place: Place::Waiting });
        Pushed::Stored
    }

    /// Gives a job its unique key, unless another one has it (P7).
    pub(super) fn take_key(&mut self, unique: &Unique, id: JobId, now: Timestamp) -> Result<(), JobId> {
        match self.keys.get(&unique.key) {
            Some((holder, until)) if until.is_none_or(|until| until > now) => Err(*holder),
            _ => {
                self.keys.insert(unique.key.clone(), (id, unique::ends(unique, now)));
                Ok(())
            }
        }
    }

    /// Takes its unique key from a job, if it has one of this sort.
    pub(super) fn free_key(&mut self, id: JobId, is_freed: fn(&Unique) -> bool) {
        let unique = self.jobs.get(&id).and_then(|entry| entry.job.spec.unique.as_ref());
        if let Some(unique) = unique.filter(|unique| is_freed(unique))
            && self.keys.get(&unique.key).is_some_and(|(holder, _)| *holder == id)
        {
            self.keys.remove(&unique.key);
        }
    }

    /// Changes the job that has a key as a push asks, if it may.
    fn replace(&mut self, holder: JobId, new: &NewJob, now: Timestamp) -> bool {
        let waiting = self.jobs.get_mut(&holder).filter(|entry| matches!(entry.place, Place::Waiting));
        let Some(entry) = waiting else { return false };
        let Some(changed) = unique::replaced(&entry.job, new, now) else { return false };
        entry.job = changed;
        true
    }

    /// Leases out what is due, queue by queue.
    pub(super) fn claim(&mut self, claim: &Claim, now: Timestamp) -> Claimed {
        let mut claimed = Claimed::default();
        for wish in &claim.queues {
            let room = wish.limit.min(claim.limit - claimed.jobs.len());
            for id in self.next(&wish.queue, claim, room, now) {
                claimed.jobs.extend(self.lease(id, claim, now));
            }
        }
        claimed.next_due = self.next_due(claim, now);
        claimed
    }

    /// The jobs of a queue that may be handed out now, those that go first before the others (P4, P6, P8, P10, P11).
    fn next(&self, queue: &Name, claim: &Claim, room: usize, now: Timestamp) -> Vec<JobId> {
        let waiting = self.waiting(queue, &claim.unknown).filter(|job| state::claimable(job, now));
        let mut places: Vec<_> = waiting.map(|job| order::place(job, claim.aging)).collect();
        places.sort_unstable();
        places.into_iter().take(room).map(|(_, id)| id).collect()
    }

    fn next_due(&self, claim: &Claim, now: Timestamp) -> Option<Duration> {
        let waiting = claim.queues.iter().flat_map(|wish| self.waiting(&wish.queue, &claim.unknown));
        waiting.filter(|job| !state::is_expired(job, now)).map(|job| job.due.since(now)).min()
    }

    /// The waiting jobs of a queue, unless it is paused, whose tasks are not among these.
    fn waiting<'a>(&'a self, queue: &'a Name, unknown: &'a [Name]) -> impl Iterator<Item = &'a Job> {
        let running = !self.paused.contains(queue);
        let entries = self.jobs.values().filter(|entry| matches!(entry.place, Place::Waiting));
        let wanted = move |job: &&Job| running && job.spec.queue == *queue && !unknown.contains(&job.spec.task);
        entries.map(|entry| &entry.job).filter(wanted)
    }

    fn lease(&mut self, id: JobId, claim: &Claim, now: Timestamp) -> Option<(Lease, Job)> {
        self.free_key(id, unique::is_freed_by_claim);
        let entry = self.jobs.get_mut(&id)?;
        self.token += 1;
        state::claim(&mut entry.job, claim.worker, now);
        entry.place = Place::Leased { token: self.token, until: now.after(claim.ttl), called_off: None };
        let lease = Lease { job: id, attempt: entry.job.attempt, worker: claim.worker, token: self.token };
        Some((lease, entry.job.clone()))
    }

    /// Renews leases, and tells a worker what it should know.
    pub(super) fn extend(&mut self, extend: &Extend, now: Timestamp) -> Extended {
        let (record, until) = (extend.worker.clone(), now.after(extend.ttl));
        let paused = record.queues.iter().filter(|queue| self.paused.contains(queue)).cloned().collect();
        self.workers.insert(record.id, Heartbeat { record, seen: now, until });
        let mut extended = Extended { paused, ..Extended::default() };
        for renewal in &extend.renewals {
            let Some(entry) = self.held(&renewal.lease) else {
                extended.lost.push(renewal.lease);
                continue;
            };
            if renewal.progress.is_some() {
                entry.job.progress.clone_from(&renewal.progress);
            }
            if let Place::Leased { until: lapses, called_off, .. } = &mut entry.place {
                *lapses = until;
                extended.cancelled.extend(called_off.clone().map(|reason| (renewal.lease, reason)));
            }
        }
        extended
    }

    /// The job of a lease, if the lease is that of its latest claim (P3).
    fn held(&mut self, lease: &Lease) -> Option<&mut Entry> {
        let entry = self.jobs.get_mut(&lease.job)?;
        matches!(entry.place, Place::Leased { token, .. } if token == lease.token).then_some(entry)
    }

    /// Ends one attempt.
    pub(super) fn settle(&mut self, settlement: &Settlement, now: Timestamp) -> Settled {
        if self.held(&settlement.lease).is_none() {
            return Settled::LeaseLost;
        }
        self.end_attempt(settlement.lease.job, now, |job| state::settle(job, &settlement.verdict, now));
        Settled::Applied
    }

    /// Ends the attempt of a leased job as `ending` says, unless it was called off and would wait again.
    fn end_attempt(
        &mut self,
        id: JobId,
        now: Timestamp,
        ending: impl FnOnce(&mut Job) -> Placement,
    ) -> Option<Placement> {
        let entry = self.jobs.get_mut(&id)?;
        let Place::Leased { called_off, .. } = &entry.place else { return None };
        let placement = match (ending(&mut entry.job), called_off) {
            (Placement::Waiting, Some(reason)) => state::cancel(&mut entry.job, reason, now),
            (placement, _) => placement,
        };
        self.put(id, placement);
        Some(placement)
    }

    /// Puts a job where the policy says.
    pub(super) fn put(&mut self, id: JobId, placement: Placement) {
        if placement != Placement::Waiting {
            self.free_key(id, unique::is_freed_by_end);
        }
        let place = match placement {
            Placement::Waiting => Place::Waiting,
            Placement::Finished { until } => Place::Finished { until },
            Placement::Forgotten => {
                self.jobs.remove(&id);
                return;
            }
        };
        if let Some(entry) = self.jobs.get_mut(&id) {
            entry.place = place;
        }
    }

    /// Calls one job off.
    pub(super) fn cancel(&mut self, id: JobId, reason: &str, now: Timestamp) -> Cancelled {
        let Some(entry) = self.jobs.get_mut(&id) else { return Cancelled::Absent };
        match &mut entry.place {
            Place::Finished { .. } => Cancelled::Finished(entry.job.state),
            Place::Leased { called_off, .. } => {
                called_off.get_or_insert_with(|| reason.to_owned());
                Cancelled::Requested
            }
            Place::Waiting => {
                let placement = state::cancel(&mut entry.job, reason, now);
                self.put(id, placement);
                Cancelled::Ended
            }
        }
    }

    /// Ends attempts whose lease has lapsed (P5), then waiting jobs whose expiry has passed (P10).
    pub(super) fn reap(&mut self, reap: Reap, now: Timestamp) -> Reaped {
        let mut reaped = Reaped::default();
        let (lapsed, expired) = (self.lapsed(now), self.expired(now));
        reaped.more = lapsed.len() + expired.len() > reap.limit;
        let room = reap.limit.saturating_sub(lapsed.len());
        for id in lapsed.into_iter().take(reap.limit) {
            match self.end_attempt(id, now, |job| state::crash(job, reap.max_crashes, now)) {
                Some(Placement::Waiting) => reaped.returned += 1,
                _ => reaped.discarded += 1,
            }
        }
        for id in expired.into_iter().take(room) {
            let Some(entry) = self.jobs.get_mut(&id) else { continue };
            let placement = state::expire(&mut entry.job, now);
            self.put(id, placement);
            reaped.expired += 1;
        }
        reaped
    }

    /// Jobs whose lease has lapsed, the first to lapse first.
    fn lapsed(&self, now: Timestamp) -> Vec<JobId> {
        let until = |entry: &Entry| match entry.place {
            Place::Leased { until, .. } if until <= now => Some(until),
            _ => None,
        };
        let mut lapsed: Vec<_> = self.jobs.iter().filter_map(|(id, entry)| Some((until(entry)?, *id))).collect();
        lapsed.sort_unstable();
        lapsed.into_iter().map(|(_, id)| id).collect()
    }

    /// Waiting jobs whose expiry has passed.
    fn expired(&self, now: Timestamp) -> Vec<JobId> {
        let expired = |entry: &Entry| matches!(entry.place, Place::Waiting) && state::is_expired(&entry.job, now);
        self.jobs.iter().filter(|(_, entry)| expired(entry)).map(|(id, _)| *id).collect()
    }
}

/// The answer to a job of a batch that is pushed again, from the one at first.
fn repeated(answer: Pushed) -> Pushed {
    match answer {
        Pushed::Stored | Pushed::Repeated => Pushed::Repeated,
        other => other,
    }
}
