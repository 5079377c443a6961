//! Calling jobs off.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;

use super::lease::LeaseRow;
use super::moves::Moves;
use super::news::News;
use super::push::existing;
use super::tables::Tables;
use super::work::{Isolation, Work, raced};
use super::{leases, places};
use crate::backend::{Cancel, Cancelled};
use crate::error::Result;
use crate::job::JobId;
use crate::policy::state;
use crate::time::Timestamp;

/// One cancellation.
pub(super) struct CancelWork {
    cancel: Cancel,
}

impl CancelWork {
    pub(super) fn new(cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone() }
    }
}

#[async_trait]
impl Work for CancelWork {
    type Answer = Vec<Cancelled>;
    const DURABLE: bool = true;
    // What is found is locked, and what is found nowhere is looked for once more, with one statement for all places.
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<Vec<Cancelled>> {
        call_off(db, &self.cancel.ids, &self.cancel.reason, now, news).await
    }
}

/// Calls jobs off, wherever they lie.
pub(super) async fn call_off<Db: Tables>(
    db: &mut Db,
    ids: &[JobId],
    reason: &str,
    now: Timestamp,
    news: &mut News,
) -> Result<Vec<Cancelled>> {
    let mut became = HashMap::new();
    let mut moves = Moves::default();
    for record in places::take_waiting(db, ids).await? {
        match record.read(now) {
            Ok(mut job) => {
                let placement = state::cancel(&mut job, reason, now);
                became.insert(job.id(), Cancelled::Ended);
                moves.place(&job, placement)?;
            }
            Err(wreck) => {
                became.insert(wreck.id(), Cancelled::Ended);
                moves.set_aside(&wreck)?;
            }
        }
    }
    // Before the write: a job that is asked for twice has ended by the second time.
    let ended: HashSet<_> = became.keys().copied().collect();
    places::write(db, &moves, now).await?;
    news.append(moves.news);
    let rest: Vec<_> = ids.iter().copied().filter(|id| !ended.contains(id)).collect();
    for finished in places::finished(db, &rest).await? {
        let job = finished.read();
        became.insert(job.id(), Cancelled::Finished(job.state));
    }
    let rest: Vec<_> = rest.into_iter().filter(|id| !became.contains_key(id)).collect();
    for id in note(db, &rest, reason, news).await? {
        became.insert(id, Cancelled::Requested);
    }
    let rest: Vec<_> = rest.into_iter().filter(|id| !became.contains_key(id)).collect();
    // It moved from one place to another while they were looked through.
    if !existing(db, &rest).await?.is_empty() {
        return Err(raced("a job"));
    }
    let mut told = HashSet::new();
    let answer = |id: &JobId| match became.get(id) {
        // A second mention finds what the first one made of it.
        Some(Cancelled::Ended) if !told.insert(*id) => Cancelled::Finished(crate::job::State::Cancelled),
        Some(answer) => *answer,
        None => Cancelled::Absent,
    };
    Ok(ids.iter().map(answer).collect())
}

/// Notes on running jobs that they should stop; tells which of them run.
async fn note<Db: Tables>(db: &mut Db, ids: &[JobId], reason: &str, news: &mut News) -> Result<Vec<JobId>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let holds = |lease: &LeaseRow| ids.iter().any(|id| lease.open(*id).is_some());
    let all = leases::load_all(db).await?;
    let mut tokens: Vec<_> = all.values().filter(|lease| holds(lease)).map(|lease| lease.token).collect();
    if tokens.is_empty() {
        return Ok(Vec::new());
    }
    tokens.sort_unstable();
    // Whoever settles a job locks its lease and then looks for notes, so it finds this one or is seen here.
    let locked = leases::lock(db, &tokens).await?;
    let runs = |id: &JobId| locked.values().any(|lease| lease.open(*id).is_some());
    if ids.iter().any(|id| all.values().any(|lease| lease.open(*id).is_some()) && !runs(id)) {
        return Err(raced("a running job"));
    }
    let running: Vec<_> = ids.iter().copied().filter(runs).collect();
    leases::call_off(db, &running, reason).await?;
    leases::mark_noted(db, &tokens).await?;
    db.count_control().await?;
    news.control();
    Ok(running)
}
