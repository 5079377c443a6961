//! Taskwright beside other queues: `cargo xtask bench peers`.
//!
//! Each does the same work in the same run, on the same server: no-op jobs with a payload of 100 bytes go in, many at a
//! time and one at a time, and then through. Each goes by the fastest path that its documentation names.
//! The clock of another queue stops when its last job has run; ours, when all that happened is written.

mod apalis;
mod graphile;
mod ours;
mod oxana;
mod sidekiq;
mod table;
mod work;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use taskwright_tests::servers::{Kind, Server};

use crate::table::Table;

/// Where the jobs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    Memory,
    Sqlite,
    Postgres,
    Redis,
}

/// Measures Taskwright beside other queues.
#[derive(Parser)]
#[command(name = "cargo xtask bench peers", bin_name = "cargo xtask bench peers")]
struct Arguments {
    /// Which stores.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "memory,sqlite,postgres,redis")]
    stores: Vec<Store>,
    /// How many rounds; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many jobs a round has.
    #[arg(long, default_value_t = 5_000)]
    jobs: usize,
    /// How many jobs go in one at a time.
    #[arg(long, default_value_t = 1_000)]
    single: usize,
    /// Where the figures go as JSON.
    #[arg(long, default_value = "target/peers.json")]
    json: PathBuf,
}

/// How much work a queue is given.
#[derive(Clone, Copy)]
struct Amount {
    jobs: usize,
    single: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { stores, rounds, jobs, single, json } = Arguments::parse();
    ensure!(rounds > 0 && jobs > 0, "there is nothing to measure");
    let amount = Amount { jobs, single };
    let mut table = Table::default();
    for store in stores {
        let server = match store {
            Store::Postgres => Some(Server::start_durable(Kind::Postgres)?),
            Store::Redis => Some(Server::start_durable(Kind::Redis)?),
            Store::Memory | Store::Sqlite => None,
        };
        let url = server.as_ref().map(Server::url).unwrap_or_default();
        for round in 1..=rounds {
            eprintln!("{store:?}, round {round} of {rounds}");
            match store {
                Store::Memory => memory(&mut table, amount).await?,
                Store::Sqlite => sqlite(&mut table, amount).await?,
                Store::Postgres => postgres(&mut table, amount, url, round).await?,
                Store::Redis => on_redis(&mut table, amount, url).await?,
            }
        }
    }
    table.publish(&json)
}

async fn memory(table: &mut Table, amount: Amount) -> Result<()> {
    let ours = ours::measure("memory:", amount, ours::Tuning::Defaults).await?;
    table.add("memory", "taskwright", ours);
    table.add("memory", "apalis", apalis::memory(amount).await?);
    Ok(())
}

async fn sqlite(table: &mut Table, amount: Amount) -> Result<()> {
    for synchronous in ["full", "normal"] {
        let folder = tempfile::tempdir()?;
        let store = format!("sqlite, {synchronous}");
        let url = format!("sqlite:{}?synchronous={synchronous}", folder.path().join("ours.db").display());
        table.add(&store, "taskwright", ours::measure(&url, amount, ours::Tuning::Defaults).await?);
        let theirs = apalis::sqlite(&folder.path().join("theirs.db"), synchronous, amount).await?;
        table.add(&store, "apalis-sqlite", theirs);
    }
    Ok(())
}

async fn postgres(table: &mut Table, amount: Amount, url: &str, round: usize) -> Result<()> {
    let defaults = format!("{url}?schema=defaults{round}");
    table.add("postgres", "taskwright", ours::measure(&defaults, amount, ours::Tuning::Defaults).await?);
    let tuned = format!("{url}?schema=tuned{round}");
    table.add("postgres", "taskwright, tuned", ours::measure(&tuned, amount, ours::Tuning::Far).await?);
    table.add("postgres", "graphile_worker, tuned", graphile::measure(url, amount).await?);
    table.add("postgres", "apalis-postgres", apalis::postgres(url, amount, apalis::Locks::Taken).await?);
    table.add("postgres", "apalis-postgres, no locks", apalis::postgres(url, amount, apalis::Locks::Passed).await?);
    Ok(())
}

async fn on_redis(table: &mut Table, amount: Amount, url: &str) -> Result<()> {
    work::flush(url).await?;
    table.add("redis", "taskwright", ours::measure(url, amount, ours::Tuning::Defaults).await?);
    work::flush(url).await?;
    table.add("redis", "rusty-sidekiq", sidekiq::measure(url, amount).await?);
    work::flush(url).await?;
    table.add("redis", "oxana", oxana::measure(url, amount).await?);
    for (name, locks) in [("apalis-redis", apalis::Locks::Taken), ("apalis-redis, no locks", apalis::Locks::Passed)] {
        work::flush(url).await?;
        table.add("redis", name, apalis::redis(url, amount, locks).await?);
    }
    Ok(())
}
