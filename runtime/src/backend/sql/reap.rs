//! Rescue.

use std::collections::HashMap;
#[cfg(any(feature = "mysql", feature = "postgres"))]
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::lease::{LeaseRow, RawLease, claimed, unpack};
use super::leases::Note;
use super::limits::{self, Closed};
use super::moves::Moves;
use super::news::News;
use super::places::record;
use super::record::{Record, job_id};
use super::tables::{Columns, Pool, Tables, Value, clamp};
#[cfg(any(feature = "mysql", feature = "postgres"))]
use super::work::Glance;
use super::work::{Isolation, Work};
use super::{leases, places, unique};
use crate::backend::{Reap, Reaped};
use crate::error::Result;
use crate::job::JobId;
use crate::policy::{Placement, state};
use crate::time::Timestamp;

/// How many claims are looked at together; each may be a thousand jobs.
const LEASES_TOGETHER: i64 = 16;

/// One round of rescue.
pub(super) struct ReapWork {
    pub(super) reap: Reap,
}

#[async_trait]
impl Work for ReapWork {
    type Answer = Reaped;
    const DURABLE: bool = true;
    // What another reaper has at this moment is passed over.
    const ISOLATION: Isolation = Isolation::ReadCommitted;

    /// The leader asks all the time, and mostly nobody has died. Whatever a round does must be looked for here.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    fn glance(&self) -> Option<Glance<'_, Reaped>> {
        // In microseconds from now; NULL where nothing ever will.
        const NEXT: &str = "SELECT min(next.due) - {now} FROM (SELECT min(lapses) AS due FROM taskwright_leases \
            UNION ALL SELECT min(expires) FROM taskwright_jobs \
            UNION ALL SELECT min(expires) FROM taskwright_limited \
            UNION ALL SELECT min(lapses) FROM taskwright_workers \
            UNION ALL SELECT min(until) FROM taskwright_unique \
            UNION ALL SELECT min(counts_until) FROM taskwright_limits WHERE is_set = 0) AS next";
        let nothing = |next: Option<i64>| {
            let calm = next.map_or(Duration::MAX, |next| Duration::from_micros(next.try_into().unwrap_or(0)));
            (calm > Duration::ZERO).then(|| Reaped { calm, ..Reaped::default() })
        };
        Some(Glance { sql: NEXT, values: Vec::new(), nothing })
    }

    async fn run<Db: Tables>(&mut self, db: &mut Db, now: Timestamp, news: &mut News) -> Result<Reaped> {
        let round = Round { reap: self.reap, now };
        let mut reaped = Reaped::default();
        let mut moves = Moves::default();
        let mut room = self.reap.limit;
        while room > 0 {
            let lapsed = leases::lapsed(db, now.as_micros(), LEASES_TOGETHER).await?;
            if lapsed.is_empty() {
                break;
            }
            for (raw, packed) in lapsed {
                if room == 0 {
                    break;
                }
                room -= round.rescue(db, &raw, &packed, room, &mut moves, &mut reaped).await?;
            }
        }
        // Before the next step, which ends also what was put back too late.
        places::write(db, &moves, now).await?;
        news.append(moves.news);
        round.expire(db, room, news, &mut reaped).await?;
        round.forget_workers(db).await?;
        unique::forget_lapsed(db, now).await?;
        limits::forget(db, now).await?;
        reaped.more = round.more(db).await?;
        Ok(reaped)
    }
}

/// A round of rescue at one moment.
struct Round {
    reap: Reap,
    now: Timestamp,
}

impl Round {
    /// Takes the lapsed jobs of one claim from it, at most `room` of them; tells how many.
    async fn rescue<Db: Tables>(
        &self,
        db: &mut Db,
        raw: &RawLease,
        packed: &[u8],
        room: usize,
        moves: &mut Moves,
        reaped: &mut Reaped,
    ) -> Result<usize> {
        let mut row = match LeaseRow::read(raw) {
            Ok(row) => row,
            Err(error) => {
                tracing::error!(%error, "set a lease aside");
                return self.set_lease_aside(db, raw, packed, moves, reaped).await;
            }
        };
        let records = unpack(&row, packed, self.now);
        let lapsed: Vec<_> = row.lapsed(self.now).into_iter().take(room).collect();
        let ids: Vec<_> = row.all_open().filter(|(place, _)| lapsed.contains(place)).map(|(_, id)| id).collect();
        let notes = if row.noted { leases::notes(db, &ids).await? } else { HashMap::new() };
        let mut closed = Vec::new();
        for place in &lapsed {
            row.close(*place);
            if let Some(record) = records.get(*place) {
                if row.holds
                    && let Ok(job) = record.read(self.now)
                {
                    closed.push(Closed { token: row.token, spec: job.spec });
                }
                self.crash(&row, record, &notes, moves, reaped)?;
            }
        }
        limits::release(db, &[&row], &closed, &mut moves.news).await?;
        if row.noted {
            leases::forget_notes(db, &ids).await?;
        }
        leases::write_settled(db, &[&row]).await?;
        Ok(lapsed.len())
    }

    /// Ends the attempt of a job whose lease has lapsed.
    fn crash(
        &self,
        row: &LeaseRow,
        record: &Record,
        notes: &HashMap<JobId, Note>,
        moves: &mut Moves,
        reaped: &mut Reaped,
    ) -> Result<()> {
        let mut job = match claimed(row, record) {
            Ok(job) => job,
            Err(wreck) => {
                reaped.discarded += 1;
                return moves.set_aside(&wreck);
            }
        };
        let note = notes.get(&job.id());
        job.progress = note.and_then(|note| note.progress.clone());
        let placement = state::crash(&mut job, self.reap.max_crashes, self.now);
        let called_off = note.and_then(|note| note.called_off.as_deref());
        let placement = state::heed(&mut job, placement, called_off, self.now);
        match placement {
            Placement::Waiting => reaped.returned += 1,
            Placement::Finished { .. } | Placement::Forgotten => reaped.discarded += 1,
        }
        moves.place(&job, placement)
    }

    /// A lease whose columns contradict each other: every id that it names becomes a dead letter, the first with the
    /// packed bytes.
    async fn set_lease_aside<Db: Tables>(
        &self,
        db: &mut Db,
        raw: &RawLease,
        packed: &[u8],
        moves: &mut Moves,
        reaped: &mut Reaped,
    ) -> Result<usize> {
        let mut ids: Vec<JobId> = raw.members.chunks_exact(16).filter_map(|id| job_id(id).ok()).collect();
        if ids.is_empty() {
            ids.push(JobId::new());
        }
        let mut bytes = Bytes::copy_from_slice(packed);
        for id in &ids {
            let record = Record { codec: -1, ..Record::unreadable(*id, std::mem::take(&mut bytes), self.now) };
            if let Err(wreck) = record.read(self.now) {
                moves.set_aside(&wreck)?;
                reaped.discarded += 1;
            }
        }
        limits::release_all(db, &[raw.token], &mut moves.news).await?;
        leases::delete(db, &[raw.token]).await?;
        // Counts as one, lest a lease of any size exceed the room.
        Ok(1)
    }

    /// Ends waiting jobs that came too late. By the index on `expires`.
    async fn expire<Db: Tables>(&self, db: &mut Db, room: usize, news: &mut News, reaped: &mut Reaped) -> Result<()> {
        if room == 0 {
            return Ok(());
        }
        let mut moves = Moves::default();
        for pool in Pool::ALL {
            for row in &db.take_expired(pool, self.now, room - reaped.expired.min(room)).await? {
                match record(row)?.read(self.now) {
                    Ok(mut job) => {
                        let placement = state::expire(&mut job, self.now);
                        moves.place(&job, placement)?;
                    }
                    Err(wreck) => moves.set_aside(&wreck)?,
                }
                reaped.expired += 1;
            }
        }
        places::write(db, &moves, self.now).await?;
        news.append(moves.news);
        Ok(())
    }

    async fn forget_workers<Db: Tables>(&self, db: &mut Db) -> Result<()> {
        // One that sends a heartbeat at this moment is passed over.
        let forget = Db::delete_first("taskwright_workers", "lapses <= ?", "lapses, id");
        db.execute(forget, &[self.now.as_micros(), clamp(self.reap.limit)].map(Value::Integer)).await?;
        Ok(())
    }

    /// Whether there is more to do. One seek in each index.
    async fn more<Db: Tables>(&self, db: &mut Db) -> Result<bool> {
        const MORE: &str = "SELECT EXISTS (SELECT 1 FROM taskwright_leases WHERE lapses <= ?) \
            OR EXISTS (SELECT 1 FROM taskwright_jobs WHERE expires <= ?) \
            OR EXISTS (SELECT 1 FROM taskwright_limited WHERE expires <= ?)";
        let now = Value::Integer(self.now.as_micros());
        let rows = db.fetch(MORE, &[now; 3]).await?;
        Ok(rows.first().map(|row| row.integer(0)).transpose()? == Some(1))
    }
}
