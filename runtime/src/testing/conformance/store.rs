//! The store as a whole: what it says of itself, its end, and other handles on it.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::backend::{Cancel, Claim, Extend, Push, Pushed, QueueClaim, Reap, Settled};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{BatchId, JobId, WorkerId};
use crate::testing::{Harness, Held, LEASE, together};

const HOUR: Duration = Duration::from_hours(1);

pub(super) async fn store_says_what_it_is(h: &Harness) -> Result<()> {
    let info = h.backend.info();
    assert!(!info.name.is_empty() && !info.location.is_empty() && !info.durability.is_empty(), "{info:?}");
    let limits = &info.limits;
    assert!(limits.max_payload > 0 && limits.max_push > 0 && limits.max_claim > 0, "{limits:?}");
    assert!(limits.time_precision <= Duration::from_secs(1), "{limits:?}");
    assert!(!format!("{:?}", h.backend).is_empty(), "it can be shown in logs");
    Ok(())
}

/// The kind of error that a call was refused with.
fn refused<T>(answer: Result<T>) -> Option<ErrorKind> {
    answer.err().as_ref().map(Error::kind)
}

pub(super) async fn closed_store_refuses_every_call(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    let worker = h.worker();
    let backend = &h.backend;
    backend.close().await?;
    let queues = vec![QueueClaim { queue: h.queue(), limit: 1 }];
    let push = Push { batch: BatchId::new(), jobs: vec![h.job().into()] };
    let extend = Extend { worker: worker.record(), ttl: LEASE, renewals: vec![] };
    let claim = Claim { worker: worker.id, queues, limit: 1, unknown: vec![], ttl: LEASE, max_crashes: 3, aging: None };
    let answers = [
        ("push", refused(backend.push(&push).await)),
        ("claim", refused(backend.claim(&claim).await)),
        ("extend", refused(backend.extend(&extend).await)),
        ("settle", refused(backend.settle(&[held.completed()]).await)),
        ("cancel", refused(backend.cancel(&Cancel { ids: vec![held.id()], reason: String::new() }).await)),
        ("reap", refused(backend.reap(&Reap { limit: 1, max_crashes: 3 }).await)),
    ];
    for (operation, kind) in answers {
        assert_eq!(kind, Some(ErrorKind::Closed), "{operation} at a closed store");
    }
    Ok(())
}

pub(super) async fn closed_store_refuses_to_tell_results(h: &Harness) -> Result<()> {
    h.backend.close().await?;
    assert_eq!(refused(h.fetch(JobId::new()).await), Some(ErrorKind::Closed));
    Ok(())
}

pub(super) async fn closed_store_refuses_to_be_inspected(h: &Harness) -> Result<()> {
    h.backend.close().await?;
    assert_eq!(refused(h.find(JobId::new()).await), Some(ErrorKind::Closed));
    assert_eq!(refused(h.inspect()?.queues().await), Some(ErrorKind::Closed));
    Ok(())
}

pub(super) async fn closed_store_refuses_to_elect(h: &Harness) -> Result<()> {
    h.backend.close().await?;
    let campaign = h.leader()?.campaign(&h.queue(), WorkerId::new(), LEASE).await;
    assert_eq!(refused(campaign), Some(ErrorKind::Closed));
    Ok(())
}

pub(super) async fn closed_store_refuses_to_listen(h: &Harness) -> Result<()> {
    h.backend.close().await?;
    assert_eq!(refused(h.wake()?.listen().await), Some(ErrorKind::Closed));
    Ok(())
}

pub(super) async fn closing_twice_is_fine(h: &Harness) -> Result<()> {
    h.backend.close().await?;
    h.backend.close().await
}

pub(super) async fn jobs_outlive_the_handle_that_pushed_them(h: &Harness) -> Result<()> {
    let [waiting, scheduled] = [h.job(), h.job().delay(HOUR)];
    let ids = [waiting.id(), scheduled.id()];
    h.push([waiting, scheduled]).await?;
    h.backend.close().await?;
    let worker = h.worker_elsewhere().await?;
    assert_eq!(worker.claim(5).await?.iter().map(Held::id).collect::<Vec<_>>(), ids[..1]);
    h.advance(HOUR);
    assert_eq!(worker.claim(5).await?.iter().map(Held::id).collect::<Vec<_>>(), ids[1..]);
    Ok(())
}

pub(super) async fn lease_outlives_the_handle_that_claimed_it(h: &Harness) -> Result<()> {
    h.push(h.jobs(3)).await?;
    let held = h.worker().claim(3).await?;
    h.backend.close().await?;
    let backend = h.another_handle().await?;
    assert_eq!(backend.settle(&[held[0].completed()]).await?, [Settled::Applied]);
    h.advance(LEASE);
    assert_eq!(backend.reap(&Reap { limit: 10, max_crashes: 3 }).await?.returned, 2);
    Ok(())
}

pub(super) async fn repeated_batch_is_recognised_by_another_handle(h: &Harness) -> Result<()> {
    let push = Push { batch: BatchId::new(), jobs: h.jobs(3).into_iter().map(Into::into).collect() };
    h.backend.push(&push).await?;
    h.worker().claim(1).await?;
    h.backend.close().await?;
    let backend = h.another_handle().await?;
    assert_eq!(backend.push(&push).await?, [Pushed::Repeated; 3]);
    Ok(())
}

pub(super) async fn result_outlives_the_handle_that_settled_it(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().keep(HOUR)).await?;
    h.end(held.returned(b"7")).await?;
    h.backend.close().await?;
    let backend = h.another_handle().await?;
    let none = || Error::new(ErrorKind::Unsupported, "this handle keeps no results");
    let fetched = backend.results().ok_or_else(none)?.fetch(&[held.id()]).await?;
    assert!(matches!(&fetched[..], [crate::backend::Fetched::Finished(_)]), "{fetched:?}");
    Ok(())
}

pub(super) async fn handles_see_each_others_jobs(h: &Harness) -> Result<()> {
    let elsewhere = h.another_handle().await?;
    let id = h.push_one(h.job()).await?;
    let held = h.worker_elsewhere().await?.claim_one().await?;
    assert_eq!(held.id(), id);
    assert_eq!(h.worker().claim(1).await?.len(), 0);
    assert_eq!(elsewhere.settle(&[held.completed()]).await?, [Settled::Applied]);
    assert_eq!(h.settle_one(held.completed()).await?, Settled::LeaseLost);
    Ok(())
}

pub(super) async fn closing_one_handle_leaves_the_others_open(h: &Harness) -> Result<()> {
    let elsewhere = h.another_handle().await?;
    elsewhere.close().await?;
    h.push_and_claim(h.job()).await?;
    Ok(())
}

pub(super) async fn handles_opened_at_the_same_time_all_work(h: &Harness) -> Result<()> {
    let mut expected = BTreeSet::new();
    let mut pushes = Vec::new();
    let handles = futures_util::future::try_join_all((0..6).map(|_| h.another_handle())).await?;
    for backend in handles {
        let push = Push { batch: BatchId::new(), jobs: h.jobs(20).into_iter().map(Into::into).collect() };
        expected.extend(push.jobs.iter().map(|job| job.spec.id));
        pushes.push(async move { backend.push(&push).await });
    }
    assert!(together(pushes).await?.into_iter().flatten().all(|pushed| pushed == Pushed::Stored));
    let found: BTreeSet<_> = h.worker().claim(500).await?.iter().map(Held::id).collect();
    assert_eq!(found, expected);
    Ok(())
}
