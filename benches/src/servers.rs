//! What servers count themselves.

use std::time::Duration;

use anyhow::Result;
use sqlx::{Connection, MySqlConnection, PgConnection, SqliteConnection};

use crate::sites::{Kind, Store};

/// What a server has counted since it started, where it does.
#[derive(Default)]
pub(crate) struct Counters {
    /// Bytes of write-ahead log.
    pub(crate) wal: Option<f64>,
    /// Transactions of Postgres, statements of MySQL.
    pub(crate) requests: Option<f64>,
}

impl Counters {
    pub(crate) async fn read(store: &Store) -> Result<Self> {
        match store.kind {
            Kind::Postgres => of_postgres(store.server()?).await,
            Kind::MySql => of_mysql(store.server()?).await,
            _ => Ok(Self::default()),
        }
    }

    /// How many requests came since these were read.
    pub(crate) async fn since(&self, store: &Store) -> Result<Option<f64>> {
        let now = Self::read(store).await?;
        Ok(now.requests.zip(self.requests).map(|(now, then)| now - then))
    }

    /// How many requests come in so long.
    pub(crate) async fn of_a_while(store: &Store, time: Duration) -> Result<Option<f64>> {
        let before = Self::read(store).await?;
        tokio::time::sleep(time).await;
        before.since(store).await
    }
}

async fn of_postgres(url: &str) -> Result<Counters> {
    const COUNTERS: &str = "select (pg_current_wal_insert_lsn() - '0/0')::float8,
        (select (xact_commit + xact_rollback)::float8 from pg_stat_database where datname = current_database())";
    let mut db = PgConnection::connect(url).await?;
    let (wal, requests) = sqlx::query_as(COUNTERS).fetch_one(&mut db).await?;
    db.close().await?;
    Ok(Counters { wal: Some(wal), requests: Some(requests) })
}

/// It does not count transactions that it is told of by statements.
async fn of_mysql(url: &str) -> Result<Counters> {
    let mut db = MySqlConnection::connect(url).await?;
    let (_, questions): (String, String) =
        sqlx::query_as("show global status like 'Questions'").fetch_one(&mut db).await?;
    db.close().await?;
    Ok(Counters { wal: None, requests: Some(questions.parse()?) })
}

/// What a store says it is; RabbitMQ is not asked.
pub(crate) async fn version(store: &Store) -> Result<Option<String>> {
    let version: String = match store.kind {
        Kind::SqliteFull | Kind::SqliteNormal => {
            let mut db = SqliteConnection::connect("sqlite::memory:").await?;
            sqlx::query_scalar("select sqlite_version()").fetch_one(&mut db).await?
        }
        Kind::Postgres => {
            let mut db = PgConnection::connect(store.server()?).await?;
            sqlx::query_scalar("show server_version").fetch_one(&mut db).await?
        }
        Kind::MySql => {
            let mut db = MySqlConnection::connect(store.server()?).await?;
            sqlx::query_scalar("select version()").fetch_one(&mut db).await?
        }
        Kind::Redis => {
            let mut db = redis::Client::open(store.server()?)?.get_multiplexed_async_connection().await?;
            let told: String = redis::cmd("INFO").arg("server").query_async(&mut db).await?;
            told.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default().to_owned()
        }
        Kind::Memory | Kind::RabbitMq => return Ok(None),
    };
    Ok(Some(version))
}
