//! How long after its dispatch a job starts, when its worker is idle.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use taskwright::Shutdown;
use taskwright::context::States;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use tokio::sync::mpsc;

use crate::Scale;
use crate::report::{Measure, Report};
use crate::sites::{Kind, Site, worker};
use crate::tasks::{Stamp, Started};

/// How long the worker has nothing to do before each dispatch.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) async fn measure(report: &mut Report, scale: &Scale) -> Result<()> {
    for &kind in &scale.stores {
        let mut taken = take(kind, scale.samples).await?;
        taken.sort_unstable();
        report.duration(kind.name(), Measure::StartMedian, taken[taken.len() / 2]);
        report.duration(kind.name(), Measure::StartSlow, taken[taken.len() * 99 / 100]);
    }
    Ok(())
}

async fn take(kind: Kind, samples: usize) -> Result<Vec<Duration>> {
    let site = Site::new(kind)?;
    let client = site.client().await?;
    let (sender, mut started) = mpsc::unbounded_channel();
    let mut states = States::default();
    states.insert(Started(sender));
    let shutdown = Shutdown::new();
    let worker = worker(&client, Registry::new().with::<Stamp>()?, states, WorkerOptions::default())?;
    let running = tokio::spawn(worker.run(shutdown.clone()));

    let mut taken = Vec::with_capacity(samples);
    for _ in 0..samples.max(1) {
        tokio::time::sleep(PAUSE).await;
        let dispatched = Instant::now();
        client.dispatch(Stamp::new()).await?;
        taken.push(started.recv().await.context("the worker has stopped")?.duration_since(dispatched));
    }
    shutdown.stop();
    running.await??;
    client.close().await?;
    Ok(taken)
}
