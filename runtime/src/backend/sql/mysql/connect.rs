//! From a URL to connections.

use async_trait::async_trait;
use sqlx::mysql::{MySqlConnectOptions, MySqlRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, MySqlConnection, Row};

use super::error::{closed, fault, is_in_the_way};
use super::tables::Session;
use crate::backend::sql::server::{Access, Begin, Server};
use crate::backend::sql::work::Isolation;
use crate::backend::sql::{completion, url};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Timestamp;

/// The options that only taskwright knows; `sqlx` sees to the rest.
const OPTIONS: &str = "prefix, notify, transactions";

/// Those of `sqlx`; what is neither is a mistake.
const DRIVERS_OPTIONS: [&str; 9] =
    ["sslmode", "ssl-mode", "sslca", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key", "socket"];

/// Compiled statements that a connection keeps: every statement in its few lengths.
const STATEMENTS_KEPT: usize = 256;

/// The longest prefix of tables: their names have at most 64 characters.
const LONGEST_PREFIX: usize = 48;

/// What holds on every connection, whatever the server is set to: a value that does not fit is an error instead of being
/// cut, a lock that nobody lets go of is waited for no longer than a lease may be, and locks on gaps between rows, where
/// others store theirs, are not taken.
const SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', \
    SESSION innodb_lock_wait_timeout = 10, SESSION wait_timeout = 28800; \
    SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// What a URL asks for. Has no `Debug`, since it has a password.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) options: MySqlConnectOptions,
    /// What the names of tables begin with.
    pub(super) prefix: String,
    /// Whether other processes are told what happened.
    pub(super) notifies: bool,
    /// How many tasks run in transactions at once.
    pub(super) transactions: u32,
    /// The most bytes that the server takes in one message; known once a connection was examined.
    pub(super) packet: usize,
    /// Whose server it is; known then too.
    pub(super) maker: Maker,
}

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// MySQL, and what is made of it.
    Oracle,
    MariaDb,
}

impl Maker {
    /// That of a server that says its version so (`8.0.36`, `10.11.6-MariaDB-1`).
    pub(super) fn of(version: &str) -> Self {
        if version.contains("MariaDB") { Self::MariaDb } else { Self::Oracle }
    }
}

impl Settings {
    /// Reads `mysql://user:password@host:port/database?option=value&option=value`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let Some(rest) = text.strip_prefix("mysql://").or_else(|| text.strip_prefix("mariadb://")) else {
            return Err(Error::invalid("this is not a MySQL URL; write `mysql://user:password@host/database`"));
        };
        let (address, options) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut prefix, mut notifies) = ("taskwright_".to_owned(), true);
        let mut transactions = completion::TRANSACTIONS;
        let mut drivers = Vec::new();
        for (key, value) in url::options(options) {
            match key {
                "prefix" => prefix = url::decode_percent(value)?,
                "notify" if value == "off" => notifies = false,
                "notify" if value == "on" => notifies = true,
                "notify" => return Err(Error::invalid(format!("notify={value} is not known; it is on or off"))),
                "transactions" => transactions = completion::transactions(value)?,
                key if DRIVERS_OPTIONS.contains(&key) => drivers.push(format!("{key}={value}")),
                key => {
                    let drivers = DRIVERS_OPTIONS.join(", ");
                    return Err(Error::invalid(format!(
                        "`{key}` is not an option of a MySQL URL; the options are {OPTIONS}, {drivers}"
                    )));
                }
            }
        }
        let fits = (1..=LONGEST_PREFIX).contains(&prefix.len());
        if !fits || !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return Err(Error::invalid(format!(
                "`{prefix}` can't be what taskwright's tables begin with; use 1 to {LONGEST_PREFIX} characters of A-Z a-z 0-9 _"
            )));
        }
        let url = format!("mysql://{address}?{}", drivers.join("&"));
        let options: MySqlConnectOptions = url.parse().map_err(fault)?;
        if options.get_database().is_none() {
            return Err(Error::invalid("the URL names no database; write `mysql://user:password@host/database`"));
        }
        let options = options.disable_statement_logging().statement_cache_capacity(STATEMENTS_KEPT);
        Ok(Self { options, prefix, notifies, transactions, packet: 0, maker: Maker::Oracle })
    }

    /// Where it is, without secrets.
    pub(super) fn location(&self) -> String {
        let options = &self.options;
        let place = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        format!("{place}/{}, tables {}*", options.get_database().unwrap_or_default(), self.prefix)
    }

    pub(super) async fn connect(&self) -> Result<MySqlConnection> {
        let mut db = self.options.connect().await.map_err(fault)?;
        simple(&mut db, SESSION.to_owned()).await?;
        Ok(db)
    }
}

#[async_trait]
impl Server for Settings {
    type Session = Session<MySqlConnection>;

    const NOW: &'static str = NOW;

    async fn open(&self) -> Result<Self::Session> {
        let db = self.connect().await.map_err(|error| error.context("server", self.location()))?;
        Ok(Session::new(db, self))
    }

    async fn begin(&self, session: &mut Self::Session, begin: Begin<'_>) -> Result<Timestamp> {
        let rows = simple(&mut session.db, beginning(begin)).await?;
        now_of(&rows)
    }

    async fn commit(&self, session: &mut Self::Session) -> Result<()> {
        simple(&mut session.db, "COMMIT".to_owned()).await?;
        Ok(())
    }

    async fn roll_back(&self, session: &mut Self::Session) -> Result<()> {
        simple(&mut session.db, "ROLLBACK".to_owned()).await?;
        Ok(())
    }

    async fn close(&self, session: Self::Session) -> Result<()> {
        session.db.close().await.map_err(fault)
    }

    fn is_in_the_way(&self, error: &sqlx::Error) -> bool {
        is_in_the_way(error)
    }

    fn closed(&self) -> Error {
        closed()
    }
}

/// The server's time in microseconds.
pub(super) const NOW: &str = "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)";

/// Begins a transaction and asks for the time: one message, one answer.
fn beginning(begin: Begin<'_>) -> String {
    let (isolation, snapshot) = match begin.isolation {
        Isolation::ReadCommitted => ("", None),
        Isolation::RepeatableRead => {
            ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; ", Some("WITH CONSISTENT SNAPSHOT"))
        }
    };
    let access = (begin.access == Access::Read).then_some("READ ONLY");
    let how: Vec<_> = [snapshot, access].into_iter().flatten().collect();
    format!("{isolation}START TRANSACTION {}; SELECT {NOW}", how.join(", "))
}

/// Runs statements in one message, without values; their rows come as text.
pub(super) async fn simple(db: &mut MySqlConnection, sql: String) -> Result<Vec<MySqlRow>> {
    db.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql))).await.map_err(fault)
}

/// The number in the first column of the last row of such an answer.
fn now_of(rows: &[MySqlRow]) -> Result<Timestamp> {
    let row = rows.last().ok_or_else(|| Error::new(ErrorKind::Corrupt, "the server did not tell its time"))?;
    row.try_get_unchecked(0).map(Timestamp::from_micros).map_err(fault)
}
