//! Delays that the broker counts, crashes that it notices, and where dead letters lie.

use std::time::Duration;

use taskwright::State;
use taskwright::backend::Settled;
use taskwright::job::{Ending, Failure, FailureKind, Job};
use taskwright::policy::Verdict;
use taskwright::time::Timestamp;

use crate::broker::{Site, job};

fn failure() -> Failure {
    Failure::new(FailureKind::Error, "it broke")
}

#[tokio::test]
async fn delayed_job_comes_when_its_time_has_come() {
    let Some(site) = Site::shared() else { return };
    let handle = site.open().await;
    // 200 ms and 100 ms: it is passed on once.
    let id = handle.push(job().delay(Duration::from_millis(300))).await;
    let held = handle.next().await;
    assert_eq!((held.1.id(), held.1.attempt), (id, 1));
    assert!(Timestamp::now() >= held.1.due, "it is not early");
    assert_eq!(handle.complete(&held).await, Settled::Applied);
}

#[tokio::test]
async fn failed_job_comes_back_after_its_wait() {
    let Some(site) = Site::shared() else { return };
    let handle = site.open().await;
    handle.push(job()).await;
    for attempt in 1..=3 {
        let held = handle.next().await;
        assert_eq!((held.1.attempt, held.1.history.len()), (attempt, attempt as usize - 1));
        assert!(Timestamp::now() >= held.1.due, "it is not early");
        handle.settle(&held, Verdict::Retry { after: Duration::from_millis(100), failure: failure() }).await;
    }
}

#[tokio::test]
async fn lost_connection_is_a_crash_and_three_are_poison() {
    let Some(site) = Site::shared() else { return };
    site.open().await.push(job().attempts(50)).await;
    for crashes in 0..3 {
        let handle = site.open().await;
        let (_, job) = handle.next().await;
        assert_eq!((job.crashes, job.attempt), (crashes, crashes + 1));
        assert!(job.history.iter().all(|attempt| attempt.ending == Ending::Crashed));
        handle.0.close().await.unwrap();
    }
    assert_eq!(site.open().await.claim().await.len(), 0, "it is poison");
    let dead = site.stranger().await.get(&site.queue("dead")).await.unwrap();
    let dead: Job = rmp_serde::from_slice(&dead.delivery.data).unwrap();
    assert_eq!((dead.state, dead.crashes), (State::Discarded, 3));
}

#[tokio::test]
async fn dead_letter_lies_in_a_queue_with_its_payload_and_failure() {
    let Some(site) = Site::shared() else { return };
    let handle = site.open().await;
    let id = handle.push(job().payload(&b"bytes"[..])).await;
    handle.settle(&handle.next().await, Verdict::Discard { failure: failure() }).await;
    let dead = site.stranger().await.get(&site.queue("dead")).await.unwrap();
    let dead: Job = rmp_serde::from_slice(&dead.delivery.data).unwrap();
    assert_eq!((dead.id(), dead.state, &dead.spec.payload.bytes[..]), (id, State::Discarded, &b"bytes"[..]));
    assert_eq!(dead.failure(), Some(&failure()));
}

#[tokio::test]
async fn quorum_queues_carry_jobs() {
    let Some(site) = Site::shared() else { return };
    let handle = site.open_with("&queues=quorum").await;
    assert_eq!(handle.0.info().warnings.len(), 1, "that there are no priorities");
    for _ in 0..30 {
        handle.push(job()).await;
    }
    let mut found = Vec::new();
    while found.len() < 30 {
        found.extend(handle.some().await);
    }
    for held in &found[1..] {
        assert_eq!(handle.complete(held).await, Settled::Applied);
    }
    let mut again = found.swap_remove(0);
    // It comes back while claims are under way, and none of them counts as a crash.
    for attempt in 2..=5 {
        let retry = Verdict::Retry { after: Duration::from_millis(100), failure: failure() };
        assert_eq!(handle.settle(&again, retry).await, Settled::Applied);
        let next = handle.next().await;
        assert_eq!((next.1.id(), next.1.attempt), (again.1.id(), attempt));
        again = next;
    }
}
