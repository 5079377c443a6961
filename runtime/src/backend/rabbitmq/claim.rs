//! Handing out jobs: what the broker gives, less what must not run.

use std::sync::Arc;
use std::time::Duration;

use lapin::message::Delivery;

use super::broker::{Broker, Source, acknowledge, give_back};
use super::epoch::Epoch;
use super::leases::Leases;
use super::message::{Message, left_to_wait, read};
use super::topology::Place;
use super::{RabbitMq, whole};
use crate::backend::{Claim, Claimed, Keeper, QueueClaim};
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
            keeper: self.keeper.clone(),
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
    keeper: Option<Keeper>,
    claim: Claim,
    epoch: Epoch,
    now: Timestamp,
}

/// A message that does not become a lease.
struct Passed {
    delivery: Delivery,
    /// What takes its place.
    instead: Option<Message>,
    /// Its job, if that has ended.
    ended: Option<Job>,
}

/// What becomes of a message that was taken.
enum Fate {
    Runs(Box<Job>),
    /// It has ended, with a message for dead letters or without.
    Ends(Box<Job>, Option<Box<Message>>),
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
                Fate::Ends(job, message) => {
                    passed.push(Passed { delivery, instead: message.map(|message| *message), ended: Some(*job) });
                }
                Fate::Becomes(message) => passed.push(Passed { delivery, instead: Some(*message), ended: None }),
            }
        }
        found.sort_by_key(|(job, _)| (std::cmp::Reverse(job.spec.priority), job.due, job.id()));
        (found, passed)
    }

    fn judge(&self, delivery: &Delivery) -> Fate {
        let topology = &self.broker.topology;
        // What can't be read or written is set aside as it came.
        let or_unreadable =
            |message: Result<Message>| Box::new(message.unwrap_or_else(|_| Message::unreadable(topology, delivery)));
        let becomes = |message| Fate::Becomes(or_unreadable(message));
        let mut job = match read(delivery) {
            Ok(job) => job,
            Err(error) => return becomes(Err(error)),
        };
        if state::is_expired(&job, self.now) {
            state::expire(&mut job, self.now);
            return Fate::Ends(Box::new(job), None);
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
        match state::crash(&mut job, self.claim.max_crashes, self.now) {
            Placement::Waiting => becomes(Message::waiting(topology, &job, Duration::ZERO)),
            Placement::Finished { .. } | Placement::Forgotten => {
                let dead = or_unreadable(Message::dead(topology, &job));
                Fate::Ends(Box::new(job), Some(dead))
            }
        }
    }

    async fn pass_on(&self, passed: Vec<Passed>, source: &Source) -> Result<()> {
        if passed.is_empty() {
            return Ok(());
        }
        let (mut messages, mut ackers, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
        for Passed { delivery, instead, ended } in passed {
            messages.extend(instead);
            ackers.push(delivery.acker);
            jobs.extend(ended);
        }
        if let Some(keeper) = &self.keeper
            && let Err(error) = keeper.settle(&jobs, self.now).await
        {
            give_back(&ackers).await;
            return Err(error);
        }
        self.broker.send(&messages).await?;
        acknowledge(&ackers).await;
        source.settle_down().await
    }
}
