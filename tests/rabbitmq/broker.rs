//! A backend on a broker, and a driver of its own to look behind it.

use std::sync::Arc;
use std::time::Duration;

use lapin::message::BasicGetMessage;
use lapin::options::{BasicGetOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use taskwright::backend::rabbitmq::{Carried, RabbitMq};
use taskwright::backend::{Backend, Claim, Push, Pushed, QueueClaim, Settled, Settlement};
use taskwright::job::{BatchId, Job, Lease, WorkerId};
use taskwright::policy::Verdict;
use taskwright::testing::{Draft, eventually};
use taskwright::{JobId, Name, Result};
use taskwright_tests::servers::{Kind, Server};

/// A prefix of queues that nobody else uses, on some broker.
pub(crate) struct Site {
    url: String,
    prefix: String,
}

impl Site {
    /// On the broker that tests share; `None` where there is none.
    pub(crate) fn shared() -> Option<Self> {
        Server::shared(Kind::RabbitMq).map(Self::on)
    }

    pub(crate) fn on(server: &Server) -> Self {
        Self { url: server.url().to_owned(), prefix: format!("t{}", JobId::new()) }
    }

    pub(crate) fn url(&self, options: &str) -> String {
        format!("{}?prefix={}{options}", self.url, self.prefix)
    }

    pub(crate) async fn open(&self) -> Handle {
        self.open_with("").await
    }

    pub(crate) async fn open_with(&self, options: &str) -> Handle {
        Handle(Arc::new(RabbitMq::connect(&self.url(options)).await.unwrap()))
    }

    /// With this store as the record.
    pub(crate) async fn open_on(&self, store: Arc<dyn Backend>) -> Handle {
        Handle(Arc::new(Carried::connect(&self.url(""), store).await.unwrap()))
    }

    /// The broker's name of a queue: `jobs/mail`, `dead`.
    pub(crate) fn queue(&self, rest: &str) -> String {
        format!("{}/{rest}", self.prefix)
    }

    /// A channel of somebody else.
    pub(crate) async fn stranger(&self) -> Stranger {
        let connection = Connection::connect(&self.url, ConnectionProperties::default()).await.unwrap();
        Stranger { channel: connection.create_channel().await.unwrap(), _connection: connection }
    }
}

pub(crate) struct Stranger {
    pub(crate) channel: Channel,
    _connection: Connection,
}

impl Stranger {
    pub(crate) async fn declare(&self, queue: &str, arguments: FieldTable) {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), durable, arguments).await.unwrap();
    }

    /// How many messages lie in a queue.
    pub(crate) async fn count(&self, queue: &str) -> u32 {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        self.channel.queue_declare(queue.into(), passive, FieldTable::default()).await.unwrap().message_count()
    }

    pub(crate) async fn send(&self, queue: &str, body: &[u8]) {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        self.channel.basic_publish("".into(), queue.into(), options, body, properties).await.unwrap();
    }

    pub(crate) async fn get(&self, queue: &str) -> Option<BasicGetMessage> {
        self.channel.basic_get(queue.into(), BasicGetOptions { no_ack: true }).await.unwrap()
    }
}

/// A backend with short words for what these tests do.
pub(crate) struct Handle(pub(crate) Arc<dyn Backend>);

pub(crate) fn mail() -> Name {
    Name::new("mail").unwrap()
}

pub(crate) fn job() -> Draft {
    Draft::new(mail())
}

impl Handle {
    pub(crate) async fn push(&self, job: Draft) -> JobId {
        let id = job.id();
        assert_eq!(self.try_push(job).await.unwrap(), [Pushed::Stored]);
        id
    }

    pub(crate) async fn try_push(&self, job: Draft) -> Result<Vec<Pushed>> {
        self.0.push(&Push { batch: BatchId::new(), jobs: vec![job.into()] }).await
    }

    pub(crate) async fn claim(&self) -> Vec<(Lease, Job)> {
        self.try_claim().await.unwrap()
    }

    pub(crate) async fn try_claim(&self) -> Result<Vec<(Lease, Job)>> {
        let queues = vec![QueueClaim { queue: mail(), limit: 10 }];
        let ttl = Duration::from_secs(30);
        Ok(self
            .0
            .claim(&Claim {
                worker: WorkerId::new(),
                queues,
                limit: 10,
                unknown: vec![],
                ttl,
                max_crashes: 3,
                aging: None,
            })
            .await?
            .jobs)
    }

    /// The next job, once there is one and no other.
    pub(crate) async fn next(&self) -> (Lease, Job) {
        let mut found = self.some().await;
        assert_eq!(found.len(), 1, "one job waits");
        found.remove(0)
    }

    /// Jobs, once there are any.
    pub(crate) async fn some(&self) -> Vec<(Lease, Job)> {
        let mut found = Vec::new();
        eventually("a job can be claimed", async || {
            found = self.try_claim().await.unwrap_or_default();
            Ok(!found.is_empty())
        })
        .await
        .unwrap();
        found
    }

    pub(crate) async fn settle(&self, (lease, job): &(Lease, Job), verdict: Verdict) -> Settled {
        let settlement = Settlement { lease: *lease, job: job.clone(), verdict };
        self.0.settle(&[settlement]).await.unwrap()[0]
    }

    pub(crate) async fn complete(&self, held: &(Lease, Job)) -> Settled {
        self.settle(held, Verdict::Complete { result: None }).await
    }
}
