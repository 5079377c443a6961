//! Ending attempts.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::leases::Note;
use super::writer::Work;
use super::{leases, places};
use crate::backend::sql::lease::LeaseRow;
use crate::backend::sql::moves::Moves;
use crate::backend::sql::news::News;
use crate::backend::{Settled, Settlement};
use crate::error::Result;
use crate::job::JobId;
use crate::policy::state;
use crate::time::Timestamp;

/// One batch of settlements.
pub(super) struct SettleWork {
    settlements: Vec<Settlement>,
    now: Timestamp,
}

impl SettleWork {
    pub(super) fn new(settlements: &[Settlement], now: Timestamp) -> Self {
        Self { settlements: settlements.to_vec(), now }
    }
}

#[async_trait]
impl Work for SettleWork {
    type Answer = Vec<Settled>;
    const DURABLE: bool = true;

    async fn run(&mut self, db: &mut SqliteConnection, news: &mut News) -> Result<Vec<Settled>> {
        let mut leases = leases::load(db, &self.tokens()).await?;
        let candidates = self.noted(&leases);
        let notes = leases::notes(db, &candidates).await?;
        let mut moves = Moves::default();
        let settle = |end: &Settlement| self.settle(end, &mut leases, &notes, &mut moves);
        let answers = self.settlements.iter().map(settle).collect::<Result<Vec<_>>>()?;
        leases::write_settled(db, &leases.values().collect::<Vec<_>>()).await?;
        leases::forget_notes(db, &candidates).await?;
        places::write(db, &moves).await?;
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

    /// The jobs about which something may be noted.
    fn noted(&self, leases: &HashMap<i64, LeaseRow>) -> Vec<JobId> {
        let lease = |end: &Settlement| leases.get(&end.lease.token.cast_signed());
        let noted = |end: &&Settlement| lease(end).is_some_and(|row| row.noted && row.open(end.lease.job).is_some());
        self.settlements.iter().filter(noted).map(|end| end.lease.job).collect()
    }

    fn settle(
        &self,
        end: &Settlement,
        leases: &mut HashMap<i64, LeaseRow>,
        notes: &HashMap<JobId, Note>,
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
        let placement = state::settle(&mut job, &end.verdict, self.now);
        let placement = state::heed(&mut job, placement, called_off, self.now);
        moves.place(&job, placement)?;
        Ok(Settled::Applied)
    }
}
