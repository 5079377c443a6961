//! Changing many jobs by hand.

use async_trait::async_trait;

use super::moves::Moves;
use super::news::News;
use super::search::{Found, FoundJob, Order, Search};
use super::tables::Tables;
use super::unique::Holders;
use super::work::{Isolation, Work, raced};
use super::{cancel, leases, places};
use crate::backend::{Change, Changed, JobFilter};
use crate::error::Result;
use crate::job::JobId;
use crate::policy::{state, unique};
use crate::time::Timestamp;

/// One change of the jobs that match a filter.
pub(super) struct ChangeWork {
    pub(super) change: Change,
    pub(super) filter: JobFilter,
    pub(super) limit: usize,
}

/// How many jobs a change looks at together.
const CHANGED_TOGETHER: usize = 1_000;

#[async_trait]
impl Work for ChangeWork {
    type Answer = Changed;
    const DURABLE: bool = true;
    // What it found must still be so when it is changed.
    const ISOLATION: Isolation = Isolation::RepeatableRead;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<Changed> {
        let mut changed = Changed::default();
        let mut from = None;
        loop {
            let room = self.limit - changed.count;
            // One more than there is room for tells whether there is more.
            let limit = room.saturating_add(1).min(CHANGED_TOGETHER);
            let order = Order::OldestFirst;
            let mut search = Search { filter: self.filter.clone(), from, order, limit };
            let page = search.run(db, now, news).await?;
            if room == 0 {
                changed.more = !page.is_empty();
                return Ok(changed);
            }
            let Some(last) = page.last().map(|found| found.job.id()) else { return Ok(changed) };
            from = Some(last);
            let (done, stopped_at) = self.apply(db, page, room, now, news).await?;
            changed.count += done;
            from = stopped_at.or(from);
        }
    }
}

impl ChangeWork {
    /// Changes the jobs that it applies to, at most `room` of them; tells how many, and the last job looked at.
    async fn apply<Db: Tables>(
        &self,
        db: &mut Db,
        page: Vec<FoundJob>,
        room: usize,
        now: Timestamp,
        news: &mut News,
    ) -> Result<(usize, Option<JobId>)> {
        let mut holders = Holders::default();
        let mut chosen = self.applicable(db, page, &mut holders, now).await?;
        let stopped_at = (chosen.len() >= room).then(|| chosen[room - 1].job.id());
        chosen.truncate(room);
        let done = chosen.len();
        match &self.change {
            Change::Retry => revive(db, chosen, &holders, now, news).await?,
            Change::Cancel { reason } => {
                let ids: Vec<_> = chosen.iter().map(|found| found.job.id()).collect();
                cancel::call_off(db, &ids, reason, now, news).await?;
            }
            Change::Delete => delete(db, &chosen, now).await?,
        }
        Ok((done, stopped_at))
    }

    /// Those of these jobs that the change applies to; `holders` are then who has the keys of those to be retried.
    async fn applicable<Db: Tables>(
        &self,
        db: &mut Db,
        mut page: Vec<FoundJob>,
        holders: &mut Holders,
        now: Timestamp,
    ) -> Result<Vec<FoundJob>> {
        match self.change {
            Change::Retry => {
                page.retain(|found| found.place == Found::Finished && state::can_revive(found.job.state));
                let needed = page.iter().filter_map(|found| unique::needed_by_retry(&found.job));
                *holders = Holders::of(db, &needed.map(|unique| unique.key.as_str()).collect::<Vec<_>>(), now).await?;
                page.retain(|found| match unique::needed_by_retry(&found.job) {
                    Some(unique) => holders.reserve(&unique.key, found.job.id()).is_none(),
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
}

async fn revive<Db: Tables>(
    db: &mut Db,
    mut chosen: Vec<FoundJob>,
    holders: &Holders,
    now: Timestamp,
    news: &mut News,
) -> Result<()> {
    let mut moves = Moves::default();
    let ids: Vec<_> = chosen.iter().map(|found| found.job.id()).collect();
    places::take_finished(db, &ids).await?;
    for FoundJob { job, .. } in &mut chosen {
        let placement = state::revive(job, now);
        moves.place(job, placement)?;
    }
    let keys = chosen.iter().filter_map(|found| Some((unique::needed_by_retry(&found.job)?, found.job.id())));
    holders.take(db, keys.collect(), now).await?;
    places::write(db, &moves, now).await?;
    news.append(moves.news);
    Ok(())
}

async fn delete<Db: Tables>(db: &mut Db, chosen: &[FoundJob], now: Timestamp) -> Result<()> {
    let ids = |place: Found| chosen.iter().filter(move |found| found.place == place).map(|found| found.job.id());
    let waiting: Vec<_> = ids(Found::Waiting).collect();
    if places::take_waiting(db, &waiting).await?.len() != waiting.len() {
        return Err(raced("a waiting job"));
    }
    places::take_finished(db, &ids(Found::Finished).collect::<Vec<_>>()).await?;
    let mut moves = Moves::default();
    for found in chosen {
        moves.free_key(&found.job);
    }
    places::write(db, &moves, now).await
}
