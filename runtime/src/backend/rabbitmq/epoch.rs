//! Which life of the broker this is.
//!
//! A broker that died without warning marks everything that it still has as redelivered, though nobody had it.
//! So a message carries the epoch in which it was sent, and its coming back is a crash in that epoch only.
//!
//! The epoch is a message that a restart does not survive, in a queue that does.

use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicNackOptions, BasicPublishOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection};

use super::error::{RESOURCE_LOCKED, fault};
use crate::error::{Error, Result};

/// How long to wait before the lock is asked for again.
const PAUSE: Duration = Duration::from_millis(20);

/// A number that each start of the broker has another of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Epoch(i64);

/// Reads the present epoch, or begins it.
pub(super) async fn read(connection: &Connection, queue: &str) -> Result<Epoch> {
    let lock = format!("{queue}/lock");
    let channel = locked(connection, &lock).await?;
    let epoch = under_lock(&channel, queue).await?;
    channel.queue_delete(lock.as_str().into(), QueueDeleteOptions::default()).await.map_err(fault)?;
    channel.close(200, "read".into()).await.map_err(fault)?;
    Ok(epoch)
}

/// One process at a time: a queue that belongs to one connection is the lock, and goes with it.
async fn locked(connection: &Connection, lock: &str) -> Result<Channel> {
    let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    loop {
        let channel = connection.create_channel().await.map_err(fault)?;
        match channel.queue_declare(lock.into(), exclusive, FieldTable::default()).await {
            Ok(_) => return Ok(channel),
            Err(error) if is_locked(&error) => tokio::time::sleep(PAUSE).await,
            Err(error) => return Err(fault(error)),
        }
    }
}

fn is_locked(error: &lapin::Error) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(answer) if answer.get_id() == RESOURCE_LOCKED)
}

async fn under_lock(channel: &Channel, queue: &str) -> Result<Epoch> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let found = channel.queue_declare(queue.into(), durable, FieldTable::default()).await.map_err(fault)?;
    if found.message_count() == 0 {
        let new = rand::random::<i64>().to_be_bytes();
        let (options, transient) = (BasicPublishOptions::default(), BasicProperties::default().with_delivery_mode(1));
        channel.basic_publish("".into(), queue.into(), options, &new, transient).await.map_err(fault)?;
    }
    let message = channel.basic_get(queue.into(), BasicGetOptions::default()).await.map_err(fault)?;
    let message = message.ok_or_else(|| Error::unavailable(format!("queue {queue} was emptied by somebody else")))?;
    let epoch = <[u8; 8]>::try_from(&message.delivery.data[..]).map(i64::from_be_bytes);
    let back = BasicNackOptions { requeue: epoch.is_ok(), ..BasicNackOptions::default() };
    message.delivery.acker.nack(back).await.map_err(fault)?;
    epoch.map(Epoch).map_err(|_| Error::unavailable(format!("somebody else wrote to queue {queue}")))
}

/// Where a message says when it was sent.
const HEADER: &str = "taskwright-epoch";

impl Epoch {
    pub(super) fn stamp(self, properties: BasicProperties) -> BasicProperties {
        let mut headers = properties.headers().clone().unwrap_or_default();
        headers.insert(HEADER.into(), AMQPValue::LongLongInt(self.0));
        properties.with_headers(headers)
    }

    /// Whether a message was sent in this epoch.
    pub(super) fn is_of(self, properties: &BasicProperties) -> bool {
        let stamp = properties.headers().as_ref().and_then(|headers| headers.inner().get(HEADER));
        matches!(stamp, Some(AMQPValue::LongLongInt(epoch)) if *epoch == self.0)
    }
}
