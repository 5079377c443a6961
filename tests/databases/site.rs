//! Jobs, claims and settlements in few words.

use std::time::Duration;

use taskwright::backend::{Backend, Claim, Hint, Listener, Push, Pushed, QueueClaim, Reap, Settled, Settlement};
use taskwright::job::{BatchId, Job, JobId, Lease, WorkerId};
use taskwright::policy::Verdict;
use taskwright::testing::{Draft, LEASE};
use taskwright::time::Clock;
use taskwright::{Error, ErrorKind, Name, Result};

pub(crate) fn queue() -> Name {
    Name::new("mail").unwrap()
}

pub(crate) fn push_of(count: usize) -> Push {
    Push { batch: BatchId::new(), jobs: (0..count).map(|_| Draft::new(queue()).into()).collect() }
}

/// Pushes jobs as one batch.
pub(crate) async fn push_all<const COUNT: usize>(backend: &dyn Backend, jobs: [Draft; COUNT]) -> Result<Vec<Pushed>> {
    backend.push(&Push { batch: BatchId::new(), jobs: jobs.into_iter().map(Into::into).collect() }).await
}

/// Pushes one job.
pub(crate) async fn push_one(backend: &dyn Backend) -> Result<JobId> {
    let push = push_of(1);
    assert_eq!(backend.push(&push).await?, [Pushed::Stored]);
    Ok(push.jobs[0].spec.id)
}

pub(crate) async fn claim(backend: &dyn Backend, limit: usize) -> Result<Vec<(Lease, Job)>> {
    let queues = vec![QueueClaim { queue: queue(), limit }];
    let claim =
        Claim { worker: WorkerId::new(), queues, limit, unknown: vec![], ttl: LEASE, max_crashes: 3, aging: None };
    Ok(backend.claim(&claim).await?.jobs)
}

pub(crate) async fn complete(backend: &dyn Backend, claimed: Vec<(Lease, Job)>) -> Result<Vec<Settled>> {
    let settlement = |(lease, job)| Settlement { lease, job, verdict: Verdict::Complete { result: None } };
    backend.settle(&claimed.into_iter().map(settlement).collect::<Vec<_>>()).await
}

/// A job goes through its whole life.
pub(crate) async fn works(backend: &dyn Backend) {
    let id = push_one(backend).await.unwrap();
    let claimed = claim(backend, 10).await.unwrap();
    assert_eq!(claimed.iter().map(|(_, job)| job.id()).collect::<Vec<_>>(), [id]);
    assert_eq!(complete(backend, claimed).await.unwrap(), [Settled::Applied]);
}

/// Waits for a hint.
pub(crate) async fn hear(listener: &mut dyn Listener, hint: &Hint) {
    let heard = async { while listener.next().await.unwrap() != *hint {} };
    tokio::time::timeout(Duration::from_secs(30), heard).await.unwrap();
}

/// The error says this, and no password.
#[track_caller]
pub(crate) fn says(error: &Error, kind: ErrorKind, advice: &str) {
    let whole = format!("{error:?}");
    assert_eq!(error.kind(), kind, "{whole}");
    assert!(error.to_string().contains(advice), "{whole}");
    assert!(!whole.contains("secret"), "{whole}");
}

/// Jobs run through whose outcomes are kept.
pub(crate) async fn keep_some(backend: &dyn Backend, count: usize) {
    for _ in 0..count / 500 {
        let jobs = (0..500).map(|_| Draft::new(queue()).keep(Duration::from_hours(1)).into()).collect();
        backend.push(&Push { batch: BatchId::new(), jobs }).await.unwrap();
        let claimed = claim(backend, 500).await.unwrap();
        assert_eq!(complete(backend, claimed).await.unwrap().len(), 500);
    }
}

/// Ten times ten of 500 jobs are handed out; the others wait.
pub(crate) async fn claim_some(backend: &dyn Backend) {
    for _ in 0..10 {
        assert_eq!(claim(backend, 10).await.unwrap().len(), 10);
    }
}

/// Two leases whose tokens follow each other are told apart, also where a floating-point number could not (F16).
pub(crate) async fn tells_large_tokens_apart(backend: &dyn Backend) {
    backend.push(&push_of(2)).await.unwrap();
    let (first, second) = (claim(backend, 1).await.unwrap(), claim(backend, 1).await.unwrap());
    let (one, other) = (first[0].0.token, second[0].0.token);
    assert!(one > 1 << 53 && other == one + 1, "{one} {other}");
    let stale = (Lease { token: one, ..second[0].0 }, second[0].1.clone());
    assert_eq!(complete(backend, vec![stale]).await.unwrap(), [Settled::LeaseLost]);
    for claimed in [second, first] {
        assert_eq!(complete(backend, claimed).await.unwrap(), [Settled::Applied]);
    }
}

/// What is in the store says how long nobody needs to reap.
pub(crate) async fn tells_how_long_it_is_calm(backend: &dyn Backend, clock: &Clock) {
    let reap = Reap { limit: 10, max_crashes: 3 };
    assert_eq!(backend.reap(&reap).await.unwrap().calm, Duration::MAX, "nothing is there");
    push_one(backend).await.unwrap();
    assert_eq!(backend.reap(&reap).await.unwrap().calm, Duration::MAX, "what waits never lapses");
    claim(backend, 1).await.unwrap();
    let calm = backend.reap(&reap).await.unwrap().calm;
    assert!(calm > Duration::ZERO && calm <= LEASE, "{calm:?}");
    clock.advance(calm);
    let reaped = backend.reap(&reap).await.unwrap();
    assert_eq!(reaped.returned, 1, "the lease lapsed then");
}
