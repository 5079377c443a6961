//! Processes that drain one backlog together.

use std::io::Read;
use std::time::Instant;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;
use taskwright::context::States;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;
use taskwright::{Client, Dispatch, Shutdown};

use super::figures::{Axis, Figures, Way};
use crate::Scale;
use crate::engine::{many, per_second};
use crate::rescue::{Child, HOLDING};
use crate::sites::{Store, worker};
use crate::tasks::Noop;

/// How many times the usual number of jobs, so that a process's beginning and farewell do not count for much: the first
/// statements of its connections take some hundredths of a second of Postgres.
const LONGER: usize = 10;

/// The rate of so many processes together, round by round.
pub(super) async fn measure(figures: &mut Figures, scale: &Scale, counts: &[usize], store: &Store) -> Result<()> {
    let jobs = LONGER * store.kind.jobs(scale.jobs);
    for _ in 0..scale.rounds {
        for count in counts {
            let site = store.site()?;
            let client = site.client().await?;
            many(&client, jobs, Dispatch::new).await?;
            let rate = drain(&site.url, *count, jobs).await?;
            figures.add(store.name(), Axis::Workers, *count, Way::Drain, rate);
            client.close().await?;
        }
    }
    Ok(())
}

/// From the moment when all are ready to that when the last one finds nothing more.
async fn drain(url: &str, processes: usize, jobs: usize) -> Result<f64> {
    let role = ["drainer", url];
    let mut children = try_join_all((0..processes).map(|_| Child::start(&role))).await?;
    let began = Instant::now();
    children.iter_mut().for_each(Child::begin);
    let lines = try_join_all(children.iter_mut().map(Child::line)).await?;
    let rate = per_second(jobs, began);
    let done = lines.iter().map(|line| line.parse::<usize>()).sum::<Result<usize, _>>()?;
    ensure!(done == jobs, "{done} jobs of {jobs} completed");
    Ok(rate)
}

/// The child's part: connects, waits until it may begin, and says how many jobs it completed.
pub(crate) async fn drainer(url: &str) -> Result<()> {
    let client = Client::connect(url).await?;
    let options = WorkerOptions { drain: true, ..WorkerOptions::default() };
    let worker = worker(&client, Registry::new().with::<Noop>()?, States::default(), options)?;
    println!("{HOLDING}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    println!("{}", worker.run(Shutdown::new()).await?.completed);
    Ok(())
}
