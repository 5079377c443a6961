//! Taskwright inside another program: a client to dispatch with, and a worker beside whatever else the program does.
//!
//! ```console
//! $ cargo run --example embedded
//! ```

use taskwright::Shutdown;
use taskwright::prelude::*;

#[task]
async fn add(a: u64, b: u64) -> TaskResult<u64> {
    Ok(a + b)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // Every task that is linked into the program is registered by itself.
    let app = App::new().url("memory:");
    let client = app.client().await?;
    let shutdown = Shutdown::new();

    // Both end when the shutdown is asked for, and the error of one ends the other.
    let worker = app.run_worker(client.clone(), shutdown.clone());
    let (summary, ()) = tokio::try_join!(worker, serve(&client, &shutdown))?;
    println!("the worker completed {} jobs", summary.completed);
    Ok(())
}

/// Whatever else the program does.
async fn serve(client: &Client, shutdown: &Shutdown) -> taskwright::Result<()> {
    // `App::client` also made it the program's client, which `.dispatch()` uses.
    // A handle gives what the function returns, wherever it ran.
    let handle = Add::new(2, 3).dispatch().await?;
    println!("2 + 3 = {}", handle.await?);

    // Many at once are stored in few writes.
    let handles = client.dispatch_many((1..=3).map(|number| Add::new(number, number))).await?;
    for handle in handles {
        println!("twice as much: {}", handle.await?);
    }

    shutdown.stop();
    Ok(())
}

// Output:
// 2 + 3 = 5
// twice as much: 2
// twice as much: 4
// twice as much: 6
// the worker completed 4 jobs
