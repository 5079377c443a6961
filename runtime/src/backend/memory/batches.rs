//! Which pushes were seen, and what they were answered (P1).

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::backend::{Push, Pushed};
use crate::job::BatchId;
use crate::time::Timestamp;

/// How long a batch is recognised.
const REMEMBERED: Duration = Duration::from_hours(1);
/// How many batches are recognised at most: some 70 MB of them.
const MOST: usize = 1_000_000;

/// The batches of the last hour.
#[derive(Default)]
pub(super) struct Batches {
    /// What became of the jobs that a batch did not store, by their place in it; the others it stored.
    others: HashMap<BatchId, Vec<(usize, Pushed)>>,
    /// The same batches in the order of their arrival.
    arrivals: VecDeque<(Timestamp, BatchId)>,
}

impl Batches {
    /// What to answer a batch that was seen before: as then, with what was stored then called repeated.
    pub(super) fn recall(&self, push: &Push) -> Option<Vec<Pushed>> {
        let others = self.others.get(&push.batch)?;
        let mut answers = vec![Pushed::Repeated; push.jobs.len()];
        for (index, other) in others {
            if let Some(answer) = answers.get_mut(*index) {
                *answer = *other;
            }
        }
        Some(answers)
    }

    pub(super) fn remember(&mut self, batch: BatchId, answers: &[Pushed], now: Timestamp) {
        self.others.insert(batch, not_stored(answers));
        self.arrivals.push_back((now, batch));
    }

    /// Forgets what is older than an hour, or too much; a few at a time, at every push.
    pub(super) fn forget(&mut self, now: Timestamp) {
        for _ in 0..4 {
            let crowded = self.arrivals.len() > MOST;
            match self.arrivals.front() {
                Some((arrived, batch)) if crowded || arrived.after(REMEMBERED) <= now => {
                    self.others.remove(batch);
                    self.arrivals.pop_front();
                }
                _ => return,
            }
        }
    }
}

fn not_stored(answers: &[Pushed]) -> Vec<(usize, Pushed)> {
    let stored = |answer: &Pushed| matches!(answer, Pushed::Stored | Pushed::Repeated);
    answers.iter().copied().enumerate().filter(|(_, answer)| !stored(answer)).collect()
}
