//! The one writer: what is queued while a commit is under way goes together into the next transaction.
//!
//! A commit that reaches the disk costs milliseconds and a statement microseconds, so writes of all kinds share one.
//! Work runs in a task of its own: whoever waits for it may go away, the work is done or not done.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use async_trait::async_trait;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{Notify, oneshot};

use super::connect::{Opener, Patience};
use super::error::{closed, fault, is_locked};
use crate::backend::sql::news::{Listeners, News};
use crate::backend::sql::work::Work;
use crate::error::{Error, Result};
use crate::time::{Clock, Timestamp};

/// How many operations share a transaction at most, so that none waits for long.
const MOST_TOGETHER: usize = 64;

/// The queue before the one connection that writes.
pub(super) struct Writer {
    opener: Opener,
    clock: Clock,
    listeners: Arc<Listeners>,
    /// Held to look at or change the queue, never across an await.
    state: Mutex<State>,
    /// Says that nobody drains the queue any more; `close` waits for it.
    idle: Notify,
}

struct State {
    queue: VecDeque<Box<dyn Queued>>,
    /// Whether a task drains the queue at the moment. That task has the connection.
    draining: bool,
    connection: Option<Held>,
    closed: bool,
}

/// The writing connection.
struct Held {
    db: SqliteConnection,
    /// Whether its commits wait for the disk at the moment.
    durable: bool,
    /// Whether those of some operations do and those of others don't: only where the database's own do.
    may_switch: bool,
}

impl Writer {
    pub(super) fn new(opener: Opener, clock: Clock, db: SqliteConnection, listeners: Arc<Listeners>) -> Arc<Self> {
        let connection = Some(Held::new(db, &opener));
        let state = State { queue: VecDeque::new(), draining: false, connection, closed: false };
        Arc::new(Self { opener, clock, listeners, state: Mutex::new(state), idle: Notify::new() })
    }

    /// Queues `work` and waits until it is committed.
    ///
    /// Cancel safe: once queued, the work is done whoever waits for it.
    pub(super) async fn run<W: Work>(self: &Arc<Self>, work: W) -> Result<W::Answer> {
        let (reply, answer) = oneshot::channel();
        let start = {
            let mut state = self.lock();
            if state.closed {
                return Err(closed());
            }
            state.queue.push_back(Box::new(Entry { work, done: None, reply }));
            !std::mem::replace(&mut state.draining, true)
        };
        if start {
            // Here as far as it comes without waiting, so that the first statement is not kept waiting for another thread to
            // wake up, and the rest as a task of its own.
            let mut drain = Box::pin(Drain { writer: Arc::clone(self), done: false }.run());
            if poll_fn(|cx| Poll::Ready(drain.as_mut().poll(cx).is_pending())).await {
                tokio::spawn(drain);
            }
        }
        // The sender goes away unanswered only when the runtime that drained the queue was shut down.
        answer.await.map_err(|_| closed())?
    }

    /// Refuses new work, lets the queued work finish, and closes the connection.
    pub(super) async fn close(&self) -> Result<()> {
        loop {
            let idle = self.idle.notified();
            let held = {
                let mut state = self.lock();
                state.closed = true;
                (!state.draining).then(|| state.connection.take())
            };
            match held {
                Some(Some(held)) => return held.db.close().await.map_err(fault),
                Some(None) => return Ok(()),
                None => idle.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that empties the queue and then ends.
struct Drain {
    writer: Arc<Writer>,
    /// Set once the queue was seen empty: from then on another task may be draining it.
    done: bool,
}

impl Drain {
    async fn run(mut self) {
        let mut held = self.writer.lock().connection.take();
        while let Some(group) = self.next_group(&mut held) {
            let opened = match held.take() {
                Some(held) => Ok(held),
                None => self.writer.opener.writer().await.map(|db| Held::new(db, &self.writer.opener)),
            };
            match opened {
                Ok(opened) => commit(&self.writer, held.insert(opened), group).await,
                Err(error) => refuse(group, &error),
            }
        }
    }

    /// What is queued, up to a bound. When that is nothing, this task is no longer draining.
    fn next_group(&mut self, held: &mut Option<Held>) -> Option<Vec<Box<dyn Queued>>> {
        let mut state = self.writer.lock();
        if state.queue.is_empty() {
            state.connection = held.take();
            state.draining = false;
            self.done = true;
            self.writer.idle.notify_waiters();
            return None;
        }
        let size = state.queue.len().min(MOST_TOGETHER);
        Some(state.queue.drain(..size).collect())
    }
}

impl Drop for Drain {
    /// When the runtime is shut down in the middle, what is queued is refused by dropping it, and the connection,
    /// which this task took with it, is opened anew for whoever comes next.
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.writer.lock();
        state.draining = false;
        state.queue.clear();
        self.writer.idle.notify_waiters();
    }
}

/// Runs a group in one transaction; when one of them fails, each in its own, so that it fails alone.
async fn commit(writer: &Writer, held: &mut Held, mut group: Vec<Box<dyn Queued>>) {
    match attempt(writer, held, &mut group).await {
        Ok(news) => {
            // Before the callers go on, so that no hint comes later than what its cause's caller does next.
            writer.listeners.tell(&news);
            group.into_iter().for_each(Queued::answer);
        }
        Err(Failed::One(_)) if group.len() > 1 => {
            for queued in group {
                Box::pin(commit(writer, held, vec![queued])).await;
            }
        }
        Err(Failed::One(error) | Failed::All(error)) => refuse(group, &error),
    }
}

fn refuse(group: Vec<Box<dyn Queued>>, error: &Error) {
    for queued in group {
        queued.refuse(error.share());
    }
}

/// Whose fault it is that a transaction was not committed.
enum Failed {
    /// One operation's.
    One(Error),
    /// The database's.
    All(Error),
}

async fn attempt(writer: &Writer, held: &mut Held, group: &mut [Box<dyn Queued>]) -> Result<News, Failed> {
    let mut news = News::default();
    let now = writer.clock.now();
    if let [alone] = group
        && alone.may_be_alone()
    {
        held.wait_for_disk(alone.durable()).await.map_err(Failed::All)?;
        match alone.run_alone(&mut held.db, now, &mut news).await {
            Ok(true) => return Ok(news),
            Ok(false) => {}
            // It does not wait for a lock as a transaction does.
            Err(error) if says_locked(&error) => held.roll_back().await,
            Err(error) => {
                held.roll_back().await;
                return Err(Failed::One(error));
            }
        }
    }
    let durable = group.iter().any(|queued| queued.durable());
    held.begin(durable, &writer.opener.patience()).await.map_err(Failed::All)?;
    for queued in group {
        if let Err(error) = queued.run(&mut held.db, now, &mut news).await {
            held.roll_back().await;
            return Err(Failed::One(error));
        }
    }
    match sqlx::query(COMMIT).execute(&mut held.db).await {
        Ok(_) => Ok(news),
        Err(error) => {
            held.roll_back().await;
            Err(Failed::All(fault(error)))
        }
    }
}

fn says_locked(error: &Error) -> bool {
    let cause = std::error::Error::source(error);
    cause.and_then(|cause| cause.downcast_ref()).is_some_and(is_locked)
}

/// Takes the write lock at once: a transaction that began by reading could not be sure to get it later.
const BEGIN: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";
/// What commits wait for, outside of transactions only. SQLite obeys these when it compiles them, so they must never be
/// cached.
const SYNC_FULL: &str = "PRAGMA synchronous = FULL";
const BEGIN_FULL: &str = "PRAGMA synchronous = FULL; BEGIN IMMEDIATE";
const BEGIN_NORMAL: &str = "PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE";

impl Held {
    fn new(db: SqliteConnection, opener: &Opener) -> Self {
        Self { db, durable: true, may_switch: opener.waits_for_disk() }
    }

    /// Begins a transaction whose commit waits for the disk or not, in one call.
    async fn begin(&mut self, durable: bool, patience: &Patience) -> Result<()> {
        loop {
            let begun = if self.durable == durable || !self.may_switch {
                sqlx::query(BEGIN).execute(&mut self.db).await.map(drop)
            } else {
                self.switch(durable, if durable { BEGIN_FULL } else { BEGIN_NORMAL }).await
            };
            match begun {
                Ok(()) => return Ok(()),
                Err(error) => patience.wait_after(error).await?,
            }
        }
    }

    /// Has commits wait for the disk, if they are to.
    async fn wait_for_disk(&mut self, durable: bool) -> Result<()> {
        if self.durable || !durable || !self.may_switch {
            return Ok(());
        }
        self.switch(true, SYNC_FULL).await.map_err(fault)
    }

    async fn switch(&mut self, durable: bool, pragma: &'static str) -> sqlx::Result<()> {
        // What is not known is set anew for what must reach the disk.
        self.durable = false;
        sqlx::query(pragma).persistent(false).execute(&mut self.db).await?;
        self.durable = durable;
        Ok(())
    }

    /// SQLite ends a transaction by itself after some errors, and then refuses this; both come to the same.
    async fn roll_back(&mut self) {
        if let Err(error) = sqlx::query(ROLLBACK).execute(&mut self.db).await {
            tracing::debug!(%error, "rolled back already");
        }
    }
}

/// Work in the queue, with whoever waits for it.
#[async_trait]
trait Queued: Send {
    fn durable(&self) -> bool;
    fn may_be_alone(&self) -> bool;
    /// Says whether it is done, and committed.
    async fn run_alone(&mut self, db: &mut SqliteConnection, now: Timestamp, news: &mut News) -> Result<bool>;
    async fn run(&mut self, db: &mut SqliteConnection, now: Timestamp, news: &mut News) -> Result<()>;
    /// Tells the caller what the work came to, after the commit.
    fn answer(self: Box<Self>);
    fn refuse(self: Box<Self>, error: Error);
}

struct Entry<W: Work> {
    work: W,
    /// What it came to in the present transaction.
    done: Option<W::Answer>,
    reply: oneshot::Sender<Result<W::Answer>>,
}

#[async_trait]
impl<W: Work> Queued for Entry<W> {
    fn durable(&self) -> bool {
        W::DURABLE
    }

    fn may_be_alone(&self) -> bool {
        W::ALONE
    }

    async fn run_alone(&mut self, db: &mut SqliteConnection, now: Timestamp, news: &mut News) -> Result<bool> {
        self.done = self.work.run_alone(db, now, news).await?;
        Ok(self.done.is_some())
    }

    async fn run(&mut self, db: &mut SqliteConnection, now: Timestamp, news: &mut News) -> Result<()> {
        self.done = Some(self.work.run(db, now, news).await?);
        Ok(())
    }

    fn answer(self: Box<Self>) {
        if let Some(done) = self.done {
            // The caller may have gone away; the work is done all the same.
            let _ = self.reply.send(Ok(done));
        }
    }

    fn refuse(self: Box<Self>, error: Error) {
        let _ = self.reply.send(Err(error));
    }
}
