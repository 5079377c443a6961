//! Jobs in a MySQL (8.0 or later) or MariaDB (10.6 or later) database.
//!
//! ```no_run
//! # async fn example() -> taskwright::Result<()> {
//! use taskwright::backend::{Backend, sql::mysql::MySql};
//!
//! let mysql = MySql::connect("mysql://ada:secret@db.example/shop").await?;
//! assert_eq!(mysql.info().name, "mysql");
//! # Ok(())
//! # }
//! ```
//!
//! # URLs
//!
//! `mysql://user:password@host:port/database`, or `mariadb://..`, with `ssl-mode`, `ssl-ca`, `ssl-cert`, `ssl-key` and
//! `socket` after a question mark.
//! Encrypted connections need the feature `tls`; MySQL 8 asks for one from users whose password it does not know from
//! before (`caching_sha2_password`).
//! Three options are taskwright's own:
//!
//! - `prefix=taskwright_`: what the names of all its tables begin with. They are created when missing, and no other is
//!   touched.
//! - `notify=off`: other processes are not told what happened, and find it by polling.
//! - `transactions=4`: how many tasks with a `#[tx]` parameter run at once, from 1 to 1000; the others wait. Each has a
//!   connection of its own, which stays open for a minute after the last task that needed it.
//!
//! # How it is built
//!
//! Three connections work and one waits for what other processes do, whatever the concurrency; those of tasks in
//! transactions come on top.
//! An operation is one transaction, begun with the database's time in one round trip.
//! Claims pass over rows that another one takes at this moment, so any number of workers share a queue.
//!
//! The servers have no common word for "delete these rows and tell what was in them": rows are locked as they are read,
//! and deleted by their keys.
//! What is often done runs at the isolation `READ COMMITTED`, which takes no locks on the gaps between rows, so claims,
//! pushes and settlements don't lock each other up; where the server still sees a deadlock, the work is done again.
//!
//! While the server cleans nothing away, since a transaction stands open somewhere, claims begin behind what they have
//! taken, and look at everything a tenth of the time.
//! MySQL tells that only to users with the privilege `PROCESS`; without it claims walk past more and more dead rows then.
//!
//! Every commit is as durable as the server's `innodb_flush_log_at_trx_commit` and `sync_binlog` say, which are read at
//! start; there is no asking for less for a claim.
//! Payloads are limited by the server's `max_allowed_packet`: to a quarter of it, since a job travels with its result.
//!
//! # Tasks in transactions
//!
//! A task that takes `#[tx] tx: &mut sqlx::Transaction<'_, sqlx::MySql>` is lent a transaction of this database at
//! `READ COMMITTED`, on a connection like the user's own would be.
//! When the task returns `Ok`, its job is completed in the same transaction and that is committed; where the job's lease
//! was lost meanwhile, or the attempt fails in any way, it is rolled back.
//! A deadlock takes back the whole transaction, and statements such as `CREATE TABLE` commit it; a task that passes over
//! either has failed.
//!
//! # Hints
//!
//! What happened is written on a small table, the board. While somebody listens, a process has one query on it that waits
//! in the server, for some seconds at a time, and looks there for new messages: every few milliseconds for a while after
//! the last one, and fifty times a second then.
//! A server that logs or ends slow queries should not count these; where it ends them, the board is read ten times a
//! second instead.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{MySqlConnection, Row};

use self::connect::{Maker, Settings, simple};
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
mod push;
mod schema;
mod tables;
mod transaction;
mod wake;

/// The largest payload, whatever the server takes.
const MOST_PAYLOAD: usize = 64 << 20;

/// A store of jobs in a MySQL or MariaDB database.
pub struct MySql {
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

impl MySql {
    /// Connects to the server that `url` names, and brings the tables up to date.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a URL that can't be meant, [`ErrorKind::Unsupported`] for a server that is too old,
    /// [`ErrorKind::Corrupt`] for tables of a newer version, [`ErrorKind::Unavailable`] when the server can't be
    /// reached, refuses the user, or is read-only.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, Clock::system()).await
    }

    /// The statements that [`connect`](Self::connect) runs in a database without the tables that `url` names, as a script
    /// for those who let no program create them. Nothing is connected.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`] for a URL that can't be meant.
    pub fn schema_script(url: &str) -> Result<String> {
        Ok(schema::script(&Settings::parse(url)?))
    }

    /// As [`MySql::connect`], with the server's time moved by the [offset](Clock::offset) of `clock`.
    pub async fn connect_with(url: &str, clock: Clock) -> Result<Self> {
        let mut settings = Settings::parse(url)?;
        let location = settings.location();
        let (db, info) = set_up(&mut settings).await.map_err(|error| error.context("server", location))?;
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

async fn set_up(settings: &mut Settings) -> Result<(MySqlConnection, Info)> {
    let mut db = settings.connect().await?;
    let info = examine(&mut db, settings).await?;
    let schema = Some(schema::migrate(&mut db, settings).await?);
    Ok((db, Info { schema, ..info }))
}

/// Looks at how the server is set up.
async fn examine(db: &mut MySqlConnection, settings: &mut Settings) -> Result<Info> {
    const SETTINGS: &str = "SELECT CAST(VERSION() AS CHAR), CAST(@@max_allowed_packet AS SIGNED), \
        CAST(@@innodb_flush_log_at_trx_commit AS SIGNED), CAST(@@log_bin AS SIGNED), CAST(@@sync_binlog AS SIGNED), \
        CAST(@@innodb_doublewrite AS CHAR), CAST(@@global.read_only AS CHAR)";
    let rows = simple(db, SETTINGS.to_owned()).await?;
    let row = rows.first().ok_or_else(|| Error::new(ErrorKind::Corrupt, "the server does not tell its settings"))?;
    let text = |column: usize| row.try_get_unchecked::<String, _>(column).map_err(fault);
    let number = |column: usize| row.try_get_unchecked::<i64, _>(column).map_err(fault);
    let version = text(0)?;
    if is_too_old(&version) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("the server is {version}, and taskwright needs MySQL 8.0 or MariaDB 10.6 or later; update it"),
        ));
    }
    if !matches!(&*text(6)?, "0" | "OFF") {
        return Err(Error::unavailable(
            "the server is read-only: a replica, or set so by read_only; name the primary in the URL",
        ));
    }
    settings.maker = Maker::of(&version);
    settings.packet = usize::try_from(number(1)?).unwrap_or(usize::MAX);
    let mut warnings = Vec::new();
    let mut warn = |is_so: bool, sentence: &str| {
        if is_so {
            warnings.push(sentence.to_owned());
        }
    };
    let (flush, logs, sync) = (number(2)?, number(3)? != 0, number(4)?);
    warn(
        flush != 1,
        "innodb_flush_log_at_trx_commit is not 1: a crash of the server's machine takes the latest jobs with it",
    );
    warn(
        logs && sync != 1,
        "sync_binlog is not 1: replicas may miss the latest jobs after a crash of the server's machine",
    );
    warn(
        matches!(&*text(5)?, "0" | "OFF"),
        "innodb_doublewrite is off: a crash of the server's machine may damage the whole database",
    );
    let durability = match flush {
        1 => "fsync at every commit (innodb_flush_log_at_trx_commit=1)".to_owned(),
        2 => "survives a crash of the server, not of its machine (innodb_flush_log_at_trx_commit=2)".to_owned(),
        _ => format!("a crash of the server may take the latest commits (innodb_flush_log_at_trx_commit={flush})"),
    };
    let limits = Limits {
        max_payload: (settings.packet / 4).min(MOST_PAYLOAD),
        max_delay: None,
        max_push: 5_000,
        max_claim: 1_000,
        max_lease: None,
        time_precision: Duration::from_micros(1),
    };
    let location = settings.location();
    Ok(Info {
        name: "mysql",
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

/// Whether a version as the server says it (`8.0.36`, `10.11.6-MariaDB-1`) lacks something that is needed.
fn is_too_old(version: &str) -> bool {
    let oldest = match Maker::of(version) {
        Maker::MariaDb => (10, 6),
        Maker::Oracle => (8, 0),
    };
    let mut numbers = version.split(['.', '-']).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < oldest
}

#[async_trait]
impl Store for MySql {
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

impl fmt::Debug for MySql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySql")
            .field("location", &self.info.location)
            .field("durability", &self.info.durability)
            .field("closed", &self.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_told_from_new_ones_of_both_makers() {
        for version in ["5.7.44-log", "5.5.5-10.5.23-MariaDB", "10.5.23-MariaDB-1:10.5.23", "10.3.39-MariaDB"] {
            assert!(is_too_old(version), "{version}");
        }
        for version in
            ["8.0.36", "8.4.0", "9.1.0-commercial", "10.6.0-MariaDB", "10.11.6-MariaDB-0+deb12u1", "11.4.2-MariaDB"]
        {
            assert!(!is_too_old(version), "{version}");
        }
    }
}
