//! What notifications cost those who dispatch, 64 at once, each on connections of its own.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use taskwright::Client;

use crate::Scale;
use crate::engine::per_second;
use crate::sites::{Kind, Store};
use crate::tasks::Noop;

const WRITERS: usize = 64;

/// How many jobs each dispatches before it counts: a connection is opened, and its statements prepared, when it is needed.
const WARMING: usize = 50;

/// How far apart the two may be.
const APART: f64 = 0.1;

/// Prints jobs a second with and without, in turns, and fails where notifications cost more than a tenth.
pub(crate) async fn measure(scale: &Scale, stores: &[Store]) -> Result<()> {
    let store = stores.iter().find(|store| store.kind == Kind::Postgres).context("it is about postgres alone")?;
    let site = store.site()?;
    let (with, without) = (site.url.clone(), format!("{}&notify=off", site.url));
    // Somebody has to listen, or the server has nobody to tell.
    let ear = site.client().await?;
    let mut listener = ear.backend().wake().context("it can wake")?.listen().await?;
    let hearing = tokio::spawn(async move { while listener.next().await.is_ok() {} });
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..scale.rounds * 2 {
        // Each kind goes first as often as second.
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for kind in order {
            rates[kind].push(write(if kind == 0 { &with } else { &without }, scale.single).await?);
        }
    }
    hearing.abort();
    let [with, without] = rates.map(|mut rates| {
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    let cost = 1.0 - with / without;
    println!(
        "{WRITERS} writers: {with:.0} jobs/s with notifications, {without:.0} without; they cost {:.1} %",
        cost * 1e2
    );
    ensure!(cost < APART, "that is more than a tenth");
    Ok(())
}

/// Every writer dispatches so many jobs, one after the other.
async fn write(url: &str, jobs: usize) -> Result<f64> {
    let clients = try_join_all((0..WRITERS).map(|_| Client::connect(url))).await?;
    dispatch(&clients, WARMING).await?;
    let each = jobs.div_ceil(WRITERS);
    let began = Instant::now();
    dispatch(&clients, each).await?;
    let rate = per_second(each * WRITERS, began);
    try_join_all(clients.iter().map(Client::close)).await?;
    Ok(rate)
}

async fn dispatch(clients: &[Client], each: usize) -> Result<()> {
    let dispatch = async |client: &Client| {
        for _ in 0..each {
            client.dispatch(Noop::sample()).await?;
        }
        anyhow::Ok(())
    };
    try_join_all(clients.iter().map(dispatch)).await?;
    Ok(())
}
