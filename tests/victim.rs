//! The tasks of a worker that is made to be killed, and how to start and kill one.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use taskwright::backend::connect::Places;
use taskwright::prelude::*;

/// Does nothing but succeed.
#[task(max_attempts = 1000)]
pub async fn mark(number: u64) -> TaskResult<u64> {
    Ok(number)
}

/// Takes so many milliseconds, and tells which attempt it was.
#[task(max_attempts = 1000)]
pub async fn toil(millis: u64, ctx: &Context) -> TaskResult<u32> {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(ctx.attempt())
}

/// How many of the next run at once at the most, in all workers together.
pub const NARROW: u32 = 4;

/// The same, and counts against a limit.
#[task(max_attempts = 1000, limit(max = 4, key = "narrow"))]
pub async fn squeeze(millis: u64, ctx: &Context) -> TaskResult<u32> {
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(ctx.attempt())
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

/// A client of the backends at up to three URLs with blanks between: of the jobs, of their record if a broker carries
/// them, and of their results; `-` stands for none.
///
/// # Errors
///
/// Those of connecting to any.
pub async fn client(place: &str) -> taskwright::Result<Client> {
    let mut urls = place.split(' ').map(|url| (url != "-").then(|| url.to_owned()));
    let mut next = || urls.next().flatten();
    let url = next().unwrap_or_default();
    Client::builder().connect_all(&Places { url, store_url: next(), results_url: next(), ..Places::default() }).await
}

/// A worker process, killed without a warning when it is dropped.
#[derive(Debug)]
pub struct Victim {
    process: Child,
    input: ChildStdin,
    lines: BufReader<ChildStdout>,
}

/// What a worker process writes when its clock is as it was told.
pub const CLOCK_IS_SET: &str = "clock is set";

impl Victim {
    /// Starts `program` on the jobs at `url`, which [`client`] reads, and waits until it works.
    ///
    /// # Errors
    ///
    /// When the process can't be started or ends before it is ready.
    pub fn start(program: &Path, url: &str, lease: Duration, version: Version) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg(url).arg(lease.as_millis().to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.args((version == Version::Old).then_some("old"));
        let mut process = command.spawn()?;
        let stdout = process.stdout.take().ok_or_else(|| anyhow::anyhow!("the process has no output"))?;
        let input = process.stdin.take().ok_or_else(|| anyhow::anyhow!("the process has no input"))?;
        let mut victim = Self { process, input, lines: BufReader::new(stdout) };
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

    /// Stops the process where it stands, as `kill -STOP` does.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn stop(&self) -> anyhow::Result<()> {
        self.signal("-STOP")
    }

    /// Lets a stopped process go on.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal("-CONT")
    }

    /// Lets the process believe that its machine's clock is off by so many seconds.
    ///
    /// # Errors
    ///
    /// When the process has ended.
    pub fn set_clock_off_by(&mut self, seconds: i64) -> anyhow::Result<()> {
        writeln!(self.input, "{}", seconds.saturating_mul(1_000_000))?;
        self.wait_for(CLOCK_IS_SET)
    }

    /// Lets every write of the process to a file fail, as on a full disk.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn fill_disk(&self) -> anyhow::Result<()> {
        self.limit_files("1:")
    }

    /// Gives the process room on its disk again.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn free_disk(&self) -> anyhow::Result<()> {
        self.limit_files("unlimited:")
    }

    /// Limits how long a file may get by the process's writes.
    fn limit_files(&self, most: &str) -> anyhow::Result<()> {
        let process = self.process.id().to_string();
        let done = Command::new("prlimit").args(["--pid", &process, &format!("--fsize={most}")]).status()?;
        anyhow::ensure!(done.success(), "the files of the process can't be limited to {most}");
        Ok(())
    }

    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let done = Command::new("kill").arg(signal).arg(self.process.id().to_string()).status()?;
        anyhow::ensure!(done.success(), "the process can't be sent {signal}");
        Ok(())
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
