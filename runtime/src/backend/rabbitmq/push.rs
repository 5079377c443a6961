//! Putting jobs on queues.

use std::sync::Arc;

use super::error::needs_a_store;
use super::message::Message;
use super::wake::News;
use super::{RabbitMq, whole};
use crate::backend::{Push, Pushed, refuse_limits};
use crate::error::Result;
use crate::job::{Job, NewJob, When};
use crate::time::Timestamp;

impl RabbitMq {
    pub(super) async fn push_jobs(&self, push: &Push) -> Result<Vec<Pushed>> {
        refuse_limits(push, "rabbitmq")?;
        if push.jobs.iter().any(|job| job.spec.unique.is_some()) {
            return Err(needs_a_store("keeps no unique keys"));
        }
        let now = self.clock.now();
        // Those that are due already come out in the order of their due times and ids.
        let mut jobs: Vec<_> = push.jobs.iter().map(|new| (Job::received(new, now), wait(new, now))).collect();
        jobs.sort_by_key(|(job, _)| (job.due, job.id()));
        let mut news = News::default();
        let messages = jobs.iter().map(|(job, wait)| {
            if wait.is_zero() {
                news.jobs(&job.spec.queue);
            }
            Message::waiting(&self.broker.topology, job, *wait)
        });
        let messages = messages.collect::<Result<Vec<_>>>()?;
        let jobs: Vec<_> = jobs.into_iter().map(|(job, _)| job).collect();
        let (broker, keeper) = (Arc::clone(&self.broker), self.keeper.clone());
        whole(async move {
            if let Some(keeper) = keeper {
                keeper.mark(&jobs, now).await?;
            }
            broker.send(&messages).await?;
            let _ = news.tell(&broker).await;
            Ok(())
        })
        .await?;
        Ok(vec![Pushed::Stored; push.jobs.len()])
    }
}

/// How long a new job waits. A delay is the broker's to count; only a moment needs this machine's clock.
fn wait(new: &NewJob, now: Timestamp) -> std::time::Duration {
    match new.due {
        When::After(delay) => delay,
        When::At(moment) => moment.since(now),
    }
}
