//! How long after its dispatch a job starts: when its worker is idle, and when it has half of what it can do.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use taskwright::context::States;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use taskwright::{Client, Dispatch, Shutdown};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::Scale;
use crate::report::{Measure, Report};
use crate::sites::{Store, worker};
use crate::tasks::{Noop, Stamp, Started};

/// How long nothing is dispatched before a sample.
const PAUSE: Duration = Duration::from_millis(5);

/// How often the load is dispatched.
const BEAT: Duration = Duration::from_millis(10);

/// How long the load lasts before the first sample.
const WARMING: Duration = Duration::from_millis(500);

pub(crate) async fn measure(report: &mut Report, scale: &Scale, store: &Store) -> Result<()> {
    let idle = take(store, scale.samples, 0).await?;
    let measures = [Measure::StartMedian, Measure::StartMostly, Measure::StartSlow];
    tell(report, store, measures, idle);
    let loaded = take(store, scale.samples, half_load(report, store)).await?;
    let measures = [Measure::LoadedMedian, Measure::LoadedMostly, Measure::LoadedSlow];
    tell(report, store, measures, loaded);
    Ok(())
}

/// Half of the jobs a second that go in and through, when this process does both.
fn half_load(report: &Report, store: &Store) -> usize {
    let rate = |measure| report.value_of(store.name(), measure).unwrap_or(1.0);
    let both = 1.0 / (1.0 / rate(Measure::DispatchMany) + 1.0 / rate(Measure::Drain));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is a small positive number")]
    let half = (both / 2.0) as usize;
    half
}

fn tell(report: &mut Report, store: &Store, measures: [Measure; 3], mut taken: Vec<Duration>) {
    taken.sort_unstable();
    for (measure, percent) in measures.into_iter().zip([50, 95, 99]) {
        report.duration(store.name(), measure, taken[taken.len() * percent / 100]);
    }
}

/// Takes samples while so many other jobs a second are dispatched to the same worker.
async fn take(store: &Store, samples: usize, load: usize) -> Result<Vec<Duration>> {
    let site = store.site()?;
    let client = site.client().await?;
    let (sender, mut started) = mpsc::unbounded_channel();
    let mut states = States::default();
    states.insert(Started(sender));
    let shutdown = Shutdown::new();
    let tasks = Registry::new().with::<Stamp>()?.with::<Noop>()?;
    let running = tokio::spawn(worker(&client, tasks, states, WorkerOptions::default())?.run(shutdown.clone()));
    let loading = (load > 0).then(|| tokio::spawn(keep_busy(client.clone(), load)));
    if load > 0 {
        tokio::time::sleep(WARMING).await;
    }

    let mut taken = Vec::with_capacity(samples);
    for _ in 0..samples.max(1) {
        tokio::time::sleep(PAUSE).await;
        let dispatched = Instant::now();
        client.dispatch(Stamp::new()).await?;
        taken.push(started.recv().await.context("the worker has stopped")?.duration_since(dispatched));
    }
    if let Some(loading) = loading {
        loading.abort();
        // What it had dispatched by then makes no difference any more; that it failed does.
        match loading.await {
            Ok(failed) => failed?,
            Err(aborted) => debug_assert!(aborted.is_cancelled()),
        }
    }
    shutdown.stop();
    running.await??;
    client.close().await?;
    Ok(taken)
}

/// Dispatches so many jobs a second, spread evenly, until it is dropped or fails.
pub(crate) async fn keep_busy(client: Client, load: usize) -> Result<()> {
    let mut beats = tokio::time::interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let began = Instant::now();
    let mut dispatched = 0;
    loop {
        beats.tick().await;
        let wanted = load * usize::try_from(began.elapsed().as_millis())? / 1_000;
        client.dispatch_many((dispatched..wanted).map(|_| Dispatch::new(Noop::sample()))).await?;
        dispatched = wanted;
    }
}
