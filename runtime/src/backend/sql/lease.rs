//! A claim as one row: who has which jobs until when, and which of them are settled.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;

use super::record::{Record, job_id, worker_id};
use crate::error::{Error, ErrorKind, Result};
use crate::job::{Job, JobId, Lease, WorkerId};
use crate::policy::state;
use crate::time::Timestamp;

/// One claim, without its jobs.
///
/// The jobs of one claim share its token; which of them a [`Lease`] means, its job id says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LeaseRow {
    pub(super) token: i64,
    pub(super) worker: WorkerId,
    pub(super) claimed: Timestamp,
    /// When the first of its open jobs lapses.
    pub(super) lapses: Timestamp,
    /// The ids of its jobs, in order, so that one is found by halving.
    members: Vec<JobId>,
    /// One bit a job, set once that job is settled. Its length never changes, so that marking rewrites one page.
    settled: Vec<u8>,
    /// When each job lapses, where that differs: a worker renewed some of them only.
    each: Option<Vec<i64>>,
    /// Whether some of its jobs were called off or reported progress.
    pub(super) noted: bool,
    /// Whether it holds slots of limits.
    pub(super) holds: bool,
}

/// A lease row's columns as the database holds them.
pub(super) struct RawLease {
    pub(super) token: i64,
    pub(super) worker: Vec<u8>,
    pub(super) claimed: i64,
    pub(super) lapses: i64,
    pub(super) members: Vec<u8>,
    pub(super) settled: Vec<u8>,
    pub(super) each: Option<Vec<u8>>,
    /// [`NOTED`] and [`HOLDS`], or nothing.
    pub(super) marks: i64,
}

/// In the column `noted`: some of its jobs were called off or reported progress.
pub(super) const NOTED: i64 = 1;
/// In the column `noted`: it holds slots of limits.
pub(super) const HOLDS: i64 = 2;

impl LeaseRow {
    /// A claim of these jobs, whose ids are in order. The database gives it its token.
    pub(super) fn new(worker: WorkerId, members: Vec<JobId>, claimed: Timestamp, ttl: Duration) -> Self {
        let settled = vec![0; members.len().div_ceil(8)];
        Self {
            token: 0,
            worker,
            claimed,
            lapses: claimed.after(ttl),
            members,
            settled,
            each: None,
            noted: false,
            holds: false,
        }
    }

    /// The row that `raw` holds.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Corrupt`] when its columns contradict each other.
    pub(super) fn read(raw: &RawLease) -> Result<Self> {
        let damaged = |what: &str| Error::new(ErrorKind::Corrupt, format!("lease {} is damaged: {what}", raw.token));
        let ids = raw.members.chunks_exact(16);
        if !ids.remainder().is_empty() {
            return Err(damaged("its members are not whole ids"));
        }
        let members = ids.map(job_id).collect::<Result<Vec<_>>>()?;
        if raw.settled.len() != members.len().div_ceil(8) {
            return Err(damaged("it has other marks than members"));
        }
        let each: Option<Vec<i64>> = raw.each.as_ref().map(|bytes| moments(bytes));
        if each.as_ref().is_some_and(|each| each.len() != members.len()) {
            return Err(damaged("it has other times than members"));
        }
        Ok(Self {
            token: raw.token,
            worker: worker_id(&raw.worker)?,
            claimed: Timestamp::from_micros(raw.claimed),
            lapses: Timestamp::from_micros(raw.lapses),
            members,
            settled: raw.settled.clone(),
            each,
            noted: raw.marks & NOTED != 0,
            holds: raw.marks & HOLDS != 0,
        })
    }

    pub(super) fn lease(&self, job: &Job) -> Lease {
        Lease { job: job.id(), attempt: job.attempt, worker: self.worker, token: self.token.cast_unsigned() }
    }

    /// The column that holds its members.
    pub(super) fn members(&self) -> Vec<u8> {
        self.members.iter().flat_map(|id| *id.as_bytes()).collect()
    }

    /// The column that holds which jobs are settled.
    pub(super) fn settled(&self) -> &[u8] {
        &self.settled
    }

    /// The column `noted`.
    pub(super) fn marks(&self) -> i64 {
        (i64::from(self.noted) * NOTED) | (i64::from(self.holds) * HOLDS)
    }

    /// The column that holds when each job lapses.
    pub(super) fn each(&self) -> Option<Vec<u8>> {
        Some(self.each.as_ref()?.iter().flat_map(|moment| moment.to_be_bytes()).collect())
    }

    /// The place of a job that this claim still holds.
    pub(super) fn open(&self, job: JobId) -> Option<usize> {
        self.members.binary_search(&job).ok().filter(|place| self.is_open(*place))
    }

    /// The jobs that it still holds, each with its place.
    pub(super) fn all_open(&self) -> impl Iterator<Item = (usize, JobId)> + '_ {
        self.members.iter().copied().enumerate().filter(|(place, _)| self.is_open(*place))
    }

    /// Whether all of its jobs are settled.
    pub(super) fn is_done(&self) -> bool {
        self.all_open().next().is_none()
    }

    fn is_open(&self, place: usize) -> bool {
        is_open(&self.settled, place)
    }

    /// Marks a job as settled.
    pub(super) fn close(&mut self, place: usize) {
        if let Some(byte) = self.settled.get_mut(place / 8) {
            *byte |= 1 << (place % 8);
        }
        self.look_for_first_lapse();
    }

    /// The jobs whose time had passed at `now`, those that lapsed earliest first.
    pub(super) fn lapsed(&self, now: Timestamp) -> Vec<usize> {
        let mut lapsed: Vec<_> = self.all_open().map(|(place, _)| (self.lapse(place), place)).collect();
        lapsed.retain(|(lapses, _)| *lapses <= now);
        lapsed.sort_unstable();
        lapsed.into_iter().map(|(_, place)| place).collect()
    }

    fn lapse(&self, place: usize) -> Timestamp {
        let own = self.each.as_ref().and_then(|each| each.get(place));
        own.map_or(self.lapses, |micros| Timestamp::from_micros(*micros))
    }

    /// Renews the open jobs at these places, each named once; the others lapse when they would have.
    pub(super) fn renew(&mut self, places: &BTreeSet<usize>, until: Timestamp) {
        if places.len() == self.all_open().count() {
            (self.each, self.lapses) = (None, until);
            return;
        }
        let mut each: Vec<_> = (0..self.members.len()).map(|place| self.lapse(place).as_micros()).collect();
        for place in places {
            each[*place] = until.as_micros();
        }
        self.each = Some(each);
        self.look_for_first_lapse();
    }

    /// The row comes up for rescue when the first of its open jobs does.
    fn look_for_first_lapse(&mut self) {
        if self.each.is_some() {
            let first = self.all_open().map(|(place, _)| self.lapse(place)).min();
            self.lapses = first.unwrap_or(self.lapses);
        }
    }
}

/// The jobs that a lease with these columns still holds; what can't be read is passed over.
pub(super) fn open_members(members: &[u8], settled: &[u8]) -> impl Iterator<Item = JobId> {
    let ids = members.chunks_exact(16).enumerate();
    ids.filter(|(place, _)| is_open(settled, *place)).filter_map(|(_, id)| job_id(id).ok())
}

fn is_open(settled: &[u8], place: usize) -> bool {
    settled.get(place / 8).is_some_and(|byte| byte & (1 << (place % 8)) == 0)
}

fn moments(bytes: &[u8]) -> Vec<i64> {
    bytes.as_chunks::<8>().0.iter().map(|moment| i64::from_be_bytes(*moment)).collect()
}

/// The jobs of one claim as the column that holds them: as they waited, in the order of the members.
pub(super) fn pack(records: &[Record]) -> Result<Bytes> {
    let packed = rmp_serde::to_vec(records);
    packed.map(Bytes::from).map_err(|error| Error::new(ErrorKind::Codec, "claimed jobs do not encode").because(error))
}

/// The jobs that [`pack`] wrote, by place; a column that is damaged yields dead letters that keep its bytes.
pub(super) fn unpack(row: &LeaseRow, packed: &[u8], now: Timestamp) -> Vec<Record> {
    match rmp_serde::from_slice::<Vec<Record>>(packed) {
        Ok(records) if records.len() == row.members.len() => records,
        _ => {
            let mut bytes = Bytes::copy_from_slice(packed);
            // The first carries what is there, the others would only repeat it.
            row.members.iter().map(|id| wreckage(*id, std::mem::take(&mut bytes), now)).collect()
        }
    }
}

fn wreckage(id: JobId, bytes: Bytes, now: Timestamp) -> Record {
    // A codec that nobody has keeps it from being taken for a job.
    Record { codec: -1, ..Record::unreadable(id, bytes, now) }
}

/// A packed job as its claim handed it out: the claim is done again.
pub(super) fn claimed(row: &LeaseRow, record: &Record) -> Result<Job, Box<Job>> {
    let mut job = record.read(row.claimed)?;
    state::claim(&mut job, row.worker, row.claimed);
    Ok(job)
}
