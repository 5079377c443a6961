//! Hints: at once within the process, and by `NOTIFY` from and to others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Executor;
use sqlx::postgres::{PgListener, PgPool, PgPoolOptions};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Postgres;
use super::connect::{PATIENCE, Pooler, Settings};
use super::error::{closed, fault};
use crate::backend::sql::news::{Herald, Listeners, News};
use crate::backend::sql::server::Connections;
use crate::backend::sql::speaker::{Speaker, Voice};
use crate::backend::sql::tables::Value;
use crate::backend::{Hint, Listener, Wake};
use crate::error::Result;

/// How often the listening connection is asked whether it still is one. A network that swallows packets says nothing.
const PULSE: Duration = Duration::from_secs(15);

/// Everything about hints.
pub(super) struct Wakes {
    connections: Arc<Connections<Settings>>,
    listeners: Arc<Listeners>,
    closed: Arc<AtomicBool>,
    speaker: Arc<Speaker<Channel>>,
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

    async fn tell(&self, hints: &[Hint]) -> Result<()> {
        crate::backend::sql::tell::tell(self, hints).await
    }
}

impl Wakes {
    pub(super) fn new(connections: Arc<Connections<Settings>>, closed: Arc<AtomicBool>) -> Self {
        Self {
            speaker: Speaker::new(Channel(Arc::clone(&connections))),
            connections,
            listeners: Arc::default(),
            closed,
            hearing: tokio::sync::Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
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
            let ear = Ear::open(settings, &self.speaker, &self.listeners).await?;
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

/// `NOTIFY` on a channel of the schema's name.
pub(super) struct Channel(Arc<Connections<Settings>>);

#[async_trait]
impl Voice for Channel {
    const PAUSE: Duration = Duration::from_millis(5);

    async fn say(&self, message: String) -> Result<()> {
        // Its commit need not wait for the disk.
        const NOTIFY: &str = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(?, ?)";
        let (channel, message) = (Value::Text(self.0.server.schema.name()), Value::Text(&message));
        self.0.alone(NOTIFY, &[channel, message]).await?;
        Ok(())
    }
}

/// The connection that listens.
struct Ear {
    listener: PgListener,
    /// Nothing but where `sqlx` keeps that connection.
    pool: PgPool,
    speaker: Arc<Speaker<Channel>>,
    listeners: Arc<Listeners>,
    lost: Arc<AtomicBool>,
}

impl Ear {
    async fn open(settings: &Settings, speaker: &Arc<Speaker<Channel>>, listeners: &Arc<Listeners>) -> Result<Self> {
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
        let (speaker, listeners, lost) = (Arc::clone(speaker), Arc::clone(listeners), Arc::default());
        Ok(Self { listener, pool, speaker, listeners, lost })
    }

    /// Passes on what it hears until the connection breaks, nobody listens any more, or the backend ends.
    async fn hear(mut self, stop: CancellationToken) {
        // Also when this task is dropped with its runtime.
        let _lost = SetWhenDropped { lost: Arc::clone(&self.lost), listeners: Arc::clone(&self.listeners) };
        loop {
            tokio::select! {
                heard = self.listener.try_recv() => match heard {
                    Ok(Some(notification)) => self.listeners.tell(&self.speaker.understand(notification.payload())),
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
