//! Changing many jobs by hand.

use super::cancel::CalledOff;
use super::inspect::Order;
use super::moves::{Move, Moved};
use super::present::PRESENT;
use super::record::read;
use super::{MOST_TOGETHER, Redis};
use crate::backend::{Cancelled, Change, Changed, JobFilter};
use crate::error::{Error, Result};
use crate::job::{Job, JobId};
use crate::policy::{Placement, state};

/// How often a job is looked at again that changes under our hands.
const TRIES: usize = 20;

impl Redis {
    pub(super) async fn change_jobs(&self, change: &Change, filter: &JobFilter, limit: usize) -> Result<Changed> {
        let mut changed = Changed::default();
        let mut from = None;
        loop {
            let page = self.page(filter, from, Order::OldestFirst).await?;
            let ids: Vec<_> = page.jobs.iter().map(Job::id).collect();
            let mut rest = &*ids;
            while !rest.is_empty() {
                let room = limit - changed.count;
                if room == 0 {
                    changed.more = true;
                    return Ok(changed);
                }
                let (some, others) = rest.split_at(room.min(rest.len()).min(MOST_TOGETHER));
                changed.count += self.change_some(change, some).await?;
                rest = others;
            }
            from = page.next;
            if from.is_none() {
                return Ok(changed);
            }
        }
    }

    /// Changes those of these jobs that it applies to, and tells how many they are.
    async fn change_some(&self, change: &Change, ids: &[JobId]) -> Result<usize> {
        if let Change::Cancel { reason } = change {
            let called = self.call_off(ids, reason).await?;
            let applied = [CalledOff::As(Cancelled::Ended), CalledOff::As(Cancelled::Requested)];
            return Ok(called.iter().filter(|called| applied.contains(called)).count());
        }
        let mut count = 0;
        let mut ids = ids.to_vec();
        for _ in 0..TRIES {
            let moves = self.decide(change, &ids).await?;
            let answers = self.move_jobs(&moves).await?;
            count += answers.iter().filter(|moved| **moved == Moved::Done).count();
            let raced = moves.iter().zip(answers).filter(|(_, moved)| *moved == Moved::Raced);
            ids = raced.map(|(raced, _)| raced.job.id()).collect();
            if ids.is_empty() {
                return Ok(count);
            }
        }
        Err(Error::unavailable("jobs to change changed each time they were looked at"))
    }

    /// What becomes of those of these jobs that the change applies to.
    async fn decide(&self, change: &Change, ids: &[JobId]) -> Result<Vec<Move>> {
        let (now, looked) = self.look(ids).await?;
        let mut moves = Vec::new();
        for (id, looked) in ids.iter().zip(looked) {
            let Some(record) = looked.record.filter(|_| looked.lease.is_none()) else { continue };
            match (change, read(*id, &record, now)) {
                (Change::Retry, Ok(mut stored)) if state::can_revive(stored.job.state) => {
                    let placement = state::revive(&mut stored.job, PRESENT);
                    moves.push(Move::new(&record, stored.job, placement));
                }
                (Change::Delete, Ok(stored)) => moves.push(Move::new(&record, stored.job, Placement::Forgotten)),
                (Change::Delete, Err(wreck)) => moves.push(Move::new(&record, *wreck, Placement::Forgotten)),
                _ => {}
            }
        }
        Ok(moves)
    }
}
