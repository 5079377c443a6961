//! RabbitMQ with results in a store: what becomes of a job is kept before its message is let go.

use std::sync::Arc;
use std::time::Duration;

use taskwright::backend::connect::{Places, connect_all};
use taskwright::backend::memory::Memory;
use taskwright::backend::rabbitmq::RabbitMq;
use taskwright::backend::{Backend, Fetched, Keeper, ResultsApart, Settled, Settlement};
use taskwright::codec::{Codec, Payload};
use taskwright::job::{Failure, FailureKind, Job, Lease, Outcome};
use taskwright::policy::Verdict;
use taskwright::testing::eventually;
use taskwright::testing::faulty::{Faulty, Operation};
use taskwright::{ErrorKind, JobId, State};
use taskwright_tests::servers::{Kind, Server};

use crate::broker::{Handle, Site, job};

const MINUTE: Duration = Duration::from_mins(1);

fn store() -> Arc<Faulty> {
    Arc::new(Faulty::new(Arc::new(Memory::new()), 7))
}

fn keeper(results: &Arc<Faulty>) -> Keeper {
    Keeper::new(Arc::clone(results) as Arc<dyn Backend>).unwrap()
}

async fn broker(site: &Site, results: &Arc<Faulty>) -> Arc<dyn Backend> {
    Arc::new(RabbitMq::connect(&site.url("")).await.unwrap().keeping(keeper(results)))
}

async fn open(site: &Site, results: &Arc<Faulty>) -> Handle {
    Handle(Arc::new(ResultsApart::of_carrier(broker(site, results).await, keeper(results))))
}

async fn fetched(handle: &Handle, id: JobId) -> Fetched {
    handle.0.results().unwrap().fetch(&[id]).await.unwrap().remove(0)
}

async fn ended(handle: &Handle, id: JobId) -> Outcome {
    match fetched(handle, id).await {
        Fetched::Finished(outcome) => outcome,
        other => panic!("it has not ended: {other:?}"),
    }
}

fn returned(text: &str) -> Verdict {
    Verdict::Complete { result: Some(Payload::encode(Codec::Json, &text).unwrap()) }
}

fn settlement((lease, job): &(Lease, Job), text: &str) -> Settlement {
    Settlement { lease: *lease, job: job.clone(), verdict: returned(text) }
}

#[tokio::test]
async fn message_stays_until_the_outcome_is_kept() {
    let Some(site) = Site::shared() else { return };
    let results = store();
    let handle = open(&site, &results).await;
    let id = handle.push(job().keep(MINUTE)).await;
    assert!(matches!(fetched(&handle, id).await, Fetched::Pending { attempt: 0, .. }));
    let held = handle.next().await;
    results.fail_next(Operation::Keep, 1);
    let error = handle.0.settle(&[settlement(&held, "done")]).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("results_url"), "{error}");
    assert!(matches!(fetched(&handle, id).await, Fetched::Pending { .. }));
    assert_eq!(handle.settle(&held, returned("done")).await, Settled::Applied, "the lease has lived on");
    assert_eq!(ended(&handle, id).await.result, Some(Payload::encode(Codec::Json, &"done").unwrap()));
    assert_eq!(handle.settle(&held, returned("late")).await, Settled::LeaseLost);
    assert_eq!(ended(&handle, id).await.result, Some(Payload::encode(Codec::Json, &"done").unwrap()));
}

#[tokio::test]
async fn job_that_can_not_be_marked_is_not_sent() {
    let Some(site) = Site::shared() else { return };
    let results = store();
    let handle = open(&site, &results).await;
    results.fail_next(Operation::Keep, 1);
    assert!(handle.try_push(job()).await.unwrap_err().is_transient());
    assert_eq!(handle.claim().await.len(), 0);
    let stranger = handle.try_push(job().unique("key")).await.unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::Unsupported);
}

#[tokio::test]
async fn attempt_that_ends_nothing_is_settled_without_the_results() {
    let Some(site) = Site::shared() else { return };
    let results = store();
    let handle = open(&site, &results).await;
    let id = handle.push(job()).await;
    let held = handle.next().await;
    results.fail_next(Operation::Keep, 1);
    let failure = Failure::new(FailureKind::Error, "it broke");
    assert_eq!(handle.settle(&held, Verdict::Retry { after: Duration::ZERO, failure }).await, Settled::Applied);
    let held = handle.next().await;
    assert_eq!((held.1.id(), held.1.attempt), (id, 2));
}

#[tokio::test]
async fn poison_is_known_though_the_results_were_away_when_it_was_found() {
    let Some(site) = Site::shared() else { return };
    let results = store();
    // Its connection is lost with it, and the results stay.
    let worker = Handle(broker(&site, &results).await);
    let id = worker.push(job().attempts(1)).await;
    worker.next().await;
    worker.0.close().await.unwrap();
    let handle = open(&site, &results).await;
    results.fail_next(Operation::Keep, 1);
    eventually("its end is known", async || {
        assert_eq!(handle.try_claim().await.map_or(0, |jobs| jobs.len()), 0, "it was its last attempt");
        Ok(matches!(fetched(&handle, id).await, Fetched::Finished(_)))
    })
    .await
    .unwrap();
    let outcome = ended(&handle, id).await;
    assert_eq!((outcome.state, outcome.attempt), (State::Discarded, 1));
    assert_eq!(outcome.failure.map(|failure| failure.kind), Some(FailureKind::Crash));
    let dead = site.stranger().await.count(&site.queue("dead")).await;
    assert_eq!(dead, 1, "it is a dead letter once");
}

#[tokio::test]
async fn job_runs_again_when_the_broker_dies_between_its_outcome_and_its_end() {
    let Some(server) = Server::private(Kind::RabbitMq) else { return };
    let site = Site::on(&server);
    let results = store();
    let handle = open(&site, &results).await;
    let id = handle.push(job().keep(MINUTE)).await;
    let held = handle.next().await;
    server.kill().unwrap();
    let settled = handle.0.settle(&[settlement(&held, "first")]).await;
    // That the connection is gone is known before the outcome is kept, or after.
    assert_ne!(settled.ok(), Some(vec![Settled::Applied]));
    server.start_again().unwrap();
    let again = handle.next().await;
    assert_eq!(again.1.id(), id);
    assert_eq!(handle.settle(&again, returned("second")).await, Settled::Applied);
    assert_eq!(ended(&handle, id).await.result, Some(Payload::encode(Codec::Json, &"second").unwrap()));
}

#[tokio::test]
async fn urls_make_one_backend() {
    let Some(site) = Site::shared() else { return };
    let results_url = Some("memory:rabbitmq-results".to_owned());
    let places = Places { url: site.url(""), results_url, ..Places::default() };
    let backend = connect_all(&places).await.unwrap();
    let info = backend.info();
    assert_eq!(info.name, "rabbitmq");
    assert!(info.location.ends_with(" with results in memory:rabbitmq-results"), "{info:?}");
    assert!(backend.results().is_some() && backend.inspect().is_none());
    let all = connect_all(&Places { store_url: Some("memory:rabbitmq-record".to_owned()), ..places.clone() }).await;
    assert!(
        all.unwrap().info().location.ends_with(" with memory:rabbitmq-record with results in memory:rabbitmq-results")
    );
    let cases: [(&str, &str, ErrorKind, &str); 3] = [
        (&site.url(""), "nonsense", ErrorKind::Invalid, "results_url"),
        (&site.url(""), &site.url("x"), ErrorKind::Unsupported, "keeps no results itself"),
        ("amqp://nobody:hunter2@127.0.0.1:1/", "memory:", ErrorKind::Unavailable, "setting url"),
    ];
    for (url, results_url, kind, told) in cases {
        let places = Places { url: url.to_owned(), results_url: Some(results_url.to_owned()), ..Places::default() };
        let error = connect_all(&places).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(told), "{error}");
        assert!(!format!("{error:?} {places:?}").contains("hunter2"), "{error:?}");
    }
}
