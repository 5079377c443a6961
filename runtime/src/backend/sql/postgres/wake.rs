//! Hints: at once within the process, and by `NOTIFY` from and to others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Executor;
use sqlx::postgres::{PgListener, PgPool, PgPoolOptions};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Postgres;
use super::connect::{PATIENCE, Pooler, Settings};
use super::error::{closed, fault};
use crate::backend::sql::news::{Listeners, News};
use crate::backend::sql::server::{Access, Connections};
use crate::backend::sql::tables::{Tables, Value};
use crate::backend::sql::work::{Isolation, Work};
use crate::backend::{Hint, Listener, Wake};
use crate::error::Result;
use crate::job::{BatchId, Name};
use crate::time::Timestamp;

/// How long to wait after one notification before the next: what happens meanwhile goes together.
const PAUSE: Duration = Duration::from_millis(5);

/// The longest message that the server takes, in bytes.
const LONGEST: usize = 7_999;

/// How often the listening connection is asked whether it still is one. A network that swallows packets says nothing.
const PULSE: Duration = Duration::from_secs(15);

/// Everything about hints.
pub(super) struct Wakes {
    connections: Arc<Connections<Settings>>,
    listeners: Arc<Listeners>,
    closed: Arc<AtomicBool>,
    speaker: Arc<Speaker>,
    /// Whether the connection that listens has broken off; none before anybody listened.
    /// Held while one is opened, so that only one is.
    hearing: tokio::sync::Mutex<Option<Arc<AtomicBool>>>,
    /// Tasks that outlive a call: the one that notifies, the one that listens.
    tasks: TaskTracker,
    /// Ends them.
    stop: CancellationToken,
}

#[async_trait]
impl Wake for Postgres {
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
            connections,
            listeners: Arc::default(),
            closed,
            speaker: Arc::new(Speaker {
                name: BatchId::new().to_string(),
                pending: Mutex::default(),
                speaking: AtomicBool::new(false),
            }),
            hearing: tokio::sync::Mutex::default(),
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
        if self.connections.server.notifies && self.speaker.must_begin(news) {
            let speaking = Speaking { speaker: Arc::clone(&self.speaker), done: false };
            self.tasks.spawn(speaking.run(Arc::clone(&self.connections), self.stop.clone()));
        }
    }

    async fn listen(&self) -> Result<Box<dyn Listener>> {
        let listener = self.listeners.listen(Arc::clone(&self.closed));
        let settings = &self.connections.server;
        if settings.pooler == Pooler::Transaction {
            return Ok(Box::new(listener));
        }
        let mut hearing = self.hearing.lock().await;
        let live = hearing.as_ref().filter(|lost| !lost.load(Ordering::Acquire)).cloned();
        let lost = if let Some(lost) = live {
            lost
        } else {
            let ear = Ear::open(settings, &self.speaker.name, &self.listeners).await?;
            let lost = Arc::clone(hearing.insert(Arc::clone(&ear.lost)));
            self.tasks.spawn(ear.hear(self.stop.clone()));
            lost
        };
        Ok(Box::new(listener.while_hearing(lost)))
    }

    /// Sends what is still to be told, and lets go of the listening connection.
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

/// What other processes are still to be told.
struct Speaker {
    /// Who speaks, so that it need not listen to itself.
    name: String,
    /// Held to add or take news, never across an await.
    pending: Mutex<News>,
    /// Whether a task sends what is pending.
    speaking: AtomicBool,
}

impl Speaker {
    /// Adds news; whether nobody is there to send them.
    fn must_begin(&self, news: News) -> bool {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).append(news);
        !self.speaking.swap(true, Ordering::AcqRel)
    }

    fn take(&self) -> News {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The task that sends what is pending and then ends.
struct Speaking {
    speaker: Arc<Speaker>,
    done: bool,
}

impl Speaking {
    async fn run(mut self, connections: Arc<Connections<Settings>>, stop: CancellationToken) {
        loop {
            let news = self.speaker.take();
            if news.hints().is_empty() {
                self.speaker.speaking.store(false, Ordering::Release);
                // Somebody may have added more after the look and seen that this task was still there.
                if self.speaker.pending.lock().unwrap_or_else(PoisonError::into_inner).hints().is_empty()
                    || self.speaker.speaking.swap(true, Ordering::AcqRel)
                {
                    self.done = true;
                    return;
                }
                continue;
            }
            let channel = connections.server.schema.name().to_owned();
            let notify = Notify { channel, message: message(&self.speaker.name, &news) };
            if let Err(error) = connections.run(notify, Access::Write).await {
                tracing::debug!(?error, "other processes were not told; they will find it by polling");
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                // What is left goes out at once.
                () = stop.cancelled() => {}
            }
        }
    }
}

impl Drop for Speaking {
    /// When the runtime is shut down in the middle, the next one who has news begins anew.
    fn drop(&mut self) {
        if !self.done {
            self.speaker.speaking.store(false, Ordering::Release);
        }
    }
}

struct Notify {
    channel: String,
    message: String,
}

#[async_trait]
impl Work for Notify {
    type Answer = ();
    const DURABLE: bool = false;
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    async fn run<Db: Tables>(&mut self, db: &mut Db, _: Timestamp, _: &mut News) -> Result<()> {
        let (channel, message) = (Value::Text(&self.channel), Value::Text(&self.message));
        db.execute("SELECT pg_notify(?, ?)", &[channel, message]).await?;
        Ok(())
    }
}

/// News as a message: who speaks, then each hint.
pub(super) fn message(speaker: &str, news: &News) -> String {
    let mut message = speaker.to_owned();
    for hint in news.hints() {
        match hint {
            Hint::Jobs(queue) => message.extend([" jobs=", queue.as_str()]),
            Hint::Outcomes => message.push_str(" outcomes"),
            Hint::Control => message.push_str(" control"),
            Hint::Everything => message.push_str(" everything"),
        }
    }
    if message.len() > LONGEST { format!("{speaker} everything") } else { message }
}

/// What a message says; nothing when `listener` sent it itself. What is not understood may be anything.
fn news(message: &str, listener: &str) -> News {
    let mut news = News::default();
    let mut words = message.split(' ');
    if words.next() == Some(listener) {
        return news;
    }
    let mut heard = false;
    for word in words {
        heard = true;
        match word.split_once('=') {
            Some(("jobs", queue)) if Name::new(queue).is_ok() => {
                if let Ok(queue) = Name::new(queue) {
                    news.jobs(&queue);
                }
            }
            None if word == "outcomes" => news.outcomes(),
            None if word == "control" => news.control(),
            _ => news.everything(),
        }
    }
    if !heard {
        news.everything();
    }
    news
}

/// The connection that listens.
struct Ear {
    listener: PgListener,
    /// Nothing but where `sqlx` keeps that connection.
    pool: PgPool,
    speaker: String,
    listeners: Arc<Listeners>,
    lost: Arc<AtomicBool>,
}

impl Ear {
    async fn open(settings: &Settings, speaker: &str, listeners: &Arc<Listeners>) -> Result<Self> {
        let options = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
        let pool = options.acquire_timeout(PATIENCE).connect_lazy_with(settings.for_work());
        let open = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            // Whoever listens is told that it broke off, instead of being deaf without knowing.
            listener.eager_reconnect(false);
            listener.listen(settings.schema.name()).await?;
            Ok(listener)
        };
        let listener = open.await.map_err(|error| fault(error).context("server", settings.location()))?;
        let (speaker, listeners, lost) = (speaker.to_owned(), Arc::clone(listeners), Arc::default());
        Ok(Self { listener, pool, speaker, listeners, lost })
    }

    /// Passes on what it hears until the connection breaks, nobody listens any more, or the backend ends.
    async fn hear(mut self, stop: CancellationToken) {
        // Also when this task is dropped with its runtime.
        let _lost = SetWhenDropped { lost: Arc::clone(&self.lost), listeners: Arc::clone(&self.listeners) };
        loop {
            tokio::select! {
                heard = self.listener.try_recv() => match heard {
                    Ok(Some(notification)) => self.listeners.tell(&news(notification.payload(), &self.speaker)),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::debug!(%error, "the listening connection failed");
                        break;
                    }
                },
                // Nothing is lost: what arrives meanwhile is heard on the next turn.
                () = tokio::time::sleep(PULSE) => {
                    if self.listeners.is_empty() || !self.is_alive().await {
                        break;
                    }
                }
                () = stop.cancelled() => break,
            }
        }
        drop(self.listener);
        self.pool.close().await;
    }

    async fn is_alive(&mut self) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.listener.execute("SELECT 1")).await, Ok(Ok(_)))
    }
}

struct SetWhenDropped {
    lost: Arc<AtomicBool>,
    listeners: Arc<Listeners>,
}

impl Drop for SetWhenDropped {
    fn drop(&mut self) {
        self.lost.store(true, Ordering::Release);
        self.listeners.wake_all();
    }
}
