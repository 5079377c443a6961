//! The jobs that a worker has fetched, and the slots that run them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, TryAcquireError};
use tokio::time::Instant;

use super::lease::Held;
use super::options::WorkerOptions;
use crate::job::{Job, Name};

/// A job that is fetched and not yet run.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) held: Arc<Held>,
    pub(crate) job: Job,
}

/// What lies between the claim loop and the slots.
#[derive(Debug)]
pub(crate) struct Slots {
    /// Jobs in the order claimed. Locked for moves only, never across an await.
    waiting: Mutex<Waiting>,
    /// One permit for each job in `waiting`; closed when slots are to take no more.
    ready: Semaphore,
    /// Jobs fetched and not yet ended: those waiting and those running.
    in_hand: AtomicUsize,
    /// The claim loop wants to hear when `in_hand` has fallen to this.
    low_mark: AtomicUsize,
    /// Tells the claim loop that there is room.
    pub(crate) room: Notify,
    /// How many jobs of each limited queue are in hand; queues without a limit are not counted.
    limited: HashMap<Name, LimitedQueue>,
    pace: Pace,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Fetched>,
    /// When the oldest of `jobs` was fetched.
    since: Option<Instant>,
}

#[derive(Debug)]
struct LimitedQueue {
    limit: usize,
    in_hand: AtomicUsize,
}

/// How long tasks have been taking, to decide how many are fetched ahead.
#[derive(Debug, Default)]
struct Pace {
    runs: AtomicUsize,
    nanos: AtomicUsize,
}

impl Slots {
    pub(crate) fn new(options: &WorkerOptions) -> Self {
        let limited = |queue: &super::QueueOptions| {
            Some((queue.name.clone(), LimitedQueue { limit: queue.limit?, in_hand: AtomicUsize::new(0) }))
        };
        Self {
            waiting: Mutex::default(),
            ready: Semaphore::new(0),
            in_hand: AtomicUsize::new(0),
            low_mark: AtomicUsize::new(0),
            room: Notify::new(),
            limited: options.queues.iter().filter_map(limited).collect(),
            pace: Pace::default(),
        }
    }

    /// Adds jobs that were claimed; they run as slots become free.
    pub(crate) fn add(&self, jobs: Vec<(Arc<Held>, Job)>) {
        let count = jobs.len();
        if count == 0 {
            return;
        }
        self.in_hand.fetch_add(count, Ordering::Relaxed);
        for (_, job) in &jobs {
            self.count(&job.spec.queue, |in_hand| in_hand.fetch_add(1, Ordering::Relaxed));
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.since.get_or_insert_with(Instant::now);
        waiting.jobs.extend(jobs.into_iter().map(|(held, job)| Fetched { held, job }));
        drop(waiting);
        self.ready.add_permits(count);
    }

    /// The next job for a free slot; `None` when no more will come.
    pub(crate) async fn next(&self) -> Option<Fetched> {
        self.ready.acquire().await.ok()?.forget();
        self.pop()
    }

    /// A job that no slot has taken yet, to be given back.
    pub(crate) fn take_back(&self) -> Option<Fetched> {
        match self.ready.try_acquire() {
            Ok(permit) => permit.forget(),
            // A permit that was on its way to a slot is lost, and its job is still here.
            Err(TryAcquireError::Closed) => {}
            Err(TryAcquireError::NoPermits) => return None,
        }
        self.pop()
    }

    fn pop(&self) -> Option<Fetched> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let job = waiting.jobs.pop_front();
        waiting.since = (!waiting.jobs.is_empty()).then(Instant::now);
        job
    }

    /// A job of this queue is out of hand: it was run, or given back.
    pub(crate) fn done(&self, queue: &Name) {
        let limited = self.count(queue, |in_hand| in_hand.fetch_sub(1, Ordering::Relaxed));
        let left = self.in_hand.fetch_sub(1, Ordering::Relaxed) - 1;
        if limited || left <= self.low_mark.load(Ordering::Relaxed) {
            self.room.notify_one();
        }
    }

    /// An attempt took this long.
    pub(crate) fn ran(&self, time: Duration) {
        self.pace.runs.fetch_add(1, Ordering::Relaxed);
        self.pace.nanos.fetch_add(usize::try_from(time.as_nanos()).unwrap_or(usize::MAX / 2), Ordering::Relaxed);
    }

    /// The mean time of the attempts since this was last asked, if there were any.
    pub(crate) fn mean_time(&self) -> Option<Duration> {
        let runs = self.pace.runs.swap(0, Ordering::Relaxed);
        let nanos = self.pace.nanos.swap(0, Ordering::Relaxed);
        let mean = nanos.checked_div(runs)?;
        Some(Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX)))
    }

    /// Jobs fetched and not yet ended.
    pub(crate) fn in_hand(&self) -> usize {
        self.in_hand.load(Ordering::Relaxed)
    }

    /// How many more jobs of this queue fit its own limit.
    pub(crate) fn queue_room(&self, queue: &Name) -> usize {
        self.limited
            .get(queue)
            .map_or(usize::MAX, |limited| limited.limit.saturating_sub(limited.in_hand.load(Ordering::Relaxed)))
    }

    /// Whether some queue has as many jobs in hand as its own limit allows.
    pub(crate) fn any_queue_full(&self) -> bool {
        self.limited.values().any(|queue| queue.in_hand.load(Ordering::Relaxed) >= queue.limit)
    }

    /// Asks to be told through `room` whenever a job ends and at most `jobs` are left in hand.
    ///
    /// Ask first, then look: an end in between is kept as a permit of `room`.
    pub(crate) fn tell_at(&self, jobs: usize) {
        self.low_mark.store(jobs, Ordering::Relaxed);
    }

    /// How long jobs have waited for a slot without any being taken.
    pub(crate) fn stalled_for(&self) -> Option<Duration> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).since.map(|since| since.elapsed())
    }

    /// Slots take no more jobs and end; what still waits is to be taken back.
    pub(crate) fn close(&self) {
        self.ready.close();
    }

    /// Counts a job of a limited queue; says whether the queue is one.
    fn count(&self, queue: &Name, change: impl FnOnce(&AtomicUsize) -> usize) -> bool {
        let limited = self.limited.get(queue);
        limited.map(|queue| change(&queue.in_hand)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use futures_util::FutureExt;

    use super::super::lease::Leases;
    use super::*;
    use crate::codec::{Codec, Payload};
    use crate::job::{JobId, JobSpec, Lease, NewJob, When, WorkerId};
    use crate::policy::Backoff;
    use crate::time::Timestamp;

    fn claimed() -> (Lease, Job) {
        let spec = JobSpec {
            id: JobId::new(),
            task: Name::new("test").unwrap(),
            queue: Name::new("test").unwrap(),
            payload: Payload::encode(Codec::Json, &7).unwrap(),
            priority: 0,
            max_attempts: 1,
            timeout: None,
            backoff: Backoff::DEFAULT,
            keep_result: None,
            unique: None,
            limits: Vec::new(),
            headers: BTreeMap::new(),
            tags: Vec::new(),
            parent: None,
        };
        let new = NewJob { spec: Arc::new(spec), due: When::NOW, expires: None };
        let job = Job::received(&new, Timestamp::from_micros(1));
        (Lease { job: job.id(), attempt: 1, worker: WorkerId::new(), token: 1 }, job)
    }

    #[test]
    fn a_job_on_its_way_to_a_slot_is_taken_back_when_slots_close() {
        let slots = Slots::new(&WorkerOptions::default());
        let mut slot = Box::pin(slots.next());
        assert!(slot.as_mut().now_or_never().is_none());
        slots.add(Leases::default().take(vec![claimed()]));
        slots.close();
        assert!(slots.take_back().is_some());
        assert!(slot.now_or_never().unwrap().is_none());
        assert!(slots.take_back().is_none());
    }
}
