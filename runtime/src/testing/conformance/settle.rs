//! Ending attempts: by the lease's holder only, and once.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::backend::Settled;
use crate::error::Result;
use crate::job::{Attempt, Ending, Failure, FailureKind, JobId, State};
use crate::policy::state::Return;
use crate::policy::{Verdict, state};
use crate::testing::conformance::Ability;
use crate::testing::conformance::push::elaborate;
use crate::testing::harness::failure;
use crate::testing::{Harness, Held, LEASE, together};

const MINUTE: Duration = Duration::from_mins(1);

/// Checks that the store hands the job out no more, however long one waits.
async fn never_runs_again(h: &Harness) -> Result<()> {
    h.advance(MINUTE * 60);
    h.reap().await?;
    assert_eq!(h.worker().claim(10).await?.len(), 0, "a job that has ended was handed out");
    Ok(())
}

pub(super) async fn empty_batch_is_answered_empty(h: &Harness) -> Result<()> {
    assert_eq!(h.settle([]).await?, []);
    Ok(())
}

pub(super) async fn completed_job_never_runs_again(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.end(held.completed()).await?;
    never_runs_again(h).await
}

pub(super) async fn discarded_job_never_runs_again(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.end(held.discarded()).await?;
    never_runs_again(h).await
}

pub(super) async fn job_cancelled_by_its_worker_never_runs_again(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.end(held.cancelled()).await?;
    never_runs_again(h).await
}

pub(super) async fn job_found_expired_by_its_worker_never_runs_again(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.end(held.settled(Verdict::Expire)).await?;
    never_runs_again(h).await
}

pub(super) async fn crash_that_a_worker_tells_is_counted(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    let failure = Failure::new(FailureKind::Crash, "its own process was gone");
    h.end(held.settled(Verdict::Retry { after: Duration::ZERO, failure })).await?;
    let again = h.worker().claim_one().await?;
    assert_eq!((again.job.attempt, again.job.crashes, again.job.history[0].ending), (2, 1, Ending::Crashed));
    Ok(())
}

pub(super) async fn failed_job_waits_and_runs_again(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.end(held.failed(MINUTE * 10)).await?;
    h.advance(MINUTE * 9);
    assert_eq!(h.worker().claim(1).await?.len(), 0, "a minute is left to wait");
    h.advance(MINUTE);
    let again = h.worker().claim_one().await?;
    assert_eq!((again.id(), again.job.attempt, again.lease.attempt), (held.id(), 2, 2));
    Ok(())
}

pub(super) async fn failure_of_the_last_attempt_is_final(h: &Harness) -> Result<()> {
    h.push_one(h.job().attempts(3)).await?;
    for attempt in 1..=3 {
        let held = h.worker().claim_one().await?;
        assert_eq!(held.job.attempt, attempt);
        h.end(held.failed(Duration::ZERO)).await?;
    }
    never_runs_again(h).await
}

pub(super) async fn failures_are_remembered_with_their_causes(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.end(held.failed(Duration::ZERO)).await?;
    let again = h.worker().claim_one().await?;
    let [attempt] = &again.job.history[..] else { panic!("one attempt is remembered: {:?}", again.job.history) };
    assert_eq!((attempt.number, attempt.ending), (1, Ending::Retried));
    assert_eq!((attempt.worker, attempt.started), (Some(held.lease.worker), held.job.claimed));
    assert_eq!(attempt.failure, Some(failure()));
    Ok(())
}

pub(super) async fn latest_attempts_are_remembered(h: &Harness) -> Result<()> {
    h.push_one(h.job().attempts(50)).await?;
    for _ in 0..Attempt::KEPT + 3 {
        let held = h.worker().claim_one().await?;
        h.end(held.failed(Duration::ZERO)).await?;
    }
    let held = h.worker().claim_one().await?;
    let numbers: Vec<_> = held.job.history.iter().map(|attempt| attempt.number).collect();
    assert_eq!(numbers, (4..=13).collect::<Vec<_>>(), "the last ten of thirteen");
    Ok(())
}

pub(super) async fn everything_survives_a_retry(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(elaborate(h).expires(MINUTE * 90)).await?;
    let wait = a_wait(h);
    h.end(held.failed(wait)).await?;
    h.advance(wait);
    let again = h.worker().claim_one().await?;
    assert_eq!(again.job.spec, held.job.spec);
    assert_eq!((again.job.pushed, again.job.expires), (held.job.pushed, held.job.expires));
    assert_eq!(again.job.attempt_limit, held.job.attempt_limit);
    Ok(())
}

/// A minute; nothing where a minute can't be made to pass.
fn a_wait(h: &Harness) -> Duration {
    if h.has(Ability::Clock) { MINUTE } else { Duration::ZERO }
}

/// A worker gives a job back for this reason; the next one has it at the same attempt.
async fn costs_no_attempt(h: &Harness, why: Return, ending: Ending) -> Result<()> {
    h.push_one(h.job().attempts(1)).await?;
    let wait = a_wait(h);
    for _ in 0..3 {
        let held = h.worker().claim_one().await?;
        assert_eq!((held.job.attempt, held.lease.attempt), (1, 1), "giving a job back costs no attempt");
        h.end(held.given_back(why, wait)).await?;
        assert!(wait.is_zero() || h.worker().claim(1).await?.is_empty(), "it waits for a minute");
        h.advance(wait);
    }
    let held = h.worker().claim_one().await?;
    assert_eq!(held.job.history.iter().map(|attempt| attempt.ending).collect::<Vec<_>>(), [ending]);
    h.end(held.completed()).await
}

pub(super) async fn job_of_a_stopping_worker_keeps_its_attempts(h: &Harness) -> Result<()> {
    costs_no_attempt(h, Return::Stopping, Ending::Returned).await
}

pub(super) async fn job_of_an_unknown_task_keeps_its_attempts(h: &Harness) -> Result<()> {
    costs_no_attempt(h, Return::UnknownTask, Ending::Unknown).await
}

pub(super) async fn snoozed_job_keeps_its_attempts(h: &Harness) -> Result<()> {
    costs_no_attempt(h, Return::Snoozed, Ending::Snoozed).await
}

pub(super) async fn stale_lease_is_refused(h: &Harness) -> Result<()> {
    let stale = h.push_and_claim(h.job()).await?;
    h.lapse_and_reap().await?;
    assert_eq!(h.settle_one(stale.completed()).await?, Settled::LeaseLost);
    assert_eq!(h.worker().claim_one().await?.id(), stale.id(), "it waits as if nothing had been said");
    Ok(())
}

pub(super) async fn stale_lease_is_refused_while_another_worker_has_the_job(h: &Harness) -> Result<()> {
    let stale = h.push_and_claim(h.job()).await?;
    h.lapse_and_reap().await?;
    let live = h.worker_elsewhere().await?.claim_one().await?;
    for settlement in [stale.completed(), stale.failed(Duration::ZERO), stale.discarded()] {
        assert_eq!(h.settle_one(settlement).await?, Settled::LeaseLost);
    }
    h.end(live.completed()).await
}

pub(super) async fn stale_lease_is_refused_at_the_same_attempt_of_the_same_worker(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push_one(h.job()).await?;
    let stale = worker.claim_one().await?;
    h.end(stale.given_back(Return::Stopping, Duration::ZERO)).await?;
    let live = worker.claim_one().await?;
    assert_eq!((stale.lease.worker, stale.lease.attempt), (live.lease.worker, live.lease.attempt));
    assert_eq!(h.settle_one(stale.completed()).await?, Settled::LeaseLost);
    h.end(live.completed()).await
}

pub(super) async fn lapsed_lease_may_settle_until_it_is_reaped(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.advance(LEASE * 10);
    h.end(held.completed()).await?;
    assert_eq!(h.reap().await?.returned, 0);
    never_runs_again(h).await
}

pub(super) async fn repeated_settle_is_told_that_the_lease_is_lost(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.end(held.failed(Duration::ZERO)).await?;
    assert_eq!(h.settle_one(held.failed(Duration::ZERO)).await?, Settled::LeaseLost);
    assert_eq!(h.worker().claim_one().await?.job.attempt, 2);
    assert_eq!(h.worker().claim(5).await?.len(), 0, "the repeated retry added nothing");
    Ok(())
}

pub(super) async fn one_lease_settled_twice_in_a_batch_counts_once(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    let settled = h.settle([held.completed(), held.failed(Duration::ZERO)]).await?;
    assert_eq!(settled, [Settled::Applied, Settled::LeaseLost]);
    never_runs_again(h).await
}

pub(super) async fn answers_come_in_the_order_asked(h: &Harness) -> Result<()> {
    h.push(h.jobs(4)).await?;
    let held = h.worker().claim(4).await?;
    h.settle([held[0].completed(), held[2].completed()]).await?;
    let settled = h.settle(held.iter().rev().map(Held::completed)).await?;
    let (applied, lost) = (Settled::Applied, Settled::LeaseLost);
    assert_eq!(settled, [applied, lost, applied, lost]);
    Ok(())
}

pub(super) async fn jobs_of_one_claim_end_each_in_its_own_way(h: &Harness) -> Result<()> {
    h.push(h.jobs(6)).await?;
    let held = h.worker().claim(6).await?;
    let settled = h
        .settle([
            held[0].completed(),
            held[1].failed(Duration::ZERO),
            held[2].discarded(),
            held[3].cancelled(),
            held[4].settled(Verdict::Expire),
            held[5].given_back(Return::Stopping, Duration::ZERO),
        ])
        .await?;
    assert_eq!(settled, [Settled::Applied; 6]);
    let again = h.worker().claim(10).await?;
    let ids: BTreeSet<JobId> = again.iter().map(Held::id).collect();
    assert_eq!(ids, BTreeSet::from([held[1].id(), held[5].id()]));
    Ok(())
}

pub(super) async fn jobs_of_many_workers_are_settled_together(h: &Harness) -> Result<()> {
    h.push(h.jobs(30)).await?;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.extend(h.worker().claim(3).await?);
    }
    let stale = held[7].completed();
    h.end(held[7].completed()).await?;
    held.remove(7);
    let mut settlements: Vec<_> = held.iter().map(Held::completed).collect();
    settlements.insert(4, stale);
    let settled = h.settle(settlements).await?;
    let refused: Vec<_> = (0..30).filter(|&place| settled[place] == Settled::LeaseLost).collect();
    assert_eq!(refused, [4], "only the stale one is refused");
    never_runs_again(h).await
}

pub(super) async fn half_settled_claim_gives_back_only_the_other_half(h: &Harness) -> Result<()> {
    h.push(h.jobs(10)).await?;
    let held = h.worker().claim(10).await?;
    let (done, open) = held.split_at(5);
    h.settle(done.iter().map(Held::completed)).await?;
    assert_eq!(h.lapse_and_reap().await?.returned, open.len());
    let again: BTreeSet<_> = h.worker().claim(20).await?.iter().map(Held::id).collect();
    assert_eq!(again, open.iter().map(Held::id).collect());
    Ok(())
}

pub(super) async fn jobs_of_one_claim_are_settled_by_many_at_once(h: &Harness) -> Result<()> {
    h.push(h.jobs(60)).await?;
    let held = h.worker().claim(60).await?;
    let settles = held.chunks(5).map(|held| {
        let (backend, settlements) = (h.backend.clone(), held.iter().map(Held::completed).collect::<Vec<_>>());
        async move { backend.settle(&settlements).await }
    });
    for settled in together(settles.collect::<Vec<_>>()).await? {
        assert_eq!(settled, [Settled::Applied; 5]);
    }
    never_runs_again(h).await
}

pub(super) async fn one_lease_settled_by_many_at_once_counts_once(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    let settles = (0..8).map(|_| {
        let (backend, settlement) = (h.backend.clone(), held.failed(Duration::ZERO));
        async move { backend.settle(&[settlement]).await }
    });
    let settled: Vec<_> = together(settles).await?.into_iter().flatten().collect();
    assert_eq!(settled.iter().filter(|settled| **settled == Settled::Applied).count(), 1);
    assert_eq!(h.worker().claim(10).await?.len(), 1, "it waits once");
    Ok(())
}

pub(super) async fn settle_before_the_reaper_stands(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.advance(LEASE);
    h.end(held.completed()).await?;
    assert_eq!((h.reap().await?.returned, h.worker().claim(1).await?.len()), (0, 0));
    Ok(())
}

pub(super) async fn settle_and_reap_at_the_same_time_agree(h: &Harness) -> Result<()> {
    h.push(h.jobs(100)).await?;
    let worker = h.worker();
    let held = worker.claim(100).await?;
    h.advance(LEASE);
    let settles = held.chunks(10).map(|held| {
        let (backend, settlements) = (h.backend.clone(), held.iter().map(Held::completed).collect::<Vec<_>>());
        async move { backend.settle(&settlements).await }
    });
    let reaps = (0..10).map(|_| {
        let backend = h.backend.clone();
        async move { backend.reap(&crate::backend::Reap { limit: 10, max_crashes: 3 }).await }
    });
    let (settles, reaps) = (settles.collect::<Vec<_>>(), reaps.collect::<Vec<_>>());
    let (settled, reaped) = futures_util::try_join!(together(settles), together(reaps))?;
    let applied = settled.iter().flatten().filter(|settled| **settled == Settled::Applied).count();
    let returned: usize = reaped.iter().map(|reaped| reaped.returned).sum();
    assert_eq!(applied + returned, 100, "each job is either settled or put back");
    assert_eq!(h.worker().claim(200).await?.len(), returned);
    Ok(())
}

pub(super) async fn history_of_free_returns_does_not_grow(h: &Harness) -> Result<()> {
    h.push_one(h.job()).await?;
    for _ in 0..30 {
        let held = h.worker().claim_one().await?;
        assert!(held.job.history.len() <= 1, "returns at no cost are remembered once");
        h.end(held.given_back(Return::UnknownTask, Duration::ZERO)).await?;
    }
    Ok(())
}

pub(super) async fn settled_job_is_what_the_policy_says(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.end(held.failed(MINUTE)).await?;
    let mut expected = held.job.clone();
    let stored = h.find(held.id()).await?;
    let ended = stored.as_ref().and_then(|job| job.history.last()).map_or(h.now(), |attempt| attempt.ended);
    state::settle(&mut expected, &held.failed(MINUTE).verdict, ended);
    assert_eq!(stored, Some(expected));
    assert_eq!(stored.map(|job| job.state), Some(State::Retryable));
    Ok(())
}
