//! Stores that fail for a while, and workers that must not mind.

use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::testing::faulty::{Fault, Operation};
use taskwright::{ErrorKind, State};

use crate::on_every_backend;
use crate::site::{Site, eventually, within};

on_every_backend!(
    claims_that_fail_do_not_end_a_worker,
    a_settlement_that_fails_is_written_in_the_end,
    a_settlement_whose_answer_was_lost_counts_once,
    heartbeats_that_fail_cost_nothing,
);

#[task]
async fn echo(text: String) -> TaskResult<String> {
    Ok(text)
}

fn tasks() -> Registry {
    Registry::new().with::<Echo>().unwrap()
}

async fn claims_that_fail_do_not_end_a_worker(site: &Site) {
    site.backend.fail_next(Operation::Claim, 3);
    let worker = site.worker(tasks(), |_| {});
    let handle = site.client.dispatch(Echo::new("hello")).await.unwrap();
    assert_eq!(within(handle).await.unwrap(), "hello");
    eventually("health is green again", async || worker.health.is_ready()).await;
    assert_eq!(worker.health.report().last_error, None);
    worker.stop().await;
}

async fn a_settlement_that_fails_is_written_in_the_end(site: &Site) {
    site.backend.fail_next(Operation::Settle, 3);
    let worker = site.worker(tasks(), |_| {});
    let handle = site.client.dispatch(Echo::new("hello")).await.unwrap();
    let id = handle.id();
    assert_eq!(within(handle).await.unwrap(), "hello");
    assert_eq!(site.job(id).await.unwrap().attempt, 1);
    assert_eq!(worker.stop().await.completed, 1);
}

async fn a_settlement_whose_answer_was_lost_counts_once(site: &Site) {
    site.backend.inject(Operation::Settle, Fault::ErrorAfter, 1);
    let worker = site.worker(tasks(), |_| {});
    let handle = site.client.dispatch(Echo::new("hello")).await.unwrap();
    assert_eq!(within(handle).await.unwrap(), "hello");
    let summary = worker.stop().await;
    assert_eq!((summary.completed, summary.lost), (1, 0));
}

async fn heartbeats_that_fail_cost_nothing(site: &Site) {
    site.backend.fail_next(Operation::Extend, 2);
    let worker = site.worker(tasks(), |_| {});
    let handle = site.client.dispatch(Echo::new("hello")).await.unwrap();
    assert_eq!(within(handle).await.unwrap(), "hello");
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_without_tasks_does_not_start() {
    let site = Site::memory().await;
    let worker = taskwright::Worker::new(
        site.client.clone(),
        Registry::new(),
        std::sync::Arc::default(),
        taskwright::worker::WorkerOptions::default(),
    );
    let error = worker.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Wiring);
    assert!(error.to_string().contains("use my_tasks as _;"), "{error}");
}

struct Mailer;

#[task]
async fn needs_a_mailer(#[state] mailer: &Mailer) {
    let _ = mailer;
}

#[tokio::test]
async fn missing_state_is_named_before_anything_is_claimed() {
    let site = Site::memory().await;
    site.client.dispatch(NeedsAMailer::new()).await.unwrap();
    let registry = Registry::new().with::<NeedsAMailer>().unwrap();
    let options = taskwright::worker::WorkerOptions::default();
    let error = taskwright::Worker::new(site.client.clone(), registry, std::sync::Arc::default(), options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Wiring);
    let told = error.to_string();
    assert!(told.contains("Mailer") && told.contains("needs_a_mailer") && told.contains("trouble.rs:"), "{told}");
    assert_eq!(site.jobs(taskwright::backend::JobFilter::default()).await[0].state, State::Available);
}

mod twice {
    use taskwright::prelude::*;

    #[task(name = "same.name")]
    pub(crate) async fn first() {}

    #[task(name = "same.name")]
    pub(crate) async fn second() {}
}

#[test]
fn two_tasks_of_one_name_are_refused_with_both_places() {
    let error = Registry::new().with::<twice::First>().unwrap().with::<twice::Second>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Wiring);
    assert_eq!(error.to_string().matches("trouble.rs:").count(), 2, "{error}");
}
