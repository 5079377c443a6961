//! Transactions of others: a caller's, and those that tasks write in.

use std::any::Any;

use async_trait::async_trait;
use sqlx::MySqlConnection;
use sqlx::mysql::MySqlConnectOptions;

use super::MySql;
use super::connect::{NOW, Settings, simple};
use super::error::{fault, took_back_everything};
use super::tables::Session;
use super::wake::POST;
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
        self.connections.push_in(connection, push).await
    }

    fn completion(&self) -> Option<&dyn Completion> {
        Some(&self.task_connections)
    }
}

#[async_trait]
impl Joined for Settings {
    type Driver = sqlx::MySql;
    const TAKES: &'static str = "&mut sqlx::Transaction<'_, sqlx::MySql>";
    /// The savepoint is there for as long as the transaction is the one that was begun.
    const BEGIN: &'static str =
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED; START TRANSACTION; SAVEPOINT taskwright_task";

    fn transactions(&self) -> u32 {
        self.transactions
    }

    fn for_tasks(&self) -> MySqlConnectOptions {
        self.options.clone()
    }

    fn fault(&self, error: sqlx::Error) -> Error {
        fault(error)
    }

    fn is_over(&self, error: &sqlx::Error) -> bool {
        took_back_everything(error)
    }

    async fn push(&self, db: &mut MySqlConnection, clock: &Clock, work: &mut PushWork) -> Result<Vec<Pushed>> {
        let mut session = Session::new(db, self);
        let now = look(&mut session, self, clock).await?;
        let answers = work.run(&mut session, now, &mut News::default()).await?;
        if self.notifies {
            // Seen by the other processes, and by this one, when the caller commits.
            session.execute(POST, &[Value::Text(&message("", &work.news()))]).await?;
        }
        Ok(answers)
    }

    /// A deadlock takes back the whole transaction, and a statement that creates a table commits it; what follows runs
    /// without one. A task may have passed over that, and its job must not complete as if all it wrote were there.
    async fn settle(
        &self,
        db: &mut MySqlConnection,
        clock: &Clock,
        work: &mut SettleWork,
        news: &mut News,
    ) -> Result<Vec<Settled>> {
        if let Err(error) = simple(db, "RELEASE SAVEPOINT taskwright_task".to_owned()).await {
            let message = "the task's transaction had ended before the task did: by a deadlock, or by a statement that \
                commits, such as CREATE TABLE; pass on errors of statements, and leave such statements out";
            return Err(Error::unavailable(message).because(error));
        }
        let mut session = Session::new(db, self);
        let now = look(&mut session, self, clock).await?;
        work.run(&mut session, now, news).await
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
