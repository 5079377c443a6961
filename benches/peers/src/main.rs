//! Taskwright beside other queues: `cargo xtask bench peers`.
//!
//! Each does the same work in the same run, on the same server: no-op jobs with a payload of 100 bytes go in, many at a
//! time and one at a time, and then through. Each goes by the fastest path that its documentation names.
//! One that fails, or stalls, is named with what it said, and the others go on.
//! One that is very slow is judged by what has run in half a minute.
//! The clock of another queue stops when its last job has run; ours, when all that happened is written.

mod apalis;
mod graphile;
mod ours;
mod outside;
mod oxana;
mod pgmq;
mod rivals;
mod sidekiq;
mod table;
mod work;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use taskwright_tests::servers::{Kind, Server};

use crate::apalis::Locks;
use crate::pgmq::Ending;
use crate::table::Table;

/// Where the jobs are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Store {
    Memory,
    Sqlite,
    Postgres,
    Mysql,
    Redis,
}

/// Measures Taskwright beside other queues.
#[derive(Parser)]
#[command(name = "cargo xtask bench peers", bin_name = "cargo xtask bench peers")]
struct Arguments {
    /// Which stores.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "memory,sqlite,postgres,mysql,redis")]
    stores: Vec<Store>,
    /// Only these others beside ours, such as `pgmq,graphile_worker`; a tuned one goes by the name of the queue.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// How many rounds; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How many jobs a round has.
    #[arg(long, default_value_t = 5_000)]
    jobs: usize,
    /// How many jobs go in one at a time.
    #[arg(long, default_value_t = 1_000)]
    single: usize,
    /// A MySQL server to use instead of one that is started; its databases `peers` and `taskwright_peers` are replaced.
    #[arg(long)]
    mysql: Option<String>,
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

/// The queues work in a task of the runtime, as the handlers of a web server do: what runs beside the runtime, as its
/// first future does, pays for waking a thread at each answer.
#[tokio::main]
async fn main() -> Result<()> {
    tokio::spawn(run(Arguments::parse())).await?
}

async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { stores, only, rounds, jobs, single, mysql, json } = arguments;
    ensure!(rounds > 0 && jobs > 0, "there is nothing to measure");
    let amount = Amount { jobs, single };
    let mut table = Table::only(only);
    for store in stores {
        let server = match store {
            Store::Postgres => Some(Server::start_durable(Kind::Postgres)?),
            Store::Mysql if mysql.is_none() => Some(Server::start_durable(Kind::MySql)?),
            Store::Redis => Some(Server::start_durable(Kind::Redis)?),
            Store::Memory | Store::Sqlite | Store::Mysql => None,
        };
        let url = server.as_ref().map(Server::url).or(mysql.as_deref()).unwrap_or_default();
        for round in 1..=rounds {
            eprintln!("{store:?}, round {round} of {rounds}");
            match store {
                Store::Memory => memory(&mut table, amount).await?,
                Store::Sqlite => sqlite(&mut table, amount).await?,
                Store::Postgres => postgres(&mut table, amount, url).await?,
                Store::Mysql => on_mysql(&mut table, amount, url).await?,
                Store::Redis => on_redis(&mut table, amount, url).await?,
            }
        }
    }
    table.publish(&json)
}

async fn memory(table: &mut Table, amount: Amount) -> Result<()> {
    let ours = ours::measure("memory:", amount, ours::Tuning::Defaults).await?;
    table.add("memory", "taskwright", ours);
    table.compare("memory", "apalis", apalis::memory(amount)).await;
    Ok(())
}

async fn sqlite(table: &mut Table, amount: Amount) -> Result<()> {
    for synchronous in ["full", "normal"] {
        let folder = tempfile::tempdir()?;
        let store = format!("sqlite, {synchronous}");
        let url = format!("sqlite:{}?synchronous={synchronous}", folder.path().join("ours.db").display());
        table.add(&store, "taskwright", ours::measure(&url, amount, ours::Tuning::Defaults).await?);
        let file = folder.path().join("apalis.db");
        table.compare(&store, "apalis-sqlite", apalis::sqlite(&file, synchronous, amount)).await;
        if synchronous == "normal" {
            let file = folder.path().join("effectum.db");
            table.compare(&store, "effectum", outside::effectum(&file, amount)).await;
        }
    }
    Ok(())
}

async fn postgres(table: &mut Table, amount: Amount, url: &str) -> Result<()> {
    const STORE: &str = "postgres";
    let empty = || work::empty_postgres(url);
    for (name, tuning) in [("taskwright", ours::Tuning::Defaults), ("taskwright, tuned", ours::Tuning::Far)] {
        table.add(STORE, name, ours::measure(&empty().await?, amount, tuning).await?);
    }
    for (name, consumers, ending) in [
        ("pgmq, read and delete", 1, Ending::Deleted),
        ("pgmq, read and delete, 4 consumers", 4, Ending::Deleted),
        ("pgmq, read and archive", 1, Ending::Archived),
    ] {
        let measured = async { pgmq::measure(&empty().await?, amount, consumers, ending).await };
        table.compare(STORE, name, measured).await;
    }
    let measured = async { graphile::measure(&empty().await?, amount).await };
    table.compare(STORE, "graphile_worker, tuned", measured).await;
    for name in
        ["awa", "fang", "sqlxmq", "underway"].into_iter().flat_map(|name| [name.to_owned(), format!("{name}, tuned")])
    {
        let measured = async { outside::older_sqlx(&name, &empty().await?, amount).await };
        table.compare(STORE, &name, measured).await;
    }
    for (name, locks) in [("apalis-postgres", Locks::Taken), ("apalis-postgres, no locks", Locks::Passed)] {
        let measured = async { apalis::postgres(&empty().await?, amount, locks).await };
        table.compare(STORE, name, measured).await;
    }
    Ok(())
}

async fn on_mysql(table: &mut Table, amount: Amount, url: &str) -> Result<()> {
    let ours = work::empty_database(url, "taskwright_peers").await?;
    table.add("mysql", "taskwright", ours::measure(&ours, amount, ours::Tuning::Defaults).await?);
    let theirs = work::empty_database(url, "peers").await?;
    table.compare("mysql", "apalis-mysql", outside::apalis_mysql(&theirs, amount)).await;
    Ok(())
}

async fn on_redis(table: &mut Table, amount: Amount, url: &str) -> Result<()> {
    work::flush(url).await?;
    table.add("redis", "taskwright", ours::measure(url, amount, ours::Tuning::Defaults).await?);
    work::flush(url).await?;
    table.compare("redis", "bullmq", outside::bullmq(url, amount)).await;
    work::flush(url).await?;
    table.compare("redis", "rusty-sidekiq", sidekiq::measure(url, amount)).await;
    work::flush(url).await?;
    table.compare("redis", "oxana", oxana::measure(url, amount)).await;
    for (name, locks) in [("apalis-redis", Locks::Taken), ("apalis-redis, no locks", Locks::Passed)] {
        work::flush(url).await?;
        table.compare("redis", name, apalis::redis(url, amount, locks)).await;
    }
    Ok(())
}
