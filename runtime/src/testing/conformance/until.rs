//! Unique keys that are free before their job has ended, or stay taken after it.

use std::time::Duration;

use super::ledger::take;
use super::unique::change;
use crate::backend::{Change, Pushed, Retention};
use crate::error::Result;
use crate::job::{JobId, Until};
use crate::policy::state::Return;
use crate::testing::harness::batch;
use crate::testing::{Draft, Harness, Held, together};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const KEY: &str = "reindex-7";

fn until_started(h: &Harness) -> Draft {
    h.job().unique(KEY).until(Until::Started)
}

fn for_an_hour(h: &Harness) -> Draft {
    h.job().unique(KEY).until(Until::Elapsed(HOUR))
}

/// Checks that the key is taken by this job.
async fn is_taken(h: &Harness, holder: JobId) -> Result<()> {
    assert_eq!(h.push([until_started(h)]).await?, [Pushed::Conflict(holder)], "the key is taken");
    Ok(())
}

/// Stores a second job with the key while the first runs, and gives both.
async fn one_runs_and_one_waits(h: &Harness) -> Result<(Held, JobId)> {
    let first = h.push_and_claim(until_started(h)).await?;
    let second = h.push_one(until_started(h).delay(HOUR)).await?;
    is_taken(h, second).await?;
    Ok((first, second))
}

pub(super) async fn key_is_free_once_its_job_is_started(h: &Harness) -> Result<()> {
    let waiting = h.push_one(until_started(h).delay(MINUTE)).await?;
    is_taken(h, waiting).await?;
    h.advance(MINUTE);
    is_taken(h, waiting).await?;
    let first = h.worker().claim_one().await?;
    let second = h.push_and_claim(until_started(h)).await?;
    h.end(first.completed()).await?;
    h.end(second.completed()).await
}

pub(super) async fn one_claim_frees_the_keys_of_all_its_jobs(h: &Harness) -> Result<()> {
    let jobs = || (0..20).map(|number| h.job().unique(format!("key-{number}")).until(Until::Started));
    h.push(jobs()).await?;
    assert_eq!(h.worker().claim(20).await?.len(), 20);
    assert_eq!(h.push(jobs()).await?, [Pushed::Stored; 20]);
    Ok(())
}

pub(super) async fn job_taken_by_its_id_frees_its_key(h: &Harness) -> Result<()> {
    let id = h.push_one(until_started(h)).await?;
    assert_eq!(take(h.ledger()?, &[id]).await?.len(), 1);
    h.push_one(until_started(h)).await?;
    Ok(())
}

pub(super) async fn retry_leaves_the_key_to_the_next_job(h: &Harness) -> Result<()> {
    let (first, second) = one_runs_and_one_waits(h).await?;
    h.end(first.failed(Duration::ZERO)).await?;
    is_taken(h, second).await?;
    let again = h.worker().claim_one().await?;
    assert_eq!(again.id(), first.id());
    is_taken(h, second).await?;
    h.end(again.completed()).await?;
    is_taken(h, second).await
}

pub(super) async fn job_that_was_started_never_takes_the_key_back(h: &Harness) -> Result<()> {
    for why in [Return::Snoozed, Return::Stopping, Return::UnknownTask] {
        let first = h.push_and_claim(until_started(h)).await?;
        h.end(first.given_back(why, Duration::ZERO)).await?;
        let second = h.push_one(until_started(h).delay(HOUR)).await?;
        let again = h.worker().claim_one().await?;
        assert_eq!(again.id(), first.id());
        h.end(again.failed(HOUR)).await?;
        is_taken(h, second).await?;
        h.cancel(&[second]).await?;
    }
    Ok(())
}

pub(super) async fn rescue_leaves_the_key_to_the_next_job(h: &Harness) -> Result<()> {
    let (first, second) = one_runs_and_one_waits(h).await?;
    assert_eq!(h.lapse_and_reap().await?.returned, 1);
    is_taken(h, second).await?;
    assert_eq!(h.worker().claim_one().await?.id(), first.id());
    is_taken(h, second).await
}

pub(super) async fn end_of_a_started_job_leaves_the_key_to_the_next(h: &Harness) -> Result<()> {
    let endings: [fn(&Held) -> crate::backend::Settlement; 3] =
        [Held::completed, Held::discarded, |held| held.settled(crate::policy::Verdict::Expire)];
    for ending in endings {
        let (first, second) = one_runs_and_one_waits(h).await?;
        h.end(ending(&first)).await?;
        is_taken(h, second).await?;
        h.cancel(&[second]).await?;
    }
    Ok(())
}

pub(super) async fn key_of_a_job_that_ends_before_it_is_started_is_free(h: &Harness) -> Result<()> {
    let cancelled = h.push_one(until_started(h)).await?;
    h.cancel(&[cancelled]).await?;
    h.push_one(until_started(h).expires(MINUTE)).await?;
    h.advance(MINUTE);
    assert_eq!(h.reap().await?.expired, 1);
    let next = h.push_one(until_started(h)).await?;
    is_taken(h, next).await
}

pub(super) async fn retry_by_hand_of_a_started_job_needs_no_key(h: &Harness) -> Result<()> {
    let (first, second) = one_runs_and_one_waits(h).await?;
    h.end(first.discarded()).await?;
    assert_eq!(change(h, Change::Retry, first.id()).await?, 1);
    is_taken(h, second).await?;
    assert_eq!(h.worker().claim_one().await?.id(), first.id());
    is_taken(h, second).await
}

pub(super) async fn retry_by_hand_of_a_job_that_never_started_needs_its_key(h: &Harness) -> Result<()> {
    let first = h.push_one(until_started(h)).await?;
    h.cancel(&[first]).await?;
    let second = h.push_one(until_started(h)).await?;
    assert_eq!(change(h, Change::Retry, first).await?, 0);
    h.cancel(&[second]).await?;
    assert_eq!(change(h, Change::Retry, first).await?, 1);
    is_taken(h, first).await?;
    assert_eq!(h.worker().claim_one().await?.id(), first);
    h.push_one(until_started(h)).await?;
    Ok(())
}

pub(super) async fn deleted_job_frees_a_key_whatever_its_rule(h: &Harness) -> Result<()> {
    for job in [until_started(h), for_an_hour(h)] {
        let id = h.push_one(job).await?;
        assert_eq!(change(h, Change::Delete, id).await?, 1);
        let next = h.push_one(h.job().unique(KEY)).await?;
        h.cancel(&[next]).await?;
    }
    Ok(())
}

pub(super) async fn job_of_a_paused_queue_keeps_its_key(h: &Harness) -> Result<()> {
    h.inspect()?.pause(&h.queue(), true).await?;
    let id = h.push_one(until_started(h)).await?;
    assert_eq!(h.worker().claim(1).await?.len(), 0);
    is_taken(h, id).await
}

pub(super) async fn pushes_and_claims_at_the_same_time_agree(h: &Harness) -> Result<()> {
    const ROUNDS: usize = 25;
    let (pushes, claims) = (h.another_handle().await?, h.worker_elsewhere().await?);
    let jobs: Vec<_> = (0..ROUNDS).map(|_| batch([until_started(h)])).collect();
    let push = async move {
        let mut stored = Vec::new();
        for push in jobs {
            if pushes.push(&push).await? == [Pushed::Stored] {
                stored.push(push.jobs[0].spec.id);
            }
        }
        Ok(stored)
    };
    let claim = async move {
        let mut claimed = Vec::new();
        for _ in 0..ROUNDS {
            claimed.extend(claims.claim(10).await?.iter().map(Held::id));
        }
        Ok(claimed)
    };
    let work: [futures_util::future::BoxFuture<'static, Result<Vec<JobId>>>; 2] = [Box::pin(push), Box::pin(claim)];
    let mut answers = together(work).await?;
    let mut claimed = answers.pop().unwrap_or_default();
    let mut stored = answers.pop().unwrap_or_default();
    claimed.extend(h.worker().claim(10).await?.iter().map(Held::id));
    stored.sort_unstable();
    claimed.sort_unstable();
    assert_eq!(claimed, stored, "each stored job is handed out once");
    h.push_one(until_started(h)).await?;
    Ok(())
}

pub(super) async fn time_holds_the_key_whatever_becomes_of_the_job(h: &Harness) -> Result<()> {
    let endings: [fn(&Held) -> crate::backend::Settlement; 4] = [
        Held::completed,
        Held::discarded,
        |held| held.settled(crate::policy::Verdict::Expire),
        |held| held.failed(2 * HOUR),
    ];
    for ending in endings {
        let held = h.push_and_claim(for_an_hour(h)).await?;
        is_taken(h, held.id()).await?;
        h.end(ending(&held)).await?;
        is_taken(h, held.id()).await?;
        h.advance(HOUR);
    }
    let waiting = h.push_one(for_an_hour(h).delay(2 * HOUR)).await?;
    h.cancel(&[waiting]).await?;
    is_taken(h, waiting).await
}

pub(super) async fn time_holds_the_key_through_a_rescue(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(for_an_hour(h).attempts(1)).await?;
    assert_eq!(h.lapse_and_reap().await?.discarded, 1);
    is_taken(h, held.id()).await
}

pub(super) async fn key_is_free_when_its_time_has_passed(h: &Harness) -> Result<()> {
    let first = h.push_one(for_an_hour(h).delay(HOUR * 3)).await?;
    h.advance(59 * MINUTE);
    is_taken(h, first).await?;
    h.advance(MINUTE);
    let second = h.push_one(for_an_hour(h).delay(HOUR * 3)).await?;
    is_taken(h, second).await?;
    // The end of the first is no business of the second's key.
    h.cancel(&[first]).await?;
    is_taken(h, second).await
}

pub(super) async fn reaper_leaves_keys_whose_time_has_not_passed(h: &Harness) -> Result<()> {
    let past = h.push_one(for_an_hour(h)).await?;
    h.advance(HOUR / 2);
    let other = || h.job().unique("another").until(Until::Elapsed(HOUR));
    let running = h.push_one(other()).await?;
    h.advance(HOUR / 2);
    h.reap().await?;
    assert_eq!(h.push([other()]).await?, [Pushed::Conflict(running)]);
    let next = h.push_one(for_an_hour(h)).await?;
    assert_ne!(next, past);
    h.reap().await?;
    is_taken(h, next).await
}

pub(super) async fn first_of_a_batch_takes_the_key_for_its_time(h: &Harness) -> Result<()> {
    let [first, second] = [for_an_hour(h), for_an_hour(h)];
    let holder = first.id();
    assert_eq!(h.push([first, second]).await?, [Pushed::Stored, Pushed::Conflict(holder)]);
    h.advance(HOUR);
    let [first, second] = [for_an_hour(h), for_an_hour(h)];
    let holder = first.id();
    assert_eq!(h.push([first, second]).await?, [Pushed::Stored, Pushed::Conflict(holder)]);
    Ok(())
}

pub(super) async fn one_of_many_takes_a_key_whose_time_has_passed(h: &Harness) -> Result<()> {
    h.push_one(for_an_hour(h)).await?;
    h.advance(HOUR);
    let mut handles = vec![h.backend.clone(), h.another_handle().await?];
    handles.extend_from_within(..);
    let pushes: Vec<_> = handles
        .into_iter()
        .map(|backend| {
            let batch = batch([for_an_hour(h)]);
            async move { Ok((batch.jobs[0].spec.id, backend.push(&batch).await?[0])) }
        })
        .collect();
    let answers = together(pushes).await?;
    let winners: Vec<_> = answers.iter().filter(|(_, pushed)| *pushed == Pushed::Stored).collect();
    let [(winner, _)] = winners[..] else { panic!("one push wins: {answers:?}") };
    is_taken(h, *winner).await
}

pub(super) async fn repeated_batch_is_refused_again_after_the_time_has_passed(h: &Harness) -> Result<()> {
    let holder = h.push_one(for_an_hour(h)).await?;
    h.advance(59 * MINUTE);
    let refused = batch([for_an_hour(h)]);
    assert_eq!(h.backend.push(&refused).await?, [Pushed::Conflict(holder)]);
    h.advance(MINUTE);
    assert_eq!(h.backend.push(&refused).await?, [Pushed::Conflict(holder)]);
    Ok(())
}

pub(super) async fn retry_by_hand_neither_needs_nor_takes_a_key_for_a_time(h: &Harness) -> Result<()> {
    let first = h.push_and_claim(for_an_hour(h)).await?;
    h.end(first.discarded()).await?;
    assert_eq!(change(h, Change::Retry, first.id()).await?, 1);
    is_taken(h, first.id()).await?;
    let first = h.worker().claim_one().await?;
    h.end(first.discarded()).await?;
    h.advance(HOUR);
    let second = h.push_one(for_an_hour(h).delay(HOUR * 3)).await?;
    assert_eq!(change(h, Change::Retry, first.id()).await?, 1);
    is_taken(h, second).await?;
    let first = h.worker().claim_one().await?;
    h.end(first.completed()).await?;
    is_taken(h, second).await
}

pub(super) async fn time_holds_the_key_when_its_job_is_pruned(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(for_an_hour(h)).await?;
    h.end(held.discarded()).await?;
    h.advance(MINUTE);
    let at_once = Retention { expired_result: MINUTE, discarded: MINUTE, cancelled: MINUTE };
    assert_eq!(h.inspect()?.prune(&at_once, 10).await?.count, 1);
    is_taken(h, held.id()).await
}
