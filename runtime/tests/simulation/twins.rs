//! Stores that break one promise each, which the simulation must find out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use taskwright::backend::memory::Memory;
use taskwright::backend::{
    Backend, Cancel, Cancelled, Claim, Claimed, Extend, Extended, Fetched, Info, Inspect, Leader, Ledger, Limiter,
    Push, Pushed, Reap, Reaped, Results, Settled, Settlement, Transaction, Wake,
};
use taskwright::job::{BatchId, Job, JobId, JobSpec, Lease, NewJob};
use taskwright::policy::Verdict;
use taskwright::policy::state::Return;
use taskwright::time::Clock;
use taskwright::{Result, Timestamp};

/// What is wrong with a twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// It takes a settlement for the job, whichever claim it is of.
    SettlesWithoutAFence,
    /// It puts back what a dead worker held as if nothing had happened.
    ReapsWithoutCounting,
    /// It looks whether a key is free, and takes it a moment later.
    KeepsKeysWithoutALock,
    /// It lets start whatever waits.
    CountsNoLimits,
}

/// A store in memory, except for its flaw.
#[derive(Debug)]
pub(crate) struct Twin {
    flaw: Flaw,
    store: Memory,
    clock: Clock,
    /// The present lease of each claimed job, and when it lapses.
    held: Mutex<BTreeMap<JobId, (Lease, Job, Timestamp)>>,
    /// The latest job of each unique key.
    keys: Mutex<BTreeMap<String, JobId>>,
    /// What was answered to each push, where that is not left to the store.
    answered: Mutex<BTreeMap<BatchId, Vec<Pushed>>>,
}

impl Twin {
    pub(crate) fn new(flaw: Flaw, clock: &Clock) -> Self {
        let store = Memory::with_clock(clock.clone());
        Self {
            flaw,
            store,
            clock: clock.clone(),
            held: Mutex::default(),
            keys: Mutex::default(),
            answered: Mutex::default(),
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<JobId, (Lease, Job, Timestamp)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self) -> MutexGuard<'_, BTreeMap<BatchId, Vec<Pushed>>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The job that has a key and has not ended.
    async fn holder(&self, key: &str) -> Result<Option<JobId>> {
        let latest = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied();
        let (Some(id), Some(results)) = (latest, self.store.results()) else { return Ok(None) };
        let fetched = results.fetch(&[id]).await?;
        Ok(fetched.iter().any(|known| matches!(known, Fetched::Pending { .. })).then_some(id))
    }

    async fn push_without_a_lock(&self, push: &Push) -> Result<Vec<Pushed>> {
        if let Some(answers) = self.answered().get(&push.batch) {
            let again = |answer: &Pushed| if *answer == Pushed::Stored { Pushed::Repeated } else { *answer };
            return Ok(answers.iter().map(again).collect());
        }
        let mut looked = Vec::new();
        for new in &push.jobs {
            let holder = match own_key(new) {
                Some(key) => self.holder(key).await?.filter(|holder| *holder != new.spec.id),
                None => None,
            };
            looked.push(holder);
        }
        // Here another may look too.
        tokio::task::yield_now().await;
        let mut answers = Vec::new();
        let mut of_this_push = BTreeMap::new();
        for (new, holder) in push.jobs.iter().zip(looked) {
            let key = own_key(new).map(str::to_owned);
            let before_it = key.as_ref().and_then(|key| of_this_push.get(key).copied());
            if let Some(holder) = holder.or(before_it) {
                answers.push(Pushed::Conflict(holder));
                continue;
            }
            if let Some(key) = key {
                of_this_push.insert(key.clone(), new.spec.id);
                self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key, new.spec.id);
            }
            let unique = new.spec.unique.clone().filter(|_| own_key(new).is_none());
            let spec = Arc::new(JobSpec { unique, ..JobSpec::clone(&new.spec) });
            let jobs = vec![NewJob { spec, ..new.clone() }];
            answers.extend(self.store.push(&Push { batch: BatchId::new(), jobs }).await?);
        }
        self.answered().insert(push.batch, answers.clone());
        Ok(answers)
    }

    /// Gives back what has lapsed, as a worker that stops does.
    async fn reap_without_counting(&self, reap: &Reap) -> Result<Reaped> {
        let now = self.clock.now();
        let lapsed: Vec<_> = self.held().values().filter(|(_, _, lapses)| *lapses <= now).cloned().collect();
        let mut returned = 0;
        for (lease, job, _) in lapsed {
            self.held().remove(&lease.job);
            let verdict = Verdict::Return { after: std::time::Duration::ZERO, why: Return::Stopping };
            let settled = self.store.settle(&[Settlement { lease, job, verdict }]).await?;
            returned += settled.iter().filter(|settled| **settled == Settled::Applied).count();
        }
        let reaped = self.store.reap(reap).await?;
        Ok(Reaped { returned: reaped.returned + returned, ..reaped })
    }
}

/// The key that a twin without a lock looks after itself: one that is kept until the job is done.
fn own_key(new: &NewJob) -> Option<&str> {
    new.spec.unique.as_ref().map(|unique| unique.key.as_str()).filter(|key| key.starts_with("key "))
}

#[async_trait]
impl Backend for Twin {
    fn info(&self) -> &Info {
        self.store.info()
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        match self.flaw {
            Flaw::KeepsKeysWithoutALock => self.push_without_a_lock(push).await,
            Flaw::CountsNoLimits => {
                let mut push = push.clone();
                push.jobs.iter_mut().for_each(|new| Arc::make_mut(&mut new.spec).limits.clear());
                self.store.push(&push).await
            }
            _ => self.store.push(push).await,
        }
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        let claimed = self.store.claim(claim).await?;
        let lapses = self.clock.now().after(claim.ttl);
        for (lease, job) in &claimed.jobs {
            self.held().insert(lease.job, (*lease, job.clone(), lapses));
        }
        Ok(claimed)
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        let lapses = self.clock.now().after(extend.ttl);
        for renewal in &extend.renewals {
            if let Some(held) = self.held().get_mut(&renewal.lease.job).filter(|held| held.0 == renewal.lease) {
                held.2 = lapses;
            }
        }
        self.store.extend(extend).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut settlements = settlements.to_vec();
        if self.flaw == Flaw::SettlesWithoutAFence {
            for settlement in &mut settlements {
                let present = self.held().get(&settlement.lease.job).map(|(lease, _, _)| *lease);
                settlement.lease = present.unwrap_or(settlement.lease);
            }
        }
        let settled = self.store.settle(&settlements).await?;
        for settlement in &settlements {
            let is_present = self.held().get(&settlement.lease.job).is_some_and(|held| held.0 == settlement.lease);
            if is_present {
                self.held().remove(&settlement.lease.job);
            }
        }
        Ok(settled)
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        self.store.cancel(cancel).await
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        match self.flaw {
            Flaw::ReapsWithoutCounting => self.reap_without_counting(reap).await,
            _ => self.store.reap(reap).await,
        }
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }

    fn results(&self) -> Option<&dyn Results> {
        self.store.results()
    }

    fn wake(&self) -> Option<&dyn Wake> {
        self.store.wake()
    }

    fn leader(&self) -> Option<&dyn Leader> {
        self.store.leader()
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        self.store.inspect()
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        self.store.limiter()
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        self.store.ledger()
    }

    fn transaction(&self) -> Option<&dyn Transaction> {
        self.store.transaction()
    }
}
