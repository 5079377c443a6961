//! What a worker costs that has nothing to do.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use taskwright::Shutdown;
use taskwright::context::States;
use taskwright::registry::Registry;
use taskwright::worker::WorkerOptions;

use crate::Scale;
use crate::report::{Measure, Report};
use crate::rescue::{Child, HOLDING};
use crate::sites::{Kind, Site, worker};
use crate::tasks::Noop;

/// How long a worker is watched.
const WATCHED: Duration = Duration::from_secs(10);

/// How long it may take to come to rest before that.
const SETTLING: Duration = Duration::from_secs(2);

pub(crate) async fn measure(report: &mut Report, scale: &Scale) -> Result<()> {
    for &kind in scale.stores.iter().filter(|kind| **kind != Kind::SqliteNormal) {
        let site = Site::new(kind)?;
        let child = Child::start("idle", &site.url).await?;
        tokio::time::sleep(SETTLING).await;
        let before = processor_time(child.id());
        tokio::time::sleep(WATCHED).await;
        let after = processor_time(child.id());
        child.kill().await?;
        if let (Some(before), Some(after)) = (before, after) {
            let share = after.saturating_sub(before).as_secs_f64() / WATCHED.as_secs_f64();
            report.share(kind.name(), Measure::IdleProcessor, share);
        }
    }
    Ok(())
}

/// The child's part: a worker with the default options.
pub(crate) async fn idle(url: &str) -> Result<()> {
    let client = taskwright::Client::connect(url).await?;
    let worker = worker(&client, Registry::new().with::<Noop>()?, States::default(), WorkerOptions::default())?;
    println!("{HOLDING}");
    worker.run(Shutdown::new()).await?;
    Ok(())
}

/// How long all threads of a process have been running, where the system tells.
fn processor_time(process: u32) -> Option<Duration> {
    let threads = std::fs::read_dir(Path::new("/proc").join(process.to_string()).join("task")).ok()?;
    let nanoseconds = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Some(Duration::from_nanos(nanoseconds.sum()))
}
