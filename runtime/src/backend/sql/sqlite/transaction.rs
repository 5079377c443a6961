//! Pushing in the caller's own transaction.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{Connection, Row, SqliteConnection};

use super::Sqlite;
use super::error::{closed, fault};
use crate::backend::sql::news::News;
use crate::backend::sql::push::PushWork;
use crate::backend::sql::work::Work;
use crate::backend::{Completion, InTransaction, Push, Pushed, Transaction};
use crate::error::{Error, ErrorKind, Result};

impl InTransaction for sqlx::Transaction<'_, sqlx::Sqlite> {
    fn connection(&mut self) -> &mut (dyn Any + Send) {
        &mut **self
    }
}

impl InTransaction for SqliteConnection {
    fn connection(&mut self) -> &mut (dyn Any + Send) {
        self
    }
}

#[async_trait]
impl Transaction for Sqlite {
    async fn push_in(&self, connection: &mut (dyn Any + Send), push: &Push) -> Result<Vec<Pushed>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        let Some(db) = connection.downcast_mut::<SqliteConnection>() else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the transaction is not one of sqlx's SQLite; dispatch_in takes `&mut sqlx::Transaction<'_, sqlx::Sqlite>`",
            ));
        };
        if push.jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.check_same_database(db).await?;
        let mut work = PushWork::new(push, false)?;
        // A savepoint: after an error the caller's transaction is as before, and so it is when this future is dropped.
        let mut savepoint = db.begin().await.map_err(fault)?;
        let answers = work.run(&mut *savepoint, self.clock.now(), &mut News::default()).await?;
        savepoint.commit().await.map_err(fault)?;
        self.hint_after_commit(work.news());
        Ok(answers)
    }

    /// `None`: SQLite has one writer, so a task that had written would hold up every claim and heartbeat until it ends.
    fn completion(&self) -> Option<&dyn Completion> {
        None
    }
}

impl Sqlite {
    /// A job in another database would never run, and nobody would say so.
    async fn check_same_database(&self, db: &mut SqliteConnection) -> Result<()> {
        const FILE: &str = "SELECT file FROM pragma_database_list WHERE name = 'main'";
        let file: String = sqlx::query(FILE).fetch_one(db).await.map_err(fault)?.try_get(0).map_err(fault)?;
        let theirs = Path::new(&file).canonicalize().ok();
        if theirs.is_some() && theirs == self.path {
            return Ok(());
        }
        let file = if file.is_empty() { "a database in memory" } else { &file };
        Err(Error::invalid(format!(
            "the transaction is on {file}, and the queue lives in {}; both must be the same file",
            self.info.location
        )))
    }

    /// Nobody tells when the caller commits, so workers of this process are hinted at a few moments after now; what is
    /// committed later is found by their own polling.
    fn hint_after_commit(&self, news: News) {
        let (listeners, stop) = (Arc::clone(&self.listeners), self.stop.clone());
        self.tasks.spawn(async move {
            let mut wait = Duration::from_millis(5);
            while wait <= Duration::from_secs(1) {
                tokio::select! {
                    () = tokio::time::sleep(wait) => listeners.tell(&news),
                    // The backend is closed or gone, and hints are all that is lost.
                    () = stop.cancelled() => return,
                }
                wait *= 2;
            }
        });
    }
}
