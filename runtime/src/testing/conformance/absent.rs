//! What a store without some ability must still do: be without it wholly, and work all the same.

use std::time::Duration;

use super::Ability;
use crate::error::{Error, ErrorKind, Result};
use crate::testing::Harness;

/// Checks that the ability is absent, and that a job which would have used it lives its life.
pub(super) async fn check(h: &Harness, ability: Ability) -> Result<()> {
    if let Some(offered) = ability.is_offered(&*h.backend) {
        assert!(!offered, "the setup says that there is no {ability}");
    }
    match ability {
        Ability::Reopen => return opens_another_store(h).await,
        Ability::Record => refuses_what_needs_a_record(h).await?,
        Ability::Leases => other_handle_does_not_know_a_lease(h).await?,
        Ability::Clock => waits_by_its_own_clock(h).await?,
        Ability::Limiter => refuses_limits(h).await?,
        Ability::Aging => refuses_aging(h).await?,
        Ability::Results
        | Ability::Wake
        | Ability::Leader
        | Ability::Inspect
        | Ability::Ledger
        | Ability::Transaction => {}
    }
    let held = h.push_and_claim(h.job().keep(Duration::from_mins(1))).await?;
    h.end(held.returned(b"1")).await?;
    assert_eq!(h.worker().claim(1).await?.len(), 0, "it has ended");
    Ok(())
}

async fn opens_another_store(h: &Harness) -> Result<()> {
    h.push_one(h.job()).await?;
    let other = h.open_again().await?;
    h.backend.close().await?;
    other.close().await
}

async fn refuses_what_needs_a_record(h: &Harness) -> Result<()> {
    let id = h.push_one(h.job()).await?;
    let unique = h.push([h.job(), h.job().unique("key")]).await.map(drop);
    let cancel = h.cancel(&[id]).await.map(drop);
    for (refused, call) in [(unique, "a unique key"), (cancel, "calling a job off")] {
        let error = refused.err();
        assert_eq!(error.as_ref().map(Error::kind), Some(ErrorKind::Unsupported), "{call} is refused");
        let remedy = error.is_some_and(|error| error.message().contains("second backend"));
        assert!(remedy, "who asks for {call} is told what to do");
    }
    let held = h.worker().claim(10).await?;
    assert_eq!(held.len(), 1, "the job is as it was, and nothing of the refused batch is there");
    h.end(held[0].completed()).await
}

async fn refuses_limits(h: &Harness) -> Result<()> {
    let pushed = h.push([h.job(), h.job().limit("key", "1")]).await;
    let error = pushed.err();
    assert_eq!(error.as_ref().map(Error::kind), Some(ErrorKind::Unsupported), "a limit is refused");
    assert!(error.is_some_and(|error| error.message().contains("keep the jobs in")), "with what to do");
    assert_eq!(h.worker().claim(10).await?.len(), 0, "nothing of the refused batch is there");
    Ok(())
}

async fn refuses_aging(h: &Harness) -> Result<()> {
    h.push_one(h.job()).await?;
    let error = h.worker().aging(Duration::from_mins(1)).claim(1).await.err();
    assert_eq!(error.as_ref().map(Error::kind), Some(ErrorKind::Unsupported), "aging is refused");
    assert!(error.is_some_and(|error| error.message().contains("priority_aging")), "with what to do");
    let held = h.worker().claim_one().await?;
    h.end(held.completed()).await
}

async fn other_handle_does_not_know_a_lease(h: &Harness) -> Result<()> {
    let elsewhere = h.worker_elsewhere().await?;
    let held = h.push_and_claim(h.job()).await?;
    assert_eq!(elsewhere.extend([&held]).await?.lost, [held.lease]);
    h.end(held.completed()).await
}

async fn waits_by_its_own_clock(h: &Harness) -> Result<()> {
    let hour = Duration::from_hours(1);
    h.push_one(h.job().delay(hour)).await?;
    h.advance(hour);
    assert_eq!(h.worker().claim(1).await?.len(), 0, "by the server's clock it is too early");
    Ok(())
}
