//! Connections that only read, beside the writer.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sqlx::{Connection, SqliteConnection};
use tokio::sync::Semaphore;

use super::connect::Opener;
use super::error::{closed, fault};
use crate::backend::sql::news::News;
use crate::backend::sql::work::Work;
use crate::error::Result;
use crate::time::Clock;

/// How many reads go on at once.
const READERS: usize = 2;

/// A small pool of reading connections, opened when first needed.
pub(super) struct Readers {
    opener: Opener,
    clock: Clock,
    /// One permit a connection; closed with the pool.
    permits: Semaphore,
    /// Connections that nobody uses at the moment. Held to take or give one, never across an await.
    idle: Mutex<Vec<SqliteConnection>>,
}

impl Readers {
    pub(super) fn new(opener: Opener, clock: Clock) -> Self {
        Self { opener, clock, permits: Semaphore::new(READERS), idle: Mutex::default() }
    }

    /// Runs `work` on one consistent state of the database.
    ///
    /// Cancel safe: a connection whose read was given up is dropped rather than used again.
    pub(super) async fn run<W: Work>(&self, mut work: W) -> Result<W::Answer> {
        let _permit = self.permits.acquire().await.map_err(|_| closed())?;
        let idle = self.lock().pop();
        let mut db = match idle {
            Some(db) => db,
            None => self.opener.reader().await?,
        };
        sqlx::query("BEGIN").execute(&mut db).await.map_err(fault)?;
        let answer = work.run(&mut db, self.clock.now(), &mut News::default()).await?;
        sqlx::query("COMMIT").execute(&mut db).await.map_err(fault)?;
        self.lock().push(db);
        Ok(answer)
    }

    /// Refuses new reads, waits for the running ones and closes the connections.
    pub(super) async fn close(&self) -> Result<()> {
        // Fails only when closed before, and then there is nothing left to wait for.
        if let Ok(all) = self.permits.acquire_many(u32::try_from(READERS).unwrap_or(1)).await {
            self.permits.close();
            drop(all);
        }
        let idle: Vec<_> = self.lock().drain(..).collect();
        for db in idle {
            db.close().await.map_err(fault)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
