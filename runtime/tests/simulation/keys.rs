//! Who has which unique key, and what a second push may do to it.

use std::collections::BTreeMap;

use taskwright::Timestamp;
use taskwright::job::{JobId, Unique, Until};

/// The unique keys of a run.
#[derive(Default)]
pub(crate) struct Keys {
    holders: BTreeMap<String, Holder>,
    /// The latest time that the store's clock has shown; it may have been turned back since.
    latest: Option<Timestamp>,
}

struct Holder {
    job: JobId,
    until: Until,
    /// When its time ends, where it has one.
    ends: Option<Timestamp>,
}

impl Keys {
    pub(crate) fn seen(&mut self, now: Timestamp) {
        self.latest = self.latest.max(Some(now));
    }

    /// Whether this job has the key.
    pub(crate) fn has(&self, job: JobId, key: &str, now: Timestamp) -> bool {
        self.holders.get(key).is_some_and(|holder| holder.job == job && holder.ends.is_none_or(|ends| ends > now))
    }

    /// A job gets its key; who had it, if it was not free.
    pub(crate) fn take(&mut self, unique: &Unique, job: JobId, now: Timestamp) -> Option<JobId> {
        self.seen(now);
        let ends = match unique.until {
            Until::Elapsed(window) => Some(now.after(window)),
            Until::Done | Until::Started => None,
        };
        let before = self.holders.insert(unique.key.clone(), Holder { job, until: unique.until, ends })?;
        // What ended once may be forgotten, though the clock shows an earlier time again.
        let is_over = before.ends.is_some_and(|ends| Some(ends) <= self.latest);
        (!is_over).then_some(before.job)
    }

    /// A worker has claimed the job.
    pub(crate) fn started(&mut self, job: JobId, unique: &Unique) {
        self.free(job, unique, |until| *until == Until::Started);
    }

    /// The job has ended.
    pub(crate) fn ended(&mut self, job: JobId, unique: &Unique) {
        self.free(job, unique, |until| !matches!(until, Until::Elapsed(_)));
    }

    fn free(&mut self, job: JobId, unique: &Unique, is_freed: impl Fn(&Until) -> bool) {
        if self.holders.get(&unique.key).is_some_and(|holder| holder.job == job && is_freed(&holder.until)) {
            self.holders.remove(&unique.key);
        }
    }
}
