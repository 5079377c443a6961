//! Heartbeats.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use bytes::Bytes;

use super::lease::LeaseRow;
use super::leases;
use super::news::News;
use super::record::encode;
use super::tables::{Columns, Tables, Value, rows};
use super::work::{Isolation, Work};
use crate::backend::{Extend, Extended};
use crate::error::Result;
use crate::job::{JobId, Lease, Name, Progress};
use crate::time::Timestamp;

/// One heartbeat.
pub(super) struct ExtendWork {
    extend: Extend,
    worker: Bytes,
}

impl ExtendWork {
    pub(super) fn new(extend: &Extend) -> Result<Self> {
        Ok(Self { extend: extend.clone(), worker: encode(&extend.worker)? })
    }
}

#[async_trait]
impl Work for ExtendWork {
    type Answer = Extended;
    const DURABLE: bool = false;
    // The leases are locked before they are renewed.
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, _: &mut News) -> Result<Extended> {
        self.see_worker(db, now).await?;
        let paused = self.paused(db).await?;
        let mut leases = leases::lock(db, &self.tokens()).await?;
        let (held, lost): (Vec<Lease>, Vec<Lease>) = {
            let open =
                |lease: &Lease| leases.get(&lease.token.cast_signed()).is_some_and(|row| row.open(lease.job).is_some());
            self.extend.renewals.iter().map(|renewal| renewal.lease).partition(open)
        };
        self.renew(db, &mut leases, &held, now).await?;
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

    async fn see_worker<Db: Tables>(&self, db: &mut Db, now: Timestamp) -> Result<()> {
        let told = ["seen", "lapses", "record"];
        let see = Db::upsert("taskwright_workers", "id, seen, lapses, record", &rows(1, 4), "id", &told);
        let worker = Value::Id(self.extend.worker.id.as_bytes());
        let (seen, lapses) = (now.as_micros(), now.after(self.extend.ttl).as_micros());
        db.execute(see, &[worker, Value::Integer(seen), Value::Integer(lapses), Value::Bytes(&self.worker)]).await?;
        Ok(())
    }

    /// The worker's queues that are paused; few are, so all pauses are read.
    async fn paused<Db: Tables>(&self, db: &mut Db) -> Result<Vec<Name>> {
        let paused = pauses(db).await?;
        Ok(self.extend.worker.queues.iter().filter(|queue| paused.contains(queue.as_str())).cloned().collect())
    }

    /// Whole claims together, and those of which only some jobs are held each on its own.
    async fn renew<Db: Tables>(
        &self,
        db: &mut Db,
        leases: &mut HashMap<i64, LeaseRow>,
        held: &[Lease],
        now: Timestamp,
    ) -> Result<()> {
        let until = now.after(self.extend.ttl);
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

    async fn report<Db: Tables>(&self, db: &mut Db, held: &[Lease]) -> Result<()> {
        let held: HashSet<_> = held.iter().collect();
        let news = self.extend.renewals.iter().filter(|renewal| held.contains(&renewal.lease));
        let (reports, tokens): (BTreeMap<JobId, Progress>, BTreeSet<i64>) = news
            .filter_map(|renewal| {
                let progress = renewal.progress.clone()?;
                Some(((renewal.lease.job, progress), renewal.lease.token.cast_signed()))
            })
            .unzip();
        leases::report(db, &reports).await?;
        leases::mark_noted(db, &tokens.into_iter().collect::<Vec<_>>()).await
    }

    /// The held jobs that somebody called off, as of before this heartbeat's own reports.
    async fn cancelled<Db: Tables>(
        &self,
        db: &mut Db,
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
pub(super) async fn pauses<Db: Tables>(db: &mut Db) -> Result<HashSet<String>> {
    let rows = db.fetch("SELECT queue FROM taskwright_pauses", &[]).await?;
    rows.iter().map(|row| row.text(0)).collect()
}
