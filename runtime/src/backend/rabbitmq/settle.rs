//! Ending leases: the job's next form is confirmed before its message is acknowledged.

use std::sync::Arc;

use super::broker::acknowledge;
use super::leases::Held;
use super::message::Message;
use super::topology::Topology;
use super::wake::News;
use super::{RabbitMq, whole};
use crate::backend::{Reap, Reaped, Settled, Settlement};
use crate::error::{Error, Result};
use crate::job::{Job, State};
use crate::policy::state::{self, Placement};
use crate::time::Timestamp;

/// Leases to end, and what their jobs become.
#[derive(Default)]
struct Ends {
    held: Vec<Held>,
    /// As they are from now on.
    jobs: Vec<Job>,
    messages: Vec<Message>,
    news: News,
}

impl Ends {
    fn add(&mut self, topology: &Topology, held: Held, job: Job, placement: Placement, now: Timestamp) -> Result<()> {
        if placement == Placement::Waiting {
            let wait = job.due.since(now);
            if wait.is_zero() {
                self.news.jobs(&job.spec.queue);
            }
            self.messages.push(Message::waiting(topology, &job, wait)?);
        } else if job.state == State::Discarded {
            self.messages.push(Message::dead(topology, &job)?);
        }
        self.held.push(held);
        self.jobs.push(job);
        Ok(())
    }
}

impl RabbitMq {
    pub(super) async fn settle_leases(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        self.broker.check_open()?;
        if settlements.is_empty() {
            return Ok(vec![]);
        }
        let ending = Arc::clone(&self.ending).lock_owned().await;
        let now = self.clock.now();
        let (mut ends, mut settled) = (Ends::default(), Vec::with_capacity(settlements.len()));
        for settlement in settlements {
            let twice = ends.held.iter().any(|held| held.lease == settlement.lease);
            let Some(held) = self.leases.get(&settlement.lease).filter(|_| !twice) else {
                settled.push(Settled::LeaseLost);
                continue;
            };
            let mut job = held.job.clone();
            let placement = state::settle(&mut job, &settlement.verdict, now);
            ends.add(&self.broker.topology, held, job, placement, now)?;
            settled.push(Settled::Applied);
        }
        self.end(ends, ending, now).await?;
        Ok(settled)
    }

    pub(super) async fn reap_leases(&self, reap: Reap) -> Result<Reaped> {
        self.broker.check_open()?;
        let ending = Arc::clone(&self.ending).lock_owned().await;
        let now = self.clock.now();
        let mut lapsed = self.leases.lapsed(now);
        let mut reaped = Reaped { more: lapsed.len() > reap.limit, ..Reaped::default() };
        lapsed.truncate(reap.limit);
        let mut ends = Ends::default();
        for held in lapsed {
            let mut job = held.job.clone();
            let placement = state::crash(&mut job, reap.max_crashes, now);
            if placement == Placement::Waiting {
                reaped.returned += 1;
            } else {
                reaped.discarded += 1;
            }
            ends.add(&self.broker.topology, held, job, placement, now)?;
        }
        self.end(ends, ending, now).await?;
        Ok(reaped)
    }

    /// Keeps and sends what the jobs become, and then lets go of what they were.
    async fn end(&self, ends: Ends, ending: tokio::sync::OwnedMutexGuard<()>, now: Timestamp) -> Result<()> {
        let (broker, leases, keeper) = (Arc::clone(&self.broker), Arc::clone(&self.leases), self.keeper.clone());
        whole(async move {
            if let Some(keeper) = keeper {
                keeper.settle(&ends.jobs, now).await?;
            }
            broker.send(&ends.messages).await?;
            let acked = acknowledge(ends.held.iter().map(|held| &held.acker)).await;
            for held in &ends.held {
                leases.end(&held.lease);
            }
            let mut sources: Vec<_> = ends.held.iter().map(|held| &held.source).collect();
            sources.sort_by_key(|source| Arc::as_ptr(source));
            sources.dedup_by_key(|source| Arc::as_ptr(source));
            for source in sources {
                source.settle_down().await?;
            }
            let _ = ends.news.tell(&broker).await;
            drop(ending);
            if acked.into_iter().all(|acked| acked) { Ok(()) } else { Err(unheard()) }
        })
        .await
    }
}

/// What the broker made of an acknowledgement is unknown.
fn unheard() -> Error {
    Error::unavailable("the connection broke off while jobs were acknowledged; the broker may hand them out again")
}
