//! How the stores that come with the crate are opened for the suite.

use std::any::Any;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use sqlx::SqlitePool;
use taskwright::backend::memory::Memory;
use taskwright::backend::sql::sqlite::Sqlite;
use taskwright::backend::{Backend, InTransaction};
use taskwright::testing::conformance::Ability;
use taskwright::testing::{OpenTransaction, Setup};
use taskwright::time::Clock;
use taskwright::{Error, Name, Result};

/// Stores in memory, which live on here when a test has closed its handles.
#[derive(Default)]
pub(crate) struct FreshMemory {
    stores: Mutex<HashMap<Name, Memory>>,
}

#[async_trait]
impl Setup for FreshMemory {
    fn abilities(&self) -> &'static [Ability] {
        &[Ability::Results, Ability::Wake, Ability::Leader, Ability::Inspect, Ability::Reopen]
    }

    async fn open(&self, store: &Name, clock: &Clock) -> Result<Arc<dyn Backend>> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        let store = stores.entry(store.clone()).or_insert_with(|| Memory::with_clock(clock.clone()));
        Ok(Arc::new(store.share()))
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
        Ok(Box::new(SqliteTransaction(pool.begin().await.map_err(failed)?)))
    }
}

/// A transaction as a user of `sqlx` has it.
struct SqliteTransaction(sqlx::Transaction<'static, sqlx::Sqlite>);

impl InTransaction for SqliteTransaction {
    fn connection(&mut self) -> &mut (dyn Any + Send) {
        self.0.connection()
    }
}

#[async_trait]
impl OpenTransaction for SqliteTransaction {
    async fn commit(self: Box<Self>) -> Result<()> {
        self.0.commit().await.map_err(failed)
    }

    async fn rollback(self: Box<Self>) -> Result<()> {
        self.0.rollback().await.map_err(failed)
    }
}

fn failed(error: sqlx::Error) -> Error {
    Error::unavailable("the user's own connection failed").because(error)
}
