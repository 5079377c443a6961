//! Handing out jobs: those whose turn it is, or those whose ids a broker has carried here.

use std::time::Duration;

use async_trait::async_trait;
use redis::Value;

use super::answer::{bytes, count, integer, job_id, list, moment, parts};
use super::link::Call;
use super::record::read;
use super::scripts::{CLAIM, TAKE};
use super::settle::{Ending, Which};
use super::{MOST_TOGETHER, Redis};
use crate::backend::{Claim, Claimed, Ledger};
use crate::error::Result;
use crate::job::{Job, JobId, Lease};
use crate::policy::order::{self, worth};
use crate::policy::{Placement, state};
use crate::time::micros;

impl Redis {
    pub(super) async fn claim_jobs(&self, claim: &Claim) -> Result<Claimed> {
        let most = self.info.limits.max_claim;
        let mut call = self.link.call(&CLAIM);
        call.arg(claim.worker.as_bytes()).arg(micros(claim.ttl)).arg(claim.limit.min(most));
        call.arg(claim.aging.map(|aging| worth(aging).to_string()).unwrap_or_default());
        name_unknown(&mut call, claim);
        for wish in &claim.queues {
            call.arg(wish.queue.as_str()).arg(wish.limit.min(most));
        }
        let [now, next_due, token, ids, records] = parts(self.link.run(&call).await?)?;
        let next_due = u64::try_from(integer(&next_due)?).ok().map(Duration::from_micros);
        let mut jobs = self.leased(claim, &now, &token, ids, records).await?;
        // What takes turns comes in the order of turns.
        for of_queue in jobs.chunk_by_mut(|(_, one), (_, next)| one.spec.queue == next.spec.queue) {
            of_queue.sort_by_cached_key(|(_, job)| order::place(job, claim.aging));
        }
        Ok(Claimed { jobs, next_due })
    }

    async fn take_jobs(&self, claim: &Claim, ids: &[JobId]) -> Result<Vec<(Lease, Job)>> {
        let mut call = self.link.call(&TAKE);
        call.arg(claim.worker.as_bytes()).arg(micros(claim.ttl));
        name_unknown(&mut call, claim);
        for id in ids {
            call.arg(id.as_bytes());
        }
        let [now, token, ids, records] = parts(self.link.run(&call).await?)?;
        self.leased(claim, &now, &token, ids, records).await
    }

    /// The jobs that a script has given leases on; what can't be read is set aside.
    async fn leased(
        &self,
        claim: &Claim,
        now: &Value,
        token: &Value,
        ids: Value,
        records: Value,
    ) -> Result<Vec<(Lease, Job)>> {
        let (now, token) = (moment(now)?, count(token)?);
        let mut jobs = Vec::new();
        let mut wrecks = Vec::new();
        for (id, record) in list(ids)?.into_iter().zip(list(records)?) {
            let id = job_id(id)?;
            match read(id, &bytes(record)?, now) {
                Ok(stored) => {
                    let mut job = stored.job;
                    state::claim(&mut job, claim.worker, now);
                    jobs.push((Lease { job: id, attempt: job.attempt, worker: claim.worker, token }, job));
                }
                Err(wreck) => wrecks.push(set_aside(token, *wreck)),
            }
        }
        // The others must not wait for it: where it fails, the reaper does it when the lease has lapsed.
        let _ = self.end(Which::Held, wrecks).await;
        Ok(jobs)
    }
}

#[async_trait]
impl Ledger for Redis {
    async fn take(&self, claim: &Claim, ids: &[JobId]) -> Result<Vec<(Lease, Job)>> {
        let mut jobs = Vec::new();
        for ids in ids.chunks(MOST_TOGETHER) {
            match self.take_jobs(claim, ids).await {
                Ok(taken) => jobs.extend(taken),
                Err(error) if jobs.is_empty() => return Err(error),
                // What has a lease already must be heard of.
                Err(_) => break,
            }
        }
        Ok(jobs)
    }
}

/// Names the tasks that the worker does not know.
fn name_unknown(call: &mut Call, claim: &Claim) {
    call.arg(claim.unknown.len());
    for name in &claim.unknown {
        call.arg(name.as_str());
    }
}

/// Ends the claim of a job that can't be read, as the dead letter that was made of it.
pub(super) fn set_aside(token: u64, wreck: Job) -> Ending {
    Ending { token, job: wreck, placement: Placement::Finished { until: None } }
}
