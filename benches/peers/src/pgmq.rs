//! pgmq, installed as plain SQL.
//!
//! Its tables are logged and its commits awaited; what a consumer read and did not delete can be read again once the
//! visibility timeout is over. It has no worker, so one that reads, runs and deletes a thousand at a time stands here.

use std::time::Instant;

use anyhow::Result;
use futures_util::future::try_join_all;
use pgmq::{Message, PGMQueueExt};
use serde_json::Value;

use crate::Amount;
use crate::work::{Load, Rates, per_second};

const QUEUE: &str = "peers";

const BATCH: usize = 1_000;

/// How long a consumer has what it read, in seconds.
const VISIBILITY: i32 = 30;

/// What becomes of a message that was worked on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Deleted,
    /// Kept in another table.
    Archived,
}

/// The clock stops when the last message is deleted or archived.
pub(crate) async fn measure(url: &str, amount: Amount, consumers: u32, ending: Ending) -> Result<Rates> {
    let pgmq = PGMQueueExt::new(url.to_owned(), consumers).await?;
    pgmq.install_sql_from_embedded().await?;
    pgmq.create(QUEUE).await?;
    let load = Load::sample();
    let began = Instant::now();
    for _ in 0..amount.single {
        pgmq.send(QUEUE, &load).await?;
    }
    let one = per_second(amount.single, began);
    let loads = vec![load; amount.jobs];
    let began = Instant::now();
    for batch in loads.chunks(BATCH) {
        pgmq.send_batch(QUEUE, batch).await?;
    }
    let bulk = per_second(amount.jobs, began);

    let jobs = amount.single + amount.jobs;
    let began = Instant::now();
    let done: usize = try_join_all((0..consumers).map(|_| consume(&pgmq, ending))).await?.into_iter().sum();
    let drain = per_second(jobs, began);
    anyhow::ensure!(done == jobs, "{done} of {jobs} messages were worked on");
    pgmq.connection.close().await;
    Ok(Rates { bulk, one, drain })
}

/// Works until the queue is empty, and says how many messages there were.
async fn consume(pgmq: &PGMQueueExt, ending: Ending) -> Result<usize> {
    let mut done = 0;
    loop {
        let batch: Vec<Message<Load, Value>> = pgmq.read_batch(QUEUE, VISIBILITY, i32::try_from(BATCH)?).await?;
        if batch.is_empty() {
            return Ok(done);
        }
        let ids: Vec<_> = batch.iter().map(|message| message.msg_id).collect();
        for message in batch {
            drop(message.message.data);
        }
        done += match ending {
            Ending::Deleted => pgmq.delete_batch(QUEUE, &ids).await?.len(),
            Ending::Archived => pgmq.archive_batch(QUEUE, &ids).await?.len(),
        };
    }
}
