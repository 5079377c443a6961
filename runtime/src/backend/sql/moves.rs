//! What changes places in one operation: collected first, then written with a fixed number of statements.

use super::news::News;
use super::record::{FinishedRecord, Record};
use crate::error::Result;
use crate::job::{Job, JobId};
use crate::policy::{Placement, unique};

/// Where jobs lie from now on.
#[derive(Default)]
pub(super) struct Moves {
    pub(super) waiting: Vec<Record>,
    pub(super) finished: Vec<FinishedRecord>,
    /// Unique keys that are free again, each with the job that may have had it.
    pub(super) freed: Vec<(String, JobId)>,
    pub(super) news: News,
}

impl Moves {
    /// Puts a job, which lies nowhere at the moment, where the state machine said.
    pub(super) fn place(&mut self, job: &Job, placement: Placement) -> Result<()> {
        match placement {
            Placement::Waiting => {
                self.news.jobs(&job.spec.queue);
                self.waiting.push(Record::new(job)?);
                return Ok(());
            }
            Placement::Finished { until } => self.finished.push(FinishedRecord::new(job, until)?),
            Placement::Forgotten => {}
        }
        self.news.outcomes();
        if job.spec.unique.as_ref().is_some_and(unique::is_freed_by_end) {
            self.free_key(job);
        }
        Ok(())
    }

    /// Sets a job that could not be read aside, as a dead letter.
    pub(super) fn set_aside(&mut self, wreck: &Job) -> Result<()> {
        tracing::error!(job = %wreck.id(), queue = %wreck.spec.queue, "set a stored job aside that can't be read");
        self.place(wreck, Placement::Finished { until: None })
    }

    /// A worker has claimed a job.
    pub(super) fn claimed(&mut self, job: &Job) {
        if job.spec.unique.as_ref().is_some_and(unique::is_freed_by_claim) {
            self.free_key(job);
        }
    }

    /// Frees the unique key of a job, if it has it.
    pub(super) fn free_key(&mut self, job: &Job) {
        let unique = job.spec.unique.as_ref();
        self.freed.extend(unique.map(|unique| (unique.key.clone(), job.id())));
    }
}
