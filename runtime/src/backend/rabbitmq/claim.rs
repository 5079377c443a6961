//! Handing out jobs: what the broker gives, less what must not run.

use std::sync::Arc;
use std::time::Duration;

use lapin::message::Delivery;

use super::broker::{Broker, Source, acknowledge};
use super::epoch::Epoch;
use super::leases::Leases;
use super::message::{Message, left_to_wait, read};
use super::topology::Place;
use super::{RabbitMq, whole};
use crate::backend::{Claim, Claimed, QueueClaim};
use crate::error::Result;
use crate::job::{Job, Lease};
use crate::policy::state::{self, Placement};
use crate::time::Timestamp;

impl RabbitMq {
    pub(super) async fn claim_jobs(&self, claim: &Claim) -> Result<Claimed> {
        self.broker.check_open()?;
        let round = Round {
            broker: Arc::clone(&self.broker),
            leases: Arc::clone(&self.leases),
            claim: claim.clone(),
            epoch: self.broker.epoch().await?,
            now: self.clock.now(),
        };
        let jobs = whole(async move { round.all().await }).await?;
        Ok(Claimed { jobs, next_due: None })
    }
}

/// One claim.
struct Round {
    broker: Arc<Broker>,
    leases: Arc<Leases>,
    claim: Claim,
    epoch: Epoch,
    now: Timestamp,
}

/// A message that does not become a lease.
struct Passed {
    delivery: Delivery,
    /// What takes its place.
    instead: Option<Message>,
}

/// What becomes of a message that was taken.
enum Fate {
    Runs(Box<Job>),
    Ends,
    Becomes(Box<Message>),
}

impl Round {
    async fn all(&self) -> Result<Vec<(Lease, Job)>> {
        let mut jobs = Vec::new();
        for queue in &self.claim.queues {
            let room = self.claim.limit.saturating_sub(jobs.len()).min(queue.limit);
            match self.of_queue(queue, room).await {
                Ok(found) => jobs.extend(found),
                Err(error) if jobs.is_empty() => return Err(error),
                // What has a lease already must be heard of.
                Err(_) => break,
            }
        }
        Ok(jobs)
    }

    async fn of_queue(&self, queue: &QueueClaim, room: usize) -> Result<Vec<(Lease, Job)>> {
        let place = Place::Jobs(queue.queue.clone());
        let mut jobs = Vec::new();
        while jobs.len() < room {
            let asked = room - jobs.len();
            let (source, deliveries) = self.broker.take(&place, asked).await?;
            let count = deliveries.len();
            let (found, passed) = self.sort(deliveries);
            jobs.extend(found.into_iter().map(|(job, delivery)| {
                let message = (delivery.acker, Arc::clone(&source));
                self.leases.give(job, self.claim.worker, message, (self.now, self.claim.ttl))
            }));
            // Theirs stay with the broker when this fails, and come again.
            let moved = self.pass_on(passed, &source).await;
            if count < asked || moved.is_err() {
                break;
            }
        }
        Ok(jobs)
    }

    /// Tells what can run, the most urgent first, from what can't.
    fn sort(&self, deliveries: Vec<Delivery>) -> (Vec<(Job, Delivery)>, Vec<Passed>) {
        let (mut found, mut passed) = (Vec::new(), Vec::new());
        for delivery in deliveries {
            match self.judge(&delivery) {
                Fate::Runs(job) => found.push((*job, delivery)),
                Fate::Ends => passed.push(Passed { delivery, instead: None }),
                Fate::Becomes(message) => passed.push(Passed { delivery, instead: Some(*message) }),
            }
        }
        found.sort_by_key(|(job, _)| (std::cmp::Reverse(job.spec.priority), job.due, job.id()));
        (found, passed)
    }

    fn judge(&self, delivery: &Delivery) -> Fate {
        let topology = &self.broker.topology;
        // What can't be read or written is set aside as it came.
        let becomes = |message: Result<Message>| {
            Fate::Becomes(Box::new(message.unwrap_or_else(|_| Message::unreadable(topology, delivery))))
        };
        let mut job = match read(delivery) {
            Ok(job) => job,
            Err(error) => return becomes(Err(error)),
        };
        if state::is_expired(&job, self.now) {
            return Fate::Ends;
        }
        let left = left_to_wait(delivery, &job, self.now);
        if !left.is_zero() {
            return becomes(Message::waiting(topology, &job, left));
        }
        if !delivery.redelivered {
            return Fate::Runs(Box::new(job));
        }
        if !self.epoch.is_of(&delivery.properties) {
            // The broker died, and does not know who had what. It is sent anew, so that a crash shows from now on.
            return becomes(Message::waiting(topology, &job, Duration::ZERO));
        }
        // Somebody had it, and is gone.
        state::claim(&mut job, self.claim.worker, self.now);
        (job.worker, job.claimed) = (None, None);
        becomes(match state::crash(&mut job, self.claim.max_crashes, self.now) {
            Placement::Waiting => Message::waiting(topology, &job, Duration::ZERO),
            Placement::Finished { .. } | Placement::Forgotten => Message::dead(topology, &job),
        })
    }

    async fn pass_on(&self, passed: Vec<Passed>, source: &Source) -> Result<()> {
        if passed.is_empty() {
            return Ok(());
        }
        let mut messages = Vec::new();
        let mut ackers = Vec::new();
        for Passed { delivery, instead } in passed {
            messages.extend(instead);
            ackers.push(delivery.acker);
        }
        self.broker.send(&messages).await?;
        acknowledge(&ackers).await;
        source.settle_down().await
    }
}
