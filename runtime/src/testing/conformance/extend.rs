//! Heartbeats: they keep leases alive and bring news.

use std::time::Duration;

use crate::backend::{Fetched, Renewal};
use crate::error::Result;
use crate::job::{JobId, Lease, Progress, WorkerId};
use crate::policy::state::Return;
use crate::testing::{Harness, Held, LEASE};

/// Most of a lease's life, so that two of them are more than one.
const MOST: Duration = Duration::from_secs(20);

pub(super) async fn extended_lease_lives_on(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push_one(h.job()).await?;
    let held = worker.claim_one().await?;
    for _ in 0..10 {
        h.advance(MOST);
        assert_eq!(worker.extend([&held]).await?.lost, []);
        assert_eq!(h.reap().await?.returned, 0, "its lease is live");
    }
    h.end(held.completed()).await
}

pub(super) async fn each_lease_is_extended_for_itself(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push(h.jobs(10)).await?;
    let held = worker.claim(10).await?;
    let (kept, dropped) = held.split_at(4);
    h.advance(MOST);
    worker.extend(kept).await?;
    h.advance(MOST);
    assert_eq!(h.reap().await?.returned, dropped.len());
    for held in kept {
        h.end(held.completed()).await?;
    }
    assert_eq!(h.worker().claim(20).await?.len(), dropped.len());
    Ok(())
}

pub(super) async fn lapsed_lease_is_renewed_until_it_is_reaped(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push_one(h.job()).await?;
    let held = worker.claim_one().await?;
    h.advance(LEASE * 3);
    assert_eq!(worker.extend([&held]).await?.lost, []);
    assert_eq!(h.reap().await?.returned, 0);
    h.end(held.completed()).await
}

pub(super) async fn reaped_lease_is_lost(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push_one(h.job()).await?;
    let held = worker.claim_one().await?;
    h.lapse_and_reap().await?;
    assert_eq!(worker.extend([&held]).await?.lost, [held.lease]);
    Ok(())
}

pub(super) async fn settled_lease_is_lost(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push(h.jobs(2)).await?;
    let held = worker.claim(2).await?;
    h.end(held[0].completed()).await?;
    assert_eq!(worker.extend(&held).await?.lost, [held[0].lease]);
    Ok(())
}

pub(super) async fn lease_of_a_job_that_another_worker_has_is_lost(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push_one(h.job()).await?;
    let stale = worker.claim_one().await?;
    h.lapse_and_reap().await?;
    let other = h.worker();
    let live = other.claim_one().await?;
    h.advance(MOST);
    assert_eq!(worker.extend([&stale]).await?.lost, [stale.lease]);
    h.advance(MOST);
    assert_eq!(h.reap().await?.returned, 1, "the stale heartbeat did not keep lease {:?} alive", live.lease);
    Ok(())
}

pub(super) async fn lease_of_an_earlier_claim_of_the_same_attempt_is_lost(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push_one(h.job()).await?;
    let stale = worker.claim_one().await?;
    h.end(stale.given_back(Return::Stopping, Duration::ZERO)).await?;
    let live = worker.claim_one().await?;
    assert_eq!(stale.lease.attempt, live.lease.attempt);
    assert_eq!(worker.extend([&stale, &live]).await?.lost, [stale.lease]);
    Ok(())
}

pub(super) async fn lease_that_was_never_given_is_lost(h: &Harness) -> Result<()> {
    let lease = Lease { job: JobId::new(), attempt: 1, worker: WorkerId::new(), token: 99 };
    let extended = h.worker().renew([Renewal { lease, progress: None }]).await?;
    assert_eq!(extended.lost, [lease]);
    Ok(())
}

pub(super) async fn heartbeat_without_leases_is_fine(h: &Harness) -> Result<()> {
    let extended = h.worker().extend([]).await?;
    assert_eq!((extended.lost.len(), extended.cancelled.len(), extended.paused.len()), (0, 0, 0));
    Ok(())
}

pub(super) async fn repeated_heartbeat_changes_nothing(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push_one(h.job()).await?;
    let held = worker.claim_one().await?;
    for _ in 0..3 {
        assert_eq!(worker.extend([&held]).await?.lost, []);
    }
    h.advance(LEASE);
    assert_eq!(h.reap().await?.returned, 1, "three heartbeats at once are worth one");
    Ok(())
}

pub(super) async fn hundreds_of_leases_are_extended_at_once(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push(h.jobs(400)).await?;
    let held = worker.claim(400).await?;
    h.advance(MOST);
    assert_eq!(worker.extend(&held).await?.lost, []);
    h.advance(MOST);
    assert_eq!(h.reap().await?.returned, 0);
    Ok(())
}

pub(super) async fn cancelled_job_is_heard_of(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push(h.jobs(2)).await?;
    let held = worker.claim(2).await?;
    h.cancel(&[held[1].id()]).await?;
    let extended = worker.extend(&held).await?;
    assert_eq!(extended.cancelled, [(held[1].lease, "not needed".to_owned())]);
    assert_eq!(extended.lost, [], "it still has the lease");
    Ok(())
}

pub(super) async fn cancelled_job_is_heard_of_every_time(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push_one(h.job()).await?;
    let held = worker.claim_one().await?;
    h.cancel(&[held.id()]).await?;
    for _ in 0..3 {
        assert_eq!(worker.extend([&held]).await?.cancelled.len(), 1);
    }
    h.end(held.cancelled()).await?;
    assert_eq!(worker.extend([&held]).await?.cancelled.len(), 0, "it has ended");
    Ok(())
}

pub(super) async fn stale_lease_hears_of_no_cancellation(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push_one(h.job()).await?;
    let stale = worker.claim_one().await?;
    h.lapse_and_reap().await?;
    let live = h.worker().claim_one().await?;
    h.cancel(&[live.id()]).await?;
    let extended = worker.extend([&stale]).await?;
    assert_eq!((extended.lost, extended.cancelled), (vec![stale.lease], vec![]));
    Ok(())
}

/// What a results store says of the progress of a job that has not ended.
async fn progress(h: &Harness, held: &Held) -> Result<Option<Progress>> {
    match h.fetch(held.id()).await? {
        Fetched::Pending { progress, .. } => Ok(progress),
        other => panic!("the job has not ended, yet its outcome is {other:?}"),
    }
}

pub(super) async fn progress_can_be_read(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push_one(h.job()).await?;
    let held = worker.claim_one().await?;
    assert_eq!(progress(h, &held).await?, None);
    worker.report(&held, 0.25, "a quarter — ein Viertel").await?;
    let note = "a quarter — ein Viertel".to_owned();
    assert_eq!(progress(h, &held).await?, Some(Progress { fraction: 0.25, note }));
    worker.extend([&held]).await?;
    assert!(progress(h, &held).await?.is_some(), "a heartbeat without news leaves it");
    Ok(())
}

pub(super) async fn stale_progress_is_not_written(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push_one(h.job()).await?;
    let stale = worker.claim_one().await?;
    h.lapse_and_reap().await?;
    let live = h.worker().claim_one().await?;
    assert_eq!(worker.report(&stale, 0.9, "nearly").await?.lost, [stale.lease]);
    assert_eq!(progress(h, &live).await?, None);
    Ok(())
}

pub(super) async fn progress_starts_anew_with_each_attempt(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push_one(h.job()).await?;
    let first = worker.claim_one().await?;
    worker.report(&first, 0.9, "nearly").await?;
    h.end(first.failed(Duration::ZERO)).await?;
    let second = worker.claim_one().await?;
    assert_eq!(progress(h, &second).await?, None);
    Ok(())
}
