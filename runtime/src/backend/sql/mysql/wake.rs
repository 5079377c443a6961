//! Hints: at once within the process, and from a table that every process writes to and looks at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::{AssertSqlSafe, MySqlConnection};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::MySql;
use super::connect::Settings;
use super::error::{closed, fault};
use super::tables::translate;
use crate::backend::sql::news::{Listeners, News};
use crate::backend::sql::server::{Access, Connections};
use crate::backend::sql::speaker::{Speaker, Voice};
use crate::backend::sql::tables::{Columns, Tables, Value};
use crate::backend::sql::work::{Isolation, Work};
use crate::backend::{Listener, Wake};
use crate::error::Result;
use crate::time::Timestamp;

/// How often the board is looked at.
const GLANCE: Duration = Duration::from_millis(100);

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

    /// Tells what happened, here and then elsewhere.
    pub(super) fn tell(&self, news: News) {
        if news.hints().is_empty() {
            return;
        }
        self.listeners.tell(&news);
        if self.connections.server.notifies {
            self.speaker.tell(news, &self.tasks, &self.stop);
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

impl Drop for Wakes {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The table that every process looks at.
pub(super) struct Board(Arc<Connections<Settings>>);

#[async_trait]
impl Voice for Board {
    /// Nobody looks more often.
    const PAUSE: Duration = Duration::from_millis(50);

    async fn say(&self, message: String) -> Result<()> {
        self.0.run(Post { message }, Access::Write).await?;
        Ok(())
    }
}

struct Post {
    message: String,
}

/// Writes a message on the board.
pub(super) const POST: &str = "INSERT INTO taskwright_board (message) VALUES (?)";

#[async_trait]
impl Work for Post {
    type Answer = ();
    const DURABLE: bool = false;
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    /// Old messages go now and then.
    async fn run<Db: Tables>(&mut self, db: &mut Db, _: Timestamp, _: &mut News) -> Result<()> {
        const TIDY: &str = "DELETE FROM taskwright_board WHERE id < ?";
        const NEWEST: &str = "SELECT max(id) FROM taskwright_board";
        db.execute(POST, &[Value::Text(&self.message)]).await?;
        if rand::random::<u8>().is_multiple_of(64) {
            let newest = db.fetch(NEWEST, &[]).await?.first().map(|row| row.maybe_integer(0)).transpose()?.flatten();
            db.execute(TIDY, &[Value::Integer(newest.unwrap_or(0) - KEPT)]).await?;
        }
        Ok(())
    }
}

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
}

impl Watch {
    async fn open(&self) -> Result<View> {
        const LATEST: &str = "(SELECT coalesce(max(id), 0) FROM taskwright_board)";
        let db = self.settings.connect().await.map_err(|error| error.context("server", self.settings.location()))?;
        let mut view = View { db, newest: 0, seen: Vec::new() };
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
            let looked = match &mut view {
                Some(view) => self.look_again(view).await,
                None => self.open().await.map(|opened| {
                    view = Some(opened);
                    // What happened meanwhile has to be looked for.
                    let mut news = News::default();
                    news.everything();
                    self.listeners.tell(&news);
                }),
            };
            if let Err(error) = looked {
                tracing::debug!(?error, "could not look for what other processes did");
                view = None;
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Passes on what is new.
    async fn look_again(&self, view: &mut View) -> Result<()> {
        const NEWER: &str = "SELECT id, message FROM taskwright_board WHERE id > ? ORDER BY id";
        let from = view.newest - OVERLAP;
        for message in self.look(view, NEWER, from).await? {
            self.listeners.tell(&self.speaker.understand(&message));
        }
        Ok(())
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

struct WhileWatching(Arc<AtomicBool>);

impl Drop for WhileWatching {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
