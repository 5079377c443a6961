//! Memory without a queue: a channel, and a spawned task for each job.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use taskwright::worker::WorkerOptions;
use tokio::sync::{Semaphore, mpsc};

use super::{Amount, BATCH, payload};
use crate::engine::per_second;
use crate::report::{Measure, Report};
use crate::sites::Store;

pub(super) async fn measure(report: &mut Report, store: &Store, work: Amount) -> Result<()> {
    report.rate(store.name(), Measure::RawBulk, channel(work.bulk()).await?);
    report.rate(store.name(), Measure::RawSpawn, spawn(work.bulk()).await?);
    Ok(())
}

/// Payloads through a channel that waits for its reader.
async fn channel(jobs: usize) -> Result<f64> {
    let (sender, mut receiver) = mpsc::channel::<Vec<u8>>(BATCH);
    let began = Instant::now();
    let producer = tokio::spawn(async move {
        for _ in 0..jobs {
            if sender.send(payload()).await.is_err() {
                break;
            }
        }
    });
    while let Some(payload) = receiver.recv().await {
        black_box(payload);
    }
    producer.await?;
    Ok(per_second(jobs, began))
}

/// A task for each payload, as many at once as a worker runs.
async fn spawn(jobs: usize) -> Result<f64> {
    let most = WorkerOptions::default().concurrency;
    let slots = Arc::new(Semaphore::new(most));
    let payloads: Vec<_> = (0..jobs).map(|_| payload()).collect();
    let began = Instant::now();
    for payload in payloads {
        let slot = Arc::clone(&slots).acquire_owned().await?;
        tokio::spawn(async move {
            black_box(payload);
            drop(slot);
        });
    }
    // The last jobs have ended when every slot is free.
    drop(slots.acquire_many(u32::try_from(most)?).await?);
    Ok(per_second(jobs, began))
}
