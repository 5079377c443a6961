//! Transactions of others: a caller's, and those that tasks write in.

use std::any::Any;

use async_trait::async_trait;
use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use super::Postgres;
use super::connect::{NOW, PLANNER, Settings, now_of, simple};
use super::error::fault;
use super::tables::Session;
use crate::backend::sql::news::News;
use crate::backend::sql::push::PushWork;
use crate::backend::sql::settle::SettleWork;
use crate::backend::sql::speaker::message;
use crate::backend::sql::tables::{Columns, Tables, Value};
use crate::backend::sql::transaction::Joined;
use crate::backend::sql::work::Work;
use crate::backend::{Completion, InTransaction, Push, Pushed, Settled, Transaction};
use crate::error::{Error, Result};
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
        self.connections.push_in(connection, push).await
    }

    fn completion(&self) -> Option<&dyn Completion> {
        Some(&self.task_connections)
    }
}

#[async_trait]
impl Joined for Settings {
    type Driver = sqlx::Postgres;
    const TAKES: &'static str = "&mut sqlx::Transaction<'_, sqlx::Postgres>";
    const BEGIN: &'static str = "BEGIN ISOLATION LEVEL READ COMMITTED";

    fn transactions(&self) -> u32 {
        self.transactions
    }

    fn for_tasks(&self) -> PgConnectOptions {
        self.for_tasks()
    }

    fn fault(&self, error: sqlx::Error) -> Error {
        fault(error)
    }

    /// A savepoint undoes what a failed statement has done to the transaction.
    fn is_over(&self, _: &sqlx::Error) -> bool {
        false
    }

    async fn push(&self, db: &mut PgConnection, clock: &Clock, work: &mut PushWork) -> Result<Vec<Pushed>> {
        let mut session = Session::new(db, self);
        let now = look(&mut session, self, clock).await?;
        let answers = work.run(&mut session, now, &mut News::default()).await?;
        if self.notifies {
            // The server sends it when the caller commits, and this process hears it too.
            let (channel, message) = (self.schema.name(), message("", &work.news()));
            session.execute("SELECT pg_notify(?, ?)", &[Value::Text(channel), Value::Text(&message)]).await?;
        }
        Ok(answers)
    }

    /// From here on the planner works for us, after it worked for the task.
    async fn settle(
        &self,
        db: &mut PgConnection,
        clock: &Clock,
        work: &mut SettleWork,
        news: &mut News,
    ) -> Result<Vec<Settled>> {
        let set = PLANNER.map(|(name, value)| format!("set_config('{name}', '{value}', true)"));
        let now = now_of(&simple(db, format!("SELECT {NOW}, {}", set.join(", "))).await?)?;
        let now = Timestamp::from_micros(now.as_micros().saturating_add(clock.offset()));
        work.run(&mut Session::new(db, self), now, news).await
    }
}

/// The server's time, if it is the server where the queue lives: a job in another database would never run, and nobody
/// would say so.
async fn look<Db: Tables>(session: &mut Db, settings: &Settings, clock: &Clock) -> Result<Timestamp> {
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
