//! How long after the death of its worker a job runs elsewhere.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use taskwright::context::States;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use taskwright::{Client, Shutdown};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdout, Command};
use tokio::sync::mpsc;

use crate::Scale;
use crate::report::{Measure, Report};
use crate::sites::{Kind, Store, worker};
use crate::tasks::{Fate, Hold, Started};

/// What a child prints when it is where the parent wants it.
pub(crate) const HOLDING: &str = "ready";

/// The lease of both workers, where nobody says another one.
const LEASE: Duration = Duration::from_secs(3);

/// How long after the end of the lease a job runs elsewhere, at the latest.
const PROMISED: Duration = Duration::from_secs(2);

pub(crate) async fn measure(report: &mut Report, scale: &Scale, store: &Store) -> Result<()> {
    if store.kind != Kind::SqliteFull {
        return Ok(());
    }
    let mut taken = Vec::with_capacity(scale.kills);
    for _ in 0..scale.kills.max(1) {
        taken.push(kill_and_wait(store, LEASE).await?);
    }
    taken.sort_unstable();
    report.duration(store.name(), Measure::RescueMedian, taken[taken.len() / 2]);
    report.duration(store.name(), Measure::RescueSlowest, taken[taken.len() - 1]);
    Ok(())
}

/// Rescue alone, with this lease: so many workers are killed at once, each in a place of its own.
pub(crate) async fn check(scale: &Scale, stores: &[Store], lease: Duration) -> Result<()> {
    for store in stores {
        let mut taken = try_join_all((0..scale.kills.max(1)).map(|_| kill_and_wait(store, lease))).await?;
        taken.sort_unstable();
        let (median, slowest) = (taken[taken.len() / 2], taken[taken.len() - 1]);
        println!(
            "{}: kill -9 to rerun, lease {lease:?}, {} kills: median {:.2} s, slowest {:.2} s",
            store.name(),
            taken.len(),
            median.as_secs_f64(),
            slowest.as_secs_f64()
        );
        ensure!(slowest <= lease + PROMISED, "{slowest:?} is more than the lease and {PROMISED:?}");
    }
    Ok(())
}

/// Lets a child claim a job, kills it, and waits until the job starts in this process.
async fn kill_and_wait(store: &Store, lease: Duration) -> Result<Duration> {
    let site = store.site()?;
    let client = site.client().await?;
    client.dispatch(Hold::new()).await?;
    let child = Child::start(&["holder", &site.url, &lease.as_millis().to_string()]).await?;

    let (sender, mut started) = mpsc::unbounded_channel();
    let shutdown = Shutdown::new();
    let running = tokio::spawn(holder(&client, Fate::Rescue(Started(sender)), lease)?.run(shutdown.clone()));
    // Time for the rescuer's first heartbeats, so that only the death is measured.
    tokio::time::sleep(lease).await;

    let killed = Instant::now();
    child.kill().await?;
    let rescued = started.recv().await.context("the rescuer has stopped")?.duration_since(killed);
    shutdown.stop();
    running.await??;
    client.close().await?;
    Ok(rescued)
}

/// The child's part: claims the job and never ends it.
pub(crate) async fn hold(url: &str, lease: Duration) -> Result<()> {
    let client = Client::connect(url).await?;
    holder(&client, Fate::Hold, lease)?.run(Shutdown::new()).await?;
    Ok(())
}

fn holder(client: &Client, fate: Fate, lease: Duration) -> Result<taskwright::Worker> {
    let mut states = States::default();
    states.insert(fate);
    let options = WorkerOptions { lease, ..WorkerOptions::default() };
    worker(client, Registry::new().with::<Hold>()?, states, options)
}

/// This program in another process; it ends with this one.
pub(crate) struct Child {
    process: tokio::process::Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts a role, and waits until it says that it is ready.
    pub(crate) async fn start(role: &[&str]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(role).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn()?;
        let output = process.stdout.take().context("the child has no output")?;
        let mut child = Self { process, output: BufReader::new(output).lines() };
        let line = child.line().await?;
        ensure!(line == HOLDING, "{role:?} said {line:?}");
        Ok(child)
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id().unwrap_or_default()
    }

    /// Closes what the child reads, which tells it to begin.
    pub(crate) fn begin(&mut self) {
        self.process.stdin.take();
    }

    /// What the child says next.
    pub(crate) async fn line(&mut self) -> Result<String> {
        self.output.next_line().await?.context("the child has ended")
    }

    /// `kill -9`, without a chance to say goodbye.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }
}
