//! Wrong addresses, strangers at the queues, brokers that die, are full, or let nobody in.

use std::collections::BTreeMap;
use std::time::Duration;

use lapin::options::QueueDeleteOptions;
use lapin::types::{FieldTable, ShortString};
use taskwright::ErrorKind;
use taskwright::backend::connect::connect;
use taskwright::backend::{Hint, Settled};
use taskwright::testing::eventually;
use taskwright_tests::servers::{Kind, Server};

use crate::broker::{Site, job, mail};

/// The kind of error of a connection, whether another try may help, and its text.
async fn refused(url: &str) -> (ErrorKind, bool, String) {
    let error = connect(url).await.err().unwrap();
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    (error.kind(), error.is_transient(), error.to_string())
}

#[tokio::test]
async fn wrong_address_is_told_apart() {
    let Some(server) = Server::shared(Kind::RabbitMq) else { return };
    let cases = [
        (server.url().replacen("taskwright:taskwright", "taskwright:hunter2", 1), false, "user or password"),
        (server.url().replacen("taskwright:taskwright", "nobody:hunter2", 1), false, "user or password"),
        (server.url().replacen("%2f", "not%20there", 1), false, "virtual host"),
        ("amqp://taskwright:hunter2@127.0.0.1:1/%2f".to_owned(), true, "can't be reached"),
    ];
    for (url, transient, told) in cases {
        let (kind, again, text) = refused(&url).await;
        assert_eq!((kind, again), (ErrorKind::Unavailable, transient), "{text}");
        assert!(text.contains(told), "{text}");
    }
}

#[tokio::test]
async fn user_without_permission_is_told_what_is_missing() {
    let Some(server) = Server::private(Kind::RabbitMq) else { return };
    server.act("add_user ada hunter2").unwrap();
    let url = server.url().replacen("taskwright:taskwright", "ada:hunter2", 1);
    assert!(refused(&url).await.2.contains("list_permissions"));
    server.act("set_permissions ada ^nothing$ .* .*").unwrap();
    let (kind, transient, text) = refused(&url).await;
    assert_eq!((kind, transient), (ErrorKind::Unavailable, false));
    assert!(text.contains("configure, write and read"), "{text}");
}

#[tokio::test]
async fn queue_declared_otherwise_is_named() {
    let Some(site) = Site::shared() else { return };
    let queue = site.queue("jobs/mail");
    site.stranger().await.declare(&queue, FieldTable::default()).await;
    let handle = site.open().await;
    for error in [handle.try_push(job()).await.unwrap_err(), handle.try_claim().await.unwrap_err()] {
        assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Unavailable, false), "{error}");
        assert!(error.to_string().contains(&queue) && error.to_string().contains("another prefix"), "{error}");
    }
}

#[tokio::test]
async fn deleted_queue_is_declared_again() {
    let Some(site) = Site::shared() else { return };
    let handle = site.open().await;
    handle.push(job()).await;
    let held = handle.next().await;
    let stranger = site.stranger().await;
    let delete = || stranger.channel.queue_delete(site.queue("jobs/mail").into(), QueueDeleteOptions::default());
    delete().await.unwrap();
    assert!(handle.try_push(job()).await.unwrap_err().is_transient());
    handle.push(job()).await;
    delete().await.unwrap();
    // The channel that the messages came on is gone with the queue.
    assert!(handle.try_claim().await.unwrap_err().is_transient());
    handle.push(job()).await;
    assert_eq!(handle.claim().await.len(), 1);
    assert_eq!(handle.complete(&held).await, Settled::LeaseLost);
}

#[tokio::test]
async fn nonsense_in_a_queue_is_set_aside_as_it_came() {
    let Some(site) = Site::shared() else { return };
    let handle = site.open().await;
    let id = handle.push(job()).await;
    let stranger = site.stranger().await;
    for nonsense in [&b"not a job"[..], b"", &[0xc1; 300]] {
        stranger.send(&site.queue("jobs/mail"), nonsense).await;
    }
    let held = handle.next().await;
    assert_eq!(held.1.id(), id);
    eventually("the nonsense is set aside", async || Ok(handle.claim().await.is_empty())).await.unwrap();
    let dead = stranger.get(&site.queue("dead")).await.unwrap();
    assert_eq!(dead.delivery.data, b"not a job");
    assert_eq!(dead.delivery.properties.kind().as_ref().map(ShortString::as_str), Some("unreadable"));
}

#[tokio::test]
async fn broker_that_dies_loses_nothing_and_is_found_again() {
    let Some(server) = Server::private(Kind::RabbitMq) else { return };
    let site = Site::on(&server);
    let handle = site.open().await;
    let mut listener = handle.0.wake().unwrap().listen().await.unwrap();
    let lost = handle.push(job()).await;
    let held = handle.next().await;
    let waiting = handle.push(job()).await;
    let delayed = handle.push(job().delay(Duration::from_millis(200))).await;
    server.kill().unwrap();
    while let Ok(hint) = listener.next().await {
        assert_eq!(hint, Hint::Jobs(mail()));
    }
    let error = handle.try_push(job()).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(handle.try_claim().await.unwrap_err().is_transient());
    server.start_again().unwrap();
    let mut found = BTreeMap::new();
    eventually("all jobs are back", async || {
        found.extend(handle.try_claim().await.unwrap_or_default().into_iter().map(|(_, job)| (job.id(), job.crashes)));
        Ok(found.len() == 3)
    })
    .await
    .unwrap();
    assert_eq!(
        found,
        BTreeMap::from([(lost, 0), (waiting, 0), (delayed, 0)]),
        "a crash of the broker is none of a worker"
    );
    assert_eq!(handle.complete(&held).await, Settled::LeaseLost);
    let mut listener = handle.0.wake().unwrap().listen().await.unwrap();
    handle.push(job()).await;
    assert_eq!(listener.next().await.unwrap(), Hint::Jobs(mail()));
}

#[tokio::test]
async fn broker_short_of_memory_takes_nothing_and_hands_out_what_it_has() {
    let Some(server) = Server::private(Kind::RabbitMq) else { return };
    let site = Site::on(&server);
    let handle = site.open().await;
    handle.push(job()).await;
    server.act("set_vm_memory_high_watermark absolute 1MB").unwrap();
    let mut refusal = None;
    // The alarm goes off in its own time, and a connection hears of it with its next publish.
    eventually("a push is refused", async || {
        let pushed = tokio::time::timeout(Duration::from_secs(1), handle.try_push(job())).await;
        refusal = pushed.ok().and_then(Result::err).or(refusal.take());
        Ok(refusal.is_some())
    })
    .await
    .unwrap();
    let refusal = refusal.unwrap();
    assert!(refusal.is_transient() && refusal.to_string().contains("short of memory"), "{refusal:?}");
    let held = handle.next().await;
    assert_eq!(handle.complete(&held).await, Settled::Applied);
    server.act("set_vm_memory_high_watermark 0.8").unwrap();
    eventually("pushes are taken again", async || Ok(handle.try_push(job()).await.is_ok())).await.unwrap();
}
