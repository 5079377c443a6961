//! Tower layers around every attempt.

use std::sync::{Arc, Mutex};

use taskwright::job::FailureKind;
use taskwright::prelude::*;
use taskwright::registry::Registry;
use taskwright::worker::{TaskCall, WorkerOptions};
use taskwright::{State, Worker};
use tower::layer::layer_fn;
use tower::util::MapRequest;
use tower::{BoxError, ServiceExt};

use crate::site::{Running, Site, within};

#[task(max_attempts = 2, backoff = fixed("1ms"))]
async fn greet(name: String) -> TaskResult<String> {
    Ok(format!("hello {name}"))
}

fn worker(site: &Site) -> Worker {
    let registry = Registry::new().with::<Greet>().unwrap();
    Worker::new(site.client.clone(), registry, Arc::default(), WorkerOptions::default()).unwrap()
}

#[tokio::test]
async fn layers_see_every_attempt_the_last_added_first() {
    let site = Site::memory().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |label: &'static str| {
        let seen = Arc::clone(&seen);
        layer_fn(move |inner| {
            let seen = Arc::clone(&seen);
            MapRequest::new(inner, move |call: TaskCall| {
                seen.lock().unwrap().push(format!("{label} {}", call.ctx.attempt()));
                call
            })
        })
    };
    let _running = Running::start(worker(&site).layer(&note("inner")).layer(&note("outer")));
    let handle = site.client.dispatch(Greet::new("ada")).await.unwrap();
    assert_eq!(within(handle).await.unwrap(), "hello ada");
    assert_eq!(*seen.lock().unwrap(), ["outer 1", "inner 1"]);
}

#[tokio::test]
async fn a_layers_error_is_the_attempts_failure_and_may_decide() {
    let site = Site::memory().await;
    let refuse = layer_fn(|inner: taskwright::worker::TaskService| {
        inner.map_result(|_| Err::<_, BoxError>(TaskError::discard("not on a Sunday").into()))
    });
    let _running = Running::start(worker(&site).layer(&refuse));
    let handle = site.client.dispatch(Greet::new("ada")).await.unwrap();
    let job = site.job_in(handle.id(), State::Discarded).await;
    assert_eq!((job.attempt, job.failure().unwrap().kind), (1, FailureKind::Error));
    assert_eq!(job.failure().unwrap().message, "not on a Sunday");
}

#[tokio::test]
async fn a_panic_in_a_layer_costs_one_attempt() {
    let site = Site::memory().await;
    let panics = layer_fn(|inner| {
        MapRequest::new(inner, |call: TaskCall| {
            assert!(call.ctx.attempt() > 1, "the layer is unlucky");
            call
        })
    });
    let _running = Running::start(worker(&site).layer(&panics));
    let handle = site.client.dispatch(Greet::new("ada")).await.unwrap();
    assert_eq!(within(handle).await.unwrap(), "hello ada");
}
