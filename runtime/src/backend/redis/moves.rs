//! Changing jobs that nobody holds: read, decide, and write if nothing has changed in between.

use redis::Value;

use super::answer::list;
use super::error::strange;
use super::record::version;
use super::scripts::MOVE;
use super::settle::arg_place;
use super::{MOST_TOGETHER, Redis, key};
use crate::error::Result;
use crate::job::Job;
use crate::policy::{Placement, unique};

/// A job that was read, and what it should become.
pub(super) struct Move {
    /// Which version of it was read.
    version: Vec<u8>,
    /// What it becomes.
    pub(super) job: Job,
    placement: Placement,
}

/// What became of a move.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    Done,
    /// Somebody was faster: read it again.
    Raced,
    /// Another job has its unique key.
    KeyTaken,
}

impl Move {
    pub(super) fn new(record: &[u8], job: Job, placement: Placement) -> Self {
        Self { version: version(record).to_vec(), job, placement }
    }
}

impl Redis {
    /// Moves jobs; tells what became of each.
    pub(super) async fn move_jobs(&self, moves: &[Move]) -> Result<Vec<Moved>> {
        let mut answers = Vec::with_capacity(moves.len());
        for some in moves.chunks(MOST_TOGETHER) {
            let mut call = self.link.call(&MOVE);
            for Move { version, job, placement } in some {
                call.arg(job.id().as_bytes()).arg(version);
                let unique = match placement {
                    Placement::Waiting => unique::needed_by_retry(job),
                    Placement::Finished { .. } => {
                        job.spec.unique.as_ref().filter(|unique| unique::is_freed_by_end(unique))
                    }
                    // Deleted by hand.
                    Placement::Forgotten => job.spec.unique.as_ref(),
                };
                arg_place(&mut call, job, *placement, &key(unique))?;
            }
            for answer in list(self.link.run(&call).await?)? {
                answers.push(match answer {
                    Value::Int(0) => Moved::Raced,
                    Value::Int(1) => Moved::Done,
                    Value::Int(2) => Moved::KeyTaken,
                    _ => return Err(strange()),
                });
            }
        }
        if answers.len() == moves.len() { Ok(answers) } else { Err(strange()) }
    }
}
