//! Connections to the broker: one to send on, one to take from, opened when needed and again when lost.
//!
//! They are two because a broker that is short of memory stops reading from connections that publish, and workers must
//! be able to acknowledge then all the more.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{join_all, try_join_all};
use lapin::message::Delivery;
use lapin::options::{
    BasicCancelOptions, BasicConsumeOptions, BasicGetOptions, BasicNackOptions, BasicPublishOptions, BasicQosOptions,
    ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Acker, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ExchangeKind};

use super::address::Address;
use super::epoch::{self, Epoch};
use super::error::{closed, fault, refused};
use super::message::Message;
use super::topology::{Place, Topology};
use crate::error::{Error, Result};

/// How long the broker may take for one answer, in all.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long nothing is sent to a quorum queue that did not exist before.
///
/// A broker that is killed within half a second of creating one forgets it, with all that it has confirmed by then.
const QUORUM_SETTLES: Duration = Duration::from_secs(2);

/// How many messages are on their way to the broker before the first of them is waited for.
const IN_FLIGHT: usize = 500;

/// The connections of one backend.
pub(super) struct Broker {
    address: Address,
    pub(super) topology: Topology,
    closed: AtomicBool,
    /// Held while a connection is opened, so that one is.
    sender: tokio::sync::Mutex<Option<Arc<Sender>>>,
    /// Held while a connection is opened, so that one is.
    taker: tokio::sync::Mutex<Option<Arc<Taker>>>,
}

/// The connection that messages are published on.
struct Sender {
    connection: Connection,
    /// Its publishes are confirmed.
    jobs: Channel,
    /// Its publishes are not.
    hints: Channel,
    /// The life of the broker that this connection is to.
    epoch: Epoch,
    /// What was declared on this connection. Held to look or to add, never across an await.
    declared: Mutex<HashSet<Place>>,
}

/// The connection that messages are taken from.
struct Taker {
    connection: Connection,
    /// One channel a queue, since an error on a channel gives back everything that was taken on it.
    sources: tokio::sync::Mutex<HashMap<String, Arc<Source>>>,
}

/// A queue, and the channel that its messages come on.
pub(super) struct Source {
    channel: Channel,
    /// Held while messages are taken, so that each claim's prefetch is its own.
    turn: tokio::sync::Mutex<()>,
}

impl Broker {
    /// Connects, so that what is wrong is known at start.
    pub(super) async fn connect(address: Address) -> Result<Self> {
        let topology = Topology { prefix: address.prefix.clone(), queues: address.queues };
        let broker = Self {
            address,
            topology,
            closed: AtomicBool::new(false),
            sender: tokio::sync::Mutex::default(),
            taker: tokio::sync::Mutex::default(),
        };
        broker.sender().await?;
        Ok(broker)
    }

    /// Publishes messages, and returns when the broker has made all of them safe.
    ///
    /// On an error any of them may have been.
    pub(super) async fn send(&self, messages: &[Message]) -> Result<()> {
        if messages.is_empty() {
            return self.check_open();
        }
        let sender = self.sender().await?;
        sender.check_unblocked()?;
        patiently("confirm messages", async {
            let places: HashSet<_> = messages.iter().map(|message| &message.place).collect();
            for place in places {
                self.declare_on(&sender, place).await?;
            }
            for some in messages.chunks(IN_FLIGHT) {
                self.publish(&sender, some).await?;
            }
            Ok(())
        })
        .await
        .map_err(|error| if sender.connection.status().blocked() { blocked() } else { error })
    }

    async fn publish(&self, sender: &Sender, messages: &[Message]) -> Result<()> {
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let publishes = messages.iter().map(|message| {
            let exchange = self.topology.exchange(&message.place);
            let (key, properties) = (message.key.as_str(), sender.epoch.stamp(message.properties.clone()));
            sender.jobs.basic_publish(exchange.into(), key.into(), options, &message.body, properties)
        });
        let confirms = try_join_all(publishes).await.map_err(fault)?;
        for (confirmed, message) in join_all(confirms).await.into_iter().zip(messages) {
            match confirmed.map_err(fault)? {
                Confirmation::Ack(None) => {}
                Confirmation::Ack(Some(_)) => {
                    sender.declared().remove(&message.place);
                    let queue = self.topology.queue(&message.place);
                    return Err(Error::unavailable(format!("queue {queue} was deleted; it is declared again")));
                }
                Confirmation::Nack(_) | Confirmation::NotRequested => {
                    return Err(Error::unavailable("the broker did not take a message; look at its log"));
                }
            }
        }
        Ok(())
    }

    /// Tells all processes something; nobody is sorry when it is lost.
    pub(super) async fn hint(&self, text: &str) -> Result<()> {
        let sender = self.sender().await?;
        sender.check_unblocked()?;
        let exchange = self.topology.hints();
        let publish = sender.hints.basic_publish(
            exchange.into(),
            "".into(),
            BasicPublishOptions::default(),
            text.as_bytes(),
            lapin::BasicProperties::default(),
        );
        patiently("take a hint", async { publish.await.map(drop).map_err(fault) }).await
    }

    /// Takes at most so many messages of a queue, the most urgent first: all that are there, if they are fewer.
    ///
    /// A consumer that exists for this moment only brings what is asked for and nothing ahead. The broker pauses a consumer
    /// after some hundreds of messages; a single `get` behind it tells whether the queue is empty.
    /// From a quorum queue each message is a `get`: it takes back what it had promised a consumer at the moment of its
    /// cancel, and gives it again as redelivered, which would count as a crash (seen with RabbitMQ 3.10).
    pub(super) async fn take(&self, place: &Place, limit: usize) -> Result<(Arc<Source>, Vec<Delivery>)> {
        let sender = self.sender().await?;
        patiently("declare a queue", self.declare_on(&sender, place)).await?;
        let taken = patiently("hand out messages", async {
            let source = self.source(self.topology.queue(place)).await?;
            let turn = source.turn.lock().await;
            let mut taken = Vec::new();
            while taken.len() < limit {
                let count = if self.topology.is_quorum(place) { 1 } else { limit - taken.len() };
                let count = u16::try_from(count).unwrap_or(u16::MAX);
                let last = source.take(&self.topology.queue(place), count, &mut taken).await?;
                let Some(last) = last else { break };
                taken.push(last);
            }
            drop(turn);
            Ok((source, taken))
        })
        .await;
        if taken.is_err() {
            // It may have been deleted.
            sender.declared().remove(place);
        }
        taken
    }

    async fn source(&self, queue: String) -> Result<Arc<Source>> {
        let taker = self.taker().await?;
        let mut sources = taker.sources.lock().await;
        if let Some(source) = sources.get(&queue).filter(|source| source.channel.status().connected()) {
            return Ok(Arc::clone(source));
        }
        let channel = taker.connection.create_channel().await.map_err(fault)?;
        let source = Arc::new(Source { channel, turn: tokio::sync::Mutex::default() });
        sources.insert(queue, Arc::clone(&source));
        Ok(source)
    }

    /// The life of the broker in which messages are sent now.
    pub(super) async fn epoch(&self) -> Result<Epoch> {
        Ok(self.sender().await?.epoch)
    }

    /// A consumer of all hints from now on.
    pub(super) async fn hear(&self) -> Result<Consumer> {
        let taker = self.taker().await?;
        // It is there once a sender is.
        self.sender().await?;
        patiently("subscribe to hints", async {
            let channel = taker.connection.create_channel().await.map_err(fault)?;
            let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
            let queue = channel.queue_declare("".into(), own, FieldTable::default()).await.map_err(fault)?;
            let (name, exchange) = (queue.name().clone(), self.topology.hints());
            let bind = channel.queue_bind(
                name.clone(),
                exchange.into(),
                "".into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            bind.await.map_err(fault)?;
            let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
            channel.basic_consume(name, "".into(), options, FieldTable::default()).await.map_err(fault)
        })
        .await
    }

    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    /// Closes both connections; what was taken and not acknowledged goes back.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let (sender, taker) = (self.sender.lock().await.take(), self.taker.lock().await.take());
        let connections =
            [sender.as_ref().map(|sender| &sender.connection), taker.as_ref().map(|taker| &taker.connection)];
        for connection in connections.into_iter().flatten() {
            // One that is broken is as good as closed.
            let _ = tokio::time::timeout(PATIENCE / 6, connection.close(200, "closed".into())).await;
        }
    }

    async fn sender(&self) -> Result<Arc<Sender>> {
        let mut sender = self.sender.lock().await;
        self.check_open()?;
        if let Some(sender) = sender.as_ref().filter(|sender| sender.is_usable()) {
            return Ok(Arc::clone(sender));
        }
        let opened = Arc::new(patiently("let this process in", self.open_sender()).await?);
        *sender = Some(Arc::clone(&opened));
        Ok(opened)
    }

    async fn open_sender(&self) -> Result<Sender> {
        let connection = self.open("sends jobs").await?;
        let jobs = connection.create_channel().await.map_err(fault)?;
        jobs.confirm_select(ConfirmSelectOptions::default()).await.map_err(fault)?;
        let hints = connection.create_channel().await.map_err(fault)?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchange = self.topology.hints();
        hints
            .exchange_declare(exchange.into(), ExchangeKind::Fanout, durable, FieldTable::default())
            .await
            .map_err(fault)?;
        let epoch = epoch::read(&connection, &self.topology.epoch()).await?;
        Ok(Sender { connection, jobs, hints, epoch, declared: Mutex::default() })
    }

    async fn taker(&self) -> Result<Arc<Taker>> {
        let mut taker = self.taker.lock().await;
        self.check_open()?;
        if let Some(taker) = taker.as_ref().filter(|taker| taker.connection.status().connected()) {
            return Ok(Arc::clone(taker));
        }
        let connection = patiently("let this process in", self.open("takes jobs")).await?;
        let opened = Arc::new(Taker { connection, sources: tokio::sync::Mutex::default() });
        *taker = Some(Arc::clone(&opened));
        Ok(opened)
    }

    async fn open(&self, purpose: &str) -> Result<Connection> {
        let name = format!("taskwright {purpose}, process {}", std::process::id());
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        Connection::connect_uri(self.address.uri.clone(), properties).await.map_err(refused)
    }

    /// Declares a queue once a connection. On a channel of its own, since a refusal closes the channel.
    async fn declare_on(&self, sender: &Sender, place: &Place) -> Result<()> {
        if sender.declared().contains(place) {
            return Ok(());
        }
        // It would not even be read.
        sender.check_unblocked()?;
        let queue = self.topology.queue(place);
        self.declare(sender, place, &queue).await.map_err(|error| error.context("queue", queue))?;
        sender.declared().insert(place.clone());
        Ok(())
    }

    async fn declare(&self, sender: &Sender, place: &Place, queue: &str) -> Result<()> {
        let channel = sender.connection.create_channel().await.map_err(fault)?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let is_new = self.topology.is_quorum(place) && !exists(&sender.connection, queue).await?;
        channel.queue_declare(queue.into(), durable, self.topology.arguments(place)).await.map_err(fault)?;
        if is_new {
            tokio::time::sleep(QUORUM_SETTLES).await;
        }
        if let Place::Wait(_) = place {
            let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
            let none = FieldTable::default;
            channel.exchange_declare(queue.into(), ExchangeKind::Fanout, durable, none()).await.map_err(fault)?;
            let bind = channel.queue_bind(queue.into(), queue.into(), "".into(), QueueBindOptions::default(), none());
            bind.await.map_err(fault)?;
        }
        channel.close(200, "declared".into()).await.map_err(fault)
    }
}

/// Whether there is such a queue. On a channel of its own, which ends when there is none.
async fn exists(connection: &Connection, queue: &str) -> Result<bool> {
    let channel = connection.create_channel().await.map_err(fault)?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    if channel.queue_declare(queue.into(), passive, FieldTable::default()).await.is_err() {
        return Ok(false);
    }
    channel.close(200, "looked".into()).await.map_err(fault)?;
    Ok(true)
}

impl Sender {
    fn is_usable(&self) -> bool {
        let channels = [&self.jobs, &self.hints];
        self.connection.status().connected() && channels.iter().all(|channel| channel.status().connected())
    }

    fn check_unblocked(&self) -> Result<()> {
        if self.connection.status().blocked() { Err(blocked()) } else { Ok(()) }
    }

    fn declared(&self) -> MutexGuard<'_, HashSet<Place>> {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// Takes at most `count` messages into `taken` but for the last, which is the answer when there are so many.
    async fn take(&self, queue: &str, count: u16, taken: &mut Vec<Delivery>) -> Result<Option<Delivery>> {
        let get = self.channel.basic_get(queue.into(), BasicGetOptions::default());
        if count == 1 {
            return Ok(get.await.map_err(fault)?.map(|message| message.delivery));
        }
        let tag = "claim";
        let none = FieldTable::default();
        // Two at a time go out together. A broker falls over a cancel that comes before it has answered the consume.
        let limit = self.channel.basic_qos(count - 1, BasicQosOptions::default());
        let consume = self.channel.basic_consume(queue.into(), tag.into(), BasicConsumeOptions::default(), none);
        let ((), mut consumer) = tokio::try_join!(limit, consume).map_err(fault)?;
        let cancel = self.channel.basic_cancel(tag.into(), BasicCancelOptions::default());
        let ((), last) = tokio::try_join!(cancel, get).map_err(fault)?;
        while let Some(delivery) = consumer.next().await {
            taken.push(delivery.map_err(fault)?);
        }
        Ok(last.map(|message| message.delivery))
    }

    /// Waits until the broker has done all that was asked on this channel before.
    pub(super) async fn settle_down(&self) -> Result<()> {
        let done = self.channel.basic_qos(1, BasicQosOptions::default());
        patiently("take acknowledgements", async { done.await.map_err(fault) }).await
    }
}

/// Acknowledges messages; false for each whose channel is gone, so that the broker has it back.
pub(super) async fn acknowledge<'a>(ackers: impl IntoIterator<Item = &'a Acker>) -> Vec<bool> {
    let acks = ackers.into_iter().map(|acker| acker.ack(lapin::options::BasicAckOptions::default()));
    join_all(acks).await.into_iter().map(|acked| acked.unwrap_or(false)).collect()
}

/// Puts messages back into their queue.
pub(super) async fn give_back<'a>(ackers: impl IntoIterator<Item = &'a Acker>) {
    let back = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
    // Those whose channel is gone are back already.
    let _ = join_all(ackers.into_iter().map(|acker| acker.nack(back))).await;
}

async fn patiently<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let hung = |_| Err(Error::unavailable(format!("the broker did not {what} within {} seconds", PATIENCE.as_secs())));
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(hung)
}

fn blocked() -> Error {
    Error::unavailable(
        "the broker takes no messages: it is short of memory or disk (`rabbitmq-diagnostics alarms`); jobs that it has are handed out",
    )
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker").field("location", &self.address.location).finish_non_exhaustive()
    }
}
