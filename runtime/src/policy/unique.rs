//! Which job has a unique key, for how long, and what a push does to a job that has it.
//!
//! | [`Until`] | a push takes the key | it is free again | a retry by hand |
//! | --- | --- | --- | --- |
//! | `Done` | while the job is unfinished | when the job ends | takes it again, or is passed over |
//! | `Started` | until a worker first claims the job | with that claim, or when the job ends before it | needs it only for a job that no worker ever claimed |
//! | `Elapsed` | for a time from the push | when that has passed | neither needs nor takes it |
//!
//! What has given its key away never asks for it again: a retry, a return or a rescue of a job that was started waits
//! beside whoever has the key by then, and neither stands in the other's way.
//! Deleting a job frees its key, whatever it says.

use std::sync::Arc;
use std::time::Duration;

use crate::job::{Job, NewJob, OnConflict, Replace, State, Unique, Until};
use crate::policy::state;
use crate::time::Timestamp;

/// Until when a job that is pushed at `now` has its key, if that is a moment and not an event.
#[must_use]
pub fn ends(unique: &Unique, now: Timestamp) -> Option<Timestamp> {
    match unique.until {
        // Also a time of nothing outlasts the push, so that jobs of one batch meet on every store.
        Until::Elapsed(window) => Some(now.after(window.max(Duration::from_micros(1)))),
        Until::Done | Until::Started => None,
    }
}

/// Whether a claim of the job frees its key.
#[must_use]
pub fn is_freed_by_claim(unique: &Unique) -> bool {
    unique.until == Until::Started
}

/// Whether the end of the job frees its key, if it still has it.
#[must_use]
pub fn is_freed_by_end(unique: &Unique) -> bool {
    !matches!(unique.until, Until::Elapsed(_))
}

/// The key without which a terminal job can't be retried by hand.
#[must_use]
pub fn needed_by_retry(job: &Job) -> Option<&Unique> {
    job.spec.unique.as_ref().filter(|unique| match unique.until {
        Until::Done => true,
        Until::Started => job.claimed.is_none(),
        Until::Elapsed(_) => false,
    })
}

/// What a push asks to be replaced in the job that has its key, if it asks for that.
#[must_use]
pub fn replacement(new: &NewJob) -> Option<&Replace> {
    match &new.spec.unique.as_ref()?.conflict {
        OnConflict::Replace(replace) => Some(replace),
        OnConflict::Skip | OnConflict::Refuse => None,
    }
}

/// The job that has the key as a push changes it at `now`; `None` where it stays as it is.
///
/// Only a job that waits, that no worker has claimed so far, and that is of the same task can be changed, and only
/// while it can still run.
/// Its id, queue and rules stay, and so does the time for which it has the key.
#[must_use]
pub fn replaced(holder: &Job, new: &NewJob, now: Timestamp) -> Option<Job> {
    let replace = replacement(new)?;
    let waits = matches!(holder.state, State::Scheduled | State::Available);
    if !waits || holder.claimed.is_some() || holder.spec.task != new.spec.task {
        return None;
    }
    let mut job = holder.clone();
    let spec = Arc::make_mut(&mut job.spec);
    if replace.payload {
        spec.payload = new.spec.payload.clone();
        spec.headers.clone_from(&new.spec.headers);
        spec.tags.clone_from(&new.spec.tags);
        // Their keys are made of the payload.
        spec.limits.clone_from(&new.spec.limits);
    }
    if replace.priority {
        spec.priority = new.spec.priority;
    }
    if replace.due {
        let latest = replace.longest.map(|longest| holder.pushed.after(longest));
        job.due = latest.into_iter().fold(new.due.resolve(now), Timestamp::min);
        job.expires = new.expires.map(|expires| expires.resolve(now));
        job.state = state::waiting(job.due, now, false);
    }
    (!state::is_expired(&job, now)).then_some(job)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::codec::{Codec, Payload};
    use crate::job::{JobId, JobSpec, Name, When, WorkerId};
    use crate::policy::Backoff;

    const PUSHED: Timestamp = Timestamp::from_micros(1_000_000);
    const NOW: Timestamp = Timestamp::from_micros(2_000_000);
    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_mins(1);

    fn new(payload: u8, conflict: OnConflict) -> NewJob {
        let spec = JobSpec {
            id: JobId::new(),
            task: Name::new("test").unwrap(),
            queue: Name::new("test").unwrap(),
            payload: Payload::encode(Codec::Json, &payload).unwrap(),
            priority: i16::from(payload),
            max_attempts: 1,
            timeout: None,
            backoff: Backoff::DEFAULT,
            keep_result: None,
            unique: Some(Unique { conflict, ..Unique::new("key") }),
            headers: BTreeMap::from([("payload".to_owned(), payload.to_string())]),
            tags: vec![payload.to_string()],
            limits: Vec::new(),
            parent: None,
        };
        NewJob { spec: Arc::new(spec), due: When::After(MINUTE), expires: Some(When::After(MINUTE + SECOND)) }
    }

    fn replacing(replace: Replace) -> NewJob {
        new(2, OnConflict::Replace(replace))
    }

    fn holder() -> Job {
        Job::received(&new(1, OnConflict::Skip), PUSHED)
    }

    #[test]
    fn a_push_replaces_what_it_was_told_to_and_nothing_else() {
        let none = Replace { payload: false, due: false, priority: false, longest: None };
        let job = replaced(&holder(), &replacing(none), NOW).unwrap();
        assert_eq!(job, Job { spec: Arc::clone(&job.spec), ..holder() });
        assert_eq!((job.spec.priority, &job.spec.tags), (1, &vec!["1".to_owned()]));

        let job = replaced(&holder(), &replacing(Replace { payload: true, ..none }), NOW).unwrap();
        assert_eq!((job.spec.payload.bytes.as_ref(), job.spec.priority), (&b"2"[..], 1));
        assert_eq!((&job.spec.headers["payload"], &job.spec.tags), (&"2".to_owned(), &vec!["2".to_owned()]));
        assert_eq!(job.due, PUSHED.after(MINUTE));

        let job = replaced(&holder(), &replacing(Replace { priority: true, ..none }), NOW).unwrap();
        assert_eq!((job.spec.payload.bytes.as_ref(), job.spec.priority), (&b"1"[..], 2));

        let job = replaced(&holder(), &replacing(Replace { due: true, ..none }), NOW).unwrap();
        assert_eq!((job.due, job.pushed), (NOW.after(MINUTE), PUSHED));
        assert_eq!(job.expires, Some(NOW.after(MINUTE + SECOND)));
    }

    #[test]
    fn a_longest_wait_bounds_how_far_the_due_time_moves() {
        let replace = Replace { longest: Some(MINUTE), ..Replace::ALL };
        let job = replaced(&holder(), &replacing(replace), NOW).unwrap();
        assert_eq!((job.due, job.state), (PUSHED.after(MINUTE), State::Scheduled));
        let late = PUSHED.after(MINUTE);
        assert_eq!(replaced(&holder(), &replacing(replace), late).unwrap().state, State::Available);
    }

    #[test]
    fn a_job_that_was_claimed_or_ended_or_is_of_another_task_stays_as_it_is() {
        let all = || replacing(Replace::ALL);
        let mut claimed = holder();
        state::claim(&mut claimed, WorkerId::new(), NOW);
        assert_eq!(replaced(&claimed, &all(), NOW), None);
        let back = state::Verdict::Return { after: SECOND, why: state::Return::Stopping };
        state::settle(&mut claimed, &back, NOW);
        assert_eq!(replaced(&claimed, &all(), NOW), None);

        let mut ended = holder();
        state::cancel(&mut ended, "enough", NOW);
        assert_eq!(replaced(&ended, &all(), NOW), None);

        let mut other = holder();
        Arc::make_mut(&mut other.spec).task = Name::new("other").unwrap();
        assert_eq!(replaced(&other, &all(), NOW), None);

        let plain = new(2, OnConflict::Skip);
        assert_eq!(replaced(&holder(), &plain, NOW), None);
    }

    #[test]
    fn a_job_that_came_too_late_is_replaced_only_with_its_times() {
        let late = PUSHED.after(MINUTE * 2);
        let payload = Replace { due: false, ..Replace::ALL };
        assert_eq!(replaced(&holder(), &replacing(payload), late), None);
        assert_eq!(replaced(&holder(), &replacing(Replace::ALL), late).unwrap().due, late.after(MINUTE));
    }

    #[test]
    fn who_has_started_never_needs_the_key_again() {
        let until = |until| {
            let mut job = holder();
            Arc::make_mut(&mut job.spec).unique = Some(Unique { until, ..Unique::new("key") });
            job
        };
        let mut started = until(Until::Started);
        assert!(needed_by_retry(&started).is_some());
        state::claim(&mut started, WorkerId::new(), NOW);
        assert!(needed_by_retry(&started).is_none());
        assert!(needed_by_retry(&until(Until::Done)).is_some());
        assert!(needed_by_retry(&until(Until::Elapsed(SECOND))).is_none());
    }
}
