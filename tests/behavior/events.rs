//! Hints that go through another backend than the jobs.

use std::sync::Arc;
use std::time::Duration;

use taskwright::backend::memory::Memory;
use taskwright::backend::{Backend, EventsApart, Hint, Push, Pushed};
use taskwright::job::BatchId;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::testing::Draft;
use taskwright::testing::faulty::{Fault, Faulty, Operation};
use taskwright::worker::WorkerOptions;
use taskwright::{Client, Name, Worker};

use crate::site::{Running, eventually, within};

/// Two stores in memory that fail on request, and one backend made of them.
fn pair() -> (Arc<Faulty>, Arc<Faulty>, Arc<dyn Backend>) {
    let faulty = || Arc::new(Faulty::new(Arc::new(Memory::new()), 0));
    let (jobs, events) = (faulty(), faulty());
    let both = EventsApart::new(Arc::clone(&jobs) as Arc<dyn Backend>, Arc::clone(&events) as Arc<dyn Backend>);
    (jobs, events, Arc::new(both.unwrap()))
}

fn mail() -> Name {
    Name::new("mail").unwrap()
}

async fn push(backend: &dyn Backend) {
    let push = Push { batch: BatchId::new(), jobs: vec![Draft::new(mail()).into()] };
    assert_eq!(backend.push(&push).await.unwrap(), [Pushed::Stored]);
}

#[tokio::test]
async fn what_happens_to_jobs_is_heard_through_the_events_alone() {
    let (jobs, _, both) = pair();
    let mut listener = both.wake().unwrap().listen().await.unwrap();
    push(&*both).await;
    assert_eq!(within(listener.next()).await.unwrap(), Hint::Jobs(mail()));
    assert_eq!(jobs.calls(Operation::Listen), 0);
}

#[tokio::test]
async fn nobody_waits_for_events_that_are_away_or_hang() {
    let (_, events, both) = pair();
    let mut listener = both.wake().unwrap().listen().await.unwrap();
    events.inject(Operation::Tell, Fault::ErrorBefore, 1);
    push(&*both).await;
    eventually("the first hint has failed", async || events.calls(Operation::Tell) == 1).await;
    events.inject(Operation::Tell, Fault::HangBefore, 1);
    push(&*both).await;
    events.until_hanging(1).await;
    push(&*both).await;
    events.release();
    assert_eq!(within(listener.next()).await.unwrap(), Hint::Jobs(mail()));
}

#[task]
async fn echo(text: String) -> TaskResult<String> {
    Ok(text)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_worker_is_woken_through_the_events() {
    let (_, _, both) = pair();
    let client = Client::new(both);
    let registry = Registry::new().with::<Echo>().unwrap();
    // Without a hint it would look far too late.
    let options = WorkerOptions { poll: Duration::from_hours(1), ..WorkerOptions::default() };
    let worker = Running::start(Worker::new(client.clone(), registry, Arc::default(), options).unwrap());
    for text in ["one", "two"] {
        let handle = client.dispatch(Echo::new(text)).await.unwrap();
        assert_eq!(within(handle).await.unwrap(), text);
    }
    worker.stop().await;
}
