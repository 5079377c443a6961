//! The tasks of a worker that is made to be killed, and how to start and kill one.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use taskwright::prelude::*;

/// Does nothing but succeed.
#[task(max_attempts = 1000)]
pub async fn mark(number: u64) -> TaskResult<u64> {
    Ok(number)
}

/// Says that it runs, and never ends.
#[task(max_attempts = 1000)]
pub async fn linger(name: String) -> TaskResult {
    let mut out = std::io::stdout();
    writeln!(out, "{name}")?;
    out.flush()?;
    std::future::pending().await
}

/// Which version of its program a worker is of; they differ in the tasks of `versions.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The one before.
    Old,
    /// The present one.
    New,
}

/// A client of the backend at a URL, or of a broker and the record of its jobs, as two URLs with a blank between.
///
/// # Errors
///
/// Those of connecting to either.
pub async fn client(place: &str) -> taskwright::Result<Client> {
    match place.split_once(' ') {
        None => Client::connect(place).await,
        Some((broker, store)) => Client::builder().connect_with_store(broker, store).await,
    }
}

/// A worker process, killed without a warning when it is dropped.
#[derive(Debug)]
pub struct Victim {
    process: Child,
    lines: BufReader<ChildStdout>,
}

impl Victim {
    /// Starts `program` on the jobs at `url`, which [`client`] reads, and waits until it works.
    ///
    /// # Errors
    ///
    /// When the process can't be started or ends before it is ready.
    pub fn start(program: &Path, url: &str, lease: Duration, version: Version) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg(url).arg(lease.as_millis().to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.args((version == Version::Old).then_some("old"));
        let mut process = command.spawn()?;
        let stdout = process.stdout.take().ok_or_else(|| anyhow::anyhow!("the process has no output"))?;
        let mut victim = Self { process, lines: BufReader::new(stdout) };
        victim.wait_for("ready")?;
        Ok(victim)
    }

    /// Waits until the process writes this line.
    ///
    /// # Errors
    ///
    /// When it ends without having written it.
    pub fn wait_for(&mut self, wanted: &str) -> anyhow::Result<()> {
        let mut line = String::new();
        while self.lines.read_line(&mut line)? > 0 {
            if line.trim_end() == wanted {
                return Ok(());
            }
            line.clear();
        }
        anyhow::bail!("the process ended before it said `{wanted}`")
    }

    /// Kills the process as `kill -9` does.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
