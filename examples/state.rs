//! State: what a worker gives to its tasks, found by type, never sent through the queue.
//!
//! ```console
//! $ cargo run --example state
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use taskwright::Shutdown;
use taskwright::prelude::*;

/// A made-up mail server's address; cheap to clone.
#[derive(Clone)]
struct Server(&'static str);

/// Who got how many letters.
#[derive(Default)]
struct Letters(Mutex<BTreeMap<String, u32>>);

/// State comes as `&T`, as `Arc<T>`, or as a clone; everything else travels in the payload.
#[task]
async fn send(to: String, #[state] server: Server, #[state] letters: &Letters) -> TaskResult<String> {
    let mut letters = letters.0.lock().unwrap_or_else(PoisonError::into_inner);
    let count = letters.entry(to.clone()).or_default();
    *count += 1;
    Ok(format!("letter {count} to {to}, by {}", server.0))
}

#[task]
async fn report(#[state] letters: Arc<Letters>) -> TaskResult<u32> {
    Ok(letters.0.lock().unwrap_or_else(PoisonError::into_inner).values().sum())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // A worker does not start while a task lacks its state.
    let app = App::new().url("memory:").state(Server("mx1")).state(Letters::default());
    let client = app.client().await?;
    let shutdown = Shutdown::new();
    let worker = tokio::spawn(app.worker(client)?.run(shutdown.clone()));

    for to in ["ada", "grace", "ada"] {
        println!("{}", Send::new(to).dispatch().await?.await?);
    }
    println!("{} letters in all", Report::new().dispatch().await?.await?);

    shutdown.stop();
    worker.await??;
    Ok(())
}

// Output:
// letter 1 to ada, by mx1
// letter 1 to grace, by mx1
// letter 2 to ada, by mx1
// 3 letters in all
