//! One job's life in a worker, from its claim to its settlement: read it top to bottom.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;

use super::Shared;
use super::layers::{BoxError, TaskCall, TaskResponse};
use super::lease::{Held, Stop};
use super::slots::Fetched;
use crate::backend::{Info, Settled, Settlement, TaskTransaction};
use crate::chance;
use crate::context::Context;
use crate::job::{Failure, FailureKind, Job};
use crate::policy::Verdict;
use crate::policy::state::Return;
use crate::registry::{Registration, RunError};
use crate::task::{Execution, Reaction, TaskError};
use crate::time::format_duration;
use crate::trace::{self, TraceContext};
use crate::transaction::TransactionCell;

/// How an attempt came to its end.
enum Ended {
    /// The task, or a layer around it, returned.
    Returned(Result<TaskResponse, BoxError>),
    /// It panicked, with this message.
    Panicked(String),
    /// Its timeout passed.
    TimedOut,
    /// It was asked to stop and took too long to notice.
    Dropped,
}

/// What is left to do when an attempt has ended.
enum End {
    /// Its job is to be settled like this.
    Settle(Verdict),
    /// Its job completed in the task's own transaction.
    Completed,
    /// Its lease is gone, and nothing may be said any more.
    Lost,
}

/// Runs one attempt and hands over how it ended.
pub(crate) async fn execute(worker: &Shared, fetched: Fetched) {
    let Fetched { held, job } = fetched;
    let end = match (has_expired(&held, &job), worker.registry.get(job.spec.task.as_str())) {
        (true, _) => End::Settle(Verdict::Expire),
        (false, None) => End::Settle(unknown_task(worker, &job)),
        (false, Some(&task)) => attempt(worker, &held, &job, task).await,
    };
    worker.slots.done(&job.spec.queue);
    match end {
        End::Settle(verdict) => worker.settle(Settlement { lease: held.lease, job, verdict }).await,
        End::Completed => worker.completed(held.lease),
        End::Lost => worker.forget(&held),
    }
}

/// Runs the task and decides what its end means.
async fn attempt(worker: &Shared, held: &Held, job: &Job, task: Registration) -> End {
    let started = Instant::now();
    let deadline = deadline(worker, held, job, started);
    held.start(deadline.map(|deadline| deadline + worker.options.margin));
    let ctx = worker.context(held, job, deadline);
    let trace = TraceContext::of_attempt(&job.spec.headers);
    let span = trace::attempt_span(&job.spec, job.attempt, &trace);
    let isolated = task.definition.execution == Execution::Process;
    let processes = isolated.then(|| worker.processes.clone());
    let run = run(worker, held, TaskCall { ctx: ctx.clone(), registration: task, processes });
    let ended = worker.client.scope(trace.scope(ctx.enter(run))).instrument(span.clone()).await;
    worker.slots.ran(started.elapsed());
    let verdict = span.in_scope(|| decide(worker, held, job, ended));
    let transaction = ctx.transaction().take();
    match (verdict, transaction) {
        (None, None) => End::Lost,
        (Some(verdict), None) => End::Settle(verdict),
        (verdict, Some(transaction)) => end_in(transaction, worker, held, job, verdict).instrument(span).await,
    }
}

/// When an attempt must have ended: by its timeout, and before the backend takes its job back whatever it does.
fn deadline(worker: &Shared, held: &Held, job: &Job, started: Instant) -> Option<Instant> {
    let longest = worker.backend.info().limits.max_lease;
    let taken_back = longest.map(|longest| held.claimed + longest.saturating_sub(worker.options.margin));
    job.spec.timeout.map(|timeout| started + timeout).into_iter().chain(taken_back).min()
}

/// Runs the task under its timeout and its cancellation; a panic stays in here.
async fn run(worker: &Shared, held: &Held, call: TaskCall) -> Ended {
    let deadline = call.ctx.deadline();
    // Decoding the payload runs the user's code too, so the call itself is made where panics are caught.
    let task = AssertUnwindSafe(async { worker.layers.call(call).await }).catch_unwind();
    tokio::select! {
        // In this order, so that a task which is done is never taken for one that came too late.
        biased;
        returned = task => match returned {
            Ok(returned) => Ended::Returned(returned),
            Err(panic) => Ended::Panicked(panic_message(&*panic)),
        },
        // The task is dropped at the await where it stands.
        () = timed_out(deadline) => Ended::TimedOut,
        // It had the margin to notice; it too is dropped where it stands.
        () = stopped(worker, held) => Ended::Dropped,
    }
}

/// What the end of an attempt means for its job.
fn decide(worker: &Shared, held: &Held, job: &Job, ended: Ended) -> Option<Verdict> {
    let verdict = match (held.why(), ended) {
        (Some(Stop::LeaseLost), _) => {
            tracing::warn!("the lease was lost while the task ran; whoever has it now decides");
            return None;
        }
        (_, Ended::Returned(Ok(result))) => completed(worker, job, result),
        (Some(Stop::Cancelled(reason)), _) => Verdict::Cancel { reason: reason.clone() },
        // An attempt is dropped only where there is a reason to stop, so `None` never meets `Dropped`.
        (Some(Stop::Shutdown), _) | (None, Ended::Dropped) => {
            Verdict::Return { after: Duration::ZERO, why: Return::Stopping }
        }
        (None, Ended::Returned(Err(error))) => failed(worker, job, error),
        (None, Ended::Panicked(message)) => retry(job, Failure::new(FailureKind::Panic, message)),
        (None, Ended::TimedOut) => {
            retry(job, Failure::new(FailureKind::Timeout, too_long(worker.backend.info(), job.spec.timeout)))
        }
    };
    report(job, &verdict);
    Some(verdict)
}

/// Why an attempt was ended that had not ended by itself.
fn too_long(info: &Info, timeout: Option<Duration>) -> String {
    match (timeout, info.limits.max_lease) {
        (None, Some(longest)) => {
            format!(
                "the attempt took longer than the {} after which {} takes a job back",
                format_duration(longest),
                info.name
            )
        }
        (timeout, _) => {
            format!("the attempt took longer than its timeout of {}", format_duration(timeout.unwrap_or_default()))
        }
    }
}

/// Ends the transaction that the task wrote in: committed with the job's completion, or undone.
async fn end_in(
    transaction: Box<dyn TaskTransaction>,
    worker: &Shared,
    held: &Held,
    job: &Job,
    verdict: Option<Verdict>,
) -> End {
    let Some(verdict @ Verdict::Complete { .. }) = verdict else {
        if let Err(error) = worker.call("roll back", transaction.rollback()).await {
            tracing::debug!(error = ?error, "the task's transaction could not be rolled back; its connection is dropped");
        }
        return verdict.map_or(End::Lost, End::Settle);
    };
    let settlement = Settlement { lease: held.lease, job: job.clone(), verdict };
    match worker.call("commit", transaction.complete(&settlement)).await {
        Ok(Settled::Applied) => End::Completed,
        Ok(Settled::LeaseLost) => {
            tracing::warn!("the lease was lost while the task ran; what it wrote is undone");
            End::Lost
        }
        // If it was committed after all, the lease is gone, and so this verdict changes nothing.
        Err(error) => {
            let verdict = retry(job, Failure::from_error(FailureKind::Error, &error));
            report(job, &verdict);
            End::Settle(verdict)
        }
    }
}

fn completed(worker: &Shared, job: &Job, result: TaskResponse) -> Verdict {
    let size = result.as_ref().map_or(0, |result| result.bytes.len());
    let largest = worker.backend.info().limits.max_payload;
    if size <= largest {
        return Verdict::Complete { result };
    }
    let message = format!(
        "the result of task {} has {size} bytes, and {} keeps at most {largest}; return less, or store it elsewhere",
        job.spec.task,
        worker.backend.info().name,
    );
    // The work is done, and doing it again would not make its result smaller.
    Verdict::Discard { failure: Failure::new(FailureKind::Result, message) }
}

fn failed(worker: &Shared, job: &Job, error: BoxError) -> Verdict {
    match error.downcast_ref::<RunError>() {
        Some(RunError::Payload(error)) => return retry(job, Failure::from_error(FailureKind::Payload, error)),
        // As with a result that is too large.
        Some(RunError::Result(error)) => {
            return Verdict::Discard { failure: Failure::from_error(FailureKind::Result, error) };
        }
        Some(RunError::Panic(error)) => return retry(job, Failure::from_error(FailureKind::Panic, error)),
        Some(RunError::Crash(error)) => return crashed(worker, job, Failure::from_error(FailureKind::Crash, error)),
        Some(RunError::NoProcess(error)) => {
            tracing::error!(?error, "the task waits until a process can be started for it, at no cost");
            return Verdict::Return { after: NO_PROCESS_DELAY, why: Return::Stopping };
        }
        None => {}
    }
    let error = TaskError::from_boxed(error);
    let failure = Failure::from_error(FailureKind::Error, &error);
    match error.reaction() {
        Reaction::Backoff => retry(job, failure),
        Reaction::RetryIn(after) => Verdict::Retry { after, failure },
        Reaction::Discard => Verdict::Discard { failure },
        Reaction::Snooze(after) => Verdict::Return { after, why: Return::Snoozed },
        Reaction::Cancel => Verdict::Cancel { reason: failure.message },
    }
}

/// The task took its own process with it: the attempt counts, and too many of them are poison.
fn crashed(worker: &Shared, job: &Job, mut failure: Failure) -> Verdict {
    let crashes = job.crashes.saturating_add(1);
    if crashes < worker.options.max_crashes {
        return retry(job, failure);
    }
    failure.message = format!("{}; {crashes} crashes make it poison", failure.message);
    Verdict::Discard { failure }
}

fn retry(job: &Job, failure: Failure) -> Verdict {
    Verdict::Retry { after: job.spec.backoff.delay(job.attempt, chance::share()), failure }
}

/// How long a job waits for which no process could be started.
const NO_PROCESS_DELAY: Duration = Duration::from_secs(5);

/// How long a job of an unknown task waits where the store may hand it to this worker again.
const UNKNOWN_TASK_DELAY: Duration = Duration::from_secs(15);

/// Others may have the job at once where this worker's next claims pass over it.
fn unknown_task(worker: &Shared, job: &Job) -> Verdict {
    worker.report_unknown(&job.spec.task);
    let passed_over = worker.backend.info().passes_over && worker.unknown_tasks().contains(&job.spec.task);
    let after = if passed_over { Duration::ZERO } else { UNKNOWN_TASK_DELAY };
    Verdict::Return { after, why: Return::UnknownTask }
}

/// Whether the job's expiry has passed since it was claimed, told without asking this machine for the date.
fn has_expired(held: &Held, job: &Job) -> bool {
    let Some((expires, claimed)) = job.expires.zip(job.claimed) else { return false };
    held.claimed.elapsed() >= expires.since(claimed)
}

async fn timed_out(deadline: Option<Instant>) {
    match deadline {
        None => std::future::pending().await,
        Some(deadline) => tokio::time::sleep_until(deadline).await,
    }
}

/// Resolves when a task that was asked to stop has had its time to notice.
async fn stopped(worker: &Shared, held: &Held) {
    held.token().cancelled().await;
    tokio::select! {
        biased;
        () = worker.shutdown.aborting() => {}
        () = tokio::time::sleep(worker.options.margin) => {}
    }
}

pub(super) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("the task panicked: {}", text.as_deref().unwrap_or("without a message"))
}

/// One line for each attempt that did not simply succeed; errors are the task's own words, never its arguments.
fn report(job: &Job, verdict: &Verdict) {
    match verdict {
        Verdict::Complete { .. } => tracing::debug!("completed"),
        Verdict::Retry { failure, .. } if job.attempt >= job.attempt_limit => {
            tracing::error!(error = %failure, "failed on its last attempt; discarded");
        }
        Verdict::Retry { after, failure } => tracing::warn!(error = %failure, retry_in = ?after, "failed"),
        Verdict::Discard { failure } => tracing::error!(error = %failure, "discarded"),
        Verdict::Cancel { reason } => tracing::info!(reason, "cancelled"),
        Verdict::Expire => tracing::info!("expired"),
        Verdict::Return { after, why } => tracing::debug!(?why, ?after, "given back"),
    }
}

impl Shared {
    fn context(&self, held: &Held, job: &Job, deadline: Option<Instant>) -> Context {
        Context::new(
            (Arc::clone(&job.spec), job.attempt, job.attempt_limit),
            deadline,
            held.token().clone(),
            held.progress.clone(),
            self.states.clone(),
            self.blocking.clone(),
            TransactionCell::new(Arc::clone(&self.backend)),
        )
    }
}
