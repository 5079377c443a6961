//! A worker that is made to be killed: `victim <url> [lease in milliseconds] [old]`.
//!
//! It writes a line to standard output for each attempt that begins, so that a test sees what it is at.
//! A line on standard input says by how many microseconds its clock is to be wrong.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use taskwright::registry::Registry;
use taskwright::time::set_machine_skew;
use taskwright::worker::WorkerOptions;
use taskwright::{Shutdown, Worker};
use taskwright_tests::victim::{CLOCK_IS_SET, Linger, Mark, Squeeze, Toil, client};
use tokio::signal::unix::{SignalKind, signal};

#[path = "../versions.rs"]
mod versions;

/// Sent to a process that writes more to a file than it may; unless somebody listens, it ends the process.
const SIGXFSZ: i32 = 25;

/// Sets the clock as standard input says, until that ends.
fn obey() {
    for line in std::io::stdin().lines().map_while(Result::ok) {
        if let Ok(micros) = line.parse() {
            set_machine_skew(micros);
            println!("{CLOCK_IS_SET}");
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let _disk_is_full = signal(SignalKind::from_raw(SIGXFSZ))?;
    std::thread::spawn(obey);
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or_else(|| anyhow::anyhow!("say where the jobs are: victim <url>"))?;
    let lease = arguments.next().map_or(Ok(1_000), |lease| lease.parse())?;
    let client = client(&url).await?;
    let registry = Registry::new().with::<Mark>()?.with::<Linger>()?.with::<Toil>()?;
    let registry = if arguments.next().as_deref() == Some("old") {
        registry.with::<versions::old::Bill>()?
    } else {
        registry.with::<versions::new::Bill>()?.with::<versions::new::Remind>()?
    };
    // Where there are no limits, a worker that has a task with one does not start.
    let has_limits = client.backend().limiter().is_some();
    let registry = if has_limits { registry.with::<Squeeze>()? } else { registry };
    let options = WorkerOptions {
        lease: Duration::from_millis(lease),
        poll: Duration::from_millis(100),
        // Kills are what this is about; how many of them make poison is tested elsewhere.
        max_crashes: 1_000,
        ..WorkerOptions::default()
    };
    let worker = Worker::new(client, registry, Arc::default(), options)?;
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    out.flush()?;
    worker.run(Shutdown::new()).await?;
    Ok(())
}
