//! Isolation: a task that may crash, leak or hang runs in a child process, which takes nothing else with it.
//!
//! ```console
//! $ cargo run --example isolation
//! ```

use taskwright::Shutdown;
use taskwright::prelude::*;

/// Stands for a library written in C that does not survive every input.
#[task(isolate = "process", max_attempts = 2, backoff = fixed("0s"), timeout = "10s")]
async fn thumbnail(picture: String) -> TaskResult<String> {
    if picture == "broken" {
        std::process::abort();
    }
    Ok(format!("a thumbnail of {picture}"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // A child runs what it is handed in here, and goes no further.
    let app = App::new().url("memory:").options(|worker| worker.process_memory = Some(512 << 20)).isolated().await?;
    let client = app.client().await?;
    let shutdown = Shutdown::new();
    let worker = tokio::spawn(app.worker(client.clone())?.run(shutdown.clone()));

    let broken = Thumbnail::new("broken").dispatch().await?;
    println!("{}", Thumbnail::new("the sea").dispatch().await?.await?);
    let picture = broken.id();
    if broken.await.is_err() {
        println!("the broken one: {}", client.handle::<String>(picture).status().await?);
    }

    shutdown.stop();
    worker.await??;
    Ok(())
}

// Output:
// a thumbnail of the sea
// the broken one: discarded
