//! RabbitMQ with a store: ids go through the broker, and the store makes up for what the broker can't do.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::QueuePurgeOptions;
use taskwright::backend::connect::{connect, connect_with_store};
use taskwright::backend::memory::Memory;
use taskwright::backend::{Cancel, Fetched, Settled};
use taskwright::job::{Outcome, State};
use taskwright::testing::eventually;
use taskwright::testing::faulty::{Faulty, Operation};
use taskwright::{ErrorKind, Name};
use taskwright_tests::servers::{Kind, Server};

use crate::broker::{Site, job};

#[tokio::test]
async fn booked_job_is_carried_by_its_id() {
    let Some(site) = Site::shared() else { return };
    let store = Faulty::new(Arc::new(Memory::new()), 7);
    // So that it can come by its id only.
    store.fail_next(Operation::Claim, 1);
    let handle = site.open_on(Arc::new(store)).await;
    let stranger = site.stranger().await;
    let id = handle.push(job()).await;
    assert_eq!(stranger.count(&site.queue("ids/mail")).await, 1, "its id waits in the broker");
    let held = handle.claim().await;
    assert_eq!(held.iter().map(|(_, job)| job.id()).collect::<Vec<_>>(), [id]);
    eventually("the message is gone", async || Ok(stranger.count(&site.queue("ids/mail")).await == 0)).await.unwrap();
    assert_eq!(handle.complete(&held[0]).await, Settled::Applied);
    // Whoever has another store knows nothing of it.
    let other = site.open_on(Arc::new(Memory::new())).await;
    handle.push(job()).await;
    assert_eq!(other.claim().await.len(), 0, "an id alone is not enough");
}

#[tokio::test]
async fn id_that_the_broker_lost_is_made_up_for() {
    let Some(site) = Site::shared() else { return };
    let handle = site.open_on(Arc::new(Memory::new())).await;
    let id = handle.push(job()).await;
    let purge = QueuePurgeOptions::default();
    site.stranger().await.channel.queue_purge(site.queue("ids/mail").into(), purge).await.unwrap();
    assert_eq!(handle.next().await.1.id(), id);
}

#[tokio::test]
async fn job_without_a_message_is_not_starved_by_those_with_one() {
    let Some(site) = Site::shared() else { return };
    let handle = site.open_on(Arc::new(Memory::new())).await;
    let delayed = handle.push(job().priority(9).delay(Duration::from_millis(1))).await;
    for _ in 0..60 {
        handle.push(job()).await;
    }
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.extend(handle.claim().await.into_iter().map(|(_, job)| job.id()));
    }
    assert!(seen.len() < 60 && seen.contains(&delayed), "it comes while there are messages");
}

#[tokio::test]
async fn stale_id_is_dropped() {
    let Some(site) = Site::shared() else { return };
    let handle = site.open_on(Arc::new(Memory::new())).await;
    let id = handle.push(job()).await;
    handle.0.cancel(&Cancel { ids: vec![id], reason: "enough".to_owned() }).await.unwrap();
    let stranger = site.stranger().await;
    stranger.send(&site.queue("ids/mail"), b"not an id").await;
    assert_eq!(handle.claim().await.len(), 0);
    eventually("both are gone", async || Ok(stranger.count(&site.queue("ids/mail")).await == 0)).await.unwrap();
}

#[tokio::test]
async fn nothing_stops_while_the_broker_is_away() {
    let Some(server) = Server::private(Kind::RabbitMq) else { return };
    let site = Site::on(&server);
    let handle = site.open_on(Arc::new(Memory::new())).await;
    let before = handle.push(job().keep(Duration::from_mins(1))).await;
    let held = handle.next().await;
    server.kill().unwrap();
    assert_eq!(handle.complete(&held).await, Settled::Applied, "the lease is the store's");
    let fetched = handle.0.results().unwrap().fetch(&[before]).await.unwrap();
    assert!(matches!(&fetched[..], [Fetched::Finished(Outcome { state: State::Completed, .. })]), "{fetched:?}");
    let meanwhile = handle.push(job()).await;
    assert_eq!(handle.next().await.1.id(), meanwhile);
    server.start_again().unwrap();
    let stranger = site.stranger().await;
    eventually("ids go through the broker again", async || {
        handle.push(job()).await;
        Ok(stranger.count(&site.queue("ids/mail")).await > 0)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn two_urls_make_one_backend() {
    let Some(site) = Site::shared() else { return };
    let backend = connect_with_store(&site.url(""), "memory:two-urls").await.unwrap();
    let info = backend.info();
    assert_eq!(info.name, "rabbitmq");
    assert!(info.location.ends_with(" with memory:two-urls") && !info.location.contains(":taskwright@"), "{info:?}");
    backend.inspect().unwrap().pause(&Name::new("mail").unwrap(), true).await.unwrap();
    let store = connect("memory:two-urls").await.unwrap();
    assert_eq!(store.inspect().unwrap().queues().await.unwrap().len(), 1);
}

#[tokio::test]
async fn wrong_pair_of_urls_is_told_apart() {
    let Some(site) = Site::shared() else { return };
    let carried = site.url("");
    let cases = [
        ("memory:", "memory:", ErrorKind::Invalid, "take away the setting `store_url`"),
        (&carried, "amqp://nobody:hunter2@127.0.0.1:1/", ErrorKind::Unavailable, "setting store_url"),
        (&carried, "nonsense", ErrorKind::Invalid, "setting store_url"),
        (&carried, &carried, ErrorKind::Unsupported, "can't be the store behind rabbitmq"),
    ];
    for (url, store, kind, told) in cases {
        let error = connect_with_store(url, store).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.to_string().contains(told), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
}
