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

/// What an operation brought about.
#[derive(Debug, Default)]
pub(super) struct News {
    queues: BTreeSet<Name>,
}

impl News {
    pub(super) fn jobs(&mut self, queue: &Name) {
        if !self.queues.contains(queue) {
            self.queues.insert(queue.clone());
        }
    }

    /// Tells it to all processes. What can't be told is found by polling.
    pub(super) async fn tell(self, broker: &Broker) {
        if self.queues.is_empty() {
            return;
        }
        let names: Vec<_> = self.queues.iter().map(Name::as_str).collect();
        let _ = broker.hint(&names.join("\n")).await;
    }
}

/// What a message on the exchange says: names of queues, one a line.
fn read(text: &[u8]) -> Vec<Hint> {
    let names = std::str::from_utf8(text).unwrap_or_default().lines().map(Name::new);
    names.map(|name| name.map_or(Hint::Everything, Hint::Jobs)).collect()
}

/// The consumer of hints, and all who listen to it.
#[derive(Default)]
pub(super) struct Ears {
    /// Held while the consumer is made, so that one is. The sender is closed when its consumer is gone.
    told: tokio::sync::Mutex<Option<broadcast::WeakSender<Hint>>>,
}

impl Ears {
    async fn listen(&self, broker: &Broker) -> Result<broadcast::Receiver<Hint>> {
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
        let hints = self.ears.listen(&self.broker).await?;
        Ok(Box::new(RabbitMqListener { hints, broker: Arc::clone(&self.broker) }))
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
