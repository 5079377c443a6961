//! Hints from the server: one connection of its own that listens for all listeners of this backend.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender, WeakSender};
use tokio_util::sync::CancellationToken;

use super::Redis;
use super::error::{closed, fault};
use super::link::CONNECT_TIMEOUT;
use crate::backend::{Hint, Listener, Wake};
use crate::error::{Error, Result};
use crate::job::Name;

/// How many hints wait for a listener before the oldest become [`Hint::Everything`].
const MOST_PENDING: usize = 256;
/// How often a silent connection is asked whether it lives, and how long the answer may take.
const PING_EVERY: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// The connection that listens, while there is one.
#[derive(Default)]
pub(super) struct Ear {
    /// Held by the task that listens, and gone with it; locked while a connection is made.
    current: Mutex<Option<WeakSender<Hint>>>,
    /// Ends that task.
    pub(super) stop: CancellationToken,
}

#[async_trait]
impl Wake for Redis {
    async fn listen(&self) -> Result<Box<dyn Listener>> {
        let hints = self.hear().await?;
        Ok(Box::new(RedisListener { hints, stop: self.ear.stop.clone() }))
    }

    async fn tell(&self, hints: &[Hint]) -> Result<()> {
        if hints.is_empty() {
            return Ok(());
        }
        let lines: Vec<_> = hints.iter().map(line).collect();
        let news = self.link.key("news");
        self.link.command(redis::cmd("PUBLISH").arg(news).arg(lines.join("\n"))).await.map(drop)
    }
}

impl Redis {
    /// The hints from now on.
    async fn hear(&self) -> Result<Receiver<Hint>> {
        let mut current = self.ear.current.lock().await;
        if self.link.is_closed() {
            return Err(closed());
        }
        if let Some(sender) = current.as_ref().and_then(WeakSender::upgrade) {
            return Ok(sender.subscribe());
        }
        let client = self.link.client().await?;
        let connect = async {
            let (mut sink, stream) = client.get_async_pubsub().await?.split();
            sink.subscribe(self.link.key("news")).await?;
            Ok((sink, stream))
        };
        let silent = |_| Error::unavailable("redis did not answer in time");
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, connect).await.map_err(silent)?;
        let (sink, stream) = connected.map_err(fault)?;
        let (sender, hints) = broadcast::channel(MOST_PENDING);
        *current = Some(sender.downgrade());
        let stop = self.ear.stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = pass_on(sink, stream, &sender) => {}
                () = stop.cancelled() => {}
            }
        });
        Ok(hints)
    }
}

/// Passes hints on until the connection breaks or nobody listens any more.
async fn pass_on(mut sink: PubSubSink, mut stream: PubSubStream, sender: &Sender<Hint>) {
    let mut pings = tokio::time::interval(PING_EVERY);
    loop {
        tokio::select! {
            // Dropped when the other wins; what has arrived stays in the stream.
            message = stream.next() => {
                let Some(message) = message else { return };
                for hint in hints(message.get_payload_bytes()) {
                    if sender.send(hint).is_err() {
                        return;
                    }
                }
            }
            // Goes on at the next turn of the loop when the other wins.
            _ = pings.tick() => {
                let alive = tokio::time::timeout(PING_TIMEOUT, sink.ping::<redis::Value>()).await;
                if !matches!(alive, Ok(Ok(_))) || sender.receiver_count() == 0 {
                    return;
                }
            }
        }
    }
}

/// A hint as `lua/common.lua` writes it.
fn line(hint: &Hint) -> String {
    match hint {
        Hint::Jobs(queue) => format!("jobs {queue}"),
        Hint::Outcomes => "outcomes".to_owned(),
        Hint::Control => "control".to_owned(),
        Hint::Everything => "everything".to_owned(),
    }
}

/// The hints of a message, as `lua/common.lua` writes it: a line each.
fn hints(message: &[u8]) -> impl Iterator<Item = Hint> {
    message.split(|byte| *byte == b'\n').filter_map(|line| match std::str::from_utf8(line).ok()? {
        "outcomes" => Some(Hint::Outcomes),
        "control" => Some(Hint::Control),
        "everything" => Some(Hint::Everything),
        other => Some(Hint::Jobs(Name::new(other.strip_prefix("jobs ")?).ok()?)),
    })
}

struct RedisListener {
    hints: Receiver<Hint>,
    stop: CancellationToken,
}

#[async_trait]
impl Listener for RedisListener {
    async fn next(&mut self) -> Result<Hint> {
        match self.hints.recv().await {
            Ok(hint) => Ok(hint),
            Err(RecvError::Lagged(_)) => Ok(Hint::Everything),
            Err(RecvError::Closed) if self.stop.is_cancelled() => Err(closed()),
            Err(RecvError::Closed) => Err(Error::unavailable("the connection to redis that listens broke off")),
        }
    }
}

/// Ends with the backend, also where nobody closed it.
impl Drop for Ear {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
