//! Blocking work: a task that is a plain `fn` runs on a bounded pool of threads, never on the async executor.
//!
//! ```console
//! $ cargo run --example blocking
//! ```

use std::sync::Barrier;

use taskwright::Shutdown;
use taskwright::prelude::*;

/// Nobody passes before two threads have come.
static MEETING: Barrier = Barrier::new(2);

/// Keeps a thread busy.
#[task]
fn count_primes(below: u32) -> TaskResult<usize> {
    let is_prime = |number: &u32| (2..*number).take_while(|d| d * d <= *number).all(|d| !number.is_multiple_of(d));
    Ok((2..below).filter(is_prime).count())
}

/// Blocks its thread until another one blocks too.
#[task]
fn meet(name: String) -> TaskResult<String> {
    MEETING.wait();
    Ok(format!("{name} met somebody"))
}

#[task]
async fn quick() -> TaskResult<String> {
    Ok("an async task ran meanwhile".to_owned())
}

// One thread for everything that is async: a blocking task on it would stop the whole program.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let app = App::new().url("memory:").options(|worker| worker.blocking_threads = 2);
    let client = app.client().await?;
    let shutdown = Shutdown::new();
    let worker = tokio::spawn(app.worker(client)?.run(shutdown.clone()));

    println!("{} primes below 10000", CountPrimes::new(10_000).dispatch().await?.await?);

    let first = Meet::new("ada").dispatch().await?;
    println!("{}", Quick::new().dispatch().await?.await?);
    let second = Meet::new("grace").dispatch().await?;
    println!("{}\n{}", first.await?, second.await?);

    shutdown.stop();
    worker.await??;
    Ok(())
}

// Output:
// 1229 primes below 10000
// an async task ran meanwhile
// ada met somebody
// grace met somebody
