//! The work that each queue does, and how it is counted.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::process::Command;
use tokio::sync::Notify;

/// How much is to be done.
#[derive(Clone, Copy)]
pub(crate) struct Amount {
    pub(crate) jobs: usize,
    pub(crate) single: usize,
}

/// Jobs a second: many at a time, one after the other, and drained.
pub(crate) struct Rates {
    pub(crate) bulk: f64,
    pub(crate) one: f64,
    pub(crate) drain: f64,
}

/// What a job carries: as JSON, 100 bytes.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Load {
    pub(crate) data: String,
}

impl Load {
    pub(crate) fn sample() -> Self {
        Self { data: "x".repeat(100 - r#"{"data":""}"#.len()) }
    }
}

static RAN: AtomicUsize = AtomicUsize::new(0);

static WANTED: AtomicUsize = AtomicUsize::new(usize::MAX);

static ALL_RAN: Notify = Notify::const_new();

/// How long a drain is watched. What has run by then says how fast it is.
const LONGEST: Duration = Duration::from_secs(60);

/// A job ran.
pub(crate) fn ran() {
    if RAN.fetch_add(1, Ordering::Relaxed) + 1 == WANTED.load(Ordering::Relaxed) {
        ALL_RAN.notify_one();
    }
}

/// So many jobs are to run from now on.
pub(crate) fn expect(jobs: usize) {
    WANTED.store(jobs, Ordering::Relaxed);
}

/// The rate at which the jobs ran that were expected, or those of the first minute.
pub(crate) async fn drained(began: Instant) -> Result<f64> {
    let all = tokio::time::timeout(LONGEST, ALL_RAN.notified()).await;
    let ran = RAN.load(Ordering::Relaxed);
    if ran == 0 {
        bail!("no job ran within {LONGEST:?}");
    }
    if all.is_err() {
        eprintln!("only {ran} of {} jobs ran within {LONGEST:?}", WANTED.load(Ordering::Relaxed));
    }
    Ok(per_second(ran, began))
}

#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 jobs")]
pub(crate) fn per_second(jobs: usize, began: Instant) -> f64 {
    jobs as f64 / began.elapsed().as_secs_f64()
}

/// Runs the migrations that a package brings as files of SQL and tells its users to run themselves.
pub(crate) async fn migrate(pool: &PgPool, package: &str, folder: &str) -> Result<()> {
    let mut files = Vec::new();
    let mut folders = vec![home(package).await?.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false if is_up(&path) => files.push(path),
                false => {}
            }
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "{package} brings no migrations");
    for file in files {
        sqlx::raw_sql(&std::fs::read_to_string(file)?).execute(pool).await?;
    }
    Ok(())
}

/// The other files take a step back, or set up the migration tool itself.
fn is_up(file: &Path) -> bool {
    let path = file.to_string_lossy();
    path.ends_with("up.sql") && !path.contains("diesel_initial_setup")
}

/// Where the source of a package is.
async fn home(package: &str) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version", "1", "--locked", "--manifest-path"]);
    let output = cargo.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).output().await?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo tells no metadata")?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages.filter(|found| found["name"] == package).find_map(|found| found["manifest_path"].as_str());
    let home = manifest.and_then(|manifest| Path::new(manifest).parent());
    home.map(Path::to_path_buf).with_context(|| format!("{package} is not among the packages"))
}
