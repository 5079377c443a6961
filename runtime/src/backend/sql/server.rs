//! A few connections to a database server, and work on them in transactions that run beside those of others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::news::News;
use super::tables::{Columns, Tables, Value};
use super::work::{Glance, Isolation, Raced, Work};
use crate::error::{Error, Result};
use crate::time::{Clock, Timestamp};

/// How many transactions of one process run at once; each has a connection. With the one that listens there are four.
const CONNECTIONS: usize = 3;

/// How often work is done anew when other transactions were in its way.
pub(super) const MOST_RUNS: u32 = 20;

/// How long to wait before a further run, at most; a random part of it, more with every run.
const PAUSE: Duration = Duration::from_millis(5);

/// What a transaction is begun for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin<'work> {
    pub(super) isolation: Isolation,
    /// Whether the commit must have reached the disk.
    #[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "MySQL's commits are all alike"))]
    pub(super) durable: bool,
    pub(super) access: Access,
    /// The line in which it is to wait for its turn, where the server has such a thing.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "MySQL has no lock that ends with a transaction")
    )]
    pub(super) line: Option<&'work str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
}

/// What the dialect of a server says about connections and transactions.
#[async_trait]
pub(super) trait Server: Send + Sync + 'static {
    /// A connection, with the words for its statements.
    type Session: Tables + 'static;

    /// The server's time in microseconds, in a statement.
    const NOW: &'static str;

    /// Opens a connection.
    async fn open(&self) -> Result<Self::Session>;

    /// Begins a transaction, in one round trip, and tells the server's time.
    async fn begin(&self, session: &mut Self::Session, begin: Begin<'_>) -> Result<Timestamp>;

    async fn commit(&self, session: &mut Self::Session) -> Result<()>;

    async fn roll_back(&self, session: &mut Self::Session) -> Result<()>;

    async fn close(&self, session: Self::Session) -> Result<()>;

    /// Whether the driver's error says that another transaction was in the way, so that the work may be done again.
    fn is_in_the_way(&self, error: &sqlx::Error) -> bool;

    /// What every call after the end gets.
    fn closed(&self) -> Error;
}

/// The connections of one backend that work.
pub(super) struct Connections<S: Server> {
    pub(super) server: S,
    pub(super) clock: Clock,
    /// One permit a connection; closed with the backend.
    permits: Semaphore,
    /// Connections that nobody uses at the moment. Held to take or give one, never across an await.
    idle: Mutex<Vec<S::Session>>,
}

impl<S: Server> Connections<S> {
    /// Begins with this connection; others are opened when they are needed.
    pub(super) fn new(server: S, clock: Clock, first: S::Session) -> Arc<Self> {
        let idle = Mutex::new(vec![first]);
        Arc::new(Self { server, clock, permits: Semaphore::new(CONNECTIONS), idle })
    }

    /// Does `work` in a transaction and commits it; again from the start, a bounded number of times, when another
    /// transaction was in its way.
    ///
    /// Cancel safe: a connection whose work was given up is dropped, and the server takes the transaction back.
    pub(super) async fn run<W: Work>(&self, mut work: W, access: Access) -> Result<(W::Answer, News)> {
        let sees_nothing = match work.glance() {
            Some(glance) => self.sees_nothing(glance).await?,
            None => None,
        };
        if let Some(nothing) = sees_nothing {
            return Ok((nothing, News::default()));
        }
        let _permit = self.permits.acquire().await.map_err(|_| self.server.closed())?;
        if W::ALONE
            && let Some(done) = self.attempt_alone(&mut work).await
        {
            return Ok(done);
        }
        let mut runs = 1;
        loop {
            match self.attempt(&mut work, access).await {
                Err(error) if runs < MOST_RUNS && gives_way(&self.server, &error) => {
                    tracing::debug!(?error, runs, "another transaction was in the way; starting over");
                    tokio::time::sleep(PAUSE.mul_f64(rand::random::<f64>() * f64::from(runs))).await;
                    runs += 1;
                }
                ended => return ended,
            }
        }
    }

    /// Does work in one round trip, where it is work for that.
    ///
    /// What fails is done in a transaction, whether or not it had an effect: every write may be repeated (P15).
    async fn attempt_alone<W: Work>(&self, work: &mut W) -> Option<(W::Answer, News)> {
        let mut session = self.lock().pop()?;
        let mut news = News::default();
        match work.run_alone(&mut session, Timestamp::from_micros(self.clock.offset()), &mut news).await {
            Ok(answer) => {
                self.lock().push(session);
                answer.map(|answer| (answer, news))
            }
            Err(error) => {
                tracing::debug!(?error, "not done in one call; doing it in a transaction");
                if self.server.roll_back(&mut session).await.is_ok() {
                    self.lock().push(session);
                }
                None
            }
        }
    }

    async fn attempt<W: Work>(&self, work: &mut W, access: Access) -> Result<(W::Answer, News)> {
        let begin = Begin { isolation: W::ISOLATION, durable: W::DURABLE, access, line: work.line() };
        let (mut session, now) = self.begin(begin).await?;
        let now = Timestamp::from_micros(now.as_micros().saturating_add(self.clock.offset()));
        let mut news = News::default();
        let done = match work.run(&mut session, now, &mut news).await {
            Ok(answer) => self.server.commit(&mut session).await.map(|()| answer),
            Err(error) => Err(error),
        };
        match done {
            Ok(answer) => {
                self.lock().push(session);
                Ok((answer, news))
            }
            Err(error) => {
                // One that can't even do this is dropped.
                if self.server.roll_back(&mut session).await.is_ok() {
                    self.lock().push(session);
                }
                Err(error)
            }
        }
    }

    /// A connection on which a transaction has begun. One that broke while it was idle is replaced.
    async fn begin(&self, begin: Begin<'_>) -> Result<(S::Session, Timestamp)> {
        loop {
            let idle = self.lock().pop();
            let Some(mut session) = idle else { break };
            match self.server.begin(&mut session, begin).await {
                Ok(now) => return Ok((session, now)),
                Err(error) => tracing::debug!(?error, "an idle connection had broken"),
            }
        }
        let mut session = self.server.open().await?;
        let now = self.server.begin(&mut session, begin).await?;
        Ok((session, now))
    }

    /// The answer of work that has nothing to do.
    async fn sees_nothing<A>(&self, glance: Glance<'_, A>) -> Result<Option<A>> {
        let now = format!("({} + {})", S::NOW, self.clock.offset());
        let rows = self.alone(&glance.sql.replace("{now}", &now), &glance.values).await?;
        let sees = rows.first().map(|row| row.maybe_integer(0)).transpose()?.flatten();
        Ok((glance.nothing)(sees))
    }

    /// Runs one statement without a transaction around it, which costs one round trip: for what is nobody's work, and
    /// does no harm when it is run twice.
    pub(super) async fn alone(&self, sql: &str, values: &[Value<'_>]) -> Result<Vec<<S::Session as Tables>::Row>> {
        let _permit = self.permits.acquire().await.map_err(|_| self.server.closed())?;
        loop {
            let idle = self.lock().pop();
            let Some(mut session) = idle else { break };
            match session.fetch(sql.to_owned(), values).await {
                Ok(rows) => {
                    self.lock().push(session);
                    return Ok(rows);
                }
                Err(error) => tracing::debug!(?error, "an idle connection had broken"),
            }
        }
        let mut session = self.server.open().await?;
        let rows = session.fetch(sql.to_owned(), values).await?;
        self.lock().push(session);
        Ok(rows)
    }

    /// Whether nothing new is begun.
    pub(super) fn is_closed(&self) -> bool {
        self.permits.is_closed()
    }

    /// Refuses new work, waits for what is under way and closes the connections.
    pub(super) async fn close(&self) {
        // Fails only when closed before, and then there is nothing left to wait for.
        if let Ok(all) = self.permits.acquire_many(u32::try_from(CONNECTIONS).unwrap_or(1)).await {
            self.permits.close();
            drop(all);
        }
        let idle: Vec<_> = self.lock().drain(..).collect();
        for session in idle {
            if let Err(error) = self.server.close(session).await {
                // The server may have gone before.
                tracing::debug!(?error, "a connection ended without a goodbye");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<S::Session>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether work failed only because another transaction was in its way, so that it may be done again.
pub(super) fn gives_way<S: Server>(server: &S, error: &Error) -> bool {
    let Some(cause) = std::error::Error::source(error) else { return false };
    cause.is::<Raced>() || cause.downcast_ref().is_some_and(|fault| server.is_in_the_way(fault))
}
