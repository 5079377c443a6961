//! Handing out jobs by their ids, for a broker that carries those.

use std::time::Duration;

use crate::backend::{Claim, Ledger, Settled};
use crate::error::Result;
use crate::job::{JobId, WorkerId};
use crate::testing::{Harness, Held, LEASE, together};

const HOUR: Duration = Duration::from_hours(1);

/// Takes these jobs for a new worker.
pub(super) async fn take(ledger: &dyn Ledger, ids: &[JobId]) -> Result<Vec<Held>> {
    let claim = Claim {
        worker: WorkerId::new(),
        queues: vec![],
        limit: ids.len(),
        unknown: vec![],
        ttl: LEASE,
        max_crashes: 3,
        aging: None,
    };
    let taken = ledger.take(&claim, ids).await?;
    Ok(taken.into_iter().map(|(lease, job)| Held { lease, job }).collect())
}

pub(super) async fn job_taken_by_its_id_is_leased(h: &Harness) -> Result<()> {
    let [first, second] = [h.job(), h.job()];
    let ids = [first.id(), second.id()];
    h.push([first, second]).await?;
    let held = take(h.ledger()?, &ids[1..]).await?;
    assert_eq!((held.len(), held[0].id(), held[0].job.attempt), (1, ids[1], 1));
    assert_eq!(h.worker().claim(5).await?.iter().map(Held::id).collect::<Vec<_>>(), ids[..1]);
    assert_eq!(h.settle_one(held[0].failed(Duration::ZERO)).await?, Settled::Applied);
    assert_eq!(h.settle_one(held[0].completed()).await?, Settled::LeaseLost);
    assert_eq!(take(h.ledger()?, &ids[1..]).await?[0].job.attempt, 2);
    h.lapse_and_reap().await?;
    assert_eq!(take(h.ledger()?, &ids).await?.len(), 2, "their leases have lapsed");
    Ok(())
}

pub(super) async fn what_can_not_run_is_passed_over(h: &Harness) -> Result<()> {
    let jobs = [h.job(), h.job().delay(HOUR), h.job(), h.job().priority(1)];
    let ids = jobs.each_ref().map(crate::testing::Draft::id);
    h.push(jobs).await?;
    h.cancel(&ids[2..3]).await?;
    h.worker().claim_one().await?;
    let held = take(h.ledger()?, &[ids[0], ids[0], ids[1], ids[2], ids[3], JobId::new()]).await?;
    assert_eq!(held.iter().map(Held::id).collect::<Vec<_>>(), ids[..1], "not what is early, ended, leased, or unknown");
    h.advance(HOUR);
    assert_eq!(take(h.ledger()?, &ids[1..2]).await?.len(), 1);
    Ok(())
}

pub(super) async fn job_of_an_unknown_task_is_not_taken(h: &Harness) -> Result<()> {
    let strange = h.job().task(&h.other_queue("strange"));
    let ids = [strange.id(), h.push_one(h.job()).await?];
    h.push_one(strange).await?;
    let unknown = vec![h.other_queue("another"), h.other_queue("strange")];
    let claim =
        Claim { worker: WorkerId::new(), queues: vec![], limit: 2, unknown, ttl: LEASE, max_crashes: 3, aging: None };
    let taken = h.ledger()?.take(&claim, &ids).await?;
    assert_eq!(taken.iter().map(|(lease, _)| lease.job).collect::<Vec<_>>(), ids[1..]);
    assert_eq!(take(h.ledger()?, &ids).await?.iter().map(Held::id).collect::<Vec<_>>(), ids[..1]);
    Ok(())
}

pub(super) async fn expired_and_paused_jobs_are_not_taken(h: &Harness) -> Result<()> {
    let expiring = h.push_one(h.job().expires(HOUR)).await?;
    let id = h.push_one(h.job()).await?;
    h.inspect()?.pause(&h.queue(), true).await?;
    assert_eq!(take(h.ledger()?, &[expiring, id]).await?.len(), 0, "their queue is paused");
    h.inspect()?.pause(&h.queue(), false).await?;
    h.advance(HOUR);
    assert_eq!(take(h.ledger()?, &[expiring, id]).await?.iter().map(Held::id).collect::<Vec<_>>(), [id]);
    assert_eq!(h.reap().await?.expired, 1);
    Ok(())
}

pub(super) async fn job_is_taken_once_by_many_at_once(h: &Harness) -> Result<()> {
    let jobs = h.jobs(60);
    let ids: Vec<_> = jobs.iter().map(crate::testing::Draft::id).collect();
    h.push(jobs).await?;
    let attempts = (0..6).map(|_| {
        let (backend, ids) = (h.backend.clone(), ids.clone());
        async move {
            let none = || crate::Error::new(crate::ErrorKind::Unsupported, "no ledger");
            Ok(take(backend.ledger().ok_or_else(none)?, &ids).await?.len())
        }
    });
    let worker = h.worker();
    let (taken, claimed) = futures_util::try_join!(together(attempts.collect::<Vec<_>>()), worker.claim(60))?;
    let rest = h.worker().claim(60).await?.len();
    assert_eq!(taken.iter().sum::<usize>() + claimed.len() + rest, 60, "each job once");
    Ok(())
}

pub(super) async fn empty_list_is_answered_empty(h: &Harness) -> Result<()> {
    assert_eq!(take(h.ledger()?, &[]).await?.len(), 0);
    Ok(())
}
