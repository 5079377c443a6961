//! What it costs that somebody leaves a transaction open: what was deleted since it began can't be cleaned away.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sqlx::{Connection, Executor, PgConnection};
use taskwright::context::States;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use taskwright::{Client, Shutdown};
use tokio::sync::mpsc;

use crate::latency::keep_busy;
use crate::sites::{Kind, Store, worker};
use crate::tasks::{Noop, Stamp, Started};

/// How long it goes well before, and how long things may take to be as they were after.
const AROUND: Duration = Duration::from_secs(20);

/// How often it is told how things are.
const STEP: Duration = Duration::from_secs(5);

/// How many times latency is taken each time.
const SAMPLES: usize = 20;

/// Prints the backlog, and how long a job takes to start, before, while and after a transaction stands open.
pub(crate) async fn measure(stores: &[Store], time: Duration, load: usize) -> Result<()> {
    let store = stores.iter().find(|store| store.kind == Kind::Postgres).context("it is about postgres alone")?;
    let site = store.site()?;
    let client = site.client().await?;
    let (sender, mut started) = mpsc::unbounded_channel();
    let mut states = States::default();
    states.insert(Started(sender));
    let shutdown = Shutdown::new();
    let tasks = Registry::new().with::<Stamp>()?.with::<Noop>()?;
    let running = tokio::spawn(worker(&client, tasks, states, WorkerOptions::default())?.run(shutdown.clone()));
    let loading = tokio::spawn(keep_busy(site.client().await?, load));
    let mut somebody = PgConnection::connect(store.server()?).await?;
    println!("{load} jobs a second; each line: median and slowest start of {SAMPLES} jobs, jobs that wait or run");
    watch("before", AROUND, &client, &mut started).await?;
    // The snapshot of its first statement is what it sees until it ends.
    somebody.execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
    somebody.execute("SELECT count(*) FROM pg_class").await?;
    watch("open", time, &client, &mut started).await?;
    somebody.execute("COMMIT").await?;
    watch("after", AROUND, &client, &mut started).await?;
    loading.abort();
    shutdown.stop();
    running.await??;
    Ok(())
}

async fn watch(
    when: &str,
    time: Duration,
    client: &Client,
    started: &mut mpsc::UnboundedReceiver<Instant>,
) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < time {
        tokio::time::sleep(STEP).await;
        let mut taken = Vec::with_capacity(SAMPLES);
        for _ in 0..SAMPLES {
            let dispatched = Instant::now();
            client.dispatch(Stamp::new()).await?;
            taken.push(started.recv().await.context("the worker has stopped")?.duration_since(dispatched));
        }
        taken.sort_unstable();
        let queues = client.backend().inspect().context("it can be inspected")?.queues().await?;
        let backlog: u64 = queues.iter().flat_map(|queue| queue.counts.values()).sum();
        println!(
            "{when:>6} {:>4} s: {:>8.2} ms {:>8.2} ms {backlog:>8} jobs",
            began.elapsed().as_secs(),
            taken[SAMPLES / 2].as_secs_f64() * 1e3,
            taken[SAMPLES - 1].as_secs_f64() * 1e3,
        );
    }
    Ok(())
}
