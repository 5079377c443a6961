//! Middleware: tower layers around every attempt, here one that says what runs and how it ended.
//!
//! ```console
//! $ cargo run --example middleware
//! ```

use taskwright::Shutdown;
use taskwright::prelude::*;
use taskwright::worker::{BoxError, TaskCall, TaskResponse, TaskService};
use tower::layer::layer_fn;
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt, service_fn};

#[task(name = "greet")]
async fn greet(name: String) -> TaskResult<String> {
    if name.is_empty() {
        return Err(TaskError::discard("nobody to greet").into());
    }
    Ok(format!("hello {name}"))
}

/// Says what starts and how it ended, whatever the task.
fn announced(tasks: TaskService) -> TaskService {
    BoxCloneSyncService::new(service_fn(move |call: TaskCall| announce(tasks.clone(), call)))
}

async fn announce(tasks: TaskService, call: TaskCall) -> Result<TaskResponse, BoxError> {
    let label = format!("attempt {} of {}", call.ctx.attempt(), call.ctx.task());
    println!("{label} for {}", call.ctx.headers().get("customer").map_or("nobody", String::as_str));
    let result = tasks.oneshot(call).await;
    println!("{label} {}", if result.is_ok() { "went well" } else { "failed" });
    result
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App::new().url("memory:").layer(&layer_fn(announced));
    let client = app.client().await?;
    let shutdown = Shutdown::new();
    let worker = tokio::spawn(app.worker(client)?.run(shutdown.clone()));

    // A header travels beside the payload, for those who are not the task.
    let handle = Greet::new("ada").header("customer", "42").dispatch().await?;
    println!("{}", handle.await?);
    let handle = Greet::new("").dispatch().await?;
    if handle.wait().await.is_err() {
        println!("the job is {}", handle.status().await?);
    }

    shutdown.stop();
    worker.await??;
    Ok(())
}

// Output:
// attempt 1 of greet for 42
// attempt 1 of greet went well
// hello ada
// attempt 1 of greet for nobody
// attempt 1 of greet failed
// the job is discarded
