//! Priorities that age: what waits long enough goes before what is more important and has just come.

use std::time::Duration;

use crate::error::Result;
use crate::job::JobId;
use crate::policy::order::Turn;
use crate::testing::{Draft, Harness, Held, TestWorker};

const MINUTE: Duration = Duration::from_mins(1);
/// What one level of priority is worth in these cases.
const LEVEL: Duration = Duration::from_mins(5);

fn ids(held: &[Held]) -> Vec<JobId> {
    held.iter().map(Held::id).collect()
}

/// A job of this priority that has been due for so many minutes.
fn waiting(h: &Harness, priority: i16, minutes: u32) -> Draft {
    h.job().priority(priority).at(h.now().before(MINUTE * minutes))
}

/// Pushes these jobs, which are in the order in which they go, the last first.
async fn push_backwards(h: &Harness, jobs: Vec<Draft>) -> Result<Vec<JobId>> {
    let order = jobs.iter().map(Draft::id).collect();
    h.push(jobs.into_iter().rev()).await?;
    Ok(order)
}

pub(super) async fn each_level_is_worth_its_time_of_waiting(h: &Harness) -> Result<()> {
    let jobs = [(0, 12), (2, 1), (1, 5), (0, 9), (1, 3), (0, 7)].map(|(priority, ago)| waiting(h, priority, ago));
    let order = push_backwards(h, jobs.into()).await?;
    assert_eq!(ids(&h.worker().aging(LEVEL).claim(10).await?), order);
    Ok(())
}

pub(super) async fn order_of_aged_jobs_holds_from_one_claim_to_the_next(h: &Harness) -> Result<()> {
    let jobs = [(0, 12), (2, 1), (1, 5), (0, 9), (1, 3), (0, 7)].map(|(priority, ago)| waiting(h, priority, ago));
    let order = push_backwards(h, jobs.into()).await?;
    let (worker, mut got) = (h.worker().aging(LEVEL), Vec::new());
    for most in [1, 2, 2, 1] {
        got.extend(ids(&worker.claim(most).await?));
    }
    assert_eq!(got, order);
    Ok(())
}

pub(super) async fn negative_priorities_age_too(h: &Harness) -> Result<()> {
    let jobs = [(-1, 11), (i16::MAX, 0), (-3, 20), (-1, 9), (i16::MIN, 0)];
    let worth = |(priority, ago): &(i16, u32)| i64::from(*priority) * 5 + i64::from(*ago);
    let mut sorted = jobs;
    sorted.sort_by_key(|job| std::cmp::Reverse(worth(job)));
    let jobs = sorted.map(|(priority, ago)| waiting(h, priority, ago));
    let order = push_backwards(h, jobs.into()).await?;
    assert_eq!(ids(&h.worker().aging(LEVEL).claim(10).await?), order);
    Ok(())
}

pub(super) async fn lower_id_goes_first_where_priority_and_waiting_weigh_the_same(h: &Harness) -> Result<()> {
    let now = h.now();
    // Different priorities in no order, each with the due time that makes up for it.
    let wait = |priority: i16| LEVEL * u32::from((9 - priority).unsigned_abs());
    let jobs = [4, 9, 0, 7, 2, 7, 4].map(|priority| h.job().priority(priority).at(now.before(wait(priority))));
    let order = push_backwards(h, jobs.into()).await?;
    assert_eq!(ids(&h.worker().aging(LEVEL).claim(10).await?), order);
    Ok(())
}

pub(super) async fn without_aging_the_higher_priority_goes_first_however_long_others_wait(h: &Harness) -> Result<()> {
    let order = push_backwards(h, vec![waiting(h, 1, 0), waiting(h, 0, 60 * 24 * 30)]).await?;
    let worker = h.worker();
    assert_eq!(ids(&worker.claim(1).await?), order[..1]);
    assert_eq!(ids(&worker.aging(LEVEL).claim(1).await?), order[1..]);
    Ok(())
}

pub(super) async fn queues_keep_their_order_however_long_a_job_waits(h: &Harness) -> Result<()> {
    let [first, second] = ["a", "b"].map(|suffix| h.other_queue(suffix));
    let jobs = [(&first, 0, 40), (&first, 5, 1), (&second, 9, 500), (&second, 0, 500)];
    let jobs = jobs.map(|(queue, priority, ago)| waiting(h, priority, ago).queue(queue));
    let order = push_backwards(h, jobs.into()).await?;
    let worker = h.worker().aging(LEVEL);
    let held = worker.claim_from(&[(&first, 5), (&second, 5)], 3).await?;
    assert_eq!(ids(&held), order[..3]);
    assert_eq!(ids(&worker.claim_from(&[(&first, 5), (&second, 5)], 3).await?), order[3..]);
    Ok(())
}

pub(super) async fn each_queue_keeps_its_own_limit_among_aged_jobs(h: &Harness) -> Result<()> {
    let [first, second] = ["a", "b"].map(|suffix| h.other_queue(suffix));
    let jobs = [(&first, 0, 40), (&first, 5, 1), (&second, 0, 40), (&second, 5, 1), (&second, 4, 1)];
    let jobs = jobs.map(|(queue, priority, ago)| waiting(h, priority, ago).queue(queue));
    let order = push_backwards(h, jobs.into()).await?;
    let held = h.worker().aging(LEVEL).claim_from(&[(&first, 1), (&second, 2)], 9).await?;
    assert_eq!(ids(&held), [order[0], order[2], order[3]]);
    Ok(())
}

/// What a saturated stream of important jobs does to one that is not: before each claim of a job comes a new one.
async fn claims_until_the_old_job_comes(h: &Harness, aging: Option<Duration>, most: u32) -> Result<Option<u32>> {
    let old = h.push_one(h.job()).await?;
    h.push((0..3).map(|_| h.job().priority(2))).await?;
    let worker = aging.into_iter().fold(h.worker(), TestWorker::aging);
    for count in 1..=most {
        h.advance(MINUTE);
        h.push_one(h.job().priority(2)).await?;
        let held = worker.claim_one().await?;
        if held.id() == old {
            return Ok(Some(count));
        }
        h.end(held.completed()).await?;
    }
    Ok(None)
}

pub(super) async fn low_priority_does_not_starve_under_a_stream_of_high_ones(h: &Harness) -> Result<()> {
    // Two levels are worth ten minutes: before it go the three that came with it, and one of each of the first nine. On a
    // slow machine they are fewer.
    let came = claims_until_the_old_job_comes(h, Some(LEVEL), 30).await?;
    assert!(came.is_some_and(|count| (11..=13).contains(&count)), "it came with claim {came:?}");
    Ok(())
}

pub(super) async fn strict_priority_starves_what_is_low_as_long_as_high_ones_come(h: &Harness) -> Result<()> {
    assert_eq!(claims_until_the_old_job_comes(h, None, 30).await?, None);
    assert_eq!(h.worker().claim(10).await?.len(), 4, "it is behind the three that are left");
    Ok(())
}

pub(super) async fn aged_claim_leaves_out_what_can_not_run(h: &Harness) -> Result<()> {
    let expired = h.job().priority(1).expires(MINUTE);
    let later = h.job().priority(9).delay(Duration::from_hours(1));
    let [low, high] = [0, 9].map(|priority| h.job().priority(priority));
    let order = [high.id(), low.id()];
    h.push([low, later, expired, high]).await?;
    h.advance(MINUTE * 2);
    assert_eq!(ids(&h.worker().aging(LEVEL).claim(10).await?), order);
    Ok(())
}

pub(super) async fn aged_backlog_is_all_handed_out_by_claims_of_any_size(h: &Harness) -> Result<()> {
    let now = h.now();
    let mut jobs = Vec::new();
    for n in 0..400_u32 {
        let (priority, due) = (i16::try_from(n % 7).unwrap_or_default(), now.before(MINUTE * (n % 50)));
        let job = h.job().priority(priority).at(due);
        jobs.push((Turn::new(priority, due, Some(LEVEL)), job.id(), job));
    }
    jobs.sort_by_key(|(turn, id, _)| (*turn, *id));
    let order = push_backwards(h, jobs.into_iter().map(|(_, _, job)| job).collect()).await?;
    let (worker, mut got) = (h.worker().aging(LEVEL), Vec::new());
    for most in 1..=30 {
        got.extend(ids(&worker.claim(most).await?));
    }
    assert_eq!(got, order);
    Ok(())
}

pub(super) async fn jobs_of_one_lane_age(h: &Harness) -> Result<()> {
    let jobs = [(0, 12), (2, 1), (1, 5), (0, 9), (1, 3), (0, 7)];
    let jobs = jobs.map(|(priority, ago)| waiting(h, priority, ago).limit("key", "4"));
    let order = push_backwards(h, jobs.into()).await?;
    let worker = h.worker().aging(LEVEL);
    let mut got = Vec::new();
    for most in [1, 2, 2, 9] {
        let held = worker.claim(most).await?;
        got.extend(ids(&held));
        h.settle(held.iter().map(Held::completed)).await?;
    }
    assert_eq!(got, order);
    Ok(())
}
