//! What this process has taken and not yet acknowledged: its leases.
//!
//! A lease is an unacknowledged message; it dies with the channel that it came on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::Acker;

use super::broker::Source;
use crate::job::{Job, Lease, WorkerId};
use crate::policy::state;
use crate::time::Timestamp;

/// A job that a worker of this process has.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) lease: Lease,
    /// As it was claimed.
    pub(super) job: Job,
    pub(super) acker: Acker,
    /// Where it came from.
    pub(super) source: Arc<Source>,
    expires: Timestamp,
}

/// The leases of this process.
pub(super) struct Leases {
    /// Held to look, to add or to remove, never across an await.
    table: Mutex<Table>,
}

struct Table {
    /// The upper half is random, so that no token is that of another process or an earlier start.
    next_token: u64,
    held: HashMap<u64, Held>,
}

impl Leases {
    pub(super) fn new() -> Self {
        let next_token = u64::from(rand::random::<u32>()) << 32;
        Self { table: Mutex::new(Table { next_token, held: HashMap::new() }) }
    }

    /// Gives a lease on a job that came as this message.
    pub(super) fn give(
        &self,
        mut job: Job,
        worker: WorkerId,
        (acker, source): (Acker, Arc<Source>),
        (now, ttl): (Timestamp, Duration),
    ) -> (Lease, Job) {
        state::claim(&mut job, worker, now);
        let mut table = self.table();
        let token = table.next_token;
        table.next_token = token.wrapping_add(1);
        let lease = Lease { job: job.id(), attempt: job.attempt, worker, token };
        table.held.insert(token, Held { lease, job: job.clone(), acker, source, expires: now.after(ttl) });
        (lease, job)
    }

    /// Renews a lease, if it is alive.
    pub(super) fn renew(&self, lease: &Lease, now: Timestamp, ttl: Duration) -> bool {
        let mut table = self.table();
        match table.live(lease) {
            Some(held) => {
                held.expires = now.after(ttl);
                true
            }
            None => false,
        }
    }

    /// What a live lease is about.
    pub(super) fn get(&self, lease: &Lease) -> Option<Held> {
        self.table().live(lease).map(|held| held.clone())
    }

    /// Ends a lease.
    pub(super) fn end(&self, lease: &Lease) {
        self.table().held.remove(&lease.token);
    }

    /// The leases that have lapsed, the earliest first.
    pub(super) fn lapsed(&self, now: Timestamp) -> Vec<Held> {
        let mut table = self.table();
        // The broker has handed out again what came on channels that are gone.
        table.held.retain(|_, held| held.acker.usable());
        let mut lapsed: Vec<_> = table.held.values().filter(|held| held.expires <= now).cloned().collect();
        lapsed.sort_by_key(|held| (held.expires, held.lease.token));
        lapsed
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn live(&mut self, lease: &Lease) -> Option<&mut Held> {
        let held = self.held.get(&lease.token)?;
        if !held.acker.usable() {
            self.held.remove(&lease.token);
            return None;
        }
        self.held.get_mut(&lease.token).filter(|held| held.lease == *lease)
    }
}
