//! Dead letters: a job that is given up stays, with its payload and its errors, until somebody has mended the cause.
//!
//! ```console
//! $ cargo run --example dead_letters
//! ```
//!
//! The generated program does the same: `jobs list --state discarded`, `jobs show`, `jobs retry`.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use taskwright::backend::{Change, JobFilter};
use taskwright::prelude::*;
use taskwright::{Shutdown, State};

static MAIL_IS_UP: AtomicBool = AtomicBool::new(false);

#[task(name = "mail.receipt", max_attempts = 2, backoff = fixed("10ms"))]
async fn send_receipt(order: u64, ctx: &Context) -> anyhow::Result<String> {
    connect().with_context(|| format!("receipt {order} was not sent"))?;
    Ok(format!("receipt {order} was sent at attempt {}", ctx.attempt()))
}

fn connect() -> anyhow::Result<()> {
    if !MAIL_IS_UP.load(Ordering::Relaxed) {
        bail!("connection refused");
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App::new().url("memory:");
    let client = app.client().await?;
    let shutdown = Shutdown::new();
    let worker = tokio::spawn(app.worker(client.clone())?.run(shutdown.clone()));

    let handle = SendReceipt::new(42).dispatch().await?;
    if handle.wait().await.is_err() {
        println!("the job is {}", handle.status().await?);
    }

    // What a store can show and change by hand is its `inspect` facet.
    let inspect = client.backend().inspect().context("this backend lists no jobs")?;
    let dead = JobFilter { states: vec![State::Discarded], ..JobFilter::default() };
    for job in inspect.list(&dead, None, 10).await? {
        println!("{} {}", job.spec.task, job.spec.payload.to_json());
        for attempt in &job.history {
            let failure = attempt.failure.as_ref().map(ToString::to_string);
            println!("  attempt {} was {}: {}", attempt.number, attempt.ending, failure.unwrap_or_default());
        }
    }

    MAIL_IS_UP.store(true, Ordering::Relaxed);
    let changed = inspect.change(&Change::Retry, &dead, 100).await?;
    println!("{} job is tried again", changed.count);
    println!("{}", handle.await?);

    shutdown.stop();
    worker.await??;
    Ok(())
}

// Output:
// the job is discarded
// mail.receipt {"order":42}
//   attempt 1 was retried: receipt 42 was not sent: connection refused
//   attempt 2 was discarded: receipt 42 was not sent: connection refused
// 1 job is tried again
// receipt 42 was sent at attempt 3
