//! Rescuing jobs from workers that are gone.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::backend::{Reap, Reaped};
use crate::error::Result;
use crate::job::{Ending, FailureKind};
use crate::testing::conformance::push::elaborate;
use crate::testing::{Harness, Held, LEASE, together};

const MINUTE: Duration = Duration::from_mins(1);

pub(super) async fn nothing_to_do_is_said(h: &Harness) -> Result<()> {
    h.push([h.job(), h.job().delay(MINUTE)]).await?;
    assert_eq!(h.reap().await?, Reaped::default());
    Ok(())
}

pub(super) async fn lapsed_lease_is_back_within_one_reap(h: &Harness) -> Result<()> {
    let lost = h.push_and_claim(h.job()).await?;
    assert_eq!(h.lapse_and_reap().await?, Reaped { returned: 1, ..Reaped::default() });
    let held = h.worker().claim_one().await?;
    assert_eq!((held.id(), held.job.attempt), (lost.id(), 2), "it can be claimed at once, by anyone");
    Ok(())
}

pub(super) async fn live_lease_is_left_alone(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.advance(LEASE / 3 * 2);
    assert_eq!(h.reap().await?, Reaped::default());
    h.end(held.completed()).await
}

pub(super) async fn repeated_reap_does_nothing(h: &Harness) -> Result<()> {
    h.push_and_claim(h.job()).await?;
    assert_eq!(h.lapse_and_reap().await?.returned, 1);
    assert_eq!(h.reap().await?, Reaped::default());
    assert_eq!(h.worker().claim_one().await?.job.crashes, 1);
    Ok(())
}

pub(super) async fn lease_that_lapsed_first_goes_first(h: &Harness) -> Result<()> {
    let mut lost = Vec::new();
    for _ in 0..4 {
        lost.push(h.push_and_claim(h.job()).await?.id());
        h.advance(Duration::from_secs(5));
    }
    h.advance(LEASE);
    for id in lost {
        assert_eq!(h.reap_up_to(1).await?.returned, 1);
        assert_eq!(h.worker().claim_one().await?.id(), id);
    }
    Ok(())
}

pub(super) async fn calm_ends_no_later_than_the_first_lease(h: &Harness) -> Result<()> {
    const EARLIER: Duration = Duration::from_secs(5);
    let rest = LEASE.saturating_sub(EARLIER);
    h.push_and_claim(h.job()).await?;
    h.advance(EARLIER);
    h.push_and_claim(h.job()).await?;
    let calm = h.calm().await?;
    assert!(calm <= rest, "{calm:?}");
    h.advance(rest);
    assert_eq!(h.calm().await?, Duration::ZERO, "the round that rescues says nothing about the next");
    Ok(())
}

pub(super) async fn bounded_reap_says_that_there_is_more(h: &Harness) -> Result<()> {
    for _ in 0..5 {
        h.push_and_claim(h.job()).await?;
    }
    h.advance(LEASE);
    assert_eq!(h.reap_up_to(3).await?, Reaped { returned: 3, more: true, ..Reaped::default() });
    assert_eq!(h.reap_up_to(3).await?, Reaped { returned: 2, ..Reaped::default() });
    Ok(())
}

pub(super) async fn bounded_reap_takes_a_part_of_one_claim(h: &Harness) -> Result<()> {
    h.push(h.jobs(10)).await?;
    h.worker().claim(10).await?;
    h.advance(LEASE);
    assert_eq!(h.reap_up_to(4).await?, Reaped { returned: 4, more: true, ..Reaped::default() });
    assert_eq!(h.worker().claim(20).await?.len(), 4, "the other six still have their lease");
    assert_eq!(h.reap_up_to(100).await?.returned, 6);
    Ok(())
}

pub(super) async fn orphan_is_found_behind_many_long_jobs(h: &Harness) -> Result<()> {
    let (long, gone) = (h.worker(), h.worker());
    h.push(h.jobs(800)).await?;
    let held = long.claim(800).await?;
    let orphan = h.push_one(h.job()).await?;
    gone.claim_one().await?;
    h.advance(LEASE / 2);
    long.extend(&held).await?;
    h.advance(LEASE / 2);
    assert_eq!(h.reap_up_to(10).await?.returned, 1);
    assert_eq!(h.worker().claim_one().await?.id(), orphan);
    Ok(())
}

pub(super) async fn crash_is_counted_and_remembered(h: &Harness) -> Result<()> {
    let lost = h.push_and_claim(h.job()).await?;
    h.lapse_and_reap().await?;
    let held = h.worker().claim_one().await?;
    assert_eq!(held.job.crashes, 1);
    let [attempt] = &held.job.history[..] else { panic!("one attempt is remembered: {:?}", held.job.history) };
    assert_eq!((attempt.number, attempt.ending), (1, Ending::Crashed));
    assert_eq!(attempt.worker, Some(lost.lease.worker));
    assert_eq!(attempt.failure.as_ref().map(|failure| failure.kind), Some(FailureKind::Crash));
    Ok(())
}

pub(super) async fn poison_is_discarded_after_its_last_crash(h: &Harness) -> Result<()> {
    h.push_one(h.job().attempts(50)).await?;
    for _ in 0..2 {
        h.worker().claim_one().await?;
        assert_eq!(h.lapse_and_reap().await?, Reaped { returned: 1, ..Reaped::default() });
    }
    h.worker().claim_one().await?;
    assert_eq!(h.lapse_and_reap().await?, Reaped { discarded: 1, ..Reaped::default() });
    assert_eq!(h.worker().claim(1).await?.len(), 0);
    Ok(())
}

pub(super) async fn crash_of_the_last_attempt_is_final(h: &Harness) -> Result<()> {
    h.push_and_claim(h.job().attempts(1)).await?;
    assert_eq!(h.lapse_and_reap().await?, Reaped { discarded: 1, ..Reaped::default() });
    assert_eq!(h.worker().claim(1).await?.len(), 0);
    Ok(())
}

pub(super) async fn crashes_survive_a_retry(h: &Harness) -> Result<()> {
    h.push_and_claim(h.job()).await?;
    h.lapse_and_reap().await?;
    let held = h.worker().claim_one().await?;
    h.end(held.failed(Duration::ZERO)).await?;
    assert_eq!(h.worker().claim_one().await?.job.crashes, 1);
    Ok(())
}

pub(super) async fn reapers_at_the_same_time_count_each_crash_once(h: &Harness) -> Result<()> {
    h.push(h.jobs(100)).await?;
    h.worker().claim(100).await?;
    h.advance(LEASE);
    let mut handles = vec![h.backend.clone(), h.another_handle().await?];
    handles.extend_from_within(..);
    handles.extend_from_within(..);
    let reaps =
        handles.into_iter().map(|backend| async move { backend.reap(&Reap { limit: 100, max_crashes: 3 }).await });
    let returned: usize = together(reaps).await?.iter().map(|reaped| reaped.returned).sum();
    let again = h.worker().claim(200).await?;
    assert_eq!((returned, again.len()), (100, 100));
    assert!(again.iter().all(|held| held.job.crashes == 1 && held.job.attempt == 2), "one crash each");
    Ok(())
}

pub(super) async fn everything_survives_a_rescue(h: &Harness) -> Result<()> {
    let lost = h.push_and_claim(elaborate(h).expires(MINUTE * 90)).await?;
    h.lapse_and_reap().await?;
    let held = h.worker().claim_one().await?;
    assert_eq!(held.job.spec, lost.job.spec);
    assert_eq!((held.job.pushed, held.job.expires), (lost.job.pushed, lost.job.expires));
    assert_eq!(held.job.attempt_limit, lost.job.attempt_limit);
    Ok(())
}

pub(super) async fn waiting_jobs_that_expired_are_ended(h: &Harness) -> Result<()> {
    h.push([h.job().expires(MINUTE), h.job().delay(MINUTE * 9).expires(MINUTE), h.job()]).await?;
    h.advance(MINUTE);
    assert_eq!(h.reap().await?, Reaped { expired: 2, ..Reaped::default() });
    assert_eq!(h.reap().await?, Reaped::default(), "once is enough");
    assert_eq!(h.worker().claim(5).await?.len(), 1);
    Ok(())
}

pub(super) async fn lapsed_leases_go_before_expired_jobs(h: &Harness) -> Result<()> {
    h.push(h.jobs(2)).await?;
    h.worker().claim(2).await?;
    h.push(h.jobs(3).into_iter().map(|job| job.expires(Duration::from_secs(1)))).await?;
    h.advance(MINUTE);
    assert_eq!(h.reap_up_to(2).await?, Reaped { returned: 2, more: true, ..Reaped::default() });
    assert_eq!(h.reap_up_to(4).await?, Reaped { expired: 3, ..Reaped::default() });
    Ok(())
}

pub(super) async fn jobs_of_all_queues_are_rescued(h: &Harness) -> Result<()> {
    let queues = ["a", "b", "c"].map(|suffix| h.other_queue(suffix));
    h.push(queues.iter().map(|queue| h.job().queue(queue))).await?;
    let asked: Vec<_> = queues.iter().map(|queue| (queue, 1)).collect();
    let lost: BTreeSet<_> = h.worker().claim_from(&asked, 3).await?.iter().map(Held::id).collect();
    assert_eq!(h.lapse_and_reap().await?.returned, 3);
    let again: BTreeSet<_> = h.worker().claim_from(&asked, 3).await?.iter().map(Held::id).collect();
    assert_eq!(again, lost);
    Ok(())
}
