//! What the same work costs without a queue: each store in the hands of somebody who needs nothing more.

mod channel;
mod mysql;
mod postgres;
mod rabbitmq;
mod redis;
mod sqlite;

use anyhow::Result;

use crate::Scale;
use crate::report::Report;
use crate::sites::{Kind, Store};
use crate::tasks::Noop;

/// How many rows or messages go together, where they do.
const BATCH: usize = 1_000;

/// Measures the raw ways into a store, and out of it.
pub(crate) async fn measure(report: &mut Report, scale: &Scale, store: &Store) -> Result<()> {
    let work = Amount { single: scale.single, batches: store.kind.jobs(scale.jobs).div_ceil(BATCH) };
    match store.kind {
        Kind::Memory => channel::measure(report, store, work).await,
        Kind::SqliteFull | Kind::SqliteNormal => sqlite::measure(report, store, work).await,
        Kind::Postgres => postgres::measure(report, store, work).await,
        Kind::MySql => mysql::measure(report, store, work).await,
        Kind::Redis => redis::measure(report, store, work).await,
        Kind::RabbitMq => rabbitmq::measure(report, store, work).await,
    }
}

/// How much work there is.
#[derive(Clone, Copy)]
struct Amount {
    /// How many go one at a time.
    single: usize,
    /// How many batches there are.
    batches: usize,
}

impl Amount {
    fn bulk(self) -> usize {
        self.batches * BATCH
    }
}

/// As large as that of a job.
fn payload() -> Vec<u8> {
    vec![b'x'; Noop::PAYLOAD]
}
