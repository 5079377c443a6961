//! From a URL to open connections whose settings have taken effect.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};
use tokio::time::Instant;

use super::error::{fault, is_locked};
use crate::backend::sql::url;
use crate::error::{Error, ErrorKind, Result};
use crate::time::parse_duration;

/// How long a statement waits for another process's transaction, unless the URL says otherwise.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Compiled statements that a connection keeps: every statement in its few lengths.
const STATEMENTS_KEPT: usize = 256;

/// What a URL asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) place: Place,
    pub(super) synchronous: Synchronous,
    busy_timeout: Duration,
    max_pages: Option<u32>,
}

/// Where the database is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    Memory,
    File(PathBuf),
}

/// What a commit waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Synchronous {
    /// The disk, at every commit.
    Full,
    /// The operating system; the disk only when the log is folded into the database.
    Normal,
}

impl Settings {
    /// Reads `sqlite:path?option=value&option=value` or `sqlite::memory:`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let Some(rest) = text.strip_prefix("sqlite:") else {
            return Err(Error::invalid(format!("`{text}` is not an sqlite URL; write `sqlite:jobs.db`")));
        };
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
        let place = match path {
            ":memory:" => Place::Memory,
            "" => return Err(Error::invalid(format!("`{text}` names no file; write `sqlite:jobs.db`"))),
            path => Place::File(PathBuf::from(url::decode_percent(path)?)),
        };
        let mut settings = Self { place, synchronous: Synchronous::Full, busy_timeout: BUSY_TIMEOUT, max_pages: None };
        for (key, value) in url::options(options) {
            settings.set(key, value)?;
        }
        Ok(settings)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "synchronous" => {
                self.synchronous = match value {
                    "full" => Synchronous::Full,
                    "normal" => Synchronous::Normal,
                    _ => return Err(Error::invalid(format!("synchronous={value} is not known; it is full or normal"))),
                }
            }
            "busy_timeout" => self.busy_timeout = parse_duration(value)?,
            "max_pages" => {
                let refused =
                    |_| Error::invalid(format!("max_pages={value} is not a number of pages; write max_pages=100000"));
                self.max_pages = Some(value.parse().map_err(refused)?);
            }
            _ => {
                return Err(Error::invalid(format!(
                    "`{key}` is not an option of an sqlite URL; the options are synchronous, busy_timeout, max_pages"
                )));
            }
        }
        Ok(())
    }

    /// Refuses a path that can't become a database, before SQLite says it in fewer words.
    fn check(&self) -> Result<()> {
        let Place::File(path) = &self.place else { return Ok(()) };
        if path.is_dir() {
            return Err(Error::invalid(format!("`{}` is a folder; name a file in it", path.display())));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if folder.is_dir() {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "folder `{}` does not exist; create it, or name a file elsewhere",
            folder.display()
        )))
    }

    fn location(&self) -> String {
        match &self.place {
            Place::Memory => ":memory:".to_owned(),
            Place::File(path) => path.display().to_string(),
        }
    }
}

/// Opens connections, all with the same settings.
#[derive(Clone, Debug)]
pub(super) struct Opener {
    settings: Settings,
}

impl Opener {
    pub(super) fn new(settings: Settings) -> Result<Self> {
        settings.check()?;
        Ok(Self { settings })
    }

    /// Whether an acknowledged write must have reached the disk.
    pub(super) fn waits_for_disk(&self) -> bool {
        self.settings.synchronous == Synchronous::Full && self.settings.place != Place::Memory
    }

    /// How long whoever writes waits for the lock.
    pub(super) fn patience(&self) -> Patience {
        Patience { until: Instant::now() + self.settings.busy_timeout }
    }

    /// A connection that writes. It does not wait for the lock by itself: that takes a [`Patience`].
    pub(super) async fn writer(&self) -> Result<SqliteConnection> {
        self.open("OFF").await.map_err(|error| error.context("file", self.settings.location()))
    }

    /// A connection that only reads.
    pub(super) async fn reader(&self) -> Result<SqliteConnection> {
        self.open("ON").await.map_err(|error| error.context("file", self.settings.location()))
    }

    async fn open(&self, query_only: &str) -> Result<SqliteConnection> {
        let options = SqliteConnectOptions::new()
            .create_if_missing(true)
            .busy_timeout(self.settings.busy_timeout)
            .statement_cache_capacity(STATEMENTS_KEPT)
            .row_buffer_size(1_024)
            .thread_name(|number| format!("taskwright-sqlite-{number}"))
            .disable_statement_logging();
        let options = match &self.settings.place {
            Place::Memory => options.filename(":memory:"),
            Place::File(path) => options.filename(path),
        };
        let mut db = options.connect().await.map_err(fault)?;
        self.set_pragmas(&mut db, query_only).await?;
        Ok(db)
    }

    /// Sets what must hold on every connection, and reads each back: a setting that silently did not take effect has
    /// cost others their data.
    async fn set_pragmas(&self, db: &mut SqliteConnection, query_only: &str) -> Result<()> {
        let journal = if self.settings.place == Place::Memory {
            "memory"
        } else {
            self.switch_to_wal(db).await?;
            "wal"
        };
        check(db, "journal_mode", journal).await?;
        let synchronous = match self.settings.synchronous {
            Synchronous::Full => ("FULL", "2"),
            Synchronous::Normal => ("NORMAL", "1"),
        };
        set(db, "synchronous", synchronous.0, synchronous.1).await?;
        if let Some(pages) = self.settings.max_pages {
            // SQLite raises a limit below what is there already.
            pragma(db, &format!("PRAGMA max_page_count = {pages}")).await?;
        }
        let reads = query_only == "ON";
        // What a statement changed, for the case that it fails half way, went into a file that was made for it as soon as
        // that was more than 16 pages: one for each claim of jobs that lie apart. What is written at once is bounded; what a
        // reader sorts need not be.
        let temporary = if reads { ("DEFAULT", "0") } else { ("MEMORY", "2") };
        set(db, "temp_store", temporary.0, temporary.1).await?;
        set(db, "query_only", query_only, if reads { "1" } else { "0" }).await?;
        let timeout = if reads { self.settings.busy_timeout.as_millis() } else { 0 }.to_string();
        set(db, "busy_timeout", &timeout, &timeout).await
    }

    /// SQLite does not wait for the exclusive lock that this takes, so wait here; only the first process needs it.
    async fn switch_to_wal(&self, db: &mut SqliteConnection) -> Result<()> {
        let patience = self.patience();
        loop {
            match sqlx::query("PRAGMA journal_mode = WAL").persistent(false).fetch_optional(&mut *db).await {
                Ok(_) => return Ok(()),
                Err(error) => patience.wait_after(error).await?,
            }
        }
    }
}

/// Waits for a lock that another process has.
///
/// SQLite waits by asking again too, but ever more seldom, ten times a second in the end. A process that writes without a
/// pause leaves the lock for some microseconds between two commits, and on a slow disk the other one then missed each of
/// them until its time was over.
pub(super) struct Patience {
    until: Instant,
}

impl Patience {
    /// Waits a moment if this error says that the lock is taken.
    ///
    /// # Errors
    ///
    /// The error itself where it says something else, or where the time is over.
    pub(super) async fn wait_after(&self, error: sqlx::Error) -> Result<()> {
        if !is_locked(&error) || Instant::now() >= self.until {
            return Err(fault(error));
        }
        tokio::time::sleep(ASK_AGAIN).await;
        Ok(())
    }
}

/// A try to begin takes some tens of microseconds.
const ASK_AGAIN: Duration = Duration::from_millis(1);

async fn set(db: &mut SqliteConnection, name: &'static str, value: &str, expected: &str) -> Result<()> {
    pragma(db, &format!("PRAGMA {name} = {value}")).await?;
    check(db, name, expected).await
}

async fn check(db: &mut SqliteConnection, name: &'static str, expected: &str) -> Result<()> {
    let actual = pragma(db, &format!("PRAGMA {name}")).await?;
    if actual == expected {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        format!(
            "sqlite did not take the setting {name}: it should be {expected} and is `{actual}`; does the file system support it?"
        ),
    ))
}

/// Runs a pragma and tells what it answered.
async fn pragma(db: &mut SqliteConnection, sql: &str) -> Result<String> {
    let row = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_optional(db).await.map_err(fault)?;
    let Some(row) = row else { return Ok(String::new()) };
    row.try_get_unchecked::<String, _>(0).map_err(fault)
}
