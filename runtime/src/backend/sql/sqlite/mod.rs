//! Jobs in an SQLite file.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> taskwright::Result<()> {
//! use taskwright::backend::{Backend, sql::sqlite::Sqlite};
//!
//! let sqlite = Sqlite::connect("sqlite::memory:").await?;
//! assert_eq!(sqlite.info().name, "sqlite");
//! sqlite.close().await
//! # }
//! ```
//!
//! # URLs
//!
//! `sqlite:jobs.db` names a file, which is created when missing; `sqlite::memory:` a database that dies with its
//! backend, for tests.
//! Options follow a question mark:
//!
//! - `synchronous=full`, the default: what was acknowledged survives a loss of power.
//!   `synchronous=normal`: it survives the end of the process, and a loss of power may take the latest of it.
//! - `busy_timeout=5s`: how long to wait for another process's transaction.
//! - `max_pages=250000`: how many pages (of 4 KiB, mostly) the file may have; it is full beyond that.
//!
//! # How it is built
//!
//! One connection writes, in the order of a queue; what is queued while it commits shares the next commit (`writer`).
//! Two others read.
//! Claims and heartbeats don't wait for the disk even with `synchronous=full`: losing one is losing a lease, which gives
//! the job to somebody else, as losing its worker would.
//!
//! # Several processes
//!
//! Any number of processes on one machine may share a file; never share one over a network file system.
//! Within a process wake-up is immediate, also across several backends on one file.
//! What other processes did is noticed within a tenth of a second, by a look at the time stamp of SQLite's log; once a
//! second the database itself is asked, which is the only query that an idle listener makes.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connect::{Opener, Place, Settings, Synchronous};
use self::reader::Readers;
use self::writer::Writer;
use super::floors::Experience;
use super::news::Listeners;
use super::tables::MOST_ROWS;
use super::work::{Store, Work};
use crate::backend::{Info, Limits};
use crate::error::Result;
use crate::time::Clock;

mod connect;
mod error;
mod reader;
mod schema;
mod tables;
#[cfg(test)]
mod tests;
mod transaction;
mod wake;
mod writer;

/// A store of jobs in an SQLite file.
pub struct Sqlite {
    info: Info,
    clock: Clock,
    /// The file, without links and dots; none in memory.
    path: Option<PathBuf>,
    opener: Opener,
    writer: Arc<Writer>,
    readers: Option<Readers>,
    listeners: Arc<Listeners>,
    /// Set once by `close`; shared with this backend's listeners, which end with it.
    closed: Arc<AtomicBool>,
    /// Tasks that outlive a call: later hints after somebody else's commit, the watch on other processes.
    tasks: TaskTracker,
    /// Ends those tasks.
    stop: CancellationToken,
    /// How many pushes there were.
    pushes: AtomicU64,
    /// What its claims have met.
    experience: Arc<Experience>,
    /// Whether a task watches for commits of other processes.
    watching: Arc<AtomicBool>,
}

/// Who listens to which file in this process, so that all backends on one file wake each other.
static LISTENERS: LazyLock<Mutex<HashMap<PathBuf, Weak<Listeners>>>> = LazyLock::new(Mutex::default);

impl Sqlite {
    /// Opens the database that `url` names, by this machine's time, and brings its tables up to date.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a URL or path that can't be meant,
    /// [`ErrorKind::Corrupt`](crate::ErrorKind::Corrupt) for a damaged file or one of a newer version,
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when it can't be opened, written or set up.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, Clock::system()).await
    }

    /// The statements that [`connect`](Self::connect) runs on a new file, as a script for those who let no program create
    /// tables.
    #[must_use]
    pub fn schema_script() -> String {
        schema::script()
    }

    /// As [`Sqlite::connect`], by `clock`.
    pub async fn connect_with(url: &str, clock: Clock) -> Result<Self> {
        let settings = Settings::parse(url)?;
        let mut info = info(&settings);
        let opener = Opener::new(settings.clone())?;
        let mut db = opener.writer().await?;
        let migrated = schema::migrate(&mut db, clock.now(), &opener.patience()).await;
        info.schema = Some(migrated.map_err(|error| error.context("file", info.location.clone()))?);
        let path = match settings.place {
            Place::Memory => None,
            Place::File(path) => Some(path.canonicalize().unwrap_or(path)),
        };
        let listeners = listeners(path.as_ref());
        Ok(Self {
            info,
            readers: path.is_some().then(|| Readers::new(opener.clone(), clock.clone())),
            path,
            opener: opener.clone(),
            writer: Writer::new(opener, clock.clone(), db, Arc::clone(&listeners)),
            clock,
            listeners,
            closed: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            pushes: AtomicU64::new(0),
            experience: Arc::default(),
            watching: Arc::default(),
        })
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn write<W: Work>(&self, work: W) -> Result<W::Answer> {
        self.writer.run(work).await
    }

    /// In memory, where only one connection exists, in the writer's queue.
    async fn read<W: Work>(&self, work: W) -> Result<W::Answer> {
        match &self.readers {
            Some(readers) => readers.run(work).await,
            None => self.writer.run(work).await,
        }
    }

    fn description(&self) -> &Info {
        &self.info
    }

    fn count_push(&self) -> u64 {
        self.pushes.fetch_add(1, Ordering::Relaxed)
    }

    fn experience(&self) -> &Arc<Experience> {
        &self.experience
    }

    async fn shut(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.listeners.wake_all();
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if let Some(readers) = &self.readers {
            readers.close().await?;
        }
        self.writer.close().await
    }
}

fn listeners(path: Option<&PathBuf>) -> Arc<Listeners> {
    let Some(path) = path else { return Arc::default() };
    let mut known = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|_, listeners| listeners.strong_count() > 0);
    if let Some(listeners) = known.get(path).and_then(Weak::upgrade) {
        return listeners;
    }
    let listeners = Arc::default();
    known.insert(path.clone(), Arc::downgrade(&listeners));
    listeners
}

fn info(settings: &Settings) -> Info {
    let (location, durability) = match (&settings.place, settings.synchronous) {
        (Place::Memory, _) => (":memory:".to_owned(), "nothing survives the end of the backend"),
        (Place::File(path), Synchronous::Full) => {
            (path.display().to_string(), "fsync at every commit (synchronous=full)")
        }
        (Place::File(path), Synchronous::Normal) => (
            path.display().to_string(),
            "fsync at checkpoints: survives the process, a loss of power may take the latest commits (synchronous=normal)",
        ),
    };
    let limits = Limits {
        max_payload: 64 << 20,
        max_delay: None,
        // One statement.
        max_push: MOST_ROWS,
        max_claim: 1_000,
        max_lease: None,
        time_precision: Duration::from_micros(1),
    };
    let (durability, warnings) = (durability.to_owned(), Vec::new());
    Info {
        name: "sqlite",
        location,
        durability,
        warnings,
        schema: None,
        atomic_push: true,
        passes_over: true,
        ages: true,
        limits,
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite")
            .field("location", &self.info.location)
            .field("durability", &self.info.durability)
            .field("closed", &self.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
