//! What this build can do on this machine: `cargo xtask bench`.
//!
//! Everything is measured side by side in one run and told as ratios, since no two machines are alike.

mod codec;
mod engine;
mod floors;
mod growth;
mod idle;
mod latency;
mod limited;
mod machine;
mod page;
mod pinned;
mod plot;
mod raw;
mod report;
mod rescue;
mod servers;
mod sites;
mod tasks;
mod writers;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::report::Report;
use crate::sites::{Kind, Store};

/// Measures throughput, latency, idle cost and rescue.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    #[command(flatten)]
    scale: Scale,
    /// Where the figures go as JSON: `target/bench.json`, or `target/growth.json` of `growth` and `target/limited.json` of
    /// `limited`.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    /// A folder for `numbers.md` and `numbers.svg`: the page of all figures and its plot.
    #[arg(long)]
    page: Option<PathBuf>,
    /// What `bench peers` has written, for that page.
    #[arg(long, default_value = "target/peers.json")]
    peers: PathBuf,
    /// What `bench growth` has written, for that page.
    #[arg(long, default_value = growth::JSON)]
    growth: PathBuf,
    #[command(subcommand)]
    role: Option<Role>,
}

/// How much is measured.
#[derive(clap::Args)]
struct Scale {
    /// Which stores, instead of all or those that matter: names, each server started for it alone with its usual
    /// durability, or URLs. Workers are killed on `sqlite-full`.
    #[arg(long, global = true, value_delimiter = ',')]
    stores: Vec<String>,
    /// How many rounds of throughput; the median counts.
    #[arg(long, global = true, default_value_t = 3)]
    rounds: usize,
    /// How many jobs a round of bulk work has in memory; stores that are slower do a part of them.
    #[arg(long, global = true, default_value_t = 100_000)]
    jobs: usize,
    /// How many jobs are dispatched one at a time: so many that what warms up first does not count for much.
    #[arg(long, global = true, default_value_t = 10_000)]
    single: usize,
    /// How many times latency is taken.
    #[arg(long, default_value_t = 500)]
    samples: usize,
    /// How many jobs workers fetch ahead at the most, instead of the default.
    #[arg(long)]
    prefetch: Option<usize>,
    /// How many workers are killed.
    #[arg(long, default_value_t = 5)]
    kills: usize,
}

/// What this program does other than to measure everything.
#[derive(Subcommand)]
enum Role {
    /// Kills workers on every store that is named, all at once, and fails when a job runs again later than promised.
    Rescue {
        /// The workers' lease.
        #[arg(long, default_value = "30s", value_parser = taskwright::parse_duration)]
        lease: Duration,
    },
    /// Lets a transaction stand open on Postgres at a steady load, and tells what becomes of the backlog.
    Pinned {
        /// How long it stands open.
        #[arg(long, default_value = "2m", value_parser = taskwright::parse_duration)]
        time: Duration,
        /// How many jobs are dispatched a second.
        #[arg(long, default_value_t = 1_000)]
        load: usize,
    },
    /// Measures what a job costs when more of everything is there: jobs, workers, queues, distance.
    Growth(growth::Growing),
    /// Compares a queue with limits that are in the way of nothing with one that has none.
    Limited,
    /// Compares 64 writers on Postgres with and without notifications.
    Writers,
    /// Runs a worker that has nothing to do.
    #[command(hide = true)]
    Idle { url: String },
    /// Runs a worker that takes a job and never ends it.
    #[command(hide = true)]
    Holder { url: String, lease: u64 },
    /// Runs a worker until nothing waits, once it is told to begin.
    #[command(hide = true)]
    Drainer { url: String },
}

/// Everything runs in a task of the runtime, as the handlers of a web server do: what runs beside the runtime, as its
/// first future does, pays for waking a thread at each answer, whatever it waits for.
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tokio::spawn(run(Arguments::parse())).await?
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { scale, json, page, peers, growth, role } = arguments;
    let every = || stores(&scale, &Kind::ALL);
    match role {
        Some(Role::Idle { url }) => idle::idle(&url).await,
        Some(Role::Holder { url, lease }) => rescue::hold(&url, Duration::from_millis(lease)).await,
        Some(Role::Rescue { lease }) => rescue::check(&scale, &every()?, lease).await,
        Some(Role::Pinned { time, load }) => pinned::measure(&every()?, time, load).await,
        Some(Role::Limited) => {
            let stores = stores(&scale, &Kind::LIMITED)?;
            limited::measure(&scale, &stores, &json.unwrap_or_else(|| limited::JSON.into())).await
        }
        Some(Role::Writers) => writers::measure(&scale, &every()?).await,
        Some(Role::Drainer { url }) => growth::drainer(&url).await,
        Some(Role::Growth(growing)) => {
            let stores = stores(&scale, &growth::STORES)?;
            growth::measure(&scale, &growing, &stores, &json.unwrap_or_else(|| growth::JSON.into())).await
        }
        None => {
            let report = measure(&scale, &every()?).await?;
            report.publish(&json.unwrap_or_else(|| "target/bench.json".into()))?;
            page.map_or(Ok(()), |folder| page::write(&report, &folder, &peers, &growth))
        }
    }
}

/// Those that are asked for, or else these, and can be had.
fn stores(scale: &Scale, usual: &[Kind]) -> anyhow::Result<Vec<Store>> {
    let usual = usual.iter().map(|kind| kind.name());
    let asked = scale.stores.iter().map(String::as_str);
    let names: Vec<_> = if scale.stores.is_empty() { usual.collect() } else { asked.collect() };
    Ok(names.into_iter().map(Store::open).collect::<anyhow::Result<Vec<_>>>()?.into_iter().flatten().collect())
}

async fn measure(scale: &Scale, stores: &[Store]) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for store in stores {
        let version = servers::version(store).await?;
        report.versions.extend(version.map(|version| (store.name().to_owned(), version)));
    }
    for round in 1..=scale.rounds {
        codec::measure(&mut report, scale)?;
        for store in stores {
            eprintln!("throughput of {}, round {round} of {}", store.name(), scale.rounds);
            raw::measure(&mut report, scale, store).await?;
            engine::measure(&mut report, scale, store).await?;
        }
    }
    for store in stores {
        eprintln!("latency of {}", store.name());
        latency::measure(&mut report, scale, store).await?;
        eprintln!("idle cost of {}", store.name());
        idle::measure(&mut report, store).await?;
        rescue::measure(&mut report, scale, store).await?;
    }
    Ok(report)
}
