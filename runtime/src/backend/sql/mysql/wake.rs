//! Hints: at once within the process, and from a table that every process writes to, and waits at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, Executor, MySqlConnection, Row};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::MySql;
use super::connect::Settings;
use super::error::{closed, fault};
use super::tables::translate;
use crate::backend::sql::news::{Herald, Listeners, News};
use crate::backend::sql::server::Connections;
use crate::backend::sql::speaker::{Speaker, Voice};
use crate::backend::sql::tables::{Columns, Value};
use crate::backend::{Hint, Listener, Wake};
use crate::error::{Error, Result};

/// How often the board is looked at where the server can't wait for what is written there.
const GLANCE: Duration = Duration::from_millis(100);

/// How long an answer may take beyond what was to be waited for; a network that swallows packets says nothing.
const PATIENCE: Duration = Duration::from_secs(15);

/// How many messages stay on the board.
const KEPT: i64 = 1_000;

/// How many of the latest messages are looked at again: one may be committed after another with a higher number.
const OVERLAP: i64 = 16;

/// Everything about hints.
pub(super) struct Wakes {
    connections: Arc<Connections<Settings>>,
    listeners: Arc<Listeners>,
    closed: Arc<AtomicBool>,
    speaker: Arc<Speaker<Board>>,
    /// Whether a task looks at the board.
    watching: Arc<AtomicBool>,
    /// Tasks that outlive a call: the one that writes on the board, the one that looks at it.
    tasks: TaskTracker,
    /// Ends them.
    stop: CancellationToken,
}

#[async_trait]
impl Wake for MySql {
    async fn listen(&self) -> Result<Box<dyn Listener>> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        self.wakes.listen().await
    }

    async fn tell(&self, hints: &[Hint]) -> Result<()> {
        crate::backend::sql::tell::tell(self, hints).await
    }
}

impl Wakes {
    pub(super) fn new(connections: Arc<Connections<Settings>>, closed: Arc<AtomicBool>) -> Self {
        Self {
            speaker: Speaker::new(Board(Arc::clone(&connections))),
            connections,
            listeners: Arc::default(),
            closed,
            watching: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    async fn listen(&self) -> Result<Box<dyn Listener>> {
        let listener = self.listeners.listen(Arc::clone(&self.closed));
        if !self.watching.swap(true, Ordering::AcqRel) {
            let watch = Watch {
                settings: self.connections.server.clone(),
                speaker: Arc::clone(&self.speaker),
                listeners: Arc::clone(&self.listeners),
                _watching: WhileWatching(Arc::clone(&self.watching)),
            };
            // Opened here, so that a server that is away is told to whoever wants to listen.
            let view = watch.open().await?;
            self.tasks.spawn(watch.run(view, self.stop.clone()));
        }
        Ok(Box::new(listener))
    }

    /// Writes what is still to be told, and lets go of the connection that looks.
    pub(super) async fn close(&self) {
        self.listeners.wake_all();
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Herald for Wakes {
    fn tell(&self, news: News) {
        if news.hints().is_empty() {
            return;
        }
        self.listeners.tell(&news);
        if self.connections.server.notifies {
            self.speaker.tell(news, &self.tasks, &self.stop);
        }
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The table that every process looks at.
pub(super) struct Board(Arc<Connections<Settings>>);

#[async_trait]
impl Voice for Board {
    const PAUSE: Duration = Duration::from_millis(5);

    /// Old messages go now and then.
    async fn say(&self, message: String) -> Result<()> {
        const NEWEST: &str = "SELECT max(id) FROM taskwright_board";
        const TIDY: &str = "DELETE FROM taskwright_board WHERE id < ?";
        self.0.alone(POST, &[Value::Text(&message)]).await?;
        if rand::random::<u8>().is_multiple_of(64) {
            let rows = self.0.alone(NEWEST, &[]).await?;
            let newest = rows.first().map(|row| row.maybe_integer(0)).transpose()?.flatten();
            self.0.alone(TIDY, &[Value::Integer(newest.unwrap_or(0) - KEPT)]).await?;
        }
        Ok(())
    }
}

/// Writes a message on the board.
pub(super) const POST: &str = "INSERT INTO taskwright_board (message) VALUES (?)";

/// Looks at what other processes write. Ends with its backend, or when nobody listens any more.
struct Watch {
    settings: Settings,
    speaker: Arc<Speaker<Board>>,
    listeners: Arc<Listeners>,
    _watching: WhileWatching,
}

/// A connection of its own, and what it has seen.
struct View {
    db: MySqlConnection,
    /// The messages seen lately.
    seen: Vec<i64>,
    newest: i64,
    /// How often nothing came, one time after the other.
    calm: u32,
    /// Whether the server waits for us; else we look again and again.
    waits: bool,
}

impl Watch {
    async fn open(&self) -> Result<View> {
        const LATEST: &str = "(SELECT coalesce(max(id), 0) FROM taskwright_board)";
        let db = self.settings.connect().await.map_err(|error| error.context("server", self.settings.location()))?;
        let mut view = View { db, newest: 0, seen: Vec::new(), calm: 0, waits: true };
        let sql = format!("SELECT id, message FROM taskwright_board WHERE id > {LATEST} - ? ORDER BY id");
        self.look(&mut view, &sql, OVERLAP).await?;
        Ok(view)
    }

    async fn run(self, view: View, stop: CancellationToken) {
        tokio::select! {
            () = self.watch(view) => {}
            // The backend is closed or gone: whoever listened is told by it.
            () = stop.cancelled() => {}
        }
    }

    async fn watch(&self, view: View) {
        let mut view = Some(view);
        while !self.listeners.is_empty() {
            let followed = match &mut view {
                Some(view) => self.follow(view).await,
                None => self.open().await.map(|opened| {
                    view = Some(opened);
                    // What happened meanwhile has to be looked for.
                    let mut news = News::default();
                    news.everything();
                    self.listeners.tell(&news);
                }),
            };
            if let Err(error) = followed {
                tracing::debug!(?error, "could not look for what other processes did");
                view = None;
                tokio::time::sleep(GLANCE).await;
            }
        }
    }

    /// Waits for what is new, for some seconds, and passes it on.
    async fn follow(&self, view: &mut View) -> Result<()> {
        const NEWER: &str = "SELECT id, message FROM taskwright_board WHERE id > ? ORDER BY id";
        let began = Instant::now();
        if view.waits && !self.wait(view).await? {
            view.calm = view.calm.saturating_add(1);
            // A server that does not wait, whatever the reason, is not asked all the time.
            if began.elapsed() < GLANCE {
                tokio::time::sleep(GLANCE).await;
            }
            return Ok(());
        }
        if !view.waits {
            tokio::time::sleep(GLANCE).await;
        }
        view.calm = 0;
        let from = view.newest - OVERLAP;
        for message in self.look(view, NEWER, from).await? {
            self.listeners.tell(&self.speaker.understand(&message));
        }
        Ok(())
    }

    /// Lets the server wait until there is a message that was not seen; `false` when none came.
    async fn wait(&self, view: &mut View) -> Result<bool> {
        let sql = translate(&waiting(view), &self.settings.prefix);
        let waited = tokio::time::timeout(PATIENCE, view.db.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql)))).await;
        match waited {
            Ok(Ok(row)) => Ok(row.try_get_unchecked::<i64, _>(0).map_err(fault)? != 0),
            // It does not know such a statement, or has ended it: there are other ways.
            Ok(Err(error @ sqlx::Error::Database(_))) => {
                tracing::debug!(%error, "the server does not wait for what other processes do; the board is polled");
                view.waits = false;
                Ok(true)
            }
            Ok(Err(error)) => Err(fault(error)),
            Err(_) => Err(Error::unavailable("the server does not answer, or the connection broke off")),
        }
    }

    /// The messages that were not seen before.
    async fn look(&self, view: &mut View, sql: &str, value: i64) -> Result<Vec<String>> {
        let sql = translate(sql, &self.settings.prefix);
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(value).fetch_all(&mut view.db).await.map_err(fault)?;
        let mut news = Vec::new();
        for row in &rows {
            let id = row.integer(0)?;
            if !view.seen.contains(&id) {
                view.seen.push(id);
                view.newest = view.newest.max(id);
                news.push(row.text(1)?);
            }
        }
        let oldest = view.newest - OVERLAP;
        view.seen.retain(|id| *id > oldest);
        Ok(news)
    }
}

/// A statement that ends with a truth value as soon as there is a message that was not seen, or some seconds later.
///
/// Each turn of the recursion looks once, then sleeps. A locking read sees what is committed by then, where a plain one
/// sees what was committed when the statement began; what is still to be committed it skips, and what it finds it locks
/// for no longer than until its own end. Servers allow a thousand turns.
fn waiting(view: &View) -> String {
    // In the first seconds after something happened more is to be expected.
    let (turns, pause) = if view.calm < EAGER { (900, "0.003") } else { (240, "0.02") };
    let seen: Vec<_> = view.seen.iter().chain([&0]).map(ToString::to_string).collect();
    let (from, seen) = (view.newest - OVERLAP, seen.join(", "));
    let unseen = format!("SELECT 1 FROM taskwright_board WHERE id > {from} + 0 * turn AND id NOT IN ({seen})");
    format!(
        "WITH RECURSIVE turns (turn) AS (
            SELECT 1
            UNION ALL
            SELECT turn + 1 FROM turns
            WHERE turn < {turns} AND NOT EXISTS ({unseen} FOR UPDATE SKIP LOCKED) AND SLEEP({pause}) = 0
        )
        SELECT CAST(max(turn) < {turns} AS SIGNED) FROM turns"
    )
}

/// How many waits after the last message are eager ones, of some three seconds each.
const EAGER: u32 = 2;

struct WhileWatching(Arc<AtomicBool>);

impl Drop for WhileWatching {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
