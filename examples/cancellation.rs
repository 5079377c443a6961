//! Progress and cancellation: a long task says how far it is, and stops when its job is called off.
//!
//! ```console
//! $ cargo run --example cancellation
//! ```

use taskwright::Shutdown;
use taskwright::prelude::*;

/// Prints pages for ever, one at a time.
#[task]
async fn print(pages: u32, ctx: &Context) -> TaskResult {
    for page in 1..=pages {
        ctx.progress(f64::from(page) / f64::from(pages), format!("page {page} of {pages}")).await;
        // Without this the task would be dropped at its next await, some seconds after it was called off.
        tokio::select! {
            () = ctx.cancellation().cancelled() => {
                println!("the printer stops at page {page}");
                return Err(TaskError::cancel("stopped between two pages").into());
            }
            () = print_page(page) => {}
        }
    }
    Ok(())
}

/// The first page takes no time, the second jams.
async fn print_page(page: u32) {
    if page > 1 {
        std::future::pending::<()>().await;
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let app = App::new().url("memory:");
    let client = app.client().await?;

    // A job that has not started never runs.
    let handle = Print::new(1).dispatch().await?;
    handle.cancel("changed my mind").await?;
    println!("{}", told(handle).await?);

    let shutdown = Shutdown::new();
    let worker = tokio::spawn(app.worker(client)?.run(shutdown.clone()));

    let handle = Print::new(4).dispatch().await?;
    let progress = loop {
        match handle.progress().await? {
            Some(progress) if progress.note.starts_with("page 2") => break progress,
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    println!("{} at {:.0} %: {}", handle.status().await?, progress.fraction * 100.0, progress.note);

    // One that runs hears of it.
    handle.cancel("the paper has run out").await?;
    println!("{}", told(handle).await?);

    shutdown.stop();
    worker.await??;
    Ok(())
}

/// How a job ended, and why.
async fn told(handle: JobHandle<()>) -> taskwright::Result<String> {
    let why = handle.wait().await.err().map(|error| anyhow::Error::from(error).root_cause().to_string());
    Ok(format!("{}: {}", handle.status().await?, why.unwrap_or_default()))
}

// Output:
// cancelled: changed my mind
// running at 50 %: page 2 of 4
// the printer stops at page 2
// cancelled: the paper has run out
