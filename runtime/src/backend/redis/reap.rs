//! Putting back what dead workers held, and ending what has expired.

use redis::Value;

use super::answer::{bytes, count, given, job_id, list, moment, parts};
use super::claim::set_aside;
use super::moves::{Move, Moved};
use super::present::PRESENT;
use super::record::{Held, read};
use super::scripts::LAPSED;
use super::settle::{Ended, Ending, Which};
use super::{MOST_BYTES, Redis};
use crate::backend::{Reap, Reaped};
use crate::error::Result;
use crate::policy::{Placement, state};

/// How many jobs are looked at together.
const LOOKED_AT: usize = 200;

/// What one look found.
struct Lapsed {
    /// How many there are in all.
    total: usize,
    claims: Vec<Ending>,
    expired: Vec<Move>,
}

impl Redis {
    pub(super) async fn reap_jobs(&self, reap: Reap) -> Result<Reaped> {
        let mut reaped = Reaped::default();
        let mut room = reap.limit;
        loop {
            let lapsed = self.lapsed(reap, room.min(LOOKED_AT)).await?;
            let (total, seen) = (lapsed.total, lapsed.claims.len() + lapsed.expired.len());
            if seen == 0 {
                reaped.more = total > 0;
                return Ok(reaped);
            }
            let done = self.end_lapsed(lapsed, &mut reaped).await?;
            room -= done.min(room);
            // Whoever was faster with the others is at work on them, so there may be more where nothing was done.
            reaped.more = total > done;
            if room == 0 || !reaped.more || done == 0 {
                return Ok(reaped);
            }
        }
    }

    async fn lapsed(&self, reap: Reap, limit: usize) -> Result<Lapsed> {
        let mut call = self.link.call(&LAPSED);
        call.arg(limit).arg(MOST_BYTES);
        let [now, total, shown] = parts(self.link.run(&call).await?)?;
        let now = moment(&now)?;
        let mut lapsed = Lapsed { total: count(&total)?, claims: Vec::new(), expired: Vec::new() };
        let mut shown = list(shown)?.into_iter();
        while let (Some(id), Some(record), Some(lease), Some(reason)) =
            (shown.next(), shown.next(), shown.next(), shown.next())
        {
            lapsed.add(reap, (id, record, lease, reason), now)?;
        }
        Ok(lapsed)
    }

    /// Writes what was decided, and tells to how many jobs it applied.
    async fn end_lapsed(&self, lapsed: Lapsed, reaped: &mut Reaped) -> Result<usize> {
        let mut done = 0;
        for ended in self.end(Which::Lapsed, lapsed.claims).await? {
            match ended {
                Ended::Lost => continue,
                Ended::Applied(Placement::Waiting) => reaped.returned += 1,
                Ended::Applied(_) => reaped.discarded += 1,
            }
            done += 1;
        }
        let moved = self.move_jobs(&lapsed.expired).await?;
        let expired = moved.iter().filter(|moved| **moved == Moved::Done).count();
        reaped.expired += expired;
        Ok(done + expired)
    }
}

impl Lapsed {
    fn add(
        &mut self,
        reap: Reap,
        (id, record, lease, reason): (Value, Value, Value, Value),
        now: crate::time::Timestamp,
    ) -> Result<()> {
        let (id, record) = (job_id(id)?, bytes(record)?);
        let reason = given(reason)?.map(|reason| String::from_utf8_lossy(&reason).into_owned());
        match (given(lease)?, read(id, &record, now)) {
            (Some(lease), Ok(mut stored)) => {
                let held = Held::read(&lease);
                held.claim(&mut stored.job);
                let placement = state::crash(&mut stored.job, reap.max_crashes, PRESENT);
                let placement = state::heed(&mut stored.job, placement, reason.as_deref(), PRESENT);
                self.claims.push(Ending { token: held.token, job: stored.job, placement });
            }
            (Some(lease), Err(wreck)) => self.claims.push(set_aside(Held::read(&lease).token, *wreck)),
            (None, Ok(mut stored)) => {
                let placement = state::expire(&mut stored.job, PRESENT);
                self.expired.push(Move::new(&record, stored.job, placement));
            }
            (None, Err(wreck)) => {
                self.expired.push(Move::new(&record, *wreck, Placement::Finished { until: None }));
            }
        }
        Ok(())
    }
}
