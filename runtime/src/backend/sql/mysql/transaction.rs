//! Pushing in the caller's own transaction.

use std::any::Any;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use sqlx::{Connection, MySqlConnection};

use super::MySql;
use super::connect::{NOW, Settings};
use super::error::{closed, fault, took_back_everything};
use super::tables::Session;
use super::wake::POST;
use crate::backend::sql::news::News;
use crate::backend::sql::push::PushWork;
use crate::backend::sql::server::{MOST_RUNS, gives_way};
use crate::backend::sql::speaker::message;
use crate::backend::sql::tables::{Columns, Tables, Value};
use crate::backend::sql::work::Work;
use crate::backend::{Completion, InTransaction, Push, Pushed, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::time::{Clock, Timestamp};

impl InTransaction for sqlx::Transaction<'_, sqlx::MySql> {
    fn connection(&mut self) -> &mut (dyn Any + Send) {
        &mut **self
    }
}

impl InTransaction for MySqlConnection {
    fn connection(&mut self) -> &mut (dyn Any + Send) {
        self
    }
}

#[async_trait]
impl Transaction for MySql {
    async fn push_in(&self, connection: &mut (dyn Any + Send), push: &Push) -> Result<Vec<Pushed>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        let Some(db) = connection.downcast_mut::<MySqlConnection>() else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the transaction is not one of sqlx's MySQL; dispatch_in takes `&mut sqlx::Transaction<'_, sqlx::MySql>`",
            ));
        };
        if push.jobs.is_empty() {
            return Ok(Vec::new());
        }
        let settings = &self.connections.server;
        let mut work = PushWork::new(push, false)?;
        let mut runs = 1;
        loop {
            match self.attempt(&mut work, db).await {
                // What the other transaction stored is seen by the next run, unless the caller's isolation hides it.
                Err(error) if runs < MOST_RUNS && gives_way(settings, &error) && !is_over(&error) => runs += 1,
                ended => return ended,
            }
        }
    }

    fn completion(&self) -> Option<&dyn Completion> {
        None
    }
}

/// Whether the caller's transaction has ended with the error.
fn is_over(error: &Error) -> bool {
    let cause = std::error::Error::source(error);
    cause.and_then(|cause| cause.downcast_ref()).is_some_and(took_back_everything)
}

impl MySql {
    /// In a savepoint: after an error the caller's transaction is as before, and so it is when this future is dropped.
    async fn attempt(&self, work: &mut PushWork, db: &mut MySqlConnection) -> Result<Vec<Pushed>> {
        let settings = &self.connections.server;
        let mut savepoint = db.begin().await.map_err(fault)?;
        let mut session = Session::new(&mut *savepoint, settings);
        let now = look(&mut session, settings, &self.clock).await?;
        let answers = work.run(&mut session, now, &mut News::default()).await?;
        if settings.notifies {
            // Seen by the other processes, and by this one, when the caller commits.
            session.execute(POST, &[Value::Text(&message("", &work.news()))]).await?;
        }
        savepoint.commit().await.map_err(fault)?;
        Ok(answers)
    }
}

/// The server's time, if it is the database where the queue lives: a job in another database would never run, and nobody
/// would say so.
async fn look<Db: Tables>(session: &mut Db, settings: &Settings, clock: &Clock) -> Result<Timestamp> {
    let sql = format!("SELECT coalesce(DATABASE(), ''), {NOW}");
    let rows = session.fetch(sql, &[]).await?;
    let row = rows.first().ok_or_else(|| Error::unavailable("the server did not answer"))?;
    let theirs = row.text(0)?;
    if Some(&*theirs) != settings.options.get_database() {
        return Err(Error::invalid(format!(
            "the transaction is on database `{theirs}`, and the queue lives at {}; both must be the same",
            settings.location()
        )));
    }
    Ok(Timestamp::from_micros(row.integer(1)?.saturating_add(clock.offset())))
}
