//! Nothing early, and nothing lost when the clock jumps.

use std::time::Duration;

use crate::backend::Pushed;
use crate::error::Result;
use crate::testing::Harness;

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const CENTURY: Duration = Duration::from_hours(100 * 365 * 24);

pub(super) async fn delayed_job_is_not_early(h: &Harness) -> Result<()> {
    h.push_one(h.job().delay(HOUR)).await?;
    assert_eq!(h.worker().claim(1).await?.len(), 0, "at once");
    h.advance(MINUTE * 59);
    assert_eq!(h.worker().claim(1).await?.len(), 0, "a minute early");
    Ok(())
}

pub(super) async fn delayed_job_is_handed_out_at_its_moment(h: &Harness) -> Result<()> {
    h.push_one(h.job().delay(HOUR)).await?;
    h.advance(HOUR);
    h.worker().claim_one().await?;
    Ok(())
}

pub(super) async fn job_for_a_moment_is_handed_out_then(h: &Harness) -> Result<()> {
    h.push_one(h.job().at(h.now().after(HOUR * 2))).await?;
    h.advance(HOUR);
    assert_eq!(h.worker().claim(1).await?.len(), 0, "an hour early");
    h.advance(HOUR + MINUTE);
    h.worker().claim_one().await?;
    Ok(())
}

pub(super) async fn job_for_a_moment_that_has_passed_is_due_at_once(h: &Harness) -> Result<()> {
    h.push_one(h.job().at(h.now().before(HOUR))).await?;
    h.worker().claim_one().await?;
    Ok(())
}

pub(super) async fn delay_counts_from_the_push(h: &Harness) -> Result<()> {
    let first = h.push_one(h.job().delay(HOUR)).await?;
    h.advance(HOUR / 2);
    let second = h.push_one(h.job().delay(HOUR)).await?;
    h.advance(HOUR / 2);
    assert_eq!(h.worker().claim_one().await?.id(), first);
    assert_eq!(h.worker().claim(1).await?.len(), 0, "job {second} has half an hour left");
    h.advance(HOUR / 2);
    assert_eq!(h.worker().claim_one().await?.id(), second);
    Ok(())
}

pub(super) async fn longest_delay_is_kept(h: &Harness) -> Result<()> {
    let delay = h.backend.info().limits.max_delay.unwrap_or(CENTURY).min(CENTURY);
    h.push_one(h.job().delay(delay)).await?;
    h.advance(delay / 100 * 99);
    assert_eq!(h.worker().claim(1).await?.len(), 0, "one part in a hundred is left");
    h.advance(delay / 100);
    h.worker().claim_one().await?;
    Ok(())
}

pub(super) async fn delay_without_end_is_stored(h: &Harness) -> Result<()> {
    if h.backend.info().limits.max_delay.is_none() {
        assert_eq!(h.push([h.job().delay(Duration::MAX)]).await?, [Pushed::Stored]);
    }
    h.advance(CENTURY);
    assert_eq!(h.worker().claim(1).await?.len(), 0);
    Ok(())
}

pub(super) async fn clock_that_is_turned_back_makes_nothing_early(h: &Harness) -> Result<()> {
    h.push_one(h.job().delay(HOUR)).await?;
    h.clock.turn_back(HOUR * 5);
    h.advance(HOUR * 5);
    assert_eq!(h.worker().claim(1).await?.len(), 0, "an hour is left, as before");
    h.advance(HOUR);
    h.worker().claim_one().await?;
    Ok(())
}

pub(super) async fn clock_that_is_turned_back_takes_no_lease_away(h: &Harness) -> Result<()> {
    let held = h.push_and_claim(h.job()).await?;
    h.clock.turn_back(HOUR);
    assert_eq!(h.reap().await?.returned, 0);
    assert_eq!(h.worker().claim(1).await?.len(), 0);
    h.end(held.completed()).await
}
