//! The jobs that wait in one queue: the due ones in the order of claims, the future ones apart, so that a claim never
//! looks at them.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use super::slab::Slot;
use crate::job::{Job, JobId};
use crate::time::Timestamp;

/// The jobs that wait in one queue.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) paused: bool,
    /// Jobs that were due when they were last looked at.
    ready: BTreeSet<Turn>,
    /// Jobs that were not, by their due time.
    future: BTreeSet<(Timestamp, Turn)>,
}

/// A job's place in the order of claims (P6).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Turn {
    priority: Reverse<i16>,
    due: Timestamp,
    id: JobId,
    slot: Slot,
}

impl Turn {
    pub(super) fn new(job: &Job, slot: Slot) -> Self {
        Self { priority: Reverse(job.spec.priority), due: job.due, id: job.id(), slot }
    }
}

impl Queue {
    pub(super) fn insert(&mut self, turn: Turn, now: Timestamp) {
        if turn.due <= now {
            self.ready.insert(turn);
        } else {
            self.future.insert((turn.due, turn));
        }
    }

    pub(super) fn remove(&mut self, turn: Turn) {
        if !self.ready.remove(&turn) {
            self.future.remove(&(turn.due, turn));
        }
    }

    /// Moves the jobs that have become due among those that can be claimed.
    pub(super) fn look_at_the_clock(&mut self, now: Timestamp) {
        while self.future.first().is_some_and(|(due, _)| *due <= now)
            && let Some((_, turn)) = self.future.pop_first()
        {
            self.ready.insert(turn);
        }
    }

    /// Takes out the next job that is due. One whose due time a clock that was turned back has moved away waits again.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<Slot> {
        loop {
            let turn = self.ready.pop_first()?;
            if turn.due <= now {
                return Some(turn.slot);
            }
            self.future.insert((turn.due, turn));
        }
    }

    /// How long until a job is due; zero when one is.
    pub(super) fn next_due(&self, now: Timestamp) -> Option<Duration> {
        if !self.ready.is_empty() {
            return Some(Duration::ZERO);
        }
        self.future.first().map(|(due, _)| due.since(now))
    }

    /// Whether forgetting this queue would lose nothing.
    pub(super) fn is_idle(&self) -> bool {
        !self.paused && self.ready.is_empty() && self.future.is_empty()
    }
}
