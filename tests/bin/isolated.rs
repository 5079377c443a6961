//! A program whose tasks run in processes of their own, and misbehave there.

#![expect(clippy::unused_async, reason = "tasks are async functions, also those that wait for nothing")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use taskwright::prelude::*;

/// Answers which process it ran in.
#[task(name = "iso.pid", isolate = "process", keep_result = "1h")]
pub(crate) async fn pid(greeting: String, #[state] state: &Greeting) -> TaskResult<(u32, String)> {
    Ok((std::process::id(), format!("{} {greeting}", state.0)))
}

/// Takes its process with it.
#[task(name = "iso.abort", isolate = "process", max_attempts = 10, backoff = fixed("0s"))]
pub(crate) async fn abort() {
    eprintln!("going down");
    std::process::abort();
}

/// Takes memory without bound.
#[task(name = "iso.leak", isolate = "process", max_attempts = 1)]
pub(crate) async fn leak() {
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 16 << 20]);
        std::hint::black_box(&mut all);
    }
}

/// Never yields, and says before who it is.
#[task(name = "iso.spin", isolate = "process", max_attempts = 1, timeout = "1s")]
pub(crate) async fn spin(file: PathBuf) -> TaskResult {
    note_pid(&file)?;
    loop {
        std::hint::spin_loop();
    }
}

/// As `iso.spin`, for as long as it is let.
#[task(name = "iso.hold", isolate = "process")]
pub(crate) fn hold(file: &Path) -> TaskResult {
    note_pid(file)?;
    loop {
        std::hint::spin_loop();
    }
}

/// A file that is there is whole.
fn note_pid(file: &Path) -> std::io::Result<()> {
    let unfinished = file.with_extension("part");
    std::fs::write(&unfinished, std::process::id().to_string())?;
    std::fs::rename(unfinished, file)
}

/// Fails as asked.
#[task(name = "iso.fail", isolate = "process", max_attempts = 5, backoff = fixed("0s"))]
pub(crate) async fn fail(how: String) -> TaskResult {
    let error = anyhow::anyhow!("the reason").context("the reason's reason").context("it failed");
    match how.as_str() {
        "discard" => Err(TaskError::discard(error).into()),
        "panic" => panic!("it panicked on purpose"),
        "snooze" => Err(TaskError::snooze(Duration::from_hours(1)).into()),
        _ => Err(error.into()),
    }
}

/// Says how far it is, and waits until it is told to stop.
#[task(name = "iso.wait", isolate = "process")]
pub(crate) async fn wait(ctx: &Context) -> TaskResult {
    ctx.progress(0.5, "halfway").await;
    ctx.cancellation().cancelled().await;
    Err(TaskError::cancel("it heard").into())
}

/// Puts another task on its queue.
#[task(name = "iso.parent", isolate = "process", keep_result = "1h")]
pub(crate) async fn parent() -> TaskResult<JobId> {
    Ok(Plain::new().dispatch().await?.id())
}

/// Runs in the worker itself.
#[task(name = "iso.plain", keep_result = "1h")]
pub(crate) async fn plain() -> TaskResult<u32> {
    Ok(std::process::id())
}

/// What the wiring gives.
pub(crate) struct Greeting(&'static str);

/// The state, for whoever wires by hand.
pub(crate) fn greeting() -> Greeting {
    Greeting("hello")
}

#[taskwright::main]
async fn app(app: App) -> anyhow::Result<App> {
    let is_child = std::env::var_os("TASKWRIGHT_ISOLATED").is_some();
    anyhow::ensure!(!is_child || std::env::var_os("BREAK_CHILDREN").is_none(), "children are broken");
    Ok(app.state(greeting()))
}
