//! RabbitMQ: a backend that carries jobs, and knows nothing of them but what is on its way.
//!
//! A message is a whole job, and a lease is a message that was taken and not yet acknowledged.
//! What a broker can't do, find, count, call off or remember a job, is refused here, and [`Carried`] leaves it to a second
//! backend.
//!
//! - `address`: what a URL asks for. `topology`: queues and exchanges. `message`: a job as a message.
//! - `broker`: connections, sending with confirms, taking. `error`: what the broker's errors mean.
//! - `push`, `claim`, `settle`: the operations of the contract, the last also for what is reaped.
//! - `epoch`: which life of the broker this is, so that its own death counts as nobody's crash.
//! - `leases`: what this process holds. `wake`: hints.
//! - `carried`: the same broker with a store behind it, which offers the whole contract.
//!
//! # URLs
//!
//! `amqp://user:password@host:5672/vhost` or `rabbitmq://..`, with TLS `amqps://` or `rabbitmqs://`.
//! Options follow a question mark:
//!
//! - `prefix=NAME`: what the names of all queues and exchanges begin with; `taskwright` unless given.
//! - `queues=classic` (the default): durable queues on one node, which know priorities.
//!   `queues=quorum`: queues on a majority of the nodes of a cluster, in which priorities mean nothing.
//! - `consumer_timeout=30m` (the default): the broker's setting of that name, which it tells nobody.
//! - `heartbeat`, `connection_timeout`, `frame_max`, `channel_max`, `auth_mechanism`: as in other AMQP clients.
//!
//! # What it keeps of the contract
//!
//! - A push is answered when the broker has confirmed every message of it.
//!   One that is repeated after an unknown outcome may add its jobs again (P1).
//! - A settlement publishes what the job becomes, waits for the confirm, and then acknowledges the message.
//!   A crash between the two leaves both, so the job may run again (P2, P15).
//! - A delay goes through queues whose messages live for 100 ms, 200 ms, 400 ms and so on up to 29 hours, and move on
//!   when they die. A longer or an uneven delay is made of several, so a worker of its queue passes it on now and then.
//! - Priorities from -3 to 12 are kept apart; lower and higher ones go with these.
//!   In RabbitMQ each level costs a queue inside the queue, so there are sixteen.
//! - A message that comes back because its worker's connection was lost counts as a crash.
//!   The broker notices a dead worker at once when its machine lives on, and after twice the heartbeat (20 s) otherwise;
//!   [`reap`](Backend::reap) gives back the lapsed leases of its own process.
//! - A job that runs for longer than the broker's `consumer_timeout`, half an hour unless configured, would be taken back,
//!   with all that came on its channel.
//!   So a worker refuses tasks with a longer timeout, and ends other attempts before that.
//! - A dead letter goes to the queue `PREFIX/dead`, where it lies for 30 days.
//! - Unique keys are refused, as is calling off.
//! - No outcome is kept, unless another backend [keeps](RabbitMq::keeping) them: then a push marks its jobs as pending
//!   there before it is sent, and a job's outcome is kept before its message is acknowledged, also where nobody settles
//!   it, since it expired, or was found to be poison.

mod address;
mod broker;
mod carried;
mod claim;
mod epoch;
mod error;
mod leases;
mod message;
mod push;
mod settle;
mod topology;
mod wake;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use self::address::{Address, Queues};
use self::broker::Broker;
pub use self::carried::Carried;
use self::error::needs_a_store;
use self::leases::Leases;
use self::topology::Rung;
use self::wake::Ears;
use super::{
    Backend, Cancel, Cancelled, Claim, Claimed, Extend, Extended, Info, Inspect, Keeper, Leader, Ledger, Limiter,
    Limits, Push, Pushed, Reap, Reaped, Results, Settled, Settlement, Transaction, Wake, no_aging,
};
use crate::error::{Error, Result};
use crate::time::Clock;

/// Jobs in the queues of a RabbitMQ broker, version 3.10 or later.
pub struct RabbitMq {
    info: Info,
    clock: Clock,
    broker: Arc<Broker>,
    leases: Arc<Leases>,
    /// Held while leases are ended, so that a repeated settlement waits for the first.
    ending: Arc<tokio::sync::Mutex<()>>,
    ears: Ears,
    /// Who is told of every job before it is sent and before it is let go.
    keeper: Option<Keeper>,
}

impl RabbitMq {
    /// Connects to a broker.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) when the URL can't be read, and
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable) when the broker is away (transient) or refuses user,
    /// password or virtual host.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::connect_with(url, Clock::system()).await
    }

    /// Connects to a broker and goes by this clock, which the broker's own waits don't follow.
    ///
    /// # Errors
    ///
    /// Those of [`connect`](Self::connect).
    pub async fn connect_with(url: &str, clock: Clock) -> Result<Self> {
        let address = Address::parse(url)?;
        let info = info(&address);
        let broker = Arc::new(Broker::connect(address).await?);
        let (leases, ears) = (Arc::new(Leases::new()), Ears::default());
        Ok(Self { info, clock, broker, leases, ending: Arc::default(), ears, keeper: None })
    }

    /// Leaves outcomes with this keeper; [`ResultsApart::of_carrier`](super::ResultsApart::of_carrier) lets them be asked
    /// for.
    #[must_use]
    pub fn keeping(self, keeper: Keeper) -> Self {
        Self { keeper: Some(keeper), ..self }
    }
}

fn info(address: &Address) -> Info {
    let (durability, warnings) = match address.queues {
        Queues::Classic => ("written to disk by one node before it is confirmed (classic queues)", vec![]),
        Queues::Quorum => (
            "written to disk by a majority of the nodes before it is confirmed (quorum queues)",
            vec!["quorum queues know no priorities: jobs go in the order in which they came".to_owned()],
        ),
    };
    Info {
        name: "rabbitmq",
        location: address.location.clone(),
        durability: durability.to_owned(),
        warnings,
        schema: None,
        atomic_push: false,
        passes_over: false,
        ages: false,
        limits: Limits {
            max_payload: 8 << 20,
            max_delay: None,
            max_push: 5_000,
            max_claim: 1_000,
            max_lease: Some(address.consumer_timeout),
            time_precision: Rung::SHORTEST,
        },
    }
}

/// Does a whole operation, though its caller may leave: half of it would leave messages that nobody knows of.
async fn whole<T: Send + 'static>(operation: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let stopped = |error| Error::unavailable("the operation was abandoned: the runtime shuts down").because(error);
    tokio::spawn(operation).await.unwrap_or_else(|error| Err(stopped(error)))
}

#[async_trait]
impl Backend for RabbitMq {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        self.push_jobs(push).await
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        if claim.aging.is_some() {
            return Err(no_aging(self.info.name));
        }
        self.claim_jobs(claim).await
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        self.broker.check_open()?;
        let now = self.clock.now();
        let leases = extend.renewals.iter().map(|renewal| renewal.lease);
        let lost = leases.filter(|lease| !self.leases.renew(lease, now, extend.ttl)).collect();
        Ok(Extended { lost, ..Extended::default() })
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.settle_leases(settlements).await
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        self.broker.check_open()?;
        if cancel.ids.is_empty() { Ok(vec![]) } else { Err(needs_a_store("can't call jobs off")) }
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        self.reap_leases(*reap).await
    }

    async fn close(&self) -> Result<()> {
        self.broker.close().await;
        Ok(())
    }

    fn results(&self) -> Option<&dyn Results> {
        None
    }

    fn wake(&self) -> Option<&dyn Wake> {
        Some(self)
    }

    fn leader(&self) -> Option<&dyn Leader> {
        None
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        None
    }

    /// `None`: a broker does not know what runs elsewhere.
    fn limiter(&self) -> Option<&dyn Limiter> {
        None
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        None
    }

    fn transaction(&self) -> Option<&dyn Transaction> {
        None
    }
}

impl fmt::Debug for RabbitMq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RabbitMq").field("location", &self.info.location).finish_non_exhaustive()
    }
}
