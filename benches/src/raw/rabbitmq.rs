//! RabbitMQ without a queue of jobs: persistent messages in a durable queue, confirmed, and acknowledged by hand.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

use super::{Amount, BATCH, payload};
use crate::engine::per_second;
use crate::report::{Measure, Report};
use crate::sites::Store;

const QUEUE: &str = "taskwright-bench-raw";

pub(super) async fn measure(report: &mut Report, store: &Store, work: Amount) -> Result<()> {
    let connection = Connection::connect(store.server()?, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    channel.queue_delete(QUEUE.into(), QueueDeleteOptions::default()).await?;
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), durable, FieldTable::default()).await?;

    report.rate(store.name(), Measure::RawOne, publish(&channel, 1, work.single).await?);
    report.rate(store.name(), Measure::RawBulk, publish(&channel, BATCH, work.batches).await?);
    report.rate(store.name(), Measure::RawConsume, consume(&connection, work.single + work.bulk()).await?);
    channel.queue_delete(QUEUE.into(), QueueDeleteOptions::default()).await?;
    Ok(connection.close(200, "measured".into()).await?)
}

/// Publishes so many messages without waiting, then waits for all of their confirms.
async fn publish(channel: &Channel, messages: usize, batches: usize) -> Result<f64> {
    const PERSISTENT: u8 = 2;
    let payload = payload();
    let began = Instant::now();
    for _ in 0..batches {
        let publishes = (0..messages).map(|_| {
            let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
            channel.basic_publish("".into(), QUEUE.into(), BasicPublishOptions::default(), &payload, properties)
        });
        let confirms = try_join_all(try_join_all(publishes).await?).await?;
        ensure!(confirms.iter().all(lapin::Confirmation::is_ack), "the broker refused a message");
    }
    Ok(per_second(messages * batches, began))
}

/// Acknowledges each message for itself, a prefetch of one batch ahead.
async fn consume(connection: &Connection, messages: usize) -> Result<f64> {
    let channel = connection.create_channel().await?;
    channel.basic_qos(u16::try_from(BATCH)?, BasicQosOptions::default()).await?;
    let began = Instant::now();
    let mut consumer =
        channel.basic_consume(QUEUE.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default()).await?;
    for _ in 0..messages {
        let delivery = consumer.next().await.context("the broker has ended the consumer")??;
        delivery.ack(BasicAckOptions::default()).await?;
        black_box(delivery.data);
    }
    let rate = per_second(messages, began);
    channel.close(200, "consumed".into()).await?;
    Ok(rate)
}
