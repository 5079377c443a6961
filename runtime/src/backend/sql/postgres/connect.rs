//! From a URL to connections.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Row, ValueRef};
use tokio::time::Instant;

use super::error::{closed, fault, is_in_the_way, waited_in_vain};
use super::tables::{Schema, Session};
use crate::backend::sql::server::{Access, Begin, Server};
use crate::backend::sql::work::Isolation;
use crate::backend::sql::{completion, url};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Timestamp;

/// The options that only taskwright knows; `sqlx` sees to the rest.
const OPTIONS: &str = "schema, pooler, notify, transactions";

/// Those of `sqlx`; what is neither is a mistake.
const DRIVERS_OPTIONS: [&str; 16] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
];

/// How long opening a connection, or its answer, may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Compiled statements that a connection keeps: every statement in its few lengths.
const STATEMENTS_KEPT: usize = 256;

/// What holds on every connection. A plan that reads whole tables is wrong as soon as there is a backlog, and the
/// statistics of a table that fills and empties within seconds would suggest one; compiling a plan takes longer than
/// running it, and so does making it anew: a claim's statement is planned in half a millisecond and run in less than a
/// tenth of that, but the server would plan each anew since it takes the lists in it for longer than they are.
pub(super) const PLANNER: [(&str, &str); 3] =
    [("enable_seqscan", "off"), ("jit", "off"), ("plan_cache_mode", "force_generic_plan")];

/// The first key of the locks that transactions wait for in line; the second is that of the line.
const LINES: i32 = 1_952_541_556;

/// How long a transaction waits for its turn, in which many of those before it are done.
const LONGEST_TURN: Duration = Duration::from_secs(1);

/// How long nobody waits in line after somebody did in vain.
const LINES_REST: Duration = Duration::from_secs(10);

/// For the statements that stand alone, whatever the server is set to; transactions say it themselves.
const ISOLATION: (&str, &str) = ("default_transaction_isolation", "read committed");

/// What a URL asks for. Has no `Debug`, since it has a password.
pub(super) struct Settings {
    options: PgConnectOptions,
    pub(super) schema: Schema,
    pub(super) pooler: Pooler,
    /// Whether other processes are told what happened.
    pub(super) notifies: bool,
    /// How many tasks run in transactions at once.
    pub(super) transactions: u32,
    /// When waiting in a line was last in vain. Held to read or note it.
    left_lines: Mutex<Option<Instant>>,
}

/// What stands between this process and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooler {
    /// Nothing, or something that keeps a connection together.
    None,
    /// A pooler that may run each transaction on another connection: no prepared statements, no listening.
    Transaction,
}

impl Settings {
    /// Reads `postgres://user:password@host:port/database?option=value&option=value`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(Error::invalid("this is not a Postgres URL; write `postgres://user:password@host/database`"));
        }
        let (address, options) = text.split_once('?').unwrap_or((text, ""));
        let (mut schema, mut pooler, mut notifies) = ("taskwright".to_owned(), Pooler::None, true);
        let mut transactions = completion::TRANSACTIONS;
        let mut drivers = Vec::new();
        for (key, value) in url::options(options) {
            match key {
                "schema" => schema = url::decode_percent(value)?,
                "pooler" if value == "transaction" => pooler = Pooler::Transaction,
                "pooler" => return Err(Error::invalid(format!("pooler={value} is not known; it is transaction"))),
                "notify" if value == "off" => notifies = false,
                "notify" if value == "on" => notifies = true,
                "notify" => return Err(Error::invalid(format!("notify={value} is not known; it is on or off"))),
                "transactions" => transactions = completion::transactions(value)?,
                key if DRIVERS_OPTIONS.contains(&key) || key.starts_with("options") => {
                    drivers.push(format!("{key}={value}"));
                }
                key => {
                    let drivers = DRIVERS_OPTIONS.join(", ");
                    return Err(Error::invalid(format!(
                        "`{key}` is not an option of a Postgres URL; the options are {OPTIONS}, {drivers}, options"
                    )));
                }
            }
        }
        let url = format!("{address}?{}", drivers.join("&"));
        let mut options: PgConnectOptions = url.parse().map_err(fault)?;
        options = options.disable_statement_logging().statement_cache_capacity(STATEMENTS_KEPT);
        if options.get_application_name().is_none() {
            options = options.application_name("taskwright");
        }
        if pooler == Pooler::Transaction {
            // Poolers refuse what they don't know in the first message.
            options = options.extra_float_digits(None);
        }
        let schema = Schema::new(&schema)?;
        Ok(Self { options, schema, pooler, notifies, transactions, left_lines: Mutex::default() })
    }

    /// Connections for our own statements.
    pub(super) fn for_work(&self) -> PgConnectOptions {
        let options = self.options.clone();
        if self.pooler == Pooler::Transaction { options } else { options.options(PLANNER).options([ISOLATION]) }
    }

    /// Connections for a task's statements: as the user's own would be.
    pub(super) fn for_tasks(&self) -> PgConnectOptions {
        let options = self.options.clone();
        if self.pooler == Pooler::Transaction { options.statement_cache_capacity(0) } else { options }
    }

    /// Where it is, without secrets.
    pub(super) fn location(&self) -> String {
        let options = &self.options;
        let place = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{}:{}", options.get_host(), options.get_port()),
        };
        let database = options.get_database().unwrap_or(options.get_username());
        format!("{place}/{database}, schema {}", self.schema.name())
    }

    pub(super) async fn connect(&self) -> Result<PgConnection> {
        self.for_work().connect().await.map_err(fault)
    }
}

#[async_trait]
impl Server for Settings {
    type Session = Session<PgConnection>;

    const NOW: &'static str = NOW;

    async fn open(&self) -> Result<Self::Session> {
        let db = self.connect().await.map_err(|error| error.context("server", self.location()))?;
        Ok(Session::new(db, self))
    }

    async fn begin(&self, session: &mut Self::Session, begin: Begin<'_>) -> Result<Timestamp> {
        let begin = Begin { line: begin.line.filter(|_| self.lines_move()), ..begin };
        let rows = match simple(&mut session.db, self.beginning(begin)).await {
            Err(error) if begin.line.is_some() && waited_in_vain(&error) => {
                tracing::debug!(?error, "whoever is first in line may have gone; going past");
                self.leave_lines();
                self.roll_back(session).await?;
                simple(&mut session.db, self.beginning(Begin { line: None, ..begin })).await?
            }
            answer => answer?,
        };
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
pub(super) const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

impl Settings {
    /// Begins a transaction, sets what holds in it and asks for the time: one message, one answer.
    fn beginning(&self, begin: Begin<'_>) -> String {
        let isolation = match begin.isolation {
            Isolation::ReadCommitted => "READ COMMITTED",
            Isolation::RepeatableRead => "REPEATABLE READ",
        };
        // Writing is left to what the server says of itself.
        let access = if begin.access == Access::Read { " READ ONLY" } else { "" };
        let mut columns = vec![NOW.to_owned()];
        let mut set = |name: &str, value: &str| columns.push(format!("set_config('{name}', '{value}', true)"));
        if !begin.durable {
            set("synchronous_commit", "off");
        }
        if self.pooler == Pooler::Transaction {
            for (name, value) in PLANNER {
                set(name, value);
            }
        }
        let turn = begin.line.map(|line| self.turn_in(line)).unwrap_or_default();
        format!("BEGIN ISOLATION LEVEL {isolation}{access}; {turn}SELECT {}", columns.join(", "))
    }

    /// Waits for a lock that ends with the transaction, but not for long: whoever has it may hang.
    fn turn_in(&self, line: &str) -> String {
        let name = format!("{}:{line}", self.schema.name()).replace('\\', "\\\\").replace('\'', "''");
        let longest = LONGEST_TURN.as_millis();
        format!(
            "SELECT set_config('lock_timeout', '{longest}', true); \
             SELECT pg_advisory_xact_lock({LINES}, hashtext(E'{name}')); SET LOCAL lock_timeout TO DEFAULT; "
        )
    }

    /// Whether waiting in a line made sense the last time, or that is long ago.
    fn lines_move(&self) -> bool {
        let left = *self.left_lines.lock().unwrap_or_else(PoisonError::into_inner);
        left.is_none_or(|left| left.elapsed() >= LINES_REST)
    }

    fn leave_lines(&self) {
        *self.left_lines.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

/// Runs statements in one message, without values; their rows come as text.
pub(super) async fn simple(db: &mut PgConnection, sql: String) -> Result<Vec<PgRow>> {
    db.fetch_all(sqlx::raw_sql(AssertSqlSafe(sql))).await.map_err(fault)
}

/// The number in the first column of the last row of such an answer.
pub(super) fn now_of(rows: &[PgRow]) -> Result<Timestamp> {
    let nonsense = || Error::new(ErrorKind::Corrupt, "the server did not tell its time");
    let value = rows.last().ok_or_else(nonsense)?.try_get_raw(0).map_err(fault)?;
    let text = if value.is_null() { None } else { value.as_str().ok() };
    text.and_then(|text| text.parse().ok()).map(Timestamp::from_micros).ok_or_else(nonsense)
}
