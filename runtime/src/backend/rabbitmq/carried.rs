//! RabbitMQ with a store: the store is the record of every job, and messages carry the ids of those that can run.
//!
//! # What is written when
//!
//! - A push is booked in the store first, whole, with its batch and unique keys; then the ids of what is due are sent.
//!   When the broker is away the push has succeeded all the same.
//! - A claim takes ids from the broker and leases exactly those jobs in the store; only then it acknowledges them.
//!   An id whose job has ended, was called off or is somebody else's by now is dropped.
//! - Where messages run short the claim asks the store, which knows what has no message: what was delayed, failed, was
//!   rescued or pushed in a transaction, what was sent while the broker was away, and what the broker lost.
//!   One claim in [so many](STORE_FIRST) asks it first, so that none of these starves behind a backlog of messages.
//! - All else is the store's alone. So nothing is lost when the broker is down, and nothing is answered when the store
//!   is.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::address::Address;
use super::broker::{Broker, acknowledge, give_back};
use super::error::closed;
use super::message::{Message, id_in};
use super::topology::Place;
use super::wake::{Ears, News};
use super::whole;
use crate::backend::listeners::Both;
use crate::backend::{
    Backend, Cancel, Cancelled, Claim, Claimed, Extend, Extended, Hint, Info, Inspect, Leader, Ledger, Limiter,
    Listener, Push, Pushed, QueueClaim, Reap, Reaped, Results, Settled, Settlement, Transaction, Wake,
};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Job, JobId, Lease, NewJob, When};
use crate::policy::Verdict;
use crate::time::Timestamp;

/// Of so many claims one looks into the store before it looks at messages.
const STORE_FIRST: usize = 4;

/// How long a broker that has failed is left alone, so that a dead one costs one wait and not one for each call.
const REST: Duration = Duration::from_secs(5);

/// Jobs that a RabbitMQ broker carries and another backend knows.
pub struct Carried {
    info: Info,
    store: Arc<dyn Backend>,
    carrier: Arc<Carrier>,
    ears: Ears,
    claims: AtomicUsize,
}

/// The broker, which may be away.
struct Carrier {
    broker: Arc<Broker>,
    /// Until when it is left alone. Held to read or to write, never across an await.
    rests_until: Mutex<Option<Instant>>,
}

impl Carried {
    /// Connects to a broker that carries the jobs of `store`.
    ///
    /// # Errors
    ///
    /// Those of [`RabbitMq::connect`](super::RabbitMq::connect), and
    /// [`ErrorKind::Unsupported`] when the store has no [`Ledger`].
    pub async fn connect(url: &str, store: Arc<dyn Backend>) -> Result<Self> {
        let address = Address::parse(url)?;
        if store.ledger().is_none() {
            let name = store.info().name;
            let message =
                format!("{name} can't be the store behind rabbitmq; name an SQLite, MySQL, Postgres or Redis store");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let info = Info {
            name: "rabbitmq",
            location: format!("{} with {}", address.location, store.info().location),
            ..store.info().clone()
        };
        let broker = Arc::new(Broker::connect(address).await?);
        let carrier = Arc::new(Carrier { broker, rests_until: Mutex::default() });
        Ok(Self { info, store, carrier, ears: Ears::default(), claims: AtomicUsize::new(0) })
    }

    fn spread(&self, news: News) -> impl Future<Output = Result<()>> + Send + 'static {
        let carrier = Arc::clone(&self.carrier);
        whole(async move {
            // Who could be told will look by themselves.
            let _ = carrier.while_there(news.tell(&carrier.broker)).await;
            Ok(())
        })
    }
}

impl Carrier {
    /// Does something with the broker unless it rests; `None` while it is away, since the store makes up for it.
    async fn while_there<T>(&self, work: impl Future<Output = Result<T>>) -> Result<Option<T>> {
        let resting = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        if resting.is_some_and(|until| Instant::now() < until) {
            return Ok(None);
        }
        let done = work.await;
        let is_away = done.as_ref().is_err_and(Error::is_transient);
        let rests_until = is_away.then(|| Instant::now() + REST);
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = rests_until;
        if is_away { Ok(None) } else { done.map(Some) }
    }

    async fn carry(&self, messages: &[Message], news: News) {
        let sent = self.while_there(async {
            self.broker.send(messages).await?;
            news.tell(&self.broker).await
        });
        // The jobs are booked whatever the broker says, and what is wrong with it for good is told to who claims.
        let _ = sent.await;
    }
}

/// One claim.
struct Round {
    store: Arc<dyn Backend>,
    carrier: Arc<Carrier>,
    claim: Claim,
}

impl Round {
    async fn run(self, store_first: bool) -> Result<Claimed> {
        let mut jobs = Vec::new();
        if !store_first {
            for queue in &self.claim.queues {
                let room = self.claim.limit.saturating_sub(jobs.len()).min(queue.limit);
                match self.carried(queue, room).await {
                    Ok(found) => jobs.extend(found),
                    Err(error) if jobs.is_empty() => return Err(error),
                    // What has a lease already must be heard of.
                    Err(_) => break,
                }
            }
        }
        let mut next_due = Some(Duration::ZERO);
        if jobs.len() < self.claim.limit {
            match self.store.claim(&self.rest(&jobs)).await {
                Ok(claimed) => {
                    jobs.extend(claimed.jobs);
                    next_due = claimed.next_due;
                }
                Err(error) if jobs.is_empty() => return Err(error),
                Err(_) => {}
            }
        }
        self.put_in_order(&mut jobs);
        Ok(Claimed { jobs, next_due })
    }

    /// Where priorities age the store says what goes first, and the broker lets go of one message for each job, so that
    /// none pile up there. Whose they were is no matter: the store finds every job without them.
    async fn run_aged(self) -> Result<Claimed> {
        let claimed = self.store.claim(&self.claim).await?;
        for queue in &self.claim.queues {
            let count = claimed.jobs.iter().filter(|(_, job)| job.spec.queue == queue.queue).count();
            if count == 0 {
                continue;
            }
            let place = Place::Ids(queue.queue.clone());
            // What has a lease must be heard of, whatever is the matter with the broker.
            if let Ok(Some((_, deliveries))) = self.carrier.while_there(self.carrier.broker.take(&place, count)).await {
                acknowledge(deliveries.iter().map(|delivery| &delivery.acker)).await;
            }
        }
        Ok(claimed)
    }

    /// Jobs of a queue whose ids the broker has.
    async fn carried(&self, queue: &QueueClaim, room: usize) -> Result<Vec<(Lease, Job)>> {
        let mut jobs = Vec::new();
        while jobs.len() < room {
            let asked = room - jobs.len();
            let place = Place::Ids(queue.queue.clone());
            let taken = self.carrier.while_there(self.carrier.broker.take(&place, asked)).await;
            let taken = match taken {
                Err(error) if jobs.is_empty() => return Err(error),
                taken => taken.unwrap_or_default(),
            };
            let Some((_, deliveries)) = taken.filter(|(_, deliveries)| !deliveries.is_empty()) else { break };
            let ids: Vec<JobId> = deliveries.iter().filter_map(id_in).collect();
            let ackers = deliveries.iter().map(|delivery| &delivery.acker);
            match self.ledger()?.take(&self.claim, &ids).await {
                Ok(found) => {
                    acknowledge(ackers).await;
                    jobs.extend(found);
                }
                Err(error) => {
                    give_back(ackers).await;
                    return if jobs.is_empty() { Err(error) } else { Ok(jobs) };
                }
            }
            if deliveries.len() < asked {
                break;
            }
        }
        Ok(jobs)
    }

    fn ledger(&self) -> Result<&dyn Ledger> {
        self.store.ledger().ok_or_else(closed)
    }

    /// What is left to ask for.
    fn rest(&self, jobs: &[(Lease, Job)]) -> Claim {
        let mut rest = self.claim.clone();
        rest.limit -= jobs.len();
        for queue in &mut rest.queues {
            queue.limit -= jobs.iter().filter(|(_, job)| job.spec.queue == queue.queue).count().min(queue.limit);
        }
        rest
    }

    /// Queues in the order asked, then priority, due time and id (P6).
    fn put_in_order(&self, jobs: &mut [(Lease, Job)]) {
        let ranks: HashMap<_, _> =
            self.claim.queues.iter().enumerate().map(|(rank, wish)| (&wish.queue, rank)).collect();
        jobs.sort_by_key(|(_, job)| {
            let rank = ranks.get(&job.spec.queue).copied();
            (rank, std::cmp::Reverse(job.spec.priority), job.due, job.id())
        });
    }
}

/// Whether a new job can run now, as far as this machine's clock knows; the store decides when its id has arrived.
fn is_due(job: &NewJob) -> bool {
    match job.due {
        When::After(delay) => delay.is_zero(),
        When::At(moment) => moment <= Timestamp::now(),
    }
}

#[async_trait]
impl Backend for Carried {
    fn info(&self) -> &Info {
        &self.info
    }

    async fn push(&self, push: &Push) -> Result<Vec<Pushed>> {
        let pushed = self.store.push(push).await?;
        let (mut messages, mut news) = (Vec::new(), News::default());
        for (job, pushed) in push.jobs.iter().zip(&pushed) {
            if matches!(pushed, Pushed::Conflict(_)) {
                continue;
            }
            news.jobs(&job.spec.queue);
            // One that was replaced has its message, or will be found where it waits; what counts against a limit is
            // never taken by its id.
            if is_due(job) && job.spec.limits.is_empty() && !matches!(pushed, Pushed::Replaced(_)) {
                messages.push(Message::id(&self.carrier.broker.topology, &job.spec));
            }
        }
        let carrier = Arc::clone(&self.carrier);
        whole(async move {
            carrier.carry(&messages, news).await;
            Ok(())
        })
        .await?;
        Ok(pushed)
    }

    async fn claim(&self, claim: &Claim) -> Result<Claimed> {
        if claim.queues.is_empty() || claim.limit == 0 {
            return self.store.claim(claim).await;
        }
        let store_first = self.claims.fetch_add(1, Ordering::Relaxed) % STORE_FIRST == STORE_FIRST - 1;
        let (store, carrier) = (Arc::clone(&self.store), Arc::clone(&self.carrier));
        let round = Round { store, carrier, claim: claim.clone() };
        if claim.aging.is_some() { whole(round.run_aged()).await } else { whole(round.run(store_first)).await }
    }

    async fn extend(&self, extend: &Extend) -> Result<Extended> {
        self.store.extend(extend).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let settled = self.store.settle(settlements).await?;
        let mut news = News::default();
        for settlement in settlements {
            match settlement.verdict {
                Verdict::Return { .. } => news.jobs(&settlement.job.spec.queue),
                Verdict::Retry { .. } => {
                    news.jobs(&settlement.job.spec.queue);
                    news.outcomes();
                }
                _ => news.outcomes(),
            }
        }
        self.spread(news).await?;
        Ok(settled)
    }

    async fn cancel(&self, cancel: &Cancel) -> Result<Vec<Cancelled>> {
        let cancelled = self.store.cancel(cancel).await?;
        let mut news = News::default();
        if cancelled.iter().any(|cancelled| matches!(cancelled, Cancelled::Ended | Cancelled::Requested)) {
            news.outcomes();
            news.control();
        }
        self.spread(news).await?;
        Ok(cancelled)
    }

    async fn reap(&self, reap: &Reap) -> Result<Reaped> {
        let reaped = self.store.reap(reap).await?;
        let mut news = News::default();
        if reaped.returned + reaped.discarded + reaped.expired > 0 {
            news.everything();
        }
        self.spread(news).await?;
        Ok(reaped)
    }

    async fn close(&self) -> Result<()> {
        self.carrier.broker.close().await;
        self.store.close().await
    }

    fn results(&self) -> Option<&dyn Results> {
        self.store.results()
    }

    fn wake(&self) -> Option<&dyn Wake> {
        Some(self)
    }

    fn leader(&self) -> Option<&dyn Leader> {
        self.store.leader()
    }

    fn inspect(&self) -> Option<&dyn Inspect> {
        self.store.inspect()
    }

    fn limiter(&self) -> Option<&dyn Limiter> {
        self.store.limiter()
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        self.store.ledger()
    }

    fn transaction(&self) -> Option<&dyn Transaction> {
        self.store.transaction()
    }
}

#[async_trait]
impl Wake for Carried {
    async fn listen(&self) -> Result<Box<dyn Listener>> {
        self.carrier.broker.check_open()?;
        let of_store = match self.store.wake() {
            Some(wake) => Some(wake.listen().await?),
            None => None,
        };
        let of_broker = self.carrier.while_there(self.ears.listen(&self.carrier.broker)).await?;
        if of_store.is_none() && of_broker.is_none() {
            return Err(Error::unavailable("the broker that brings hints is away"));
        }
        Ok(Box::new(Both { first: of_store, second: of_broker }))
    }

    /// Both ways, as whoever listens hears both.
    async fn tell(&self, hints: &[Hint]) -> Result<()> {
        self.spread(News::of(hints)).await?;
        match self.store.wake() {
            Some(wake) => wake.tell(hints).await,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("location", &self.info.location).finish_non_exhaustive()
    }
}
