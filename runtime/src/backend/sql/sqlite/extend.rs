//! Heartbeats.

use std::collections::{BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use bytes::Bytes;
use sqlx::{Row, SqliteConnection};

use super::error::fault;
use super::leases;
use super::writer::Work;
use crate::backend::sql::lease::LeaseRow;
use crate::backend::sql::news::News;
use crate::backend::sql::record::encode;
use crate::backend::{Extend, Extended};
use crate::error::Result;
use crate::job::{JobId, Lease, Name, Progress};
use crate::time::Timestamp;

/// One heartbeat.
pub(super) struct ExtendWork {
    extend: Extend,
    worker: Bytes,
    now: Timestamp,
}

impl ExtendWork {
    pub(super) fn new(extend: &Extend, now: Timestamp) -> Result<Self> {
        Ok(Self { extend: extend.clone(), worker: encode(&extend.worker)?, now })
    }
}

#[async_trait]
impl Work for ExtendWork {
    type Answer = Extended;
    const DURABLE: bool = false;

    async fn run(&mut self, db: &mut SqliteConnection, _: &mut News) -> Result<Extended> {
        self.see_worker(db).await?;
        let paused = self.paused(db).await?;
        let mut leases = leases::load(db, &self.tokens()).await?;
        let (held, lost): (Vec<Lease>, Vec<Lease>) = {
            let open =
                |lease: &Lease| leases.get(&lease.token.cast_signed()).is_some_and(|row| row.open(lease.job).is_some());
            self.extend.renewals.iter().map(|renewal| renewal.lease).partition(open)
        };
        self.renew(db, &mut leases, &held).await?;
        self.report(db, &held).await?;
        let cancelled = self.cancelled(db, &leases, &held).await?;
        Ok(Extended { lost, cancelled, paused })
    }
}

impl ExtendWork {
    fn tokens(&self) -> Vec<i64> {
        let tokens: BTreeSet<_> =
            self.extend.renewals.iter().map(|renewal| renewal.lease.token.cast_signed()).collect();
        tokens.into_iter().collect()
    }

    async fn see_worker(&self, db: &mut SqliteConnection) -> Result<()> {
        const SEE: &str = "INSERT INTO taskwright_workers (id, seen, lapses, record) VALUES (?, ?, ?, ?) \
            ON CONFLICT (id) DO UPDATE SET seen = excluded.seen, lapses = excluded.lapses, record = excluded.record";
        let see = sqlx::query(SEE)
            .bind(&self.extend.worker.id.as_bytes()[..])
            .bind(self.now.as_micros())
            .bind(self.now.after(self.extend.ttl).as_micros())
            .bind(&self.worker[..]);
        see.execute(db).await.map_err(fault)?;
        Ok(())
    }

    /// The worker's queues that are paused; few are, so all pauses are read.
    async fn paused(&self, db: &mut SqliteConnection) -> Result<Vec<Name>> {
        let paused = pauses(db).await?;
        Ok(self.extend.worker.queues.iter().filter(|queue| paused.contains(queue.as_str())).cloned().collect())
    }

    /// Whole claims together, and those of which only some jobs are held each on its own.
    async fn renew(
        &self,
        db: &mut SqliteConnection,
        leases: &mut HashMap<i64, LeaseRow>,
        held: &[Lease],
    ) -> Result<()> {
        let until = self.now.after(self.extend.ttl);
        let mut places: HashMap<i64, BTreeSet<usize>> = HashMap::new();
        for lease in held {
            let token = lease.token.cast_signed();
            let place = leases.get(&token).and_then(|row| row.open(lease.job));
            places.entry(token).or_default().extend(place);
        }
        let mut whole = Vec::new();
        for (token, places) in places {
            let Some(row) = leases.get_mut(&token) else { continue };
            row.renew(&places, until);
            if row.each().is_none() {
                whole.push(token);
            } else {
                leases::renew_some(db, row).await?;
            }
        }
        whole.sort_unstable();
        leases::renew(db, &whole, until.as_micros()).await
    }

    async fn report(&self, db: &mut SqliteConnection, held: &[Lease]) -> Result<()> {
        let held: HashSet<_> = held.iter().collect();
        let news = self.extend.renewals.iter().filter(|renewal| held.contains(&renewal.lease));
        let (reports, tokens): (Vec<(JobId, Progress)>, BTreeSet<i64>) = news
            .filter_map(|renewal| {
                let progress = renewal.progress.clone()?;
                Some(((renewal.lease.job, progress), renewal.lease.token.cast_signed()))
            })
            .unzip();
        leases::report(db, &reports).await?;
        leases::mark_noted(db, &tokens.into_iter().collect::<Vec<_>>()).await
    }

    /// The held jobs that somebody called off, as of before this heartbeat's own reports.
    async fn cancelled(
        &self,
        db: &mut SqliteConnection,
        leases: &HashMap<i64, LeaseRow>,
        held: &[Lease],
    ) -> Result<Vec<(Lease, String)>> {
        let may_have = |lease: &&Lease| leases.get(&lease.token.cast_signed()).is_some_and(|row| row.noted);
        let candidates: Vec<_> = held.iter().filter(may_have).copied().collect();
        let mut notes = leases::notes(db, &candidates.iter().map(|lease| lease.job).collect::<Vec<_>>()).await?;
        let reason = |lease: Lease| Some((lease, notes.remove(&lease.job)?.called_off?));
        Ok(candidates.into_iter().filter_map(reason).collect())
    }
}

/// The queues that are paused.
pub(super) async fn pauses(db: &mut SqliteConnection) -> Result<HashSet<String>> {
    const PAUSES: &str = "SELECT queue FROM taskwright_pauses";
    let rows = sqlx::query(PAUSES).fetch_all(db).await.map_err(fault)?;
    rows.iter().map(|row| row.try_get(0).map_err(fault)).collect()
}
