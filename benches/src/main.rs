//! What this build can do on this machine: `cargo xtask bench`.
//!
//! Everything is measured side by side in one run and told as ratios, since no two machines are alike.

mod baseline;
mod codec;
mod engine;
mod idle;
mod latency;
mod report;
mod rescue;
mod sites;
mod tasks;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::report::Report;
use crate::sites::Kind;

/// Measures throughput, latency, idle cost and rescue.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    #[command(flatten)]
    scale: Scale,
    /// Where the figures go as JSON.
    #[arg(long, default_value = "target/bench.json")]
    json: PathBuf,
    #[command(subcommand)]
    role: Option<Role>,
}

/// How much is measured.
#[derive(clap::Args)]
struct Scale {
    /// Which stores; the killed workers need `sqlite-full`.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "memory,sqlite-full,sqlite-normal")]
    stores: Vec<Kind>,
    /// How many rounds of throughput; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many jobs a round of bulk work has.
    #[arg(long, default_value_t = 100_000)]
    jobs: usize,
    /// How many jobs are dispatched one at a time.
    #[arg(long, default_value_t = 2_000)]
    single: usize,
    /// How many times latency is taken.
    #[arg(long, default_value_t = 500)]
    samples: usize,
    /// How many workers are killed.
    #[arg(long, default_value_t = 5)]
    kills: usize,
}

/// What a child process of this program does.
#[derive(Subcommand)]
enum Role {
    /// Runs a worker that has nothing to do.
    #[command(hide = true)]
    Idle { url: String },
    /// Runs a worker that takes a job and never ends it.
    #[command(hide = true)]
    Holder { url: String },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Arguments { scale, json, role } = Arguments::parse();
    match role {
        Some(Role::Idle { url }) => idle::idle(&url).await,
        Some(Role::Holder { url }) => rescue::hold(&url).await,
        None => measure(&scale).await?.publish(&json),
    }
}

async fn measure(scale: &Scale) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for round in 1..=scale.rounds {
        eprintln!("throughput, round {round} of {}", scale.rounds);
        codec::measure(&mut report, scale)?;
        baseline::measure(&mut report, scale).await?;
        engine::measure(&mut report, scale).await?;
    }
    eprintln!("latency");
    latency::measure(&mut report, scale).await?;
    eprintln!("idle cost");
    idle::measure(&mut report, scale).await?;
    eprintln!("rescue after kill -9");
    rescue::measure(&mut report, scale).await?;
    Ok(report)
}
