//! Work in transactions that are not the store's own: a caller's, and those that tasks write in.

use std::any::Any;

use async_trait::async_trait;
use sqlx::{Connection, Database};

use super::push::PushWork;
use super::server::{Connections, MOST_RUNS, Server, gives_way};
use super::settle::SettleWork;
use crate::backend::{Push, Pushed, Settled};
use crate::error::{Error, ErrorKind, Result};
use crate::time::Clock;

use super::news::News;

/// The driver's connection of a server.
pub(super) type Link<S> = <<S as Joined>::Driver as Database>::Connection;

/// How a connection of the driver is opened.
pub(super) type LinkOptions<S> = <Link<S> as Connection>::Options;

/// A server in whose transactions others write too.
#[async_trait]
pub(super) trait Joined: Server {
    type Driver: Database;

    /// What [`InTransaction`](crate::backend::InTransaction) is made of, for whoever comes with something else.
    const TAKES: &'static str;

    /// Begins a task's transaction: one that sees what heartbeats and other settlements do to the lease while the task
    /// runs.
    const BEGIN: &'static str;

    /// How many tasks may write at once.
    fn transactions(&self) -> u32;

    /// Connections for tasks: as the user's own would be.
    fn for_tasks(&self) -> LinkOptions<Self>;

    /// What an error of the driver means.
    fn fault(&self, error: sqlx::Error) -> Error;

    /// Whether the error has ended the transaction that the caller is in, so that nothing can be done again in it.
    fn is_over(&self, error: &sqlx::Error) -> bool;

    /// Pushes in the caller's transaction, and has the others told when that is committed.
    async fn push(&self, db: &mut Link<Self>, clock: &Clock, work: &mut PushWork) -> Result<Vec<Pushed>>;

    /// Settles in a task's transaction.
    async fn settle(
        &self,
        db: &mut Link<Self>,
        clock: &Clock,
        work: &mut SettleWork,
        news: &mut News,
    ) -> Result<Vec<Settled>>;
}

impl<S: Joined> Connections<S> {
    /// Pushes on a connection of the caller's.
    pub(super) async fn push_in(&self, connection: &mut (dyn Any + Send), push: &Push) -> Result<Vec<Pushed>> {
        if self.is_closed() {
            return Err(self.server.closed());
        }
        let Some(db) = connection.downcast_mut::<Link<S>>() else {
            let message = format!("the transaction is of another driver; dispatch_in takes `{}`", S::TAKES);
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        if push.jobs.is_empty() {
            return Ok(Vec::new());
        }
        let mut work = PushWork::new(push, false)?;
        let mut runs = 1;
        loop {
            match self.push_once(&mut work, db).await {
                // What the other transaction stored is seen by the next run, unless the caller's isolation hides it.
                Err(error) if runs < MOST_RUNS && gives_way(&self.server, &error) && !self.is_over(&error) => runs += 1,
                ended => return ended,
            }
        }
    }

    /// In a savepoint: after an error the caller's transaction is as before, and so it is when this future is dropped.
    async fn push_once(&self, work: &mut PushWork, db: &mut Link<S>) -> Result<Vec<Pushed>> {
        let fault = |error| self.server.fault(error);
        let mut savepoint = db.begin().await.map_err(fault)?;
        let answers = self.server.push(&mut savepoint, &self.clock, work).await?;
        savepoint.commit().await.map_err(fault)?;
        Ok(answers)
    }

    fn is_over(&self, error: &Error) -> bool {
        let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref());
        cause.is_some_and(|cause| self.server.is_over(cause))
    }
}
