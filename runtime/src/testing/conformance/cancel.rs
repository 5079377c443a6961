//! Calling jobs off.

use std::time::Duration;

use crate::backend::{Cancel, Cancelled};
use crate::error::Result;
use crate::job::{JobId, State};
use crate::policy::state::Return;
use crate::testing::{Harness, together};

const HOUR: Duration = Duration::from_hours(1);

async fn never_runs(h: &Harness) -> Result<()> {
    h.advance(HOUR * 2);
    h.reap().await?;
    assert_eq!(h.worker().claim(10).await?.len(), 0, "a job that was called off was handed out");
    Ok(())
}

pub(super) async fn empty_batch_is_answered_empty(h: &Harness) -> Result<()> {
    assert_eq!(h.cancel(&[]).await?, []);
    Ok(())
}

pub(super) async fn waiting_job_never_runs(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job()).await?;
    assert_eq!(h.cancel(&[id]).await?, [Cancelled::Ended]);
    never_runs(h).await
}

pub(super) async fn scheduled_job_never_runs(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job().delay(HOUR)).await?;
    assert_eq!(h.cancel(&[id]).await?, [Cancelled::Ended]);
    never_runs(h).await
}

pub(super) async fn job_between_attempts_never_runs_again(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.end(held.failed(HOUR)).await?;
    assert_eq!(h.cancel(&[held.id()]).await?, [Cancelled::Ended]);
    never_runs(h).await
}

pub(super) async fn running_job_is_asked_to_stop(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    assert_eq!(h.cancel(&[held.id()]).await?, [Cancelled::Requested]);
    h.end(held.cancelled()).await?;
    never_runs(h).await
}

pub(super) async fn running_job_may_still_complete(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.cancel(&[held.id()]).await?;
    h.end(held.completed()).await?;
    never_runs(h).await
}

pub(super) async fn running_job_that_fails_is_not_retried(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.cancel(&[held.id()]).await?;
    h.end(held.failed(Duration::ZERO)).await?;
    never_runs(h).await
}

pub(super) async fn running_job_that_is_given_back_does_not_wait(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.cancel(&[held.id()]).await?;
    h.end(held.given_back(Return::Stopping, Duration::ZERO)).await?;
    never_runs(h).await
}

pub(super) async fn running_job_whose_worker_dies_is_not_rescued(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.cancel(&[held.id()]).await?;
    assert_eq!(h.lapse_and_reap().await?.returned, 0);
    never_runs(h).await
}

pub(super) async fn running_job_that_fails_ends_as_cancelled(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().keep(HOUR)).await?;
    h.cancel(&[held.id()]).await?;
    h.end(held.failed(Duration::ZERO)).await?;
    assert_eq!(h.cancel(&[held.id()]).await?, [Cancelled::Finished(State::Cancelled)]);
    Ok(())
}

pub(super) async fn repeated_cancel_changes_nothing(h: &Harness) -> Result<()> {
    let [waiting, running] = [h.job(), h.job().priority(1)];
    let ids = [waiting.id(), running.id()];
    h.push([waiting, running]).await?;
    let held = h.worker().claim_one().await?;
    assert_eq!(h.cancel(&ids).await?, [Cancelled::Ended, Cancelled::Requested]);
    assert_eq!(h.cancel(&ids).await?, [Cancelled::Finished(State::Cancelled), Cancelled::Requested]);
    h.end(held.cancelled()).await?;
    assert_eq!(h.cancel(&ids).await?, [Cancelled::Finished(State::Cancelled); 2]);
    Ok(())
}

pub(super) async fn finished_job_tells_how_it_ended(h: &Harness) -> Result<()> {
    h.push([h.job().keep(HOUR), h.job()]).await?;
    let held = h.worker().claim(2).await?;
    h.settle([held[0].completed(), held[1].discarded()]).await?;
    let ended = [Cancelled::Finished(State::Completed), Cancelled::Finished(State::Discarded)];
    assert_eq!(h.cancel(&[held[0].id(), held[1].id()]).await?, ended);
    Ok(())
}

pub(super) async fn job_that_is_not_there_is_absent(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.end(held.completed()).await?;
    let answers = h.cancel(&[JobId::new(), held.id()]).await?;
    assert_eq!(answers, [Cancelled::Absent; 2], "never pushed, and completed without a kept outcome");
    Ok(())
}

pub(super) async fn answers_come_in_the_order_asked(h: &Harness) -> Result<()> {
    let [first, second] = [h.job().priority(1), h.job()];
    let (running, waiting, absent) = (first.id(), second.id(), JobId::new());
    h.push([first, second]).await?;
    h.worker().claim_one().await?;
    let answers = h.cancel(&[waiting, absent, running]).await?;
    assert_eq!(answers, [Cancelled::Ended, Cancelled::Absent, Cancelled::Requested]);
    Ok(())
}

pub(super) async fn job_cancelled_while_it_is_claimed_is_one_or_the_other(h: &Harness) -> Result<()> {
    for _ in 0..20 {
        let id = h.push_one(h.job()).await?;
        let backend = h.backend.clone();
        let cancel = async move { backend.cancel(&Cancel { ids: vec![id], reason: "not needed".to_owned() }).await };
        let worker = h.worker();
        let (cancelled, held) = futures_util::try_join!(together([cancel]), worker.claim(1))?;
        match (cancelled[0][0], held.len()) {
            (Cancelled::Ended, 0) | (Cancelled::Requested, 1) => {}
            other => panic!("cancelled and claimed at once: {other:?}"),
        }
    }
    Ok(())
}
