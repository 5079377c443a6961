//! How the stores that come with the crate are opened for the suite.

use std::any::Any;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sqlx::{MySqlPool, PgPool, SqlitePool};
use taskwright::backend::memory::Memory;
use taskwright::backend::rabbitmq::{Carried, RabbitMq};
use taskwright::backend::redis::Redis;
use taskwright::backend::sql::mysql::MySql;
use taskwright::backend::sql::postgres::Postgres;
use taskwright::backend::sql::sqlite::Sqlite;
use taskwright::backend::{Backend, EventsApart, InTransaction, Keeper, ResultsApart};
use taskwright::testing::conformance::Ability;
use taskwright::testing::{OpenTransaction, Setup};
use taskwright::time::Clock;
use taskwright::{Error, Name, Result};
use taskwright_tests::servers::{Kind, Server};

/// Queues of a broker that carry the jobs of these stores.
pub(crate) struct FreshCarried<Record> {
    record: Record,
}

impl<Record: Setup> FreshCarried<Record> {
    pub(crate) fn of(record: Record) -> Self {
        Self { record }
    }
}

#[async_trait]
impl<Record: Setup> Setup for FreshCarried<Record> {
    fn abilities(&self) -> &'static [Ability] {
        self.record.abilities()
    }

    async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        let url = format!("{}?prefix={store}", url_of(Kind::RabbitMq)?);
        Ok(Arc::new(Carried::connect(&url, self.record.open(store, clock).await?).await?))
    }

    async fn begin(&self, store: &Name) -> Result<Box<dyn OpenTransaction>> {
        self.record.begin(store).await
    }
}

/// Jobs in one kind of store, and their results in another.
pub(crate) struct FreshApart<Jobs, Results> {
    jobs: Jobs,
    results: Results,
}

impl<Jobs: Setup, Results: Setup> FreshApart<Jobs, Results> {
    pub(crate) fn new(jobs: Jobs, results: Results) -> Self {
        Self { jobs, results }
    }
}

#[async_trait]
impl<Jobs: Setup, Results: Setup> Setup for FreshApart<Jobs, Results> {
    fn abilities(&self) -> &'static [Ability] {
        self.jobs.abilities()
    }

    async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        let jobs = self.jobs.open(store, clock).await?;
        Ok(Arc::new(ResultsApart::of_store(jobs, keeper(&self.results, store, clock).await?)))
    }

    async fn begin(&self, store: &Name) -> Result<Box<dyn OpenTransaction>> {
        self.jobs.begin(store).await
    }
}

/// Jobs in one kind of store, and hints through another.
pub(crate) struct FreshEventsApart<Jobs, Events> {
    jobs: Jobs,
    events: Events,
}

impl<Jobs: Setup, Events: Setup> FreshEventsApart<Jobs, Events> {
    pub(crate) fn new(jobs: Jobs, events: Events) -> Self {
        Self { jobs, events }
    }
}

#[async_trait]
impl<Jobs: Setup, Events: Setup> Setup for FreshEventsApart<Jobs, Events> {
    fn abilities(&self) -> &'static [Ability] {
        self.jobs.abilities()
    }

    async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        let (jobs, events) = (self.jobs.open(store, clock).await?, self.events.open(store, clock).await?);
        Ok(Arc::new(EventsApart::new(jobs, events)?))
    }
}

/// Queues of a broker, and the results of their jobs in these stores.
pub(crate) struct FreshRabbitMqWithResults<Results> {
    results: Results,
}

impl<Results: Setup> FreshRabbitMqWithResults<Results> {
    pub(crate) fn in_store(results: Results) -> Self {
        Self { results }
    }
}

#[async_trait]
impl<Results: Setup> Setup for FreshRabbitMqWithResults<Results> {
    fn abilities(&self) -> &'static [Ability] {
        &[Ability::Results, Ability::Wake, Ability::Reopen]
    }

    async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        let url = format!("{}?prefix={store}", url_of(Kind::RabbitMq)?);
        let keeper = keeper(&self.results, store, clock).await?;
        let broker = RabbitMq::connect_with(&url, clock.clone()).await?.keeping(keeper.clone());
        Ok(Arc::new(ResultsApart::of_carrier(Arc::new(broker), keeper)))
    }
}

/// A keeper of outcomes in a store beside that of the jobs.
async fn keeper(results: &dyn Setup, store: &Name, clock: &Clock) -> Result<Keeper> {
    Keeper::new(results.open(&Name::new(format!("{store}r"))?, clock).await?)
}

/// What a store can do that has no connections to lend.
const WITHOUT_TRANSACTIONS: &[Ability] = &[
    Ability::Results,
    Ability::Wake,
    Ability::Leader,
    Ability::Inspect,
    Ability::Limiter,
    Ability::Ledger,
    Ability::Reopen,
    Ability::Record,
    Ability::Leases,
    Ability::Clock,
    Ability::Aging,
];

/// Stores in memory, which live on here when a test has closed its handles.
#[derive(Default)]
pub(crate) struct FreshMemory {
    stores: Mutex<HashMap<Name, Memory>>,
}

#[async_trait]
impl Setup for FreshMemory {
    fn abilities(&self) -> &'static [Ability] {
        WITHOUT_TRANSACTIONS
    }

    async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let store = stores.entry(store.clone()).or_insert_with(|| Memory::with_clock(clock.clone()));
        Ok(Arc::new(store.share()))
    }
}

/// Queues of a broker, with a prefix a test.
pub(crate) struct FreshRabbitMq;

#[async_trait]
impl Setup for FreshRabbitMq {
    fn abilities(&self) -> &'static [Ability] {
        &[Ability::Wake, Ability::Reopen]
    }

    async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        let url = format!("{}?prefix={store}", url_of(Kind::RabbitMq)?);
        Ok(Arc::new(RabbitMq::connect_with(&url, clock.clone()).await?))
    }
}

/// Databases in a folder, one a test.
pub(crate) struct FreshSqlite {
    folder: PathBuf,
}

impl FreshSqlite {
    pub(crate) fn new(folder: impl AsRef<Path>) -> Self {
        Self { folder: folder.as_ref().to_owned() }
    }

    fn url(&self, store: &Name) -> String {
        format!("sqlite:{}", self.folder.join(format!("{store}.db")).display())
    }
}

#[async_trait]
impl Setup for FreshSqlite {
    fn abilities(&self) -> &'static [Ability] {
        &Ability::ALL
    }

    async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(Sqlite::connect_with(&self.url(store), clock.clone()).await?))
    }

    async fn begin(&self, store: &Name) -> Result<Box<dyn OpenTransaction>> {
        let pool = SqlitePool::connect(&self.url(store)).await.map_err(failed)?;
        Ok(Box::new(UsersTransaction(pool.begin().await.map_err(failed)?)))
    }
}

/// Schemas in one database of the server that all tests share, one a test.
pub(crate) struct FreshPostgres;

/// Where a server is, which is started when the first test needs it.
fn url_of(kind: Kind) -> Result<&'static str> {
    let missing = || Error::unavailable(format!("the {kind} server was there a moment ago"));
    Server::shared(kind).map(Server::url).ok_or_else(missing)
}

#[async_trait]
impl Setup for FreshPostgres {
    fn abilities(&self) -> &'static [Ability] {
        &Ability::ALL
    }

    async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        let url = url_of(Kind::Postgres)?;
        let mark = if url.contains('?') { '&' } else { '?' };
        Ok(Arc::new(Postgres::connect_with(&format!("{url}{mark}schema={store}"), clock.clone()).await?))
    }

    async fn begin(&self, _: &Name) -> Result<Box<dyn OpenTransaction>> {
        let pool = PgPool::connect(url_of(Kind::Postgres)?).await.map_err(failed)?;
        Ok(Box::new(UsersTransaction(pool.begin().await.map_err(failed)?)))
    }
}

/// Tables in one database of the server that all tests share, a prefix of names a test.
pub(crate) struct FreshMySql;

#[async_trait]
impl Setup for FreshMySql {
    fn abilities(&self) -> &'static [Ability] {
        &Ability::ALL
    }

    async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        let url = url_of(Kind::MySql)?;
        let mark = if url.contains('?') { '&' } else { '?' };
        Ok(Arc::new(MySql::connect_with(&format!("{url}{mark}prefix={store}_"), clock.clone()).await?))
    }

    async fn begin(&self, _: &Name) -> Result<Box<dyn OpenTransaction>> {
        let pool = MySqlPool::connect(url_of(Kind::MySql)?).await.map_err(failed)?;
        Ok(Box::new(UsersTransaction(pool.begin().await.map_err(failed)?)))
    }
}

/// A transaction as a user of `sqlx` has it.
struct UsersTransaction<Driver: sqlx::Database>(sqlx::Transaction<'static, Driver>);

/// Once for each driver, since `sqlx` says for each of them alone that its transactions may go to another thread.
macro_rules! users_transaction {
    ($($driver:ty),+) => {$(
        impl InTransaction for UsersTransaction<$driver> {
            fn connection(&mut self) -> &mut (dyn Any + Send) {
                self.0.connection()
            }
        }

        #[async_trait]
        impl OpenTransaction for UsersTransaction<$driver> {
            async fn commit(self: Box<Self>) -> Result<()> {
                self.0.commit().await.map_err(failed)
            }

            async fn rollback(self: Box<Self>) -> Result<()> {
                self.0.rollback().await.map_err(failed)
            }
        }
    )+};
}

users_transaction!(sqlx::MySql, sqlx::Postgres, sqlx::Sqlite);

/// Prefixes of keys on the server that all tests share, one a test.
pub(crate) struct FreshRedis;

#[async_trait]
impl Setup for FreshRedis {
    fn abilities(&self) -> &'static [Ability] {
        WITHOUT_TRANSACTIONS
    }

    async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(Redis::connect_with(&format!("{}?prefix={store}", url_of(Kind::Redis)?), clock.clone()).await?))
    }
}

fn failed(error: sqlx::Error) -> Error {
    Error::unavailable("the user's own connection failed").because(error)
}
