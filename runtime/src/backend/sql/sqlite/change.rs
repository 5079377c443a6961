//! Changing many jobs by hand.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::push::{holders, take_keys};
use super::search::{Found, FoundJob, Order, Search};
use super::writer::Work;
use super::{cancel, leases, places};
use crate::backend::sql::moves::Moves;
use crate::backend::sql::news::News;
use crate::backend::{Change, Changed, JobFilter};
use crate::error::Result;
use crate::job::JobId;
use crate::policy::state;
use crate::time::Timestamp;

/// One change of the jobs that match a filter.
pub(super) struct ChangeWork {
    pub(super) change: Change,
    pub(super) filter: JobFilter,
    pub(super) limit: usize,
    pub(super) now: Timestamp,
}

/// How many jobs a change looks at together.
const CHANGED_TOGETHER: usize = 1_000;

#[async_trait]
impl Work for ChangeWork {
    type Answer = Changed;
    const DURABLE: bool = true;

    async fn run(&mut self, db: &mut SqliteConnection, news: &mut News) -> Result<Changed> {
        let mut changed = Changed::default();
        let mut from = None;
        loop {
            let room = self.limit - changed.count;
            // One more than there is room for tells whether there is more.
            let limit = room.saturating_add(1).min(CHANGED_TOGETHER);
            let order = Order::OldestFirst;
            let mut search = Search { filter: self.filter.clone(), from, order, limit, now: self.now };
            let page = search.run(db, news).await?;
            if room == 0 {
                changed.more = !page.is_empty();
                return Ok(changed);
            }
            let Some(last) = page.last().map(|found| found.job.id()) else { return Ok(changed) };
            from = Some(last);
            let (done, stopped_at) = self.apply(db, page, room, news).await?;
            changed.count += done;
            from = stopped_at.or(from);
        }
    }
}

impl ChangeWork {
    /// Changes the jobs that it applies to, at most `room` of them; tells how many, and the last job looked at.
    async fn apply(
        &self,
        db: &mut SqliteConnection,
        page: Vec<FoundJob>,
        room: usize,
        news: &mut News,
    ) -> Result<(usize, Option<JobId>)> {
        let mut chosen = self.applicable(db, page).await?;
        let stopped_at = (chosen.len() >= room).then(|| chosen[room - 1].job.id());
        chosen.truncate(room);
        let done = chosen.len();
        match &self.change {
            Change::Retry => self.revive(db, chosen, news).await?,
            Change::Cancel { reason } => {
                let ids: Vec<_> = chosen.iter().map(|found| found.job.id()).collect();
                cancel::call_off(db, &ids, reason, self.now, news).await?;
            }
            Change::Delete => delete(db, &chosen).await?,
        }
        Ok((done, stopped_at))
    }

    async fn applicable(&self, db: &mut SqliteConnection, mut page: Vec<FoundJob>) -> Result<Vec<FoundJob>> {
        match self.change {
            Change::Retry => {
                page.retain(|found| found.place == Found::Finished && state::can_revive(found.job.state));
                let key = |found: &FoundJob| Some(found.job.spec.unique.as_ref()?.key.clone());
                let keys: Vec<_> = page.iter().filter_map(key).collect();
                let mut taken = holders(db, &keys.iter().map(String::as_str).collect::<Vec<_>>()).await?;
                page.retain(|found| match key(found) {
                    Some(key) => taken.insert(key, found.job.id()).is_none(),
                    None => true,
                });
            }
            Change::Cancel { .. } => {
                page.retain(|found| found.place != Found::Finished);
                let running: Vec<_> = page.iter().filter(|found| found.place == Found::Running).collect();
                let notes = leases::notes(db, &running.iter().map(|found| found.job.id()).collect::<Vec<_>>()).await?;
                // What was called off before is not called off again, so that repeated rounds come to an end.
                let called_off = |id: JobId| notes.get(&id).is_some_and(|note| note.called_off.is_some());
                page.retain(|found| !called_off(found.job.id()));
            }
            Change::Delete => page.retain(|found| found.place != Found::Running),
        }
        Ok(page)
    }

    async fn revive(&self, db: &mut SqliteConnection, chosen: Vec<FoundJob>, news: &mut News) -> Result<()> {
        let mut moves = Moves::default();
        let ids: Vec<_> = chosen.iter().map(|found| found.job.id()).collect();
        places::take_finished(db, &ids).await?;
        for FoundJob { mut job, .. } in chosen {
            let placement = state::revive(&mut job, self.now);
            if let Some(unique) = &job.spec.unique {
                take_keys(db, &[(&unique.key, job.id())]).await?;
            }
            moves.place(&job, placement)?;
        }
        places::write(db, &moves).await?;
        news.append(moves.news);
        Ok(())
    }
}

async fn delete(db: &mut SqliteConnection, chosen: &[FoundJob]) -> Result<()> {
    let ids = |place: Found| chosen.iter().filter(move |found| found.place == place).map(|found| found.job.id());
    places::take_waiting(db, &ids(Found::Waiting).collect::<Vec<_>>()).await?;
    places::take_finished(db, &ids(Found::Finished).collect::<Vec<_>>()).await?;
    let mut moves = Moves::default();
    for found in chosen {
        moves.release(&found.job);
    }
    places::write(db, &moves).await
}
