//! Tasks that a worker does not know: left to others, and in nobody's way.
//!
//! A store that can't [pass over](crate::backend::Info::passes_over) their jobs hands them out like any other.

use std::time::Duration;

use crate::backend::{Change, Claim, Claimed, JobFilter, QueueClaim};
use crate::error::Result;
use crate::job::{JobId, Name, State, WorkerId};
use crate::testing::{Draft, Harness, Held, LEASE};

const HOUR: Duration = Duration::from_hours(1);

/// A task that the workers of these cases do not know.
fn strange(h: &Harness) -> Name {
    h.other_queue("strange")
}

/// A job of that task in the usual queue.
fn strange_job(h: &Harness) -> Draft {
    h.job().task(&strange(h))
}

/// Claims for a worker that knows all tasks but one.
async fn claim(h: &Harness, limit: usize) -> Result<Claimed> {
    let queues = vec![QueueClaim { queue: h.queue(), limit }];
    let unknown = vec![h.other_queue("another"), strange(h)];
    h.backend
        .claim(&Claim { worker: WorkerId::new(), queues, limit, unknown, ttl: LEASE, max_crashes: 3, aging: None })
        .await
}

fn ids(claimed: &Claimed) -> Vec<JobId> {
    claimed.jobs.iter().map(|(lease, _)| lease.job).collect()
}

pub(super) async fn job_of_an_unknown_task_is_left_to_others(h: &Harness) -> Result<()> {
    let strange = h.push_one(strange_job(h).priority(5)).await?;
    let id = h.push_one(h.job()).await?;
    let claimed = claim(h, 5).await?;
    if !h.backend.info().passes_over {
        assert_eq!(ids(&claimed), [strange, id], "it is handed out like any other");
        return Ok(());
    }
    assert_eq!(ids(&claimed), [id]);
    let held = h.worker().claim(5).await?;
    assert_eq!((held.len(), held[0].id(), held[0].job.attempt), (1, strange, 1), "for who knows it");
    Ok(())
}

pub(super) async fn worker_that_knows_none_of_the_jobs_is_told_to_wait(h: &Harness) -> Result<()> {
    if !h.backend.info().passes_over {
        return Ok(());
    }
    h.push((0..20).map(|_| strange_job(h))).await?;
    let mut claimed = claim(h, 5).await?;
    assert_eq!(ids(&claimed), []);
    for _ in 0..3 {
        assert_eq!(claimed.next_due, None, "there is nothing for this worker");
        claimed = claim(h, 5).await?;
    }
    h.push_one(h.job().delay(HOUR)).await?;
    let wait = claim(h, 5).await?.next_due;
    assert!(wait.is_none_or(|wait| !wait.is_zero() && wait <= HOUR), "{wait:?} is the way to a hot loop, or too late");
    assert_eq!(h.worker().claim(50).await?.len(), 20);
    Ok(())
}

pub(super) async fn what_lies_behind_many_unknown_jobs_is_handed_out(h: &Harness) -> Result<()> {
    for _ in 0..10 {
        h.push((0..500).map(|_| strange_job(h).priority(1))).await?;
    }
    let known = h.jobs(10);
    let expected: Vec<_> = known.iter().map(Draft::id).collect();
    h.push(known).await?;
    if !h.backend.info().passes_over {
        assert_eq!(claim(h, 500).await?.jobs.len(), 500, "they are handed out, to be given back");
        return Ok(());
    }
    let mut found = Vec::new();
    for _ in 0..10 {
        let claimed = claim(h, 10).await?;
        found.extend(ids(&claimed));
        if claimed.next_due != Some(Duration::ZERO) {
            break;
        }
    }
    found.sort_unstable();
    assert_eq!(found, expected, "after few claims");
    let claimed = claim(h, 10).await?;
    assert_eq!((ids(&claimed), claimed.next_due), (vec![], None), "and then it may rest");
    let mut others = 0;
    loop {
        let held = h.worker().claim(900).await?;
        if held.is_empty() {
            break;
        }
        others += held.len();
    }
    assert_eq!(others, 5_000);
    Ok(())
}

pub(super) async fn passed_over_jobs_keep_their_turn(h: &Harness) -> Result<()> {
    let due = h.now().before(HOUR);
    let jobs: Vec<_> = (0_i16..12)
        .map(|number| if number % 3 == 0 { h.job() } else { strange_job(h) }.priority(number % 4).at(due))
        .collect();
    let mut expected: Vec<_> = jobs.iter().map(|job| (-job.spec.priority, job.id())).collect();
    expected.sort_unstable();
    h.push(jobs).await?;
    let mine = claim(h, 1).await?;
    expected.retain(|(_, id)| !ids(&mine).contains(id));
    let mut order = Vec::new();
    for _ in 0..6 {
        order.extend(h.worker().claim(2).await?.iter().map(Held::id));
    }
    assert_eq!(order, expected.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
    Ok(())
}

pub(super) async fn job_given_back_as_unknown_is_there_for_others_at_once(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(strange_job(h)).await?;
    h.end(held.given_back(crate::policy::state::Return::UnknownTask, Duration::ZERO)).await?;
    if h.backend.info().passes_over {
        assert_eq!(ids(&claim(h, 5).await?), []);
    }
    assert_eq!(h.worker().claim_one().await?.job.attempt, 1);
    Ok(())
}

pub(super) async fn passed_over_jobs_are_counted_and_can_be_called_off(h: &Harness) -> Result<()> {
    let jobs = [strange_job(h), strange_job(h), strange_job(h), strange_job(h).expires(HOUR)];
    let [called_off, deleted, kept, expiring] = jobs.each_ref().map(Draft::id);
    h.push(jobs).await?;
    assert_eq!(ids(&claim(h, 5).await?), []);
    let queues = h.inspect()?.queues().await?;
    assert_eq!((queues.len(), queues[0].counts.get(&State::Available)), (1, Some(&4)));
    assert!(queues[0].oldest.is_some());
    h.cancel(&[called_off]).await?;
    let filter = JobFilter { ids: vec![deleted], ..JobFilter::default() };
    h.inspect()?.change(&Change::Delete, &filter, 5).await?;
    h.advance(HOUR);
    assert_eq!(h.reap().await?.expired, 1);
    let queues = h.inspect()?.queues().await?;
    assert_eq!(queues[0].counts.get(&State::Available), Some(&1));
    assert_eq!(h.worker().claim(5).await?.iter().map(Held::id).collect::<Vec<_>>(), [kept]);
    let states = [(called_off, Some(State::Cancelled)), (deleted, None), (expiring, Some(State::Expired))];
    for (id, state) in states {
        assert_eq!(h.find(id).await?.map(|job| job.state), state);
    }
    Ok(())
}
