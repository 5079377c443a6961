//! Hashes every file of a folder, one task a file, on a queue in an SQLite file; kill it, and it carries on.
//!
//! ```console
//! $ cargo run --release --example quickstart                        # the files of this repository
//! $ cargo run --release --example quickstart -- ~/pictures --top 20
//! $ cargo run --release --example quickstart -- --help
//! ```
//!
//! Kill it halfway with `kill -9` and run it again: files that were done are not read again, files that were in hand
//! are rescued, and the others are done for the first time.
//! The only memory it has is the queue. A file's job has an id made of the file's path, size and time of change, so
//! dispatching the same file again finds the job that is there already; a file that changed is another job.
//!
//! `QUICKSTART_PAUSE_MS=50` makes each file take that much longer, so that there is time to kill it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Instant, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Parser;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use taskwright::backend::{Change, JobFilter};
use taskwright::handle::JobFailure;
use taskwright::prelude::*;
use taskwright::worker::QueueOptions;
use taskwright::{Name, Shutdown, State};
use tokio::task::{JoinError, JoinSet};

/// What a task finds out about a file, and what awaiting its handle gives.
#[derive(Serialize, Deserialize)]
struct FileSum {
    bytes: u64,
    lines: u64,
    sha256: String,
}

/// Sums up one file.
///
/// A plain `fn` runs on the worker's thread pool, where waiting for a disk keeps nothing else waiting.
/// An `OsString` travels whole where a `String` could not: a file's name need not be UTF-8.
#[task(keep_result = "30d", backoff = exponential("50ms", max = "1s"), retry_if = may_pass)]
fn sum_file(path: OsString, ctx: &Context) -> io::Result<FileSum> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let (mut bytes, mut lines) = (0, 0);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let piece = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        // Nobody can stop a thread from outside; it has to look.
        if ctx.is_cancelled() {
            return Err(io::Error::other("asked to stop"));
        }
        hasher.update(piece);
        bytes += piece.len() as u64;
        lines += piece.iter().filter(|&&byte| byte == b'\n').count() as u64;
    }
    std::thread::sleep(pause());
    Ok(FileSum { bytes, lines, sha256: hex(&hasher.finalize()) })
}

/// `QUICKSTART_PAUSE_MS`.
fn pause() -> Duration {
    let pause = std::env::var("QUICKSTART_PAUSE_MS").ok().and_then(|milliseconds| milliseconds.parse().ok());
    Duration::from_millis(pause.unwrap_or(0))
}

/// Whether reading the file again may go better; if not, its job is a dead letter at once.
fn may_pass(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::IsADirectory)
}

/// Sums up every file of a folder, one task a file, on a queue that survives `kill -9`.
#[derive(Parser)]
struct Arguments {
    /// The folder; by default this repository. Folders called `.git` or `target` in it are left out, as are links.
    #[arg(default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
    folder: PathBuf,
    /// The SQLite file that holds the queue. Remove it to begin again.
    #[arg(long, value_name = "FILE", default_value = "target/quickstart.db")]
    db: PathBuf,
    /// The queue's URL, for a queue that is not in `--db`.
    #[arg(long, env = "TASKWRIGHT_URL")]
    url: Option<String>,
    /// Where the record of its jobs is kept, for a queue that a broker carries.
    #[arg(long, env = "TASKWRIGHT_STORE_URL")]
    store_url: Option<String>,
    /// How many of the largest files to show.
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// How many files to read at once.
    #[arg(long, value_name = "N", default_value_t = std::thread::available_parallelism().map_or(4, usize::from) * 2)]
    jobs: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let Arguments { top, jobs, .. } = arguments;
    let store_url = arguments.store_url.clone();
    let folder = open_folder(&arguments.folder)?;
    // Each folder has a queue of its own, so that what is left of one is not done while another is asked for.
    let queue =
        Name::new(format!("quickstart-{}", &hex(&Sha256::digest(folder.as_os_str().as_encoded_bytes()))[..16]))?;
    let app = App::new().url(arguments.url()?).options(|worker| {
        worker.queues = vec![QueueOptions::all_slots(queue.clone())];
        (worker.concurrency, worker.blocking_threads) = (jobs, jobs);
        // So soon after a kill the files that were in hand are rescued.
        worker.lease = Duration::from_secs(2);
        // Being killed is what this program is for, so no file gets the blame.
        worker.max_crashes = u32::MAX;
    });
    let app = match store_url {
        Some(url) => app.store_url(url),
        None => app,
    };
    let client = app.client().await?;

    let started = Instant::now();
    let Found { files, mut failures } = find_files(&folder, Path::new(&client.backend().info().location));
    println!("{} in {}", counted(files.len(), "file"), shown(&folder));
    let tasks = files.iter().map(|file| SumFile::new(&file.path).id(file.job_id()).queue(&queue));
    let handles = client.dispatch_many(tasks).await?;
    let earlier = Earlier::ask(&client, &handles).await?;
    earlier.print();

    let shutdown = Shutdown::new();
    let worker = tokio::spawn(app.worker(client.clone())?.run(shutdown.clone()));
    let sums = collect(files, handles, &mut failures).await?;
    shutdown.stop();
    worker.await??;

    let elapsed = started.elapsed();
    print_table(&folder, &sums, &failures, top);
    earlier.print_end(sums.len(), elapsed);
    client.close().await?;
    Ok(())
}

fn open_folder(path: &Path) -> anyhow::Result<PathBuf> {
    let folder = path.canonicalize().with_context(|| format!("can't open {}", shown(path)))?;
    anyhow::ensure!(folder.is_dir(), "{} is not a folder; name one", shown(path));
    Ok(folder)
}

impl Arguments {
    /// The queue's URL; moving to another backend takes nothing more than another URL.
    fn url(self) -> anyhow::Result<String> {
        if let Some(url) = self.url {
            return Ok(url);
        }
        if let Some(folder) = self.db.parent() {
            fs::create_dir_all(folder).with_context(|| format!("can't make {}", shown(folder)))?;
        }
        let path = self.db.to_str().context("the path of --db is not UTF-8; choose another")?;
        Ok(format!("sqlite:{}", path.replace('%', "%25").replace('?', "%3F")))
    }
}

/// A file to sum up, as it was found.
struct FoundFile {
    path: PathBuf,
    bytes: u64,
    /// Nanoseconds since 1970.
    modified: u128,
}

impl FoundFile {
    fn new(path: PathBuf, metadata: &fs::Metadata) -> Self {
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self { path, bytes: metadata.len(), modified: modified.unwrap_or_default().as_nanos() }
    }

    /// The same for the same file unchanged, whoever asks and when.
    fn job_id(&self) -> JobId {
        let identity = Sha256::new()
            .chain_update(self.bytes.to_le_bytes())
            .chain_update(self.modified.to_le_bytes())
            .chain_update(self.path.as_os_str().as_encoded_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&identity.finalize()[..16]);
        JobId::from_bytes(id)
    }
}

/// What there is in a folder.
#[derive(Default)]
struct Found {
    files: Vec<FoundFile>,
    failures: Vec<Failure>,
}

/// A file, and what was found out about it.
type Sum = (PathBuf, FileSum);

/// A file or folder that can't be read, and why.
type Failure = (PathBuf, String);

/// Every file below `root` but those of the queue, without following links.
fn find_files(root: &Path, queue_file: &Path) -> Found {
    let queue_file = queue_file.canonicalize().ok();
    let mut found = Found::default();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        if let Err(error) = found.look_into(&folder, &mut folders, queue_file.as_deref()) {
            found.failures.push((folder, error.to_string()));
        }
    }
    found
}

impl Found {
    fn look_into(&mut self, folder: &Path, folders: &mut Vec<PathBuf>, queue_file: Option<&Path>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            let kind = entry.file_type()?;
            if kind.is_dir() && !is_left_out(&path) {
                folders.push(path);
            } else if kind.is_file() && !queue_file.is_some_and(|queue_file| belongs_to(&path, queue_file)) {
                match entry.metadata() {
                    Ok(metadata) => self.files.push(FoundFile::new(path, &metadata)),
                    Err(error) => self.failures.push((path, error.to_string())),
                }
            }
        }
        Ok(())
    }
}

fn is_left_out(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name == ".git" || name == "target")
}

/// Whether a file is SQLite's, which changes with every job that is done.
fn belongs_to(path: &Path, queue_file: &Path) -> bool {
    let suffix = path.as_os_str().as_encoded_bytes().strip_prefix(queue_file.as_os_str().as_encoded_bytes());
    suffix.is_some_and(|suffix| [&b""[..], b"-wal", b"-shm"].contains(&suffix))
}

/// How far earlier runs came with the files that there are now.
#[derive(Default)]
struct Earlier {
    done: usize,
    /// Started by a run that was killed.
    in_hand: usize,
    waiting: usize,
    failed: Vec<JobId>,
    new: usize,
}

impl Earlier {
    /// Asks the queue, and has it try again what failed.
    async fn ask(client: &Client, handles: &[JobHandle<FileSum>]) -> anyhow::Result<Self> {
        let mut earlier = Self::default();
        for handle in handles {
            if handle.is_new() {
                earlier.new += 1;
            } else {
                earlier.count(handle.id(), handle.status().await?);
            }
        }
        if let Some(inspect) = client.backend().inspect() {
            for ids in earlier.failed.chunks(1000) {
                let failed = JobFilter { ids: ids.to_vec(), ..JobFilter::default() };
                inspect.change(&Change::Retry, &failed, ids.len()).await?;
            }
        }
        Ok(earlier)
    }

    fn count(&mut self, job: JobId, state: State) {
        match state {
            State::Completed => self.done += 1,
            State::Running => self.in_hand += 1,
            State::Discarded | State::Cancelled | State::Expired => self.failed.push(job),
            State::Scheduled | State::Available | State::Retryable | State::Blocked => self.waiting += 1,
        }
    }

    fn print(&self) {
        let known = [
            (self.done, "done already"),
            (self.in_hand, "in hand when an earlier run was killed: to be rescued"),
            (self.waiting, "still waiting"),
            (self.failed.len(), "failed: to be tried again"),
        ];
        if known.iter().all(|(number, _)| *number == 0) {
            return;
        }
        println!("carrying on where an earlier run stopped:");
        for (number, what) in known.into_iter().chain([(self.new, "new")]).filter(|(number, _)| *number > 0) {
            println!("{:>15} {what}", grouped(number));
        }
    }

    fn print_end(&self, sums: usize, elapsed: Duration) {
        let now = sums.saturating_sub(self.done);
        let rate = f64::from(u32::try_from(now).unwrap_or(u32::MAX)) / elapsed.as_secs_f64();
        println!("\n{} summed up in {elapsed:.2?}, {rate:.0} files a second", counted(now, "file"));
        println!("{} done already, {} rescued", grouped(self.done), grouped(self.in_hand));
    }
}

/// Waits for every file, with a bar on a terminal; the largest comes first.
async fn collect(
    files: Vec<FoundFile>,
    handles: Vec<JobHandle<FileSum>>,
    failures: &mut Vec<Failure>,
) -> Result<Vec<Sum>, JoinError> {
    let bar = ProgressBar::new(files.len() as u64).with_style(bar_style());
    let mut waiting = JoinSet::new();
    for (file, handle) in files.into_iter().zip(handles) {
        waiting.spawn(async move { (file.path, handle.await) });
    }
    let mut sums = Vec::new();
    while let Some(ended) = waiting.join_next().await {
        match ended? {
            (path, Ok(sum)) => sums.push((path, sum)),
            (path, Err(error)) => failures.push((path, reason(&error))),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    sums.sort_by(|(path, sum), (other_path, other)| other.bytes.cmp(&sum.bytes).then_with(|| path.cmp(other_path)));
    Ok(sums)
}

/// What the task itself said went wrong, where it was the task.
fn reason(error: &taskwright::Error) -> String {
    JobFailure::of(error).map_or_else(|| error.to_string(), ToString::to_string)
}

fn bar_style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} files, {eta} left");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn print_table(folder: &Path, sums: &[Sum], failures: &[Failure], top: usize) {
    let row = |bytes: &str, lines: &str, sha256: &str, what: &str| {
        println!("{bytes:>15} {lines:>13}  {sha256:<16.16}  {what}");
    };
    let name = |path: &Path| shown(path.strip_prefix(folder).unwrap_or(path));
    println!();
    row("bytes", "lines", "SHA-256", "file");
    for (path, sum) in sums.iter().take(top) {
        row(&grouped(sum.bytes), &grouped(sum.lines), &sum.sha256, &name(path));
    }
    for (path, reason) in failures {
        row("-", "-", "-", &format!("{}: {reason}", name(path)));
    }
    let bytes: u64 = sums.iter().map(|(_, sum)| sum.bytes).sum();
    let lines: u64 = sums.iter().map(|(_, sum)| sum.lines).sum();
    row(&grouped(bytes), &grouped(lines), &sum_of_sums(folder, sums), &format!("all {}", counted(sums.len(), "file")));
}

/// One hash for a whole folder, for telling at a glance whether two runs found the same: that of its files' hashes
/// and names, in the order of the names.
fn sum_of_sums(folder: &Path, sums: &[Sum]) -> String {
    let mut sums: Vec<_> = sums.iter().map(|(path, sum)| (path.strip_prefix(folder).unwrap_or(path), sum)).collect();
    sums.sort_by_key(|(path, _)| *path);
    let hasher = sums.iter().fold(Sha256::new(), |hasher, (path, sum)| {
        hasher.chain_update(&sum.sha256).chain_update(path.as_os_str().as_encoded_bytes()).chain_update([0])
    });
    hex(&hasher.finalize())
}

fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// `1234567` as `1,234,567`.
fn grouped(number: impl TryInto<u64>) -> String {
    HumanCount(number.try_into().unwrap_or(u64::MAX)).to_string()
}

fn counted(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// A path for people to read, without the characters that would move their cursor.
fn shown(path: &Path) -> String {
    path.to_string_lossy().replace(char::is_control, "?")
}
