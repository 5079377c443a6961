//! What a store without some ability must still do: be without it wholly, and work all the same.

use std::time::Duration;

use super::Ability;
use crate::error::Result;
use crate::testing::Harness;

/// Checks that the ability is absent, and that a job which would have used it lives its life.
pub(super) async fn check(h: &Harness, ability: Ability) -> Result<()> {
    if let Some(offered) = ability.is_offered(&*h.backend) {
        assert!(!offered, "the setup says that there is no {ability}");
    }
    let job = h.job().keep(Duration::from_mins(1));
    if ability == Ability::Reopen {
        h.push_one(job).await?;
        let other = h.open_again().await?;
        h.backend.close().await?;
        return other.close().await;
    }
    let held = h.push_and_claim(job).await?;
    h.end(held.returned(b"1")).await?;
    assert_eq!(h.worker().claim(1).await?.len(), 0, "it has ended");
    Ok(())
}
