//! One unfinished job for each key.

use std::time::Duration;

use crate::backend::{Change, JobFilter, Pushed};
use crate::error::Result;
use crate::job::JobId;
use crate::policy::Verdict;
use crate::policy::state::Return;
use crate::testing::harness::batch;
use crate::testing::{Harness, together};

const MINUTE: Duration = Duration::from_mins(1);
const KEY: &str = "receipt-42";

/// Checks that the key is taken by this job.
async fn is_taken(h: &Harness, holder: JobId) -> Result<()> {
    let pushed = h.push([h.job().unique(KEY)]).await?;
    assert_eq!(pushed, [Pushed::Conflict(holder)], "the key is taken");
    Ok(())
}

/// Checks that the key is free, by taking it with a job that nobody will run.
async fn is_free(h: &Harness) -> Result<()> {
    let job = h.job().unique(KEY);
    let id = job.id();
    assert_eq!(h.push([job]).await?, [Pushed::Stored], "the key is free");
    h.cancel(&[id]).await?;
    Ok(())
}

pub(super) async fn conflict_names_the_holder(h: &Harness) -> Result<()> {
    let holder = h.push_one(h.job().unique(KEY)).await?;
    is_taken(h, holder).await?;
    assert_eq!(h.worker().claim(5).await?.len(), 1, "the refused job is not stored");
    Ok(())
}

pub(super) async fn key_is_one_for_all_queues_and_tasks(h: &Harness) -> Result<()> {
    let holder = h.push_one(h.job().unique(KEY)).await?;
    let other = h.other_queue("other");
    let pushed = h.push([h.job().queue(&other).task(&other).unique(KEY)]).await?;
    assert_eq!(pushed, [Pushed::Conflict(holder)]);
    Ok(())
}

pub(super) async fn different_keys_do_not_meet(h: &Harness) -> Result<()> {
    let long = "k".repeat(1_000);
    let keys = ["a", "A", "a ", " a", "ä", "%", "a%", "{a}", "", long.as_str()];
    let pushed = h.push(keys.map(|key| h.job().unique(key))).await?;
    assert_eq!(pushed, [Pushed::Stored; 10]);
    Ok(())
}

pub(super) async fn first_of_a_batch_wins(h: &Harness) -> Result<()> {
    let [first, second] = [h.job().unique(KEY), h.job().unique(KEY)];
    let holder = first.id();
    assert_eq!(h.push([first, second]).await?, [Pushed::Stored, Pushed::Conflict(holder)]);
    Ok(())
}

pub(super) async fn one_of_many_pushes_at_the_same_time_wins(h: &Harness) -> Result<()> {
    let mut handles = vec![h.backend.clone(), h.another_handle().await?];
    handles.extend_from_within(..);
    handles.extend_from_within(..);
    let pushes: Vec<_> = handles
        .into_iter()
        .map(|backend| {
            let batch = batch([h.job(), h.job().unique(KEY)]);
            async move { Ok((batch.jobs[1].spec.id, backend.push(&batch).await?[1])) }
        })
        .collect();
    let answers = together(pushes).await?;
    let winners: Vec<_> = answers.iter().filter(|(_, pushed)| *pushed == Pushed::Stored).collect();
    let [(winner, _)] = winners[..] else { panic!("one push wins: {answers:?}") };
    assert!(
        answers.iter().all(|(id, pushed)| id == winner || *pushed == Pushed::Conflict(*winner)),
        "the others learn that {winner} won: {answers:?}"
    );
    Ok(())
}

pub(super) async fn holder_does_not_conflict_with_itself(h: &Harness) -> Result<()> {
    let job = h.job().unique(KEY);
    h.push_one(job.clone()).await?;
    assert_eq!(h.push([job]).await?, [Pushed::Repeated]);
    Ok(())
}

pub(super) async fn key_is_kept_while_the_job_is_unfinished(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job().unique(KEY).delay(MINUTE)).await?;
    is_taken(h, id).await?;
    h.advance(MINUTE);
    let held = h.worker().claim_one().await?;
    is_taken(h, id).await?;
    h.end(held.failed(MINUTE)).await?;
    is_taken(h, id).await?;
    h.advance(MINUTE);
    let held = h.worker().claim_one().await?;
    h.end(held.given_back(Return::Stopping, Duration::ZERO)).await?;
    is_taken(h, id).await
}

pub(super) async fn key_is_kept_through_a_rescue(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().unique(KEY)).await?;
    h.lapse_and_reap().await?;
    is_taken(h, held.id()).await?;
    h.worker().claim_one().await?;
    is_taken(h, held.id()).await
}

pub(super) async fn key_is_free_once_the_job_has_ended(h: &Harness) -> Result<()> {
    let endings: [fn(&crate::testing::Held) -> Verdict; 4] = [
        |held| held.completed().verdict,
        |held| held.discarded().verdict,
        |held| held.cancelled().verdict,
        |_| Verdict::Expire,
    ];
    for ending in endings {
        let held = h.push_and_claim(h.job().unique(KEY)).await?;
        h.end(held.settled(ending(&held))).await?;
        is_free(h).await?;
    }
    Ok(())
}

pub(super) async fn key_is_free_though_the_outcome_is_kept(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().unique(KEY).keep(MINUTE)).await?;
    h.end(held.completed()).await?;
    is_free(h).await
}

pub(super) async fn key_is_free_after_the_last_attempt(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().unique(KEY).attempts(1)).await?;
    h.end(held.failed(MINUTE)).await?;
    is_free(h).await
}

pub(super) async fn key_is_free_once_a_waiting_job_is_cancelled(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job().unique(KEY)).await?;
    h.cancel(&[id]).await?;
    is_free(h).await
}

pub(super) async fn key_is_free_once_a_waiting_job_has_expired(h: &Harness) -> Result<()> {
    h.push_one(h.job().unique(KEY).expires(MINUTE)).await?;
    h.advance(MINUTE);
    assert_eq!(h.reap().await?.expired, 1);
    is_free(h).await
}

pub(super) async fn key_of_poison_is_free(h: &Harness) -> Result<()> {
    h.push_and_claim(h.job().unique(KEY).attempts(1)).await?;
    assert_eq!(h.lapse_and_reap().await?.discarded, 1);
    is_free(h).await
}

pub(super) async fn stale_settle_leaves_the_key_to_its_holder(h: &Harness) -> Result<()> {
    let stale = h.push_and_claim(h.job().unique(KEY)).await?;
    h.lapse_and_reap().await?;
    h.settle_one(stale.completed()).await?;
    is_taken(h, stale.id()).await
}

/// Does `change` to one job by hand, and tells to how many it applied.
pub(super) async fn change(h: &Harness, change: Change, id: JobId) -> Result<usize> {
    let filter = JobFilter { ids: vec![id], ..JobFilter::default() };
    Ok(h.inspect()?.change(&change, &filter, 10).await?.count)
}

pub(super) async fn retry_by_hand_passes_over_a_job_whose_key_is_taken(h: &Harness) -> Result<()> {
    let dead = h.push_and_claim(h.job().unique(KEY)).await?;
    h.end(dead.discarded()).await?;
    let holder = h.push_one(h.job().unique(KEY)).await?;
    assert_eq!(change(h, Change::Retry, dead.id()).await?, 0);
    assert_eq!(h.worker().claim_one().await?.id(), holder);
    assert_eq!(h.worker().claim(5).await?.len(), 0);
    Ok(())
}

pub(super) async fn retry_by_hand_takes_the_key_again(h: &Harness) -> Result<()> {
    let dead = h.push_and_claim(h.job().unique(KEY)).await?;
    h.end(dead.discarded()).await?;
    assert_eq!(change(h, Change::Retry, dead.id()).await?, 1);
    is_taken(h, dead.id()).await
}

pub(super) async fn one_of_two_dead_letters_with_one_key_is_retried(h: &Harness) -> Result<()> {
    for _ in 0..2 {
        let dead = h.push_and_claim(h.job().unique(KEY)).await?;
        h.end(dead.discarded()).await?;
    }
    let changed = h.inspect()?.change(&Change::Retry, &JobFilter::default(), 10).await?;
    assert_eq!((changed.count, h.worker().claim(5).await?.len()), (1, 1));
    Ok(())
}

pub(super) async fn key_is_free_once_the_job_is_deleted(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job().unique(KEY)).await?;
    assert_eq!(change(h, Change::Delete, id).await?, 1);
    is_free(h).await
}
