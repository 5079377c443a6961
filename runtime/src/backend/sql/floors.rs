//! From where a claim looks, where most of what lies at the front of the line is dead.
//!
//! A server that keeps versions of rows can't clean away what was deleted since the oldest open transaction began, so a
//! claim that looks in order walks past all the jobs that were ever taken meanwhile: half a second past 600,000 of them
//! (Postgres 15, 2 cores, `EXPLAIN ANALYZE`), and more with every job.
//! So while there are many dead rows, claims begin where the one before found the first job, and only so often at the very
//! front that this takes a tenth of the time. What came to lie below the floor waits for the next look at everything: a
//! job of a transaction that was committed late, or one that was pushed as due long ago.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::tables::Wish;
use crate::time::Timestamp;

/// How many dead rows are many.
pub(super) const MANY_DEAD: i64 = 10_000;

/// Of how many priorities a queue's jobs may be where it is looked at from a floor.
const MOST_PRIORITIES: usize = 8;

/// How many jobs a claim takes that keeps others waiting for less time than they would need to walk past what it has
/// locked.
const MANY_TAKEN: usize = 100;

/// One claim that hands out jobs in so many asks how many dead rows there are.
const CLAIMS_PER_COUNT: u32 = 64;

/// How many times as long as a look at everything took the next ones begin at the floor.
const SPARED: u32 = 9;

/// How far below what a claim has seen the floor is: jobs are due when their push began, and seen when it is committed.
const MARGIN: Duration = Duration::from_secs(1);

/// What the calls of one handle have met, from which the next one guesses what it will meet.
#[derive(Default)]
pub(super) struct Experience {
    met_limits: AtomicBool,
    led: AtomicBool,
    took_many: AtomicBool,
    /// Held to read or note a few values, never across an await.
    floors: Mutex<Floors>,
}

impl Experience {
    /// Whether the last claim met limits: a guess that saves a statement if it is right.
    pub(super) fn met_limits(&self) -> bool {
        self.met_limits.load(Ordering::Relaxed)
    }

    pub(super) fn meets_limits(&self, meets: bool) {
        self.met_limits.store(meets, Ordering::Relaxed);
    }

    /// Whether the last campaign won.
    pub(super) fn led(&self) -> bool {
        self.led.load(Ordering::Relaxed)
    }

    pub(super) fn leads(&self, leads: bool) {
        self.led.store(leads, Ordering::Relaxed);
    }

    /// Whether the last claim took many jobs, so that there is a backlog and the next one takes many too.
    #[cfg(any(feature = "mysql", feature = "postgres"))]
    pub(super) fn took_many(&self) -> bool {
        self.took_many.load(Ordering::Relaxed)
    }

    pub(super) fn took(&self, jobs: usize) {
        self.took_many.store(jobs >= MANY_TAKEN, Ordering::Relaxed);
    }

    pub(super) fn floors(&self) -> MutexGuard<'_, Floors> {
        self.floors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From where one queue is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Floor {
    /// All that is due until then was taken, as far as the last claim saw.
    pub(super) due: Timestamp,
    /// The priorities that its jobs had since there are floors.
    pub(super) priorities: BTreeSet<i64>,
}

impl Floor {
    /// That of a queue of which nothing is known.
    const NONE: Self = Self { due: Timestamp::from_micros(i64::MIN), priorities: BTreeSet::new() };
}

/// Where each queue's line is to be looked at from.
#[derive(Default)]
pub(super) struct Floors {
    /// How many claims handed out jobs, or might have met dead rows.
    claims: u32,
    /// How many jobs were taken since no row was dead.
    taken: usize,
    /// Whether there are many dead rows.
    are_needed: bool,
    by_queue: HashMap<String, Floor>,
    /// The latest look at everything: when it ended, and how long it took.
    looked: Option<(Instant, Duration)>,
}

impl Floors {
    /// Where a claim of these queues begins, one floor each; nothing where it looks at everything.
    pub(super) fn of(&self, wishes: &[Wish<'_>]) -> Vec<Floor> {
        if !self.are_needed || self.spared().is_none() {
            return Vec::new();
        }
        let usable = |floor: &&Floor| floor.priorities.len() <= MOST_PRIORITIES;
        let floor = |(queue, _): &Wish<'_>| self.by_queue.get(*queue).filter(usable).cloned().unwrap_or(Floor::NONE);
        wishes.iter().map(floor).collect()
    }

    /// How long until everything is looked at again, if claims begin at the floors until then.
    pub(super) fn spared(&self) -> Option<Duration> {
        let (ended, took) = self.looked.filter(|_| self.are_needed)?;
        took.saturating_mul(SPARED).checked_sub(ended.elapsed()).filter(|left| !left.is_zero())
    }

    /// Notes that a claim looked at everything, and how long that took.
    pub(super) fn looked_at_everything(&mut self, took: Duration) {
        self.looked = Some((Instant::now(), took));
    }

    /// Notes which jobs a claim at `now` got, each by its queue, its priority and when it was due: `limit` at the most, and
    /// of each queue as many as it wished for.
    ///
    /// A queue that may have more is looked at next from the first job that it gave. One that gave none keeps its floor: it
    /// may be paused, or its turn may not have come.
    pub(super) fn took<'a, Jobs>(&mut self, wishes: &[Wish<'_>], limit: usize, jobs: &Jobs, now: Timestamp)
    where
        Jobs: ExactSizeIterator<Item = (&'a str, i64, Timestamp)> + Clone,
    {
        self.taken = self.taken.saturating_add(jobs.len());
        if !self.are_needed {
            return;
        }
        for (queue, most) in wishes {
            let of_queue = || jobs.clone().filter(|(of, _, _)| of == queue);
            let may_have_more = of_queue().count() >= *most || jobs.len() >= limit;
            if let Some(first) = of_queue().map(|(_, _, due)| due).min() {
                let floor = self.by_queue.entry((*queue).to_owned()).or_insert(Floor::NONE);
                floor.due = if may_have_more { first } else { now }.before(MARGIN);
                floor.priorities.extend(of_queue().map(|(_, priority, _)| priority));
            }
        }
    }

    /// Lets the next claim look at everything, since it is not known what became of the last one.
    pub(super) fn forget(&mut self) {
        self.by_queue.clear();
    }

    /// Whether a claim of so many jobs is to ask how many dead rows there are. One without any asks only whether they are
    /// still there.
    pub(super) fn counts(&mut self, jobs: usize) -> bool {
        if jobs == 0 && !self.are_needed {
            return false;
        }
        self.claims = self.claims.wrapping_add(1);
        self.claims.is_multiple_of(CLAIMS_PER_COUNT)
    }

    /// How many jobs were taken since no row was dead.
    pub(super) fn taken(&self) -> i64 {
        i64::try_from(self.taken).unwrap_or(i64::MAX)
    }

    /// Notes how many dead rows there are.
    pub(super) fn are_dead(&mut self, rows: i64) {
        self.are_needed = rows > MANY_DEAD;
        if rows == 0 {
            self.taken = 0;
        }
        if !self.are_needed {
            (self.by_queue, self.looked) = Default::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(60_000_000);
    const WISHES: &[Wish<'_>] = &[("mail", 2), ("films", 10)];

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(0).after(Duration::from_secs(seconds))
    }

    fn floor(due: Timestamp, priorities: &[i64]) -> Floor {
        Floor { due, priorities: priorities.iter().copied().collect() }
    }

    /// Floors of a store with many dead rows, everything looked at just now.
    fn floors() -> Floors {
        let mut floors = Floors::default();
        floors.are_dead(MANY_DEAD + 1);
        floors.looked_at_everything(Duration::from_millis(500));
        floors
    }

    #[tokio::test(start_paused = true)]
    async fn without_many_dead_rows_everything_is_looked_at() {
        let mut floors = floors();
        floors.took(WISHES, 10, &[].into_iter(), NOW);
        floors.are_dead(MANY_DEAD);
        assert_eq!((floors.of(WISHES), floors.spared()), (vec![], None));
    }

    #[tokio::test(start_paused = true)]
    async fn everything_is_looked_at_a_tenth_of_the_time() {
        let floors = floors();
        tokio::time::advance(Duration::from_millis(4_499)).await;
        assert_eq!(floors.spared(), Some(Duration::from_millis(1)));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!((floors.of(WISHES), floors.spared()), (vec![], None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_gave_all_is_looked_at_from_now_and_another_from_its_first_job() {
        let mut floors = floors();
        floors.took(WISHES, 10, &[("mail", 0, at(30)), ("mail", 3, at(20)), ("films", 7, at(5))].into_iter(), NOW);
        assert_eq!(floors.of(WISHES), [floor(at(19), &[0, 3]), floor(NOW.before(MARGIN), &[7])]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_gave_nothing_keeps_its_floor() {
        let mut floors = floors();
        floors.took(WISHES, 2, &[("mail", 0, at(30)), ("mail", 0, at(20))].into_iter(), NOW);
        assert_eq!(floors.of(WISHES), [floor(at(19), &[0]), Floor::NONE]);
        floors.forget();
        assert_eq!(floors.of(WISHES), [Floor::NONE, Floor::NONE]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_of_too_many_priorities_has_no_floor() {
        let mut floors = floors();
        for priority in (0..).take(MOST_PRIORITIES) {
            floors.took(WISHES, 10, &[("mail", priority, at(30))].into_iter(), NOW);
        }
        assert_ne!(floors.of(WISHES), [Floor::NONE, Floor::NONE]);
        floors.took(WISHES, 10, &[("mail", -1, at(30))].into_iter(), NOW);
        assert_eq!(floors.of(WISHES), [Floor::NONE, Floor::NONE]);
    }

    #[tokio::test(start_paused = true)]
    async fn claims_that_find_nothing_ask_whether_the_dead_are_gone() {
        let mut floors = floors();
        assert!((0..CLAIMS_PER_COUNT).any(|_| floors.counts(0)));
        floors.are_dead(0);
        assert!(!(0..CLAIMS_PER_COUNT).any(|_| floors.counts(0)));
        assert!((0..CLAIMS_PER_COUNT).any(|_| floors.counts(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_is_counted_until_nothing_is_dead() {
        let mut floors = Floors::default();
        floors.took(WISHES, 10, &[("mail", 0, at(30)), ("mail", 0, at(20))].into_iter(), NOW);
        floors.are_dead(floors.taken());
        floors.took(WISHES, 10, &[("mail", 0, at(30))].into_iter(), NOW);
        assert_eq!(floors.taken(), 3);
        floors.are_dead(0);
        assert_eq!(floors.taken(), 0);
    }
}
