//! What a job costs when more of everything is there: `cargo xtask bench growth`.

mod figures;
mod network;
mod page;
mod waiting;
mod workers;

use std::path::Path;

use anyhow::{Result, ensure};
use clap::ValueEnum;

use self::figures::{Axis, Figures};
pub(crate) use self::page::{plot, section};
pub(crate) use self::workers::drainer;
use crate::Scale;
use crate::sites::{Kind, Store};

/// Where the figures go.
pub(crate) const JSON: &str = "target/growth.json";

/// What is measured unless stores are named.
pub(crate) const STORES: [Kind; 4] = [Kind::Postgres, Kind::SqliteFull, Kind::Redis, Kind::MySql];

/// How far things grow.
#[derive(clap::Args)]
pub(crate) struct Growing {
    /// What grows, instead of everything.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Axis>,
    /// How many jobs wait or are scheduled behind those that are drained.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 1_000_000])]
    waiting: Vec<usize>,
    /// How many jobs are dispatched and drained in front of them, in a round.
    #[arg(long, default_value_t = 20_000)]
    first: usize,
    /// How many processes drain one backlog.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8])]
    workers: Vec<usize>,
    /// How many queues the same jobs are spread over.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100])]
    queues: Vec<usize>,
    /// How many milliseconds later everything arrives, each way.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1])]
    late: Vec<usize>,
}

/// Prints and writes all figures, and fails where a goal is missed.
pub(crate) async fn measure(scale: &Scale, growing: &Growing, stores: &[Store], json: &Path) -> Result<()> {
    let mut figures = Figures::default();
    let all = Axis::value_variants();
    let axes = if growing.only.is_empty() { all } else { &growing.only };
    for store in stores {
        for axis in axes {
            match axis {
                Axis::Waiting | Axis::Scheduled => waiting::measure(&mut figures, scale, growing, store, *axis).await?,
                Axis::Queues => waiting::over_queues(&mut figures, scale, growing, store).await?,
                Axis::Workers => workers::measure(&mut figures, scale, &growing.workers, store).await?,
                Axis::Late => network::measure(&mut figures, scale, growing, store).await?,
            }
            // Large steps take long, and what came before one that fails is worth something.
            figures.save(json)?;
        }
    }
    figures.print();
    println!("as JSON: {}", json.display());
    let missed = figures.missed();
    ensure!(missed.is_empty(), "goals are missed: {}", missed.join("; "));
    Ok(())
}
