//! Outcomes that can be asked for.

use async_trait::async_trait;
use redis::Value;

use super::answer::{given, list, moment, parts};
use super::record::{Held, decode, encode, show};
use super::scripts::{KEEP, LOOK};
use super::{MOST_TOGETHER, Redis};
use crate::backend::{Fetched, KeptOutcome, Results};
use crate::error::Result;
use crate::job::{Job, JobId, Outcome};
use crate::policy::state;
use crate::time::{Timestamp, micros};

/// What the server has of one job.
pub(super) struct Looked {
    pub(super) record: Option<Vec<u8>>,
    pub(super) lease: Option<Held>,
    pub(super) progress: Option<Vec<u8>>,
    /// An outcome that is kept for another store.
    outcome: Option<Vec<u8>>,
}

#[async_trait]
impl Results for Redis {
    async fn keep(&self, outcomes: &[KeptOutcome]) -> Result<()> {
        for some in outcomes.chunks(MOST_TOGETHER) {
            let mut call = self.link.call(&KEEP);
            let has_ended = some.iter().any(|kept| kept.outcome.state.is_terminal());
            call.arg(if has_ended { "ended" } else { "pending" });
            for KeptOutcome { outcome, ttl } in some {
                call.arg(outcome.id.as_bytes()).arg(outcome.attempt).arg(micros(*ttl)).arg(encode(outcome)?);
            }
            self.link.run(&call).await?;
        }
        Ok(())
    }

    async fn fetch(&self, ids: &[JobId]) -> Result<Vec<Fetched>> {
        let mut fetched = Vec::with_capacity(ids.len());
        for ids in ids.chunks(MOST_TOGETHER) {
            let (now, looked) = self.look(ids).await?;
            for (id, looked) in ids.iter().zip(looked) {
                fetched.push(looked.fetched(*id, now)?);
            }
        }
        Ok(fetched)
    }
}

impl Redis {
    /// What there is of these jobs, and when that was.
    pub(super) async fn look(&self, ids: &[JobId]) -> Result<(Timestamp, Vec<Looked>)> {
        let mut call = self.link.call(&LOOK);
        for id in ids {
            call.arg(id.as_bytes());
        }
        let [now, shown] = parts(self.link.run(&call).await?)?;
        let mut shown = list(shown)?.into_iter();
        let mut looked = Vec::with_capacity(ids.len());
        while let (Some(record), Some(lease), Some(progress), Some(outcome)) =
            (shown.next(), shown.next(), shown.next(), shown.next())
        {
            looked.push(Looked::read(record, lease, progress, outcome)?);
        }
        Ok((moment(&now)?, looked))
    }
}

impl Looked {
    pub(super) fn read(record: Value, lease: Value, progress: Value, outcome: Value) -> Result<Self> {
        Ok(Self {
            record: given(record)?,
            lease: given(lease)?.map(|lease| Held::read(&lease)),
            progress: given(progress)?,
            outcome: given(outcome)?,
        })
    }

    /// The job as it is now, and when its result's time to live ends.
    pub(super) fn job(&self, id: JobId, now: Timestamp) -> Option<(Job, Option<Timestamp>)> {
        let stored = show(id, self.record.as_deref()?, now);
        let (mut job, until) = (stored.job, stored.until);
        if let Some(held) = self.lease.filter(|_| !job.state.is_terminal()) {
            held.claim(&mut job);
            job.progress = self.progress.as_deref().and_then(|progress| decode(progress).ok());
        }
        Some((job, until))
    }

    fn fetched(&self, id: JobId, now: Timestamp) -> Result<Fetched> {
        let Some((job, until)) = self.job(id, now) else {
            return self.outcome.as_deref().map_or(Ok(Fetched::Absent), |kept| self::kept(kept, now));
        };
        Ok(match state::outcome(&job) {
            Some(_) if until.is_some_and(|until| until <= now) => Fetched::Expired,
            Some(outcome) => Fetched::Finished(outcome),
            None => Fetched::Pending { state: job.state, attempt: job.attempt, progress: job.progress },
        })
    }
}

/// An outcome of another store: its attempt, when it ends, and itself.
fn kept(kept: &[u8], now: Timestamp) -> Result<Fetched> {
    let (head, outcome) = kept.split_at_checked(16).unwrap_or((&[], kept));
    let ends = head.get(8..).and_then(|ends| ends.try_into().ok()).map_or(i64::MAX, i64::from_be_bytes);
    Ok(Fetched::of_kept(decode::<Outcome>(outcome)?, ends <= now.as_micros()))
}
