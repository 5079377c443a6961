//! A task that completes in the transaction it writes in: both happen, or neither.

use std::sync::Arc;
use std::time::Duration;

use taskwright::backend::memory::Memory;
use taskwright::backend::{Backend, Reap};
use taskwright::context::States;
use taskwright::job::Ending;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::testing::faulty::{Fault, Operation};
use taskwright::time::Clock;
use taskwright::worker::WorkerOptions;
use taskwright::{ErrorKind, State, Worker};

use crate::books::{Books, Table, Writing};
use crate::site::{Running, Site, within};

/// A site whose store has a table, and the table.
fn books() -> (Site, Arc<Table>) {
    let (clock, table) = (Clock::system(), Arc::new(Table::default()));
    let jobs = Arc::new(Memory::with_clock(clock.clone()));
    (Site::over(Arc::new(Books::new(jobs, Arc::clone(&table))), clock, None), table)
}

fn worker<T: Task>(site: &Site) -> Running {
    site.worker(Registry::new().with::<T>().unwrap(), |_| {})
}

/// Writes a row in every attempt, and ends as the job's number of attempts asks for.
#[task(max_attempts = 3, backoff = fixed("1ms"), timeout = "1m")]
async fn book(entry: String, fail_until: u32, #[tx] tx: &mut Writing<'_>, ctx: &Context) -> TaskResult<String> {
    tx.insert(format!("{entry} {}", ctx.attempt()));
    if ctx.attempt() < fail_until {
        return Err("the bank is away".into());
    }
    Ok(entry)
}

#[tokio::test]
async fn writes_and_completion_are_committed_together() {
    let (site, table) = books();
    let worker = worker::<Book>(&site);
    let handle = site.client.dispatch(Book::new("rent", 1)).await.unwrap();
    let id = handle.id();
    assert_eq!(within(handle).await.unwrap(), "rent");
    assert_eq!(table.rows(), ["rent 1"]);
    assert_eq!(site.job(id).await.unwrap().state, State::Completed);
    assert_eq!(site.backend.calls(Operation::Settle), 0, "nothing else completes it");
    assert_eq!(worker.stop().await.completed, 1);
}

#[tokio::test]
async fn writes_of_a_failed_attempt_are_undone() {
    let (site, table) = books();
    let _worker = worker::<Book>(&site);
    let handle = site.client.dispatch(Book::new("rent", 2)).await.unwrap();
    within(handle).await.unwrap();
    assert_eq!(table.rows(), ["rent 2"]);
    assert_eq!(site.backend.calls(Operation::RollBack), 1);
}

#[task(max_attempts = 1)]
async fn panic_after_writing(#[tx] tx: &mut Writing<'_>) {
    tx.insert("never");
    panic!("out of ink");
}

#[task(max_attempts = 1, timeout = "20ms")]
async fn hang_after_writing(#[tx] tx: &mut Writing<'_>) {
    tx.insert("never");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn writes_before_a_panic_or_a_timeout_are_undone() {
    let (site, table) = books();
    let registry = Registry::new().with::<PanicAfterWriting>().unwrap().with::<HangAfterWriting>().unwrap();
    let _worker = site.worker(registry, |_| {});
    let panics = site.client.dispatch(PanicAfterWriting::new()).await.unwrap().id();
    let hangs = site.client.dispatch(HangAfterWriting::new()).await.unwrap().id();
    for id in [panics, hangs] {
        site.job_in(id, State::Discarded).await;
    }
    assert_eq!(table.rows(), Vec::<String>::new());
    assert_eq!(site.backend.calls(Operation::RollBack), 2);
    assert_eq!(site.backend.calls(Operation::Complete), 0);
}

#[tokio::test]
async fn commit_that_fails_costs_an_attempt_and_nothing_else() {
    let (site, table) = books();
    site.backend.inject(Operation::Complete, Fault::ErrorBefore, 1);
    let _worker = worker::<Book>(&site);
    let handle = site.client.dispatch(Book::new("rent", 1)).await.unwrap();
    let id = handle.id();
    within(handle).await.unwrap();
    assert_eq!(table.rows(), ["rent 2"]);
    let endings: Vec<_> = site.job(id).await.unwrap().history.iter().map(|attempt| attempt.ending).collect();
    assert_eq!(endings, [Ending::Retried, Ending::Completed]);
}

#[tokio::test]
async fn commit_whose_answer_is_lost_stands_and_is_not_repeated() {
    let (site, table) = books();
    site.backend.inject(Operation::Complete, Fault::ErrorAfter, 1);
    let worker = worker::<Book>(&site);
    let handle = site.client.dispatch(Book::new("rent", 1)).await.unwrap();
    let id = handle.id();
    assert_eq!(within(handle).await.unwrap(), "rent");
    worker.stop().await;
    assert_eq!(site.job(id).await.unwrap().attempt, 1);
    assert_eq!(table.rows(), ["rent 1"]);
    assert_eq!(site.backend.calls(Operation::Settle), 1, "the failure that it took it for was refused");
}

/// Loses its lease in the first attempt, as a process does that was stopped for a while.
#[task(max_attempts = 3)]
async fn lose_the_lease(#[tx] tx: &mut Writing<'_>, #[state] thief: &Thief, ctx: &Context) -> TaskResult {
    tx.insert(format!("attempt {}", ctx.attempt()));
    if ctx.attempt() == 1 {
        thief.clock.advance(Duration::from_hours(1));
        thief.backend.reap(&Reap { limit: 10, max_crashes: 3 }).await?;
    }
    Ok(())
}

struct Thief {
    backend: Arc<dyn Backend>,
    clock: Clock,
}

#[tokio::test]
async fn lost_lease_undoes_what_was_written() {
    let (site, table) = books();
    let mut states = States::default();
    states.insert(Thief { backend: Arc::clone(&site.backend) as Arc<dyn Backend>, clock: site.clock.clone() });
    let _worker = site.worker_with(Registry::new().with::<LoseTheLease>().unwrap(), states, |_| {});
    let handle = site.client.dispatch(LoseTheLease::new()).await.unwrap();
    within(handle).await.unwrap();
    assert_eq!(table.rows(), ["attempt 2"]);
    assert_eq!(site.backend.calls(Operation::Complete), 2);
}

#[tokio::test]
async fn worker_does_not_start_where_there_are_no_such_transactions() {
    let site = Site::memory().await;
    let registry = Registry::new().with::<Book>().unwrap();
    let options = WorkerOptions::default();
    let error = Worker::new(site.client.clone(), registry, Arc::default(), options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let message = error.to_string();
    assert!(message.contains("::book") && message.contains("`#[tx] tx`") && message.contains("memory"), "{message}");
}

#[task]
async fn write_elsewhere(#[tx] tx: &mut Vec<String>) {
    tx.push("never".to_owned());
}

#[tokio::test]
async fn worker_does_not_start_with_a_transaction_of_another_driver() {
    let (site, _table) = books();
    let registry = Registry::new().with::<WriteElsewhere>().unwrap();
    let error = Worker::new(site.client.clone(), registry, Arc::default(), WorkerOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Wiring);
    let message = error.to_string();
    assert!(message.contains("Vec<alloc::string::String>") && message.contains("Writing"), "{message}");
}

#[tokio::test]
async fn task_called_without_a_worker_says_what_to_do() {
    let error = Task::run(Book::new("rent", 1), Context::test()).await.unwrap_err();
    assert!(error.to_string().contains("call its function with one of yours"), "{error}");
}
