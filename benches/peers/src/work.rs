//! The work that every queue does, and how it is counted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, Connection, MySqlConnection, PgConnection};
use tokio::sync::Notify;

/// Jobs a second, each way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// Many at a time.
    pub(crate) bulk: f64,
    /// One after the other, each awaited.
    pub(crate) one: f64,
    /// From the first claim until all have run.
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

/// How many jobs have run since they were last awaited.
static RAN: AtomicUsize = AtomicUsize::new(0);

/// How many are awaited.
static WANTED: AtomicUsize = AtomicUsize::new(usize::MAX);

static ALL_RAN: Notify = Notify::const_new();

/// How long no job may run before a queue counts as stuck.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a queue is watched. One that is slower is judged by what has run until then.
const LONGEST: Duration = Duration::from_secs(30);

/// A job ran.
pub(crate) fn ran() {
    if RAN.fetch_add(1, Ordering::Relaxed) + 1 == WANTED.load(Ordering::Relaxed) {
        ALL_RAN.notify_one();
    }
}

/// So many jobs are to run from now on.
pub(crate) fn expect(jobs: usize) {
    RAN.store(0, Ordering::Relaxed);
    WANTED.store(jobs, Ordering::Relaxed);
}

/// The rate at which the jobs ran that were expected, or as many of them as did while it was watched.
pub(crate) async fn drained(began: Instant) -> Result<f64> {
    let mut ran = 0;
    loop {
        if tokio::time::timeout(PATIENCE, ALL_RAN.notified()).await.is_ok() {
            return Ok(per_second(WANTED.load(Ordering::Relaxed), began));
        }
        let before = std::mem::replace(&mut ran, RAN.load(Ordering::Relaxed));
        let few = format!("only {ran} of {} jobs ran within {:.0?}", WANTED.load(Ordering::Relaxed), began.elapsed());
        if ran == before {
            bail!(few);
        }
        if began.elapsed() >= LONGEST {
            eprintln!("its rate is of a part: {few}");
            return Ok(per_second(ran, began));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "no run has 2^52 jobs")]
pub(crate) fn per_second(jobs: usize, began: Instant) -> f64 {
    jobs as f64 / began.elapsed().as_secs_f64()
}

/// Leaves an empty Redis.
pub(crate) async fn flush(url: &str) -> Result<()> {
    let mut db = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    Ok(redis::cmd("FLUSHALL").exec_async(&mut db).await?)
}

/// An empty database of that name on the server of a MySQL URL.
pub(crate) async fn empty_database(url: &str, name: &str) -> Result<String> {
    let mut db = MySqlConnection::connect(url).await?;
    for statement in ["DROP DATABASE IF EXISTS", "CREATE DATABASE"] {
        sqlx::query(AssertSqlSafe(format!("{statement} `{name}`"))).execute(&mut db).await?;
    }
    db.close().await?;
    beside(url, name)
}

/// The only database on the server of a Postgres URL beside that one, with nothing of the last one left to be done.
pub(crate) async fn empty_postgres(url: &str) -> Result<String> {
    const NAME: &str = "peers";
    let mut db = PgConnection::connect(url).await?;
    for statement in ["DROP DATABASE IF EXISTS peers WITH (FORCE)", "CREATE DATABASE peers", "CHECKPOINT"] {
        sqlx::query(statement).execute(&mut db).await?;
    }
    db.close().await?;
    beside(url, NAME)
}

/// Another database on the server of a URL.
fn beside(url: &str, name: &str) -> Result<String> {
    let (server, _) = url.rsplit_once('/').with_context(|| format!("`{url}` names no database"))?;
    Ok(format!("{server}/{name}"))
}
