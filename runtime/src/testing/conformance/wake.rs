//! Hints that come by themselves.

use std::time::Duration;

use crate::backend::{Hint, Listener};
use crate::error::{Error, ErrorKind, Result};
use crate::testing::{Harness, LEASE};

/// How long a hint may take.
const SOON: Duration = Duration::from_secs(30);

/// Waits for this hint, or one that stands for it, past any others.
async fn hears(listener: &mut dyn Listener, hint: &Hint) -> Result<()> {
    let waits = async {
        loop {
            let heard = listener.next().await?;
            if heard == *hint || heard == Hint::Everything {
                return Ok(());
            }
        }
    };
    let deaf = || Error::new(ErrorKind::Timeout, format!("the hint {hint:?} has not come within {SOON:?}"));
    tokio::time::timeout(SOON, waits).await.unwrap_or_else(|_| Err(deaf()))
}

/// The hint that jobs of the usual queue wait.
fn jobs(h: &Harness) -> Hint {
    Hint::Jobs(h.queue())
}

pub(super) async fn push_wakes_those_who_wait_for_its_queue(h: &Harness) -> Result<()> {
    let mut listener = h.wake()?.listen().await?;
    h.push_one(h.job()).await?;
    hears(&mut *listener, &jobs(h)).await
}

pub(super) async fn push_wakes_each_queue_of_its_batch(h: &Harness) -> Result<()> {
    let queues = ["a", "b"].map(|suffix| h.other_queue(suffix));
    for queue in &queues {
        let mut listener = h.wake()?.listen().await?;
        h.push(queues.iter().map(|queue| h.job().queue(queue))).await?;
        hears(&mut *listener, &Hint::Jobs(queue.clone())).await?;
    }
    Ok(())
}

pub(super) async fn every_listener_hears(h: &Harness) -> Result<()> {
    let mut listeners = [h.wake()?.listen().await?, h.wake()?.listen().await?];
    h.push_one(h.job()).await?;
    for listener in &mut listeners {
        hears(&mut **listener, &jobs(h)).await?;
    }
    Ok(())
}

pub(super) async fn hint_waits_for_a_listener_that_is_busy(h: &Harness) -> Result<()> {
    let mut listener = h.wake()?.listen().await?;
    for _ in 0..300 {
        h.push_one(h.job()).await?;
    }
    hears(&mut *listener, &jobs(h)).await
}

pub(super) async fn waiting_for_a_hint_may_be_given_up_and_begun_again(h: &Harness) -> Result<()> {
    let mut listener = h.wake()?.listen().await?;
    for _ in 0..3 {
        let waits = listener.next();
        // Asks once, and drops the wait.
        let _ = futures_util::poll!(waits);
    }
    h.push_one(h.job()).await?;
    hears(&mut *listener, &jobs(h)).await
}

pub(super) async fn listener_made_after_another_was_dropped_hears(h: &Harness) -> Result<()> {
    for _ in 0..20 {
        drop(h.wake()?.listen().await?);
    }
    let mut listener = h.wake()?.listen().await?;
    h.push_one(h.job()).await?;
    hears(&mut *listener, &jobs(h)).await
}

pub(super) async fn job_that_goes_back_wakes(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    let mut listener = h.wake()?.listen().await?;
    h.end(held.failed(Duration::ZERO)).await?;
    hears(&mut *listener, &jobs(h)).await
}

pub(super) async fn rescue_wakes(h: &Harness) -> Result<()> {
    h.push_and_claim(h.job()).await?;
    h.advance(LEASE);
    let mut listener = h.wake()?.listen().await?;
    h.reap().await?;
    hears(&mut *listener, &jobs(h)).await
}

pub(super) async fn kept_outcome_wakes(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().keep(SOON)).await?;
    let mut listener = h.wake()?.listen().await?;
    h.end(held.completed()).await?;
    hears(&mut *listener, &Hint::Outcomes).await
}

pub(super) async fn cancelling_a_waiting_job_wakes_who_awaits_it(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job()).await?;
    let mut listener = h.wake()?.listen().await?;
    h.cancel(&[id]).await?;
    hears(&mut *listener, &Hint::Outcomes).await
}

pub(super) async fn cancelling_a_running_job_wakes_its_worker(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    let mut listener = h.wake()?.listen().await?;
    h.cancel(&[held.id()]).await?;
    hears(&mut *listener, &Hint::Control).await
}

pub(super) async fn pausing_and_resuming_wakes_workers(h: &Harness) -> Result<()> {
    for paused in [true, false] {
        let mut listener = h.wake()?.listen().await?;
        h.inspect()?.pause(&h.queue(), paused).await?;
        hears(&mut *listener, &Hint::Control).await?;
    }
    Ok(())
}

pub(super) async fn resumed_queue_wakes_a_waiting_claimer_who_gets_its_jobs(h: &Harness) -> Result<()> {
    h.inspect()?.pause(&h.queue(), true).await?;
    let id = h.push_one(h.job()).await?;
    let worker = h.worker_elsewhere().await?;
    assert_eq!(worker.claim(5).await?.len(), 0, "while the queue is paused");
    let mut listener = h.wake()?.listen().await?;
    h.inspect()?.pause(&h.queue(), false).await?;
    hears(&mut *listener, &Hint::Control).await?;
    assert_eq!(worker.claim_one().await?.id(), id);
    Ok(())
}

pub(super) async fn hint_of_another_store_is_passed_on(h: &Harness) -> Result<()> {
    h.wake()?.tell(&[]).await?;
    for hint in [jobs(h), Hint::Outcomes, Hint::Control, Hint::Everything] {
        let mut listener = h.wake()?.listen().await?;
        h.wake()?.tell(std::slice::from_ref(&hint)).await?;
        hears(&mut *listener, &hint).await?;
    }
    Ok(())
}

pub(super) async fn listener_ends_when_the_store_is_closed(h: &Harness) -> Result<()> {
    let mut listener = h.wake()?.listen().await?;
    h.backend.close().await?;
    let ends = async { while listener.next().await.is_ok() {} };
    assert!(tokio::time::timeout(SOON, ends).await.is_ok(), "the listener waits on at a closed store");
    Ok(())
}
