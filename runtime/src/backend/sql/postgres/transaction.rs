//! Pushing in the caller's own transaction.

use std::any::Any;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use sqlx::{Connection, PgConnection};

use super::Postgres;
use super::connect::{NOW, Settings};
use super::error::{closed, fault};
use super::tables::Session;
use crate::backend::sql::news::News;
use crate::backend::sql::push::PushWork;
use crate::backend::sql::server::{MOST_RUNS, gives_way};
use crate::backend::sql::speaker::message;
use crate::backend::sql::tables::{Columns, Tables, Value};
use crate::backend::sql::work::Work;
use crate::backend::{Completion, InTransaction, Push, Pushed, Transaction};
use crate::error::{Error, ErrorKind, Result};
use crate::time::{Clock, Timestamp};

impl InTransaction for sqlx::Transaction<'_, sqlx::Postgres> {
    fn connection(&mut self) -> &mut (dyn Any + Send) {
        &mut **self
    }
}

impl InTransaction for PgConnection {
    fn connection(&mut self) -> &mut (dyn Any + Send) {
        self
    }
}

#[async_trait]
impl Transaction for Postgres {
    async fn push_in(&self, connection: &mut (dyn Any + Send), push: &Push) -> Result<Vec<Pushed>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        let Some(db) = connection.downcast_mut::<PgConnection>() else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the transaction is not one of sqlx's Postgres; dispatch_in takes `&mut sqlx::Transaction<'_, sqlx::Postgres>`",
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
                Err(error) if runs < MOST_RUNS && gives_way(settings, &error) => runs += 1,
                ended => return ended,
            }
        }
    }

    fn completion(&self) -> Option<&dyn Completion> {
        Some(self)
    }
}

impl Postgres {
    /// In a savepoint: after an error the caller's transaction is as before, and so it is when this future is dropped.
    async fn attempt(&self, work: &mut PushWork, db: &mut PgConnection) -> Result<Vec<Pushed>> {
        let settings = &self.connections.server;
        let mut savepoint = db.begin().await.map_err(fault)?;
        let mut session = Session::new(&mut *savepoint, settings);
        let now = look(&mut session, settings, &self.clock).await?;
        let answers = work.run(&mut session, now, &mut News::default()).await?;
        if settings.notifies {
            // The server sends it when the caller commits, and this process hears it too.
            let (channel, message) = (settings.schema.name(), message("", &work.news()));
            session.execute("SELECT pg_notify(?, ?)", &[Value::Text(channel), Value::Text(&message)]).await?;
        }
        savepoint.commit().await.map_err(fault)?;
        Ok(answers)
    }
}

/// The server's time, if it is the server where the queue lives: a job in another database would never run, and nobody
/// would say so.
pub(super) async fn look<Db: Tables>(session: &mut Db, settings: &Settings, clock: &Clock) -> Result<Timestamp> {
    const THERE: &str = "SELECT EXISTS (SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace \
        WHERE nspname = ? AND relname = 'migrations'), current_database()::text";
    let sql = format!("{THERE}, {NOW}");
    let rows = session.fetch(sql, &[Value::Text(settings.schema.name())]).await?;
    let row = rows.first().ok_or_else(|| Error::unavailable("the server did not answer"))?;
    if row.integer(0)? == 0 {
        return Err(Error::invalid(format!(
            "the transaction is on database {}, which has no queue, and the queue lives at {}; both must be the same",
            row.text(1)?,
            settings.location()
        )));
    }
    Ok(Timestamp::from_micros(row.integer(2)?.saturating_add(clock.offset())))
}
