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
use crate::backend::{Settled, Settlement, TaskTransaction};
use crate::context::Context;
use crate::job::{Failure, FailureKind, Job};
use crate::policy::Verdict;
use crate::policy::state::Return;
use crate::registry::{Registration, RunError};
use crate::task::{Reaction, TaskError};
use crate::trace::{self, TraceContext};
use crate::transaction::TransactionCell;

/// How an attempt came to its end.
enum Ended {
    /// The task, or a layer around it, returned.
    Returned(Result<TaskResponse, BoxError>),
    /// It panicked, with this message.
    Panicked(String),
    /// Its timeout passed.
    TimedOut(Duration),
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
    let deadline = job.spec.timeout.map(|timeout| started + timeout);
    held.start(deadline.map(|deadline| deadline + worker.options.margin));
    let ctx = worker.context(held, job, deadline);
    let trace = TraceContext::of_attempt(&job.spec.headers);
    let span = trace::attempt_span(job, &trace);
    let run = run(worker, held, TaskCall { ctx: ctx.clone(), registration: task });
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
        timeout = timed_out(deadline) => Ended::TimedOut(timeout),
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
        (None, Ended::Returned(Err(error))) => failed(job, error),
        (None, Ended::Panicked(message)) => retry(job, Failure::new(FailureKind::Panic, message)),
        (None, Ended::TimedOut(timeout)) => {
            let message = format!("the attempt took longer than its timeout of {timeout:?}");
            retry(job, Failure::new(FailureKind::Timeout, message))
        }
    };
    report(job, &verdict);
    Some(verdict)
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

fn failed(job: &Job, error: BoxError) -> Verdict {
    match error.downcast_ref::<RunError>() {
        Some(RunError::Payload(error)) => return retry(job, Failure::from_error(FailureKind::Payload, error)),
        // As with a result that is too large.
        Some(RunError::Result(error)) => {
            return Verdict::Discard { failure: Failure::from_error(FailureKind::Result, error) };
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

fn retry(job: &Job, failure: Failure) -> Verdict {
    Verdict::Retry { after: job.spec.backoff.delay(job.attempt, rand::random()), failure }
}

/// How long a task that this worker does not know waits before another worker may see it.
const UNKNOWN_TASK_DELAY: Duration = Duration::from_secs(15);

fn unknown_task(worker: &Shared, job: &Job) -> Verdict {
    worker.report_unknown(&job.spec.task);
    Verdict::Return { after: UNKNOWN_TASK_DELAY, why: Return::UnknownTask }
}

/// Whether the job's expiry has passed since it was claimed, told without asking this machine for the date.
fn has_expired(held: &Held, job: &Job) -> bool {
    let Some((expires, claimed)) = job.expires.zip(job.claimed) else { return false };
    held.claimed.elapsed() >= expires.since(claimed)
}

async fn timed_out(deadline: Option<Instant>) -> Duration {
    match deadline {
        None => std::future::pending().await,
        Some(deadline) => {
            let start = Instant::now();
            tokio::time::sleep_until(deadline).await;
            deadline.saturating_duration_since(start)
        }
    }
}

/// Resolves when a task that was asked to stop has had its time to notice.
async fn stopped(worker: &Shared, held: &Held) {
    held.token().cancelled().await;
    tokio::select! {
        () = tokio::time::sleep(worker.options.margin) => {}
        () = worker.shutdown.aborting() => {}
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
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
            job,
            deadline,
            held.token().clone(),
            held.progress.clone(),
            self.states.clone(),
            self.blocking.clone(),
            TransactionCell::new(Arc::clone(&self.backend)),
        )
    }
}
