//! The jobs that wait in one queue: the due ones in the order of claims, the future ones apart, so that a claim never
//! looks at them.

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use super::slab::Slot;
use crate::job::{Job, JobId};
use crate::policy::order;
use crate::time::Timestamp;

/// The jobs that wait in one queue.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) paused: bool,
    /// Jobs that were due when they were last looked at, in the order of claims (P6).
    ready: BTreeMap<(Reverse<i16>, Timestamp), Peers>,
    /// Jobs that were not, by their due time.
    future: BTreeMap<(Timestamp, Reverse<i16>), Peers>,
}

/// Jobs of one priority and due time, such as those of one push, by id.
///
/// Ids grow with time, so nearly all are added at the end and taken at the front.
type Peers = VecDeque<(JobId, Slot)>;

/// A job's place in the order of claims.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    priority: Reverse<i16>,
    due: Timestamp,
    peer: (JobId, Slot),
}

impl Turn {
    pub(super) fn new(job: &Job, slot: Slot) -> Self {
        Self { priority: Reverse(job.spec.priority), due: job.due, peer: (job.id(), slot) }
    }
}

impl Queue {
    pub(super) fn insert(&mut self, Turn { priority, due, peer }: Turn, now: Timestamp) {
        let peers = if due <= now {
            self.ready.entry((priority, due)).or_default()
        } else {
            self.future.entry((due, priority)).or_default()
        };
        add(peers, peer);
    }

    pub(super) fn remove(&mut self, Turn { priority, due, peer }: Turn) {
        if !remove(&mut self.ready, &(priority, due), peer) {
            remove(&mut self.future, &(due, priority), peer);
        }
    }

    /// Moves the jobs that have become due among those that can be claimed.
    pub(super) fn look_at_the_clock(&mut self, now: Timestamp) {
        while let Some(first) = self.future.first_entry().filter(|first| first.key().0 <= now) {
            let ((due, priority), peers) = first.remove_entry();
            pour(peers, self.ready.entry((priority, due)).or_default());
        }
    }

    /// Takes out the next job that is due. Those whose due time a clock that was turned back has moved away wait again.
    pub(super) fn pop(&mut self, now: Timestamp, aging: Option<Duration>) -> Option<Slot> {
        loop {
            let mut first = match self.next_among_levels(aging) {
                None => self.ready.first_entry()?,
                Some(place) => match self.ready.entry(place) {
                    Entry::Occupied(first) => first,
                    Entry::Vacant(_) => return None,
                },
            };
            let (priority, due) = *first.key();
            if due > now {
                pour(first.remove(), self.future.entry((due, priority)).or_default());
                continue;
            }
            let peer = first.get_mut().pop_front();
            if first.get().is_empty() {
                first.remove();
            }
            if let Some((_, slot)) = peer {
                return Some(slot);
            }
        }
    }

    /// Where aging decides: the place of the first job, found among the first jobs of each priority.
    fn next_among_levels(&self, aging: Option<Duration>) -> Option<(Reverse<i16>, Timestamp)> {
        aging?;
        let first = self.ready.first_key_value();
        let levels = std::iter::successors(first, |((priority, _), _)| {
            let rest = (Bound::Excluded((*priority, Timestamp::from_micros(i64::MAX))), Bound::Unbounded);
            self.ready.range(rest).next()
        });
        let turn = |(priority, due): (Reverse<i16>, Timestamp)| order::Turn::new(priority.0, due, aging);
        let (place, _) = levels.min_by_key(|(place, peers)| (turn(**place), peers.front().map(|(id, _)| *id)))?;
        Some(*place)
    }

    /// How long until a job is due; zero when one is.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        self.future.first_key_value().map(|((due, _), _)| due.since(now))
    }

    /// Whether forgetting this queue would lose nothing.
    pub(super) fn is_idle(&self) -> bool {
        !self.paused && self.ready.is_empty() && self.future.is_empty()
    }
}

fn add(peers: &mut Peers, peer: (JobId, Slot)) {
    match peers.back() {
        Some(last) if *last > peer => peers.insert(peers.partition_point(|other| *other < peer), peer),
        _ => peers.push_back(peer),
    }
}

fn pour(from: Peers, into: &mut Peers) {
    if into.is_empty() {
        *into = from;
    } else {
        for peer in from {
            add(into, peer);
        }
    }
}

/// Removes a job from where it may be; a place that holds no other goes with it.
fn remove<K: Ord>(places: &mut BTreeMap<K, Peers>, key: &K, peer: (JobId, Slot)) -> bool {
    let Some(peers) = places.get_mut(key) else { return false };
    let Ok(index) = peers.binary_search(&peer) else { return false };
    peers.remove(index);
    if peers.is_empty() {
        places.remove(key);
    }
    true
}
