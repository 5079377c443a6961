//! Hints between processes: a fanout exchange, and one consumer a process for all who listen in it.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use lapin::Consumer;
use tokio::sync::broadcast;

use super::RabbitMq;
use super::broker::Broker;
use super::error::closed;
use crate::backend::{Hint, Listener, Wake};
use crate::error::{Error, Result};
use crate::job::Name;

/// How many hints wait for a listener before they become [`Hint::Everything`].
const MOST_PENDING: usize = 64;

/// Words for hints that name no queue; no queue's name is one.
const OUTCOMES: &str = "!outcomes";
const CONTROL: &str = "!control";
const EVERYTHING: &str = "!everything";

/// What an operation brought about.
#[derive(Debug, Default)]
pub(super) struct News {
    queues: BTreeSet<Name>,
    words: BTreeSet<&'static str>,
}

impl News {
    pub(super) fn jobs(&mut self, queue: &Name) {
        if !self.queues.contains(queue) {
            self.queues.insert(queue.clone());
        }
    }

    pub(super) fn outcomes(&mut self) {
        self.words.insert(OUTCOMES);
    }

    pub(super) fn control(&mut self) {
        self.words.insert(CONTROL);
    }

    pub(super) fn everything(&mut self) {
        self.words.insert(EVERYTHING);
    }

    /// What these hints say.
    pub(super) fn of(hints: &[Hint]) -> Self {
        let mut news = Self::default();
        for hint in hints {
            match hint {
                Hint::Jobs(queue) => news.jobs(queue),
                Hint::Outcomes => news.outcomes(),
                Hint::Control => news.control(),
                Hint::Everything => news.everything(),
            }
        }
        news
    }

    /// Tells it to all processes. What can't be told is found by polling.
    pub(super) async fn tell(self, broker: &Broker) -> Result<()> {
        let lines: Vec<_> = self.queues.iter().map(Name::as_str).chain(self.words).collect();
        if lines.is_empty() { Ok(()) } else { broker.hint(&lines.join("\n")).await }
    }
}

/// What a message on the exchange says: names of queues and words, one a line.
fn read(text: &[u8]) -> Vec<Hint> {
    let hint = |line| match line {
        OUTCOMES => Hint::Outcomes,
        CONTROL => Hint::Control,
        name => Name::new(name).map_or(Hint::Everything, Hint::Jobs),
    };
    std::str::from_utf8(text).unwrap_or_default().lines().map(hint).collect()
}

/// The consumer of hints, and all who listen to it.
#[derive(Default)]
pub(super) struct Ears {
    /// Held while the consumer is made, so that one is. The sender is closed when its consumer is gone.
    told: tokio::sync::Mutex<Option<broadcast::WeakSender<Hint>>>,
}

impl Ears {
    /// A listener to all processes.
    pub(super) async fn listen(&self, broker: &Arc<Broker>) -> Result<Box<dyn Listener>> {
        let hints = self.hints(broker).await?;
        Ok(Box::new(RabbitMqListener { hints, broker: Arc::clone(broker) }))
    }

    async fn hints(&self, broker: &Broker) -> Result<broadcast::Receiver<Hint>> {
        let mut told = self.told.lock().await;
        broker.check_open()?;
        if let Some(sender) = told.as_ref().and_then(broadcast::WeakSender::upgrade) {
            return Ok(sender.subscribe());
        }
        let consumer = broker.hear().await?;
        let (sender, receiver) = broadcast::channel(MOST_PENDING);
        *told = Some(sender.downgrade());
        tokio::spawn(pass_on(consumer, sender));
        Ok(receiver)
    }
}

/// Passes hints on until the channel is gone, and with it the only sender.
async fn pass_on(mut consumer: Consumer, sender: broadcast::Sender<Hint>) {
    while let Some(Ok(message)) = consumer.next().await {
        for hint in read(&message.data) {
            // Without listeners nobody needs it.
            let _ = sender.send(hint);
        }
    }
}

#[async_trait]
impl Wake for RabbitMq {
    async fn listen(&self) -> Result<Box<dyn Listener>> {
        self.ears.listen(&self.broker).await
    }

    async fn tell(&self, hints: &[Hint]) -> Result<()> {
        self.broker.check_open()?;
        News::of(hints).tell(&self.broker).await
    }
}

struct RabbitMqListener {
    hints: broadcast::Receiver<Hint>,
    /// Tells why there are no more hints.
    broker: Arc<Broker>,
}

#[async_trait]
impl Listener for RabbitMqListener {
    async fn next(&mut self) -> Result<Hint> {
        match self.hints.recv().await {
            Ok(hint) => Ok(hint),
            Err(broadcast::error::RecvError::Lagged(_)) => Ok(Hint::Everything),
            Err(broadcast::error::RecvError::Closed) => {
                self.broker.check_open().map_err(|_| closed())?;
                Err(Error::unavailable("the connection that brought hints is lost"))
            }
        }
    }
}
