//! What holds of any store, whatever was asked of it.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;
use taskwright::backend::Claim;
use taskwright::job::{Job, JobId, Lease, State, Unique, Until};
use taskwright::policy::order;
use taskwright::time::Timestamp;

use crate::pair::Checked;

/// The leases that should be live, by their tokens.
#[derive(Default)]
pub(crate) struct Invariants {
    live: HashMap<u64, (JobId, Timestamp)>,
    seen: HashSet<u64>,
}

impl Invariants {
    /// Nothing is early (P4), late (P10), unknown (P8), out of order (P6), beyond a limit, or under a second lease (P2).
    pub(crate) fn claimed(&mut self, claim: &Claim, jobs: &[(Lease, Job)], now: Timestamp) -> Checked {
        prop_assert!(jobs.len() <= claim.limit);
        for (lease, job) in jobs {
            prop_assert!(job.due <= now, "early: {job:?}");
            prop_assert!(job.expires.is_none_or(|expires| expires > now), "late: {job:?}");
            prop_assert!(!claim.unknown.contains(&job.spec.task), "nothing that its worker knows: {job:?}");
            prop_assert!(job.attempt <= job.attempt_limit, "one attempt too many: {job:?}");
            prop_assert!(self.seen.insert(lease.token), "token given twice: {lease:?}");
            prop_assert!(self.live.values().all(|(id, _)| *id != lease.job), "leased twice: {job:?}");
            self.live.insert(lease.token, (lease.job, now.after(claim.ttl)));
        }
        let rank = |job: &Job| claim.queues.iter().position(|wish| wish.queue == job.spec.queue);
        let order = |job: &Job| (rank(job), order::place(job, claim.aging));
        prop_assert!(jobs.is_sorted_by_key(|(_, job)| order(job)), "out of order: {jobs:?}");
        for wish in &claim.queues {
            prop_assert!(jobs.iter().filter(|(_, job)| job.spec.queue == wish.queue).count() <= wish.limit);
        }
        Ok(())
    }

    /// A settlement counts exactly when its lease is live (P3).
    pub(crate) fn settled(&mut self, lease: &Lease, applied: bool) -> Checked {
        prop_assert_eq!(self.live.remove(&lease.token).is_some(), applied, "settled {:?}", lease);
        Ok(())
    }

    /// A lease is renewed exactly when it is live (P3).
    pub(crate) fn extended(&mut self, lease: &Lease, renewed: bool, until: Timestamp) -> Checked {
        let live = self.live.get_mut(&lease.token);
        prop_assert_eq!(live.is_some(), renewed, "extended {:?}", lease);
        if let Some((_, lapses)) = live {
            *lapses = until;
        }
        Ok(())
    }

    /// No lapsed lease outlives a reap (P5).
    pub(crate) fn reaped(&mut self, now: Timestamp) {
        self.live.retain(|_, (_, lapses)| *lapses > now);
    }

    /// Each job lies in one place, runs exactly while it is leased (P2), and has its unique key to itself (P7).
    pub(crate) fn hold(&self, jobs: &[Job], now: Timestamp) -> Checked {
        let ids: HashSet<_> = jobs.iter().map(Job::id).collect();
        prop_assert_eq!(ids.len(), jobs.len(), "a job is listed twice");
        let running: HashSet<_> = jobs.iter().filter(|job| job.state == State::Running).map(Job::id).collect();
        let leased: HashSet<_> = self.live.values().map(|(id, _)| *id).collect();
        prop_assert_eq!(running, leased, "running jobs and live leases");
        let mut keys = HashSet::new();
        for unique in jobs.iter().filter_map(has_its_key) {
            prop_assert!(keys.insert(&unique.key), "key {} is held twice", unique.key);
        }
        for job in jobs {
            prop_assert!(job.state != State::Available || job.due <= now, "available but not due: {job:?}");
            prop_assert!(job.finished.is_some() == job.state.is_terminal(), "finished or not: {job:?}");
        }
        Ok(())
    }
}

/// The key that a job must have as it stands; what has it for a time only the store knows.
fn has_its_key(job: &Job) -> Option<&Unique> {
    job.spec.unique.as_ref().filter(|unique| match unique.until {
        Until::Done => !job.state.is_terminal(),
        Until::Started => !job.state.is_terminal() && job.claimed.is_none(),
        Until::Elapsed(_) => false,
    })
}
