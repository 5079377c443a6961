//! What a worker costs that has nothing to do.

use std::time::Duration;

use anyhow::Result;
use taskwright::Shutdown;
use taskwright::context::States;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;

use crate::machine;
use crate::report::{Measure, Report};
use crate::rescue::{Child, HOLDING};
use crate::servers::Counters;
use crate::sites::{Kind, Store, worker};
use crate::tasks::Noop;

/// How long a worker is watched.
const WATCHED: Duration = Duration::from_secs(30);

/// How long it may take to come to rest before that. A connection to Postgres tells up to ten seconds later what it did,
/// so that its start would count.
const SETTLING: Duration = Duration::from_secs(12);

pub(crate) async fn measure(report: &mut Report, store: &Store) -> Result<()> {
    if store.kind == Kind::SqliteNormal {
        // It writes as seldom as with `full`.
        return Ok(());
    }
    let site = store.site()?;
    let child = Child::start(&["idle", &site.url]).await?;
    tokio::time::sleep(SETTLING).await;
    let counters = Counters::read(store).await?;
    let before = machine::processor_time([child.id()]);
    tokio::time::sleep(WATCHED).await;
    let spent = machine::processor_time([child.id()]).saturating_sub(before);
    let with_worker = counters.since(store).await?;
    let connections = store.port().map(|port| machine::connections(child.id(), port));
    child.kill().await?;
    let without_worker = if with_worker.is_some() { Counters::of_a_while(store, WATCHED).await? } else { None };
    let seconds = WATCHED.as_secs_f64();
    if spent > Duration::ZERO {
        report.add(store.name(), Measure::IdleProcessor, spent.as_secs_f64() / seconds);
    }
    // The server has work of its own, such as cleaning up after what was measured before.
    if let (Some(with), Some(without)) = (with_worker, without_worker) {
        let measure = if store.kind == Kind::Postgres { Measure::IdleTransactions } else { Measure::IdleStatements };
        report.add(store.name(), measure, (with - without).max(0.0) / seconds);
    }
    if let Some(connections) = connections.filter(|connections| *connections > 0) {
        report.add(store.name(), Measure::Connections, crate::engine::count(connections));
    }
    Ok(())
}

/// The child's part: a worker with the default options.
pub(crate) async fn idle(url: &str) -> Result<()> {
    let client = taskwright::Client::connect(url).await?;
    let worker = worker(&client, Registry::new().with::<Noop>()?, States::default(), WorkerOptions::default())?;
    println!("{HOLDING}");
    worker.run(Shutdown::new()).await?;
    Ok(())
}
