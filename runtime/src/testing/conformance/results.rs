//! Outcomes that can be asked for.

use std::time::Duration;

use crate::backend::{Fetched, KeptOutcome};
use crate::codec::{Codec, Payload};
use crate::error::Result;
use crate::job::{FailureKind, JobId, Outcome, State};
use crate::policy::state::Return;
use crate::testing::harness::failure;
use crate::testing::{Harness, LEASE};
use crate::time::Timestamp;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// The outcome of a job that has ended.
async fn outcome(h: &Harness, id: JobId) -> Result<Outcome> {
    match h.fetch(id).await? {
        Fetched::Finished(outcome) => Ok(outcome),
        other => panic!("job {id} has ended, yet what is known of it is {other:?}"),
    }
}

/// Where a job that has not ended stands, and at which attempt.
async fn standing(h: &Harness, id: JobId) -> Result<(State, u32)> {
    match h.fetch(id).await? {
        Fetched::Pending { state, attempt, .. } => Ok((state, attempt)),
        other => panic!("job {id} has not ended, yet what is known of it is {other:?}"),
    }
}

pub(super) async fn job_that_was_never_pushed_is_absent(h: &Harness) -> Result<()> {
    assert_eq!(h.fetch(JobId::new()).await?, Fetched::Absent);
    assert_eq!(h.results()?.fetch(&[]).await?, []);
    Ok(())
}

pub(super) async fn unfinished_job_is_pending(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job().keep(HOUR)).await?;
    standing(h, id).await?;
    let held = h.worker().claim_one().await?;
    standing(h, id).await?;
    h.end(held.failed(Duration::ZERO)).await?;
    standing(h, id).await?;
    let held = h.worker().claim_one().await?;
    h.end(held.given_back(Return::Stopping, Duration::ZERO)).await?;
    standing(h, id).await?;
    h.end(h.worker().claim_one().await?.returned(b"1")).await?;
    assert_eq!(outcome(h, id).await?.attempt, 2);
    Ok(())
}

pub(super) async fn unfinished_job_tells_where_it_stands(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job().delay(MINUTE)).await?;
    assert_eq!(standing(h, id).await?, (State::Scheduled, 0));
    h.advance(MINUTE);
    assert_eq!(standing(h, id).await?, (State::Available, 0));
    let held = h.worker().claim_one().await?;
    assert_eq!(standing(h, id).await?, (State::Running, 1));
    h.end(held.failed(MINUTE)).await?;
    assert_eq!(standing(h, id).await?, (State::Retryable, 1));
    Ok(())
}

pub(super) async fn completed_job_tells_its_result(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().keep(HOUR)).await?;
    h.end(held.returned(br#"{"mail":7}"#)).await?;
    let outcome = outcome(h, held.id()).await?;
    assert_eq!((outcome.id, outcome.state, outcome.attempt), (held.id(), State::Completed, 1));
    assert_eq!(outcome.result, Some(Payload { codec: Codec::Json, bytes: br#"{"mail":7}"#[..].into() }));
    assert_eq!(outcome.failure, None);
    Ok(())
}

pub(super) async fn result_of_every_byte_survives(h: &Harness) -> Result<()> {
    let bytes: Vec<u8> = (0..=255).collect();
    let held = h.push_and_claim(h.job().keep(HOUR)).await?;
    h.end(held.returned(&bytes)).await?;
    let result = outcome(h, held.id()).await?.result;
    assert_eq!(result.map(|result| result.bytes.to_vec()), Some(bytes));
    Ok(())
}

pub(super) async fn largest_result_survives(h: &Harness) -> Result<()> {
    let size = h.backend.info().limits.max_payload.min(1 << 20);
    let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
    let held = h.push_and_claim(h.job().keep(HOUR)).await?;
    h.end(held.returned(&bytes)).await?;
    let result = outcome(h, held.id()).await?.result;
    assert!(result.is_some_and(|result| result.bytes == bytes), "{size} bytes came out changed");
    Ok(())
}

pub(super) async fn completed_job_without_a_result_is_known_while_it_is_kept(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().keep(HOUR)).await?;
    h.end(held.completed()).await?;
    let outcome = outcome(h, held.id()).await?;
    assert_eq!((outcome.state, outcome.result), (State::Completed, None));
    Ok(())
}

pub(super) async fn completed_job_that_nobody_keeps_is_absent(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.end(held.returned(b"1")).await?;
    assert_eq!(h.fetch(held.id()).await?, Fetched::Absent);
    Ok(())
}

pub(super) async fn result_expires_with_its_time_to_live(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().keep(HOUR)).await?;
    h.advance(MINUTE * 5);
    h.end(held.returned(b"1")).await?;
    h.advance(MINUTE * 59);
    outcome(h, held.id()).await?;
    h.advance(MINUTE);
    assert_eq!(h.fetch(held.id()).await?, Fetched::Expired);
    Ok(())
}

pub(super) async fn discarded_job_tells_its_failure_with_causes(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.end(held.discarded()).await?;
    h.advance(HOUR);
    let outcome = outcome(h, held.id()).await?;
    assert_eq!((outcome.state, outcome.failure), (State::Discarded, Some(failure())));
    Ok(())
}

pub(super) async fn job_out_of_attempts_tells_its_last_failure(h: &Harness) -> Result<()> {
    h.push_one(h.job().attempts(2)).await?;
    let first = h.worker().claim_one().await?;
    h.end(first.failed(Duration::ZERO)).await?;
    let last = h.worker().claim_one().await?;
    h.end(last.failed(Duration::ZERO)).await?;
    let outcome = outcome(h, last.id()).await?;
    assert_eq!((outcome.state, outcome.attempt, outcome.failure), (State::Discarded, 2, Some(failure())));
    Ok(())
}

pub(super) async fn cancelled_job_tells_why(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job()).await?;
    h.cancel(&[id]).await?;
    let outcome = outcome(h, id).await?;
    assert_eq!((outcome.state, outcome.attempt), (State::Cancelled, 0));
    let failure = outcome.failure.map(|failure| (failure.kind, failure.message));
    assert_eq!(failure, Some((FailureKind::Cancelled, "not needed".to_owned())));
    Ok(())
}

pub(super) async fn called_off_job_that_fails_ends_as_cancelled(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.cancel(&[held.id()]).await?;
    h.end(held.failed(MINUTE)).await?;
    let outcome = outcome(h, held.id()).await?;
    assert_eq!((outcome.state, outcome.attempt), (State::Cancelled, 1));
    assert_eq!(outcome.failure.map(|failure| failure.message), Some("not needed".to_owned()));
    Ok(())
}

pub(super) async fn expired_job_says_so(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job().expires(MINUTE)).await?;
    h.advance(MINUTE);
    h.reap().await?;
    assert_eq!(outcome(h, id).await?.state, State::Expired);
    Ok(())
}

pub(super) async fn expired_job_that_was_looked_for_says_so(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job().expires(MINUTE)).await?;
    h.advance(MINUTE);
    assert_eq!(h.worker().claim(1).await?.len(), 0);
    h.reap().await?;
    assert_eq!(outcome(h, id).await?.state, State::Expired);
    Ok(())
}

pub(super) async fn poison_tells_of_its_crashes(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job().attempts(1)).await?;
    h.lapse_and_reap().await?;
    let outcome = outcome(h, held.id()).await?;
    assert_eq!((outcome.state, outcome.attempt), (State::Discarded, 1));
    assert_eq!(outcome.failure.map(|failure| failure.kind), Some(FailureKind::Crash));
    Ok(())
}

pub(super) async fn stale_result_does_not_replace_a_newer_one(h: &Harness) -> Result<()> {
    let stale = h.push_and_claim(h.job().keep(HOUR)).await?;
    h.lapse_and_reap().await?;
    let live = h.worker().claim_one().await?;
    h.end(live.returned(b"new")).await?;
    h.settle_one(stale.returned(b"old")).await?;
    let outcome = outcome(h, live.id()).await?;
    assert_eq!(outcome.result.map(|result| result.bytes.to_vec()), Some(b"new".to_vec()));
    assert_eq!(outcome.attempt, 2);
    Ok(())
}

pub(super) async fn answers_come_in_the_order_asked(h: &Harness) -> Result<()> {
    h.push([h.job().keep(HOUR).priority(2), h.job().priority(1)]).await?;
    let held = h.worker().claim(2).await?;
    h.end(held[0].completed()).await?;
    let fetched = h.results()?.fetch(&[held[1].id(), JobId::new(), held[0].id()]).await?;
    assert!(
        matches!(&fetched[..], [Fetched::Pending { .. }, Fetched::Absent, Fetched::Finished(outcome)]
            if outcome.id == held[0].id()),
        "running, absent, finished: {fetched:?}"
    );
    Ok(())
}

/// The outcome of a job that another store carries, to be kept for an hour.
fn foreign(h: &Harness, id: JobId, attempt: u32, result: &[u8]) -> KeptOutcome {
    let outcome = Outcome {
        id,
        state: State::Completed,
        attempt,
        finished: Timestamp::from_micros(h.now().as_micros()),
        result: Some(Payload { codec: Codec::Json, bytes: result.to_vec().into() }),
        failure: None,
    };
    KeptOutcome { outcome, ttl: HOUR }
}

pub(super) async fn outcome_of_a_job_of_another_store_is_kept(h: &Harness) -> Result<()> {
    let kept = foreign(h, JobId::new(), 1, b"1");
    h.results()?.keep(&[]).await?;
    h.results()?.keep(std::slice::from_ref(&kept)).await?;
    assert_eq!(outcome(h, kept.outcome.id).await?, kept.outcome);
    h.advance(HOUR);
    assert_eq!(h.fetch(kept.outcome.id).await?, Fetched::Expired);
    Ok(())
}

pub(super) async fn failure_of_a_job_of_another_store_is_kept(h: &Harness) -> Result<()> {
    let mut kept = foreign(h, JobId::new(), 3, b"");
    kept.outcome = Outcome { state: State::Discarded, result: None, failure: Some(failure()), ..kept.outcome };
    h.results()?.keep(std::slice::from_ref(&kept)).await?;
    assert_eq!(outcome(h, kept.outcome.id).await?, kept.outcome);
    Ok(())
}

pub(super) async fn later_attempt_of_a_kept_outcome_stands(h: &Harness) -> Result<()> {
    let id = JobId::new();
    let [first, second] = [(1, b"old"), (2, b"new")].map(|(attempt, result)| foreign(h, id, attempt, result));
    for kept in [&first, &second, &first] {
        h.results()?.keep(std::slice::from_ref(kept)).await?;
    }
    assert_eq!(outcome(h, id).await?, second.outcome);
    h.results()?.keep(&[second.clone(), first]).await?;
    assert_eq!(outcome(h, id).await?, second.outcome, "within one batch as well");
    Ok(())
}

pub(super) async fn repeated_keep_changes_nothing(h: &Harness) -> Result<()> {
    let kept = foreign(h, JobId::new(), 1, b"1");
    for _ in 0..2 {
        h.results()?.keep(std::slice::from_ref(&kept)).await?;
    }
    assert_eq!(outcome(h, kept.outcome.id).await?, kept.outcome);
    Ok(())
}

/// That a job of another store is at this attempt, to be known for an hour.
fn mark(h: &Harness, id: JobId, attempt: u32) -> KeptOutcome {
    let kept = foreign(h, id, attempt, b"");
    let outcome = Outcome { state: State::Retryable, result: None, ..kept.outcome };
    KeptOutcome { outcome, ..kept }
}

pub(super) async fn mark_of_a_pending_job_gives_way_to_its_outcome(h: &Harness) -> Result<()> {
    let id = JobId::new();
    for attempt in 0..2 {
        h.results()?.keep(&[mark(h, id, attempt)]).await?;
        assert_eq!(standing(h, id).await?, (State::Retryable, attempt));
    }
    let kept = foreign(h, id, 2, b"1");
    h.results()?.keep(&[kept.clone(), mark(h, id, 1)]).await?;
    assert_eq!(outcome(h, id).await?, kept.outcome);
    Ok(())
}

pub(super) async fn mark_is_absent_once_its_time_has_ended(h: &Harness) -> Result<()> {
    let (kept, marked) = (foreign(h, JobId::new(), 1, b"1"), mark(h, JobId::new(), 0));
    h.results()?.keep(&[kept.clone(), marked.clone()]).await?;
    h.advance(HOUR);
    assert_eq!(h.fetch(marked.outcome.id).await?, Fetched::Absent);
    assert_eq!(h.fetch(kept.outcome.id).await?, Fetched::Expired);
    Ok(())
}

pub(super) async fn kept_failure_is_absent_once_its_time_has_ended(h: &Harness) -> Result<()> {
    let mut kept = foreign(h, JobId::new(), 1, b"");
    kept.outcome = Outcome { state: State::Discarded, result: None, failure: Some(failure()), ..kept.outcome };
    h.results()?.keep(std::slice::from_ref(&kept)).await?;
    h.advance(HOUR);
    assert_eq!(h.fetch(kept.outcome.id).await?, Fetched::Absent, "only what was completed can be expired");
    Ok(())
}

pub(super) async fn running_job_with_a_lapsed_lease_is_still_pending(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.advance(LEASE * 2);
    assert_eq!(standing(h, held.id()).await?, (State::Running, 1));
    h.reap().await?;
    assert_eq!(standing(h, held.id()).await?, (State::Available, 1));
    Ok(())
}
