//! A server that is farther away.

use std::time::Duration;

use anyhow::Result;
use taskwright::{Client, Dispatch};
use taskwright_tests::chaos::place::detour;
use taskwright_tests::chaos::proxy::Weather;

use super::Growing;
use super::figures::{Axis, Figures, Way};
use crate::Scale;
use crate::engine::{drain, many, one_at_a_time};
use crate::sites::Store;

/// The rates of every way in and through at each distance, all of them through the same proxy.
pub(super) async fn measure(figures: &mut Figures, scale: &Scale, growing: &Growing, store: &Store) -> Result<()> {
    for _ in 0..scale.rounds {
        for late in &growing.late {
            let site = store.site()?;
            let Some((network, url)) = detour(&site.url).await? else { return Ok(()) };
            network.change(Weather::Late(Duration::from_millis(u64::try_from(*late)?)));
            let client = Client::connect(&url).await?;
            let mut add = |way, rate| figures.add(store.name(), Axis::Late, *late, way, rate);
            add(Way::One, one_at_a_time(&client, scale.single.div_ceil(4)).await?);
            drain(&client, scale).await?;
            add(Way::Bulk, many(&client, growing.first, Dispatch::new).await?);
            add(Way::Drain, drain(&client, scale).await?);
            client.close().await?;
        }
    }
    Ok(())
}
