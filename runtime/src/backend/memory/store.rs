//! All jobs, and the three places in which one lies: waiting, leased, finished.
//!
//! Every change of a job is the same three steps: lift it out of its place, ask the state machine, lay it where that
//! says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::batches::Batches;
use super::facets::{Kept, Leadership, Seen};
use super::ids::IdMap;
use super::keys::Keys;
use super::leases::Leases;
use super::limits::{Holds, Limited};
use super::slab::{Slab, Slot};
use super::waiting::{Queue, Turn};
use super::wake::News;
use crate::backend::{
    Cancelled, Claim, Claimed, Extend, Extended, Push, Pushed, QueueClaim, Reap, Reaped, Renewal, Settled, Settlement,
};
use crate::job::{Job, JobId, Lease, Name, NewJob, State, WorkerId};
use crate::policy::limits::{self, half_for_lanes};
use crate::policy::{Placement, order, state, unique};
use crate::time::Timestamp;

/// All that the process remembers.
#[derive(Default)]
pub(super) struct Store {
    /// Every job, wherever it lies.
    pub(super) jobs: Slab<Entry>,
    pub(super) by_id: IdMap<Slot>,
    /// Waiting jobs without limits in the order of claims.
    pub(super) queues: BTreeMap<Name, Queue>,
    /// Waiting jobs with limits, and how their limits stand.
    pub(super) limited: Limited,
    /// Waiting jobs that expire, by when.
    expiring: BTreeSet<(Timestamp, Slot)>,
    /// Leased jobs by when their lease lapses.
    leases: Leases,
    /// Finished jobs by how long they stay.
    pub(super) finished: BTreeSet<(Shelf, Timestamp, Slot)>,
    /// Which job has which unique key.
    pub(super) keys: Keys,
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
    /// The slots of limits that are free again when it ends.
    holds: Holds,
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
        if let Some(unique) = &new.spec.unique
            && let Err(holder) = self.keys.take(unique, id, now)
        {
            return if self.replace(holder, new, now, news) {
                Pushed::Replaced(holder)
            } else {
                Pushed::Conflict(holder)
            };
        }
        let job = Job::received(new, now);
        let slot = self.jobs.insert(Entry { job, place: Place::Waiting });
        self.by_id.insert(id, slot);
        self.lay(slot, Placement::Waiting, now, news);
        Pushed::Stored
    }

    /// Changes the job that has a key as a push of the same key asks; false where it stays as it is.
    fn replace(&mut self, holder: JobId, new: &NewJob, now: Timestamp, news: &mut News) -> bool {
        let Some(slot) = self.by_id.get(&holder).copied() else { return false };
        let waiting = self.jobs.get(slot).filter(|entry| matches!(entry.place, Place::Waiting));
        let Some(changed) = waiting.and_then(|entry| unique::replaced(&entry.job, new, now)) else { return false };
        self.change(slot, now, news, |job| {
            *job = changed;
            Placement::Waiting
        });
        true
    }

    pub(super) fn claim(&mut self, claim: &Claim, now: Timestamp) -> Claimed {
        let mut claimed = Claimed::default();
        for wish in &claim.queues {
            self.claim_from(wish, claim, now, &mut claimed);
        }
        claimed
    }

    fn claim_from(&mut self, wish: &QueueClaim, claim: &Claim, now: Timestamp, claimed: &mut Claimed) {
        let name = &wish.queue;
        let Self { queues, limited, jobs, expiring, leases, last_token, keys, .. } = self;
        let mut queue = queues.get_mut(name);
        if queue.as_ref().is_some_and(|queue| queue.paused) {
            return;
        }
        let before = claimed.jobs.len();
        let room = claim.limit.saturating_sub(before).min(wish.limit);
        let of_queue = limited.room_in_queue(name, now);
        let most = of_queue.map_or(room, |(most, _)| room.min(most));
        let has_lanes = limited.is_ready(name, now);
        let part = if has_lanes { most - half_for_lanes(most, now) } else { most };
        let queue_key = of_queue.map(|_| limits::queue_key(name));
        let mut desk = Desk { jobs, expiring, leases, last_token, keys, claim, now, claimed: &mut claimed.jobs };
        let (mut left, mut free_next) = (most, None);
        let mut lease_free = |most: usize, limited: &mut Limited, desk: &mut Desk<'_>| {
            let (mut taken, mut passed_over) = (0, Vec::new());
            let Some(queue) = queue.as_deref_mut() else { return taken };
            let holds = queue_key.as_deref().and_then(Limited::held_in_queue);
            queue.look_at_the_clock(now);
            while taken < most
                && let Some(slot) = queue.pop(now, claim.aging)
            {
                // A job that came too late leaves its queue, and waits among the expiring for the reaper.
                let Some(job) = desk.claimable(slot) else { continue };
                if claim.unknown.contains(&job.spec.task) {
                    passed_over.push(Turn::new(job, slot));
                    continue;
                }
                desk.lease(slot, holds.clone());
                taken += 1;
            }
            if let Some(key) = &queue_key {
                limited.start_in_queue(key, u32::try_from(taken).unwrap_or(u32::MAX), now);
            }
            free_next = queue.next_due(now);
            // The last first, so that each goes to the front.
            passed_over.into_iter().rev().for_each(|turn| queue.insert(turn, now));
            taken
        };
        let free = lease_free(part, limited, &mut desk);
        left -= free;
        if has_lanes {
            left -= limited.serve(name, queue_key.as_deref(), left, limits::lanes_for(most), &mut desk);
            if free == part {
                let most = limited.room_in_queue(name, now).map_or(left, |(room, _)| left.min(room));
                left -= lease_free(most, limited, &mut desk);
            }
            claimed.jobs[before..].sort_by_cached_key(|(_, job)| order::place(job, claim.aging));
        }
        let next_due = match limited.room_in_queue(name, now) {
            Some((0, wait)) => wait,
            // Lanes of unknown tasks stay in line for others, and are no reason to ask again.
            _ if left == 0 && most > 0 => Some(Duration::ZERO),
            _ => free_next.into_iter().chain(limited.next_due(name, now, claim.unknown.is_empty())).min(),
        };
        claimed.next_due = claimed.next_due.into_iter().chain(next_due).min();
    }

    /// Claims these jobs where they wait and can run.
    pub(super) fn take(&mut self, claim: &Claim, ids: &[JobId], now: Timestamp) -> Vec<(Lease, Job)> {
        let mut taken = Vec::new();
        for id in ids {
            let Some(slot) = self.by_id.get(id).copied() else { continue };
            let runs = self.jobs.get(slot).is_some_and(|Entry { job, place }| {
                let paused = self.queues.get(&job.spec.queue).is_some_and(|queue| queue.paused);
                let known = !claim.unknown.contains(&job.spec.task);
                let limited = !job.spec.limits.is_empty() || self.limited.room_in_queue(&job.spec.queue, now).is_some();
                matches!(place, Place::Waiting) && state::claimable(job, now) && !paused && !limited && known
            });
            if runs {
                self.lift(slot);
                let Self { jobs, expiring, leases, last_token, keys, .. } = self;
                Desk { jobs, expiring, leases, last_token, keys, claim, now, claimed: &mut taken }.lease(slot, None);
            }
        }
        taken
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
        self.keys.forget(now);
        self.queues.retain(|_, queue| !queue.is_idle());
        self.limited.tidy(now);
    }

    /// One change of a job: lift it out of its place, let the state machine decide, lay it where that says.
    pub(super) fn change(
        &mut self,
        slot: Slot,
        now: Timestamp,
        news: &mut News,
        decide: impl FnOnce(&mut Job) -> Placement,
    ) -> Placement {
        let held = self.lift(slot);
        let Some(entry) = self.jobs.get_mut(slot) else { return Placement::Forgotten };
        let decided = decide(&mut entry.job);
        let called_off = held.as_ref().and_then(|held| held.called_off.as_deref());
        let placement = state::heed(&mut entry.job, decided, called_off, now);
        if let Some(held) = held {
            self.limited.release(held.holds.as_deref().unwrap_or_default(), news);
        }
        self.lay(slot, placement, now, news);
        placement
    }

    /// Takes a job out of the indexes of its place; gives the lease that ends by it, if it was running.
    fn lift(&mut self, slot: Slot) -> Option<Held> {
        let Entry { job, place } = self.jobs.get_mut(slot)?;
        match place {
            Place::Waiting => {
                if !self.limited.remove(job, slot)
                    && let Some(queue) = self.queues.get_mut(&job.spec.queue)
                {
                    queue.remove(Turn::new(job, slot));
                }
                if let Some(expires) = job.expires {
                    self.expiring.remove(&(expires, slot));
                }
                None
            }
            Place::Leased(held) => {
                self.leases.remove(held.lapses);
                let Place::Leased(held) = std::mem::replace(place, Place::Waiting) else { return None };
                Some(held)
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
                if self.limited.insert(job, slot, now) {
                    return;
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
                self.keys.ended(job);
                news.outcomes();
            }
            Placement::Forgotten => {
                self.keys.ended(job);
                self.forget(slot);
            }
        }
    }

    /// Removes a job with all that is kept of it.
    pub(super) fn delete(&mut self, slot: Slot) {
        if let Some(Entry { job, .. }) = self.jobs.get(slot) {
            self.keys.free(job);
        }
        self.remove(slot);
    }

    /// Removes a job that nobody needs any more. A unique key that outlives its job stays taken.
    pub(super) fn remove(&mut self, slot: Slot) {
        self.lift(slot);
        self.forget(slot);
    }

    fn forget(&mut self, slot: Slot) {
        if let Some(Entry { job, .. }) = self.jobs.remove(slot) {
            self.by_id.remove(&job.id());
        }
    }
}

/// What a claim writes to while it leases jobs.
pub(super) struct Desk<'a> {
    pub(super) now: Timestamp,
    jobs: &'a mut Slab<Entry>,
    expiring: &'a mut BTreeSet<(Timestamp, Slot)>,
    leases: &'a mut Leases,
    last_token: &'a mut u64,
    keys: &'a mut Keys,
    pub(super) claim: &'a Claim,
    claimed: &'a mut Vec<(Lease, Job)>,
}

impl Desk<'_> {
    /// The job in this slot, if it can be handed out.
    pub(super) fn claimable(&self, slot: Slot) -> Option<&Job> {
        self.jobs.get(slot).map(|entry| &entry.job).filter(|job| state::claimable(job, self.now))
    }

    /// Leases a job that lies in no queue and no lane.
    pub(super) fn lease(&mut self, slot: Slot, holds: Holds) {
        let Some(entry) = self.jobs.get_mut(slot) else { return };
        if let Some(expires) = entry.job.expires {
            self.expiring.remove(&(expires, slot));
        }
        *self.last_token += 1;
        let held = Held { token: *self.last_token, lapses: self.now.after(self.claim.ttl), called_off: None, holds };
        self.leases.add(held.lapses, slot, held.token);
        self.keys.claimed(&entry.job);
        self.claimed.push(entry.lease_to(self.claim.worker, held, self.now));
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
