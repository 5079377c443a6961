//! Jobs in a Postgres database, version 13 or later.
//!
//! ```no_run
//! # async fn example() -> taskwright::Result<()> {
//! use taskwright::backend::{Backend, sql::postgres::Postgres};
//!
//! let postgres = Postgres::connect("postgres://ada:secret@db.example/shop").await?;
//! assert_eq!(postgres.info().name, "postgres");
//! # Ok(())
//! # }
//! ```
//!
//! # URLs
//!
//! `postgres://user:password@host:port/database`, with what `libpq` knows as `sslmode`, `sslrootcert`, `host` (a socket's
//! folder) and so on after a question mark.
//! What the URL leaves out comes from the variables that `psql` knows (`PGHOST`, `PGPASSWORD`) and from `~/.pgpass`.
//! Encrypted connections need the feature `tls`.
//! Four options are taskwright's own:
//!
//! - `schema=taskwright`: the schema that everything lies in. It is created when missing, and nothing outside of it is
//!   touched.
//! - `pooler=transaction`: between this process and the server is a pooler that may run each transaction on another
//!   connection (`pgbouncer` in transaction mode): statements are not prepared, and nobody listens, so that workers hear
//!   at once of what their own process did and find the rest by polling.
//! - `notify=off`: other processes are not told what happened, and find it by polling.
//! - `transactions=4`: how many tasks with a `#[tx]` parameter run at once, from 1 to 1000; the others wait. Each has a
//!   connection of its own, which stays open for a minute after the last task that needed it.
//!
//! # How it is built
//!
//! Three connections work and one listens, whatever the concurrency; those of tasks in transactions come on top.
//! An operation is one transaction, begun with the database's time in one round trip.
//! Claims pass over rows that another one takes at this moment, so any number of workers share a queue.
//! While the server can't clean away what was deleted, as long as somebody's transaction stands open, they mostly begin
//! behind it.
//!
//! Claims and heartbeats don't wait for the disk: losing one is losing a lease, which gives the job to somebody else, as
//! losing its worker would.
//! All else is as durable as the server's `synchronous_commit` and `fsync` say, which are read at start.
//!
//! No extension is needed.
//! The database user needs `CREATE` on the database for the first start, or a schema of its own made by somebody else.
//!
//! # Tasks in transactions
//!
//! A task that takes `#[tx] tx: &mut sqlx::Transaction<'_, sqlx::Postgres>` is lent a transaction of this database at
//! `READ COMMITTED`, on a connection like the user's own would be.
//! When the task returns `Ok`, its job is completed in the same transaction and that is committed; where the job's lease
//! was lost meanwhile, or the attempt fails in any way, it is rolled back.
//! A statement that failed makes the whole transaction fail, even if the task passes over it; use a savepoint
//! (`tx.begin()`) where that should not be.
//!
//! # From a trigger, or from another language
//!
//! The function `push` in the schema pushes a job in the caller's transaction, and answers its id, or the id of the
//! job that has the same unique key:
//!
//! ```sql
//! SELECT taskwright.push('shop::send_receipt', '{"order": 42}');
//!
//! SELECT taskwright.push(
//!     task => 'shop::send_receipt',                   -- the task's name on the queue
//!     payload => jsonb_build_object('order', 42),     -- its parameters by name; '{}'
//!     queue => 'mail',                                -- 'default'
//!     priority => 5,                                  -- 0
//!     due => now() + interval '1 hour',               -- at once
//!     max_attempts => 8,                              -- 20
//!     expires => now() + interval '1 day',            -- never
//!     timeout => interval '30 seconds',               -- none
//!     keep_result => interval '1 day',                -- forgotten at once
//!     unique_key => 'receipt-42',                     -- none
//!     headers => '{"tenant": "ada"}',                 -- none
//!     tags => ARRAY['billing']                        -- none
//! );
//! ```
//!
//! It does not know what the task's attribute says: what is left out is as the comments tell.
//! Its job has the unique key until it is done, and a conflict is skipped.
//! An argument that can't be used is an error with a hint, and nothing is stored.
//! Who calls it needs `USAGE` on the schema, `INSERT` and `SELECT` on its tables `jobs` and `unique`, and `DELETE` on the
//! latter where programs take the same keys for a time.
//!
//! # Hints
//!
//! Hints go to the other processes with `NOTIFY` on a channel of the schema's name, in a transaction of their own after
//! the commit, since a `NOTIFY` inside would let the server's commits queue up behind each other.
//! What happens while one is sent goes together in the next, which comes 5 ms later, or up to 250 ms later where the server
//! is so busy that sending took longer than it had at best.
//! `NOTIFY taskwright` by hand makes every worker look around.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{PgConnection, Row};

use self::connect::{Settings, simple};
use self::error::fault;
use self::tables::Session;
use self::wake::Wakes;
use super::completion::TaskConnections;
use super::floors::Experience;
use super::news::Herald;
use super::server::{Access, Connections};
use super::work::{Store, Work};
use crate::backend::{Info, Limits};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Clock;

mod connect;
mod error;
mod schema;
mod tables;
mod transaction;
mod wake;

/// The oldest version that it works on, as the server counts.
const OLDEST: i64 = 13_00_00;

/// A store of jobs in a Postgres database.
pub struct Postgres {
    info: Info,
    connections: Arc<Connections<Settings>>,
    wakes: Arc<Wakes>,
    task_connections: TaskConnections<Settings>,
    /// Set once by `close`; shared with this backend's listeners, which end with it.
    closed: Arc<AtomicBool>,
    /// How many pushes there were.
    pushes: AtomicU64,
    /// What its claims have met.
    experience: Arc<Experience>,
}

impl Postgres {
    /// Connects to the server that `url` names, and brings the schema up to date.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a URL that can't be meant, [`ErrorKind::Unsupported`] for a server that is too old,
    /// [`ErrorKind::Corrupt`] for a schema of a newer version, [`ErrorKind::Unavailable`] when the server can't be
    /// reached, refuses the user, or is read-only.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, Clock::system()).await
    }

    /// The statements that [`connect`](Self::connect) runs in a database without the schema that `url` names, as a script
    /// for those who let no program create tables. Nothing is connected.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a URL that can't be meant.
    pub fn schema_script(url: &str) -> Result<String> {
        Ok(schema::script(&Settings::parse(url)?))
    }

    /// As [`Postgres::connect`], with the server's time moved by the [offset](Clock::offset) of `clock`.
    pub async fn connect_with(url: &str, clock: Clock) -> Result<Self> {
        let settings = Settings::parse(url)?;
        let location = settings.location();
        let (db, info) = set_up(&settings).await.map_err(|error| error.context("server", location))?;
        let closed = Arc::default();
        let session = Session::new(db, &settings);
        let connections = Connections::new(settings, clock, session);
        let wakes = Arc::new(Wakes::new(Arc::clone(&connections), Arc::clone(&closed)));
        let task_connections = TaskConnections::new(&connections, Arc::<Wakes>::clone(&wakes));
        Ok(Self {
            info,
            connections,
            wakes,
            task_connections,
            closed,
            pushes: AtomicU64::new(0),
            experience: Arc::default(),
        })
    }
}

async fn set_up(settings: &Settings) -> Result<(PgConnection, Info)> {
    let mut db = settings.connect().await?;
    let info = examine(&mut db, settings).await?;
    let schema = Some(schema::migrate(&mut db, settings).await?);
    Ok((db, Info { schema, ..info }))
}

/// Looks at how the server is set up.
async fn examine(db: &mut PgConnection, settings: &Settings) -> Result<Info> {
    const SETTINGS: &str = "SELECT current_setting('server_version_num'), current_setting('fsync'), \
        current_setting('synchronous_commit'), current_setting('full_page_writes'), \
        current_setting('transaction_read_only'), current_setting('server_version')";
    let rows = simple(db, SETTINGS.to_owned()).await?;
    let row = rows.first().ok_or_else(|| Error::new(ErrorKind::Corrupt, "the server does not tell its settings"))?;
    let text = |column: usize| row.try_get_unchecked::<String, _>(column).map_err(fault);
    if text(0)?.parse::<i64>().is_ok_and(|version| version < OLDEST) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the server is Postgres {}, and taskwright needs 13 or later; update it", text(5)?),
        ));
    }
    if text(4)? == "on" {
        return Err(Error::unavailable(
            "the server is read-only: a replica, or set so by default_transaction_read_only; name the primary in the URL",
        ));
    }
    let mut warnings = Vec::new();
    let mut warn = |is_so: bool, sentence: &str| {
        if is_so {
            warnings.push(sentence.to_owned());
        }
    };
    let (fsync, commit) = (text(1)?, text(2)?);
    warn(fsync == "off", "fsync is off: a crash of the server's machine may damage the whole database");
    warn(text(3)? == "off", "full_page_writes is off: a crash of the server's machine may damage the whole database");
    warn(commit == "off", "synchronous_commit is off: a crash of the server takes the latest jobs with it");
    let durability = match (&*fsync, &*commit) {
        ("off", _) => "survives a crash of the server, not of its machine (fsync=off)".to_owned(),
        (_, "off") => "a crash of the server may take the latest commits (synchronous_commit=off)".to_owned(),
        (_, level) => format!("fsync at every commit (synchronous_commit={level})"),
    };
    let limits = Limits {
        max_payload: 64 << 20,
        max_delay: None,
        max_push: 10_000,
        max_claim: 1_000,
        max_lease: None,
        time_precision: Duration::from_micros(1),
    };
    let location = settings.location();
    Ok(Info {
        name: "postgres",
        location,
        durability,
        warnings,
        schema: None,
        atomic_push: true,
        passes_over: true,
        ages: true,
        limits,
    })
}

#[async_trait]
impl Store for Postgres {
    async fn write<W: Work>(&self, work: W) -> Result<W::Answer> {
        let (answer, news) = self.connections.run(work, Access::Write).await?;
        // Before the caller goes on, so that no hint comes later than what its cause's caller does next.
        self.wakes.tell(news);
        Ok(answer)
    }

    async fn read<W: Work>(&self, work: W) -> Result<W::Answer> {
        Ok(self.connections.run(work, Access::Read).await?.0)
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
        self.task_connections.close().await;
        self.wakes.close().await;
        self.connections.close().await;
        Ok(())
    }
}

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Postgres")
            .field("location", &self.info.location)
            .field("durability", &self.info.durability)
            .field("closed", &self.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
