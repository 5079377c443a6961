//! Which job has which unique key (P7).

use std::collections::{BTreeSet, HashMap};

use crate::job::{Job, JobId, Unique};
use crate::policy::unique;
use crate::time::Timestamp;

/// The unique keys that are taken.
#[derive(Default)]
pub(super) struct Keys {
    holders: HashMap<String, Holder>,
    /// Those that are taken until a moment, by that moment.
    windows: BTreeSet<(Timestamp, String)>,
}

/// Who has a key.
struct Holder {
    job: JobId,
    /// Until when, if not until something happens to the job.
    until: Option<Timestamp>,
}

impl Keys {
    /// Gives a job its key; refused with the job that has it.
    pub(super) fn take(&mut self, unique: &Unique, job: JobId, now: Timestamp) -> Result<(), JobId> {
        match self.holders.get(&unique.key) {
            Some(Holder { job, until }) if until.is_none_or(|until| until > now) => return Err(*job),
            _ => self.remove(&unique.key),
        }
        let until = unique::ends(unique, now);
        self.windows.extend(until.map(|until| (until, unique.key.clone())));
        self.holders.insert(unique.key.clone(), Holder { job, until });
        Ok(())
    }

    /// A worker has claimed the job.
    pub(super) fn claimed(&mut self, job: &Job) {
        if job.spec.unique.as_ref().is_some_and(unique::is_freed_by_claim) {
            self.free(job);
        }
    }

    /// The job has ended.
    pub(super) fn ended(&mut self, job: &Job) {
        if job.spec.unique.as_ref().is_some_and(unique::is_freed_by_end) {
            self.free(job);
        }
    }

    /// Takes its key from a job, if it has it.
    pub(super) fn free(&mut self, job: &Job) {
        if let Some(Unique { key, .. }) = &job.spec.unique
            && self.holders.get(key).is_some_and(|holder| holder.job == job.id())
        {
            self.remove(key);
        }
    }

    /// Forgets keys whose time has passed.
    pub(super) fn forget(&mut self, now: Timestamp) {
        while self.windows.first().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, key)) = self.windows.pop_first() {
                self.holders.remove(&key);
            }
        }
    }

    fn remove(&mut self, key: &str) {
        if let Some(Holder { until: Some(until), .. }) = self.holders.remove(key) {
            self.windows.remove(&(until, key.to_owned()));
        }
    }
}
