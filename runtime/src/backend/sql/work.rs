//! What one operation does inside a transaction, whichever database runs it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use super::floors::Experience;
use super::news::News;
use super::tables::Tables;
#[cfg(any(feature = "mysql", feature = "postgres"))]
use super::tables::Value;
use crate::backend::Info;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// One operation: everything that it reads and writes happens in one transaction.
#[async_trait]
pub(super) trait Work: Send + 'static {
    /// What the caller is told after the commit.
    type Answer: Send + 'static;

    /// Whether its commit must have reached the disk before it is acknowledged.
    ///
    /// A lost claim or heartbeat is a lease that was never given or renewed, and databases lose only the latest commits,
    /// so those need not wait for the disk.
    const DURABLE: bool;

    /// What it must not see change while it runs. A database that runs one transaction at a time has no need of it.
    #[cfg_attr(
        not(any(feature = "mysql", feature = "postgres")),
        expect(dead_code, reason = "only servers ask for it")
    )]
    const ISOLATION: Isolation;

    /// How to see without a transaction that there is nothing to do, for what mostly finds nothing.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn glance(&self) -> Option<Glance<'_, Self::Answer>> {
        None
    }

    /// Whether it may do with [`run_alone`](Work::run_alone).
    const ALONE: bool = false;

    /// Does it with one call that is a transaction by itself, which spares those that begin and commit one.
    ///
    /// `None` where it takes more than that; nothing was written then, and [`run`](Work::run) follows. After an error,
    /// which may have come after the effect, it may follow too.
    /// `now` is as in `run`; of a [`SHARED`](Tables::SHARED) database, whose time is not known yet, it is what to add to
    /// that.
    async fn run_alone<Db: Tables>(
        &mut self,
        _db: &mut Db,
        _now: Timestamp,
        _news: &mut News,
    ) -> Result<Option<Self::Answer>> {
        Ok(None)
    }

    /// The line in which transactions that would be in each other's way go one after the other, if that matters.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn line(&self) -> Option<&str> {
        None
    }

    /// Does it, at the database's `now`.
    ///
    /// Runs again from the start when the transaction could not be committed because of another one.
    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<Self::Answer>;
}

/// One statement that stands alone, in place of a transaction that would change nothing.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(super) struct Glance<'w, Answer> {
    /// Answers one whole number, or NULL. `{now}` in it is the database's time.
    pub(super) sql: &'static str,
    pub(super) values: Vec<Value<'w>>,
    /// What is told where that says that there is nothing to do.
    pub(super) nothing: fn(Option<i64>) -> Option<Answer>,
}

/// How much of what others commit a transaction sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isolation {
    /// All that was committed before each statement. For what locks the rows that it decides about.
    ReadCommitted,
    /// What was committed before its first statement, and an error for changing what was changed since: the work is
    /// done again. For what looks at several places, between which a job may move meanwhile.
    RepeatableRead,
}

/// A database as the contract and its facets see it: they hand it work.
#[async_trait]
pub(super) trait Store: fmt::Debug + Send + Sync + 'static {
    /// Does the work in a transaction and commits it.
    async fn write<W: Work>(&self, work: W) -> Result<W::Answer>;

    /// Does work that only reads, on one consistent state.
    async fn read<W: Work>(&self, work: W) -> Result<W::Answer>;

    /// What it is.
    fn description(&self) -> &Info;

    /// How many pushes came before this one.
    fn count_push(&self) -> u64;

    /// What its claims have met.
    fn experience(&self) -> &Arc<Experience>;

    /// Lets go of connections; what comes later is refused.
    async fn shut(&self) -> Result<()>;
}

/// The cause of an error that says: another transaction was faster, do the whole work again.
#[derive(Debug)]
pub(super) struct Raced;

impl fmt::Display for Raced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another transaction was faster")
    }
}

impl std::error::Error for Raced {}

/// Something that was not there a moment ago is there now: the work starts over and sees it.
pub(super) fn raced(what: &str) -> Error {
    Error::unavailable(format!("another transaction took {what} meanwhile; try again")).because(Raced)
}
