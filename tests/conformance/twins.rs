//! Toys that break one promise each, and the case that must notice it.
//!
//! A suite that passes says something only if it can fail.

use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use libtest_mimic::{Failed, Trial};
use taskwright::backend::{
    Backend, Cancel, Cancelled, Claim, Claimed, Extend, Extended, Info, Inspect, Leader, Ledger, Limiter, Push, Pushed,
    Reap, Reaped, Results, Settled, Settlement, Transaction, Wake,
};
use taskwright::job::{BatchId, JobSpec, Lease, NewJob, When};
use taskwright::policy::Verdict;
use taskwright::testing::Setup;
use taskwright::testing::conformance::{Ability, cases};
use taskwright::time::Clock;
use taskwright::{JobId, Name, Result};
use taskwright_tests::toy::{FreshToy, Toy};

/// What is wrong with a twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    AddsARepeatedBatchAgain,
    LosesHeaders,
    IgnoresUniqueKeys,
    HandsOutBeforeDue,
    IgnoresExpiry,
    HandsOutBackwards,
    IgnoresTheClaimsLimit,
    GivesEndlessLeases,
    GivesTheSameTokenAgain,
    KeepsCancellationsToItself,
    DoesNotExtend,
    SettlesWithoutAFence,
    ChargesForReturns,
    RetriesWhatWasCalledOff,
    ReapsWithoutBounds,
    NeverFindsPoison,
    StaysOpen,
}

use Flaw::{
    AddsARepeatedBatchAgain, ChargesForReturns, DoesNotExtend, GivesEndlessLeases, GivesTheSameTokenAgain,
    HandsOutBackwards, HandsOutBeforeDue, IgnoresExpiry, IgnoresTheClaimsLimit, IgnoresUniqueKeys,
    KeepsCancellationsToItself, LosesHeaders, NeverFindsPoison, ReapsWithoutBounds, RetriesWhatWasCalledOff,
    SettlesWithoutAFence, StaysOpen,
};

/// Each flaw, and a case that must fail because of it.
const FLAWS: &[(Flaw, &str)] = &[
    (AddsARepeatedBatchAgain, "push::repeated_batch_adds_nothing_once_its_jobs_have_ended"),
    (LosesHeaders, "push::job_comes_out_as_it_went_in"),
    (IgnoresUniqueKeys, "unique::conflict_names_the_holder"),
    (HandsOutBeforeDue, "time::delayed_job_is_not_early"),
    (IgnoresExpiry, "claim::expired_job_is_never_handed_out"),
    (HandsOutBackwards, "claim::higher_priority_goes_first"),
    (IgnoresTheClaimsLimit, "claim::limit_of_the_claim_holds_for_all_queues_together"),
    (GivesEndlessLeases, "reap::lapsed_lease_is_back_within_one_reap"),
    (GivesTheSameTokenAgain, "claim::each_claim_of_a_job_has_another_token"),
    (KeepsCancellationsToItself, "extend::cancelled_job_is_heard_of"),
    (DoesNotExtend, "extend::extended_lease_lives_on"),
    (SettlesWithoutAFence, "settle::stale_lease_is_refused_while_another_worker_has_the_job"),
    (ChargesForReturns, "settle::job_of_a_stopping_worker_keeps_its_attempts"),
    (RetriesWhatWasCalledOff, "cancel::running_job_that_fails_is_not_retried"),
    (ReapsWithoutBounds, "reap::bounded_reap_says_that_there_is_more"),
    (NeverFindsPoison, "reap::poison_is_discarded_after_its_last_crash"),
    (StaysOpen, "store::closed_store_refuses_every_call"),
];

/// One test for each twin.
pub(crate) fn trials() -> Vec<Trial> {
    let trial =
        |&(flaw, case): &(Flaw, &'static str)| Trial::test(format!("twins::{flaw:?}"), move || is_noticed(flaw, case));
    FLAWS.iter().map(trial).collect()
}

fn is_noticed(flaw: Flaw, path: &str) -> Result<(), Failed> {
    let case = cases().iter().find(|case| case.path() == path).ok_or_else(|| format!("there is no case {path}"))?;
    case.run(Arc::new(FreshToy)).map_err(|error| format!("the sound toy fails it: {error:?}"))?;
    let passes = quietly(|| catch_unwind(AssertUnwindSafe(|| case.run(Arc::new(FreshTwin(flaw))))));
    if matches!(passes, Ok(Ok(()))) {
        Err(format!("{path} does not notice a backend that {flaw:?}").into())
    } else {
        Ok(())
    }
}

/// Does something whose panic is expected, and not worth a message.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    thread_local!(static QUIET: Cell<bool> = const { Cell::new(false) });
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                usual(panic);
            }
        }));
    });
    QUIET.set(true);
    let done = work();
    QUIET.set(false);
    done
}

struct FreshTwin(Flaw);

#[async_trait]
impl Setup for FreshTwin {
    fn abilities(&self) -> &'static [Ability] {
        FreshToy.abilities()
    }

    async fn open(&self, _: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(Twin { flaw: self.0, toy: Toy::new(clock.clone()), leases: Mutex::default() }))
    }
}

/// A toy, except for its flaw.
#[derive(Debug)]
struct Twin {
    flaw: Flaw,
    toy: Toy,
    /// The latest lease of each job, for flaws that mistake an old one for it.
    leases: Mutex<HashMap<JobId, Lease>>,
}

impl Twin {
    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    /// A job as the flaw turns it before it is stored.
    fn spoiled(&self, job: &NewJob) -> NewJob {
        let NewJob { spec, due, expires } = job.clone();
        let mut spec = JobSpec::clone(&spec);
        match self.flaw {
            AddsARepeatedBatchAgain => spec.id = JobId::new(),
            LosesHeaders => spec.headers.clear(),
            IgnoresUniqueKeys => spec.unique = None,
            _ => {}
        }
        NewJob {
            spec: Arc::new(spec),
            due: if self.is(HandsOutBeforeDue) { When::NOW } else { due },
            expires: if self.is(IgnoresExpiry) { None } else { expires },
        }
    }

    fn latest(&self, lease: Lease) -> Lease {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).get(&lease.job).copied().unwrap_or(lease)
    }

    fn remember(&self, lease: Lease) {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).insert(lease.job, lease);
    }
}

#[async_trait]
impl Backend for Twin {
    fn info(&self) -> &Info {
        self.toy.info()
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        let batch = if self.is(AddsARepeatedBatchAgain) { BatchId::new() } else { push.batch };
        let jobs = push.jobs.iter().map(|job| self.spoiled(job)).collect();
        self.toy.push(&Push { batch, jobs }).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        let mut claim = claim.clone();
        if self.is(IgnoresTheClaimsLimit) {
            claim.limit = usize::MAX;
        }
        if self.is(GivesEndlessLeases) {
            claim.ttl = Duration::MAX;
        }
        let mut claimed = self.toy.claim(&claim).await?;
        for (lease, _) in &mut claimed.jobs {
            self.remember(*lease);
            if self.is(GivesTheSameTokenAgain) {
                lease.token = 1;
            }
        }
        if self.is(HandsOutBackwards) {
            claimed.jobs.reverse();
        }
        Ok(claimed)
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        let mut extend = extend.clone();
        if self.is(DoesNotExtend) {
            extend.ttl = Duration::ZERO;
        }
        let mut extended = self.toy.extend(&extend).await?;
        if self.is(KeepsCancellationsToItself) {
            extended.cancelled.clear();
        }
        Ok(extended)
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let mut settlements = settlements.to_vec();
        for settlement in &mut settlements {
            if self.is(SettlesWithoutAFence) || self.is(GivesTheSameTokenAgain) {
                settlement.lease = self.latest(settlement.lease);
            }
            if self.is(ChargesForReturns)
                && let Verdict::Return { after, .. } = settlement.verdict
            {
                let failure = taskwright::job::Failure::new(taskwright::job::FailureKind::Error, "given back");
                settlement.verdict = Verdict::Retry { after, failure };
            }
        }
        self.toy.settle(&settlements).await
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        if self.is(RetriesWhatWasCalledOff) {
            return Ok(vec![Cancelled::Requested; cancel.ids.len()]);
        }
        self.toy.cancel(cancel).await
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        let mut reap = *reap;
        if self.is(ReapsWithoutBounds) {
            reap.limit = usize::MAX;
        }
        if self.is(NeverFindsPoison) {
            reap.max_crashes = u32::MAX;
        }
        self.toy.reap(&reap).await
    }

    async fn close(&self) -> Result<()> {
        if self.is(StaysOpen) { Ok(()) } else { self.toy.close().await }
    }

    fn results(&self) -> Option<&dyn Results> {
        self.toy.results()
    }

    fn wake(&self) -> Option<&dyn Wake> {
        self.toy.wake()
    }

    fn leader(&self) -> Option<&dyn Leader> {
        self.toy.leader()
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        self.toy.inspect()
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        self.toy.limiter()
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        self.toy.ledger()
    }

    fn transaction(&self) -> Option<&dyn Transaction> {
        self.toy.transaction()
    }
}
