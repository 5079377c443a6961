//! A worker under a stream of important jobs, and one that is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use taskwright::context::States;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::time::Clock;
use tokio::sync::Notify;

use crate::on_every_backend;
use crate::site::{Site, within};

on_every_backend!(
    with_aging_an_unimportant_job_runs_in_the_middle_of_a_stream,
    without_aging_an_unimportant_job_waits_for_the_end_of_the_stream,
);

const MINUTE: Duration = Duration::from_mins(1);

/// What the tasks of a case share.
#[derive(Clone)]
struct Stream {
    client: Client,
    clock: Clock,
    /// How many important jobs have run.
    runs: Arc<AtomicUsize>,
    /// How many shall run.
    length: usize,
    ended: Arc<Notify>,
    /// How many important ones had run when the other one did.
    place: Arc<AtomicUsize>,
}

/// Keeps the queue as full as it was, for half a minute of the store's clock each.
#[task]
async fn important(#[state] stream: &Stream) -> TaskResult {
    stream.clock.advance(MINUTE / 2);
    let runs = stream.runs.fetch_add(1, Ordering::SeqCst) + 1;
    if runs < stream.length {
        stream.client.dispatch(Important::new().priority(2)).await?;
    }
    Ok(())
}

#[task]
async fn unimportant(#[state] stream: &Stream) {
    stream.place.store(stream.runs.load(Ordering::SeqCst), Ordering::SeqCst);
    stream.ended.notify_one();
}

/// How many important jobs of a stream of forty go before an unimportant one that came first.
async fn place_in_the_stream(site: &Site, aging: Option<Duration>) -> usize {
    let stream = Stream {
        client: site.client.clone(),
        clock: site.clock.clone(),
        runs: Arc::default(),
        length: 40,
        ended: Arc::default(),
        place: Arc::default(),
    };
    let mut states = States::default();
    states.insert(stream.clone());
    site.client.dispatch(Unimportant::new()).await.unwrap();
    site.client.dispatch_many((0..3).map(|_| Important::new().priority(2))).await.unwrap();
    let tasks = Registry::new().with::<Important>().unwrap().with::<Unimportant>().unwrap();
    let worker = site.worker_with(tasks, states, |options| {
        options.concurrency = 1;
        options.prefetch = 0;
        options.lease = Duration::from_hours(1);
        options.priority_aging = aging;
    });
    within(stream.ended.notified()).await;
    worker.stop().await;
    stream.place.load(Ordering::SeqCst)
}

async fn with_aging_an_unimportant_job_runs_in_the_middle_of_a_stream(site: &Site) {
    // Two levels are worth two minutes, which are four jobs after the three that were there; slow machines need fewer.
    let place = place_in_the_stream(site, Some(MINUTE)).await;
    assert!((3..=7).contains(&place), "it ran after {place} of them");
}

async fn without_aging_an_unimportant_job_waits_for_the_end_of_the_stream(site: &Site) {
    let place = place_in_the_stream(site, None).await;
    assert!(place >= 40, "it ran after {place} of them");
}
