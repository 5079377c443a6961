//! Queues on Postgres: `taskwright-peers-older-sqlx QUEUE URL JOBS SINGLE` fills a queue in an empty database and empties
//! it, and prints its rates.

mod awa;
mod fang;
mod sqlxmq;
mod underway;
mod work;

use std::env::args;

use anyhow::{Context, Result, bail};

use crate::work::{Amount, Rates};

/// How a queue is set up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tuning {
    Defaults,
    /// As its documentation, or its own benchmark, would have it for many short jobs.
    Tuned,
}

/// Not in a task of the runtime as the others: the compiler does not see that some of these futures may move there.
#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = args().skip(1);
    let mut next = || arguments.next().context("QUEUE URL JOBS SINGLE are wanted");
    let (queue, url) = (next()?, next()?);
    let amount = Amount { jobs: next()?.parse()?, single: next()?.parse()? };
    let Rates { bulk, one, drain } = match queue.as_str() {
        "awa" => awa::measure(&url, amount, Tuning::Defaults).await?,
        "awa, tuned" => awa::measure(&url, amount, Tuning::Tuned).await?,
        "fang" => fang::measure(&url, amount, Tuning::Defaults).await?,
        "fang, tuned" => fang::measure(&url, amount, Tuning::Tuned).await?,
        "sqlxmq" => sqlxmq::measure(&url, amount, Tuning::Defaults).await?,
        "sqlxmq, tuned" => sqlxmq::measure(&url, amount, Tuning::Tuned).await?,
        "underway" => underway::measure(&url, amount, Tuning::Defaults).await?,
        "underway, tuned" => underway::measure(&url, amount, Tuning::Tuned).await?,
        other => bail!("there is no queue `{other}`"),
    };
    println!("{}", serde_json::json!({ "bulk": bulk, "one": one, "drain": drain }));
    Ok(())
}
