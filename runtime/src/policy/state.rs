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
            record(job, Ending::Retried, Some(failure.clone()), now);
            wait(job, *after, true, now)
        }
        Verdict::Retry { failure, .. } | Verdict::Discard { failure } => {
            record(job, Ending::Discarded, Some(failure.clone()), now);
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
