//! Handing out jobs: each once, in order, within limits.

use std::collections::HashSet;
use std::time::Duration;

use crate::error::Result;
use crate::job::JobId;
use crate::testing::{Draft, Harness, Held, together};

const MINUTE: Duration = Duration::from_mins(1);

fn ids(held: &[Held]) -> Vec<JobId> {
    held.iter().map(Held::id).collect()
}

pub(super) async fn claimed_job_is_not_handed_out_again(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.advance(MINUTE * 10);
    assert_eq!(h.worker().claim(10).await?.len(), 0, "job {} has a lease, lapsed but not reaped", held.id());
    Ok(())
}

pub(super) async fn two_workers_never_share_a_job(h: &Harness) -> Result<()> {
    h.push(h.jobs(10)).await?;
    let (ada, bob) = (h.worker(), h.worker_elsewhere().await?);
    let mut seen = HashSet::new();
    for _ in 0..5 {
        for held in [ada.claim_one().await?, bob.claim_one().await?] {
            assert!(seen.insert(held.id()), "job {} was handed out twice", held.id());
        }
    }
    Ok(())
}

pub(super) async fn many_workers_at_once_get_each_job_once(h: &Harness) -> Result<()> {
    for _ in 0..4 {
        h.push(h.jobs(500)).await?;
    }
    let mut workers = Vec::new();
    for _ in 0..2 {
        let elsewhere = h.worker_elsewhere().await?;
        workers.extend((0..4).map(|_| elsewhere.clone()));
    }
    // Their handles stay open meanwhile, since a lease need not outlive the handle that gave it.
    let drains = workers.clone().into_iter().map(|worker| async move {
        let mut mine = Vec::new();
        loop {
            let held = worker.claim(37).await?;
            if held.is_empty() {
                return Ok(mine);
            }
            mine.extend(ids(&held));
        }
    });
    let all: Vec<JobId> = together(drains).await?.into_iter().flatten().collect();
    let different: HashSet<_> = all.iter().collect();
    assert_eq!((all.len(), different.len()), (2_000, 2_000));
    Ok(())
}

pub(super) async fn lease_names_its_job_attempt_and_worker(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job()).await?;
    let worker = h.worker();
    let held = worker.claim_one().await?;
    assert_eq!((held.lease.job, held.lease.attempt, held.lease.worker), (id, 1, worker.id));
    assert_eq!((held.job.id(), held.job.worker), (id, Some(worker.id)));
    Ok(())
}

pub(super) async fn each_claim_of_a_job_has_another_token(h: &Harness) -> Result<()> {
    h.push_one(h.job()).await?;
    let mut tokens = HashSet::new();
    for round in 0..4 {
        let held = h.worker().claim_one().await?;
        assert!(tokens.insert(held.lease.token), "claim {round} has the token of an earlier one");
        h.end(held.failed(Duration::ZERO)).await?;
    }
    Ok(())
}

pub(super) async fn higher_priority_goes_first(h: &Harness) -> Result<()> {
    let due = h.now().before(MINUTE);
    let [low, high, middle] = [-5, 5, 0].map(|priority| h.job().priority(priority).at(due));
    let expected = [high.id(), middle.id(), low.id()];
    h.push([low, high, middle]).await?;
    assert_eq!(ids(&h.worker().claim(3).await?), expected);
    Ok(())
}

pub(super) async fn lowest_and_highest_priority_are_kept_apart(h: &Harness) -> Result<()> {
    let due = h.now().before(MINUTE);
    let jobs = [i16::MIN, -1, 0, i16::MAX].map(|priority| h.job().priority(priority).at(due));
    let mut expected: Vec<_> = jobs.iter().map(Draft::id).collect();
    expected.reverse();
    h.push(jobs).await?;
    let held = h.worker().claim(4).await?;
    assert_eq!(ids(&held), expected);
    assert_eq!((held[0].job.spec.priority, held[3].job.spec.priority), (i16::MAX, i16::MIN));
    Ok(())
}

pub(super) async fn earlier_due_goes_first_among_equals(h: &Harness) -> Result<()> {
    let now = h.now();
    let [late, early] = [1, 2].map(|ago| h.job().at(now.before(MINUTE * ago)));
    let expected = [early.id(), late.id()];
    h.push([late, early]).await?;
    assert_eq!(ids(&h.worker().claim(2).await?), expected);
    Ok(())
}

pub(super) async fn lower_id_goes_first_at_the_same_moment(h: &Harness) -> Result<()> {
    let due = h.now().before(MINUTE);
    let mut jobs: Vec<_> = h.jobs(20).into_iter().map(|job| job.at(due)).collect();
    let expected: Vec<_> = jobs.iter().map(Draft::id).collect();
    jobs.reverse();
    h.push(jobs).await?;
    assert_eq!(ids(&h.worker().claim(20).await?), expected);
    Ok(())
}

pub(super) async fn order_holds_from_one_claim_to_the_next(h: &Harness) -> Result<()> {
    let due = h.now().before(MINUTE);
    let mut expected = Vec::new();
    for priority in 0..10 {
        let job = h.job().priority(priority).at(due);
        expected.insert(0, job.id());
        h.push([job]).await?;
    }
    let mut order = Vec::new();
    for _ in 0..5 {
        order.extend(ids(&h.worker().claim(2).await?));
    }
    assert_eq!(order, expected);
    Ok(())
}

pub(super) async fn queues_are_served_in_the_order_given(h: &Harness) -> Result<()> {
    let [first, second] = ["a", "b"].map(|suffix| h.other_queue(suffix));
    h.push([h.job().queue(&second).priority(9), h.job().queue(&first)]).await?;
    let held = h.worker().claim_from(&[(&first, 5), (&second, 5)], 10).await?;
    let queues: Vec<_> = held.into_iter().map(|held| held.job.spec.queue.clone()).collect();
    assert_eq!(queues, [first, second]);
    Ok(())
}

pub(super) async fn each_queue_keeps_its_own_limit(h: &Harness) -> Result<()> {
    let [first, second] = ["a", "b"].map(|suffix| h.other_queue(suffix));
    h.push((0..10).map(|n| h.job().queue(if n % 2 == 0 { &first } else { &second }))).await?;
    let held = h.worker().claim_from(&[(&first, 2), (&second, 3)], 10).await?;
    let count = |queue| held.iter().filter(|held| held.job.spec.queue == queue).count();
    assert_eq!((held.len(), count(first), count(second)), (5, 2, 3));
    Ok(())
}

pub(super) async fn limit_of_the_claim_holds_for_all_queues_together(h: &Harness) -> Result<()> {
    let [first, second] = ["a", "b"].map(|suffix| h.other_queue(suffix));
    h.push((0..10).map(|n| h.job().queue(if n % 2 == 0 { &first } else { &second }))).await?;
    let held = h.worker().claim_from(&[(&first, 4), (&second, 4)], 6).await?;
    let count = |queue| held.iter().filter(|held| held.job.spec.queue == queue).count();
    assert_eq!((held.len(), count(first), count(second)), (6, 4, 2));
    Ok(())
}

pub(super) async fn many_queues_are_served_by_one_claim(h: &Harness) -> Result<()> {
    let queues: Vec<_> = (0..40).map(|n| h.other_queue(&n.to_string())).collect();
    h.push(queues.iter().rev().map(|queue| h.job().queue(queue))).await?;
    let asked: Vec<_> = queues.iter().map(|queue| (queue, 2)).collect();
    let held = h.worker().claim_from(&asked, 100).await?;
    assert!(held.iter().map(|held| &held.job.spec.queue).eq(&queues), "one of each, in the order asked");
    Ok(())
}

pub(super) async fn queue_that_is_not_asked_for_is_left_alone(h: &Harness) -> Result<()> {
    h.push_one(h.job()).await?;
    assert_eq!(h.worker().claim_from(&[(&h.other_queue("empty"), 5)], 5).await?.len(), 0);
    assert_eq!(h.worker().claim(5).await?.len(), 1);
    Ok(())
}

pub(super) async fn claim_of_nothing_gets_nothing(h: &Harness) -> Result<()> {
    h.push_one(h.job()).await?;
    assert_eq!(h.worker().claim(0).await?.len(), 0, "a limit of none");
    assert_eq!(h.worker().claim_from(&[], 5).await?.len(), 0, "no queues");
    assert_eq!(h.worker().claim_from(&[(&h.queue(), 5)], 0).await?.len(), 0, "a limit of none for all queues");
    assert_eq!(h.worker().claim(5).await?.len(), 1);
    Ok(())
}

pub(super) async fn large_backlog_due_at_one_moment_is_all_handed_out(h: &Harness) -> Result<()> {
    let due = h.now().after(MINUTE);
    for _ in 0..10 {
        h.push(h.jobs(500).into_iter().map(|job| job.at(due))).await?;
    }
    assert_eq!(h.worker().claim(1_000).await?.len(), 0, "none is due yet");
    h.advance(MINUTE * 2);
    let mut seen = HashSet::new();
    loop {
        let held = h.worker().claim(700).await?;
        if held.is_empty() {
            break;
        }
        seen.extend(ids(&held));
    }
    assert_eq!(seen.len(), 5_000);
    Ok(())
}

pub(super) async fn expired_job_is_never_handed_out(h: &Harness) -> Result<()> {
    let short = h.job().expires(MINUTE);
    let long = h.job().expires(MINUTE * 10);
    let expected = [long.id()];
    h.push([short, long]).await?;
    h.advance(MINUTE);
    assert_eq!(ids(&h.worker().claim(5).await?), expected);
    Ok(())
}

pub(super) async fn job_that_expires_before_it_is_due_never_runs(h: &Harness) -> Result<()> {
    h.push_one(h.job().delay(MINUTE * 2).expires(MINUTE)).await?;
    h.advance(MINUTE * 3);
    assert_eq!(h.worker().claim(5).await?.len(), 0);
    Ok(())
}

pub(super) async fn job_claimed_before_its_expiry_may_end_after_it(h: &Harness) -> Result<()> {
    let worker = h.worker();
    h.push_one(h.job().expires(Duration::from_secs(10))).await?;
    let held = worker.claim_one().await?;
    h.advance(Duration::from_secs(20));
    assert_eq!(worker.extend([&held]).await?.lost, []);
    h.end(held.completed()).await
}

pub(super) async fn expired_backlog_does_not_hide_what_can_run(h: &Harness) -> Result<()> {
    h.push((0..300).map(|_| h.job().priority(9).expires(MINUTE))).await?;
    let id = h.push_one(h.job()).await?;
    h.advance(MINUTE);
    assert_eq!(ids(&h.worker().claim(10).await?), [id]);
    Ok(())
}

pub(super) async fn next_due_is_never_too_late(h: &Harness) -> Result<()> {
    let worker = h.worker();
    assert_eq!(worker.next_due().await?, None, "an empty queue has no next job");
    h.push([h.job().delay(MINUTE * 30), h.job().delay(MINUTE * 20)]).await?;
    if let Some(wait) = worker.next_due().await? {
        assert!(wait <= MINUTE * 20, "{wait:?} is after the next job is due");
        h.advance(wait);
        assert!(wait < MINUTE * 19 || worker.claim(1).await?.len() == 1, "the job is due when the hint says so");
    }
    Ok(())
}
