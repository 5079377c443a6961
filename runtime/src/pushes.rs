//! The group commit of dispatches, and how large ones go in pieces.

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future;

use crate::backend::{Backend, Push, Pushed};
use crate::batch::{Batcher, Bounds, Flush};
use crate::error::Result;
use crate::job::{BatchId, NewJob};

/// What a client's dispatches go through. Each batcher has one push in flight, and room for [`Bounds::capacity`] jobs.
pub(crate) struct Pushes {
    /// All but every other piece of a large dispatch.
    first: Batcher<PushJobs>,
    /// So that a large dispatch prepares a piece while the one before is stored.
    second: Batcher<PushJobs>,
    /// The most jobs in one push.
    piece: usize,
    /// Whether a push is stored whole. A store that takes jobs one by one hands them out as they came.
    atomic: bool,
}

impl Pushes {
    pub(crate) fn new(backend: &Arc<dyn Backend>) -> Self {
        let info = backend.info();
        let piece = info.limits.max_push.max(1);
        let bounds = Bounds { batch: piece, ..Bounds::default() };
        let batcher = || Batcher::new(PushJobs { backend: Arc::clone(backend) }, bounds);
        Self { first: batcher(), second: batcher(), piece, atomic: info.atomic_push }
    }

    /// As [`Batcher::submit`].
    pub(crate) async fn submit(&self, job: NewJob) -> Result<Pushed> {
        self.first.submit(job).await
    }

    /// As [`Batcher::submit_apart`].
    pub(crate) async fn submit_apart(&self, jobs: Vec<NewJob>) -> Vec<Result<Pushed>> {
        self.first.submit_apart(jobs).await
    }

    /// As [`Batcher::submit_many`], but with two pieces on their way at a time where neither decides about the other.
    pub(crate) async fn submit_many(&self, jobs: Vec<NewJob>) -> Vec<Result<Pushed>> {
        if jobs.len() <= self.piece || !self.atomic || !jobs.iter().all(is_indifferent) {
            return self.first.submit_many(jobs).await;
        }
        // Held to take the next piece, never across an await.
        let rest = Mutex::new((0_usize.., jobs.into_iter()));
        let next = || {
            let mut rest = rest.lock().unwrap_or_else(PoisonError::into_inner);
            let piece: Vec<_> = rest.1.by_ref().take(self.piece).collect();
            rest.0.next().filter(|_| !piece.is_empty()).map(|place| (place, piece))
        };
        let submit = async |batcher: &Batcher<PushJobs>| {
            let mut answered = Vec::new();
            while let Some((place, piece)) = next() {
                answered.push((place, batcher.submit_many(piece).await));
            }
            answered
        };
        let (mut answered, others) = future::join(submit(&self.first), submit(&self.second)).await;
        answered.extend(others);
        answered.sort_unstable_by_key(|(place, _)| *place);
        answered.into_iter().flat_map(|(_, results)| results).collect()
    }

    /// As [`Batcher::close`].
    pub(crate) async fn close(&self) {
        future::join(self.first.close(), self.second.close()).await;
    }
}

/// Whether nothing of what is stored at the same time matters to a job.
fn is_indifferent(job: &NewJob) -> bool {
    job.spec.unique.is_none() && job.spec.limits.is_empty()
}

struct PushJobs {
    backend: Arc<dyn Backend>,
}

impl Flush for PushJobs {
    type Item = NewJob;
    type Answer = Pushed;
    type Batch = Push;

    fn pack(&self, jobs: Vec<NewJob>) -> Push {
        Push { batch: BatchId::new(), jobs }
    }

    fn unpack(&self, push: Push) -> Vec<NewJob> {
        push.jobs
    }

    async fn flush(&self, push: &Push, _earlier_tries: u32) -> Result<Vec<Pushed>> {
        self.backend.push(push).await
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::memory::Memory;
    use crate::job::Name;
    use crate::testing::Draft;
    use crate::testing::faulty::{Fault, Faulty, Operation};

    #[tokio::test(start_paused = true)]
    async fn answers_come_in_the_order_of_the_jobs() {
        let faulty = Arc::new(Faulty::new(Arc::new(Memory::new()), 1));
        let pushes = Pushes::new(&(Arc::clone(&faulty) as Arc<dyn Backend>));
        let draft = |_| NewJob::from(Draft::new(Name::default_queue()));
        let jobs: Vec<_> = (0..=2 * pushes.piece).map(draft).collect();
        let known = pushes.piece + 1;
        assert_eq!(pushes.submit(jobs[known].clone()).await.unwrap(), Pushed::Stored);
        // So that the first batcher takes the first piece and the last.
        faulty.inject(Operation::Push, Fault::Slow(Duration::from_secs(1)), 1);
        faulty.inject(Operation::Push, Fault::Slow(Duration::from_secs(2)), 1);
        let answers = pushes.submit_many(jobs).await;
        assert_eq!(answers.len(), 2 * pushes.piece + 1);
        for (place, answer) in answers.into_iter().enumerate() {
            let expected = if place == known { Pushed::Repeated } else { Pushed::Stored };
            assert_eq!(answer.unwrap(), expected, "job {place}");
        }
    }
}
