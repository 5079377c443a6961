//! Ending attempts.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;

use super::lease::LeaseRow;
use super::leases::Note;
use super::limits::{self, Closed};
use super::moves::Moves;
use super::news::News;
use super::tables::Tables;
use super::work::{Isolation, Work};
use super::{leases, places};
use crate::backend::{Settled, Settlement};
use crate::error::Result;
use crate::job::JobId;
use crate::policy::state;
use crate::time::Timestamp;

/// One batch of settlements.
pub(super) struct SettleWork {
    settlements: Vec<Settlement>,
}

impl SettleWork {
    pub(super) fn new(settlements: &[Settlement]) -> Self {
        Self { settlements: settlements.to_vec() }
    }
}

#[async_trait]
impl Work for SettleWork {
    type Answer = Vec<Settled>;
    const DURABLE: bool = true;
    // The leases are locked first, and whoever calls a job off locks them too.
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<Vec<Settled>> {
        let mut leases = leases::lock(db, &self.tokens()).await?;
        let candidates = self.noted(&leases);
        let notes = leases::notes(db, &candidates).await?;
        let mut moves = Moves::default();
        let settle = |end: &Settlement| settle(end, &mut leases, &notes, now, &mut moves);
        let answers = self.settlements.iter().map(settle).collect::<Result<Vec<_>>>()?;
        let closed = self.closed(&leases, &answers);
        limits::release(db, &leases.values().collect::<Vec<_>>(), &closed, news).await?;
        leases::write_settled(db, &leases.values().collect::<Vec<_>>()).await?;
        leases::forget_notes(db, &candidates).await?;
        places::write(db, &moves, now).await?;
        news.append(moves.news);
        Ok(answers)
    }
}

impl SettleWork {
    /// The claims that are settled, each once.
    fn tokens(&self) -> Vec<i64> {
        let mut tokens: Vec<_> = self.settlements.iter().map(|end| end.lease.token.cast_signed()).collect();
        tokens.sort_unstable();
        tokens.dedup();
        tokens
    }

    /// What was settled of leases that hold slots.
    fn closed(&self, leases: &HashMap<i64, LeaseRow>, answers: &[Settled]) -> Vec<Closed> {
        let applied = self.settlements.iter().zip(answers).filter(|(_, answer)| **answer == Settled::Applied);
        let closed =
            applied.map(|(end, _)| Closed { token: end.lease.token.cast_signed(), spec: Arc::clone(&end.job.spec) });
        closed.filter(|closed| leases.get(&closed.token).is_some_and(|row| row.holds)).collect()
    }

    /// The jobs about which something may be noted.
    fn noted(&self, leases: &HashMap<i64, LeaseRow>) -> Vec<JobId> {
        let lease = |end: &Settlement| leases.get(&end.lease.token.cast_signed());
        let noted = |end: &&Settlement| lease(end).is_some_and(|row| row.noted && row.open(end.lease.job).is_some());
        self.settlements.iter().filter(noted).map(|end| end.lease.job).collect()
    }
}

/// Ends one attempt, if its lease is live.
fn settle(
    end: &Settlement,
    leases: &mut HashMap<i64, LeaseRow>,
    notes: &HashMap<JobId, Note>,
    now: Timestamp,
    moves: &mut Moves,
) -> Result<Settled> {
    let Some(row) = leases.get_mut(&end.lease.token.cast_signed()) else { return Ok(Settled::LeaseLost) };
    let Some(place) = row.open(end.lease.job) else { return Ok(Settled::LeaseLost) };
    row.close(place);
    let note = notes.get(&end.lease.job);
    let mut job = end.job.clone();
    if let Some(progress) = note.and_then(|note| note.progress.as_ref()) {
        job.progress = Some(progress.clone());
    }
    let called_off = note.and_then(|note| note.called_off.as_deref());
    let placement = state::settle(&mut job, &end.verdict, now);
    let placement = state::heed(&mut job, placement, called_off, now);
    moves.place(&job, placement)?;
    Ok(Settled::Applied)
}
