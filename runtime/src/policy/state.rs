//! The state machine: every change that a job can go through, as a pure function.
//!
//! ```text
//!              push                 claim                settle: completed
//!  ─────▶ scheduled / available ───────────▶ running ───────────────────────▶ completed
//!              ▲     │                        │ │ │
//!              │     │ cancel, expiry         │ │ └── settle: discard, or out of attempts ──▶ discarded
//!              │     ▼                        │ │     settle: cancel, expire ──▶ cancelled, expired
//!              │  cancelled, expired          │ │
//!              ├── settle: return (free) ─────┘ │
//!              ├── retryable ◀── settle: retry ─┤
//!              └── reap: crashed ◀──────────────┘        crashed too often ──▶ discarded
//!  a retry by hand takes any terminal job back to available
//! ```
//!
//! A store calls the function for what happened, then puts the job where the returned [`Placement`] says.

use std::time::Duration;

use crate::codec::Payload;
use crate::job::{Attempt, Ending, Failure, FailureKind, Job, Outcome, State, WorkerId};
use crate::time::Timestamp;

/// How a worker says that an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It returned a value.
    Complete {
        /// What it returned; `None` when nobody keeps it.
        result: Option<Payload>,
    },
    /// It failed: another attempt after this wait, or none when it was the last.
    Retry {
        /// How long to wait.
        after: Duration,
        /// What went wrong.
        failure: Failure,
    },
    /// It failed for good, whatever attempts are left.
    Discard {
        /// What went wrong.
        failure: Failure,
    },
    /// It was called off.
    Cancel {
        /// Why.
        reason: String,
    },
    /// Its expiry had passed before it was started.
    Expire,
    /// It goes back unchanged and costs no attempt.
    Return {
        /// How long it waits.
        after: Duration,
        /// Why it goes back.
        why: Return,
    },
}

/// Why a job goes back without costing an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Return {
    /// The task asked to be run later.
    Snoozed,
    /// The worker stops.
    Stopping,
    /// The worker does not know the task.
    UnknownTask,
}

/// Where a job lies after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Among the jobs that can be claimed, now or when due.
    Waiting,
    /// Among the finished, until this moment, or until retention removes it.
    Finished {
        /// When its result's time to live ends, if it has one.
        until: Option<Timestamp>,
    },
    /// Nowhere: it is completed and nobody keeps the outcome.
    Forgotten,
}

/// The state of a job that is due at `due` and not running.
#[must_use]
pub fn waiting(due: Timestamp, now: Timestamp, retry: bool) -> State {
    match (due <= now, retry) {
        (true, _) => State::Available,
        (false, true) => State::Retryable,
        (false, false) => State::Scheduled,
    }
}

/// The state to show for a stored one: what was scheduled becomes available by time alone.
#[must_use]
pub fn shown(stored: State, due: Timestamp, now: Timestamp) -> State {
    match stored {
        State::Scheduled | State::Available => waiting(due, now, false),
        State::Retryable => waiting(due, now, true),
        other => other,
    }
}

/// Whether a waiting job may be handed out at `now`: due, and not expired.
#[must_use]
pub fn claimable(job: &Job, now: Timestamp) -> bool {
    job.due <= now && !is_expired(job, now)
}

/// Whether a job's expiry has passed at `now`.
#[must_use]
pub fn is_expired(job: &Job, now: Timestamp) -> bool {
    job.expires.is_some_and(|expires| expires <= now)
}

/// A worker claims a waiting job: this starts an attempt.
pub fn claim(job: &mut Job, worker: WorkerId, now: Timestamp) {
    job.state = State::Running;
    job.attempt = job.attempt.saturating_add(1);
    job.worker = Some(worker);
    job.claimed = Some(now);
    job.progress = None;
}

/// A worker says how its attempt ended.
pub fn settle(job: &mut Job, verdict: &Verdict, now: Timestamp) -> Placement {
    match verdict {
        Verdict::Complete { result } => complete(job, result.as_ref(), now),
        Verdict::Retry { after, failure } if job.attempt < job.attempt_limit => {
            fail(job, Ending::Retried, failure, now);
            wait(job, *after, true, now)
        }
        Verdict::Retry { failure, .. } | Verdict::Discard { failure } => {
            fail(job, Ending::Discarded, failure, now);
            finish(job, State::Discarded, now)
        }
        Verdict::Cancel { reason } => {
            record(job, Ending::Cancelled, Some(Failure::new(FailureKind::Cancelled, reason)), now);
            finish(job, State::Cancelled, now)
        }
        Verdict::Expire => {
            give_attempt_back(job);
            expire(job, now)
        }
        Verdict::Return { after, why } => {
            let ending = match why {
                Return::Snoozed => Ending::Snoozed,
                Return::Stopping => Ending::Returned,
                Return::UnknownTask => Ending::Unknown,
            };
            record_free(job, ending, now);
            give_attempt_back(job);
            wait(job, *after, false, now)
        }
    }
}

/// A worker was silent past its lease: the attempt counts, and too many of them are poison.
pub fn crash(job: &mut Job, max_crashes: u32, now: Timestamp) -> Placement {
    job.crashes = job.crashes.saturating_add(1);
    let worker = job.worker.map_or_else(|| "its worker".to_owned(), |worker| format!("worker {worker}"));
    let poison = job.crashes >= max_crashes;
    let message = match (poison, job.attempt >= job.attempt_limit) {
        (true, _) => format!("{worker} was gone before it finished; {} crashes make it poison", job.crashes),
        (false, true) => format!("{worker} was gone before it finished, on the last attempt"),
        (false, false) => format!("{worker} was gone before it finished"),
    };
    record(job, Ending::Crashed, Some(Failure::new(FailureKind::Crash, message)), now);
    if poison || job.attempt >= job.attempt_limit {
        return finish(job, State::Discarded, now);
    }
    wait(job, Duration::ZERO, true, now)
}

/// Somebody calls off a waiting job.
pub fn cancel(job: &mut Job, reason: &str, now: Timestamp) -> Placement {
    record_unstarted(job, Ending::Cancelled, Some(Failure::new(FailureKind::Cancelled, reason)), now);
    finish(job, State::Cancelled, now)
}

/// A running job was called off and its attempt has ended in `placement`: one that would wait again is cancelled.
///
/// So a cancelled job stays cancelled also when its worker crashed or stopped before it heard of it.
pub fn heed(job: &mut Job, placement: Placement, called_off: Option<&str>, now: Timestamp) -> Placement {
    match (placement, called_off) {
        (Placement::Waiting, Some(reason)) => cancel(job, reason, now),
        _ => placement,
    }
}

/// A waiting job's expiry has passed.
pub fn expire(job: &mut Job, now: Timestamp) -> Placement {
    record_unstarted(job, Ending::Expired, None, now);
    finish(job, State::Expired, now)
}

/// Somebody retries a terminal job by hand: due at once, with a fresh budget of attempts and its history kept.
pub fn revive(job: &mut Job, now: Timestamp) -> Placement {
    job.attempt_limit = job.attempt.saturating_add(job.spec.max_attempts.max(1));
    job.crashes = 0;
    job.expires = None;
    job.finished = None;
    job.result = None;
    wait(job, Duration::ZERO, false, now)
}

/// Whether a job in this state can be retried by hand.
#[must_use]
pub fn can_revive(state: State) -> bool {
    state.is_terminal()
}

/// How a terminal job ended, as its handle sees it; `None` for any other job.
#[must_use]
pub fn outcome(job: &Job) -> Option<Outcome> {
    job.state.is_terminal().then(|| Outcome {
        id: job.id(),
        state: job.state,
        attempt: job.attempt,
        finished: job.finished.unwrap_or(job.pushed),
        result: job.result.clone(),
        failure: if job.state == State::Completed { None } else { job.failure().cloned() },
    })
}

fn complete(job: &mut Job, result: Option<&Payload>, now: Timestamp) -> Placement {
    let Some(keep) = job.spec.keep_result else {
        job.state = State::Completed;
        job.finished = Some(now);
        return Placement::Forgotten;
    };
    record(job, Ending::Completed, None, now);
    job.result = result.cloned();
    finish(job, State::Completed, now);
    Placement::Finished { until: Some(now.after(keep)) }
}

fn finish(job: &mut Job, state: State, now: Timestamp) -> Placement {
    job.state = state;
    job.finished = Some(now);
    Placement::Finished { until: None }
}

fn wait(job: &mut Job, after: Duration, retry: bool, now: Timestamp) -> Placement {
    job.due = now.after(after);
    job.state = waiting(job.due, now, retry);
    Placement::Waiting
}

/// Records a failed attempt; a task that took its own process with it counts as a crash.
fn fail(job: &mut Job, ending: Ending, failure: &Failure, now: Timestamp) {
    if failure.kind != FailureKind::Crash {
        return record(job, ending, Some(failure.clone()), now);
    }
    job.crashes = job.crashes.saturating_add(1);
    record(job, Ending::Crashed, Some(failure.clone()), now);
}

fn give_attempt_back(job: &mut Job) {
    job.attempt = job.attempt.saturating_sub(1);
}

/// What costs nothing is remembered once, however often it happens, so that it never pushes failures out.
fn record_free(job: &mut Job, ending: Ending, now: Timestamp) {
    if job.history.last().is_some_and(|last| last.ending == ending) {
        job.history.pop();
    }
    record(job, ending, None, now);
}

fn record(job: &mut Job, ending: Ending, failure: Option<Failure>, now: Timestamp) {
    let (worker, started) = (job.worker, job.claimed);
    remember(job, Attempt { number: job.attempt, worker, started, ended: now, ending, failure });
}

fn record_unstarted(job: &mut Job, ending: Ending, failure: Option<Failure>, now: Timestamp) {
    remember(job, Attempt { number: job.attempt, worker: None, started: None, ended: now, ending, failure });
}

fn remember(job: &mut Job, attempt: Attempt) {
    if job.history.len() >= Attempt::KEPT {
        job.history.remove(0);
    }
    job.history.push(attempt);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::codec::Codec;
    use crate::job::{JobId, JobSpec, Name, NewJob, When};
    use crate::policy::Backoff;

    const PUSHED: Timestamp = Timestamp::from_micros(1_000_000);
    const CLAIMED: Timestamp = Timestamp::from_micros(2_000_000);
    const NOW: Timestamp = Timestamp::from_micros(3_000_000);
    const SECOND: Duration = Duration::from_secs(1);
    const MAX_CRASHES: u32 = 3;

    fn pushed(max_attempts: u32, keep_result: Option<Duration>) -> Job {
        let spec = JobSpec {
            id: JobId::new(),
            task: Name::new("test").unwrap(),
            queue: Name::new("test").unwrap(),
            payload: payload(),
            priority: 0,
            max_attempts,
            timeout: None,
            backoff: Backoff::DEFAULT,
            keep_result,
            unique: None,
            limits: Vec::new(),
            headers: BTreeMap::new(),
            tags: Vec::new(),
            parent: None,
        };
        Job::received(&NewJob { spec: Arc::new(spec), due: When::NOW, expires: None }, PUSHED)
    }

    fn running(max_attempts: u32, keep_result: Option<Duration>) -> Job {
        let mut job = pushed(max_attempts, keep_result);
        claim(&mut job, WorkerId::new(), CLAIMED);
        job
    }

    fn payload() -> Payload {
        Payload::encode(Codec::Json, &7).unwrap()
    }

    fn failure() -> Failure {
        Failure::new(FailureKind::Error, "it broke")
    }

    fn retry(after: Duration) -> Verdict {
        Verdict::Retry { after, failure: failure() }
    }

    fn back(after: Duration, why: Return) -> Verdict {
        Verdict::Return { after, why }
    }

    fn endings(job: &Job) -> Vec<Ending> {
        job.history.iter().map(|attempt| attempt.ending).collect()
    }

    #[test]
    fn a_claim_starts_an_attempt() {
        let mut job = pushed(3, None);
        let worker = WorkerId::new();
        claim(&mut job, worker, CLAIMED);
        assert_eq!((job.state, job.attempt, job.worker, job.claimed), (State::Running, 1, Some(worker), Some(CLAIMED)));
    }

    #[test]
    fn every_verdict_leads_to_its_state_and_place() {
        let finished = Placement::Finished { until: None };
        let kept = Placement::Finished { until: Some(NOW.after(SECOND)) };
        let complete = || Verdict::Complete { result: Some(payload()) };
        let cancel = Verdict::Cancel { reason: "enough".to_owned() };
        let discard = Verdict::Discard { failure: failure() };
        // A verdict on the first of so many attempts; then the state, the place, and the attempts that count.
        let cases = [
            (complete(), 3, State::Completed, kept, 1, vec![Ending::Completed]),
            (retry(SECOND), 3, State::Retryable, Placement::Waiting, 1, vec![Ending::Retried]),
            (retry(Duration::ZERO), 3, State::Available, Placement::Waiting, 1, vec![Ending::Retried]),
            (retry(SECOND), 1, State::Discarded, finished, 1, vec![Ending::Discarded]),
            (discard, 3, State::Discarded, finished, 1, vec![Ending::Discarded]),
            (cancel, 3, State::Cancelled, finished, 1, vec![Ending::Cancelled]),
            (Verdict::Expire, 3, State::Expired, finished, 0, vec![Ending::Expired]),
            (back(SECOND, Return::Snoozed), 1, State::Scheduled, Placement::Waiting, 0, vec![Ending::Snoozed]),
            (back(SECOND, Return::UnknownTask), 1, State::Scheduled, Placement::Waiting, 0, vec![Ending::Unknown]),
            (
                back(Duration::ZERO, Return::Stopping),
                1,
                State::Available,
                Placement::Waiting,
                0,
                vec![Ending::Returned],
            ),
        ];
        for (verdict, max_attempts, state, placement, attempt, history) in cases {
            let mut job = running(max_attempts, Some(SECOND));
            assert_eq!(settle(&mut job, &verdict, NOW), placement, "{verdict:?}");
            assert_eq!((job.state, job.attempt, endings(&job)), (state, attempt, history), "{verdict:?}");
            assert_eq!(job.finished, state.is_terminal().then_some(NOW), "{verdict:?}");
            assert_eq!(job.result.is_some(), state == State::Completed, "{verdict:?}");
            if placement == Placement::Waiting {
                assert_eq!(job.due, NOW.after(if state == State::Available { Duration::ZERO } else { SECOND }));
            }
        }
    }

    #[test]
    fn a_completed_job_whose_result_nobody_keeps_is_forgotten() {
        let mut job = running(3, None);
        assert_eq!(settle(&mut job, &Verdict::Complete { result: Some(payload()) }, NOW), Placement::Forgotten);
        assert_eq!((job.state, job.result), (State::Completed, None));
    }

    #[test]
    fn a_job_that_always_fails_is_attempted_exactly_as_often_as_allowed() {
        for max_attempts in [1, 2, 20] {
            let mut job = pushed(max_attempts, None);
            let mut attempts = 0;
            while !job.state.is_terminal() {
                claim(&mut job, WorkerId::new(), NOW);
                settle(&mut job, &retry(Duration::ZERO), NOW);
                attempts += 1;
            }
            assert_eq!((attempts, job.attempt, job.state), (max_attempts, max_attempts, State::Discarded));
        }
    }

    #[test]
    fn what_costs_no_attempt_never_uses_them_up_nor_pushes_failures_out() {
        let mut job = running(2, None);
        settle(&mut job, &retry(Duration::ZERO), NOW);
        for why in [Return::Snoozed, Return::Stopping, Return::UnknownTask] {
            for _ in 0..100 {
                claim(&mut job, WorkerId::new(), NOW);
                assert_eq!(settle(&mut job, &back(Duration::ZERO, why), NOW), Placement::Waiting);
            }
        }
        assert_eq!(job.attempt, 1);
        assert_eq!(endings(&job), [Ending::Retried, Ending::Snoozed, Ending::Returned, Ending::Unknown]);
        assert_eq!(job.failure(), Some(&failure()));
    }

    #[test]
    fn the_third_crash_is_poison() {
        let mut job = pushed(20, None);
        for crashes in 1..=MAX_CRASHES {
            claim(&mut job, WorkerId::new(), CLAIMED);
            let placement = crash(&mut job, MAX_CRASHES, NOW);
            assert_eq!(placement == Placement::Waiting, crashes < MAX_CRASHES, "crash {crashes}");
        }
        assert_eq!((job.state, job.attempt), (State::Discarded, 3));
        let message = &job.failure().unwrap().message;
        assert!(message.contains("3 crashes make it poison"), "{message}");
    }

    #[test]
    fn a_crash_on_the_last_attempt_is_final() {
        let mut job = running(1, None);
        assert_eq!(crash(&mut job, MAX_CRASHES, NOW), Placement::Finished { until: None });
        assert_eq!((job.state, endings(&job)), (State::Discarded, vec![Ending::Crashed]));
    }

    #[test]
    fn a_crash_names_the_worker_that_was_gone() {
        let mut job = running(3, None);
        crash(&mut job, MAX_CRASHES, NOW);
        let attempt = job.history.last().unwrap();
        assert_eq!((attempt.worker, attempt.started), (job.worker, Some(CLAIMED)));
        assert!(job.failure().unwrap().message.contains(&job.worker.unwrap().to_string()));
    }

    #[test]
    fn the_history_keeps_the_latest_attempts() {
        let mut job = pushed(u32::MAX, None);
        for _ in 0..3 * Attempt::KEPT {
            claim(&mut job, WorkerId::new(), CLAIMED);
            settle(&mut job, &retry(Duration::ZERO), NOW);
        }
        let numbers: Vec<_> = job.history.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, (21..=30).collect::<Vec<_>>());
    }

    #[test]
    fn a_waiting_job_that_is_called_off_or_late_ends_without_an_attempt() {
        let mut called_off = pushed(3, None);
        assert_eq!(cancel(&mut called_off, "enough", NOW), Placement::Finished { until: None });
        assert_eq!((called_off.state, called_off.attempt), (State::Cancelled, 0));
        assert_eq!(called_off.failure().map(|failure| failure.message.as_str()), Some("enough"));

        let mut late = pushed(3, None);
        assert_eq!(expire(&mut late, NOW), Placement::Finished { until: None });
        assert_eq!((late.state, late.attempt, late.failure()), (State::Expired, 0, None));
    }

    #[test]
    fn a_called_off_job_does_not_wait_again_and_keeps_any_other_ending() {
        let cases = [
            (retry(SECOND), State::Cancelled),
            (back(SECOND, Return::Stopping), State::Cancelled),
            (Verdict::Complete { result: None }, State::Completed),
            (Verdict::Discard { failure: failure() }, State::Discarded),
        ];
        for (verdict, state) in cases {
            let mut job = running(3, Some(SECOND));
            let placement = settle(&mut job, &verdict, NOW);
            let heeded = heed(&mut job, placement, Some("enough"), NOW);
            assert!(matches!(heeded, Placement::Finished { .. }), "{verdict:?}");
            assert_eq!(job.state, state, "{verdict:?}");
        }
        let mut job = running(3, None);
        let placement = settle(&mut job, &retry(SECOND), NOW);
        assert_eq!(heed(&mut job, placement, None, NOW), Placement::Waiting);
    }

    #[test]
    fn any_terminal_job_is_revived_with_a_fresh_budget_and_its_history() {
        let cancel = Verdict::Cancel { reason: String::new() };
        for verdict in [Verdict::Complete { result: None }, retry(SECOND), cancel, Verdict::Expire] {
            let mut job = running(1, Some(SECOND));
            (job.crashes, job.expires) = (2, Some(CLAIMED));
            assert!(!can_revive(job.state));
            settle(&mut job, &verdict, NOW);
            assert!(can_revive(job.state), "{}", job.state);
            let attempt = job.attempt;
            assert_eq!(revive(&mut job, NOW), Placement::Waiting);
            assert_eq!((job.state, job.due, job.crashes), (State::Available, NOW, 0));
            assert_eq!((job.attempt, job.attempt_limit, job.history.len()), (attempt, attempt + 1, 1));
            assert_eq!((job.finished, job.expires, job.result), (None, None, None));
        }
    }

    #[test]
    fn a_waiting_job_is_claimable_from_its_due_time_until_its_expiry() {
        let mut job = pushed(1, None);
        (job.due, job.expires) = (CLAIMED, Some(NOW));
        let just_before = |moment: Timestamp| moment.before(Duration::from_micros(1));
        for (now, expected) in [(just_before(CLAIMED), false), (CLAIMED, true), (just_before(NOW), true), (NOW, false)]
        {
            assert_eq!(claimable(&job, now), expected, "{now}");
        }
    }

    #[test]
    fn time_alone_makes_a_scheduled_job_available() {
        for (stored, before) in [(State::Scheduled, State::Scheduled), (State::Retryable, State::Retryable)] {
            assert_eq!(shown(stored, NOW, CLAIMED), before);
            assert_eq!(shown(stored, NOW, NOW), State::Available);
        }
        for state in [State::Running, State::Completed, State::Discarded, State::Cancelled, State::Expired] {
            assert_eq!(shown(state, NOW, CLAIMED), state);
        }
    }

    #[test]
    fn an_outcome_tells_how_a_terminal_job_ended_and_nothing_else_has_one() {
        let mut job = running(2, Some(SECOND));
        assert_eq!(outcome(&job), None);
        settle(&mut job, &retry(SECOND), NOW);
        assert_eq!(outcome(&job), None);
        claim(&mut job, WorkerId::new(), NOW);
        settle(&mut job, &Verdict::Complete { result: Some(payload()) }, NOW);
        let ended = outcome(&job).unwrap();
        assert_eq!((ended.state, ended.attempt, ended.finished), (State::Completed, 2, NOW));
        // Its first attempt failed, but that is not how it ended.
        assert_eq!((ended.result, ended.failure), (Some(payload()), None));
    }
}
