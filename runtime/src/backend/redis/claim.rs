//! Handing out jobs.

use std::time::Duration;

use super::Redis;
use super::answer::{bytes, count, integer, job_id, list, moment, parts};
use super::record::read;
use super::scripts::CLAIM;
use super::settle::{Ending, Which};
use crate::backend::{Claim, Claimed};
use crate::error::Result;
use crate::job::{Job, Lease};
use crate::policy::{Placement, state};
use crate::time::micros;

impl Redis {
    pub(super) async fn claim_jobs(&self, claim: &Claim) -> Result<Claimed> {
        let most = self.info.limits.max_claim;
        let mut call = self.link.call(&CLAIM);
        call.arg(claim.worker.as_bytes()).arg(micros(claim.ttl)).arg(claim.limit.min(most));
        for wish in &claim.queues {
            call.arg(wish.queue.as_str()).arg(wish.limit.min(most));
        }
        let [now, next_due, token, ids, records] = parts(self.link.run(&call).await?)?;
        let now = moment(&now)?;
        let next_due = u64::try_from(integer(&next_due)?).ok().map(Duration::from_micros);
        let mut claimed = Claimed { jobs: Vec::new(), next_due };
        let mut wrecks = Vec::new();
        let token = count(&token)?;
        for (id, record) in list(ids)?.into_iter().zip(list(records)?) {
            let id = job_id(id)?;
            match read(id, &bytes(record)?, now) {
                Ok(stored) => {
                    let mut job = stored.job;
                    state::claim(&mut job, claim.worker, now);
                    claimed.jobs.push((Lease { job: id, attempt: job.attempt, worker: claim.worker, token }, job));
                }
                Err(wreck) => wrecks.push(set_aside(token, *wreck)),
            }
        }
        // The others must not wait for it: where it fails, the reaper does it when the lease has lapsed.
        let _ = self.end(Which::Held, wrecks).await;
        Ok(claimed)
    }
}

/// Ends the claim of a job that can't be read, as the dead letter that was made of it.
pub(super) fn set_aside(token: u64, wreck: Job) -> Ending {
    Ending { token, job: wreck, placement: Placement::Finished { until: None } }
}
