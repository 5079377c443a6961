//! Pushes that change the job which has their unique key.

use std::time::Duration;

use super::unique::change;
use crate::backend::{Change, Pushed};
use crate::error::Result;
use crate::job::{JobId, OnConflict, Replace, Until};
use crate::testing::harness::batch;
use crate::testing::{Draft, Harness, Held, together};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const KEY: &str = "reindex-7";

fn replacing(h: &Harness, payload: &'static [u8], replace: Replace) -> Draft {
    h.job().unique(KEY).on_conflict(OnConflict::Replace(replace)).payload(payload)
}

/// The latest wins, and what comes while it runs waits behind it.
fn debounced(h: &Harness, payload: &'static [u8]) -> Draft {
    replacing(h, payload, Replace::ALL).until(Until::Started).delay(MINUTE)
}

/// Pushes a job that must be answered like this.
async fn push(h: &Harness, job: Draft, answer: Pushed) -> Result<()> {
    assert_eq!(h.push([job]).await?, [answer]);
    Ok(())
}

/// Claims the only job, which must be this one with this payload.
async fn claim(h: &Harness, id: JobId, payload: &[u8]) -> Result<Held> {
    let held = h.worker().claim(5).await?;
    assert_eq!(held.iter().map(Held::id).collect::<Vec<_>>(), [id]);
    assert_eq!(held[0].job.spec.payload.bytes, payload);
    Ok(held[0].clone())
}

pub(super) async fn waiting_job_is_replaced(h: &Harness) -> Result<()> {
    let id = h.push_one(debounced(h, b"first").tag("first").keep(HOUR)).await?;
    push(h, debounced(h, b"second").tag("second").priority(7).delay(2 * MINUTE), Pushed::Replaced(id)).await?;
    h.advance(MINUTE);
    assert_eq!(h.worker().claim(5).await?.len(), 0, "its due time has moved");
    h.advance(MINUTE);
    let held = claim(h, id, b"second").await?;
    assert_eq!((held.job.spec.priority, &held.job.spec.tags), (7, &vec!["second".to_owned()]));
    assert_eq!((held.job.attempt, held.job.spec.keep_result), (1, Some(HOUR)), "what was not replaced is as it was");
    h.end(held.completed()).await?;
    assert_eq!(h.worker().claim(5).await?.len(), 0, "nothing else was stored");
    Ok(())
}

pub(super) async fn replaced_job_takes_the_limits_of_what_replaces_it(h: &Harness) -> Result<()> {
    let limited = |key: &str, payload| replacing(h, payload, Replace::ALL).limit(key, "1");
    h.push([h.job().limit("customer-1", "1"), h.job().limit("customer-1", "1")]).await?;
    assert_eq!(h.worker().claim(5).await?.len(), 1, "one of two runs");
    let id = h.push_one(limited("customer-1", b"first")).await?;
    push(h, limited("customer-1", b"second"), Pushed::Replaced(id)).await?;
    assert_eq!(h.worker().claim(5).await?.len(), 0, "its customer is busy");
    push(h, limited("customer-2", b"third"), Pushed::Replaced(id)).await?;
    let held = claim(h, id, b"third").await?;
    assert_eq!(held.job.spec.limits[0].key, "customer-2");
    h.end(held.completed()).await?;
    let id = h.push_one(limited("customer-2", b"fourth")).await?;
    push(h, replacing(h, b"fifth", Replace::ALL), Pushed::Replaced(id)).await?;
    claim(h, id, b"fifth").await?;
    Ok(())
}

pub(super) async fn only_what_is_asked_for_is_replaced(h: &Harness) -> Result<()> {
    let none = Replace { payload: false, due: false, priority: false, longest: None };
    let id = h.push_one(replacing(h, b"first", none).priority(1).delay(MINUTE)).await?;
    let second = |replace| replacing(h, b"second", replace).priority(9).delay(HOUR);
    push(h, second(none), Pushed::Replaced(id)).await?;
    push(h, second(Replace { priority: true, ..none }), Pushed::Replaced(id)).await?;
    h.advance(MINUTE);
    let held = claim(h, id, b"first").await?;
    assert_eq!(held.job.spec.priority, 9);
    Ok(())
}

pub(super) async fn job_that_is_due_can_be_put_off_and_brought_forward(h: &Harness) -> Result<()> {
    let id = h.push_one(debounced(h, b"first").delay(Duration::ZERO)).await?;
    push(h, debounced(h, b"second").delay(HOUR), Pushed::Replaced(id)).await?;
    assert_eq!(h.worker().claim(5).await?.len(), 0);
    push(h, debounced(h, b"third").delay(Duration::ZERO), Pushed::Replaced(id)).await?;
    claim(h, id, b"third").await?;
    Ok(())
}

pub(super) async fn priority_that_is_replaced_counts(h: &Harness) -> Result<()> {
    let [low, high] = [h.job().unique("low"), h.job().unique("high")];
    let (low_id, high_id) = (low.id(), high.id());
    h.push([low, high.priority(5)]).await?;
    let raised = h.job().unique("low").on_conflict(OnConflict::Replace(Replace::ALL)).priority(9);
    push(h, raised, Pushed::Replaced(low_id)).await?;
    let claimed = h.worker().claim(5).await?;
    assert_eq!(claimed.iter().map(Held::id).collect::<Vec<_>>(), [low_id, high_id]);
    Ok(())
}

pub(super) async fn due_time_moves_no_further_than_the_longest_wait(h: &Harness) -> Result<()> {
    let patient = || {
        let replace = Replace { longest: Some(3 * MINUTE), ..Replace::ALL };
        debounced(h, b"patient").on_conflict(OnConflict::Replace(replace)).delay(2 * MINUTE)
    };
    let id = h.push_one(patient()).await?;
    for _ in 0..2 {
        h.advance(MINUTE);
        push(h, patient(), Pushed::Replaced(id)).await?;
        assert_eq!(h.worker().claim(5).await?.len(), 0);
    }
    h.advance(MINUTE);
    claim(h, id, b"patient").await?;
    Ok(())
}

pub(super) async fn running_job_is_not_replaced(h: &Harness) -> Result<()> {
    let id = h.push_one(replacing(h, b"first", Replace::ALL)).await?;
    let held = claim(h, id, b"first").await?;
    push(h, replacing(h, b"second", Replace::ALL), Pushed::Conflict(id)).await?;
    h.end(held.failed(Duration::ZERO)).await?;
    push(h, replacing(h, b"third", Replace::ALL), Pushed::Conflict(id)).await?;
    claim(h, id, b"first").await?;
    h.lapse_and_reap().await?;
    push(h, replacing(h, b"fourth", Replace::ALL), Pushed::Conflict(id)).await?;
    claim(h, id, b"first").await?;
    Ok(())
}

pub(super) async fn push_while_the_job_runs_waits_behind_it(h: &Harness) -> Result<()> {
    let first = h.push_one(debounced(h, b"first").delay(Duration::ZERO)).await?;
    let held = claim(h, first, b"first").await?;
    let second = h.push_one(debounced(h, b"second")).await?;
    push(h, debounced(h, b"third"), Pushed::Replaced(second)).await?;
    h.end(held.failed(Duration::ZERO)).await?;
    push(h, debounced(h, b"fourth"), Pushed::Replaced(second)).await?;
    let again = claim(h, first, b"first").await?;
    h.end(again.completed()).await?;
    h.advance(MINUTE);
    claim(h, second, b"fourth").await?;
    Ok(())
}

pub(super) async fn jobs_of_one_batch_replace_each_other(h: &Harness) -> Result<()> {
    let jobs = [debounced(h, b"first"), debounced(h, b"second"), debounced(h, b"third").delay(Duration::ZERO)];
    let id = jobs[0].id();
    let other = h.job().delay(HOUR);
    let [first, second, third] = jobs;
    let pushed = h.push([first, other, second, third]).await?;
    assert_eq!(pushed, [Pushed::Stored, Pushed::Stored, Pushed::Replaced(id), Pushed::Replaced(id)]);
    claim(h, id, b"third").await?;
    Ok(())
}

pub(super) async fn latest_of_a_batch_replaces_a_job_that_waits(h: &Harness) -> Result<()> {
    let id = h.push_one(debounced(h, b"first")).await?;
    let plain = h.job().unique(KEY);
    let pushed = h.push([debounced(h, b"second"), plain, debounced(h, b"third").delay(Duration::ZERO)]).await?;
    assert_eq!(pushed, [Pushed::Replaced(id), Pushed::Conflict(id), Pushed::Replaced(id)]);
    claim(h, id, b"third").await?;
    Ok(())
}

pub(super) async fn repeated_batch_does_not_replace_again(h: &Harness) -> Result<()> {
    let id = h.push_one(debounced(h, b"first")).await?;
    let second = batch([debounced(h, b"second")]);
    assert_eq!(h.backend.push(&second).await?, [Pushed::Replaced(id)]);
    push(h, debounced(h, b"third").delay(Duration::ZERO), Pushed::Replaced(id)).await?;
    assert_eq!(h.backend.push(&second).await?, [Pushed::Replaced(id)]);
    claim(h, id, b"third").await?;
    assert_eq!(h.backend.push(&second).await?, [Pushed::Replaced(id)]);
    assert_eq!(h.worker().claim(5).await?.len(), 0, "nothing else was stored");
    Ok(())
}

pub(super) async fn many_pushes_at_the_same_time_leave_one_job(h: &Harness) -> Result<()> {
    let mut handles = vec![h.backend.clone(), h.another_handle().await?];
    handles.extend_from_within(..);
    handles.extend_from_within(..);
    let pushes: Vec<_> = handles
        .into_iter()
        .map(|backend| {
            let batch = batch([h.job(), debounced(h, b"any").delay(Duration::ZERO)]);
            async move { Ok((batch.jobs[1].spec.id, backend.push(&batch).await?[1])) }
        })
        .collect();
    let answers = together(pushes).await?;
    let winners: Vec<_> = answers.iter().filter(|(_, pushed)| *pushed == Pushed::Stored).collect();
    let [(winner, _)] = winners[..] else { panic!("one push wins: {answers:?}") };
    assert!(
        answers.iter().all(|(id, pushed)| id == winner || *pushed == Pushed::Replaced(*winner)),
        "the others replaced {winner}: {answers:?}"
    );
    assert_eq!(h.worker().claim(100).await?.len(), answers.len() + 1);
    Ok(())
}

pub(super) async fn pushes_and_claims_at_the_same_time_lose_no_push(h: &Harness) -> Result<()> {
    const ROUNDS: usize = 25;
    let (pushes, claims) = (h.another_handle().await?, h.worker_elsewhere().await?);
    let jobs: Vec<_> = (0..ROUNDS).map(|_| batch([debounced(h, b"any").delay(Duration::ZERO)])).collect();
    let push = async move {
        let mut stored = Vec::new();
        for push in jobs {
            match pushes.push(&push).await?[0] {
                Pushed::Stored => stored.push(push.jobs[0].spec.id),
                Pushed::Replaced(id) => assert_eq!(stored.last(), Some(&id), "the job that waits is replaced"),
                other => panic!("neither stored nor replaced: {other:?}"),
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
    Ok(())
}

pub(super) async fn job_of_another_task_is_not_replaced(h: &Harness) -> Result<()> {
    let other = h.other_queue("other");
    let id = h.push_one(replacing(h, b"first", Replace::ALL)).await?;
    push(h, replacing(h, b"second", Replace::ALL).task(&other), Pushed::Conflict(id)).await?;
    claim(h, id, b"first").await?;
    Ok(())
}

pub(super) async fn replaced_job_stays_in_its_queue(h: &Harness) -> Result<()> {
    let id = h.push_one(replacing(h, b"first", Replace::ALL)).await?;
    push(h, replacing(h, b"second", Replace::ALL).queue(&h.other_queue("other")), Pushed::Replaced(id)).await?;
    claim(h, id, b"second").await?;
    Ok(())
}

pub(super) async fn expiry_moves_with_the_due_time(h: &Harness) -> Result<()> {
    let id = h.push_one(debounced(h, b"first").expires(2 * MINUTE)).await?;
    push(h, debounced(h, b"second").delay(3 * MINUTE).expires(5 * MINUTE), Pushed::Replaced(id)).await?;
    h.advance(3 * MINUTE);
    assert_eq!(h.reap().await?.expired, 0);
    push(h, debounced(h, b"third").expires(2 * MINUTE), Pushed::Replaced(id)).await?;
    h.advance(2 * MINUTE);
    assert_eq!(h.worker().claim(5).await?.len(), 0);
    assert_eq!(h.reap().await?.expired, 1);
    Ok(())
}

pub(super) async fn key_of_a_replaced_job_is_kept_and_freed_as_before(h: &Harness) -> Result<()> {
    let window = || replacing(h, b"any", Replace::ALL).until(Until::Elapsed(HOUR)).delay(2 * HOUR);
    let id = h.push_one(window()).await?;
    h.advance(59 * MINUTE);
    push(h, window(), Pushed::Replaced(id)).await?;
    h.advance(MINUTE);
    let next = h.push_one(window()).await?;
    h.cancel(&[next]).await?;
    push(h, window(), Pushed::Conflict(next)).await?;
    Ok(())
}

pub(super) async fn cancelled_job_is_not_replaced(h: &Harness) -> Result<()> {
    let id = h.push_one(debounced(h, b"first")).await?;
    h.cancel(&[id]).await?;
    let next = h.push_one(debounced(h, b"second").delay(Duration::ZERO)).await?;
    claim(h, next, b"second").await?;
    Ok(())
}

pub(super) async fn job_that_is_retried_by_hand_is_replaced_only_if_it_never_ran(h: &Harness) -> Result<()> {
    let first = h.push_one(replacing(h, b"first", Replace::ALL)).await?;
    h.cancel(&[first]).await?;
    assert_eq!(change(h, Change::Retry, first).await?, 1);
    push(h, replacing(h, b"second", Replace::ALL), Pushed::Replaced(first)).await?;
    let held = claim(h, first, b"second").await?;
    h.end(held.discarded()).await?;
    assert_eq!(change(h, Change::Retry, first).await?, 1);
    push(h, replacing(h, b"third", Replace::ALL), Pushed::Conflict(first)).await?;
    claim(h, first, b"second").await?;
    Ok(())
}

pub(super) async fn job_of_a_paused_queue_is_replaced(h: &Harness) -> Result<()> {
    h.inspect()?.pause(&h.queue(), true).await?;
    let id = h.push_one(debounced(h, b"first")).await?;
    push(h, debounced(h, b"second").delay(Duration::ZERO), Pushed::Replaced(id)).await?;
    assert_eq!(h.worker().claim(5).await?.len(), 0);
    h.inspect()?.pause(&h.queue(), false).await?;
    claim(h, id, b"second").await?;
    Ok(())
}

pub(super) async fn replaced_job_is_shown_as_it_is_now(h: &Harness) -> Result<()> {
    let id = h.push_one(debounced(h, b"first").tag("first")).await?;
    let before = h.find(id).await?;
    push(h, debounced(h, b"second").tag("second"), Pushed::Replaced(id)).await?;
    let (before, after) = (before.map(|job| job.pushed), h.find(id).await?);
    let shown = after.map(|job| (Some(job.pushed), job.spec.payload.bytes.to_vec(), job.spec.tags.clone()));
    assert_eq!(shown, Some((before, b"second".to_vec(), vec!["second".to_owned()])));
    Ok(())
}

pub(super) async fn job_is_replaced_when_the_caller_commits(h: &Harness) -> Result<()> {
    let id = h.push_one(debounced(h, b"first")).await?;
    for (payload, commits) in [(&b"second"[..], false), (b"third", true)] {
        let mut transaction = h.begin().await?;
        let job = debounced(h, payload).delay(Duration::ZERO);
        let pushed = h.transaction()?.push_in(transaction.connection(), &batch([job])).await?;
        assert_eq!(pushed, [Pushed::Replaced(id)]);
        if commits {
            transaction.commit().await?;
        } else {
            transaction.rollback().await?;
            assert_eq!(h.worker().claim(5).await?.len(), 0, "it is as it was");
        }
    }
    claim(h, id, b"third").await?;
    Ok(())
}
